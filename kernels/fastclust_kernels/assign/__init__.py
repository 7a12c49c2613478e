"""Assignment of rows to their nearest centres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust_kernels import arrays, checks, tensors
from fastclust_kernels.assign import reference
from fastclust_kernels.assign.screening import ARITHMETIC, Screening
from fastclust_kernels.devices import triton_asks
from fastclust_kernels.dispatch import Backend, Request, choose, launch, parallel_launch
from fastclust_kernels.errors import BackendError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "BACKENDS",
    "Assignment",
    "assign",
    "distances_to_few",
    "distances_to_listed",
    "distances_to_own",
    "greedy_plus_plus",
]


class Assignment(NamedTuple):
    """Nearest centre of each row."""

    #: int32 [n]; ties go to the lowest index.
    labels: Any
    #: float64 [n]: squared Euclidean distance to that centre.
    distances: Any
    backend: str
    #: Share of the rows that a screen with a known error decided; None where there is no screen.
    certified: float | None = None
    #: float64 [n], where asked for: no other centre is nearer than this, squared.
    beyond: Any = None


def _run_numba(X: NDArray[Any], centers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    from fastclust_kernels.assign import _dense, _exact

    # The sentinel makes a row that a kernel missed fail in every consumer.
    labels = np.full(len(X), -1, np.int32)
    with np.errstate(over="ignore", invalid="ignore"), parallel_launch():
        rows, middle = arrays.writable(X), arrays.writable(centers)
        _dense.assign_dense(rows, _dense.place(middle, _dense.frame_of(middle)), labels)
        return labels, _exact.distances_to_own(rows, middle, labels)


def _run_triton(X: Any, centers: Any, *, second: bool, screening: Screening) -> tuple[Any, Any, float, Any]:
    from fastclust_kernels.assign.device import DeviceAssignment

    moving = DeviceAssignment(X, screening=screening)
    labels = moving.step(centers, seconds=second)
    return labels, moving.distances(centers, labels), moving.certified, moving.beyond() if second else None


BACKENDS = (
    Backend("numba", _run_numba, ("cpu",), ("float32", "float64"), {"float32": 1e-12, "float64": 1e-12}, ("numba",)),
    Backend(
        "triton",
        _run_triton,
        ("cpu", "cuda"),
        ("float32", "float64", "float16", "bfloat16"),
        dict.fromkeys(("float32", "float64", "float16", "bfloat16"), 1e-12),
        ("torch", "triton"),
        asks=triton_asks,
    ),
    Backend("reference", reference.assign, ("cpu",), ("float32", "float64"), automatic=False),
)


def assign(
    X: Any,
    centers: Any,
    *,
    backend: str = "auto",
    check_finite: bool = True,
    second: bool = False,
    arithmetic: str = "exact",
) -> Assignment:
    """Find the nearest centre of each row.

    Maximises the score ``x.c - |c|^2 / 2`` after moving the origin to the mean of the centres; rows whose best two
    scores are nearer than rounding can tell are decided by differences in float64. The labels are those of a float64
    brute force; README.md beside this file has the bound.

    Parameters
    ----------
    X
        ``[n, d]``, float32 or float64; other numbers become float64. On a GPU float16 and bfloat16 too.
    centers
        ``[k, d]``; converted to the dtype of ``X``, or to float32 for dtypes below that.
    backend
        "auto", "numba", "triton" or "reference". On a GPU "auto" takes only what has a recorded pass against the oracle
        on that kind of GPU.
    check_finite
        Look for NaN and Inf in ``X`` first; callers that call again with the same rows need not.
    second
        Give a bound on the distance to the second nearest centre too; only "triton" does.
    arithmetic
        "exact", or for "triton" what its screen multiplies with: "certified" (float16, as "exact"), "tf32", "split"
        (three products of high and low halves; its bound is 54 times as small at 64 columns, 6 at 768). Labels are the
        same: float64 decides what a screen leaves open. Only "half" leaves that out: the label of such a row is one of
        those that float16 cannot tell apart.

    Returns
    -------
    Assignment
        ``labels`` int32 ``[n]``, ``distances`` float64 ``[n]`` (squared), the backend's name, the certified share and
        the bound. Arrays are of the kind that ``X`` is, where it lies.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or dtypes, NaN or Inf, no such arithmetic.
    BackendError
        The backend asked for cannot run this.
    """
    if arithmetic not in ARITHMETIC:
        raise InputError("arithmetic", repr(arithmetic), ", ".join(ARITHMETIC))
    if tensors.wanted(backend, X):
        screening = ARITHMETIC[arithmetic]
        return _on_device(X, centers, backend, check_finite=check_finite, second=second, screening=screening)
    rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X", finite=check_finite)
    middle = checks.check_matrix(arrays.to_numpy(centers, "centers"), "centers")
    checks.check_same_width(rows, middle, ("X", "centers"))
    chosen = choose("assign", BACKENDS, Request("cpu", rows.dtype.name), backend)
    if second:
        raise BackendError(f"assign: second=True: {chosen.name} keeps no second nearest. Allowed: triton.")
    if arithmetic != "exact":
        raise BackendError(f"assign: arithmetic={arithmetic!r}: {chosen.name} is exact only. Allowed: triton.")
    labels, distances = chosen.run(rows, middle.astype(rows.dtype, copy=False))
    wrap = arrays.like(X)
    return Assignment(wrap(labels), wrap(distances), chosen.name)


def _on_device(
    X: Any, centers: Any, backend: str, *, check_finite: bool, second: bool, screening: Screening
) -> Assignment:
    import torch

    kind = tensors.Kind(X)
    rows = tensors.tensor(X, "X", kind.device, finite=check_finite)
    middle = tensors.tensor(centers, "centers", kind.device)
    checks.check_same_width(rows, middle, ("X", "centers"))
    chosen = choose("assign", BACKENDS, tensors.request_for(rows), backend)
    wide = rows.dtype if rows.dtype.itemsize >= 4 else torch.float32
    labels, distances, certified, beyond = chosen.run(rows, middle.to(wide), second=second, screening=screening)
    bound = None if beyond is None else kind.back(beyond)
    return Assignment(kind.back(labels), kind.back(distances), chosen.name, certified, bound)


def distances_to_own(X: NDArray[Any], centers: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Squared distance of every row to the centre of its label, by differences: float64 ``[n]``.

    ``X`` and ``centers`` are checked matrices of one dtype, ``labels`` int32 in range.
    """
    from fastclust_kernels.assign import _exact

    with launch():
        return _exact.distances_to_own(arrays.writable(X), arrays.writable(centers), arrays.writable(labels))


