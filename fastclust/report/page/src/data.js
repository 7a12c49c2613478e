// What the page was given, unpacked.

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const array = (Type, text) => (text === null ? null : new Type(bytes(text).buffer));

export function load() {
  const raw = JSON.parse(document.getElementById("data").textContent);
  return {
    ...raw,
    x: array(Float32Array, raw.x),
    y: array(Float32Array, raw.y),
    cluster: array(Int32Array, raw.cluster),
    label: array(Int32Array, raw.label),
    distance: array(Float32Array, raw.distance),
    p: array(Float32Array, raw.p),
  };
}

// Rows of each group, nearest to their centre first.
export function groupsOf(data, values) {
  const groups = new Map();
  values.forEach((value, row) => {
    if (!groups.has(value)) groups.set(value, []);
    groups.get(value).push(row);
  });
  const near = data.distance ?? new Float32Array(data.n);
  for (const rows of groups.values()) rows.sort((a, b) => near[a] - near[b] || a - b);
  return new Map([...groups].sort((a, b) => a[0] - b[0]));
}
