"""How many columns CUDA C++ takes: no import of torch, so that a choice of backends costs none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastclust_kernels.devices import cuda_asks

if TYPE_CHECKING:
    from fastclust_kernels.dispatch import Request

__all__ = ["MOST", "few_asks"]

#: Columns of rows and of factors whose numbers a thread keeps in registers.
MOST = 8


def few_asks(request: Request) -> list[str]:
    """Why CUDA C++ cannot run a request: no GPU, or too many columns."""
    wide = [] if 1 <= request.columns <= MOST else [f"takes at most {MOST} columns, of rows and of factors"]
    return wide + cuda_asks(request)
