// The panel beside the map: the legend, and the details of a cluster, a row or a selection.

import { tally } from "./data.js";
import { find, make, number, plural, share } from "./dom.js";

const IN_MONTAGE = 24;
const PARTS_SHOWN = 4;

export function createPanel(data, colorings, pictures, labelling, { focus, selectRows, goTo }) {
  const byCluster = colorings[0];
  const byLabel = colorings.find((choice) => choice.key === "label");
  const unit = data.kind === "images" ? "image" : "row";
  let opened = null;

  const swatch = (color) => make("span", { class: "swatch", style: { background: color } });
  const mark = (entry) => entry.setAttribute("aria-current", String(entry.dataset.kind === String(opened)));

  function fillLegend(choice) {
    opened = null;
    find("legend").hidden = !choice.kinds;
    find("scale").hidden = Boolean(choice.kinds);
    if (!choice.kinds) {
      find("legend").replaceChildren();
      find("scale").querySelectorAll(".ends span").forEach((end, i) => (end.textContent = choice.ends[i]));
      return;
    }
    const most = Math.max(...[...choice.groups.values()].map((rows) => rows.length));
    const lines = choice.kinds.map((kind) => {
      const rows = choice.groups.get(kind);
      const entry = make(
        "button",
        {
          class: "entry",
          type: "button",
          "data-kind": kind,
          onclick: () => showGroup(choice, kind),
          onmouseenter: () => focus(rows),
          onmouseleave: () => focus(null),
          onfocus: () => focus(rows),
          onblur: () => focus(null),
        },
        swatch(choice.color(kind)),
        make("span", { class: "name" }, choice.name(kind), main(choice, rows)),
        make("span", { class: "amount" }, make("i", { style: { width: `${(100 * rows.length) / most}%` } })),
        make("span", { class: "count" }, number(rows.length)),
      );
      return make("li", {}, entry);
    });
    find("legend").replaceChildren(...lines);
  }

  // What most rows of a cluster are labelled, or in which cluster most rows of a label are.
  function main(choice, rows) {
    if (!byLabel) return null;
    const other = choice === byLabel ? byCluster : byLabel;
    const [value, count] = tally(rows, choice === byLabel ? data.cluster : data.label)[0];
    return make("small", {}, `${share(count, rows.length)} ${other.name(value)}`);
  }

  function detail(...content) {
    find("detail").replaceChildren(...content.filter(Boolean));
    for (const entry of find("legend").querySelectorAll(".entry")) mark(entry);
  }

  const section = (title, content) => make("div", { class: "part" }, make("h4", {}, title), content);

  function composition(rows, choice, values) {
    const counts = tally(rows, values);
    const shown = counts.slice(0, PARTS_SHOWN);
    const rest = rows.length - shown.reduce((sum, [, count]) => sum + count, 0);
    const bar = make("div", { class: "stack", "aria-hidden": "true" });
    for (const [value, count] of counts) {
      bar.append(make("i", { style: { flexGrow: count, background: choice.color(value) }, title: choice.name(value) }));
    }
    const words = shown.map(([value, count]) =>
      make("span", {}, swatch(choice.color(value)), `${choice.name(value)} ${share(count, rows.length)}`),
    );
    if (rest) words.push(make("span", { class: "soft" }, `others ${share(rest, rows.length)}`));
    return [bar, make("p", { class: "parts" }, words)];
  }

  function showGroup(choice, kind, lead = null) {
    opened = kind;
    const rows = choice.groups.get(kind);
    const far = rows.slice(-Math.min(IN_MONTAGE, Math.max(0, rows.length - IN_MONTAGE))).reverse();
    const heading = make("h3", {}, swatch(choice.color(kind)), choice.name(kind));
    heading.append(make("span", { class: "soft" }, plural(rows.length, unit)));
    const mixed = byLabel && (choice === byLabel ? composition(rows, byCluster, data.cluster) : composition(rows, byLabel, data.label));
    const whose = choice === byCluster ? "the centre" : "the centre of their cluster";
    const of = (row) => (data.distance ? `distance ${number(data.distance[row])}` : "");
    detail(
      lead,
      heading,
      choice === byCluster && kind >= 0 ? labelling.nameOf(kind) : null,
      mixed ? make("div", { class: "mix" }, mixed) : null,
      section(
        data.distance ? `Nearest to ${whose}` : `The first ${plural(Math.min(rows.length, IN_MONTAGE), unit)}`,
        pictures.montage(rows.slice(0, IN_MONTAGE), { note: of, id: "nearest" }),
      ),
      far.length && data.distance ? section("Farthest from it", pictures.montage(far, { note: of, id: "farthest" })) : null,
      make("p", { class: "acts" }, make("button", { type: "button", onclick: () => selectRows(rows) }, `Select all ${number(rows.length)}`)),
    );
  }

  function showRow(choice, row) {
    const odd = data.p && !Number.isNaN(data.p[row]);
    const facts = [
      ["Row", number(row)],
      ["Cluster", make("span", {}, swatch(byCluster.color(data.cluster[row])), data.clusterName(data.cluster[row]))],
      byLabel && ["Label", make("span", {}, swatch(byLabel.color(data.label[row])), data.labelName(data.label[row]))],
      data.distance && ["Distance to centre", number(data.distance[row])],
      odd && ["p in its cluster", data.p[row] < 0.001 ? data.p[row].toExponential(1) : number(data.p[row])],
    ].filter(Boolean);
    const list = make("dl", {}, facts.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
    const card = make("div", { class: "card", id: "card", "data-row": row }, pictures.picture(row, 112));
    card.append(make("div", {}, make("h3", {}, data.id(row)), list));
    const parts = [card, labelling.labelOf(row)];
    if (data.neighbors) {
      const { k, rows } = data.neighbors;
      const near = [...rows.subarray(row * k, (row + 1) * k)].filter((other) => other >= 0);
      parts.push(section("Nearest neighbours", pictures.montage(near, { id: "neighbours" })));
    }
    parts.push(make("p", { class: "acts" }, make("button", { type: "button", onclick: () => goTo(row) }, "Show on the map")));
    const kinds = choice.kinds ? choice : byCluster;
    showGroup(kinds, kinds.of(row), make("div", { class: "lead" }, parts));
  }

  function showSelection(rows) {
    opened = null;
    const mixes = [["Clusters", byCluster, data.cluster], byLabel && ["Labels", byLabel, data.label]].filter(Boolean);
    detail(
      make("h3", {}, "Selection", make("span", { class: "soft" }, plural(rows.length, unit))),
      labelling.labelAll(rows),
      ...mixes.map(([title, choice, values]) => section(title, composition(rows, choice, values))),
      section(rows.length > 48 ? "The first 48" : "All of them", pictures.montage(rows.slice(0, 48), { id: "chosen-rows" })),
    );
  }

  return { fillLegend, showGroup, showRow, showSelection };
}
