"""Whether kernels were compiled before on this machine, and a word to people before they are: it takes a minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastclust_kernels import notices

if TYPE_CHECKING:
    from numba.core.event import Event

__all__ = ["kept", "watch"]

#: Whether compilations are listened to, and whether the word was said: each once a process.
_state = {"watching": False, "told": False}


def kept() -> bool:
    """Whether k-means' kernels, which are needed first, lie compiled on disk."""
    from fastclust_kernels.assign._dense import _dense

    return _is_kept(_dense)


def watch() -> None:
    """Say :data:`~fastclust_kernels.notices.COMPILING` when a kernel is compiled that has none of its kind on disk."""
    if _state["watching"]:
        return
    _state["watching"] = True
    from numba.core import event

    class _Compilations(event.Listener):
        def on_start(self, event: Event) -> None:
            _look_at(event.data["dispatcher"])

        def on_end(self, event: Event) -> None:
            """Nothing: it is the wait that is told of."""

    event.register("numba:compile", _Compilations())  # type: ignore[no-untyped-call]


def _look_at(kernel: Any) -> None:
    ours = kernel.py_func.__module__.startswith("fastclust_kernels.")
    if ours and not _state["told"] and not _is_kept(kernel):
        _state["told"] = True
        notices.tell(notices.COMPILING)


def _is_kept(kernel: Any) -> bool:
    """Whether Numba keeps any kernel of the same folder that was compiled since the source was last written."""
    folder = kernel.stats.cache_path
    if folder is None:
        return True  # it is never kept, and "once" would be wrong
    written = Path(kernel.py_func.__code__.co_filename).stat().st_mtime
    return any(index.stat().st_mtime > written for index in Path(folder).glob("*.nbi"))
