"""Ways to fit k-means from given centres: each gives centres and the labels that belong to them."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench import machine
from bench.model import OURS, AbsentError, Contender, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["EXACT", "SLACK", "Fit", "Task", "contenders", "gate", "inertia", "task"]

#: How much more inertia than scikit-learn's passes.
SLACK = 2e-5
#: The same for what is probabilistic.
_LOOSE = 2e-2
_BLOCK = 8192

#: Peers that compute what Lloyd's iteration computes.
EXACT = ("sklearn-lloyd", "sklearn-elkan", "sklearnex", "faiss")


class Fit(NamedTuple):
    """Where a fit ended."""

    centers: NDArray[Any]
    labels: NDArray[Any]
    #: None where the library does not say.
    n_iter: int | None
    algorithm: str = ""
    probabilistic: bool = False


@dataclass
class Task:
    """Rows, where to start, when to stop, and where scikit-learn's Lloyd ends."""

    rows: NDArray[np.float32]
    start: NDArray[np.float32]
    max_iter: int
    tol: float
    reference: float = 0.0
    reference_iterations: int = 0
    #: Where its Lloyd ends in float64 and its Elkan in float32, once they were asked for: other roundings.
    exact: Fit | None = None
    other: Fit | None = None


def inertia(rows: NDArray[Any], fit: Fit) -> float:
    """Sum of squared distances to the centre of the own label, in float64 from differences."""
    total, exact = 0.0, fit.centers.astype(np.float64)
    for start in range(0, len(rows), _BLOCK):
        apart = rows[start : start + _BLOCK] - exact[fit.labels[start : start + _BLOCK]]
        total += float(np.einsum("ij,ij->", apart, apart))
    return total


def task(rows: NDArray[np.float32], k: int, max_iter: int, tol: float) -> Task:
    """Start at ``k`` rows drawn without replacement, and fit the reference."""
    start = rows[np.random.default_rng(0).choice(len(rows), k, replace=False)]
    made = Task(rows, start, max_iter, tol)
    fit = _sklearn("lloyd", made)()
    made.reference, made.reference_iterations = inertia(rows, fit), fit.n_iter or 0
    return made


def gate(data: Task, fit: Fit) -> Verdict:
    """Inertia of the labels against scikit-learn's Lloyd from the same centres, and the same iterations.

    Roundings may send a fit in float32 another way. Where the first comparison fails, the same in float64 decides,
    whatever float32 made of the reference: who ends where it ends has it right. Where that fails too, the verdict says
    how far scikit-learn's own Elkan parts from its Lloyd on these rows.
    """
    excess, same = _apart(data, fit, data.reference, data.reference_iterations)
    slack = _LOOSE if fit.probabilistic else SLACK
    passed = excess <= slack and same
    took = "" if fit.n_iter is None else f", {fit.n_iter} iterations (theirs {data.reference_iterations})"
    kind = f", {fit.algorithm}" if fit.algorithm else ""
    said = f"inertia {excess:+.1e} of scikit-learn's (at most {slack:g}){took}{kind}"
    if passed or fit.probabilistic:
        return Verdict(passed, said)
    if data.exact is None:
        wide = Task(data.rows.astype(np.float64), data.start.astype(np.float64), data.max_iter, data.tol)
        data.exact = _sklearn("lloyd", wide)()
    wanted = inertia(data.rows, data.exact)
    excess, same = _apart(data, fit, wanted, data.exact.n_iter or 0)
    said += f"; of its float64 {excess:+.1e}, {data.exact.n_iter} iterations"
    passed = excess <= slack and same
    return Verdict(passed, said if passed else f"{said}; {_elkan_beside(data)}")


def _apart(data: Task, fit: Fit, wanted: float, iterations: int) -> tuple[float, bool]:
    """By how much the inertia of a fit exceeds the one wanted, and whether it took as many iterations."""
    # Where labels stop changing, rounding may decide about the last iteration.
    apart = 1 if iterations < data.max_iter and not data.tol else 0
    return inertia(data.rows, fit) / wanted - 1, fit.n_iter is None or abs(fit.n_iter - iterations) <= apart


