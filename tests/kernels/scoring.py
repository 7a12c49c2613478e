"""What the screen of GPUs computes of a row, for tests: imported once it is said whether the interpreter runs it."""

import torch
import triton
import triton.language as tl

from fastclust_kernels.assign import _triton, _triton_split
from fastclust_kernels.assign._triton import _doubt, _scored
from fastclust_kernels.assign.screening import PRODUCTS


@triton.jit
def scores_kernel(
    copies, norms, losses, center_copies, halves, k, width, figures, scores, labels, doubts,
    THREE: tl.constexpr, PARTS: tl.constexpr, SLICES: tl.constexpr, ROWS: tl.constexpr, CENTERS: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    best, _, _, label, _ = _scored(
        copies, i, center_copies, halves, k, width, THREE, PARTS, SLICES, ROWS, CENTERS, COLUMNS
    )
    tl.store(scores + i, best)
    tl.store(labels + i, label)
    tl.store(doubts + i, _doubt(norms, losses, i, figures, width, PARTS, CENTERS))


def _copies(X, centers, product):
    """What the screen is given of rows and of centres."""
    frame = torch.zeros(1, X.shape[1], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    rows = _triton_split.split(X[None], *frame, _triton.ROWS, product, halves=False)
    return rows, _triton_split.split(centers[None], *frame, _triton.CENTERS, product, halves=True)


def left_out(X, centers):
    """By how much a score may be off for what "split" leaves out of a product, ``a L + l (A + L) + q Q``: README.md."""
    (copies, norms, losses, _), middle = _copies(X, centers, PRODUCTS["split"])
    a, lost = (each[0, : len(X)].double() for each in (norms, losses))
    A, center_lost = (each[0, : len(centers)].double().amax() for each in middle[1:3])
    floor = copies.shape[2] // 2 * 1e-7
    low, center_low = 4.9e-4 * (a + lost) + floor, 4.9e-4 * (A + center_lost) + floor
    return a * center_lost + lost * (A + center_lost) + low * center_low


def scored(X, centers, name):
    """Best score of each row, its label, by how much it may be off, and that as the table of tolerances has it."""
    product = PRODUCTS[name]
    (copies, norms, losses, _), middle = _copies(X, centers, product)
    figures = torch.stack([part[0, : len(centers)].amax() for part in middle[1:]])
    n, width = copies.shape[1], copies.shape[2] // product.parts
    scores, doubts = torch.empty(n), torch.empty(n)
    labels = torch.empty(n, dtype=torch.int32)
    scores_kernel[(n // _triton.ROWS,)](
        *(copies, norms, losses, middle[0], middle[3], middle[0].shape[1], width, figures, scores, labels, doubts),
        THREE=False,
        ROWS=_triton.ROWS,
        CENTERS=_triton.CENTERS,
        **_triton._shape(width, product, product.whole),
    )
    sizes = X.double().norm(dim=1) * centers.double().norm(dim=1).amax() + figures[2].double()
    kept = slice(len(X))
    return scores[kept].double(), labels[kept].long(), doubts[kept].double(), product.tolerance(width) * sizes
