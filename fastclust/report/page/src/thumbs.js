// Thumbnails from the sprite sheets.

import { make } from "./dom.js";

export function thumbnails(data) {
  const sheet = data.thumbnails;
  if (!sheet) return null;
  const perSheet = sheet.per_sheet ?? sheet.count;
  const urls = sheet.urls;

  function place(row) {
    const inside = row % perSheet;
    return { url: urls[Math.floor(row / perSheet)], x: inside % sheet.columns, y: Math.floor(inside / sheet.columns) };
  }

  return {
    size: sheet.size,
    // A square of `side` CSS pixels that shows the image of `row`.
    show(row, side, title) {
      const { url, x, y } = place(row);
      const rows = Math.ceil(Math.min(perSheet, sheet.count - Math.floor(row / perSheet) * perSheet) / sheet.columns);
      const element = make("span", { class: "thumb", role: "img", "aria-label": title, title, "data-row": row });
      element.style.width = element.style.height = `${side}px`;
      element.style.backgroundImage = `url(${url})`;
      element.style.backgroundSize = `${sheet.columns * side}px ${rows * side}px`;
      element.style.backgroundPosition = `${-x * side}px ${-y * side}px`;
      return element;
    },
  };
}
