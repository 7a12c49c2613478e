"""Folders of images whose own lists say which images there are, of which class, and which part learns.

CUB-200-2011: ``images.txt``, ``image_class_labels.txt``, ``classes.txt``, images under ``images/``.
Cars-196: ``cars_annos.mat`` beside ``car_ims/``.
Stanford Online Products: ``Ebay_train.txt`` and ``Ebay_test.txt``.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastclust.data.encoded import EncodedImages
from fastclust.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["ListedImages", "layout_of"]


class _Entry(NamedTuple):
    #: Below the folder, with "/" between.
    name: str
    label: str
    #: Whether metric learning trains on it by custom: the first half of the classes.
    learns: bool


class ListedImages(EncodedImages):
    """Images in the order of their data set's lists; ids are paths below the folder.

    Files that are listed and cannot be read are in ``skipped``; ``learns`` is the custom's split of the classes.
    """

    def __init__(self, path: Path, read: Callable[[Path], list[_Entry]]) -> None:
        self._path = path
        entries = {entry.name: entry for entry in read(path)}
        for name in entries:
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise DataError(f"{path}: lists {name!r}; allowed: paths below the folder.")
        super().__init__(str(path), list(entries))
        found = [entries[name] for name in self.ids]
        # Names in the order of the lists, so that label numbers are the data set's own, from 0.
        names = list(dict.fromkeys(entry.label for entry in entries.values()))
        number = {name: place for place, name in enumerate(names)}
        self.labels = np.array([number[entry.label] for entry in found], np.int64)
        self.label_names = names
        self.learns = np.array([entry.learns for entry in found], np.bool_)

    def _bytes(self, name: str) -> bytes:
        return (self._path / name).read_bytes()


def layout_of(path: Path) -> Callable[[Path], list[_Entry]] | None:
    """Return what reads the lists of this folder, or None for a folder without such lists."""
    for files, read in _LAYOUTS.items():
        if all((path / file).is_file() for file in files):
            return read
    return None


def _cub(path: Path) -> list[_Entry]:
    classes = dict(_pairs(path / "classes.txt"))
    label = dict(_pairs(path / "image_class_labels.txt"))
    first = {number for number in classes if int(number) <= len(classes) // 2}
    entries = []
    for image, name in _pairs(path / "images.txt"):
        if label.get(image) not in classes:
            raise DataError(f"{path}: image {image} has class {label.get(image)!r}; allowed: those of classes.txt.")
        entries.append(_Entry(f"images/{name}", classes[label[image]], label[image] in first))
    return sorted(entries, key=lambda entry: entry.name)


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Lines of "number value"."""
    for line, text in enumerate(_lines(path), 1):
        number, _, value = text.partition(" ")
        if not number.isdigit() or not value.strip():
            raise DataError(f'{path}: line {line} is {text!r}; allowed: "number value".')
        yield number, value.strip()


def _cars(path: Path) -> list[_Entry]:
    from scipy.io import loadmat

    file = path / "cars_annos.mat"
    try:
        content = loadmat(file, squeeze_me=True)
        names: Sequence[str] = [str(name) for name in np.atleast_1d(content["class_names"])]
        images = np.atleast_1d(content["annotations"])
        paths = [str(name) for name in images["relative_im_path"]]
        classes = [int(number) for number in images["class"]]
    except Exception as error:  # SciPy raises anything for damaged files
        raise DataError(f"{file}: cannot be read ({type(error).__name__}: {error}).") from error
    if not all(1 <= number <= len(names) for number in classes):
        raise DataError(f"{file}: classes {min(classes)}..{max(classes)}; allowed: 1..{len(names)}.")
    entries = [
        _Entry(name, names[number - 1], number <= len(names) // 2) for name, number in zip(paths, classes, strict=True)
    ]
    return sorted(entries, key=lambda entry: (names.index(entry.label), entry.name))


def _products(path: Path) -> list[_Entry]:
    entries = []
    for file, learns in (("Ebay_train.txt", True), ("Ebay_test.txt", False)):
        for line, text in enumerate(_lines(path / file)[1:], 2):
            fields = text.split()
            if len(fields) != 4:
                raise DataError(f"{path / file}: line {line} is {text!r}; allowed: image, class, super class, path.")
            entries.append(_Entry(fields[3], fields[1], learns))
    return entries


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error


_LAYOUTS: dict[tuple[str, ...], Callable[[Path], list[_Entry]]] = {
    ("images.txt", "image_class_labels.txt", "classes.txt"): _cub,
    ("cars_annos.mat",): _cars,
    ("Ebay_train.txt", "Ebay_test.txt"): _products,
}
