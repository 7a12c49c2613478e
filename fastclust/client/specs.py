"""Job specs from the estimators' parameters by their names. None and "auto" leave the choice to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastclust.errors import InputError, InputTypeError
from fastclust.v1 import spec_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.message import Message

__all__ = [
    "choose_k",
    "embed",
    "evaluate",
    "insight",
    "kmeans",
    "mahalanobis",
    "neighbors",
    "pipeline",
    "propagate_labels",
    "train",
    "tsne",
]

_METHODS = {
    "lloyd": spec_pb2.CLUSTERING_METHOD_LLOYD,
    "mini_batch": spec_pb2.CLUSTERING_METHOD_MINI_BATCH,
    "balanced": spec_pb2.CLUSTERING_METHOD_BALANCED,
    "hierarchical": spec_pb2.CLUSTERING_METHOD_HIERARCHICAL,
    "manifold": spec_pb2.CLUSTERING_METHOD_MANIFOLD,
}
_OUTPUTS = {
    "metric": spec_pb2.MAHALANOBIS_OUTPUT_UNSPECIFIED,
    "pairwise": spec_pb2.MAHALANOBIS_OUTPUT_PAIRWISE,
    "nearest": spec_pb2.MAHALANOBIS_OUTPUT_NEAREST,
    "top_k": spec_pb2.MAHALANOBIS_OUTPUT_TOP_K,
    "components": spec_pb2.MAHALANOBIS_OUTPUT_COMPONENTS,
    "transformed": spec_pb2.MAHALANOBIS_OUTPUT_TRANSFORMED,
}
#: By protobuf's numbers of field types.
_ALLOWED = {1: "a number", 3: "an integer", 5: "an integer", 8: "true or false", 9: "a text", 13: "an integer >= 0"}


def kmeans(
    dataset: str,
    *,
    n_clusters: int = 8,
    method: str = "lloyd",
    init: str = "k-means++",
    n_init: int | str = "auto",
    max_iter: int | None = None,
    tol: float | None = None,
    metric: str | None = None,
    algorithm: str | None = None,
    arithmetic: str | None = None,
    backend: str | None = None,
    random_state: int | None = None,
    sample_weight: str | None = None,
) -> spec_pb2.JobSpec:
    """Spec of a kmeans job; see :class:`fastclust.KMeans`. ``init`` and ``sample_weight`` may name data sets."""
    spec = spec_pb2.KMeansSpec(dataset=dataset, method=_one_of("method", method, _METHODS))
    _set(spec.clusters, "fixed", n_clusters, "n_clusters")
    _set(spec, "init_dataset" if init.startswith("datasets/") else "init_method", init, "init")
    _fill(
        spec,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        algorithm=algorithm,
        arithmetic=arithmetic,
        backend=backend,
        random_state=random_state,
        sample_weight=sample_weight,
    )
    _metric(spec, metric)
    return spec_pb2.JobSpec(kmeans=spec)


def mahalanobis(
    dataset: str,
    *,
    estimator: str | None = None,
    covariance: str | None = None,
    precision: str | None = None,
    factor: str | None = None,
    output: str = "metric",
    others: str | None = None,
    n_neighbors: int | None = None,
    squared: bool | None = None,
    backend: str | None = None,
    means: str | None = None,
    covariances: str | None = None,
) -> spec_pb2.JobSpec:
    """Spec of a mahalanobis job; matrices are named data sets."""
    spec = spec_pb2.MahalanobisSpec(dataset=dataset, output=_one_of("output", output, _OUTPUTS))
    given = {"estimator": estimator, "covariance": covariance, "precision": precision, "factor": factor}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise InputError(chosen[1], f"{' and '.join(chosen)}", "one of estimator, covariance, precision, factor")
    _fill(
        spec,
        **given,
        others=others,
        n_neighbors=n_neighbors,
        squared=squared,
        backend=backend,
        means=means,
        covariances=covariances,
    )
    return spec_pb2.JobSpec(mahalanobis=spec)


def neighbors(
    dataset: str,
    *,
    n_neighbors: int = 15,
    queries: str | None = None,
    metric: str | None = None,
    index: str | None = None,
    backend: str | None = None,
) -> spec_pb2.JobSpec:
    """Spec of a neighbors job; see :func:`fastclust.knn_graph`."""
    spec = spec_pb2.NeighborsSpec(dataset=dataset)
    _fill(spec, n_neighbors=n_neighbors, queries=queries, index=index, backend=backend)
    _metric(spec, metric)
    return spec_pb2.JobSpec(neighbors=spec)


def tsne(
    source: str,
    *,
    n_components: int | None = None,
    perplexity: float | Sequence[float] | None = None,
    early_exaggeration: float | str = "auto",
    late_exaggeration: float | None = None,
    max_iter: int | None = None,
    learning_rate: float | str = "auto",
    initialization: str = "auto",
    metric: str | None = None,
    neighbors: str | None = None,
    k_neighbors: int | str = "auto",
    backend: str | None = None,
    random_state: int | None = None,
) -> spec_pb2.JobSpec:
    """Spec of a tsne job from a data set or a finished neighbors job; see :class:`fastclust.TSNE`."""
    spec = spec_pb2.TsneSpec()
    _set(spec, "graph" if source.startswith("jobs/") else "dataset", source, "source")
    if perplexity is not None:
        values = [perplexity] if isinstance(perplexity, int | float) else list(perplexity)
        spec.perplexity.extend(values)
    if initialization != "auto":
        named = "initialization_dataset" if initialization.startswith("datasets/") else "initialization"
        _set(spec, named, initialization, "initialization")
    _fill(
        spec,
        n_components=n_components,
        early_exaggeration=early_exaggeration,
        exaggeration=late_exaggeration,
        n_neighbors=k_neighbors,
        max_iter=max_iter,
        learning_rate=learning_rate,
        neighbors=neighbors,
        backend=backend,
        random_state=random_state,
    )
    _metric(spec, metric)
    return spec_pb2.JobSpec(tsne=spec)


def train(
    dataset: str,
    *,
    model: str | None = None,
    labels: str | None = None,
    label_share: float | None = None,
    encoder: str | None = None,
    embedding_dim: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    objective: str | None = None,
    backend: str | None = None,
    random_state: int | None = None,
    image_size: int | None = None,
) -> spec_pb2.JobSpec:
    """Spec of a train job; see :class:`fastclust.SelfTaughtLearner`.

    ``model`` is the name of a finished job whose model is fine-tuned with ``labels``, of which ``label_share`` in
    (0, 1] is taken. ``backend``: "auto" or "cpu", or "gpu", where the server has one.
    """
    spec = spec_pb2.TrainSpec(dataset=dataset)
    _fill(
        spec,
        model=model,
        labels=labels,
        label_share=label_share,
        encoder=encoder,
        embedding_dim=embedding_dim,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        objective=objective,
        backend=backend,
        random_state=random_state,
        image_size=image_size,
    )
    return spec_pb2.JobSpec(train=spec)


def embed(dataset: str, *, model: str, batch_size: int | None = None) -> spec_pb2.JobSpec:
    """Spec of an embed job: a data set through the model of a finished train or pipeline job."""
    spec = spec_pb2.EmbedSpec(dataset=dataset, model=model)
    _fill(spec, batch_size=batch_size)
    return spec_pb2.JobSpec(embed=spec)


def evaluate(
    source: str, *, labels: str | None = None, measures: Sequence[str] = (), random_state: int | None = None
) -> spec_pb2.JobSpec:
    """Spec of an evaluate job over a finished job, or a data set of embeddings; see :mod:`fastclust.evaluation`."""
    spec = spec_pb2.EvaluateSpec(measures=_texts("measures", measures))
    _set(spec, "job" if source.startswith("jobs/") else "dataset", source, "source")
    _fill(spec, labels=labels, random_state=random_state)
    return spec_pb2.JobSpec(evaluate=spec)


def insight(
    job: str,
    *,
    analyses: Sequence[str] = (),
    duplicate_threshold: float | None = None,
    per_cluster: int | None = None,
) -> spec_pb2.JobSpec:
    """Spec of an insight job over the clusters of a finished kmeans or pipeline job; see :mod:`fastclust.insight`."""
    spec = spec_pb2.InsightSpec(job=job, analyses=_texts("analyses", analyses))
    _fill(spec, duplicate_threshold=duplicate_threshold, per_cluster=per_cluster)
    return spec_pb2.JobSpec(insight=spec)


def choose_k(
    source: str,
    *,
    ks: Iterable[int] | str = "auto",
    metric: str | None = None,
    max_rows: int | None = None,
    random_state: int | None = None,
) -> spec_pb2.JobSpec:
    """Spec of a choice of k for a data set or the rows of a finished job; see :func:`fastclust.insight.choose_k`."""
    spec = spec_pb2.ChooseKSpec()
    _set(spec, "job" if source.startswith("jobs/") else "dataset", source, "source")
    if isinstance(ks, str) and ks != "auto":
        raise InputError("ks", repr(ks), '"auto", or integers')
    for k in () if isinstance(ks, str) else ks:
        if isinstance(k, bool) or not hasattr(k, "__index__"):
            raise InputTypeError("ks", repr(k), "integers")
        if not 2 <= k < 2**31:
            raise InputError("ks", k, "integers from 2 to half of the rows")
        spec.ks.append(int(k))
    _fill(spec, max_rows=max_rows, random_state=random_state)
    _metric(spec, metric)
    return spec_pb2.JobSpec(choose_k=spec)


def propagate_labels(
    source: str, *, labels: str, n_neighbors: int | None = None, metric: str | None = None
) -> spec_pb2.JobSpec:
    """Spec of a job that spreads labels over a data set or the graph of a finished neighbors job.

    See :func:`fastclust.insight.propagate_labels`.
    """
    spec = spec_pb2.PropagateLabelsSpec()
    _set(spec, "graph" if source.startswith("jobs/") else "dataset", source, "source")
    _fill(spec, labels=labels, n_neighbors=n_neighbors)
    _metric(spec, metric)
    return spec_pb2.JobSpec(propagate_labels=spec)


def pipeline(
    dataset: str,
    *,
    labels: str | None = None,
    train_labels: str | None = None,
    title: str | None = None,
    steps: Sequence[str] = (),
    n_clusters: int | str | None = None,
    features: str | None = None,
    encoder: str | None = None,
    embedding_dim: int | None = None,
    epochs: int | None = None,
    n_neighbors: int | None = None,
    metric: str | None = None,
    index: str | None = None,
    perplexity: float | None = None,
    map_max_iter: int | None = None,
    image_size: int | None = None,
    random_state: int | None = None,
) -> spec_pb2.JobSpec:
    """Spec of a pipeline job; see :func:`fastclust.run`."""
    spec = spec_pb2.PipelineSpec(dataset=dataset, steps=list(steps))
    if n_clusters == "auto":
        spec.clusters.search.SetInParent()  # no bounds: the library's own
    elif n_clusters is not None:
        _set(spec.clusters, "fixed", n_clusters, "n_clusters")
    _fill(
        spec,
        labels=labels,
        train_labels=train_labels,
        title=title,
        features=features,
        encoder=encoder,
        embedding_dim=embedding_dim,
        epochs=epochs,
        n_neighbors=n_neighbors,
        index=index,
        perplexity=perplexity,
        map_max_iter=map_max_iter,
        image_size=image_size,
        random_state=random_state,
    )
    _metric(spec, metric)
    return spec_pb2.JobSpec(pipeline=spec)


def _texts(field: str, values: Sequence[str]) -> list[str]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise InputTypeError(field, repr(values), "a list of texts")
    return list(values)


def _metric(spec: Any, metric: str | None) -> None:
    if metric is not None:
        _set(spec.metric, "model" if metric.startswith("jobs/") else "name", metric, "metric")


def _one_of(field: str, value: str, allowed: dict[str, Any]) -> Any:
    if value not in allowed:
        raise InputError(field, repr(value), ", ".join(allowed))
    return allowed[value]


def _fill(message: Message, **values: Any) -> None:
    for name, value in values.items():
        if value is not None and value != "auto":
            _set(message, name, value, name)


def _set(message: Message, field: str, value: Any, called: str) -> None:
    """Set one field; what protobuf refuses is told in the caller's words."""
    if hasattr(value, "item"):
        value = value.item()
    allowed = _ALLOWED.get(message.DESCRIPTOR.fields_by_name[field].type, "another type")
    try:
        setattr(message, field, value)
    except TypeError as error:
        raise InputTypeError(called, f"{type(value).__name__} {value!r}", allowed) from error
    except ValueError as error:
        raise InputError(called, repr(value), f"{allowed}, within its range") from error
