"""What a learner is given, checked and brought to one form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.data import ImageSource, RowSource, open_images
from fastclust.errors import InputError, InputTypeError
from fastclust.learning.features import FeatureSet, compute_features
from fastclust_kernels import arrays, checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Inputs", "check_labels", "read_inputs"]


class Inputs(NamedTuple):
    """Rows, and what views of them can be drawn from."""

    #: float32 [n, d].
    rows: NDArray[np.float32]
    #: float32 [n, v, d] or None.
    views: NDArray[np.float32] | None
    #: (height, width, channels) of rows that are pixels, or None.
    image_shape: tuple[int, int, int] | None
    #: "given", or the name of what was computed from images.
    features: str
    #: Pixels a side that images were brought to, or None.
    image_size: int | None


def read_inputs(
    X: Any,
    views: Any = None,
    image_shape: Any = None,
    *,
    features: str = "auto",
    size: int | None = None,
    device: str = "auto",
) -> Inputs:
    """Read images (an ImageSource, or uint8 ``[n, h, w]`` or ``[n, h, w, c]``), a FeatureSet, or rows ``[n, d]``.

    A net's features are made on the device. Raises InputError or InputTypeError; never looks at labels.
    """
    if isinstance(X, RowSource):
        X = X.read()
    if not isinstance(X, FeatureSet | ImageSource):
        X = arrays.to_numpy(X, "X")
        if X.ndim in (3, 4):
            X = open_images(X)
    if isinstance(X, ImageSource):
        X = compute_features(X, features=features, size=size, device=device)
    if isinstance(X, FeatureSet):
        found = Inputs(X.values, X.views, X.image_shape, X.name, X.image_size)
    else:
        found = Inputs(checks.check_matrix(X, "X"), None, None, "given", None)
    rows = np.ascontiguousarray(found.rows, np.float32)
    checks.check_finite(rows, "X")
    if views is not None:
        found = found._replace(views=_check_views(views, rows))
    if image_shape is not None:
        found = found._replace(image_shape=_check_shape(image_shape, rows))
    return found._replace(rows=rows)


def check_labels(labels: Any, rows: int) -> NDArray[np.int64]:
    """Return labels ``[rows]`` as int64, -1 where unknown. Raises InputError, InputTypeError."""
    values = np.asarray(labels)
    if values.shape != (rows,):
        raise InputError("labels", f"shape {values.shape}", f"({rows},), one for each row of X")
    if values.dtype.kind not in "iu":
        raise InputTypeError("labels", f"dtype {values.dtype}", "integers, -1 where unknown")
    if values.min() < -1:
        raise InputError("labels", int(values.min()), "-1 where unknown, else 0 and above")
    if len(np.unique(values[values >= 0])) < 2:
        raise InputError("labels", "fewer than 2 different known labels", "at least 2")
    return values.astype(np.int64)


def _check_views(views: Any, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    values = arrays.to_numpy(views, "views")
    if values.ndim != 3 or values.shape[1] < 1 or (values.shape[0], values.shape[2]) != rows.shape:
        raise InputError("views", f"shape {values.shape}", f"[{rows.shape[0]}, views, {rows.shape[1]}], as X")
    if values.dtype.kind not in "fiu":
        raise InputTypeError("views", f"dtype {values.dtype}", "a real numeric dtype")
    checks.check_finite(values.reshape(len(values), -1), "views")
    return np.ascontiguousarray(values, np.float32)


def _check_shape(shape: Any, rows: NDArray[np.float32]) -> tuple[int, int, int]:
    try:
        height, width, channels = (int(side) for side in shape)
    except (TypeError, ValueError) as error:
        raise InputTypeError("image_shape", repr(shape), "(height, width, channels)") from error
    if min(height, width, channels) < 1 or height * width * channels != rows.shape[1]:
        raise InputError("image_shape", (height, width, channels), f"a shape of {rows.shape[1]} numbers, as X has")
    return height, width, channels
