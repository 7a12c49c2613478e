"""Made-up run folders with real digits, written by hand: these tests need no pipeline."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

from fastclust.artifacts import load_array, save_array, save_json
from fastclust.data import open_images
from fastclust.neighbors import NeighborGraph
from fastclust.report import make_sprites

#: An id that would break out of a script element, an attribute, a comment and a CSV field.
EVIL = '</script><img src=x onerror="document.title=1">, "quoted" <!-- &\' \u2028'


def write_run(folder, *, images=True, labels=True, extras=True, n=300):
    """Write what the pipeline would write for the first ``n`` digits; ids hold what could break a page."""
    digits, rng = load_digits(), np.random.default_rng(0)
    truth = digits.target[:n].astype(np.int64)
    clusters = truth.astype(np.int32)
    clusters[5::37] = (clusters[5::37] + 1) % 10
    # Islands on a circle, each row at a place of its own on its island's grid: no two points overlap.
    turn = 2 * np.pi * clusters / 10
    rank = np.array([(clusters[:row] == clusters[row]).sum() for row in range(n)])
    grid = np.stack([rank % 7 - 3, rank // 7 - 3], axis=1)
    points = 10 * np.stack([np.cos(turn), np.sin(turn)], axis=1) + 0.55 * grid
    ids = [f"scan-{row}" for row in range(n)]
    ids[3:4] = [EVIL] * (n > 3)
    columns = {"id": ids}
    if labels:
        columns |= {"label": truth, "label_name": [f"digit {label}" for label in truth]}
    pq.write_table(pa.table(columns), folder / "ids.parquet")
    save_array(folder / "map.npy", points.astype(np.float32))
    save_array(folder / "labels.npy", clusters)
    steps = [
        {"name": "read", "seconds": 0.5, "reused": False, "notes": {"rows": n, "skipped": []}},
        {"name": "clusters", "seconds": 1.0, "reused": True, "notes": {}},
        {"name": "map", "seconds": 4.2, "reused": False, "notes": {"backend": "opentsne"}},
        {"name": "report", "seconds": 0.7, "reused": False, "notes": {}},
    ]
    about = {
        "title": f"digits {EVIL}",
        "kind": "images" if images else "vectors",
        "params": {"n_clusters": 10, "encoder": "auto", "epochs": None},
        "steps": steps,
        "machine": {"cores": 2, "python": "3.11.7"},
        "created": "2026-11-01T12:00:00+00:00",
    }
    save_json(folder / "run.json", about)
    if extras:
        distance = rng.gamma(4, 0.1, n).astype(np.float32)
        table = {**columns, "x": points[:, 0], "y": points[:, 1], "cluster": clusters, "distance": distance}
        pq.write_table(pa.table({**table, "outlier_p": np.linspace(0, 1, n)}), folder / "map.parquet")
        raw = {"features": "raw pixels", "accuracy": 0.79, "nmi": 0.74, "ari": 0.67, "recall_at_1": 0.98}
        learned = {"features": "learned", "accuracy": 0.89, "nmi": 0.88, "ari": 0.83, "recall_at_1": 0.99}
        quality = {
            "labels": labels,
            "rows": [raw, learned] if labels else [],
            "graph": {"recall": 1.0, "index": "exact"},
            "map": {"kl_divergence": 0.62, "trustworthiness": 0.99, "neighbor_preservation": 0.6},
        }
        save_json(folder / "quality.json", quality)
        found = {
            "duplicates": [[1, 2, 3], [10, 20]],
            "duplicate_threshold": 0.04,
            "outliers": [{"row": 7, "score": 9.0, "p": 0.0}, {"row": 3, "score": 8.0, "p": 1e-7}],
            "representatives": [np.flatnonzero(clusters == cluster)[:4].tolist() for cluster in range(10)],
        }
        save_json(folder / "insight.json", found)
        around = (np.arange(n)[:, None] + np.arange(1, 11)) % n
        lengths = np.tile(np.arange(1.0, 11), (n, 1)).astype(np.float32)
        NeighborGraph(around, lengths).save(folder / "graph.safetensors")
    if images:
        make_sprites(open_images((digits.images[:n] * 255 / 16).astype(np.uint8)), folder)
    return folder


def read_run(folder):
    """What :func:`write_run` put into a full run."""
    table = pq.read_table(folder / "map.parquet").to_pydict()
    clusters = load_array(folder / "labels.npy")
    return SimpleNamespace(
        n=len(clusters),
        clusters=clusters,
        points=load_array(folder / "map.npy"),
        ids=table["id"],
        labels=np.array(table["label"]),
        distance=np.array(table["distance"], np.float32),
        images=load_digits().images[: len(clusters)],
    )
