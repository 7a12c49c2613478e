"""What the steps of an epoch said of rows, so that the next one need not embed them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Remembered"]


class Remembered:
    """The embedding that a step last gave each row (of a changed copy of it), of length 1.

    Parameters
    ----------
    rows
        Number of rows.
    """

    def __init__(self, rows: int) -> None:
        self._known = np.zeros(rows, bool)
        self._values: NDArray[np.float32] | None = None

    def note(self, rows: Tensor, embedded: Tensor) -> None:
        """Take the embedding ``[b, d]`` of rows (int64 ``[b]``); of a row that comes twice the last one stays."""
        if self._values is None:
            self._values = np.zeros((len(self._known), embedded.shape[1]), np.float32)
        places = rows.numpy()
        self._values[places] = nn.functional.normalize(embedded.detach(), dim=1).numpy()
        self._known[places] = True

    def forget(self) -> None:
        """Know nothing."""
        self._known[:] = False

    def described(
        self, rows: NDArray[np.int64], embed: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Return the embedding of rows ``[r]``, float32 ``[r, d]``; of those that no step looked at by ``embed``."""
        known = self._known[rows]
        if self._values is None or not known.any():
            return embed(rows)
        found: NDArray[np.float32] = self._values[rows]
        if not known.all():
            found[~known] = embed(rows[~known])
        return found

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what :meth:`restore` takes; nothing where nothing is known."""
        rows = np.flatnonzero(self._known)
        return {} if self._values is None else {"remembered_rows": rows, "remembered": self._values[rows]}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Know what was known when the state was taken."""
        self.forget()
        if "remembered" not in state:
            return
        rows, values = state["remembered_rows"], np.asarray(state["remembered"], np.float32)
        self._values = np.zeros((len(self._known), values.shape[1]), np.float32)
        self._values[rows.astype(np.int64)] = values
        self._known[rows.astype(np.int64)] = True
