"""Stores that LLVM leaves whole.

Of ``a[i] = x if better else a[i]`` LLVM 22 makes a store under a mask, which AMD's processors with AVX2 do in
microcode: k-means' assignment had five sixths of its speed there (bench/results/kmeans-avx2-2026-11-29.md).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

__all__ = ["store_whole"]


class _Whole(ir.instructions.StoreInstr):  # type: ignore[misc]
    """A volatile store, which no other instruction may take part of."""

    def descr(self, buf: list[str]) -> None:
        text: list[str] = []
        super().descr(text)
        buf.append("".join(text).replace("store ", "store volatile ", 1))


def store_whole(builder: Any, value: Any, pointer: Any, *, align: int) -> None:
    """Store ``value`` at ``pointer``, all of it."""
    store = _Whole(builder.block, value, pointer)
    store.align = align
    builder._insert(store)  # noqa: SLF001  llvmlite has no volatile store of its own
