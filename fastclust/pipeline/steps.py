"""The steps of a run: what each reads, depends on and writes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress
from fastclust.artifacts import save_array, save_json
from fastclust.errors import InputError
from fastclust.pipeline.describe import describe_insight, describe_quality, write_ids
from fastclust.pipeline.folder import key_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.pipeline.context import RunContext

__all__ = ["STEPS", "Outcome", "Step"]

_ROWS_PER_COLUMN = 10
#: Rows from which on a perplexity of 1 has its 3 neighbours.
_LEAST_ROWS = 4
#: What was learned without labels, kept apart from what came of it with some; and the curve that k was chosen from.
_TAUGHT, _CHOICE = "self-taught.safetensors", "choice.json"
#: Where features are kept while they are computed, parts of the graph, and what a trainer keeps.
_PARTS, _GRAPH_PARTS, _TRAINING = "features.state", "graph-parts", "training.state"


class Outcome(NamedTuple):
    """What a step leaves: files in the run folder, and notes for people."""

    files: list[str]
    notes: dict[str, Any]


class Step(NamedTuple):
    """One step: its work and what that depends on."""

    name: str
    work: Callable[[RunContext], Outcome]
    #: Share of the whole time, about.
    weight: float
    #: Parameters whose change makes the step run again.
    params: tuple[str, ...] = ()
    #: Steps that must have run.
    needs: tuple[str, ...] = ()
    #: Steps whose result is used where they are part of the run.
    after: tuple[str, ...] = ()
    #: Steps that must have run for what they write for people; nothing of it is used.
    beside: tuple[str, ...] = ()
    #: Which labels it looks at: "labels", to score against, or "train_labels".
    reads: tuple[str, ...] = ()
    #: Under which name the work reports its progress, if not its own.
    reports: str = ""
    #: Whether it learns, here or where the trainer does.
    trains: bool = False


def _read(context: RunContext) -> Outcome:
    source = context.source
    files = [write_ids(context.path, source)]
    notes: dict[str, Any] = {"rows": source.n_rows}
    if source.images is not None:
        from fastclust.report.thumbnails import make_sprites

        files += make_sprites(source.images, context.path)
        notes["skipped"] = [list(item) for item in source.images.skipped]
    return Outcome(files, notes)


def _features(context: RunContext) -> Outcome:
    source = context.source
    if source.rows is not None:
        values = np.empty(source.rows.shape, np.float32)
        start = 0
        for block in source.rows.blocks(4096):
            _check_finite(block, start)
            values[start : start + len(block)] = block
            start += len(block)
        notes = {"features": "rows", "dim": values.shape[1]}
    else:
        from fastclust.learning.features import compute_features

        assert source.images is not None

        params = context.params
        parts = context.path / _PARTS / key_of(source.fingerprint)
        found = compute_features(
            source.images,
            features=params.features,
            size=params.image_size,
            checkpoint=parts,
            device=params.device,
        )
        values = found.values
        notes = {
            "features": found.name,
            "image_size": found.image_size,
            "image_shape": found.image_shape,
            "dim": values.shape[1],
        }
    save_array(context.path / "features.npy", values)
    shutil.rmtree(context.path / _PARTS, ignore_errors=True)
    return Outcome(["features.npy"], notes)


def _check_finite(block: NDArray[Any], start: int) -> None:
    bad = np.argwhere(~np.isfinite(block))
    if len(bad):
        row, column = (int(place) for place in bad[0])
        raise InputError("source", f"{block[row, column]} at row {start + row}, column {column}", "finite numbers")


def _teach(context: RunContext) -> Outcome:
    from fastclust.learning import SelfTaughtLearner

    params = context.params
    chosen: dict[str, Any] = {"embedding_dim": params.embedding_dim, "epochs": params.epochs}
    learner = SelfTaughtLearner(
        encoder=params.encoder,
        random_state=params.random_state,
        device=params.device,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    rows, trainer = _learnable(context), context.trainer
    about = {} if trainer is None else trainer.about
    if trainer is None:
        learner.fit(rows)
    else:
        trainer.fit(learner, rows, _state(context, learner.get_params(deep=False), about))
    learner.save(context.path / _TAUGHT)
    shutil.rmtree(context.path / _TRAINING, ignore_errors=True)
    notes = {
        "encoder": learner.encoder_,
        "epochs": learner.n_epochs_,
        "views": learner.views_,
        "device": learner.device_,
    }
    return Outcome([_TAUGHT], notes | about)


def _state(context: RunContext, *of: Any) -> Path:
    """Where a trainer keeps its state; another folder for another training."""
    return context.path / _TRAINING / key_of(context.source.fingerprint, context.notes["features"], *of)


def _learn(context: RunContext) -> Outcome:
    """Embed the rows by what was learned without labels, or by that fine-tuned with those to train on."""
    from fastclust.learning import SelfTaughtLearner

    # The module itself, where the encoder is one of the user's.
    encoder: Any = context.params.encoder
    learner = SelfTaughtLearner.load(
        context.path / _TAUGHT, encoder=None if isinstance(encoder, str) else encoder, device=context.params.device
    )
    rows, training, trainer = _learnable(context), context.training, context.trainer
    notes = {**context.notes["teach"], "device": learner.device_}
    if training is not None:
        if trainer is None:
            learner.fine_tune(rows, training.labels)
        else:
            trainer.fine_tune(learner, rows, training.labels, _state(context, notes, context.train_key, trainer.about))
        notes["fine_tuned_with"] = int((training.labels >= 0).sum())
    save_array(context.path / "embedding.npy", learner.transform(rows))
    learner.save(context.path / "learner.safetensors")
    # Not before: whoever is stopped on the way goes on from there.
    shutil.rmtree(context.path / _TRAINING, ignore_errors=True)
    return Outcome(["embedding.npy", "learner.safetensors"], notes)


def _learnable(context: RunContext) -> Any:
    """The features, with what they were computed from where that was images, so that new images can be embedded too."""
    from fastclust.learning import FeatureSet

    notes = context.notes["features"]
    if notes["features"] == "rows":
        return context.features
    shape = notes["image_shape"]
    name, size = notes["features"], notes["image_size"]
    # A list once it was JSON.
    return FeatureSet(context.features, None, name, size, tuple(shape) if shape else None)


def _metric(context: RunContext) -> Outcome:
    if context.params.metric != "mahalanobis":
        return Outcome([], {"metric": context.params.metric})
    from fastclust.metric import MahalanobisMetric

    n, d = context.embedding.shape
    # Shrinking towards equal variances helps where rows are few, and spoils columns of different scales elsewhere.
    estimator = "empirical" if n >= _ROWS_PER_COLUMN * d else "ledoit_wolf"
    metric = MahalanobisMetric(estimator).fit(context.embedding)
    metric.save(context.path / "metric.safetensors")
    return Outcome(["metric.safetensors"], {"metric": "mahalanobis", "estimator": estimator, "rank": metric.rank_})


def _graph(context: RunContext) -> Outcome:
    from fastclust.neighbors import knn_graph

    k = context.params.graph_neighbors(context.source.n_rows)
    parts = context.path / _GRAPH_PARTS
    graph = knn_graph(
        context.embedding, n_neighbors=k, metric=context.metric, index=context.params.index, checkpoint=parts
    )
    graph.save(context.path / "graph.safetensors")
    shutil.rmtree(parts, ignore_errors=True)
    return Outcome(["graph.safetensors"], {"index": graph.index_, "n_neighbors": k, "recall": graph.recall})


def _cluster(context: RunContext) -> Outcome:
    from fastclust.cluster import KMeans

    seed, files = context.params.random_state, ["kmeans.safetensors", "labels.npy"]
    (context.path / _CHOICE).unlink(missing_ok=True)
    if context.params.n_clusters == "auto":
        from fastclust.insight import choose_k

        with progress.as_part("kmeans", "choose_k", 0.0, 0.7):
            choice = choose_k(context.embedding, metric=context.metric, random_state=seed)
        n_clusters = choice.k
        curve = [{name: _plain(value) for name, value in point._asdict().items()} for point in choice.curve]
        save_json(context.path / _CHOICE, {"k": choice.k, "curve": curve})
        files.append(_CHOICE)
    else:
        n_clusters = context.n_clusters
    model = KMeans(n_clusters, metric=context.metric, n_init=10, random_state=seed).fit(context.embedding)
    model.save(context.path / "kmeans.safetensors")
    save_array(context.path / "labels.npy", model.labels_)
    notes = {
        "n_clusters": n_clusters,
        "inertia": model.inertia_,
        "n_iter": model.n_iter_,
        "backend": model.backend_,
    }
    return Outcome(files, notes)


def _plain(value: float) -> float | None:
    """JSON has no infinity."""
    return value if np.isfinite(value) else None


def _map(context: RunContext) -> Outcome:
    from fastclust.maps import TSNE

    params = context.params
    assert params.perplexity is not None
    # Of fewer than 4 rows there is no third: they are looked at all.
    neighbors = context.graph.n_neighbors if context.source.n_rows < _LEAST_ROWS else "auto"
    model = TSNE(
        perplexity=params.perplexity,
        k_neighbors=neighbors,
        max_iter=params.map_max_iter,
        random_state=params.random_state,
    ).fit(context.graph)
    save_array(context.path / "map.npy", model.embedding_.astype(np.float32, copy=False))
    notes = {
        "backend": model.backend_,
        "perplexity": params.perplexity,
        "initialization": model.initialization_,
        "kl_divergence": model.kl_divergence_,
    }
    return Outcome(["map.npy"], notes)


def _insight(context: RunContext) -> Outcome:
    return Outcome(describe_insight(context), {})


def _quality(context: RunContext) -> Outcome:
    return Outcome(["quality.json"], describe_quality(context))


def _report(context: RunContext) -> Outcome:
    from fastclust.report import write_report

    write_report(context.path)
    return Outcome(["report.html", "map.png"], {})


#: All steps of a run, in order.
STEPS: tuple[Step, ...] = (
    Step("read", _read, 2, reads=("labels",)),
    Step("features", _features, 3, ("features", "image_size"), beside=("read",)),
    Step(
        "teach",
        _teach,
        32,
        ("encoder", "embedding_dim", "epochs", "random_state"),
        ("features",),
        reports="learn",
        trains=True,
    ),
    Step("learn", _learn, 3, (), ("teach",), reads=("train_labels",), trains=True),
    Step("metric", _metric, 1, ("metric",), ("features",), ("learn",)),
    Step(
        "graph",
        _graph,
        8,
        ("n_neighbors", "perplexity", "index"),
        ("features", "metric"),
        ("learn",),
        reports="neighbors",
    ),
    Step("clusters", _cluster, 4, ("n_clusters", "random_state"), ("features", "metric"), ("learn",), reports="kmeans"),
    Step("map", _map, 40, ("perplexity", "map_max_iter", "random_state"), ("graph",), ("learn",), reports="tsne"),
    Step(
        "insight",
        _insight,
        2,
        (),
        ("graph", "clusters", "map"),
        ("learn",),
        reads=("labels", "train_labels"),
    ),
    Step("quality", _quality, 4, ("random_state",), ("graph", "clusters"), ("learn", "map"), reads=("labels",)),
    Step("report", _report, 1, ("title",), ("insight", "quality", "map", "clusters"), ("learn",), reads=("labels",)),
)
