"""Memory of the machine's GPUs, as NVIDIA's management library tells it: no context on a GPU is made for it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Gpu", "GpuCollector", "gpus"]

_LIBRARY = "libnvidia-ml.so.1"


class Gpu(NamedTuple):
    """One GPU. Its memory is used by whoever uses the GPU, not by this server's jobs alone."""

    number: int
    used_bytes: int
    total_bytes: int


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpus(load: Callable[[str], Any] = ctypes.CDLL) -> list[Gpu]:
    """Return the GPUs now; none where NVIDIA's library is not there, or does not answer."""
    try:
        library = load(_LIBRARY)
    except OSError:
        return []
    if library.nvmlInit_v2() != 0:
        return []
    try:
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        found = (_gpu(library, index) for index in range(count.value))
        return [gpu for gpu in found if gpu is not None]
    finally:
        library.nvmlShutdown()


def _gpu(library: Any, index: int) -> Gpu | None:
    handle, memory = ctypes.c_void_p(), _Memory()
    if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) != 0:
        return None
    if library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0:
        return None
    return Gpu(index, int(memory.used), int(memory.total))


class GpuCollector(Collector):
    """What Prometheus is told: ``fastclust_gpus``, 0 where there is none, and memory a GPU."""

    def __init__(self, look: Callable[[], list[Gpu]] = gpus) -> None:
        self._look = look

    @override
    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Look at the GPUs, at each scrape."""
        found = self._look()
        yield GaugeMetricFamily("fastclust_gpus", "GPUs that NVIDIA's library shows; 0: none.", value=len(found))
        used = GaugeMetricFamily(
            "fastclust_gpu_memory_used_bytes", "Memory in use on a GPU, by anybody.", labels=["gpu"]
        )
        total = GaugeMetricFamily("fastclust_gpu_memory_total_bytes", "Memory of a GPU.", labels=["gpu"])
        for gpu in found:
            used.add_metric([str(gpu.number)], gpu.used_bytes)
            total.add_metric([str(gpu.number)], gpu.total_bytes)
        yield used
        yield total
