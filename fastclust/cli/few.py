"""Defaults of verbs where rows are few: the most they have, which is said. What was asked for is left as it is."""

from __future__ import annotations

from typing import Any

from fastclust.cli.output import say

__all__ = ["clusters_for", "neighbors_for", "perplexity_for"]

_CLUSTERS, _NEIGHBORS, _PERPLEXITY = 8, 15, 30.0
#: For any neighbour at all.
_LEAST_ROWS = 2


def clusters_for(asked: int | None, n_rows: int, *, quiet: bool) -> int:
    """Clusters of a verb: 8, or one for every other row."""
    if asked is not None:
        return asked
    return int(_fitting("clusters", _CLUSTERS, max(1, n_rows // 2), n_rows, quiet=quiet))


def neighbors_for(asked: int | None, n_rows: int, *, quiet: bool) -> int:
    """Neighbours a row: 15, or all other rows."""
    if asked is not None:
        return asked
    if n_rows < _LEAST_ROWS:
        return _NEIGHBORS  # none would be right, and the library says so
    return int(_fitting("neighbors", _NEIGHBORS, max(1, n_rows - 1), n_rows, quiet=quiet))


def perplexity_for(asked: float | None, n_rows: int, *, quiet: bool) -> dict[str, Any]:
    """Perplexity of a map: 30, or a third of the other rows; of 2 or 3 rows all others are looked at."""
    if asked is not None or n_rows < _LEAST_ROWS:
        return {"perplexity": asked or _PERPLEXITY}
    third = (n_rows - 1) / 3
    found = {"perplexity": _fitting("perplexity", _PERPLEXITY, max(1.0, third), n_rows, quiet=quiet)}
    return found | {"k_neighbors": n_rows - 1} if third < 1 else found


def _fitting(name: str, usual: float, most: float, n_rows: int, *, quiet: bool) -> float:
    if most >= usual:
        return usual
    if not quiet:
        say(f"{n_rows} rows: {name} {most:.3g}, not {usual:g}")
    return most
