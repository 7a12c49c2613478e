// Rows as pictures, or as chips with their ids where there are none.

import { make } from "./dom.js";

export function createPictures(data, thumbs, open) {
  const words = (row) => {
    const parts = [data.id(row), data.clusterName(data.cluster[row])];
    if (data.label) parts.push(data.labelName(data.label[row]));
    return parts.join(" · ");
  };

  const picture = (row, side) => (thumbs ? thumbs.show(row, side, words(row)) : null);

  function cell(row, side, note = "") {
    const text = note ? `${words(row)} · ${note}` : words(row);
    const inside = picture(row, side) ?? make("span", { class: "chip" }, data.id(row));
    return make("button", { class: "cell", type: "button", title: text, "data-row": row, onclick: () => open(row) }, inside);
  }

  const montage = (rows, { side = 44, note = () => "", ...attributes } = {}) =>
    make("div", { class: "montage", ...attributes }, rows.map((row) => cell(row, side, note(row))));

  return { words, picture, montage };
}
