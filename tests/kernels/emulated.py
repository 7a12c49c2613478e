"""CUDA C++ without a GPU: CuPy's names over a kernel that a C++ compiler made, its threads one after the other.

For kernels without shared memory and barriers, whose threads may run in any order: the last one comes first here.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import types

import numpy as np

_SHIM = """
struct Three { unsigned x, y, z; };
static Three blockIdx, threadIdx, blockDim;
#define __global__
#define __device__ static
extern "C" void place(unsigned x, unsigned y, unsigned thread, unsigned threads) {
  blockIdx = {x, y, 0}; threadIdx = {thread, 0, 0}; blockDim = {threads, 1, 1};
}
"""


class _Module:
    def __init__(self, folder, code, options=()):
        source, made = folder / "kernel.cpp", folder / f"kernel{abs(hash(code))}.so"
        source.write_text(_SHIM + code)
        command = ["g++", *options, "-O1", "-shared", "-fPIC", "-Wall", "-Wno-unused-function", "-o", made, source]
        subprocess.run(command, check=True)
        self._library = ctypes.CDLL(str(made))

    def get_function(self, name):
        kernel, place = getattr(self._library, name), self._library.place

        def launch(grid, block, arguments):
            given = [_as_cupy_would(each) for each in arguments]
            for x in reversed(range(grid[0])):
                for y in reversed(range(grid[1])):
                    for thread in reversed(range(block[0])):
                        place(x, y, thread, block[0])
                        kernel(*given)

        return launch


def _as_cupy_would(value):
    return ctypes.c_int32(int(value)) if isinstance(value, np.int32) else ctypes.c_int64(value)


def cupy(folder):
    """What stands for the module."""
    stream = types.SimpleNamespace(ExternalStream=lambda _: contextlib.nullcontext())
    return types.SimpleNamespace(
        RawModule=lambda code, options: _Module(folder, code, options), cuda=stream, __spec__=object()
    )
