"""As many workers as jobs may run at once: one a GPU, which is its own, and one where there is none."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from fastclust_server.gpus import gpus
from fastclust_server.jobs.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastclust_server.config import Settings
    from fastclust_server.gpus import Gpu
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.storage.folder import DataFolder

__all__ = ["Workers", "places"]

_SHOWN = "CUDA_VISIBLE_DEVICES"


def places(
    count: int, environment: Mapping[str, str] = os.environ, look: Callable[[], list[Gpu]] = gpus
) -> list[dict[str, str]]:
    """Return what each worker finds in its environment beyond the server's own: the GPU that it sees, and no other.

    ``count`` is what the setting ``workers`` says. More workers than GPUs share them in turns.
    """
    if _SHOWN in environment:
        devices, order = [device.strip() for device in environment[_SHOWN].split(",") if device.strip()], {}
    else:
        # NVIDIA's library counts them by their place on the bus; CUDA, unless it is told to, by their speed.
        devices, order = [str(gpu.number) for gpu in look()], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    if not devices:
        return [{} for _ in range(count or 1)]
    return [{_SHOWN: devices[number % len(devices)]} | order for number in range(count or len(devices))]


class Workers:
    """The supervisors of all workers; parameters as for :class:`Supervisor`."""

    def __init__(
        self, folder: DataFolder, store: JobStore, *, server: str, changed: Callable[[], None], settings: Settings
    ) -> None:
        self._supervisors = [
            # Kernels are compiled by the first; the others find them on disk.
            Supervisor(
                folder, store, server=server, changed=changed, settings=settings, environment=place, cold=number > 0
            )
            for number, place in enumerate(places(settings.workers))
        ]

    def start(self) -> None:
        """Begin."""
        for supervisor in self._supervisors:
            supervisor.start()

    def wake(self) -> None:
        """Say that a job was queued or cancelled. Any thread."""
        for supervisor in self._supervisors:
            supervisor.wake()

    def stop(self) -> None:
        """Have the jobs at hand put back, end the workers, all at once, and wait for them."""
        threads = [threading.Thread(target=one.stop, name="stopping") for one in self._supervisors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
