"""Versioned saving and loading: safetensors and npy for numbers, JSON for the rest. Never pickle.

Everything is written beside its place and renamed into it after fsync: a reader sees the old file or the new one.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = [
    "FORMAT_VERSION",
    "load_array",
    "load_json",
    "load_model",
    "replacing",
    "save_array",
    "save_json",
    "save_model",
]

FORMAT_VERSION = 1
_KIND = "fastclust_kind"
_PARAMS = "fastclust_params"
_VERSION = "fastclust_format"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well it is synced and renamed to ``path``."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(final)
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def save_array(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write one array as ``.npy``."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def load_array(path: str | os.PathLike[str], *, mmap: bool = False) -> NDArray[Any]:
    """Read one ``.npy``. Raises NotFoundError or DataError."""
    try:
        loaded: NDArray[Any] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file.") from error
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path}: not a readable .npy file ({error}).") from error
    return loaded


def save_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write a JSON object; NaN and Infinity become null, which every reader accepts."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_plain(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def load_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a JSON object. Raises NotFoundError or DataError."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file.") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not a readable JSON file ({error}).") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds {type(value).__name__}, not a JSON object.")
    return value


def save_model(
    path: str | os.PathLike[str], kind: str, params: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
) -> None:
    """Write a model as one safetensors file: ``tensors``, and ``kind`` and ``params`` (JSON) in its header."""
    from safetensors.numpy import save_file

    metadata = {_KIND: kind, _VERSION: str(FORMAT_VERSION), _PARAMS: json.dumps(_plain(params), allow_nan=False)}
    with replacing(path) as temporary:
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, temporary, metadata)


def load_model(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what :func:`save_model` wrote: ``(params, tensors)``.

    Raises
    ------
    NotFoundError
        No such file.
    DataError
        Damaged, of another kind, or written by a later version.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise NotFoundError(f"{path}: no such file.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable safetensors file ({error}).") from error
    found = metadata.get(_KIND)
    if found != kind:
        raise DataError(f"{path}: holds {found or 'no fastclust model'}; needed: {kind}.")
    try:
        version, params = int(metadata.get(_VERSION, "0")), json.loads(metadata.get(_PARAMS, "{}"))
    except ValueError as error:
        raise DataError(f"{path}: its format or its parameters are damaged ({error}).") from error
    if version > FORMAT_VERSION:
        raise DataError(f"{path}: format {version} is newer than this fastclust reads ({FORMAT_VERSION}). Upgrade it.")
    if not isinstance(params, dict):
        raise DataError(f"{path}: its parameters are {type(params).__name__}, not a table.")
    return params, tensors


def _plain(value: Any) -> Any:
    """NumPy scalars, arrays, paths and non-finite floats as JSON can say them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
