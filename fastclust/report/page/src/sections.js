// Below the map: quality, what to label first, near-duplicates, odd ones, and how the run went.

import { choiceSection } from "./choice.js";
import { csv, find, make, number, plural, saveText } from "./dom.js";

const MEASURES = [
  ["accuracy", "Accuracy", "clusters matched to labels one to one"],
  ["nmi", "NMI", "normalised mutual information"],
  ["ari", "ARI", "adjusted Rand index"],
  ["recall_at_1", "Recall@1", "nearest neighbour has the same label"],
];
const GROUPS_AT_ONCE = 24;

export function fillSections(data, pictures, byCluster) {
  const made = [
    quality(data),
    choiceSection(data),
    toLabel(data, pictures, byCluster),
    duplicates(data, pictures),
    oddities(data, pictures),
    process(data),
  ].filter(Boolean);
  for (const { id, title, short, note, side, body } of made) {
    const head = make("div", { class: "head" }, make("h2", { id: `${id}-title` }, title), note ? make("p", {}, note) : null, side);
    find("sections").append(make("section", { id, "aria-labelledby": `${id}-title` }, head, make("div", { class: "body" }, body)));
    find("contents").append(make("a", { href: `#${id}` }, short));
  }
  const { run } = data;
  const facts = [run.version && `fastclust ${run.version}`, run.created && String(run.created).slice(0, 16).replace("T", " ")];
  find("footer").textContent = facts.filter(Boolean).join(" · ");
}

function table(caption, head, rows, attributes = {}) {
  const line = (cells, tag) =>
    make("tr", {}, cells.map((cell, i) => make(tag === "td" && i === 0 ? "th" : tag, tag === "th" ? { scope: "col" } : i === 0 ? { scope: "row" } : {}, cell)));
  const top = head ? make("thead", {}, line(head, "th")) : null;
  return make("table", attributes, make("caption", { class: "away" }, caption), top, make("tbody", {}, rows.map((row) => line(row, "td"))));
}

function quality({ quality: found }) {
  if (!found) return null;
  const body = [];
  const rows = found.rows ?? [];
  const known = MEASURES.filter(([key]) => rows.some((row) => Number.isFinite(row[key])));
  if (rows.length && known.length) {
    const best = Object.fromEntries(known.map(([key]) => [key, Math.max(...rows.map((row) => row[key] ?? -Infinity))]));
    const measure = (row, key) => {
      const value = row[key];
      if (!Number.isFinite(value)) return "–";
      const top = rows.length > 1 && value === best[key];
      const bar = make("i", { style: { width: `${100 * Math.max(0, Math.min(1, value))}%` } });
      return make("span", { class: top ? "measure best" : "measure" }, make("b", {}, value.toFixed(3)), make("span", { class: "gauge" }, bar));
    };
    const head = ["Features", ...known.map(([, name, hint]) => make("abbr", { title: hint }, name))];
    const lines = rows.map((row) => [row.features, ...known.map(([key]) => measure(row, key))]);
    body.push(make("div", { class: "wide" }, table("Quality against labels", head, lines, { id: "measures" })));
  }
  const figure = (value, name, hint) =>
    value === null || value === undefined
      ? null
      : make("div", { class: "figure" }, make("b", {}, typeof value === "number" ? number(value) : value), make("span", {}, name), make("small", {}, hint));
  body.push(
    make(
      "div",
      { class: "figures" },
      figure(found.map?.trustworthiness, "Trustworthiness", "near on the map is near in the features"),
      figure(found.map?.neighbor_preservation, "Neighbours kept", "of the ten nearest, on the map too"),
      figure(found.map?.kl_divergence, "KL divergence", "what t-SNE minimises"),
      figure(found.graph?.recall, "Graph recall", "share of true neighbours found"),
      figure(found.graph?.index, "Graph index", "what found the neighbours"),
    ),
  );
  const note = rows.length ? "Against labels that the learning never saw." : "No labels came with the data: figures of map and graph only.";
  return { id: "quality", title: "Quality", short: "Quality", note, body };
}

function toLabel(data, pictures, byCluster) {
  const groups = data.insight?.representatives ?? [];
  const filled = groups.map((rows, cluster) => [cluster, rows.filter((row) => row >= 0)]).filter(([, rows]) => rows.length);
  if (!filled.length) return null;
  const all = filled.flatMap(([cluster, rows]) => rows.map((row) => [data.id(row), row, cluster]));
  const body = filled.slice(0, 100).map(([cluster, rows]) =>
    make(
      "div",
      { class: "group" },
      make("h4", {}, make("span", { class: "swatch", style: { background: byCluster.color(cluster) } }), data.clusterName(cluster)),
      pictures.montage(rows, { side: 52 }),
    ),
  );
  return {
    id: "label-first",
    title: "Label these first",
    short: "Label first",
    note: "The middle of each cluster, then members as unlike as can be. Open one to label it.",
    side: make("button", { type: "button", onclick: () => saveText("to-label.csv", csv(["id", "row", "cluster"], all)) }, "Export ids"),
    body: make("div", { class: "groups" }, body),
  };
}

