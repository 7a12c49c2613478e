"""Kernels launch where their rows lie, whichever GPU is the current one."""

import ast
import contextlib
import sys
import types
from pathlib import Path

import pytest
import torch

import fastclust_kernels
from fastclust_kernels import cuda_source
from fastclust_kernels.devices import launches

FILES = [
    path
    for pattern in ("*/_triton*.py", "*/_cuda.py")
    for path in sorted(Path(fastclust_kernels.__file__).parent.glob(pattern))
]


class Devices:
    """What was made the current device, and what no longer is."""

    def __init__(self):
        self.told = []

    @contextlib.contextmanager
    def __call__(self, *what):
        self.told.append(what)
        yield
        self.told.append("back")


@pytest.fixture
def devices(monkeypatch):
    made = Devices()
    monkeypatch.setattr(torch.cuda, "device", made)
    return made


def test_the_rows_device_is_the_current_one_while_it_is_launched(devices):
    @launches
    def launched(*given, **named):
        devices.told.append("launched")
        return given, named

    rows = torch.empty(3, device="meta")
    assert launched(1, (None, rows), last=2) == ((1, (None, rows)), {"last": 2})
    assert launched(n=1, X=rows)
    assert devices.told == 2 * [(rows.device,), "launched", "back"]


def test_nothing_is_changed_for_the_interpreter(devices):
    launches(lambda _: None)(torch.empty(3))
    assert not devices.told


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_function_that_launches_says_so(path):
    tree = ast.parse(path.read_text("utf-8"))
    launching = [
        function
        for function in tree.body
        if isinstance(function, ast.FunctionDef) and any(map(launch, ast.walk(function)))
    ]
    assert launching
    for function in launching:
        assert "launches" in [getattr(each, "id", "") for each in function.decorator_list], function.name


def launch(node):
    """``some_kernel[grid](...)``, or a call of what ``kernel(...)`` returned."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    by_triton = isinstance(called, ast.Subscript) and getattr(called.value, "id", "").endswith("_kernel")
    by_cupy = isinstance(called, ast.Call) and getattr(called.func, "id", "") == "kernel"
    return by_triton or by_cupy


def test_cupy_launches_on_torchs_stream_of_the_device(devices, monkeypatch):
    cupy = types.SimpleNamespace(cuda=types.SimpleNamespace(Device=Devices(), ExternalStream=Devices()))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: types.SimpleNamespace(cuda_stream=77))
    with cuda_source.on_torch_stream(torch.device("cuda:1")):
        assert (cupy.cuda.Device.told, cupy.cuda.ExternalStream.told) == ([(1,)], [(77, 1)])
    assert cupy.cuda.ExternalStream.told[-1] == "back"
