// Thumbnails, cut from the sprite sheets. A sheet is unpacked when one of its images is first shown.

import { bytesOf } from "./data.js";
import { make } from "./dom.js";

// Unpacked sheets take 16 MB each.
const MOST_SHEETS = 24;

export function createThumbnails(about) {
  if (!about) return null;
  const sheets = new Map();

  function sheet(number) {
    const known = sheets.get(number);
    sheets.delete(number);
    const found = known ?? unpack(number);
    sheets.set(number, found);
    if (sheets.size > MOST_SHEETS) {
      const [oldest, bitmap] = sheets.entries().next().value;
      sheets.delete(oldest);
      bitmap.then((pixels) => setTimeout(() => pixels.close(), 2000));
    }
    return found;
  }

  const unpack = (number) =>
    createImageBitmap(new Blob([bytesOf(document.getElementById(`sheet-${number}`).textContent)], { type: "image/jpeg" }));

  // Where the image of `row` lies: sheet number, and the left and top pixel in it.
  function place(row) {
    const inside = row % about.per_sheet;
    const x = (inside % about.columns) * about.size;
    const y = Math.floor(inside / about.columns) * about.size;
    return { sheet: Math.floor(row / about.per_sheet), x, y };
  }

  async function paint(canvas, row) {
    const { sheet: number, x, y } = place(row);
    const pixels = await sheet(number);
    const context = canvas.getContext("2d");
    // Small scans keep their pixels; larger pictures are smoothed.
    context.imageSmoothingEnabled = canvas.width < about.size || about.size > 32;
    context.imageSmoothingQuality = "high";
    context.drawImage(pixels, x, y, about.size, about.size, 0, 0, canvas.width, canvas.height);
    canvas.dataset.painted = "true";
  }

  return {
    size: about.size,
    place,
    // A square of `side` CSS pixels that shows the image of `row`.
    show(row, side, text) {
      const dots = Math.round(side * Math.min(window.devicePixelRatio || 1, 2));
      const canvas = make("canvas", { class: "thumb", role: "img", "aria-label": text, "data-row": row });
      canvas.width = canvas.height = dots;
      canvas.style.width = canvas.style.height = `${side}px`;
      paint(canvas, row);
      return canvas;
    },
  };
}