function duplicates(data, pictures) {
  const groups = data.insight?.duplicates;
  if (!groups) return null;
  const { duplicate_groups: count, duplicate_rows: rows, duplicate_threshold: threshold } = data.insight;
  const within = Number.isFinite(threshold) ? ` within a distance of ${number(threshold, 4)}` : "";
  const list = make("div", { class: "groups" });
  const more = make("button", { type: "button", class: "more" }, "Show more");
  let shown = 0;
  function show() {
    for (const group of groups.slice(shown, shown + GROUPS_AT_ONCE)) {
      const rest = group.length - 12;
      const title = plural(group.length, data.kind === "images" ? "image" : "row");
      list.append(make("div", { class: "group" }, make("h4", {}, title), pictures.montage(group.slice(0, 12), { side: 52 }), rest > 0 ? make("small", {}, `and ${number(rest)} more`) : null));
    }
    shown = Math.min(shown + GROUPS_AT_ONCE, groups.length);
    more.hidden = shown >= groups.length;
  }
  show();
  more.addEventListener("click", show);
  const listed = groups.length < count ? ` The ${groups.length} largest are here; map.parquet has all.` : "";
  return {
    id: "duplicates",
    title: "Near-duplicates",
    short: "Duplicates",
    note: `${count ? `${plural(count, "group")}, ${plural(rows, "row")}${within}.${listed}` : `None found${within}.`}${evidence(data)}`,
    body: [list, more],
  };
}

// Why the threshold is what it is.
function evidence({ n, insight }) {
  const found = insight.duplicate_evidence;
  if (!found || !Number.isFinite(found.median)) return "";
  const chance = Number.isFinite(found.by_chance) ? `; were the density even, ${number(found.by_chance, 2)} of ${plural(n, "row")} would be that near another by chance` : "";
  return ` The median distance to the nearest neighbour is ${number(found.median, 4)}${chance}.`;
}

function oddities(data, pictures) {
  const found = data.insight?.outliers;
  if (!found?.length) return null;
  const p = new Map(found.map((entry) => [entry.row, entry.p]));
  const note = (row) => (Number.isFinite(p.get(row)) ? `p = ${p.get(row).toExponential(1)}` : "");
  const all = found.map((entry) => [data.id(entry.row), entry.row, data.cluster[entry.row], entry.score, entry.p]);
  return {
    id: "odd",
    title: "Odd ones",
    short: "Odd ones",
    note: "Far from their own cluster by Mahalanobis distance, the least likely first.",
    side: make("button", { type: "button", onclick: () => saveText("odd.csv", csv(["id", "row", "cluster", "score", "p"], all)) }, "Export ids"),
    body: pictures.montage(found.slice(0, 100).map((entry) => entry.row), { side: 52, note }),
  };
}

function process({ run }) {
  const total = run.steps.reduce((sum, step) => sum + (step.reused ? 0 : step.seconds), 0);
  const longest = Math.max(...run.steps.map((step) => step.seconds), 1e-9);
  const time = (seconds) => (seconds >= 100 ? `${number(seconds / 60, 1)} min` : `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`);
  const steps = run.steps.map((step) => [
    step.name,
    step.reused ? make("span", { class: "soft" }, "taken over") : time(step.seconds),
    make("span", { class: "gauge" }, make("i", { style: { width: `${(100 * (step.reused ? 0 : step.seconds)) / longest}%` } })),
  ]);
  const text = (value) => {
    if (value === null || value === undefined) return make("span", { class: "soft" }, "not set");
    if (typeof value === "number") return number(value, 5);
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  };
  const params = Object.entries(run.params).map(([name, value]) => [name, text(value)]);
  const notes = Object.entries(run.notes).flatMap(([step, found]) =>
    Object.entries(found).map(([name, value], i) => [i ? "" : step, name, text(value)]),
  );
  const column = (title, ...content) => make("div", {}, make("h3", {}, title), content);
  const columns = [];
  if (steps.length) columns.push(column("Time per step", table("Time per step", null, steps, { class: "steps", id: "steps" })));
  if (params.length) columns.push(column("Parameters", table("Parameters", null, params, { id: "parameters" })));
  if (notes.length) columns.push(column("What the steps chose", table("What the steps chose", null, notes)));
  const machine = [run.machine.cores && `${run.machine.cores} cores`, run.machine.python && `Python ${run.machine.python}`, run.machine.system];
  return {
    id: "run",
    title: "Run",
    short: "Run",
    note: [steps.length ? time(total) : null, ...machine].filter(Boolean).join(" · "),
    body: make("div", { class: "columns" }, columns),
  };
}
