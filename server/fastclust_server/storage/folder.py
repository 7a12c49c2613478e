"""The data folder: its layout, the lock on it, and what is left over from a crash."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fastclust.artifacts import replacing
from fastclust.errors import PreconditionError
from fastclust_server import names

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from typing import TextIO

__all__ = ["DataFolder", "remove_tree", "sync_folder"]


class DataFolder:
    """Places of files. Readable by its owner alone."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).resolve()
        #: Payloads on their way in: ``{id}{suffix}``.
        self.uploads = self.root / "uploads"
        #: Payloads that were checked: the same names.
        self.datasets = self.root / "datasets"
        #: Results: ``{job}/{attempt}/{key}``.
        self.artifacts = self.root / "artifacts"
        #: What a job keeps from one attempt to the next: ``{job}``.
        self.work = self.root / "work"
        self._lock: TextIO | None = None

    @property
    def database_url(self) -> str:
        """URL of the embedded database."""
        return f"sqlite:///{self.root / 'fastclust.db'}"

    def open(self) -> None:
        """Make the folders and lock them for this process. Raises PreconditionError where another server runs."""
        for folder in (self.root, self.uploads, self.datasets, self.artifacts, self.work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
        file = (self.root / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise PreconditionError(
                f"{self.root}: another fastclust server uses this data folder"
                f"{f' (process {holder})' if holder else ''}. Stop it, or take another --data folder."
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock = file

    @property
    def id(self) -> str:
        """What tells this folder from others; made once."""
        path = self.root / "id"
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_text(f"{names.new_id()}\n", encoding="ascii")
        return path.read_text(encoding="ascii").strip()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def free_bytes(self) -> int:
        """Bytes that the disk has left."""
        return shutil.disk_usage(self.root).free

    def sweep(
        self, *, uploads: Container[str], datasets: Container[str], published: Iterable[str], unfinished: Container[str]
    ) -> list[str]:
        """Remove what no row speaks of, as a crash leaves it; return what was removed.

        Parameters
        ----------
        uploads, datasets
            File names that count.
        published
            Places of artifacts, under the artifacts folder.
        unfinished
            Ids of jobs that still need their work folder.
        """
        removed = [*self._sweep_payloads(uploads, datasets), *self._sweep_results(published)]
        removed += [path for path in self.work.iterdir() if path.name not in unfinished]
        for path in removed:
            remove_tree(path)
        return [str(path.relative_to(self.root)) for path in removed]

    def tidy(self, job: str, published: Iterable[str]) -> None:
        """Remove attempts of an ended job that were not ``published``, and its work folder."""
        attempts = {place.split("/")[1] for place in published}
        folder = self.artifacts / job
        if folder.is_dir():
            for path in [*folder.iterdir()]:
                if path.name not in attempts:
                    remove_tree(path)
            if not attempts:
                remove_tree(folder)
        remove_tree(self.work / job)

    def _sweep_payloads(self, uploads: Container[str], datasets: Container[str]) -> Iterator[Path]:
        for path in [*self.datasets.iterdir()]:
            if path.name in datasets:
                continue
            if path.name in uploads and not (self.uploads / path.name).exists():
                # Killed between the rename and the row: the bytes were acknowledged, so they go back.
                path.rename(self.uploads / path.name)
                sync_folder(self.datasets)
                sync_folder(self.uploads)
            else:
                yield path
        yield from (path for path in self.uploads.iterdir() if path.name not in uploads)

    def _sweep_results(self, published: Iterable[str]) -> Iterator[Path]:
        attempts = {tuple(place.split("/")[:2]) for place in published}
        jobs = {job for job, *_ in attempts}
        for job in self.artifacts.iterdir():
            if job.name in jobs:
                yield from (attempt for attempt in job.iterdir() if (job.name, attempt.name) not in attempts)
            else:
                yield job


def sync_folder(path: Path) -> None:
    """Make renames in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a file or folder; gone already is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
