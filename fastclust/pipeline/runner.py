"""Runs the steps in order, takes over what is already there, and tells how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastclust import progress
from fastclust.artifacts import load_json
from fastclust.errors import InputError, InputTypeError
from fastclust.pipeline.context import RunContext, Trainer
from fastclust.pipeline.folder import RunFolder, key_of
from fastclust.pipeline.params import RunParams
from fastclust.pipeline.source import labels_of, open_source
from fastclust.pipeline.steps import STEPS, Step
from fastclust_kernels import notices

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["RunResult", "run"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run: where it is and what it found."""

    path: Path
    #: What ``quality.json`` holds; empty where that step was not asked for.
    quality: dict[str, Any]
    #: One record a step: name, seconds, reused, notes.
    steps: list[dict[str, Any]]


def run(
    source: Any,
    out: str | os.PathLike[str],
    *,
    labels: Any = None,
    train_labels: Any = None,
    steps: Sequence[str] | None = None,
    trainer: Trainer | None = None,
    **params: Any,
) -> RunResult:
    """Learn an embedding, find neighbours and clusters, draw the map and write the report.

    Run again with the same ``out``, only what changed is done again; a run that was stopped goes on.

    Parameters
    ----------
    source
        A folder of images, a tar of images, an IDX or ``.npy`` file, "digits", "fashion-mnist", an array
        (``[n, d]`` rows; ``[n, h, w]`` or ``[n, h, w, c]`` uint8 images).
    out
        The run folder; made where it is missing.
    labels
        Labels to score against; never trained on. An array ``[n]`` of integers (-1: unknown), ``.npy`` or CSV. None
        takes the source's own, such as the sub-folders that images stand in.
    train_labels
        Labels to fine-tune with, in the same forms; -1, and ids that a CSV leaves out, are unknown. What was learned
        without labels stays and is not learned again. They are also spread over the graph, into ``map.parquet``.
    steps
        Names out of :data:`STEPS`; what they need is added. None runs all. Without "learn", the features themselves
        are clustered and mapped.
    trainer
        What trains in place of this process, such as a cluster: see :class:`fastclust.pipeline.Trainer`. None: nothing
        does.
    **params
        ``title``, ``n_clusters`` (None: as many as there are distinct labels, else 10; "auto": what
        :func:`fastclust.insight.choose_k` chooses, its curve in ``choice.json``), ``features``, ``image_size``,
        ``encoder``, ``embedding_dim``, ``epochs``, ``metric`` ("euclidean", "cosine", "mahalanobis"), ``n_neighbors``
        and ``perplexity`` (None: 15 and 30, or as many as few rows have), ``index``, ``map_max_iter``,
        ``random_state``, ``device`` (where nets are trained and asked: "auto", the CPU, "cpu", "cuda", "cuda:1");
        see :class:`fastclust.pipeline.params.RunParams`.

    Returns
    -------
    RunResult
        With ``.path``, ``.quality`` and ``.steps``. The folder's files are listed in ARCHITECTURE.md.

    Raises
    ------
    InputError, InputTypeError
        For parameters and data that cannot be run, before any work.
    BackendError
        The device is not there.
    DataError, NotFoundError
        For a source that cannot be read.
    PreconditionError
        Another run is at work in ``out``.
    OperationCancelledError
        A progress listener asked to stop. What was finished is kept.
    """
    asked = _params(params)
    wanted = _plan(steps)
    _check_device(asked.device, trainer)
    if trainer is not None and not any(step.trains for step in wanted):
        raise InputError("trainer", "one, with steps that learn nothing", "None, or learn among the steps")
    data = open_source(source, labels)
    checked = asked.for_rows(data.n_rows)
    # Here and not where they are used: learning, which comes first, takes minutes.
    training = None if train_labels is None else labels_of(train_labels, data.ids, "train_labels")
    folder = RunFolder(out)
    with folder.locked():
        title = checked.title or _title(source)
        if lowered := asked.lowered(data.n_rows):
            notices.tell(f"{data.n_rows} rows: {' and '.join(lowered)}")
        folder.begin(title=title, n_rows=data.n_rows, kind=data.kind, params=checked.as_dict())
        learned = any(step.name == "learn" for step in wanted)
        context = RunContext(folder.path, data, checked, training, learned, trainer)
        keys: dict[str, str] = {}
        for place, step in enumerate(wanted):
            keys[step.name] = _key(step, context, keys)
            _do(step, keys[step.name], context, folder, _share(wanted, place))
        folder.close()
    quality = load_json(folder.path / "quality.json") if "quality" in keys else {}
    return RunResult(folder.path, quality, folder.steps)


