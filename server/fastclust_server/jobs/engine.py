"""Where jobs compute: in the server's worker, or on the Ray cluster that the operator named."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastclust.errors import InputError, MissingPackageError
from fastclust_server import log

if TYPE_CHECKING:
    from pathlib import Path

    from fastclust_server.config import Settings

__all__ = ["ENGINES", "check_engine", "cluster_of"]

ENGINES = ("local", "ray")

#: In a job's folder: the engine and the number of workers of its first attempt.
_KEPT = "engine.json"
#: What jobs keep there that only the same engine goes on from.
_STATES = ("kmeans", "learn", "fine-tune")


def check_engine(settings: Settings) -> None:
    """Raise InputError for an engine that there is none of, and MissingPackageError where its package is missing."""
    if settings.engine not in ENGINES:
        raise InputError("--engine", repr(settings.engine), ", ".join(ENGINES))
    if settings.engine == "local":
        given = [name for name in ("ray_address", "ray_workers") if getattr(settings, name)]
        if given:
            raise InputError(f"--{given[0].replace('_', '-')}", "with --engine local", "--engine ray with it")
        return
    if settings.ray_workers < 0:
        raise InputError("--ray-workers", settings.ray_workers, "0 or more")
    if find_spec("ray") is None:
        raise MissingPackageError('--engine ray needs ray. Run: pip install "fastclust[ray]"')


def cluster_of(settings: Settings, folder: Path) -> dict[str, Any] | None:
    """Return what ``fastclust.distributed`` is told of the cluster; None to compute here.

    The number of workers is noted in the job's ``folder`` and stays the same in later attempts, whatever the cluster
    has become: what was kept goes on to the same bits. Where the engine was another, what was kept is removed. Raises
    MissingPackageError, UnavailableError.
    """
    from fastclust.artifacts import load_json, save_json

    path = folder / _KEPT
    kept = load_json(path) if path.is_file() else {}
    if kept.get("engine") != settings.engine:
        many = None if settings.engine == "local" else settings.ray_workers or _nodes(settings.ray_address)
        states = [folder / name for name in _STATES if (folder / name).exists()]
        for state in states:
            shutil.rmtree(state)
        if states:
            log.event("job_begins_again", job=f"jobs/{folder.name}", was=kept.get("engine"), engine=settings.engine)
        kept = {"engine": settings.engine, "n_workers": many}
        save_json(path, kept)
    if settings.engine == "local":
        return None
    return {"address": settings.ray_address, "n_workers": kept["n_workers"]}


def _nodes(address: str | None) -> int:
    from fastclust.distributed.pool import nodes

    return nodes(address)
