"""Labels from arrays and files."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.data.npy import open_npy
from fastclust.errors import DataError, InputError, InputTypeError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastclust.data.images import ImageSource

__all__ = ["Labels", "load_labels", "read_labels", "write_labels"]


class Labels(NamedTuple):
    """Labels of rows, and what they are called."""

    #: int64 [n], -1 where unknown.
    labels: NDArray[np.int64]
    #: The name of each number from 0 on, where a CSV had names and not numbers.
    names: list[str] | None


def load_labels(source: Any, ids: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Load labels as int64 ``[n]``, -1 where unknown; takes and raises what :func:`read_labels` does."""
    return read_labels(source, ids).labels


def read_labels(source: Any, ids: Sequence[str] | None = None) -> Labels:
    """Load labels and, where they have some, their names.

    Parameters
    ----------
    source
        An array of integers, one a row; a ``.npy`` file of one; or a CSV with the header ``id,label``, where an id is
        one of ``ids`` or a row number, and a label is an integer or a name (names are numbered in sorted order).
    ids
        Ids of the rows, in order; needed for a CSV.

    Raises
    ------
    InputError, InputTypeError
        Labels that are not integers, or of another number than ``ids``.
    DataError, NotFoundError
        A file that cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.suffix == ".csv":
            return _from_csv(path, ids)
        labels = np.asarray(open_npy(path))
    else:
        labels = np.asarray(source)
    if labels.dtype.kind not in "iu":
        raise InputTypeError("labels", f"dtype {labels.dtype}", "integers, -1 where unknown")
    if labels.ndim != 1:
        raise InputError("labels", f"shape {labels.shape}", "one dimension, [n]")
    if ids is not None and len(labels) != len(ids):
        raise InputError("labels", f"{len(labels)} labels", f"{len(ids)}, one for each row")
    return Labels(labels.astype(np.int64), None)


def write_labels(images: ImageSource, path: str | os.PathLike[str]) -> Path:
    """Write the labels of images that have some as a CSV "id,label": row numbers, and names where there are names.

    Rows without a label are left out.
    """
    labels, names = images.labels, images.label_names
    assert labels is not None
    target = Path(path)
    with target.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "label"])
        lines.writerows([row, names[labels[row]] if names else labels[row]] for row in np.flatnonzero(labels >= 0))
    return target


def _from_csv(path: Path, ids: Sequence[str] | None) -> Labels:
    if ids is None:
        raise InputError("ids", "None", "the ids of the rows, for labels from a CSV")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not {"id", "label"} <= set(reader.fieldnames):
                raise DataError(f"{path}: the first line must be the header id,label.")
            found = {line["id"]: line["label"] for line in reader}
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable CSV file ({error}).") from error
    places = {name: place for place, name in enumerate(ids)}
    labels = np.full(len(ids), -1, np.int64)
    numbers, names = _numbers([label for label in found.values() if label])
    for name, label in found.items():
        place = places.get(name)
        if place is None and name.isdecimal() and int(name) < len(ids):
            place = int(name)
        if place is None:
            raise DataError(f"{path}: there is no row with the id {name!r}.")
        labels[place] = numbers[label] if label else -1
    return Labels(labels, names)


def _numbers(labels: list[str]) -> tuple[dict[str, int], list[str] | None]:
    """Integers stay what they are; names are numbered in sorted order."""
    try:
        return {label: int(label) for label in labels}, None
    except ValueError:
        names = sorted(set(labels))
        return {label: number for number, label in enumerate(names)}, names
