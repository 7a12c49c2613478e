"""Where jobs compute: in the server's worker, or on the Ray cluster that the operator named."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastclust.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from fastclust_server.config import Settings

__all__ = ["ENGINES", "check_engine", "cluster_of"]

ENGINES = ("local", "ray")


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


def cluster_of(settings: Settings) -> dict[str, Any] | None:
    """Return what ``fastclust.distributed`` is told of the cluster; None to compute here."""
    if settings.engine == "local":
        return None
    return {"address": settings.ray_address, "n_workers": settings.ray_workers or "auto"}
