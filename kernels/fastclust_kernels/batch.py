"""Many problems of one shape that have nothing to do with each other: nearest centres and sums, all in one launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels import arrays, checks, tensors
from fastclust_kernels.assign import BACKENDS as ASSIGNS
from fastclust_kernels.assign import Assignment
from fastclust_kernels.dispatch import Request, choose
from fastclust_kernels.errors import InputError, InputTypeError
from fastclust_kernels.update import BACKENDS as UPDATES
from fastclust_kernels.update import ClusterSums

if TYPE_CHECKING:
    from fastclust_kernels.dispatch import Backend

__all__ = ["assign_batch", "update_batch"]

#: Rows, and clusters, of all problems that are added up in one launch: numbers of rows are int32.
_MOST = (1 << 31) - 1


def assign_batch(X: Any, centers: Any, *, backend: str = "auto", check_finite: bool = True) -> Assignment:
    """Find the nearest centre of each row, in each of b problems among its own centres.

    Each problem's labels are those of :func:`fastclust_kernels.assign.assign`, to the same promise. On a GPU all
    problems are in the same launches; a problem takes tiles of 128 rows and of 128 centres.

    Parameters
    ----------
    X
        ``[b, n, d]``, float32 or float64; other numbers become float64. On a GPU float16 and bfloat16 too.
    centers
        ``[b, k, d]``; converted as for :func:`~fastclust_kernels.assign.assign`.
    backend, check_finite
        As there.

    Returns
    -------
    Assignment
        ``labels`` int32 ``[b, n]``, ``distances`` float64 ``[b, n]`` (squared), the backend's name and the certified
        share of all problems. Arrays are of the kind that ``X`` is, where it lies.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or dtypes, NaN or Inf.
    BackendError
        The backend asked for cannot run this.
    """
    rows, name, on_device = _rows(X, "X", "assign", ASSIGNS, backend, X, finite=check_finite)
    middle, _, _ = _rows(centers, "centers", "assign", ASSIGNS, backend, X, finite=True)
    if (middle.shape[0], middle.shape[2]) != (rows.shape[0], rows.shape[2]):
        wanted = f"({rows.shape[0]}, k, {rows.shape[2]}), as in X"
        raise InputError("centers", f"shape {tuple(middle.shape)}", wanted)
    if on_device:
        return _assigned_there(X, rows, middle, name)
    run = next(each.run for each in ASSIGNS if each.name == name)
    labels, distances = np.full(rows.shape[:2], -1, np.int32), np.full(rows.shape[:2], np.nan)
    for problem, (x, c) in enumerate(zip(rows, middle.astype(rows.dtype, copy=False), strict=True)):
        labels[problem], distances[problem] = run(x, c)
    wrap = arrays.like(X)
    return Assignment(wrap(labels), wrap(distances), name)


def _assigned_there(X: Any, rows: Any, middle: Any, name: str) -> Assignment:
    import torch

    from fastclust_kernels.assign.device import DeviceAssignment

    kind, moving = tensors.Kind(X), DeviceAssignment(rows)
    middle = middle.to(rows.dtype if rows.dtype.itemsize >= 4 else torch.float32)
    labels = moving.step(middle)
    return Assignment(kind.back(labels), kind.back(moving.distances(middle, labels)), name, moving.certified)


def update_batch(X: Any, labels: Any, k: int, *, weights: Any = None, backend: str = "auto") -> ClusterSums:
    """Add up the rows of each cluster of each of b problems, in float64 and in a fixed order.

    The bits are those that :func:`fastclust_kernels.update.update` has for each problem by itself.

    Parameters
    ----------
    X
        ``[b, n, d]``, float32 or float64; on a GPU float16 and bfloat16 too.
    labels
        Integers ``[b, n]`` in ``[0, k)``.
    k
        Number of clusters of each problem.
    weights
        ``[b, n]``, or None for one each.
    backend
        As of :func:`~fastclust_kernels.update.update`.

    Returns
    -------
    ClusterSums
        ``sums`` float64 ``[b, k, d]``, ``weights`` float64 ``[b, k]`` and the backend's name. NumPy's for rows in host
        memory, else of the kind that the rows are, where they lie.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or dtypes, labels out of range.
    BackendError
        The backend asked for cannot run this.
    """
    rows, name, on_device = _rows(X, "X", "update", UPDATES, backend, X, finite=False)
    device = rows.device if on_device else None
    numbers = _of_each(labels, "labels", rows, device)
    each = None if weights is None else _of_each(weights, "weights", rows, device)
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= k:
        raise InputError("labels", f"{low}..{high}", f"0..{k - 1}")
    run = next(each.run for each in UPDATES if each.name == name)
    problems, n, d = rows.shape
    step = max(1, _MOST // max(n, k))
    sums, totals = [], []
    for start in range(0, problems, step):
        part = slice(start, start + step)
        count = len(rows[part])
        # Clusters of all problems, one after the other.
        if on_device:
            import torch

            first = k * torch.arange(count, dtype=torch.int32, device=device)[:, None]
            flat = (numbers[part].int() + first).view(-1)
            weight = None if each is None else each[part].double().contiguous().view(-1)
        else:
            flat = (numbers[part].astype(np.int32) + k * np.arange(count, dtype=np.int32)[:, None]).reshape(-1)
            weight = None if each is None else np.ascontiguousarray(each[part], np.float64).reshape(-1)
        found, total = run(rows[part].reshape(count * n, d), flat, count * k, weight)
        sums.append(found.reshape(count, k, d))
        totals.append(total.reshape(count, k))
    if on_device:
        import torch

        kind = tensors.Kind(X)
        return ClusterSums(kind.back(torch.cat(sums)), kind.back(torch.cat(totals)), name)
    return ClusterSums(np.concatenate(sums), np.concatenate(totals), name)


def _rows(
    value: Any, field: str, operation: str, table: tuple[Backend, ...], backend: str, X: Any, *, finite: bool
) -> tuple[Any, str, bool]:
    """Rows ``[b, n, d]`` as tensors where ``X`` or the backend wants them, who works on them, and whether they are.

    An error names a place among the rows of all problems, one after the other.
    """
    if tensors.wanted(backend, X):
        device = tensors.Kind(X).device
        whole = tensors.vector(value, field, device)
        flat = tensors.tensor(whole.reshape(_flat(whole.shape, field)), field, device, finite=finite)
        chosen = choose(operation, table, tensors.request_for(flat), backend)
        return flat.view(whole.shape), chosen.name, True
    array = arrays.to_numpy(value, field)
    matrix = checks.check_matrix(array.reshape(_flat(array.shape, field)), field, finite=finite)
    chosen = choose(operation, table, Request("cpu", matrix.dtype.name), backend)
    return matrix.reshape(array.shape), chosen.name, False


def _flat(shape: tuple[int, ...], field: str) -> tuple[int, int]:
    if len(shape) != 3 or 0 in shape:
        raise InputError(field, f"shape {tuple(shape)}", "three dimensions, none of them 0: problems, rows, columns")
    return shape[0] * shape[1], shape[2]


def _of_each(value: Any, field: str, rows: Any, device: Any) -> Any:
    """One number for each row of each problem, integers for labels."""
    found: Any
    if device is None:
        found = arrays.to_numpy(value, field)
        whole = found.dtype.kind in "iu"
    else:
        import torch

        found = tensors.vector(value, field, device)
        whole = not (found.dtype.is_floating_point or found.dtype.is_complex or found.dtype == torch.bool)
    if field == "labels" and not whole:
        raise InputTypeError(field, f"dtype {found.dtype}", "integers")
    if tuple(found.shape) != tuple(rows.shape[:2]):
        raise InputError(field, f"shape {tuple(found.shape)}", f"{tuple(rows.shape[:2])}, one a row")
    return found
