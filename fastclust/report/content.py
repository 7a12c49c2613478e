"""What the page shows, gathered from a run folder. Only the map, the clusters and ``run.json`` must be there."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.artifacts import load_array, load_json
from fastclust.errors import DataError, NotFoundError
from fastclust.report.palette import categorical_hex

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Content", "gather"]

#: Neighbours shown beside a row, and rows up to which they are worth their bytes.
_NEIGHBORS = 8
_MOST_ROWS_WITH_NEIGHBORS = 200_000
#: Duplicate groups and outliers that the page holds; the files have all.
_MOST_LISTED = 200


@dataclass(frozen=True, slots=True)
class Content:
    """A run as the page and the picture need it."""

    title: str
    #: One line, such as "1,797 images in 10 clusters".
    note: str
    points: NDArray[np.float32]  # [n, 2]
    labels: NDArray[np.int32]  # [n]: clusters
    #: For the page's script; plain JSON values.
    data: dict[str, Any]
    #: Sprite sheets, JPEG, in base64.
    sheets: list[str]


def gather(folder: Path) -> Content:
    """Read a run folder.

    Raises
    ------
    NotFoundError
        ``run.json``, ``map.npy`` or ``labels.npy`` is missing.
    DataError
        A file that is there cannot be read, or holds other rows than the rest.
    """
    about = load_json(folder / "run.json")
    points, labels = _map(folder)
    n = len(labels)
    names, table = _columns(folder / "ids.parquet", n), _columns(folder / "map.parquet", n)
    given = names.get("label", table.get("label"))
    label_names = names.get("label_name", table.get("label_name"))
    kind = "images" if about.get("kind") == "images" else "vectors"
    n_clusters = len(np.unique(labels))
    word = {"images": "image", "vectors": "row"}[kind]
    note = f"{n:,} {word}{'' if n == 1 else 's'} in {n_clusters:,} cluster{'' if n_clusters == 1 else 's'}"
    thumbnails, sheets = _thumbnails(folder)
    names_of_labels = _label_names(given, label_names)
    spread = _spread(table.get("spread_label"))
    shown = max(int(labels.max()) + 2, len(names_of_labels or []) + 1, len(spread["spread_names"] or []) + 1, 12)
    title = str(about.get("title") or folder.name)
    data = {
        "title": title,
        "n": n,
        "kind": kind,
        "ids": names.get("id", table.get("id")),
        **_positions(points),
        "cluster": _encode(labels, "<i4"),
        "label": None if given is None else _encode(np.array([-1 if x is None else x for x in given]), "<i4"),
        "label_names": names_of_labels,
        "distance": _floats(table.get("distance")),
        "p": _floats(table.get("outlier_p")),
        "neighbors": _neighbors(folder / "graph.safetensors", n),
        "quality": _optional(folder / "quality.json"),
        "insight": _insight(folder / "insight.json"),
        "choice": _optional(folder / "choice.json"),
        **spread,
        "thumbnails": thumbnails,
        "palette": categorical_hex(min(shown, 100)),
        "run": _run(about),
    }
    return Content(title, note, points, labels, data, sheets)


def _map(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    points = load_array(folder / "map.npy")
    labels = load_array(folder / "labels.npy")
    if points.ndim != 2 or points.shape[1] < 2 or labels.shape != (len(points),) or not len(labels):
        raise DataError(f"{folder}: map.npy {points.shape} and labels.npy {labels.shape}; needed: [n, 2] and [n].")
    if not np.isfinite(points).all():
        raise DataError(f"{folder / 'map.npy'}: holds NaN or Inf.")
    return points[:, :2].astype(np.float32), labels.astype(np.int32)


def _positions(points: NDArray[np.float32]) -> dict[str, str]:
    """Return x and y, within [-0.95, 0.95] by one scale for both."""
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    placed = 1.9 * (points - (low + high) / 2) / max(float((high - low).max()), 1e-12)
    return {"x": _encode(placed[:, 0], "<f4"), "y": _encode(placed[:, 1], "<f4")}


def _columns(path: Path, n_rows: int) -> dict[str, list[Any]]:
    if not path.is_file():
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error}).") from error
    if table.num_rows != n_rows:
        raise DataError(f"{path}: {table.num_rows} rows; labels.npy has {n_rows}.")
    return {str(name): column for name, column in table.to_pydict().items()}


def _label_names(labels: list[int | None] | None, names: list[str | None] | None) -> list[str] | None:
    if labels is None or names is None:
        return None
    found = {label: name for label, name in zip(labels, names, strict=True) if label is not None and name is not None}
    return [found.get(label, str(label)) for label in range(max(found, default=-1) + 1)]


def _spread(labels: list[str | None] | None) -> dict[str, Any]:
    """Labels that were spread from those a person gave, as numbers and their names."""
    if labels is None:
        return {"spread": None, "spread_names": None}
    names = sorted({label for label in labels if label is not None})
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    return {"spread": _encode(np.array([numbers.get(label, -1) for label in labels]), "<i4"), "spread_names": names}


def _neighbors(path: Path, n_rows: int) -> dict[str, Any] | None:
    """Return the nearest few of each row, ``[n, k]`` flat."""
    if not path.is_file() or n_rows > _MOST_ROWS_WITH_NEIGHBORS:
        return None
    from fastclust.neighbors import NeighborGraph

    graph = NeighborGraph.load(path)
    if graph.n_rows != n_rows:
        raise DataError(f"{path}: {graph.n_rows} rows; labels.npy has {n_rows}.")
    kept = min(_NEIGHBORS, graph.n_neighbors)
    return {"k": kept, "rows": _encode(graph.indices[:, :kept], "<i4")}


def _optional(path: Path) -> dict[str, Any] | None:
    try:
        return load_json(path)
    except NotFoundError:
        return None


def _insight(path: Path) -> dict[str, Any] | None:
    found = _optional(path)
    if found is None:
        return None
    duplicates = found.get("duplicates") or []
    return {
        "duplicates": duplicates[:_MOST_LISTED],
        "duplicate_groups": len(duplicates),
        "duplicate_rows": sum(len(group) for group in duplicates),
        "duplicate_threshold": found.get("duplicate_threshold"),
        "duplicate_evidence": found.get("duplicate_evidence"),
        "outliers": (found.get("outliers") or [])[:_MOST_LISTED],
        "representatives": found.get("representatives") or [],
    }


def _thumbnails(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    about = _optional(folder / "thumbnails.json")
    if about is None:
        return None, []
    names = about.get("files") or ["thumbnails.jpg"]
    sheets = []
    for name in names:
        try:
            sheets.append(base64.b64encode((folder / name).read_bytes()).decode("ascii"))
        except FileNotFoundError:
            return None, []
    kept = {key: int(about[key]) for key in ("size", "columns", "count")}
    return {**kept, "per_sheet": int(about.get("per_sheet") or about["count"])}, sheets


def _run(about: dict[str, Any]) -> dict[str, Any]:
    # The time of writing the report itself is known only afterwards, and would make each writing differ.
    steps = [step for step in about.get("steps") or [] if step.get("name") != "report"]
    notes = {}
    for step in steps:
        kept = {name: value for name, value in (step.get("notes") or {}).items() if value not in (None, [], {}, "")}
        if kept:
            notes[str(step["name"])] = kept
    return {
        "created": about.get("created"),
        "version": about.get("fastclust"),
        "machine": about.get("machine") or {},
        "params": about.get("params") or {},
        "notes": notes,
        "steps": [
            {"name": step.get("name"), "seconds": step.get("seconds") or 0, "reused": bool(step.get("reused"))}
            for step in steps
        ],
    }


def _floats(values: list[float | None] | None) -> str | None:
    return None if values is None else _encode(np.array(values, np.float64), "<f4")


def _encode(values: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")
