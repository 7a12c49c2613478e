// Names for clusters and labels for rows, kept by the browser and exported as labels.csv.

import { csv, find, make, number, plural, saveText } from "./dom.js";

export function createLabelling(data, changed) {
  const key = `fastclust labels ${data.title} ${data.n} ${data.run.created}`;
  const { names, labels } = data.labelling;
  recall();

  // A page from disk may not be allowed to keep anything.
  function recall() {
    try {
      const kept = JSON.parse(localStorage.getItem(key) ?? "{}");
      for (const [cluster, name] of kept.names ?? []) names.set(cluster, name);
      for (const [row, label] of kept.labels ?? []) labels.set(row, label);
    } catch {}
  }

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify({ names: [...names], labels: [...labels] }));
    } catch {}
    show();
    changed();
  }

  function put(map, keys, text) {
    for (const one of keys) text ? map.set(one, text) : map.delete(one);
    keep();
  }

  // What is said of rows themselves goes before the name of their cluster, which stands for its inner half only.
  function all(byCluster) {
    const found = new Map();
    for (const [cluster, name] of names) {
      const rows = byCluster.groups.get(cluster) ?? [];
      for (const row of data.distance ? rows.slice(0, Math.ceil(rows.length / 2)) : rows) found.set(row, name);
    }
    for (const [row, label] of labels) found.set(row, label);
    return [...found].sort((a, b) => a[0] - b[0]);
  }

  function show() {
    find("labelling").hidden = !names.size && !labels.size;
    const unit = data.kind === "images" ? "image" : "row";
    const parts = [names.size && `${plural(names.size, "cluster")} named`, labels.size && `${plural(labels.size, unit)} labelled`];
    find("labelled").textContent = parts.filter(Boolean).join(", ");
    const known = new Set([...names.values(), ...labels.values(), ...(data.label_names ?? [])]);
    find("known-labels").replaceChildren(...[...known].sort().slice(0, 500).map((value) => make("option", { value })));
  }

  function form(id, title, value, use) {
    const input = make("input", { id, type: "text", value, list: "known-labels", autocomplete: "off", spellcheck: "false", maxlength: 200 });
    const send = (event) => {
      event.preventDefault();
      use(input.value.trim());
    };
    return make("form", { class: "naming", onsubmit: send }, make("label", { for: id }, title), input, make("button", { type: "submit" }, "Set"));
  }

  return {
    show,
    nameOf: (cluster) => form("cluster-name", "Name", names.get(cluster) ?? "", (text) => put(names, [cluster], text)),
    labelOf: (row) => form("row-label", "Label", labels.get(row) ?? "", (text) => put(labels, [row], text)),
    labelAll: (rows) => form("rows-label", `Label all ${number(rows.length)}`, "", (text) => put(labels, rows, text)),
    export: (byCluster) =>
      saveText("labels.csv", csv(["id", "label"], all(byCluster).map(([row, label]) => [data.id(row), label]))),
    clear() {
      names.clear();
      labels.clear();
      keep();
    },
  };
}
