"""What the steps of an epoch said of rows, so that the next one need not embed them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from fastclust.learning.devices import sent

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
        #: Where the net is.
        self._values: Tensor | None = None

    def note(self, rows: Tensor, embedded: Tensor) -> None:
        """Take the embedding ``[b, d]`` of rows (int64 ``[b]``); of a row that comes twice the last one stays."""
        if self._values is None:
            self._values = embedded.new_zeros(len(self._known), embedded.shape[1])
        places = rows.numpy()
        # A GPU that writes two values to one place keeps either.
        kept, last = np.unique(places[::-1], return_index=True)
        values = nn.functional.normalize(embedded.detach(), dim=1)
        from_, to = (sent(torch.from_numpy(some), values.device) for some in (len(places) - 1 - last, kept))
        self._values[to] = values[from_]
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
        found: NDArray[np.float32] = self._values[sent(torch.from_numpy(rows), self._values.device)].cpu().numpy()
        if not known.all():
            found[~known] = embed(rows[~known])
        return found

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what :meth:`restore` takes; nothing where nothing is known."""
        rows = np.flatnonzero(self._known)
        if self._values is None:
            return {}
        values = self._values[sent(torch.from_numpy(rows), self._values.device)].cpu().numpy()
        return {"remembered_rows": rows, "remembered": values}

    def restore(self, state: dict[str, NDArray[np.generic]], device: torch.device) -> None:
        """Know what was known when the state was taken, on the net's device."""
        self.forget()
        if "remembered" not in state:
            return
        rows, values = state["remembered_rows"], np.asarray(state["remembered"], np.float32)
        whole = np.zeros((len(self._known), values.shape[1]), np.float32)
        whole[rows.astype(np.int64)] = values
        self._values = torch.from_numpy(whole).to(device)
        self._known[rows.astype(np.int64)] = True
