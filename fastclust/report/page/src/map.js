// The map: points in WebGL, a part of them while moving if there are many.

import createScatterplot from "regl-scatterplot";
import { categorical, ramp } from "./colors.js";

const MOST_WHILE_MOVING = 100000;

export async function createMap(canvas, data, { hover, pick, lasso }) {
  const box = canvas.parentElement;
  const plot = createScatterplot({
    canvas,
    width: box.clientWidth,
    height: box.clientHeight,
    pointSize: data.n > 200000 ? 1.5 : data.n > 20000 ? 2.5 : 5,
    opacity: data.n > 20000 ? 0.7 : 0.9,
    pointSizeSelected: 3,
    lassoColor: [0.93, 0.47, 0.2, 1],
    lassoMinDelay: 5,
    lassoMinDist: 2,
    backgroundColor: background(),
    pointColorHover: [0.93, 0.47, 0.2, 1],
    pointColorActive: [0.93, 0.47, 0.2, 1],
    performanceMode: data.n > 200000,
  });
  let coloring = null;
  let lassoing = false;

  async function draw() {
    const points = { x: data.x, y: data.y, z: coloring.values };
    await plot.draw(points, { zDataType: coloring.categories ? "categorical" : "continuous" });
  }

  async function color(next) {
    coloring = next;
    plot.set({
      colorBy: "valueA",
      pointColor: next.categories ? categorical(Math.max(next.categories, 2)) : ramp(),
      backgroundColor: background(),
    });
    await draw();
  }

  plot.subscribe("pointOver", (row) => hover(row, plot.getScreenPosition(row)));
  plot.subscribe("pointOut", () => hover(null));
  plot.subscribe("lassoEnd", () => (lassoing = true));
  plot.subscribe("select", ({ points }) => {
    if (lassoing) lasso(points);
    else if (points.length) pick(points[0]);
    lassoing = false;
  });
  plot.subscribe("deselect", () => {
    lassoing = false;
    lasso([]);
  });

  if (data.n > MOST_WHILE_MOVING) {
    // Every k-th row stands for all while the view moves; all are drawn when it is still.
    const step = Math.ceil(data.n / MOST_WHILE_MOVING);
    const part = Array.from({ length: Math.floor(data.n / step) }, (_, i) => i * step);
    let timer = null;
    plot.subscribe("view", () => {
      if (timer === null) plot.filter(part, { preventEvent: true });
      clearTimeout(timer);
      timer = setTimeout(() => {
        timer = null;
        plot.unfilter({ preventEvent: true });
      }, 250);
    });
  }

  new ResizeObserver(() => plot.set({ width: box.clientWidth, height: box.clientHeight })).observe(box);

  return {
    color,
    refresh: () => plot.set({ backgroundColor: background() }),
    select: (rows) => plot.select(rows, { preventEvent: true }),
    clear: () => plot.deselect({ preventEvent: true }),
    mode: (name) => plot.set({ mouseMode: name }),
    zoomTo: (rows) => plot.zoomToPoints(rows, { padding: 0.3, transition: true, transitionDuration: 400 }),
    reset: () => plot.reset(),
    position: (row) => plot.getScreenPosition(row),
    draw,
  };
}

function background() {
  const hex = getComputedStyle(document.documentElement).getPropertyValue("--map").trim();
  return hex || "#ffffff";
}
