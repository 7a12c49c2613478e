"""What a finished job left: tensors as NumPy arrays, files as bytes, numbers. Fetched when first asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from fastclust.v1 import artifact_pb2

__all__ = ["Result"]

#: Metrics that count something: whole numbers here, as they are in the library. All travel as doubles.
_COUNTS = frozenset(
    {"bytes", "duplicate_groups", "duplicate_rows", "k", "labelled_rows", "n_iter", "rank", "reached_rows", "rows"}
)


class Result:
    """Results by name: ``result.labels``, ``result.embedding``, ``result.inertia``, ``result["report.html"]``."""

    def __init__(
        self,
        job: str,
        artifacts: Mapping[str, artifact_pb2.Artifact],
        metrics: Mapping[str, float],
        notes: Mapping[str, str],
        fetch: Callable[[artifact_pb2.Artifact], Any],
    ) -> None:
        self.job = job
        #: Numbers, by name.
        self.metrics: dict[str, float | int] = {
            name: int(value) if name in _COUNTS else value for name, value in metrics.items()
        }
        #: How the result came to be, by name.
        self.notes = dict(notes)
        self._artifacts = dict(artifacts)
        self._fetch = fetch
        self._fetched: dict[str, Any] = {}

    def keys(self) -> list[str]:
        """Names of the tensors and files."""
        return list(self._artifacts)

    def __getitem__(self, key: str) -> Any:
        if key not in self._artifacts:
            raise KeyError(f"{key!r}: {self.job} has {', '.join(self._artifacts)}")
        if key not in self._fetched:
            self._fetched[key] = self._fetch(self._artifacts[key])
        return self._fetched[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._artifacts:
            return self[name]
        if name in self.metrics:
            return self.metrics[name]
        if name in self.notes:
            return self.notes[name]
        there = [*self._artifacts, *self.metrics, *self.notes]
        raise AttributeError(f"{self.job} has no {name!r}; it has {', '.join(there)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(key for key in self._artifacts if key.isidentifier()), *self.metrics, *self.notes]

    def __repr__(self) -> str:
        return f"<Result of {self.job}: {', '.join([*self._artifacts, *self.metrics])}>"

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write everything into ``folder``: tensors as ``.npy``, files as they are. Returns the paths."""
        from fastclust.artifacts import replacing, save_array

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        paths = []
        for key, artifact in self._artifacts.items():
            # Names come from the server: never more than a name.
            name = Path(key).name
            if artifact.is_file:
                paths.append(target / name)
                with replacing(paths[-1]) as temporary:
                    temporary.write_bytes(self[key])
            else:
                paths.append(target / f"{name}.npy")
                save_array(paths[-1], self[key])
        return paths
