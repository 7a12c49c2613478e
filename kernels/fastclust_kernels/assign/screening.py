"""What a screen on matrix units may multiply: how rows are stored for it, and how far off its scores are at most."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ARITHMETIC", "CERTIFIED", "PRODUCTS", "Product", "Screening"]


class Product(NamedTuple):
    """One way to multiply rows with centres."""

    #: float16, or float32 whose 13 lowest bits are zero: tf32.
    tf32: bool
    #: Numbers that each number is stored as: itself, rounded; or high and low half of it.
    parts: int
    #: Rows that are at most this many columns wide stay in shared memory; wider ones come in slices of so many.
    whole: int
    slice: int

    def tolerance(self, width: int) -> float:
        """Most that a score ``x.c - |c|^2 / 2`` is off, relative to ``|x| |c| + |c|^2 / 2``: README.md, On a GPU.

        Of float32 rows with ``width`` columns after padding, whose numbers are none of them far below the largest.
        """
        sums = (width + 8) * 2.0**-22
        if self.parts == 2:
            # What both halves leave over, the product of low halves, moving in float32; no place is packed.
            return 1.02 * (3 * 2.0**-22 + 1.2e-7 + sums * (1 + 3 * 2.0**-10) + 5e-7)
        return 1.01 * (2.0**-10 + 2.0**-22 + 1.2e-7 + sums + 1.05 * 128 * 2.0**-23 + 5e-7)


PRODUCTS = {
    "half": Product(tf32=False, parts=1, whole=256, slice=64),
    "tf32": Product(tf32=True, parts=1, whole=128, slice=32),
    "split": Product(tf32=False, parts=2, whole=64, slice=32),
}


class Screening(NamedTuple):
    """What screens rows, and whether float64 decides what that leaves open."""

    product: str
    repair: bool


CERTIFIED = Screening("half", repair=True)
#: By the names that ``arithmetic`` has.
ARITHMETIC = {
    "exact": CERTIFIED,
    "certified": CERTIFIED,
    "half": Screening("half", repair=False),
    "tf32": Screening("tf32", repair=True),
    "split": Screening("split", repair=True),
}
