"""Where a verb computes: here, on a server, or on a Ray cluster."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastclust.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.learning import SelfTaughtLearner

__all__ = ["Address", "ClusterTrainer", "Device", "Engine", "Workers", "check_device", "cluster_of", "trainer_of"]

Device = Annotated[str, typer.Option(help="Where nets are trained and asked: auto (the CPU), cpu, cuda, cuda:1.")]
Engine = Annotated[str, typer.Option(help="local, or ray: on a cluster.")]
Address = Annotated[
    str | None, typer.Option(help="Of the Ray cluster, host:port; without it one that Ray finds, else a local one.")
]
Workers = Annotated[int | None, typer.Option(help="Workers on the cluster; one a node.")]


def cluster_of(engine: str, address: str | None, workers: int | None, server: str | None) -> dict[str, Any] | None:
    """Return what ``fastclust.distributed`` is told of a cluster; None for none. Raises InputError."""
    if engine not in ("local", "ray"):
        raise InputError("engine", repr(engine), "local, ray")
    if engine == "ray":
        if server is not None:
            raise InputError("engine", "ray, with --server", "one of them")
        return {"address": address, "n_workers": "auto" if workers is None else workers}
    if address is not None or workers is not None:
        raise InputError("engine", "local, with --address or --workers", "--engine ray with these")
    return None


def check_device(device: str, on: dict[str, Any] | None, server: str | None) -> None:
    """Raise InputError for a device of a machine that is not this one."""
    if device != "auto" and (on is not None or server is not None):
        elsewhere = "--engine ray" if server is None else "--server"
        raise InputError("device", repr(device), f"auto with {elsewhere}: nets are trained and asked there")


def trainer_of(on: dict[str, Any] | None) -> ClusterTrainer | None:
    """Return what trains on a cluster; None for none. Raises InputError."""
    if on is None:
        return None
    from fastclust.distributed.pool import check_workers

    check_workers(on["n_workers"], None)
    return ClusterTrainer(**on)


class ClusterTrainer:
    """Trains on a Ray cluster: a :class:`fastclust.pipeline.Trainer`."""

    def __init__(self, address: str | None, n_workers: int | str) -> None:
        self._address, self._asked = address, n_workers

    @cached_property
    def about(self) -> dict[str, Any]:
        """The engine and how many workers there are. Raises MissingPackageError, UnavailableError."""
        from fastclust.distributed.pool import nodes

        many = nodes(self._address) if self._asked == "auto" else int(self._asked)
        return {"engine": "ray", "n_workers": many}

    @property
    def _on(self) -> dict[str, Any]:
        return {"address": self._address, "n_workers": self.about["n_workers"]}

    def fit(self, learner: SelfTaughtLearner, rows: Any, checkpoint: Path) -> None:
        """Do what ``learner.fit(rows)`` does."""
        from fastclust import distributed

        distributed.train(learner, rows, checkpoint=checkpoint, **self._on)

    def fine_tune(self, learner: SelfTaughtLearner, rows: Any, labels: NDArray[Any], checkpoint: Path) -> None:
        """Do what ``learner.fine_tune(rows, labels)`` does."""
        from fastclust import distributed

        distributed.fine_tune(learner, rows, labels, checkpoint=checkpoint, **self._on)