def _check_device(device: str, trainer: Trainer | None) -> None:
    """Raise BackendError or InputError for a device that nothing could be trained on, before any work."""
    if device in ("auto", "cpu"):
        return
    if trainer is not None:
        raise InputError("device", repr(device), "auto or cpu with a trainer: it trains where it is")
    from fastclust.learning.devices import choose_device

    choose_device(device)


def _params(params: dict[str, Any]) -> RunParams:
    known = set(RunParams.__dataclass_fields__)
    unknown = sorted(set(params) - known)
    if unknown:
        raise InputTypeError("run", f"an unknown parameter {unknown[0]!r}", ", ".join(sorted(known)))
    return RunParams(**params)


def _plan(names: Sequence[str] | None) -> list[Step]:
    """Put the steps asked for in order, with those that they need."""
    by_name = {step.name: step for step in STEPS}
    if names is None:
        return list(STEPS)
    chosen: set[str] = set()
    queue = [names] if isinstance(names, str) else list(names)
    while queue:
        name = queue.pop()
        if name not in by_name:
            raise InputError("steps", repr(name), ", ".join(by_name))
        if name not in chosen:
            chosen.add(name)
            queue += (*by_name[name].needs, *by_name[name].beside)
    return [step for step in STEPS if step.name in chosen]


def _title(source: Any) -> str:
    return Path(source).name if isinstance(source, str | Path) else "fastclust run"


def _key(step: Step, context: RunContext, keys: dict[str, str]) -> str:
    params = context.params.as_dict()
    own = {name: params[name] for name in step.params}
    if "n_clusters" in own and own["n_clusters"] is None:
        own["n_clusters"] = context.n_clusters  # labels are counted
    if "labels" in step.reads:
        own["labels"] = context.source.labels_fingerprint
    if "train_labels" in step.reads:
        own["train_labels"] = context.train_key
    if step.trains and context.trainer is not None:
        own["trainer"] = context.trainer.about
    before = {name: keys[name] for name in (*step.needs, *step.after) if name in keys}
    return key_of(step.name, own, before, context.source.fingerprint)


def _share(steps: Sequence[Step], place: int) -> tuple[float, float]:
    """Where step ``place`` begins and ends within the whole, in [0, 1]."""
    total = sum(step.weight for step in steps)
    begin = sum(step.weight for step in steps[:place])
    return begin / total, (begin + steps[place].weight) / total


def _do(step: Step, key: str, context: RunContext, folder: RunFolder, share: tuple[float, float]) -> None:
    listener = progress.current()
    begin, end = share
    reached = 0.0

    def tell(fraction: float, message: str = "", *, bound: bool = False) -> None:
        nonlocal reached
        reached = max(reached, fraction)
        if listener is not None:
            overall = begin + (end - begin) * reached
            listener(progress.Progress(step.name, reached, message, overall, bound))

    before = folder.finished(step.name, key)
    if before is not None:
        context.notes[step.name] = before["notes"]
        names = list(before["files"])
        folder.record(step.name, key, seconds=before["seconds"], reused=True, notes=before["notes"], files=names)
        tell(1.0, "reused")
        return
    tell(0.0)
    started = time.perf_counter()

    def hear(inner: progress.Progress) -> None:
        if inner.step == progress.NOTICE:
            if listener is not None:
                listener(inner)
            return
        # Parts of the work, such as the graph that learning mines, are told of but do not move the step on.
        if inner.step == (step.reports or step.name):
            tell(0.99 * inner.fraction, inner.message, bound=inner.bound)
        else:
            tell(reached, inner.message)

    with progress.listening(hear):
        outcome = step.work(context)
    seconds = time.perf_counter() - started
    context.notes[step.name] = outcome.notes
    folder.record(step.name, key, seconds=seconds, reused=False, notes=outcome.notes, files=outcome.files)
    tell(1.0)
