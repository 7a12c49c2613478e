"""Checks of a map's parameters, before any work."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import BackendError, InputError
from fastclust.maps.affinities import check_affinities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.maps.tsne import TSNE

__all__ = ["check_parameters", "choose_backend", "fixed_rows", "why_not_gpu"]

_BACKENDS = ("auto", "cpu", "gpu", "opentsne")


def choose_backend(model: TSNE) -> tuple[str, Any]:
    """Return "cpu", "gpu" or "opentsne", and for "gpu" the torch device.

    "auto" is "gpu" only where one is there on whose kind a pass against the oracle is recorded. Raises BackendError for
    what is not there or cannot do what is asked.
    """
    if model.backend not in _BACKENDS:
        raise BackendError(
            f"tsne: backend={model.backend!r}: there is no such backend. Allowed: {', '.join(_BACKENDS)}."
        )
    if model.device is not None and model.backend != "gpu":
        raise BackendError(f"tsne: backend={model.backend!r} has no device. Allowed: backend='gpu', or leave it out.")
    if model.backend == "opentsne":
        for name in ("fixed", "checkpoint", "frames", "divergence_every"):
            if getattr(model, name) is not None:
                raise BackendError(
                    f"tsne: backend='opentsne' cannot do {name}. Allowed: auto, cpu, or leave {name} out."
                )
        return "opentsne", None
    if model.backend == "gpu":
        from fastclust_kernels.tsne.device import device_of

        return "gpu", device_of(model.device, "backend='cpu'")
    return ("gpu", device) if model.backend == "auto" and (device := _recorded_gpu()) else ("cpu", None)


def why_not_gpu() -> list[str]:
    """Why "auto" does not choose "gpu" here; empty if it does."""
    from fastclust_kernels.tsne.device import device_of

    try:
        device_of(None, "backend='cpu'")
    except BackendError as error:
        return [str(error)]
    if _recorded_gpu() is None:
        return ["no pass of its forces against the oracle is recorded on this GPU; runs when asked for by name"]
    return []


def _recorded_gpu() -> Any:
    """Return the GPU, if one is there on whose kind all our forces have passed; None otherwise."""
    from fastclust_kernels import passes

    if not passes.any_recorded("attraction", "torch"):
        return None  # torch need not be loaded to know
    import torch

    from fastclust_kernels.tsne.device import architecture_of

    device = torch.device("cuda")
    if not torch.cuda.is_available():
        return None
    kind = architecture_of(device)
    return device if all(passes.recorded(each, "torch", kind) for each in ("attraction", "repulsion")) else None


def check_parameters(model: TSNE) -> None:
    """Raise InputError for the first parameter that is not allowed."""
    if model.n_components not in (1, 2, 3):
        raise InputError("n_components", repr(model.n_components), "1, 2 or 3")
    check_affinities(model)
    _check_integers(model)
    for name in ("early_exaggeration", "learning_rate"):
        value = getattr(model, name)
        if value != "auto" and not _positive(value):
            raise InputError(name, repr(value), '"auto" or a number above 0')
    if not _positive(model.late_exaggeration):
        raise InputError("late_exaggeration", repr(model.late_exaggeration), "a number above 0")
    if model.n_jobs is not None and (not isinstance(model.n_jobs, numbers.Integral) or model.n_jobs == 0):
        raise InputError("n_jobs", repr(model.n_jobs), "None, or an integer that is not 0")
    if model.checkpoint is not None and model.random_state is None:
        raise InputError("random_state", "None, with a checkpoint", "an integer, so that a resumed fit begins alike")
    if model.fixed is not None and isinstance(model.initialization, str):
        raise InputError("fixed", "rows without places", "rows together with initialization, an array of all places")


def _check_integers(model: TSNE) -> None:
    for name, least, other in (
        ("max_iter", 0, ()),
        ("early_exaggeration_iter", 0, ()),
        ("callbacks_every_iters", 1, ()),
        ("frames", 2, (None,)),
        ("divergence_every", 1, (None,)),
        ("pca_components", 1, (None, "auto")),
    ):
        value = getattr(model, name)
        if value in other:
            continue
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
            allowed = "".join(f"{each!r}, or " for each in other) + f"an integer of at least {least}"
            raise InputError(name, repr(value), allowed)


def fixed_rows(fixed: Any, n: int) -> NDArray[np.bool_] | None:
    """Boolean ``[n]`` from such an array or from row numbers; None stays None. Raises InputError."""
    if fixed is None:
        return None
    given = np.asarray(fixed)
    if given.dtype == bool:
        if given.shape != (n,):
            raise InputError("fixed", f"shape {given.shape}", f"({n},), a truth value for each row")
        return given
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise InputError(
            "fixed", f"{given.dtype} of shape {given.shape}", "truth values or row numbers, one-dimensional"
        )
    if given.size and not 0 <= int(given.min()) <= int(given.max()) < n:
        raise InputError("fixed", f"{given.min()}..{given.max()}", f"row numbers from 0 to {n - 1}")
    rows = np.zeros(n, np.bool_)
    rows[given] = True
    return rows


def _positive(value: Any) -> bool:
    return isinstance(value, numbers.Real) and 0 < float(value) < float("inf")