def _elkan_beside(data: Task) -> str:
    if data.other is None:
        data.other = _sklearn("elkan", data)()
    parted = inertia(data.rows, data.other) / data.reference - 1
    return f"its own Elkan: {parted:+.1e}, {data.other.n_iter} iterations"


def _ours(algorithm: str, data: Task) -> Callable[[], Fit]:
    """Fit ours."""
    from fastclust import KMeans

    k = len(data.start)

    def fit() -> Fit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # duplicate centres and the like are not the subject here
            model = KMeans(k, init=data.start, n_init=1, max_iter=data.max_iter, tol=data.tol, algorithm=algorithm).fit(
                data.rows
            )
        return Fit(model.cluster_centers_, model.labels_, model.n_iter_, model.algorithm_)

    return fit


def _sklearn(algorithm: str, data: Task) -> Callable[[], Fit]:
    from sklearn.cluster import KMeans

    return _as_sklearn(KMeans, algorithm, data)


def _as_sklearn(estimator: Any, algorithm: str, data: Task) -> Callable[[], Fit]:
    model = estimator(
        len(data.start), init=data.start, n_init=1, max_iter=data.max_iter, tol=data.tol, algorithm=algorithm
    )

    def fit() -> Fit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(data.rows)
        return Fit(model.cluster_centers_, model.labels_, int(model.n_iter_))

    return fit


def _intelex(data: Task) -> Callable[[], Fit]:
    """scikit-learn-intelex hands back to scikit-learn what it does not take: then it is no peer of its own."""
    try:
        from sklearnex.cluster import KMeans
    except ImportError as error:
        raise AbsentError(f"scikit-learn-intelex does not load: {error}") from error
    fit = _as_sklearn(KMeans, "lloyd", data)
    logger, heard = logging.getLogger("sklearnex"), _Heard()
    level = logger.level
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    try:
        _as_sklearn(KMeans, "lloyd", Task(data.rows, data.start, 1, data.tol))()
    finally:
        logger.removeHandler(heard)
        logger.setLevel(level)
    if not any("fit" in line and "accelerated" in line for line in heard.lines):
        raise AbsentError(f"scikit-learn-intelex does not accelerate this fit: {' '.join(heard.lines) or 'no word'}")
    return fit


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _faiss(data: Task) -> Callable[[], Fit]:
    import faiss

    k, d = data.start.shape

    def fit() -> Fit:
        model = faiss.Kmeans(d, k, niter=data.max_iter, max_points_per_centroid=len(data.rows), seed=0)
        model.train(data.rows, init_centroids=data.start)
        # Its last labels belong to the centres before: as the others, it says which row is where in the end.
        _, labels = model.assign(data.rows)
        return Fit(model.centroids, labels, None)

    return fit


def _superkmeans(data: Task) -> Callable[[], Fit]:
    from superkmeans import SuperKMeans

    k, d = data.start.shape

    def fit() -> Fit:
        model = SuperKMeans(
            k,
            d,
            hierarchical=False,
            iters=data.max_iter,
            sampling_fraction=1.0,
            max_points_per_cluster=len(data.rows),
            n_threads=machine.threads_given(),
            early_termination=False,
        )
        centers = model.train(data.rows)
        return Fit(centers, model.assign_training_points(data.rows, centers), None, probabilistic=True)

    return fit


def contenders(algorithm: str, *, convergence: bool = False) -> Sequence[Contender]:
    """Ours and the peers; with ``convergence`` only those that stop by themselves."""
    stopping = [
        Contender(OURS, lambda data: _ours(algorithm, data), remark=f'algorithm="{algorithm}"'),
        Contender("sklearn-lloyd", lambda data: _sklearn("lloyd", data), ("scikit-learn",)),
        Contender("sklearn-elkan", lambda data: _sklearn("elkan", data), ("scikit-learn",)),
        Contender("sklearnex", _intelex, ("scikit-learn-intelex",)),
    ]
    counting = [
        Contender("faiss", _faiss, ("faiss-cpu",)),
        Contender(
            "superkmeans",
            _superkmeans,
            ("superkmeans",),
            f"probabilistic, starts from rows of its own: passes within {100 * _LOOSE:g} %",
        ),
    ]
    return stopping if convergence else stopping + counting
