// What lies over the map as text and marks: names of clusters or labels, and a ring around the opened row.

import { find, make } from "./dom.js";

const MOST = 40;

export function createNames(position) {
  const layer = find("names");
  const ring = make("span", { class: "ring", hidden: true });
  let shown = [];
  let ringed = null;

  function place() {
    for (const [element, row] of ringed === null ? shown : [...shown, [ring, ringed]]) {
      const at = position(row);
      if (at) element.style.transform = `translate(${at[0].toFixed(1)}px, ${at[1].toFixed(1)}px)`;
    }
  }

  return {
    place,
    fill(choice, visible) {
      const kinds = visible && choice.kinds && choice.kinds.length <= MOST ? choice.kinds : [];
      // Numbers alone will do: the legend says what they are.
      const text = (kind) => choice.name(kind).replace(/^(Cluster|Label) (?=\d+$)/, "");
      shown = kinds.map((kind) => {
        const element = make("span", { class: "name-on-map" }, make("span", {}, text(kind)));
        element.firstChild.style.setProperty("--own", choice.color(kind));
        return [element, choice.anchor(kind)];
      });
      layer.replaceChildren(...shown.map(([element]) => element), ring);
      place();
    },
    mark(row) {
      ringed = row;
      ring.hidden = row === null;
      place();
    },
  };
}
