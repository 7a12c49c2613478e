// Colours. The first ten follow Okabe and Ito's and Tol's advice for eyes that tell few hues apart; after them, hues by
// the golden angle at two lightnesses.

const FIRST = [
  "#4477aa", "#ee7733", "#228833", "#cc3311", "#aa3377", "#66ccee", "#bbaa22", "#885533", "#ee99aa", "#777777",
];

export function categorical(count) {
  const colors = FIRST.slice(0, count);
  for (let i = colors.length; i < count; i++) {
    colors.push(hsl((i * 137.508) % 360, 0.55, i % 2 ? 0.42 : 0.62));
  }
  return colors;
}

// From viridis, coarsely: dark is low.
const RAMP = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];

export function ramp(steps = 256) {
  const parts = RAMP.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: steps }, (_, i) => {
    const place = (i / (steps - 1)) * (parts.length - 1);
    const low = Math.min(Math.floor(place), parts.length - 2);
    const mixed = parts[low].map((value, c) => Math.round(value + (parts[low + 1][c] - value) * (place - low)));
    return "#" + mixed.map((value) => value.toString(16).padStart(2, "0")).join("");
  });
}

function hsl(h, s, l) {
  const a = s * Math.min(l, 1 - l);
  const channel = (n) => {
    const k = (n + h / 30) % 12;
    const value = l - a * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}
