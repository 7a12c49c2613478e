"""Labels from arrays and files."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data.npy import open_npy
from fastclust.errors import DataError, InputError, InputTypeError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["load_labels"]


def load_labels(source: Any, ids: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Load labels as int64 ``[n]``, -1 where unknown.

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
        labels = _from_csv(path, ids) if path.suffix == ".csv" else np.asarray(open_npy(path))
    else:
        labels = np.asarray(source)
    if labels.dtype.kind not in "iu":
        raise InputTypeError("labels", f"dtype {labels.dtype}", "integers, -1 where unknown")
    if labels.ndim != 1:
        raise InputError("labels", f"shape {labels.shape}", "one dimension, [n]")
    if ids is not None and len(labels) != len(ids):
        raise InputError("labels", f"{len(labels)} labels", f"{len(ids)}, one for each row")
    return labels.astype(np.int64)


def _from_csv(path: Path, ids: Sequence[str] | None) -> NDArray[np.int64]:
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
    numbers = _numbers([label for label in found.values() if label])
    for name, label in found.items():
        place = places.get(name)
        if place is None and name.isdecimal() and int(name) < len(ids):
            place = int(name)
        if place is None:
            raise DataError(f"{path}: there is no row with the id {name!r}.")
        labels[place] = numbers[label] if label else -1
    return labels


def _numbers(labels: list[str]) -> dict[str, int]:
    """Integers stay what they are; names are numbered in sorted order."""
    try:
        return {label: int(label) for label in labels}
    except ValueError:
        return {label: number for number, label in enumerate(sorted(set(labels)))}
