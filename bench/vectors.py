"""Benchmark files of others: ann-benchmarks' HDF5, and big-ann-benchmarks' folders of fbin, u8bin, i8bin and ibin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Vectors", "read", "write"]

_HDF5 = (".hdf5", ".h5")
#: Suffix by dtype, of vectors and of the true neighbours.
_BINS = {"float32": ".fbin", "uint8": ".u8bin", "int8": ".i8bin", "int32": ".ibin"}
_TRUTH = "truth.ibin"
#: ann-benchmarks' names of metrics, and ours.
_METRICS = {"euclidean": "euclidean", "angular": "cosine"}


@dataclass(frozen=True)
class Vectors:
    """Rows to search in, queries, and the true neighbours of these."""

    #: [n, d] and [q, d]
    train: NDArray[Any]
    test: NDArray[Any]
    #: int [q, k] and float [q, k], nearest first; the distances are not squared.
    neighbors: NDArray[Any]
    distances: NDArray[Any]
    #: "euclidean" or "cosine"
    metric: str = "euclidean"


def read(path: Path) -> Vectors:
    """Read an HDF5 file, or a folder with one base file, one query file and the truth. Raises ValueError."""
    if path.suffix in _HDF5:
        return _read_hdf5(path)
    if path.is_dir():
        return _read_folder(path)
    raise ValueError(f"{path}: expected a file {' or '.join(_HDF5)}, or a folder with base.*bin, query.*bin, {_TRUTH}")


def write(vectors: Vectors, path: Path) -> None:
    """Write an HDF5 file, or a folder where the name has no suffix. Raises ValueError."""
    if path.suffix in _HDF5:
        _write_hdf5(vectors, path)
    elif not path.suffix:
        _write_folder(vectors, path)
    else:
        raise ValueError(f"{path}: expected a name with {' or '.join(_HDF5)}, or one without suffix for a folder")


def _read_hdf5(path: Path) -> Vectors:
    import h5py

    with h5py.File(path, "r") as file:
        missing = [name for name in ("train", "test", "neighbors", "distances") if name not in file]
        if missing:
            raise ValueError(f"{path}: has no {', '.join(missing)}; found {', '.join(file)}")
        named = file.attrs.get("distance", "euclidean")
        named = named.decode() if isinstance(named, bytes) else str(named)
        if named not in _METRICS:
            raise ValueError(f"{path}: distance {named!r}; allowed: {', '.join(_METRICS)}")
        parts = [file[name][:] for name in ("train", "test", "neighbors", "distances")]
    return _checked(Vectors(*parts, metric=_METRICS[named]), path)


def _write_hdf5(vectors: Vectors, path: Path) -> None:
    import h5py

    theirs = {ours: name for name, ours in _METRICS.items()}
    with h5py.File(path, "w") as file:
        file.attrs["type"] = "dense"
        file.attrs["distance"] = theirs[vectors.metric]
        file.attrs["dimension"] = vectors.train.shape[1]
        file.attrs["point_type"] = "float"
        for name in ("train", "test", "neighbors", "distances"):
            file.create_dataset(name, data=getattr(vectors, name))


def _read_folder(path: Path) -> Vectors:
    found = {}
    for name in ("base", "query"):
        files = [path / f"{name}{suffix}" for suffix in _BINS.values() if (path / f"{name}{suffix}").is_file()]
        if len(files) != 1:
            raise ValueError(f"{path}: expected one of {', '.join(f'{name}{suffix}' for suffix in _BINS.values())}")
        found[name] = _read_bin(files[0])
    return _checked(Vectors(found["base"], found["query"], *_read_truth(path / _TRUTH)), path)


def _read_bin(path: Path) -> NDArray[Any]:
    """uint32 n and d, then n rows."""
    (dtype,) = [np.dtype(name) for name, suffix in _BINS.items() if suffix == path.suffix]
    n, d = _head(path)
    if path.stat().st_size != 8 + n * d * dtype.itemsize:
        raise ValueError(f"{path}: {path.stat().st_size} bytes; {n} x {d} of {dtype} take {8 + n * d * dtype.itemsize}")
    return np.fromfile(path, dtype.newbyteorder("<"), offset=8).reshape(n, d).astype(dtype, copy=False)


def _read_truth(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """uint32 q and k, then the int32 numbers of all neighbours, then their float32 distances, squared."""
    q, k = _head(path)
    if path.stat().st_size != 8 + 8 * q * k:
        raise ValueError(f"{path}: {path.stat().st_size} bytes; {q} x {k} numbers and distances take {8 + 8 * q * k}")
    numbers = np.fromfile(path, "<i4", count=q * k, offset=8).reshape(q, k)
    squared = np.fromfile(path, "<f4", offset=8 + 4 * q * k).reshape(q, k)
    return numbers, np.sqrt(squared)


def _head(path: Path) -> tuple[int, int]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    head = np.fromfile(path, "<u4", count=2)
    if len(head) < 2:
        raise ValueError(f"{path}: shorter than its header of 8 bytes")
    return int(head[0]), int(head[1])


def _write_folder(vectors: Vectors, path: Path) -> None:
    if vectors.metric != "euclidean":
        raise ValueError(
            f"{path}: these files say nothing of a metric; only euclidean is written, not {vectors.metric}"
        )
    path.mkdir(parents=True, exist_ok=True)
    for name, rows in (("base", vectors.train), ("query", vectors.test)):
        if str(rows.dtype) not in _BINS:
            raise ValueError(f"{path}: dtype {rows.dtype}; allowed: {', '.join(_BINS)}")
        with (path / f"{name}{_BINS[str(rows.dtype)]}").open("wb") as file:
            np.array(rows.shape, "<u4").tofile(file)
            np.ascontiguousarray(rows).tofile(file)
    with (path / _TRUTH).open("wb") as file:
        np.array(vectors.neighbors.shape, "<u4").tofile(file)
        vectors.neighbors.astype("<i4").tofile(file)
        (vectors.distances.astype(np.float64) ** 2).astype("<f4").tofile(file)


def _checked(vectors: Vectors, path: Path) -> Vectors:
    (n, d), (q, other) = vectors.train.shape, vectors.test.shape
    if d != other:
        raise ValueError(f"{path}: queries of {other} columns for rows of {d}")
    if vectors.neighbors.shape != vectors.distances.shape or len(vectors.neighbors) != q:
        raise ValueError(
            f"{path}: neighbours {vectors.neighbors.shape}, distances {vectors.distances.shape}, {q} queries"
        )
    if vectors.neighbors.size and not 0 <= vectors.neighbors.min() <= vectors.neighbors.max() < n:
        raise ValueError(f"{path}: neighbours {vectors.neighbors.min()}..{vectors.neighbors.max()} of {n} rows")
    return vectors
