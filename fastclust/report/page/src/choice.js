// The curve that the number of clusters was chosen from.

import { make, number } from "./dom.js";

const WIDE = 560;
const HIGH = 190;
const LEFT = 34;
const FOOT = 22;
const SPACE = "http://www.w3.org/2000/svg";

const LINES = [
  ["silhouette", "Silhouette", "how much nearer rows are to their own cluster than to the next"],
  ["stability", "Stability", "how far two halves of the rows give the same clusters"],
];

export function choiceSection({ choice }) {
  if (!choice?.curve?.length) return null;
  const names = LINES.map(([key, name, hint]) => make("span", { title: hint }, make("i", { class: `line ${key}` }), name));
  return {
    id: "choice",
    title: "Number of clusters",
    short: "Choice of k",
    note: `${choice.k} has the largest silhouette of those that two halves of the rows agree on.`,
    body: make("div", { class: "curve" }, chart(choice), make("p", { class: "parts" }, names), details(choice)),
  };
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function chart({ k, curve }) {
  const [first, last] = [curve[0].k, curve[curve.length - 1].k];
  // By ratio: from 2 to 3 is more than from 50 to 60.
  const x = (value) => LEFT + ((WIDE - LEFT - 12) * Math.log(value / first)) / (Math.log(last / first) || 1);
  const low = Math.min(0, ...curve.flatMap((point) => LINES.map(([key]) => point[key] ?? 0)));
  const y = (value) => 8 + ((HIGH - FOOT - 8) * (1 - value)) / (1 - low);
  const svg = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `Silhouette and stability of ${first} to ${last} clusters; ${k} were chosen` });
  for (const level of [0, 0.5, 1]) {
    svg.append(draw("line", { class: "grid", x1: LEFT, x2: WIDE - 12, y1: y(level), y2: y(level) }));
    svg.append(draw("text", { x: LEFT - 7, y: y(level) + 4, "text-anchor": "end" }, String(level)));
  }
  svg.append(draw("line", { class: "chosen", x1: x(k), x2: x(k), y1: 8, y2: HIGH - FOOT }));
  for (const value of [k, first, last, 5, 10, 20, 50].filter((value, i, all) => value >= first && value <= last && all.indexOf(value) === i)) {
    // The chosen one first: others that would touch it go.
    if (value !== k && (Math.abs(x(value) - x(k)) < 18 || (value !== first && Math.abs(x(value) - x(first)) < 18))) continue;
    svg.append(draw("text", { class: value === k ? "k" : "", x: x(value), y: HIGH - 5, "text-anchor": "middle" }, String(value)));
  }
  for (const [key] of LINES) {
    const points = curve.map((point) => `${x(point.k).toFixed(1)},${y(point[key] ?? low).toFixed(1)}`);
    svg.append(draw("polyline", { class: `line ${key}`, points: points.join(" ") }));
    for (const point of curve) {
      const dot = draw("circle", { class: `dot ${key}`, cx: x(point.k), cy: y(point[key] ?? low), r: point.k === k ? 4 : 2.2 });
      dot.append(draw("title", {}, `${point.k} clusters: ${number(point[key])}`));
      svg.append(dot);
    }
  }
  return svg;
}

function details({ k, curve }) {
  const head = ["k", "Silhouette", "Stability", "Calinski-Harabasz"];
  const line = (point) => [point.k, number(point.silhouette), number(point.stability), number(point.calinski_harabasz, 1)];
  const rows = curve.map((point) =>
    make("tr", point.k === k ? { class: "best" } : {}, line(point).map((cell, i) => make(i ? "td" : "th", i ? {} : { scope: "row" }, String(cell)))),
  );
  const top = make("thead", {}, make("tr", {}, head.map((name) => make("th", { scope: "col" }, name))));
  return make("details", {}, make("summary", {}, "All figures"), make("table", { id: "curve" }, make("caption", { class: "away" }, "Numbers of clusters"), top, make("tbody", {}, rows)));
}
