// What the page was given, unpacked.

export function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

const array = (Type, text) => (text ? new Type(bytesOf(text).buffer) : null);

export function load() {
  const raw = JSON.parse(document.getElementById("data").textContent);
  const data = {
    ...raw,
    x: array(Float32Array, raw.x),
    y: array(Float32Array, raw.y),
    cluster: array(Int32Array, raw.cluster),
    label: array(Int32Array, raw.label),
    spread: array(Int32Array, raw.spread),
    distance: array(Float32Array, raw.distance),
    p: array(Float32Array, raw.p),
    neighbors: raw.neighbors && { k: raw.neighbors.k, rows: array(Int32Array, raw.neighbors.rows) },
  };
  data.id = (row) => (data.ids ? data.ids[row] : String(row));
  // What a person says, by cluster and by row.
  data.labelling = { names: new Map(), labels: new Map() };
  data.clusterName = (value) => data.labelling.names.get(value) ?? (value < 0 ? "no cluster" : `Cluster ${value}`);
  data.spreadName = (value) => (value < 0 ? "none came" : (data.spread_names[value] ?? String(value)));
  data.labelName = (value) => {
    if (value < 0) return "no label";
    const name = data.label_names?.[value] ?? String(value);
    return /^\d+$/.test(name) ? `Label ${name}` : name;
  };
  return data;
}

// Rows of each value, nearest to the centre of their own cluster first.
export function groupsOf(data, values) {
  const groups = new Map();
  for (let row = 0; row < values.length; row++) {
    const group = groups.get(values[row]);
    if (group) group.push(row);
    else groups.set(values[row], [row]);
  }
  const near = data.distance;
  if (near) for (const rows of groups.values()) rows.sort((a, b) => near[a] - near[b] || a - b);
  return new Map([...groups].sort((a, b) => a[0] - b[0]));
}

// How many of `rows` have each value: [[value, count], ...], most first.
export function tally(rows, values) {
  const counts = new Map();
  for (const row of rows) counts.set(values[row], (counts.get(values[row]) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

// The row nearest to the middle of `rows` on the map.
export function middleOf(data, rows) {
  const median = (values) => Float32Array.from(rows, (row) => values[row]).sort()[rows.length >> 1];
  const x = median(data.x);
  const y = median(data.y);
  let best = rows[0];
  let least = Infinity;
  for (const row of rows) {
    const gap = (data.x[row] - x) ** 2 + (data.y[row] - y) ** 2;
    if (gap < least) [best, least] = [row, gap];
  }
  return best;
}

// How crowded the map is around each row, in [0, 1]: counts on a grid, smoothed, by their logarithm.
export function crowding(data, side = 192) {
  let grid = new Float32Array(side * side);
  const cell = (value) => Math.min(side - 1, Math.floor(((value + 1) / 2) * side));
  const at = Int32Array.from(data.x, (x, row) => cell(data.y[row]) * side + cell(x));
  for (const place of at) grid[place] += 1;
  for (const step of [1, side, 1, side]) {
    grid = grid.map((value, i) => (value * 2 + (grid[i - step] ?? 0) + (grid[i + step] ?? 0)) / 4);
  }
  const most = Math.log1p(grid.reduce((a, b) => Math.max(a, b), 0)) || 1;
  return Float32Array.from(at, (place) => Math.log1p(grid[place]) / most);
}
