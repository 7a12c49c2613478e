"""What insight is worth on Fashion-MNIST: planted copies and oddities, the choice of k, and labels asked for well.

``python -m bench insight [--rows N] [--learn-rows N] [--no-fine-tune] [--out FILE]``. Peers see the same rows. Figures
are stored part by part, labels line by line, so that a run that is stopped goes on.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["main"]

_RESULTS = Path(__file__).resolve().parent / "results"
_PLANTED = 100
_BUDGETS = (40, 100, 400)
_SEEDS = (0, 1, 2)
_CLASSES = 10


def main(n_rows: int, out: Path | None, learn_rows: int | None = None, *, fine_tune: bool = True) -> int:
    """Do the parts that ``out`` does not hold yet; returns 0. Of ``n_rows`` images ``learn_rows`` are learned from."""
    path = out or _RESULTS / f"insight-{datetime.now(UTC).date().isoformat()}.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    command = f"python -m bench insight --rows {n_rows}"
    command += f" --learn-rows {learn_rows}" if learn_rows else ""
    command += "" if fine_tune else " --no-fine-tune"
    if found.setdefault("command", command) != command:
        print(f"{path} holds figures of another command: {found['command']}", file=sys.stderr)
        return 2

    def keep() -> None:
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")

    found.setdefault("machine", machine.describe({"numpy", "scikit-learn", "torch"}, machine.threads_available()))
    images, truth = _load(n_rows)
    parts: dict[str, Callable[[], Any]] = {
        "labels": lambda: _labels(
            images, truth, learn_rows or n_rows, fine_tune, found.setdefault("labels so far", []), keep
        ),
        "duplicates": lambda: _duplicates(images),
        "outliers": lambda: _outliers(images),
        "choose_k": _choices,
    }
    for name, work in parts.items():
        if name not in found:
            started = time.monotonic()
            found[name] = work()
            print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
            keep()
    if found.pop("labels so far", None):
        keep()
    path.with_suffix(".md").write_text(_markdown(found), "utf-8")
    print(_markdown(found))
    return 0


def _load(n_rows: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Random images ``[n, 28, 28]`` and their labels."""
    from fastclust.data import open_images

    images = open_images("fashion-mnist")
    assert images.labels is not None
    chosen = np.sort(np.random.default_rng(0).choice(len(images), n_rows, replace=False))
    return images.read()[chosen, ..., 0], images.labels[chosen]


def _components(images: NDArray[np.uint8], k: int = 50) -> NDArray[np.float32]:
    from fastclust import PCA

    rows = images.reshape(len(images), -1).astype(np.float32) / 255
    return np.asarray(PCA(k, random_state=0).fit_transform(rows), np.float32)


