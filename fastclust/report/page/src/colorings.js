// What the map can be coloured by. A choice has kinds (values with names and colours of their own) or a ramp.

import { crowding, groupsOf, middleOf } from "./data.js";

export function makeColorings(data) {
  const found = [byKind("cluster", "Cluster", data, data.cluster, data.clusterName)];
  if (data.label) found.push(byKind("label", "Label", data, data.label, data.labelName));
  if (data.spread) found.push(byKind("spread", "Your labels, spread", data, data.spread, data.spreadName));
  if (data.p) {
    // -log10 p, cut at one in a million.
    const odd = Float32Array.from(data.p, (p) => (Number.isNaN(p) ? 0 : Math.min(1, -Math.log10(Math.max(p, 1e-6)) / 6)));
    found.push({ key: "p", title: "How odd in its cluster (p)", values: odd, ends: ["fits, p = 1", "odd, p ≤ 1e-6"] });
  }
  if (data.distance) {
    const sorted = data.distance.slice().sort();
    const most = sorted[Math.floor(0.995 * (sorted.length - 1))] || 1;
    const far = Float32Array.from(data.distance, (d) => Math.min(1, d / most));
    found.push({ key: "distance", title: "Distance to the centre", values: far, ends: ["0", most.toPrecision(3)] });
  }
  found.push({ key: "density", title: "Density of the map", values: crowding(data), ends: ["sparse", "crowded"] });
  return found;
}

function byKind(key, title, data, source, name) {
  const groups = groupsOf(data, source);
  const kinds = [...groups.keys()];
  // Colours go by value, so that a cluster and the label of its number look alike; -1 is grey.
  const color = (kind) => (kind < 0 ? "#8a8f98" : data.palette[kind % data.palette.length]);
  const place = new Map(kinds.map((kind, i) => [kind, i]));
  const anchors = new Map();
  return {
    key,
    title,
    groups,
    kinds,
    name,
    color,
    of: (row) => source[row],
    values: Float32Array.from(source, (value) => place.get(value)),
    colors: kinds.map(color),
    anchor(kind) {
      if (!anchors.has(kind)) anchors.set(kind, middleOf(data, groups.get(kind)));
      return anchors.get(kind);
    },
  };
}

// From quiet to loud on the background at hand.
const RAMPS = {
  light: ["#d3dae3", "#b9c3e0", "#8f8fd0", "#8a4fae", "#8b1e6b", "#5a0b2e"],
  dark: ["#333b47", "#3f4f86", "#7057b8", "#c45aa8", "#f58d77", "#ffe3a6"],
};

export function ramp(theme, steps = 128) {
  const parts = RAMPS[theme].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: steps }, (_, i) => {
    const where = (i / (steps - 1)) * (parts.length - 1);
    const low = Math.min(Math.floor(where), parts.length - 2);
    const mixed = parts[low].map((value, c) => Math.round(value + (parts[low + 1][c] - value) * (where - low)));
    return "#" + mixed.map((value) => value.toString(16).padStart(2, "0")).join("");
  });
}
