"""The one place where faiss and pynndescent are imported, with errors that say what to install."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from fastclust.errors import MissingPackageError

__all__ = ["faiss", "faiss_distribution", "pynndescent"]

_FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")


def faiss_distribution() -> str | None:
    """Name of the installed faiss distribution. Raises MissingPackageError for two: they overwrite each other."""
    found = []
    for name in _FAISS:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    if len(found) > 1:
        raise MissingPackageError(
            f"{' and '.join(found)} are both installed and own the same files. "
            f"Run: pip uninstall -y {' '.join(found)} && pip install {found[0]}"
        )
    return found[0] if found else None


def faiss() -> Any:
    """Import faiss. Raises MissingPackageError."""
    faiss_distribution()
    try:
        import faiss as module
    except ImportError as error:
        raise MissingPackageError(
            'faiss is not installed. Run: pip install "fastclust[cpu]" (or "fastclust[gpu]", never both); '
            'index="exact" does without it.'
        ) from error
    return module


def pynndescent() -> Any:
    """Import pynndescent. Raises MissingPackageError."""
    try:
        import pynndescent as module
    except ImportError as error:
        raise MissingPackageError("pynndescent is not installed. Run: pip install pynndescent") from error
    return module
