"""A Ray cluster of local nodes for the benchmarks, and what its workers hold in memory."""

from __future__ import annotations

import atexit
import contextlib
import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["local_cluster", "watched_workers"]

_STORE = 512 * 2**20


class LocalCluster:
    """Two nodes of one processor each, in this machine."""

    def __init__(self) -> None:
        import ray
        from ray.cluster_utils import Cluster

        self._ray = ray
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": _STORE})
        self._cluster.add_node(num_cpus=1, object_store_memory=_STORE)
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="ERROR")

    def add(self) -> Any:
        """Add a node that takes most new workers."""
        return self._cluster.add_node(num_cpus=4, object_store_memory=_STORE)

    def kill(self, node: Any) -> None:
        """Kill a node in a thread of its own: it takes seconds until the cluster has noticed."""
        threading.Thread(target=self._cluster.remove_node, args=(node, False)).start()

    def close(self) -> None:
        """End it."""
        self._ray.shutdown()
        self._cluster.shutdown()


@functools.cache
def local_cluster() -> LocalCluster:
    """Return the one cluster of this process, started when first asked for; it ends with the process."""
    cluster = LocalCluster()
    atexit.register(cluster.close)
    return cluster


@contextlib.contextmanager
def watched_workers(name: str) -> Iterator[list[int]]:
    """Put the anonymous memory of workers of a class into the list: the most of any, and the last that was."""
    found, going = [0, 0], threading.Event()

    def watch() -> None:
        while not going.wait(0.01):
            held = _anonymous(f"ray::{name}")
            found[0] = max([found[0], *held])
            found[1] = max(held, default=found[1])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        going.set()
        thread.join()


def _anonymous(title: str) -> list[int]:
    held: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended
            if process.joinpath("cmdline").read_bytes().startswith(title.encode()):
                lines = process.joinpath("status").read_text("ascii").splitlines()
                held += [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")]
    return held
