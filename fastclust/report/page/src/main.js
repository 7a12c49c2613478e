// The report page.

import "./page.css";
import { categorical } from "./colors.js";
import { groupsOf, load } from "./data.js";
import { find, make, number, save } from "./dom.js";
import { createMap } from "./map.js";
import { fillTables } from "./tables.js";
import { thumbnails } from "./thumbs.js";

const IN_MONTAGE = 24;
const data = load();
const thumbs = thumbnails(data);
const colorings = makeColorings();
let current = colorings[0];
let groups = new Map();
let selection = [];
let map = null;

function makeColorings() {
  const found = [{ key: "cluster", title: "Cluster", values: data.cluster, name: (value) => `Cluster ${value}` }];
  if (data.label) {
    const names = data.label_names;
    const name = (value) => (value < 0 ? "no label" : names ? names[value] : `Label ${value}`);
    found.push({ key: "label", title: "Label", values: data.label, name });
  }
  for (const choice of found) {
    // Colours by place in the list, so that a label of -1 has one too.
    choice.kinds = [...new Set(choice.values)].sort((a, b) => a - b);
    const place = new Map(choice.kinds.map((kind, i) => [kind, i]));
    choice.drawn = { values: Float32Array.from(choice.values, (v) => place.get(v)), categories: choice.kinds.length };
    choice.colors = categorical(choice.kinds.length);
  }
  if (data.p) {
    const odd = Float32Array.from(data.p, (p) => Math.min(1, -Math.log10(Math.max(p, 1e-6)) / 6));
    found.push({ key: "p", title: "How odd in its cluster", drawn: { values: odd, categories: 0 } });
  }
  if (data.distance) {
    const most = data.distance.reduce((a, b) => Math.max(a, b), 1e-12);
    const far = Float32Array.from(data.distance, (d) => d / most);
    found.push({ key: "distance", title: "Distance to the centre", drawn: { values: far, categories: 0 } });
  }
  return found;
}

const title = (row) => {
  const label = data.label && data.label[row] >= 0 ? `, ${colorings[1].name(data.label[row])}` : "";
  return `${data.ids[row]}, cluster ${data.cluster[row]}${label}`;
};

function picture(row, side) {
  const text = title(row);
  const inside = thumbs ? thumbs.show(row, side, text) : make("span", { class: "chip" }, data.ids[row]);
  return make("button", { class: "cell", title: text, "data-row": row, onclick: () => showRow(row) }, inside);
}

function montage(heading, rows, side = 44) {
  return make("div", {}, make("h4", {}, heading), make("div", { class: "montage" }, rows.map((row) => picture(row, side))));
}

async function colorBy(key) {
  current = colorings.find((choice) => choice.key === key);
  groups = current.kinds ? groupsOf(data, current.values) : new Map();
  fillLegend();
  await map.color(current.drawn);
}

function fillLegend() {
  const list = find("legend");
  list.replaceChildren();
  find("scale").hidden = Boolean(current.kinds);
  [...groups].forEach(([kind, rows], i) => {
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = current.colors[i];
    const entry = make(
      "button",
      {
        class: "entry",
        "data-kind": kind,
        onclick: () => showGroup(kind),
        onmouseenter: () => map.select(rows),
        onmouseleave: () => map.select(selection),
        onfocus: () => map.select(rows),
        onblur: () => map.select(selection),
      },
      swatch,
      make("span", { class: "name" }, current.name(kind)),
      make("span", { class: "count" }, number(rows.length)),
    );
    list.append(make("li", {}, entry));
  });
}

function detail(heading, ...content) {
  find("detail").replaceChildren(make("h3", {}, heading), ...content);
}

function showGroup(kind) {
  const choice = current.kinds ? current : colorings[0];
  const rows = groupsOf(data, choice.values).get(kind);
  const far = rows.slice(-Math.min(IN_MONTAGE, Math.max(0, rows.length - IN_MONTAGE))).reverse();
  detail(
    `${choice.name(kind)}: ${number(rows.length)} rows`,
    montage("Nearest to the centre", rows.slice(0, IN_MONTAGE)),
    far.length ? montage("Farthest from it", far) : null,
    make("p", {}, make("button", { class: "quiet", onclick: () => choose(rows) }, "Select these rows")),
  );
}

