"""Steps that describe what was found: ids, insight, quality, and the table of the map."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.artifacts import replacing, save_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.pipeline.context import RunContext
    from fastclust.pipeline.source import RunSource

__all__ = ["describe_insight", "describe_quality", "write_ids"]

#: Above this many rows, measures that compare every row with every other take this many of them, and say so.
_SAMPLE = 10_000
_OUTLIERS_KEPT = 100
#: Two rows have one neighbour each, which no map can get wrong.
_LEAST_RANKED = 3
#: Rows that are mapped into the metric's space at once.
_BLOCK = 1 << 16


def write_ids(folder: Path, source: RunSource) -> str:
    """Write ``ids.parquet``: id, and label and label_name where there are labels. Returns the file's name."""
    _write_parquet(folder / "ids.parquet", {"id": source.ids, **_label_columns(source)})
    return "ids.parquet"


def describe_insight(context: RunContext) -> list[str]:
    """Write ``insight.json`` and ``map.parquet``: near-duplicates, outliers, what to label first. Returns names."""
    from fastclust import insight

    evidence = insight.duplicate_evidence(context.graph)
    groups = insight.near_duplicates(context.graph, evidence.threshold)
    progress.report("insight", 1, 3, "near-duplicates")
    scores, p_values = insight.outliers(context.embedding, context.clusters)
    progress.report("insight", 2, 3, "outliers")
    representatives = insight.representatives(context.embedding, context.clusters)
    strangest = np.lexsort((np.arange(len(scores)), -scores, p_values))[:_OUTLIERS_KEPT]
    save_json(
        context.path / "insight.json",
        {
            "duplicates": [group.tolist() for group in groups],
            "duplicate_threshold": evidence.threshold,
            "duplicate_evidence": {
                name: value if np.isfinite(value) else None for name, value in asdict(evidence).items()
            },
            "outliers": [
                {"row": int(row), "score": float(scores[row]), "p": float(p_values[row])} for row in strangest
            ],
            "representatives": [[int(row) for row in rows if row >= 0] for rows in representatives],
        },
    )
    duplicate_group = np.full(context.source.n_rows, -1, np.int32)
    for number, group in enumerate(groups):
        duplicate_group[group] = number
    representative = np.zeros(context.source.n_rows, bool)
    representative[representatives[representatives >= 0]] = True
    columns = {"outlier_p": p_values, "representative": representative, "duplicate_group": duplicate_group}
    _write_map_table(context, columns | _spread_columns(context))
    return ["insight.json", "map.parquet"]


def _spread_columns(context: RunContext) -> dict[str, Any]:
    """What the labels to train on say of the other rows, along the graph."""
    training = context.training
    if training is None or not (training.labels >= 0).any():
        return {}
    from fastclust.insight import propagate_labels

    spread = propagate_labels(context.graph, training.labels)
    names = training.names
    found = [None if label < 0 else names[label] if names else str(label) for label in spread.labels]
    return {"spread_label": found, "spread_confidence": spread.confidence}


def _own_distances(context: RunContext) -> NDArray[np.float32]:
    """Distance of each row to its own centre, in the metric's space."""
    from fastclust.cluster.rows import rows_of

    clusters, rows = context.clusters, context.embedding
    centers, space, _ = clusters.inner(rows.shape[1])
    found = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        some = slice(start, start + _BLOCK)
        found[some] = np.sqrt(rows_of(space.enter(rows[some])).own(centers, clusters.labels_[some]))
    return found


def _write_map_table(context: RunContext, found: dict[str, Any]) -> None:
    """One line a row, with the columns that map viewers open as they are."""
    source, clusters = context.source, context.clusters
    columns: dict[str, Any] = {
        "id": source.ids,
        "x": context.positions[:, 0],
        "y": context.positions[:, 1],
        "cluster": clusters.labels_,
        "distance": _own_distances(context),
        **found,
        **_label_columns(source),
    }
    _write_parquet(context.path / "map.parquet", columns)


def _label_columns(source: RunSource) -> dict[str, Any]:
    if source.labels is None:
        return {}
    columns: dict[str, Any] = {"label": source.labels}
    if source.label_names is not None:
        names = source.label_names
        columns["label_name"] = [names[label] if label >= 0 else None for label in source.labels]
    return columns


def describe_quality(context: RunContext) -> dict[str, Any]:
    """Write ``quality.json``: figures of graph and map, and against labels where there are some. Returns notes."""
    from fastclust.evaluation import neighbor_preservation, trustworthiness

    graph = context.graph
    quality: dict[str, Any] = {
        "labels": context.source.labels is not None,
        "rows": [],
        "graph": {"recall": graph.recall, "index": graph.index_},
        "map": {},
    }
    if "map" in context.notes:
        chosen = _sample(context.source.n_rows, context.params.random_state)
        quality["map"] = {
            "kl_divergence": context.notes["map"]["kl_divergence"],
            "neighbor_preservation": neighbor_preservation(graph, context.positions, k=min(10, graph.n_neighbors)),
        }
        if len(chosen) >= _LEAST_RANKED:
            found = trustworthiness(context.embedding[chosen], context.positions[chosen])
            quality["map"]["trustworthiness"] = found
    progress.report("quality", 1, 3, "map")
    if context.source.labels is not None:
        # The raw rows beside the learned ones: what the learning was worth.
        raw = "raw pixels" if context.source.kind == "images" else "raw rows"
        if context.learned:
            quality["rows"].append({"features": raw, **_scores(context, context.features, None)})
            progress.report("quality", 2, 3, raw)
        name = "learned" if context.learned else raw
        quality["rows"].append({"features": name, **_scores(context, context.embedding, context.clusters.labels_)})
    save_json(context.path / "quality.json", quality)
    return {"rows_compared": min(context.source.n_rows, _SAMPLE)}


def _scores(context: RunContext, rows: NDArray[np.float32], clusters: NDArray[np.int32] | None) -> dict[str, float]:
    """Score ``rows`` and their ``clusters`` (None: k-means as for the run) against the labels."""
    from fastclust.cluster import KMeans
    from fastclust.evaluation import (
        adjusted_rand_index,
        clustering_accuracy,
        normalized_mutual_information,
        recall_at_k,
    )

    labels, seed = context.source.labels, context.params.random_state
    assert labels is not None
    if clusters is None:
        clusters = KMeans(context.n_clusters, n_init=10, random_state=seed).fit(rows).labels_
    chosen = _sample(len(rows), seed)
    return {
        "accuracy": clustering_accuracy(labels, clusters),
        "nmi": normalized_mutual_information(labels, clusters),
        "ari": adjusted_rand_index(labels, clusters),
        "recall_at_1": recall_at_k(rows, labels, k=1, metric="cosine", queries=chosen),
    }


def _sample(n_rows: int, seed: int) -> NDArray[np.int64]:
    """All rows, or a sorted random sample of them."""
    if n_rows <= _SAMPLE:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, _SAMPLE, replace=False))


def _write_parquet(path: Path, columns: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
