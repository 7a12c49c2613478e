"""The run folder: ``run.json``, which steps are done for which inputs, and one run at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastclust import __version__
from fastclust.artifacts import load_json, save_json
from fastclust.errors import DataError, NotFoundError, PreconditionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["RunFolder", "key_of"]

#: Raised when a step's outputs mean something else than before, so that old folders are not taken over.
_FORMAT = 1


def key_of(*parts: Any) -> str:
    """Hash what a step depends on."""
    text = json.dumps([_FORMAT, __version__, *parts], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class RunFolder:
    """The record of a run, written after each step, so that a run that was stopped goes on where it stood."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._record = load_json(self.path / "run.json")
        except (NotFoundError, DataError):
            self._record = {}
        self._done: dict[str, dict[str, Any]] = {step["name"]: step for step in self._record.get("steps", [])}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process. Raises PreconditionError where another one holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise PreconditionError(f"{self.path}: another run is at work here. Take another folder.") from error
            yield

    def begin(self, *, title: str, n_rows: int, kind: str, params: dict[str, Any]) -> None:
        """Write down what is run; keeps what is known of finished steps."""
        self._record = {
            "format": _FORMAT,
            "title": title,
            "fastclust": __version__,
            "n_rows": n_rows,
            "kind": kind,
            "params": params,
            "steps": [],
            "machine": {
                "python": platform.python_version(),
                "system": platform.platform(),
                "cores": len(os.sched_getaffinity(0)),
            },
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def finished(self, name: str, key: str) -> dict[str, Any] | None:
        """Return the record of step ``name`` if it was done for ``key`` and its files are as it left them."""
        step = self._done.get(name)
        if step is None or step.get("key") != key:
            return None
        for file, size in step.get("files", {}).items():
            path = self.path / file
            if not path.is_file() or path.stat().st_size != size:
                return None
        return step

    def record(
        self, name: str, key: str, *, seconds: float, reused: bool, notes: dict[str, Any], files: Sequence[str]
    ) -> None:
        """Write down that step ``name`` is done."""
        sizes = {file: (self.path / file).stat().st_size for file in files}
        step = {"name": name, "seconds": seconds, "reused": reused, "notes": notes, "key": key, "files": sizes}
        self._done[name] = step
        order = [entry for entry in self._record["steps"] if entry["name"] != name]
        self._record["steps"] = [*order, step]
        # Steps done earlier and not yet reached now stay on record, or a second interruption would lose them.
        known = {entry["name"] for entry in self._record["steps"]}
        later = [entry for entry in self._done.values() if entry["name"] not in known]
        save_json(self.path / "run.json", {**self._record, "steps": [*self._record["steps"], *later]})

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Records of the steps of this run, in order."""
        return list(self._record["steps"])

    def close(self) -> None:
        """Write the final record: the steps of this run only."""
        save_json(self.path / "run.json", self._record)
