"""CUDA C++ without a GPU: CuPy's names over a kernel that a C++ compiler made, its threads one after the other.

For kernels without shared memory and barriers, whose threads may run in any order: the last one comes first here.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import re
import subprocess
import sys
import types
from importlib import metadata

import numpy as np
import pytest

from fastclust_kernels import cuda_source
from fastclust_kernels.mahalanobis import _cuda as mahalanobis_cuda
from fastclust_kernels.update import _cuda as update_cuda

_SHIM = """
#include <cmath>
using std::sqrt;
struct Three { unsigned x, y, z; };
static Three blockIdx, threadIdx, blockDim, gridDim;
#define __global__
#define __device__ static
extern "C" void shape(unsigned across, unsigned down, unsigned wide, unsigned high) {
  gridDim = {across, down, 1}; blockDim = {wide, high, 1};
}
extern "C" void place(unsigned x, unsigned y, unsigned across, unsigned down) {
  blockIdx = {x, y, 0}; threadIdx = {across, down, 0};
}
"""


class _Module:
    def __init__(self, folder, code, options=()):
        source, made = folder / "kernel.cpp", folder / f"kernel{abs(hash((code, options)))}.so"
        source.write_text(_SHIM + code)
        command = ["g++", *options, "-O1", "-shared", "-fPIC", "-Wall", "-Wno-unused-function", "-Wno-unknown-pragmas"]
        command += ["-o", made, source]
        subprocess.run(command, check=True)
        self._library, self._code = ctypes.CDLL(str(made)), code

    def get_function(self, name):
        kernel, library = getattr(self._library, name), self._library
        # Four bytes or eight: a GPU reads what the kernel declares, whatever was handed over.
        (declared,) = re.findall(rf"__global__ void {name}\((.*?)\)", self._code, re.DOTALL)
        kinds = [4 if re.match(r"\s*int \w+$", each) else 8 for each in declared.split(",")]

        def launch(grid, block, arguments):
            given = [_as_cupy_would(each, kind) for each, kind in zip(arguments, kinds, strict=True)]
            high = block[1] if len(block) > 1 else 1
            library.shape(*grid, block[0], high)
            every = (range(grid[0]), range(grid[1]), range(block[0]), range(high))
            for thread in itertools.product(*(each[::-1] for each in every)):
                library.place(*thread)
                kernel(*given)

        return launch


def _as_cupy_would(value, size):
    assert size == (4 if isinstance(value, np.int32) else 8), f"{value!r} where the kernel reads {size} bytes"
    return ctypes.c_int32(int(value)) if size == 4 else ctypes.c_int64(value)


@contextlib.contextmanager
def cuda_on_cpu(folder):
    """What runs CUDA C++ of ours on the CPU: CuPy's place is taken, and torch's stream is none."""
    stands = types.SimpleNamespace(
        RawModule=lambda code, options: _Module(folder, code, options), cuda=None, __spec__=object()
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", stands)
        for user in (update_cuda, mahalanobis_cuda):
            patch.setattr(user, "on_torch_stream", lambda _: contextlib.nullcontext())
        cuda_source._module.cache_clear()
        yield
        cuda_source._module.cache_clear()


@contextlib.contextmanager
def changed(module, line, instead, folder):
    """A wrong kernel in place of a module's: one line of it says something else."""
    code = module.SOURCE.read_text()
    assert line in code
    (folder / "kernel.cu").write_text(code.replace(line, instead))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SOURCE", folder / "kernel.cu")
        cuda_source._module.cache_clear()
        yield
    cuda_source._module.cache_clear()


def _nvcc():
    """The compiler of the wheel that the tests ask for."""
    files = metadata.files("nvidia-cuda-nvcc") or []
    return next(str(each.locate()) for each in files if each.name == "nvcc")


def compiled(code, architecture, out, **defined):
    """What the assembler says of each kernel, bytes of its stack and registers a thread; a warning is an error."""
    source = out / "kernel.cu"
    source.write_text(code)
    command = [_nvcc(), "-std=c++17", f"-arch={architecture}", "-cubin", "-Werror", "all-warnings"]
    command += ["--compiler-options", "-Wall,-Wextra,-Werror", "-Xptxas", "-v,-warn-spills,-warn-lmem-usage"]
    command += [f"-D{name}={value}" for name, value in defined.items()]
    done = subprocess.run(
        [*command, "-o", out / "kernel.cubin", source], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = re.findall(r"entry function '(\w+)'.*?(\d+) bytes stack.*?Used (\d+) registers", done.stderr, re.DOTALL)
    return {name: (int(stack), int(registers)) for name, stack, registers in told}