def _duplicates(images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Copies with other brightness and noise, as a camera or an encoder makes them."""
    import fastclust as fc

    rng = np.random.default_rng(1)
    sources = rng.choice(len(images), _PLANTED, replace=False)
    copies = images[sources] * rng.uniform(0.97, 1.03, (_PLANTED, 1, 1)) + rng.normal(0, 2, (_PLANTED, 28, 28))
    rows = _components(np.concatenate([images, np.clip(copies, 0, 255).astype(np.uint8)]))
    graph = fc.knn_graph(rows, 15)
    planted = {(int(one), len(images) + place) for place, one in enumerate(sources)}
    evidence = fc.insight.duplicate_evidence(graph)
    # Plain thresholds that people take: a share of the median nearest distance, or a low quantile of it.
    nearest = graph.distances[:, 0]
    thresholds = {
        "fastclust": evidence.threshold,
        "half of the median nearest distance": float(np.median(nearest)) / 2,
        "first percentile of nearest distances": float(np.quantile(nearest, 0.01)),
    }
    lines = []
    for name, threshold in thresholds.items():
        groups = fc.insight.near_duplicates(graph, threshold)
        pairs = {(int(a), int(b)) for group in groups for a in group for b in group if a < b}
        hits = len(pairs & planted)
        lines.append(
            {
                "name": name,
                "threshold": threshold,
                "pairs": len(pairs),
                "precision": hits / max(len(pairs), 1),
                "recall": hits / len(planted),
            }
        )
    return lines


def _outliers(images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Digits among clothes: images of the same kind that are of no class."""
    from PIL import Image
    from sklearn.covariance import EllipticEnvelope
    from sklearn.datasets import load_digits
    from sklearn.metrics import average_precision_score
    from sklearn.neighbors import LocalOutlierFactor

    import fastclust as fc

    digits = load_digits().images[:_PLANTED]
    odd = np.stack([np.asarray(Image.fromarray((d * 255 / 16).astype(np.uint8)).resize((28, 28))) for d in digits])
    rows = _components(np.concatenate([images, odd]))
    planted = np.arange(len(rows)) >= len(images)
    model = fc.KMeans(_CLASSES, n_init=5, random_state=0).fit(rows)
    _, p_values = fc.insight.outliers(rows, model)
    far = np.linalg.norm(rows - model.cluster_centers_[model.labels_], axis=1)
    scores = {
        "fastclust": -np.log(np.maximum(p_values, 1e-300)),
        "LocalOutlierFactor": -LocalOutlierFactor(20).fit(rows).negative_outlier_factor_,
        "EllipticEnvelope": -EllipticEnvelope(random_state=0).fit(rows).decision_function(rows),
        "plain distance to the centre": far,
    }
    lines = []
    for name, score in scores.items():
        first = np.argsort(-score, kind="stable")[:_PLANTED]
        lines.append(
            {
                "name": name,
                "average_precision": float(average_precision_score(planted, score)),
                "precision_at_planted": float(planted[first].mean()),
            }
        )
    return lines


def _choices() -> list[dict[str, Any]]:
    """Mixtures of unit Gaussians whose centres are at least six standard deviations apart."""
    import fastclust as fc

    lines = []
    for k, d, even in ((3, 2, True), (5, 8, False), (8, 16, True), (12, 32, False), (20, 10, True), (35, 20, True)):
        chosen = []
        for seed in range(5):
            rng = np.random.default_rng(seed)
            centers: list[NDArray[Any]] = []
            while len(centers) < k:
                center = rng.normal(size=d) * 12 / np.sqrt(d) * (1.5 if d < 8 else 1)
                if all(np.linalg.norm(center - other) >= 6 for other in centers):
                    centers.append(center)
            share = np.full(k, 1 / k) if even else rng.dirichlet(np.full(k, 5.0))
            rows = np.stack(centers)[rng.choice(k, 150 * k, p=share)] + rng.normal(size=(150 * k, d))
            chosen.append(fc.insight.choose_k(rows, random_state=seed).k)
        lines.append({"k": k, "d": d, "sizes": "even" if even else "uneven", "chosen": chosen})
    return lines


def _labels(
    images: NDArray[np.uint8],
    truth: NDArray[np.int64],
    learn_rows: int,
    fine_tune: bool,
    lines: list[dict[str, Any]],
    keep: Callable[[], None],
) -> list[dict[str, Any]]:
    """Accuracy of the rows that nobody labelled: those labelled were chosen by representatives, or at random."""
    import fastclust as fc

    learner = fc.SelfTaughtLearner(random_state=0).fit(images[:: -(-len(images) // learn_rows)])
    learned = learner.transform(images)
    graph = fc.knn_graph(learned, 15)
    done = {(line["budget"], line["seed"], line["chosen"]) for line in lines}
    for budget in _BUDGETS:
        for seed in _SEEDS:
            asked = {
                "one a cluster": lambda seed=seed, budget=budget: _representatives(learned, budget, 1, seed),
                "four a cluster": lambda seed=seed, budget=budget: _representatives(learned, budget, 4, seed),
                "random": lambda seed=seed, budget=budget: np.random.default_rng(seed).choice(
                    len(truth), budget, replace=False
                ),
            }
            for name, choose in asked.items():
                if (budget, seed, name) in done:
                    continue
                rows = choose()
                known = np.full(len(truth), -1, np.int64)
                known[rows] = truth[rows]
                line = {"budget": budget, "labels": len(rows), "chosen": name, "seed": seed}
                line["spread"] = _accuracy(graph, known, truth)
                if seed == 0 and fine_tune:
                    tuned = copy.deepcopy(learner).fine_tune(images, known).transform(images)
                    line["fine_tuned"] = _accuracy(fc.knn_graph(tuned, 15), known, truth)
                print(line, flush=True)
                lines.append(line)
                keep()
    return lines


def _representatives(rows: NDArray[Any], budget: int, per_cluster: int, seed: int) -> NDArray[np.int64]:
    """Rows to label: of as many clusters as the budget allows."""
    import fastclust as fc

    model = fc.KMeans(budget // per_cluster, random_state=seed).fit(rows)
    found = fc.insight.representatives(rows, model, per_cluster=per_cluster)
    return found[found >= 0]


def _accuracy(graph: Any, known: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    import fastclust as fc

    found = fc.insight.propagate_labels(graph, known).labels
    return float((found == truth)[known < 0].mean())


def _markdown(found: dict[str, Any]) -> str:
    lines = ["# Insight on Fashion-MNIST", "", f"`{found['command']}`", ""]
    lines += [f"{_PLANTED} copies (brightness up to 3 % other, noise of 2 grey levels), 50 principal components:", ""]
    lines += ["| threshold | pairs found | precision | recall |", "|---|---|---|---|"]
    lines += [
        f"| {row['name']}: {row['threshold']:.3g} | {row['pairs']} | {row['precision']:.3f} | {row['recall']:.3f} |"
        for row in found["duplicates"]
    ]
    lines += ["", "Pairs that were not planted are not always wrong: the data has copies of its own."]
    lines += ["", f"{_PLANTED} digits among the clothes:", ""]
    lines += ["| score | average precision | precision in the first 100 |", "|---|---|---|"]
    lines += [
        f"| {row['name']} | {row['average_precision']:.3f} | {row['precision_at_planted']:.3f} |"
        for row in found["outliers"]
    ]
    lines += [
        "",
        "Number of clusters of mixtures, five draws each:",
        "",
        "| k | d | sizes | chosen |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['k']} | {row['d']} | {row['sizes']} | {', '.join(map(str, row['chosen']))} |"
        for row in found["choose_k"]
    ]
    lines += ["", "Accuracy on the images that were not labelled (mean of the seeds; fine-tuned: one seed):", ""]
    lines += ["| labels | chosen | spread over the graph | after fine-tuning |", "|---|---|---|---|"]
    for budget in _BUDGETS:
        for name in ("one a cluster", "four a cluster", "random"):
            own = [row for row in found["labels"] if row["budget"] == budget and row["chosen"] == name]
            spread = [row["spread"] for row in own]
            tuned = [row["fine_tuned"] for row in own if "fine_tuned" in row]
            around = f"{np.mean(spread):.3f} ({min(spread):.3f}-{max(spread):.3f})"
            lines.append(f"| {budget} | {name} | {around} | {f'{np.mean(tuned):.3f}' if tuned else 'not run'} |")
    return "\n".join(lines) + "\n"
