"""Rows of few columns to components on a GPU in CUDA C++ (``components.cu``). Imported only where it is asked for."""

from __future__ import annotations

from pathlib import Path

import torch

from fastclust_kernels.cuda_source import int32, kernel, on_torch_stream
from fastclust_kernels.devices import launches
from fastclust_kernels.mahalanobis.factors import is_upper
from fastclust_kernels.mahalanobis.few import MOST

__all__ = ["SOURCE", "to_components"]

SOURCE = Path(__file__).with_name("components.cu")
#: Threads of a block, and rows that one goes through at least where there are enough.
_THREADS, _ROWS = 128, 64
_NUMBERS = {torch.float32: "float", torch.float64: "double"}


@launches
def to_components(
    X: torch.Tensor, means: torch.Tensor, factors: torch.Tensor, out: torch.Tensor, *, squared: bool
) -> None:
    """Write ``|W_k^T (x - m_k)|``, or its square, into ``out`` ``[n, k]``: at most :data:`few.MOST` columns.

    Rows and ``out`` are float32 or float64, both the same; ``means`` ``[k, d]`` and ``factors`` ``[k, d, r]``
    float64.
    Launches are on torch's stream.
    """
    (k, d, rank), n = factors.shape, len(X)
    assert max(d, rank) <= MOST
    defined = {"NUMBER": _NUMBERS[X.dtype], "COLUMNS": d, "RANK": rank, "UPPER": int(is_upper(factors))}
    # They must live until the kernel is launched: the pointers alone keep nothing.
    centers, weights = means.T.contiguous(), factors.permute(1, 2, 0).contiguous()
    across = -(-k // -(-k // _THREADS))
    down = max(1, _THREADS // across)
    with on_torch_stream(X.device):
        kernel(SOURCE, "components", **defined)(
            (-(-n // (down * _ROWS)), -(-k // across)),
            (across, down),
            (*(X.data_ptr(), n, centers.data_ptr(), weights.data_ptr(), k), int32(not squared), out.data_ptr()),
        )
