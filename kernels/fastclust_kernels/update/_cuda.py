"""The update on a GPU in CUDA C++ (``kernel.cu``). Imported only where it is asked for."""

from __future__ import annotations

from pathlib import Path

import torch

from fastclust_kernels.cuda_source import int32, kernel, on_torch_stream
from fastclust_kernels.devices import launches
from fastclust_kernels.update.sorting import SEGMENT, segments_of

__all__ = ["SOURCE", "added"]

SOURCE = Path(__file__).with_name("kernel.cu")
#: Most columns of a block, a thread each.
_COLUMNS = 128


@launches
def added(
    X: torch.Tensor, rows: torch.Tensor | None, labels: torch.Tensor, k: int, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums ``[k, d]`` and weights ``[k]``, float64, of ``rows`` of X (None: all) by their ``labels``.

    ``X`` is float32 or float64, ``weights`` are float64 ``[m]``, one for each of ``rows``. Nothing waits for the
    device; the kernels run on torch's stream.
    """
    d, where = X.shape[1], X.device
    cut = segments_of(labels, k)
    # They must live until the kernels are launched: the pointers alone keep nothing.
    numbers = cut.order if rows is None else rows[cut.order]
    each = None if weights is None else weights[cut.order]
    partial = torch.empty(cut.room, d, dtype=torch.float64, device=where)
    partial_totals = torch.empty(cut.room, dtype=torch.float64, device=where)
    sums = torch.empty(k, d, dtype=torch.float64, device=where)
    totals = torch.empty(k, dtype=torch.float64, device=where)
    threads = min(_COLUMNS, -(-d // 32) * 32)
    blocks = -(-d // threads)
    with on_torch_stream(where):
        kernel(SOURCE, f"segment_{str(X.dtype).removeprefix('torch.')}")(
            (cut.room, blocks),
            (threads,),
            (
                *(X.data_ptr(), d, numbers.data_ptr(), 0 if each is None else each.data_ptr()),
                *(cut.starts.data_ptr(), cut.first.data_ptr(), cut.owners.data_ptr()),
                *(int32(cut.room), int32(SEGMENT), partial.data_ptr(), partial_totals.data_ptr()),
            ),
        )
        kernel(SOURCE, "combine")(
            (k, blocks),
            (threads,),
            (
                d,
                cut.first.data_ptr(),
                partial.data_ptr(),
                partial_totals.data_ptr(),
                sums.data_ptr(),
                totals.data_ptr(),
            ),
        )
    return sums, totals
