"""How many clusters: a sweep that shares its rows, its starts and its distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress
from fastclust.data import RowSource
from fastclust.errors import InputError, InputTypeError
from fastclust.insight.silhouettes import mean_silhouettes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from fastclust.cluster import KMeans

__all__ = ["KChoice", "KPoint", "candidates", "choose_k"]

#: Every number up to here, and then steps of a fifth.
_EACH, _MOST, _STEP = 20, 100, 1.2
#: Rows whose distances to each other are kept, for silhouettes.
_COMPARED = 3000
#: A clustering that two halves of the rows do not agree on so far is not there.
_STABLE = 0.8
#: Fresh starts of each k up to there, where a local optimum would hide the right one.
_STARTS = 3
#: Rows of which one becomes a further centre.
_TRIED = 12


class KPoint(NamedTuple):
    """What is known of one number of clusters."""

    k: int
    #: Mean silhouette, in [-1, 1] (Rousseeuw, 1987).
    silhouette: float
    #: Variance between clusters over that within them, each by its degrees of freedom (Calinski and Harabasz, 1974).
    calinski_harabasz: float
    #: Adjusted Rand index, at most 1, of the clusters that two halves of the rows give all of them.
    stability: float
    #: Sum of squared distances to the nearest centre, of the rows that were used.
    inertia: float


class KChoice(NamedTuple):
    """The curve, and the number that was chosen from it."""

    curve: list[KPoint]
    k: int


def choose_k(
    X: Any,
    ks: Iterable[int] | str = "auto",
    *,
    metric: Any = "euclidean",
    max_rows: int = 10_000,
    random_state: int = 0,
) -> KChoice:
    """Choose a number of clusters for k-means.

    Chosen is the k with the largest mean silhouette among those that are stable: clusters of two halves of the rows,
    each told to all rows, agree by an adjusted Rand index that is at least 0.8 times the best one (the idea of Lange,
    Roth, Braun and Buhmann, "Stability-Based Validation of Clustering Solutions", 2004). One cluster has no
    silhouette: that there is any structure at all is for the reader to judge from the curve.

    Work is shared along the sweep: the rows are drawn and mapped once, each k starts from the centres of the one
    before (the better of that and a fresh start counts), and silhouettes use one matrix of distances.

    Parameters
    ----------
    X
        ``[n, d]``, or a row source larger than memory.
    ks
        Numbers to try, from 2 to less than n; "auto": all up to 20, then steps of a fifth up to 100, and at most
        a tenth of the rows.
    metric
        Of :class:`fastclust.KMeans`.
    max_rows
        Rows that are drawn where there are more.
    random_state
        Seed; the same seed gives the same choice.

    Returns
    -------
    KChoice
        ``curve``, one :class:`KPoint` a k in rising order, and ``k``.

    Raises
    ------
    InputError, InputTypeError
        Numbers of clusters that the rows do not have, NaN or Inf, wrong shapes.
    """
    if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 8:
        raise InputError("max_rows", repr(max_rows), "an integer of at least 8")
    rows = _drawn(X, max_rows, random_state)
    wanted = candidates(len(rows)) if isinstance(ks, str) and ks == "auto" else _checked(ks, len(rows))
    from fastclust.cluster.spaces import space_of

    space = space_of(metric, rows.shape[1])
    # On the sphere, k-means keeps its centres there too; a metric's space is Euclidean.
    inside, kind = space.enter(rows), "cosine" if space.name == "cosine" else "euclidean"
    compared = inside[:_COMPARED].astype(np.float64)
    halves = inside[: len(inside) // 2], inside[len(inside) // 2 :]
    paths = [_fits(part, wanted, kind, random_state + place) for place, part in enumerate((inside, *halves))]
    total = float(((inside - inside.mean(axis=0, dtype=np.float64)) ** 2).sum(dtype=np.float64))
    labels, fitted = [], []
    for done, k in enumerate(wanted):
        progress.report("choose_k", done, len(wanted), f"{k} clusters")
        with progress.listening(None):  # what the fits themselves would tell means nothing here
            whole, left, right = (next(path) for path in paths)
        assert whole is not None
        stability = 1.0 if left is None or right is None else _agreement(left.predict(inside), right.predict(inside))
        labels.append(whole.labels_[:_COMPARED])
        fitted.append((_within(inside, whole), stability))
    silhouettes = mean_silhouettes(compared, labels)
    curve = [
        KPoint(k, silhouette, _ratio(total, within, k, len(inside)), stability, within)
        for k, silhouette, (within, stability) in zip(wanted, silhouettes, fitted, strict=True)
    ]
    progress.report("choose_k", 1, 1)
    return KChoice(curve, _best(curve))


def candidates(n_rows: int) -> list[int]:
    """Numbers of clusters that "auto" tries for so many rows. Raises InputError below 4 rows."""
    if n_rows < 4:
        raise InputError("X", f"{n_rows} rows", "at least 4, to choose a number of clusters")
    most = max(2, min(_MOST, n_rows // 10))
    found = list(range(2, min(_EACH, most) + 1))
    while found[-1] < most:
        found.append(min(most, round(found[-1] * _STEP)))
    return found


def _checked(ks: Any, n_rows: int) -> list[int]:
    if isinstance(ks, str):
        raise InputError("ks", repr(ks), '"auto", or integers')
    found = sorted(set(ks))
    if not found:
        raise InputError("ks", "no number", "at least one")
    for k in found:
        if isinstance(k, bool) or not isinstance(k, int | np.integer):
            raise InputTypeError("ks", repr(k), "integers")
        if not 2 <= k <= n_rows // 2:
            raise InputError("ks", k, f"2..{n_rows // 2}, half of the {n_rows} rows that are used")
    return [int(k) for k in found]


def _drawn(X: Any, most: int, seed: int) -> NDArray[Any]:
    """At most ``most`` random rows, in random order, so that halves and beginnings of them are random too."""
    from fastclust.data.limits import is_streamed
    from fastclust.neighbors.metrics import rows_of

    random = np.random.default_rng(seed)
    if not (isinstance(X, RowSource) and is_streamed(X)):
        rows = rows_of(X)
        return rows[random.permutation(len(rows))[:most]]
    order = random.permutation(len(X))[:most]
    chosen = np.sort(order)
    parts, start = [], 0
    for block in X.blocks(4096):
        first, last = np.searchsorted(chosen, (start, start + len(block)))
        parts.append(block[chosen[first:last] - start])
        start += len(block)
    return rows_of(np.concatenate(parts)[np.searchsorted(chosen, order)])


def _fits(rows: NDArray[Any], ks: list[int], kind: str, seed: int) -> Iterator[KMeans | None]:
    """Yield k-means of each k: from the centres of the one before and a few more, or afresh, whichever is better.

    None where there are too few rows.
    """
    from fastclust.cluster import KMeans

    random = np.random.default_rng(seed)
    before: NDArray[Any] | None = None
    for k in ks:
        if k > len(rows):
            yield None
            continue
        starts = _STARTS if k <= _EACH else 1
        best = KMeans(k, n_init=starts, metric=kind, random_state=seed, max_iter=100).fit(rows)
        if before is not None:
            start = _extended(rows, before, k, random)
            grown = KMeans(k, init=start, n_init=1, metric=kind, random_state=seed, max_iter=100).fit(rows)
            best = min(best, grown, key=lambda model: float(model.inertia_))
        before = best.cluster_centers_
        yield best


def _extended(rows: NDArray[Any], centers: NDArray[Any], k: int, random: np.random.Generator) -> NDArray[Any]:
    """Add rows: of some drawn by their squared distance to what is there, the one that lowers its sum most.

    As greedy k-means++ does (Arthur and Vassilvitskii, 2007).
    """
    exact = rows.astype(np.float64)
    nearest = np.full(len(rows), np.inf)
    for center in centers.astype(np.float64):
        np.minimum(nearest, ((exact - center) ** 2).sum(axis=1), out=nearest)
    found = list(centers)
    while len(found) < k:
        whole = nearest.sum()
        if whole == 0:
            found.append(rows[random.integers(len(rows))])
            continue
        drawn = random.choice(len(rows), _TRIED, p=nearest / whole)
        after = [np.minimum(nearest, ((exact - exact[row]) ** 2).sum(axis=1)) for row in drawn]
        best = int(np.argmin([gaps.sum() for gaps in after]))
        found.append(rows[drawn[best]])
        nearest = after[best]
    return np.stack(found)


def _agreement(left: NDArray[np.int32], right: NDArray[np.int32]) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(left, right))


def _within(rows: NDArray[Any], model: KMeans) -> float:
    """Sum of squared distances to the means of the clusters."""
    found = 0.0
    for label in np.unique(model.labels_):
        own = rows[model.labels_ == label].astype(np.float64)
        found += float(((own - own.mean(axis=0)) ** 2).sum())
    return found


def _ratio(total: float, within: float, k: int, n: int) -> float:
    return ((total - within) / (k - 1)) / (within / (n - k)) if within > 0 and n > k else float("inf")


def _best(curve: list[KPoint]) -> int:
    """The largest silhouette among the stable; the smaller k where they are equal."""
    most = max(point.stability for point in curve)
    least = min(_STABLE * most, most)  # of few rows even the best may agree less than chance would
    return max((point for point in curve if point.stability >= least), key=lambda point: (point.silhouette, -point.k)).k
