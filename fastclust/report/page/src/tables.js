// Quality, duplicates, outliers, parameters and timings.

import { find, make, number } from "./dom.js";

const MEASURES = [
  ["accuracy", "Accuracy"],
  ["nmi", "NMI"],
  ["ari", "ARI"],
  ["recall_at_1", "Recall@1"],
];
const SHOWN = 40;

function table(head, rows) {
  const line = (cells, tag) => make("tr", {}, cells.map((cell) => make(tag, tag === "th" ? { scope: "col" } : {}, cell)));
  return make("table", {}, make("thead", {}, line(head, "th")), make("tbody", {}, rows.map((row) => line(row, "td"))));
}

const section = (title, note, ...content) =>
  make("section", {}, make("h2", {}, title), note ? make("p", { class: "note" }, note) : null, ...content);

export function fillTables(data, { picture, showRow }) {
  const out = find("tables");
  const { quality, insight } = data;
  if (quality) out.append(qualitySection(quality));
  if (insight?.representatives?.length) {
    const rows = insight.representatives.flat().slice(0, 120);
    out.append(
      section(
        "Label these first",
        "The middle of each cluster, and members that differ from it.",
        make("div", { class: "montage" }, rows.map((row) => picture(row, 40))),
      ),
    );
  }
  if (insight?.duplicates?.length) {
    const groups = insight.duplicates.slice(0, SHOWN);
    const count = insight.duplicates.length;
    out.append(
      section(
        `Near-duplicates: ${number(count)} ${count === 1 ? "group" : "groups"}`,
        count > SHOWN ? `The ${SHOWN} largest are shown; map.parquet has all.` : null,
        groups.map((rows) => make("div", { class: "montage group" }, rows.slice(0, 24).map((row) => picture(row, 40)))),
      ),
    );
  }
  if (insight?.outliers?.length) {
    out.append(
      section(
        "Odd ones",
        "Rows that are far from their own cluster, by Mahalanobis distance; the least likely first.",
        make("div", { class: "montage" }, insight.outliers.slice(0, SHOWN).map(({ row }) => picture(row, 40))),
      ),
    );
  }
  out.append(stepsSection(data), parameterSection(data));
  void showRow;
}

function qualitySection(quality) {
  const parts = [];
  if (quality.rows?.length) {
    const best = Object.fromEntries(MEASURES.map(([key]) => [key, Math.max(...quality.rows.map((row) => row[key]))]));
    const mark = (row, key) => {
      const text = Number(row[key]).toFixed(3);
      return row[key] === best[key] && quality.rows.length > 1 ? make("strong", {}, text) : text;
    };
    const rows = quality.rows.map((row) => [row.features, ...MEASURES.map(([key]) => mark(row, key))]);
    parts.push(table(["Features", ...MEASURES.map(([, name]) => name)], rows));
  }
  const facts = [
    ["Neighbour graph", quality.graph?.index],
    ["Its recall", number(quality.graph?.recall)],
    ["Map: KL divergence", number(quality.map?.kl_divergence)],
    ["Map: trustworthiness", number(quality.map?.trustworthiness)],
    ["Map: neighbours kept", number(quality.map?.neighbor_preservation)],
  ].filter(([, value]) => value !== undefined && value !== "–");
  parts.push(table(["Graph and map", ""], facts));
  const note = quality.rows?.length ? "Against labels that were never trained on." : null;
  return section("Quality", note, ...parts);
}

function stepsSection({ steps }) {
  const total = steps.reduce((sum, step) => sum + step.seconds, 0);
  const rows = steps.map((step) => {
    const bar = make("span", { class: "bar" });
    bar.style.width = `${Math.max(1, (100 * step.seconds) / Math.max(total, 1e-9))}%`;
    return [step.name, step.reused ? "taken over" : `${number(step.seconds, 2)} s`, bar];
  });
  return section(`Time: ${number(total, 1)} s`, null, table(["Step", "", ""], rows));
}

function parameterSection({ params, notes }) {
  const rows = [...Object.entries(params), ...Object.entries(notes)];
  const text = (value) => (value === null ? "chosen by the step" : typeof value === "object" ? JSON.stringify(value) : String(value));
  return section("Parameters", null, table(["Name", "Value"], rows.map(([name, value]) => [name, text(value)])));
}
