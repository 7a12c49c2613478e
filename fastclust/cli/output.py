"""What every verb shares: progress on a terminal or in a log, one JSON object, and files written."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from fastclust.progress import NOTICE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastclust import progress

__all__ = ["Display", "console", "displaying", "print_json", "say", "tables"]

#: Progress and remarks go to standard error, so that standard output is only what was asked for.
console = Console(stderr=True)
_PLAIN_EVERY = 5.0


def say(text: str) -> None:
    """Say something to people."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def tables() -> Console:
    """Where tables go: as wide as the terminal, and as they need to be where a file or a program takes them."""
    found = Console()
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(width=1000)


def print_json(value: dict[str, Any]) -> None:
    """Print the one object of ``--json``."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


class Display:
    """Shows steps: a bar each on a terminal, a line every few seconds elsewhere."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._complete: set[str] = set()
        self._step, self._said = "", 0.0
        self._noticed: set[str] = set()

    def listen(self, told: progress.Progress) -> None:
        """Take what the library reports."""
        self.step(told.step, told.fraction, told.message)

    def step(self, name: str, fraction: float, message: str = "") -> None:
        """Show how far step ``name`` is."""
        if name == NOTICE:
            self.notice(message)
            return
        if self._bars is None:
            self._line(name, fraction, message)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=1.0, message="")
        self._bars.update(self._tasks[name], completed=fraction, message=message)
        if fraction >= 1.0:
            self._bars.stop_task(self._tasks[name])

    def notice(self, text: str) -> None:
        """Say a word to people, once and at once."""
        if text not in self._noticed:
            self._noticed.add(text)
            say(text)

    def _line(self, name: str, fraction: float, message: str) -> None:
        """One line when a step begins, every few seconds while it lasts, and one when it is done."""
        if name in self._complete:
            return
        if fraction >= 1.0:
            self._complete.add(name)
        elif name == self._step and time.monotonic() - self._said < _PLAIN_EVERY:
            return
        say(f"{name:<10} {100 * fraction:3.0f} %  {message}".rstrip())
        self._step, self._said = name, time.monotonic()


@contextmanager
def displaying(*, quiet: bool = False) -> Iterator[Display]:
    """Show progress while the block runs."""
    if quiet:
        yield _Silent(None)
        return
    if not console.is_terminal:
        yield Display(None)
        return
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[message]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield Display(bars)


class _Silent(Display):
    def notice(self, text: str) -> None:
        """Say nothing."""

    def step(self, name: str, fraction: float, message: str = "") -> None:
        """Say nothing."""


def wrote(paths: list[Path]) -> None:
    """Say which files are there now."""
    for path in paths:
        say(f"wrote {path}")
