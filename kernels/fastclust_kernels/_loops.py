"""What of a kernel runs in parallel: its ``prange`` loops and nothing else."""

from __future__ import annotations

from typing import Any

__all__ = ["only_loops"]

_OTHERS = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")


def only_loops() -> Any:
    """Return Numba's ``parallel=`` for it: a dictionary, though its types say bool, and a new one, as it is emptied.

    With ``parallel=True``, every fill, every ``np.zeros`` and every expression of arrays becomes a parallel loop of its
    own: half a second or more to compile, and a wait for all threads where one would have been done.
    """
    return dict.fromkeys(_OTHERS, False) | {"prange": True}
