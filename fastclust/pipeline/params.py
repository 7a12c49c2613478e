"""Parameters of a run: defaults, and the checks that need no data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from fastclust.errors import InputError, InputTypeError

__all__ = ["RunParams"]

#: What is taken where nothing is given and there are rows enough.
_NEIGHBORS, _PERPLEXITY = 15, 30.0
_DEVICES = "auto, cpu, cuda, cuda:0, ..."
_METRICS = ("euclidean", "cosine", "mahalanobis")


@dataclass(frozen=True, slots=True)
class RunParams:
    """What a run may be told. None lets the step choose; it notes what it chose."""

    title: str | None = None
    n_clusters: int | str | None = None
    features: str = "auto"
    image_size: int | None = None
    encoder: str = "auto"
    embedding_dim: int | None = None
    epochs: int | None = None
    metric: str = "euclidean"
    n_neighbors: int | None = None
    index: str = "auto"
    perplexity: float | None = None
    map_max_iter: int = 750
    random_state: int = 0
    #: Where nets are trained and asked; no step runs again for another one.
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check types and ranges. Raises InputError or InputTypeError."""
        if self.n_clusters != "auto":
            _check_integer("n_clusters", self.n_clusters, 1)
        for name, least in (
            ("image_size", 4),
            ("embedding_dim", 1),
            ("epochs", 1),
            ("n_neighbors", 1),
            ("map_max_iter", 0),
            ("random_state", 0),
        ):
            _check_integer(name, getattr(self, name), least)
        if self.perplexity is not None:
            if not isinstance(self.perplexity, int | float) or isinstance(self.perplexity, bool):
                raise InputTypeError("perplexity", type(self.perplexity).__name__, "a number of at least 1")
            if not 1 <= self.perplexity < float("inf"):
                raise InputError("perplexity", self.perplexity, "a number of at least 1")
        if not isinstance(self.device, str):
            raise InputTypeError("device", f"{type(self.device).__name__} {self.device!r}", _DEVICES)
        if self.metric not in _METRICS:
            raise InputError("metric", repr(self.metric), ", ".join(_METRICS))

    def for_rows(self, n_rows: int) -> RunParams:
        """Return the parameters with neighbours and perplexity that ``n_rows`` rows have, where none were given.

        Raises InputError for what was given and so few rows do not have, before any work.
        """
        if n_rows < 2:
            raise InputError("source", f"{n_rows} rows", "at least 2 rows")
        if isinstance(self.n_clusters, int) and self.n_clusters > n_rows:
            raise InputError("n_clusters", self.n_clusters, f"1..{n_rows}, the number of rows")
        if self.n_clusters == "auto" and n_rows < 4:
            raise InputError("n_clusters", '"auto" of fewer than 4 rows', f"1..{n_rows}")
        if self.n_neighbors is not None and self.n_neighbors >= n_rows:
            raise InputError("n_neighbors", self.n_neighbors, f"1..{n_rows - 1}, one less than the number of rows")
        third = (n_rows - 1) / 3
        if self.perplexity is not None and self.perplexity > third:
            allowed = f"at most {third:.4g}, a third of the other rows" if third > 1 else "none, for at least 5 rows"
            raise InputError("perplexity", self.perplexity, allowed, "Leave it out for the largest there is.")
        return replace(
            self,
            n_neighbors=self.n_neighbors or min(_NEIGHBORS, n_rows - 1),
            perplexity=self.perplexity or max(1.0, min(_PERPLEXITY, third)),
        )

    def lowered(self, n_rows: int) -> list[str]:
        """Say which defaults ``n_rows`` rows are too few for."""
        taken = self.for_rows(n_rows)
        usual = (("n_neighbors", _NEIGHBORS), ("perplexity", _PERPLEXITY))
        return [
            f"{name} {getattr(taken, name):.3g}, not {most:g}"
            for name, most in usual
            if getattr(self, name) is None and getattr(taken, name) < most
        ]

    def graph_neighbors(self, n_rows: int) -> int:
        """Compute the neighbours that the one graph needs for all its users: t-SNE asks for 3 x perplexity.

        For parameters that :meth:`for_rows` returned.
        """
        assert self.n_neighbors is not None
        assert self.perplexity is not None
        return min(max(self.n_neighbors, int(3 * self.perplexity)), n_rows - 1)

    def as_dict(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return asdict(self)


def _check_integer(name: str, value: object, least: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputTypeError(name, f"{type(value).__name__} {value!r}", f"an integer of at least {least}")
    if value < least:
        raise InputError(name, value, f"an integer of at least {least}")
