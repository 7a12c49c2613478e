"""A Ray cluster of local nodes for the benchmarks, and what its workers hold in memory."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["local_cluster", "own_workers", "watched_workers"]

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
            held = _anonymous(name)
            found[0] = max([found[0], *held])
            found[1] = max(held, default=found[1])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        going.set()
        thread.join()


def own_workers(name: str) -> list[int]:
    """Numbers of processes of Ray's workers of a class, of clusters that this process started and of no others."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended
            title = process.joinpath("cmdline").read_bytes()
            if title.startswith(b"ray::") and name.encode() in title and _descends(process.name):
                found.append(int(process.name))
    return found


def _descends(number: str) -> bool:
    """Whether a process comes from this one."""
    while number not in ("0", "1"):
        # The name, in parentheses, may have any character.
        number = Path("/proc", number, "stat").read_text("ascii", "replace").rpartition(")")[2].split()[1]
        if number == str(os.getpid()):
            return True
    return False


def _anonymous(name: str) -> list[int]:
    held: list[int] = []
    for number in own_workers(name):
        with contextlib.suppress(OSError):
            lines = Path("/proc", str(number), "status").read_text("ascii").splitlines()
            held += [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")]
    return held
