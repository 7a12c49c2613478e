"""What must be the same in all processes of a group: each says what it was given, and all compare."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.errors import InputError

if TYPE_CHECKING:
    from fastclust.cluster import KMeans
    from fastclust.cluster.rows import Rows
    from fastclust.cluster.spaces import Space

__all__ = ["Given", "agree", "given"]

#: Parameters that are compared as they are; ``init``, ``metric`` and ``random_state`` need more.
_PLAIN = ("n_clusters", "max_iter", "tol", "algorithm", "arithmetic", "backend", "verbose")


class Given(NamedTuple):
    """What one process was given; small, for it goes to all."""

    n_rows: int
    width: int
    dtype: str
    #: By name, as text.
    parameters: dict[str, str]


def given(model: KMeans, rows: Rows, space: Space, *, weighted: bool) -> Given:
    """What this process was given, of parameters that were checked."""
    named = isinstance(model.init, str)
    parameters = {name: _plainly(getattr(model, name)) for name in _PLAIN}
    parameters["metric"] = " ".join([space.name, *(_digest(each) for _, each in sorted(space.tensors().items()))])
    parameters["init"] = repr(str(model.init)) if named else _digest(model.init)
    # With an array as the start nothing is drawn.
    parameters["random_state"] = str(int(model.random_state)) if named else "any"
    parameters["sample_weight"] = "given" if weighted else "None"
    return Given(rows.shape[0], rows.shape[1], rows.dtype.name, parameters)


def agree(said: list[Given], rank: int) -> None:
    """Raise InputError, in every process, for rows of other widths or dtypes, or for other parameters."""
    first = said[0]
    as_in = f"as in process 0 (this is process {rank})"
    for other, each in enumerate(said):
        if (each.width, each.dtype) != (first.width, first.dtype):
            came = f"{each.width} columns of {each.dtype} in process {other}"
            raise InputError("X", came, f"{first.width} of {first.dtype}, {as_in}")
        for name, value in each.parameters.items():
            if value != first.parameters[name]:
                raise InputError(name, f"{value} in process {other}", f"{first.parameters[name]}, {as_in}")


def _plainly(value: Any) -> str:
    """As text: the same for a number of NumPy and one of Python."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _digest(values: Any) -> str:
    """Shape and digest of an array of numbers; the same in every dtype that holds them exactly."""
    wide = np.ascontiguousarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)
    return f"array {wide.shape} of digest {hashlib.sha256(wide.tobytes()).hexdigest()[:16]}"
