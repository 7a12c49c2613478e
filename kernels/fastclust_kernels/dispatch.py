"""Which backend runs a request: rows of a table, each with its reasons for not running it.

An explicit name runs or raises with all the reasons; only ``"auto"`` chooses, and the caller records the choice.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastclust_kernels import compiling, passes
from fastclust_kernels.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "Backend",
    "Request",
    "choose",
    "launch",
    "one_blas_thread",
    "parallel_launch",
    "report",
    "threading_layer",
    "threads_given",
]

#: Numba's threading layers under which two Python threads may run parallel kernels at once.
_SAFE_LAYERS = ("omp", "tbb")
_launch = threading.Lock()
_blas: list[Any] = []


@dataclass(frozen=True)
class Request:
    """What is to be run."""

    device: str = "cpu"
    dtype: str = "float32"
    #: Of a GPU, such as "sm_90".
    architecture: str = ""
    #: Of rows and of what maps them, the larger; 0 is any number.
    columns: int = 0


@dataclass(frozen=True)
class Backend:
    """One way to run an operation."""

    name: str
    run: Callable[..., Any]
    devices: tuple[str, ...]
    dtypes: tuple[str, ...]
    #: Largest relative error against the oracle, by dtype; derived in the operation's README.md.
    tolerance: Mapping[str, float] = field(default_factory=dict)
    #: Modules that it needs.
    needs: tuple[str, ...] = ()
    #: Whether "auto" may take it; the oracle is for tests. On a GPU it also needs a recorded pass: see passes.py.
    automatic: bool = True
    #: More reasons, such as a GPU that is not there.
    asks: Callable[[Request], Sequence[str]] = lambda _request: ()

    def unsupported_reasons(self, request: Request) -> list[str]:
        """Return why this backend cannot run the request; empty if it can."""
        reasons = [f"{module} is not installed" for module in self.needs if find_spec(module) is None]
        if request.device not in self.devices:
            reasons.append(f"runs on {', '.join(self.devices)}, not on {request.device}")
        if request.dtype not in self.dtypes:
            reasons.append(f"takes {', '.join(self.dtypes)}, not {request.dtype}")
        return reasons + list(self.asks(request))


def choose(operation: str, table: Sequence[Backend], request: Request, name: str) -> Backend:
    """Return the backend called ``name``, or for "auto" the first that runs the request.

    Raises
    ------
    BackendError
        No such backend, or it cannot run the request; the message has the reasons of all.
    """
    if name == "auto":
        for backend in table:
            if not _passed_over(operation, backend, request):
                return backend
    for backend in table:
        if backend.name == name:
            reasons = backend.unsupported_reasons(request)
            if not reasons:
                return backend
            break
    lines = [
        f"{backend.name}: {'; '.join(_passed_over(operation, backend, request)) or 'would run'}" for backend in table
    ]
    allowed = ", ".join(["auto", *(backend.name for backend in table)])
    raise BackendError(f"{operation}: backend={name!r} cannot run this ({'; '.join(lines)}). Allowed: {allowed}.")


def _passed_over(operation: str, backend: Backend, request: Request) -> list[str]:
    """Why "auto" does not take a backend."""
    reasons = backend.unsupported_reasons(request)
    if reasons:
        return reasons
    if not backend.automatic:
        return ["runs when asked for by name"]
    if request.device != "cpu" and not passes.recorded(operation, backend.name, request.architecture):
        return [f"no pass against the oracle is recorded on {request.architecture or 'this GPU'}; ask for it by name"]
    return []


def tables() -> dict[str, Sequence[Backend]]:
    """All operations with their backends, in the order in which "auto" looks at them."""
    from fastclust_kernels import assign, mahalanobis, tsne, update

    return {
        "assign": assign.BACKENDS,
        "update": update.BACKENDS,
        "mahalanobis": mahalanobis.BACKENDS,
        "components": mahalanobis.COMPONENT_BACKENDS,
        "attraction": tsne.ATTRACTION_BACKENDS,
        "repulsion": tsne.REPULSION_BACKENDS,
    }


def report(request: Request | None = None) -> list[dict[str, Any]]:
    """For each operation and backend: would "auto" choose it for ``request``, and if not, why not.

    On a GPU on whose kind nothing is recorded, "auto" chooses none, and rows there are refused with these reasons.
    """
    asked = request or Request()
    rows = []
    for operation, table in tables().items():
        chosen = next((backend.name for backend in table if not _passed_over(operation, backend, asked)), None)
        for backend in table:
            reasons = _passed_over(operation, backend, asked)
            if not reasons and backend.name != chosen:
                reasons = [f"{chosen} comes first"]
            rows.append(
                {"operation": operation, "backend": backend.name, "chosen": backend.name == chosen, "reasons": reasons}
            )
    return rows


def threading_layer() -> str:
    """Numba's threading layer; "not started" before the first parallel kernel."""
    import numba

    try:
        return str(numba.threading_layer())  # type: ignore[attr-defined]
    except ValueError:
        return "not started"


def threads_given() -> int:
    """How many threads work beside kernels may take: as many as Numba may, or all processors before it is loaded."""
    numba = sys.modules.get("numba")
    if numba is not None:
        return int(numba.get_num_threads())
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep the BLAS to one thread: kernels call it from their own threads."""
    if not _blas:
        import scipy.linalg  # noqa: F401 - Numba's products run in SciPy's BLAS, which must be loaded to be limited
        from threadpoolctl import ThreadpoolController

        _blas.append(ThreadpoolController())
    with _blas[0].limit(limits=1, user_api="blas"):
        yield


@contextmanager
def launch() -> Iterator[None]:
    """Hold around a parallel kernel: two at once abort the process under Numba's workqueue layer."""
    compiling.watch()
    with nullcontext() if threading_layer() in _SAFE_LAYERS else _launch:
        yield


@contextmanager
def parallel_launch() -> Iterator[None]:
    """Hold around parallel kernels between which, or from whose threads, the BLAS is called."""
    with launch(), one_blas_thread():
        yield
