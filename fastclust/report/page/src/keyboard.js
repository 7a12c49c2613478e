// Going from point to point by arrow keys.

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// The nearest row within 45 degrees of a direction; null where there is none.
export function step(data, from, [dx, dy]) {
  let best = null;
  let least = Infinity;
  for (let row = 0; row < data.n; row++) {
    const x = data.x[row] - data.x[from];
    const y = data.y[row] - data.y[from];
    const along = x * dx + y * dy;
    const across = Math.abs(x * dy - y * dx);
    if (along <= 0 || across > along) continue;
    const cost = along + 2 * across;
    if (cost < least) [best, least] = [row, cost];
  }
  return best;
}

export function listen(canvas, data, { start, visit, open, zoom, reset, clear }) {
  let current = null;
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = WAYS[event.key];
    if (way) {
      current = current === null ? start() : (step(data, current, way) ?? current);
      visit(current);
    } else if ((event.key === "Enter" || event.key === " ") && current !== null) open(current);
    else if (event.key === "+" || event.key === "=") zoom(1.6);
    else if (event.key === "-") zoom(1 / 1.6);
    else if (event.key === "0") reset();
    else if (event.key === "Escape") clear();
    else return;
    event.preventDefault();
  });
  return { at: (row) => (current = row) };
}