function showRow(row) {
  choose([row], false);
  showGroup(current.kinds ? current.values[row] : data.cluster[row]);
  const facts = [
    ["Row", number(row)],
    ["Cluster", data.cluster[row]],
    data.label ? ["Label", colorings[1].name(data.label[row])] : null,
    data.distance ? ["Distance to its centre", number(data.distance[row])] : null,
    data.p ? ["p-value in its cluster", data.p[row].toExponential(1)] : null,
  ].filter(Boolean);
  const list = make("dl", {}, facts.map(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
  const card = make("div", { class: "card", id: "card" }, thumbs ? thumbs.show(row, 96, title(row)) : null);
  card.append(make("div", {}, make("strong", {}, data.ids[row]), list));
  find("detail").prepend(card);
}

function choose(rows, tell = true) {
  selection = [...rows];
  map.select(selection);
  find("export").disabled = !selection.length;
  find("clear").disabled = !selection.length;
  find("chosen").textContent = selection.length ? `${number(selection.length)} selected` : "";
  if (tell && selection.length > 1) {
    const shown = selection.slice(0, 2 * IN_MONTAGE);
    detail(`Selection: ${number(selection.length)} rows`, montage("The first of them", shown));
  }
}

function exportSelection() {
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = selection.map((row) => `${quote(data.ids[row])},${row},${data.cluster[row]}`);
  save("selection.csv", ["id,row,cluster", ...lines].join("\n") + "\n");
}

function hover(row, at) {
  const tip = find("tip");
  tip.hidden = row === null;
  if (row === null) return;
  tip.replaceChildren(thumbs ? thumbs.show(row, 84, title(row)) : "", make("span", {}, title(row)));
  tip.dataset.row = row;
  const box = find("map").parentElement.getBoundingClientRect();
  const [x, y] = at ?? [box.width / 2, box.height / 2];
  tip.style.left = `${Math.min(Math.max(x + 14, 4), box.width - tip.offsetWidth - 4)}px`;
  tip.style.top = `${Math.min(Math.max(y + 14, 4), box.height - tip.offsetHeight - 4)}px`;
}

function search(event) {
  event.preventDefault();
  const text = find("query").value.trim();
  let row = data.ids.indexOf(text);
  if (row < 0) row = data.ids.findIndex((id) => id.includes(text));
  if (row < 0 && /^\d+$/.test(text) && Number(text) < data.n) row = Number(text);
  find("missing").textContent = text && row < 0 ? "No such row" : "";
  if (text && row >= 0) {
    showRow(row);
    map.zoomTo([row]);
  }
}

function theme() {
  const dark = document.documentElement.dataset.theme === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  find("theme").setAttribute("aria-pressed", String(!dark));
  map.refresh();
}

async function start() {
  const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = preferred;
  find("theme").setAttribute("aria-pressed", String(preferred === "dark"));
  const picker = find("coloring");
  picker.append(...colorings.map((choice) => make("option", { value: choice.key }, choice.title)));
  fillTables(data, { picture, showRow });
  map = await createMap(find("map"), data, { hover, pick: showRow, lasso: (rows) => choose(rows) });
  picker.addEventListener("change", () => colorBy(picker.value));
  find("search").addEventListener("submit", search);
  find("theme").addEventListener("click", theme);
  find("export").addEventListener("click", exportSelection);
  find("clear").addEventListener("click", () => choose([]));
  find("reset").addEventListener("click", () => map.reset());
  find("lasso").addEventListener("click", (event) => {
    const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
    event.currentTarget.setAttribute("aria-pressed", String(on));
    map.mode(on ? "lasso" : "panZoom");
  });
  await colorBy("cluster");
  showGroup(data.cluster[0] >= 0 ? Math.min(...groups.keys()) : 0);
  // For tests and for the curious: where a row is on the screen.
  window.fastclust = { data, position: (row) => map.position(row), selection: () => selection };
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  find("problem").hidden = false;
  find("problem").textContent = `The map cannot be drawn here: ${error.message}. The tables below need no WebGL.`;
});
