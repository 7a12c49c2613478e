"""The largest scores of each row, as blocks of products come by: the selection behind exact neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Largest"]

#: Places beyond one and a half times those wanted.
_SPARE = 32
#: Numbers of columns are below this.
_MOST = np.iinfo(np.int32).max


class Largest:
    """The ``keep`` largest scores ``p - h`` of each of ``rows`` rows, and the numbers of their columns, in no order.

    Products p come in blocks, in any order; h belongs to the column. Of equal scores those of the lowest columns are
    kept; NaN and minus infinity never are. Calls run on the thread that makes them, without Python's lock; two at once
    must not name the same rows.

    Parameters
    ----------
    rows
        How many rows there are.
    keep
        Scores a row.

    Raises
    ------
    InputError
        ``keep`` below 1; in the other calls, shapes, dtypes or layouts that do not fit.
    """

    def __init__(self, rows: int, keep: int) -> None:
        if keep < 1:
            raise InputError("keep", keep, "1 or more")
        self.keep = keep
        places = keep + keep // 2 + _SPARE
        self._scores = np.empty((rows, places), np.float32)
        self._numbers = np.empty((rows, places), np.int32)
        self._counts = np.zeros(rows, np.int64)
        # No score below it needs to be kept.
        self._floors = np.full(rows, -np.inf, np.float32)

    def take(self, first: int, products: NDArray[np.float32], halves: NDArray[np.float32], column: int) -> None:
        """Take products ``[b, c]`` of the rows from ``first`` on with the columns from number ``column`` on.

        ``halves`` ``[c]`` are the columns' h. Both arrays are float32 and C-contiguous.
        """
        if self._check(products, halves, first, products.shape[0], products.shape[1], column):
            rows = np.arange(first, first + len(products))
            _kernel().take(products.reshape(-1), halves, *self._state(), rows, column)

    def take_of(
        self, rows: NDArray[np.int64], products: NDArray[np.float32], halves: NDArray[np.float32], column: int
    ) -> None:
        """Take products ``[b, c]`` of ``rows`` ``[b]``, int64, none of them twice; else as :meth:`take`."""
        if rows.shape != products.shape[:1] or rows.dtype != np.int64:
            raise InputError("rows", f"{rows.dtype} {rows.shape}", f"int64 {products.shape[:1]}, one for each line")
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self._counts):
            raise InputError("rows", f"{rows.min()}..{rows.max()}", f"0..{len(self._counts) - 1}")
        if self._check(products, halves, 0, 0, products.shape[1], column):
            _kernel().take(products.reshape(-1), halves, *self._state(), rows, column)

    def take_across(self, first: int, products: NDArray[np.float32], halves: NDArray[np.float32], column: int) -> None:
        """Take products ``[b, c]`` in which the columns are the rows from ``first`` on, and the lines are the columns.

        ``halves`` ``[b]`` are the lines' h, ``column`` is the number of the first line.
        """
        if self._check(products, halves, first, products.shape[1], products.shape[0], column):
            _kernel().take_across(products.reshape(-1), halves, *self._state(), first, column)

    def found(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return scores float32 and numbers int32, ``[rows, keep]``: minus infinity and -1 where fewer came."""
        _kernel().cut(*self._state())
        return self._scores[:, : self.keep], self._numbers[:, : self.keep]

    def _state(self) -> tuple[Any, ...]:
        return self._scores, self._numbers, self._counts, self._floors, self.keep

    def _check(
        self, products: NDArray[Any], halves: NDArray[Any], first: int, rows: int, columns: int, column: int
    ) -> bool:
        """Whether there is anything to do."""
        if not 0 <= column <= _MOST - columns:
            raise InputError("column", column, f"numbers of columns in 0..{_MOST - 1}")
        if halves.shape != (columns,) or not 0 <= first <= len(self._counts) - rows:
            raise InputError(
                "products", f"shape {products.shape} from row {first} on, halves {halves.shape}", "shapes that fit"
            )
        for name, array in (("products", products), ("halves", halves)):
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise InputError(name, f"{array.dtype}, strides {array.strides}", "C-contiguous float32")
        return products.size > 0


def _kernel() -> Any:
    from fastclust_kernels.select import _numba

    return _numba
