"""Progress out of long work, and the wish to stop into it, through one call.

Long loops call :func:`report` often (it costs a context lookup). Whoever wants to hear installs a listener around the
work with :func:`listening`; a listener that raises :class:`~fastclust.errors.OperationCancelledError` stops the work
at that point. Where work waits for others and has nothing to tell, :func:`check` asks whether it shall stop. Estimators
keep scikit-learn's signatures that way.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastclust_kernels import notices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["NOTICE", "Progress", "as_part", "check", "current", "listening", "report"]

#: What is told of under this name is no step but a word to people: that kernels are being compiled, for one.
NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is."""

    #: What is being done, such as "kmeans" or "tsne".
    step: str
    #: Share done, in [0, 1].
    fraction: float
    #: Free text for people, such as "iteration 40, KL 1.92".
    message: str = ""
    #: Share of the whole run that this step belongs to, in [0, 1]; None where there is no larger run.
    overall: float | None = None
    #: The share is one of what is allowed, such as a most number of iterations: the work may end long before it is 1.
    bound: bool = False


_listener: ContextVar[Callable[[Progress], None] | None] = ContextVar("fastclust_progress", default=None)
_check: ContextVar[Callable[[], None] | None] = ContextVar("fastclust_check", default=None)


def report(step: str, done: float, total: float, message: str = "", *, bound: bool = False) -> None:
    """Say that ``done`` of ``total`` units of ``step`` are done. Raises what the listener raises.

    ``bound``: ``total`` units are allowed, and nobody knows how many it takes.
    """
    listener = _listener.get()
    if listener is not None:
        fraction = min(max(done / total, 0.0), 1.0) if total > 0 else 1.0
        listener(Progress(step, fraction, message, bound=bound))


def check() -> None:
    """Raise what the check raises that :func:`listening` was given: the work shall stop. Without one, do nothing."""
    asked = _check.get()
    if asked is not None:
        asked()


@contextmanager
def listening(
    listener: Callable[[Progress], None] | None, *, check: Callable[[], None] | None = None
) -> Iterator[None]:
    """Install ``listener`` for the work inside the ``with`` block, in this thread; None silences it.

    ``check`` is called, several times a second, where work waits and has nothing to tell; it may raise, and so stop the
    work. Without one, that of the block around this one is called.

    It hears words to people too, as messages of the step :data:`NOTICE`; None leaves those to the listener before it.
    Without any they go to the logger ``fastclust``.
    """
    token, checked = _listener.set(listener), _check.set(check or _check.get())
    hears = notices.listener.get() if listener is None else lambda text: listener(Progress(NOTICE, 0.0, text))
    heard = notices.listener.set(hears)
    try:
        yield
    finally:
        notices.listener.reset(heard)
        _check.reset(checked)
        _listener.reset(token)


@contextmanager
def as_part(step: str, inner: str, first: float, last: float) -> Iterator[None]:
    """Tell what the work inside reports of ``inner`` as the stretch from ``first`` to ``last`` of ``step``.

    Whatever else it reports is told as where that stretch stands: it never goes back.
    """
    outer = _listener.get()
    reached = first

    def tell(told: Progress) -> None:
        nonlocal reached
        if told.step == NOTICE:
            report_to(told)
            return
        if told.step == inner:
            reached = max(reached, first + (last - first) * told.fraction)
        report_to(Progress(step, reached, told.message, bound=told.bound and told.step == inner))

    if outer is None:
        yield
        return
    report_to = outer
    with listening(tell):
        yield


def current() -> Callable[[Progress], None] | None:
    """Return the listener in force; hand it to :func:`listening` in a thread that you start."""
    return _listener.get()
