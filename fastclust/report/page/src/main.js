// The report page: puts the parts together.

import "./page.css";
import { makeColorings, ramp } from "./colorings.js";
import { load } from "./data.js";
import { csv, find, icon, make, number, saveText } from "./dom.js";
import { listen } from "./keyboard.js";
import { createLabelling } from "./labelling.js";
import { createMap, noMap } from "./map.js";
import { createNames } from "./names.js";
import { createPanel } from "./panel.js";
import { createPictures } from "./pictures.js";
import { fillSections } from "./sections.js";
import { createThumbnails } from "./thumbnails.js";

const root = document.documentElement;
const data = load();
const thumbs = createThumbnails(data.thumbnails);
const colorings = makeColorings(data);
let current = colorings[0];
let selection = [];
let map = noMap;

const pictures = createPictures(data, thumbs, openRow);
const labelling = createLabelling(data, () => {
  panel.fillLegend(current);
  fillNames();
});
const panel = createPanel(data, colorings, pictures, labelling, {
  focus: (rows) => map.select(rows ?? selection),
  selectRows: choose,
  goTo: (row) => showOnMap(row),
});
const names = createNames((row) => map.position(row));
const keys = listen(find("map"), data, {
  start: () => selection[0] ?? data.cluster.length >> 1,
  visit(row) {
    map.hover(row);
    tip(row);
  },
  open: openRow,
  zoom: (factor) => map.zoomBy(factor),
  reset: () => map.reset(),
  clear: () => choose([]),
});

const colors = () => current.colors ?? ramp(root.dataset.theme);
const fillNames = () => names.fill(current, find("named").checked);

async function colorBy(key) {
  current = colorings.find((choice) => choice.key === key);
  panel.fillLegend(current);
  await map.color(current.values, colors(), Boolean(current.kinds));
  map.select(selection);
  fillNames();
}

function openRow(row) {
  map.select(selection);
  names.mark(row);
  keys.at(row);
  panel.showRow(current, row);
  find("panel").scrollTo({ top: find("detail").offsetTop - 12 });
}

function showOnMap(row) {
  find("stage").scrollIntoView({ block: "nearest" });
  map.lookAt(row, Math.min(map.distance(), 0.25));
}

// Rows that stay highlighted; more than one of them can be looked at together and exported.
function choose(rows) {
  selection = [...rows];
  map.select(selection);
  find("selection").hidden = !selection.length;
  find("chosen").textContent = `${number(selection.length)} selected`;
  find("show").hidden = selection.length < 2;
  if (selection.length) panel.showSelection(selection);
  else names.mark(null);
}

function exportSelection() {
  const head = ["id", "row", "cluster", ...(data.label ? ["label"] : [])];
  const lines = selection.map((row) => [
    data.id(row),
    row,
    data.cluster[row],
    ...(data.label ? [data.label[row] < 0 ? "" : (data.label_names?.[data.label[row]] ?? data.label[row])] : []),
  ]);
  saveText("selection.csv", csv(head, lines));
}

function tip(row) {
  const box = find("tip");
  box.hidden = row === null;
  if (row === null) return;
  const lines = [make("strong", {}, data.id(row)), make("span", {}, data.clusterName(data.cluster[row]))];
  if (data.label) lines.push(make("span", {}, data.labelName(data.label[row])));
  box.replaceChildren(...[pictures.picture(row, 84), make("div", {}, lines)].filter(Boolean));
  box.dataset.row = row;
  const stage = find("stage");
  const [x, y] = map.position(row) ?? [0, 0];
  const left = x + 16 + box.offsetWidth > stage.clientWidth ? x - 16 - box.offsetWidth : x + 16;
  const top = y + 16 + box.offsetHeight > stage.clientHeight ? y - 16 - box.offsetHeight : y + 16;
  box.style.left = `${Math.max(4, left)}px`;
  box.style.top = `${Math.max(4, top)}px`;
}

function search(event) {
  event.preventDefault();
  const text = find("query").value.trim();
  if (!text) return;
  const ids = data.ids ?? [];
  let row = ids.indexOf(text);
  if (row < 0 && /^\d+$/.test(text) && Number(text) < data.n) row = Number(text);
  if (row < 0) row = ids.findIndex((id) => id.includes(text));
  find("missing").textContent = row < 0 ? `No row has “${text}” in its id.` : "";
  if (row < 0) return;
  openRow(row);
  showOnMap(row);
}

function setTheme(theme) {
  root.dataset.theme = theme;
  const button = find("theme");
  button.setAttribute("aria-pressed", String(theme === "dark"));
  button.replaceChildren(icon(theme === "dark" ? "sun" : "moon"));
}

function setMode(mode) {
  map.mode(mode === "lasso" ? "lasso" : "panZoom");
  find("move").setAttribute("aria-pressed", String(mode === "move"));
  find("lasso").setAttribute("aria-pressed", String(mode === "lasso"));
}

function wire() {
  find("closer").append(icon("plus"));
  find("wider").append(icon("minus"));
  find("coloring").append(...colorings.map((choice) => make("option", { value: choice.key }, choice.title)));
  const on = (id, type, act) => find(id).addEventListener(type, act);
  on("coloring", "change", (event) => colorBy(event.target.value));
  on("search", "submit", search);
  on("theme", "click", async () => {
    setTheme(root.dataset.theme === "dark" ? "light" : "dark");
    await map.color(current.values, colors(), Boolean(current.kinds));
    map.select(selection);
  });
  on("move", "click", () => setMode("move"));
  on("lasso", "click", () => setMode("lasso"));
  on("closer", "click", () => map.zoomBy(1.6));
  on("wider", "click", () => map.zoomBy(1 / 1.6));
  on("reset", "click", () => map.reset());
  on("named", "change", fillNames);
  on("export", "click", exportSelection);
  on("clear", "click", () => choose([]));
  on("export-labels", "click", () => labelling.export(colorings[0]));
  on("clear-labels", "click", () => labelling.clear());
  on("show", "click", () => panel.showSelection(selection));
  on("map", "blur", () => tip(null));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && selection.length && !event.defaultPrevented) choose([]);
  });
}

async function start() {
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  wire();
  try {
    map = await createMap(find("map"), data, {
      over: tip,
      out: () => tip(null),
      pick: openRow,
      lasso: choose,
      moved: () => names.place(),
    });
    await colorBy("cluster");
  } catch (error) {
    map = noMap;
    find("problem").hidden = false;
    find("problem").textContent = `The map needs WebGL, which this browser does not give (${error.message}). Everything else works.`;
    panel.fillLegend(current);
  }
  labelling.show();
  panel.showGroup(current, current.kinds[0]);
  fillSections(data, pictures, colorings[0]);
  // For tests and for the curious.
  window.fastclust = { data, thumbnails: thumbs, position: (row) => map.position(row), selection: () => selection, labels: data.labelling };
  root.dataset.ready = "true";
}

start();