def distances_to_few(X: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Squared distances of every row to a handful of others, by differences: float64 ``[m, n]``.

    What k-means++ needs for its candidates; both arguments are checked matrices of one dtype.
    """
    from fastclust_kernels.assign import _exact

    with launch():
        return _exact.distances_to_few(arrays.writable(X), arrays.writable(rows))


def distances_to_listed(X: NDArray[Any], rows: NDArray[Any], listed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared distances of every row to a list of others of its own, by differences: float64 ``[n, m]``.

    ``listed`` ``[n, m]`` has numbers of ``rows``; the distance to a negative one is infinite. Both matrices are
    checked, float32 or float64 each. A pair has the same bits wherever it stands.
    """
    from fastclust_kernels.assign import _exact

    numbers = arrays.writable(np.ascontiguousarray(listed, np.int64))
    with parallel_launch():
        return _exact.distances_to_listed(arrays.writable(X), arrays.writable(rows), numbers)


def greedy_plus_plus(
    X: NDArray[Any],
    weights: NDArray[np.float64],
    first: int | None,
    draws: NDArray[np.float64],
    nearest: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Choose rows as starting centres: each the best of some drawn with a chance proportional to the potential.

    Greedy k-means++ (Arthur and Vassilvitskii, "k-means++", 2007, section 6). The same draws give the same rows for any
    number of threads.

    Parameters
    ----------
    X
        A checked matrix ``[n, d]``, float32 or float64.
    weights
        float64 ``[n]``.
    first
        Number of the first row; None to go on from ``nearest``.
    draws
        float64 ``[m, trials]`` in ``[0, 1)``, at most 16 trials, for m rows after ``first``: where along the running
        total of weight times squared distance the candidates of a step lie.
    nearest
        float64 ``[n]``: squared distance of each row to the nearest one chosen before, infinite where there is none.
        Brought up to date in place.

    Returns
    -------
    NDArray[np.int64]
        ``[m + 1]``, or ``[m]`` where there is no first one; -1 from where on every row lies on a chosen one.
    """
    from fastclust_kernels.assign import _seeding

    apart = np.full(len(X), np.inf) if nearest is None else nearest
    with np.errstate(over="ignore", invalid="ignore"), parallel_launch():
        return _seeding.greedy(arrays.writable(X), weights, first, draws, apart)
