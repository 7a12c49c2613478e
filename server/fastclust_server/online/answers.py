"""How each method is answered: a call is checked by itself, and a batch is one call of the library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import wire
from fastclust.errors import DataError, InputError, InputTypeError
from fastclust.v1 import online_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from fastclust_server.online.models import Loaded

__all__ = ["METHODS", "Asked", "Method"]

#: A response must pass the same cap as a request.
_MOST_BYTES = 16 * 2**20 - 4096
_DEFAULT_NEIGHBORS = 15
_FLOATS = ("float32", "float64")
#: The same as NumPy's characters, which take a hundredth of a name's time.
_FLOAT_CHARS = "fd"
_MOST_IMAGES = 256
_MOST_PIXELS = 64 * 10**6


@dataclass(slots=True)
class Asked:
    """One call that passed its checks."""

    request: Any
    rows: Any
    #: What must be equal for calls to share a batch, beside model and method.
    key: Hashable
    nbytes: int


@dataclass(frozen=True, slots=True)
class Method:
    """Requests, checks and answers of one method."""

    parse: Callable[[bytes], Any]
    check: Callable[[Any, Loaded], Asked]
    #: Responses in order; an exception in the place of one is that call's alone.
    answer: Callable[[Sequence[Asked], Loaded], Sequence[Any]]


def _rows(tensor: Any, columns: int, field: str = "rows") -> NDArray[Any]:
    """Decode rows [n, columns]: floats, finite, at least one."""
    rows = wire.decode(tensor, field)
    if rows.dtype.char not in _FLOAT_CHARS:
        raise InputTypeError(field, f"dtype {rows.dtype.name}", ", ".join(_FLOATS))
    if rows.ndim != 2 or not len(rows) or (columns and rows.shape[1] != columns):
        raise InputError(field, f"shape {list(rows.shape)}", f"[rows, {columns or 'columns'}], at least one row")
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise InputError(field, f"{rows[row, column]} at row {row}, column {column}", "finite numbers")
    return rows


def _fits(field: str, *shape: int, itemsize: int) -> None:
    if math.prod(shape) * itemsize > _MOST_BYTES:
        allowed = f"a response of up to {_MOST_BYTES} bytes"
        raise InputError(field, f"a response of shape {list(shape)}", allowed, "Send fewer rows, or submit a job.")


def _check_assign(request: online_pb2.AssignRequest, loaded: Loaded) -> Asked:
    rows = _rows(request.rows, loaded.columns)
    _check_directions(rows, loaded.model.metric)
    return Asked(request, rows, rows.dtype.char, rows.nbytes)


def _check_directions(rows: NDArray[Any], metric: Any) -> None:
    """Refuse rows of zeros where only the direction counts: among others' in a batch, they would end all of them."""
    if isinstance(metric, str) and metric == "cosine":
        lengths = np.linalg.norm(rows, axis=1)
        if not lengths.all():
            where = int(np.argmin(lengths))
            raise InputError("rows", f"a row of zeros at {where}", "rows with a direction, for cosine")


def _assign(calls: Sequence[Asked], loaded: Loaded) -> Sequence[online_pb2.AssignResponse]:
    rows = _stacked(calls)
    labels = loaded.model.predict_checked(rows)
    distances: NDArray[Any] | None = None
    if any(call.request.return_distances for call in calls):
        distances = np.take_along_axis(loaded.model.transform(rows), labels[:, None].astype(np.int64), 1)[:, 0]
    out = []
    for call, part in zip(calls, _parts(calls), strict=True):
        response = online_pb2.AssignResponse(labels=wire.encode(labels[part]))
        if call.request.return_distances and distances is not None:
            response.distances.CopyFrom(wire.encode(distances[part]))
        out.append(response)
    return out


def _check_search(request: online_pb2.SearchRequest, loaded: Loaded) -> Asked:
    rows = _rows(request.rows, loaded.columns)
    _check_directions(rows, loaded.model.metric)
    k = request.n_neighbors or min(_DEFAULT_NEIGHBORS, loaded.rows)
    if not 1 <= k <= loaded.rows:
        raise InputError("n_neighbors", k, f"1..{loaded.rows}, the rows that are searched")
    _fits("rows", len(rows), k, itemsize=12)
    return Asked(request, rows, (rows.dtype.name, k), rows.nbytes)


def _search(calls: Sequence[Asked], loaded: Loaded) -> Sequence[online_pb2.SearchResponse]:
    k = int(calls[0].key[1])  # type: ignore[index] # made above
    distances, indices = loaded.model.kneighbors(_stacked(calls), k)
    indices = np.asarray(indices, np.int64)
    return [
        online_pb2.SearchResponse(indices=wire.encode(indices[part]), distances=wire.encode(distances[part]))
        for part in _parts(calls)
    ]


