"""What kernels say to people: to whoever listens, or through the logger ``fastclust``."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COMPILING", "listener", "tell"]

#: Said once a process, before the first kernel is compiled where none was kept on disk.
COMPILING = "compiling kernels, about a minute, once"

#: Who hears it; None: the logger, as a warning, for that is what is shown where nobody set logging up.
listener: ContextVar[Callable[[str], None] | None] = ContextVar("fastclust_notices", default=None)


def tell(text: str) -> None:
    """Say ``text``. Raises what the listener raises."""
    hear = listener.get()
    if hear is None:
        logging.getLogger("fastclust").warning(text)
    else:
        hear(text)
