"""CRC32C of a whole from those of its pieces, so that no byte is summed twice.

With Z n zero bytes, ``crc(A + B) = crc(A + Z) ^ crc(Z) ^ crc(B)`` for any B of n bytes: what n zeros do to a checksum
is a linear map on 32 bits (but for a constant), made once a length by summing zeros, and applied by four look-ups.
"""

from __future__ import annotations

from functools import lru_cache

import google_crc32c
import numpy as np

__all__ = ["Whole", "crc32c"]

#: Pieces of one length after which its map is made: that costs as much as 33 of them.
_PATIENCE = 32
_LONGEST = 16 * 2**20

_Map = tuple[list[int], list[int], list[int], list[int]]


def crc32c(data: bytes | memoryview, start: int = 0) -> int:
    """CRC32C (Castagnoli) of ``data``, going on from ``start``."""
    if isinstance(data, memoryview):
        # The package takes no views, but arrays that cannot be written to: nothing is copied.
        data = np.frombuffer(data.toreadonly(), np.uint8)  # type: ignore[assignment]
    return int(google_crc32c.extend(start, data))


class Whole:
    """The checksum of bytes that come in pieces, in order, each with its own checksum."""

    __slots__ = ("_length", "_map", "_seen", "value")

    def __init__(self) -> None:
        #: Of what was added.
        self.value = 0
        self._length = self._seen = 0
        self._map: _Map | None = None

    def add(self, data: bytes | memoryview, crc: int | None = None) -> None:
        """Add a piece; ``crc`` is its CRC32C, where that is known and true."""
        length = len(data)
        if length != self._length:
            self._length, self._seen, self._map = length, 0, None
        self._seen += 1
        if crc is None or (self._map is None and not self._ready()):
            self.value = crc32c(data, self.value)
            return
        assert self._map is not None
        first, second, third, fourth = self._map
        old = self.value
        self.value = first[old & 255] ^ second[old >> 8 & 255] ^ third[old >> 16 & 255] ^ fourth[old >> 24] ^ crc

    def _ready(self) -> bool:
        if self._seen <= _PATIENCE or not 0 < self._length <= _LONGEST:
            return False
        self._map = _zeros(self._length)
        return True


@lru_cache(maxsize=16)
def _zeros(length: int) -> _Map:
    """Return what ``length`` zero bytes do to a checksum: a table a byte of it."""
    zeros = bytes(length)
    constant = crc32c(zeros)
    bits = [crc32c(zeros, 1 << bit) ^ constant for bit in range(32)]

    def table(byte: int) -> list[int]:
        found = [0]
        for bit in range(8):
            found += [value ^ bits[8 * byte + bit] for value in found]
        return found

    return table(0), table(1), table(2), table(3)
