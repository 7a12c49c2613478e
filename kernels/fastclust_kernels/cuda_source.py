"""CUDA C++ of ours, compiled by NVRTC through CuPy when it is first called, and what its launches need.

Imported only where CUDA C++ is asked for.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

__all__ = ["int32", "kernel", "on_torch_stream"]


def kernel(source: Path, name: str, **defined: object) -> Any:
    """Return kernel ``name`` of ``source``, compiled with these macros: called with grid, block and arguments."""
    macros = tuple(f"-D{macro}={value}" for macro, value in sorted(defined.items()))
    return _module(source, macros).get_function(name)


@cache
def _module(source: Path, macros: tuple[str, ...]) -> Any:
    import cupy

    return cupy.RawModule(code=source.read_text("utf-8"), options=("-std=c++17", *macros))


def int32(value: int) -> Any:
    """Return a number of four bytes: CuPy hands Python's integers over in eight."""
    return np.int32(value)


@contextmanager
def on_torch_stream(device: torch.device) -> Iterator[None]:
    """Let CuPy compile for that device, and launch on torch's stream of it; the device is the current one."""
    import cupy
    import torch

    number, stream = torch.cuda.current_device(), torch.cuda.current_stream(device).cuda_stream
    with cupy.cuda.Device(number), cupy.cuda.ExternalStream(stream, number):
        yield
