"""What a row source is: rows of numbers that are handed out in blocks, wherever they lie."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.data.reading import ahead
from fastclust.errors import DataError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["ArrayRows", "Part", "RowSource", "ShardedRows", "Stretch"]

#: Rows that are looked at together when single ones are taken.
_TAKEN = 8192


class Part(NamedTuple):
    """A file of a source and the rows ``start`` to ``stop`` that it holds."""

    name: str
    start: int
    stop: int


class RowSource(ABC):
    """Rows ``[n, d]``, handed out in blocks; a file stays where it is."""

    #: Whether the rows are an array of the caller's already.
    in_memory = False
    #: Whether blocks are views of pages of the system's cache, so that they take no memory of this process.
    mapped = False

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any], name: str) -> None:
        self._shape, self._dtype = shape, dtype
        self.name = name
        #: Bytes that work on these rows may take; None for a share of what is free.
        self.memory: int | None = None
        #: What open_rows was called with, so that another process can open the same; None for what it cannot open.
        self.recipe: dict[str, Any] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self._shape

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements, as they are stored."""
        return self._dtype

    @property
    def parts(self) -> list[Part]:
        """The files behind the source, in order."""
        return [Part(self.name, 0, self._shape[0])]

    def __len__(self) -> int:
        return self._shape[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self._shape[0]} x {self._shape[1]} {self._dtype}>"

    def __reduce__(self) -> Any:
        if self.recipe is None:
            return super().__reduce__()
        return _again, (self.recipe, self.memory)

    def stretch(self, start: int, stop: int) -> RowSource:
        """Return the rows ``start`` to ``stop`` as a source of its own. Raises InputError."""
        if not 0 <= start < stop <= len(self):
            raise InputError("start, stop", f"{start}, {stop}", f"a stretch of 0..{len(self)}")
        return Stretch(self, start, stop)

    @abstractmethod
    def pieces(self, start: int, stop: int, most: int) -> Iterator[NDArray[Any]]:
        """Yield the rows ``start`` to ``stop`` in order, at most ``most`` at a time; views where nothing is copied."""

    def edges(self) -> NDArray[np.int64]:
        """Rows at which reading may begin without reading what lies before, from 0 to n."""
        return np.array([0, self._shape[0]], np.int64)

    def blocks(
        self,
        rows: int,
        *,
        start: int = 0,
        stop: int | None = None,
        change: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> Iterator[NDArray[Any]]:
        """Yield all rows from ``start`` to ``stop`` in order, ``rows`` at a time, the last block perhaps fewer.

        Blocks are ``[rows, d]``, in the source's dtype.

        The next block is read, and changed, in the background. DataError where a file is not what it says.
        """
        if rows < 1:
            raise InputError("rows", rows, "at least 1")
        made = self._blocks(rows, start, len(self) if stop is None else stop)
        if change is not None:
            made = map(change, made)
        return made if self.in_memory else ahead(made)

    def _blocks(self, rows: int, start: int, stop: int) -> Iterator[NDArray[Any]]:
        buffer: NDArray[Any] | None = None
        filled = 0
        for whole in self.pieces(start, stop, rows):
            piece = whole
            while len(piece):
                wanted = min(rows, stop - start)
                if buffer is None and len(piece) >= wanted:
                    yield piece[:wanted]
                    piece, start = piece[wanted:], start + wanted
                    continue
                if buffer is None:
                    buffer, filled = np.empty((wanted, self._shape[1]), self._dtype), 0
                count = min(len(piece), wanted - filled)
                buffer[filled : filled + count] = piece[:count]
                piece, filled = piece[count:], filled + count
                if filled == wanted:
                    yield buffer
                    buffer, start = None, start + wanted
        if start != stop or buffer is not None:
            raise DataError(f"{self.name}: ends after {start + (filled if buffer is not None else 0)} of {stop} rows.")

    def identity(self) -> str:
        """Return a fingerprint of names, sizes and times of the files, shape, dtype and the first rows."""
        digest = hashlib.blake2b(f"{self._shape} {self._dtype.str}".encode(), digest_size=16)
        for part in self.parts:
            digest.update(f"\n{part}".encode())
            path = Path(part.name)
            if path.is_file():
                digest.update(f" {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
        for piece in self.pieces(0, min(16, len(self)), 16):
            digest.update(np.ascontiguousarray(piece).tobytes())
        return digest.hexdigest()

    def read(self) -> NDArray[Any]:
        """Return all rows, in memory."""
        out = np.empty(self._shape, self._dtype)
        at = 0
        for piece in self._blocks(max(1, min(len(self), (1 << 26) // max(1, out[:1].nbytes))), 0, len(self)):
            out[at : at + len(piece)] = piece
            at += len(piece)
        return out

    def take(self, indices: ArrayLike) -> NDArray[Any]:
        """Return the rows at ``indices``, reading no more than must be. Raises InputError."""
        numbers = np.asarray(indices, np.int64).reshape(-1)
        n = self._shape[0]
        if len(numbers) and (numbers.min() < -n or numbers.max() >= n):
            raise InputError("indices", f"{numbers.min()}..{numbers.max()}", f"0..{n - 1}")
        numbers = np.where(numbers < 0, numbers + n, numbers)
        wanted, back = np.unique(numbers, return_inverse=True)
        return self._take(wanted)[back.reshape(-1)]

    def _take(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        """Rows at increasing numbers."""
        out = np.empty((len(wanted), self._shape[1]), self._dtype)
        edges = self.edges()
        unit = np.searchsorted(edges, wanted, "right")
        for here in np.unique(unit):
            inside = np.flatnonzero(unit == here)
            at = int(wanted[inside[0]])
            for piece in self.pieces(at, int(wanted[inside[-1]]) + 1, _TAKEN):
                hit = inside[(wanted[inside] >= at) & (wanted[inside] < at + len(piece))]
                out[hit] = piece[wanted[hit] - at]
                at += len(piece)
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Let NumPy take the source for an array."""
        del copy
        array = self.read()
        return array if dtype is None else array.astype(dtype, copy=False)


class ArrayRows(RowSource):
    """Rows of an array."""

    in_memory = True

    def __init__(self, array: NDArray[Any]) -> None:
        super().__init__((array.shape[0], array.shape[1]), array.dtype, "an array")
        self._array = array

    def pieces(self, start: int, stop: int, most: int) -> Iterator[NDArray[Any]]:
        for at in range(start, stop, most):
            yield np.asarray(self._array[at : min(stop, at + most)])

    def stretch(self, start: int, stop: int) -> RowSource:
        """Return rows as a source of their own, which holds no others."""
        part = ArrayRows(self._array[start:stop])
        part.memory = self.memory
        return part

    def identity(self) -> str:
        """Return a fingerprint of all rows: there is no file whose time would tell."""
        digest = hashlib.blake2b(f"{self._shape} {self._dtype.str}".encode(), digest_size=16)
        for piece in self.pieces(0, len(self), _TAKEN):
            digest.update(np.ascontiguousarray(piece).tobytes())
        return digest.hexdigest()

    def read(self) -> NDArray[Any]:
        return np.ascontiguousarray(self._array)

    def _take(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self._array[wanted])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.read() if copy else np.asarray(self._array)
        return array if dtype is None else array.astype(dtype, copy=False)


def _again(recipe: dict[str, Any], memory: int | None) -> RowSource:
    from fastclust.data.rows import open_rows

    return open_rows(**recipe, memory=memory)


class Stretch(RowSource):
    """Some rows of another source, one after the other."""

    def __init__(self, whole: RowSource, start: int, stop: int) -> None:
        super().__init__((stop - start, whole.shape[1]), whole.dtype, f"{whole.name}, rows {start} to {stop}")
        self._whole, self._start = whole, start
        self.in_memory, self.memory, self.mapped = whole.in_memory, whole.memory, whole.mapped

    def pieces(self, start: int, stop: int, most: int) -> Iterator[NDArray[Any]]:
        """Yield pieces of the other source."""
        return self._whole.pieces(start + self._start, stop + self._start, most)

    def edges(self) -> NDArray[np.int64]:
        """Edges of the other source that lie inside."""
        inside = self._whole.edges() - self._start
        return np.unique(np.concatenate([[0], inside[(inside > 0) & (inside < len(self))], [len(self)]]))

    def identity(self) -> str:
        """Return what tells it from other stretches and sources."""
        return f"{self._whole.identity()} {self._start} {len(self)}"

    def _take(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        return self._whole._take(wanted + self._start)  # noqa: SLF001 - another of the same class


class ShardedRows(RowSource):
    """Several sources one after the other."""

    def __init__(self, shards: Sequence[RowSource], name: str) -> None:
        first = shards[0]
        for shard in shards[1:]:
            if (shard.shape[1], shard.dtype) != (first.shape[1], first.dtype):
                raise DataError(
                    f"{shard.name}: {shard.shape[1]} columns of {shard.dtype}; {first.name} has {first.shape[1]} of "
                    f"{first.dtype}. The files of one source must agree."
                )
        self._shards = list(shards)
        self._starts = np.cumsum([0, *(len(shard) for shard in shards)])
        super().__init__((int(self._starts[-1]), first.shape[1]), first.dtype, name)

    @property
    def parts(self) -> list[Part]:
        """The files behind the source, in order."""
        return [
            Part(part.name, int(before) + part.start, int(before) + part.stop)
            for shard, before in zip(self._shards, self._starts, strict=False)
            for part in shard.parts
        ]

    def edges(self) -> NDArray[np.int64]:
        """Edges of all shards."""
        return np.unique(
            np.concatenate([shard.edges() + at for shard, at in zip(self._shards, self._starts, strict=False)])
        )

    def pieces(self, start: int, stop: int, most: int) -> Iterator[NDArray[Any]]:
        """Yield pieces that end where a block of ``most`` rows from ``start`` on does, so that few are copied."""
        for shard, before in zip(self._shards, self._starts, strict=False):
            low, high = max(0, start - int(before)), min(len(shard), stop - int(before))
            if low >= high:
                continue
            head = min(high, low + (-(int(before) + low - start)) % most)
            if low < head:
                yield from shard.pieces(low, head, most)
            if head < high:
                yield from shard.pieces(head, high, most)

    def _take(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        owner = np.searchsorted(self._starts, wanted, "right") - 1
        out = np.empty((len(wanted), self._shape[1]), self._dtype)
        for number in np.unique(owner):
            mine = owner == number
            out[mine] = self._shards[number].take(wanted[mine] - self._starts[number])
        return out