def _check_embed(request: online_pb2.EmbedRequest, loaded: Loaded) -> Asked:
    which = request.WhichOneof("input")
    if which == "rows":
        rows = _rows(request.rows, loaded.columns)
        return Asked(request, rows, ("rows", rows.dtype.name, rows.shape[1]), rows.nbytes)
    if which != "images":
        raise InputError("input", "nothing", "rows or images")
    files = list(request.images.files)
    if not 1 <= len(files) <= _MOST_IMAGES:
        raise InputError("images", f"{len(files)} files", f"1..{_MOST_IMAGES}")
    return Asked(request, files, "images", sum(map(len, files)))


def _embed(calls: Sequence[Asked], loaded: Loaded) -> Sequence[Any]:
    if calls[0].key != "images":
        embedding = loaded.model.transform(_stacked(calls))
        return [online_pb2.EmbedResponse(embedding=wire.encode(embedding[part])) for part in _parts(calls)]
    out: list[Any] = []
    for call in calls:
        try:
            embedding = loaded.model.transform(_features(call.rows, loaded))
            out.append(online_pb2.EmbedResponse(embedding=wire.encode(embedding)))
        except Exception as error:  # noqa: BLE001 - one caller's images must not fail another's
            out.append(error)
    return out


def _features(files: Sequence[bytes], loaded: Loaded) -> Any:
    """Bring images to the form that the model was trained on."""
    from fastclust.data import open_images
    from fastclust.data.images import decode
    from fastclust.learning.features import compute_features

    notes = loaded.record.notes
    pixels, total = [], 0
    for place, file in enumerate(files):
        try:
            image = decode(file)
        except Exception as error:
            raise DataError(f"images: file {place} cannot be decoded ({type(error).__name__}: {error}).") from error
        total += image.width * image.height
        if total > _MOST_PIXELS:
            raise InputError("images", f"more than {_MOST_PIXELS} pixels", "fewer or smaller images")
        pixels.append(np.asarray(image, np.uint8))
    channels = 3 if any(one.ndim == 3 for one in pixels) else 1
    images = [one if one.ndim == 3 or channels == 1 else np.repeat(one[..., None], 3, 2) for one in pixels]
    if len({one.shape for one in images}) > 1:
        raise InputError("images", "images of several sizes", "one size a call")
    size = int(notes["image_size"]) if "image_size" in notes else None
    return compute_features(open_images(np.stack(images)), features=notes.get("features", "auto"), size=size)


def _check_mahalanobis(request: online_pb2.MahalanobisRequest, loaded: Loaded) -> Asked:
    rows = _rows(request.rows, loaded.columns)
    if not request.HasField("others"):
        return Asked(request, rows, ("mean", rows.dtype.name), rows.nbytes)
    others = _rows(request.others, loaded.columns, "others")
    if others.dtype != rows.dtype:
        raise InputTypeError("others", f"dtype {others.dtype.name}", f"{rows.dtype.name}, as rows")
    _fits("others", len(rows), len(others), itemsize=rows.dtype.itemsize)
    return Asked(request, (rows, others), object(), rows.nbytes + others.nbytes)  # its others are its own


def _mahalanobis(calls: Sequence[Asked], loaded: Loaded) -> Sequence[online_pb2.MahalanobisResponse]:
    if calls[0].request.HasField("others"):
        (call,) = calls
        distances = loaded.model.pairwise(*call.rows, squared=call.request.squared)
        return [online_pb2.MahalanobisResponse(distances=wire.encode(distances))]
    # In the metric's space the mean is the origin.
    distances = np.linalg.norm(loaded.model.transform(_stacked(calls)), axis=1)
    return [
        online_pb2.MahalanobisResponse(
            distances=wire.encode(distances[part] ** 2 if call.request.squared else distances[part])
        )
        for call, part in zip(calls, _parts(calls), strict=True)
    ]


def _stacked(calls: Sequence[Asked]) -> NDArray[Any]:
    rows: NDArray[Any] = calls[0].rows if len(calls) == 1 else np.concatenate([call.rows for call in calls])
    return rows


def _parts(calls: Sequence[Asked]) -> list[slice]:
    ends = accumulate(len(call.rows) for call in calls)
    return [slice(end - len(call.rows), end) for call, end in zip(calls, ends, strict=True)]


METHODS = {
    "Assign": Method(online_pb2.AssignRequest.FromString, _check_assign, _assign),
    "Search": Method(online_pb2.SearchRequest.FromString, _check_search, _search),
    "Embed": Method(online_pb2.EmbedRequest.FromString, _check_embed, _embed),
    "Mahalanobis": Method(online_pb2.MahalanobisRequest.FromString, _check_mahalanobis, _mahalanobis),
}
