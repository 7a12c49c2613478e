// The map: points in WebGL, a part of them while moving if there are many.

import createScatterplot from "regl-scatterplot";

const MOST_WHILE_MOVING = 100000;
// Milliseconds.
const CLICK_AFTER_LASSO = 400;
const STILL_AFTER = 400;
const LONGEST_STEP = 1500;

export const background = () => getComputedStyle(document.documentElement).getPropertyValue("--map").trim() || "#ffffff";

export async function createMap(canvas, data, { over, out, pick, lasso, moved }) {
  const box = canvas.parentElement;
  const size = data.n > 300000 ? 1.2 : data.n > 30000 ? 2.2 : data.n > 8000 ? 3.2 : data.n > 1000 ? 5 : 7;
  const plot = createScatterplot({
    canvas,
    width: box.clientWidth,
    height: box.clientHeight,
    pointSize: size,
    pointSizeSelected: 1,
    pointOutlineWidth: 0,
    opacity: data.n > 30000 ? 0.72 : 0.88,
    opacityInactiveMax: 0.4,
    opacityInactiveScale: 0.35,
    lassoColor: [0.24, 0.49, 0.9, 1],
    lassoMinDelay: 5,
    lassoMinDist: 2,
    backgroundColor: background(),
    deselectOnDblClick: false,
    deselectOnEscape: false,
    performanceMode: data.n > 200000,
  });
  let drawing = false;
  let drawn = { rows: [], time: -Infinity };
  // All rows lie within 1 of the middle; a narrow stage has to stand farther back.
  const whole = () => Math.max(1, box.clientHeight / Math.max(box.clientWidth, 1));
  let fitted = whole();
  plot.set({ cameraDistance: fitted });

  plot.subscribe("pointOver", (row) => over(row));
  plot.subscribe("pointOut", () => out());
  plot.subscribe("lassoStart", () => (drawing = true));
  plot.subscribe("select", ({ points }) => {
    if (drawing) {
      drawn = { rows: [...points].sort((a, b) => a - b), time: performance.now() };
      lasso(drawn.rows);
    } else if (performance.now() - drawn.time < CLICK_AFTER_LASSO) {
      // Letting go where the lasso began counts as a click too; it is none.
      plot.select(drawn.rows, { preventEvent: true });
    } else if (points.length) pick(points[0]);
    drawing = false;
  });
  plot.subscribe("deselect", () => {
    drawing = false;
    lasso([]);
  });

  if (data.n > MOST_WHILE_MOVING) {
    // Every k-th row stands for all while the view moves; all are drawn when it is still.
    const step = Math.ceil(data.n / MOST_WHILE_MOVING);
    const part = Array.from({ length: Math.floor(data.n / step) }, (_, i) => i * step);
    let waiting = false;
    let last = 0;
    let slowest = 0;
    const rest = () => {
      // A frame of all points may take a second: it must not come between two steps of one movement, however slow
      // those are.
      const left = Math.max(STILL_AFTER, 3 * slowest) - (performance.now() - last);
      if (left > 0) return void setTimeout(rest, left);
      waiting = false;
      plot.unfilter({ preventEvent: true });
    };
    const moves = () => {
      const now = performance.now();
      if (waiting) slowest = Math.max(0.7 * slowest, Math.min(now - last, LONGEST_STEP));
      else {
        waiting = true;
        slowest = 0;
        plot.filter(part, { preventEvent: true });
        setTimeout(rest, STILL_AFTER);
      }
      last = now;
    };
    // What the hand does tells of movement before the view does, which waits for a frame.
    canvas.addEventListener("wheel", moves, { passive: true });
    canvas.addEventListener("pointermove", (event) => event.buttons && plot.get("mouseMode") === "panZoom" && moves());
    plot.subscribe("view", moves);
  }
  plot.subscribe("view", moved);

  new ResizeObserver(() => {
    plot.set({ width: box.clientWidth, height: box.clientHeight });
    const untouched = Math.abs(plot.get("cameraDistance") - fitted) < 1e-3 && Math.hypot(...plot.get("cameraTarget")) < 1e-3;
    fitted = whole();
    if (untouched) plot.zoomToLocation([0, 0], fitted);
    requestAnimationFrame(moved);
  }).observe(box);

  const view = { transition: true, transitionDuration: 350 };
  return {
    async color(values, colors, categorical) {
      // One colour alone would be read as a single value.
      const pointColor = colors.length > 1 ? colors : [colors[0], colors[0]];
      plot.set({ colorBy: "valueA", pointColor, backgroundColor: background() });
      const points = { x: data.x, y: data.y, z: values };
      await plot.draw(points, { zDataType: categorical ? "categorical" : "continuous" });
    },
    select: (rows) => (rows.length ? plot.select(rows, { preventEvent: true }) : plot.deselect({ preventEvent: true })),
    hover: (row) => plot.hover(row, { preventEvent: true }),
    mode: (name) => plot.set({ mouseMode: name }),
    zoomTo: (rows) => plot.zoomToPoints(rows, { padding: 0.35, ...view }),
    zoomBy(factor) {
      const [x, y] = plot.get("cameraTarget");
      plot.zoomToLocation([x, y], plot.get("cameraDistance") / factor, { ...view, transitionDuration: 150 });
    },
    // A view of about `span` data units around a row.
    lookAt: (row, span) => plot.zoomToLocation([data.x[row], data.y[row]], span, view),
    distance: () => plot.get("cameraDistance"),
    reset: () => plot.zoomToLocation([0, 0], whole(), view),
    position: (row) => plot.getScreenPosition(row),
  };
}

// Stands in where there is no WebGL: legend, montages and tables go on working.
export const noMap = {
  color: async () => {},
  select() {},
  hover() {},
  mode() {},
  zoomTo() {},
  zoomBy() {},
  lookAt() {},
  distance: () => 1,
  reset() {},
  position: () => undefined,
};
