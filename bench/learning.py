"""Quality of a metric learned without labels, on Fashion-MNIST: 60,000 rows to learn from, 10,000 to be scored on.

Nothing is chosen on the test rows: the configurations were found on 10,000 of the training rows. Each row of the table
is one configuration with several seeds; each seed's figures are stored as they come, so that a run can go on.
"""

from __future__ import annotations

import copy
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench import machine
from bench.supervised import train_supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    import fastclust as fc

__all__ = ["ROWS", "main"]

_RESULTS = Path(__file__).resolve().parent / "results"
#: Rows of the ablations and of the net that is trained in full.
_SOME = 10_000
#: Starts of k-means, of which the best by inertia counts: one in eight to twelve finds it on 10,000 learned training
#: rows, and the best of ten is another one from seed to seed (accuracy .629, standard deviation .024).
_STARTS = 100
#: Of ManifoldKMeans, found on 10,000 of the training rows.
_DAMPING = 0.95


class _Data(NamedTuple):
    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


class Row(NamedTuple):
    """One row of the table."""

    name: str
    #: What was run, in words.
    configuration: str
    #: From the data and a seed to embeddings of the test rows, and seconds of learning.
    embed: Callable[[_Data, int], tuple[NDArray[Any], float]]
    seeds: Sequence[int] = (0, 1, 2)


#: Learners of one seed that several rows tell of: by their options and number of rows.
_learned: dict[tuple[int, str], tuple[fc.SelfTaughtLearner, float]] = {}


def _load(*, tune: bool) -> _Data:
    from fastclust.data import open_images

    images = open_images("fashion-mnist")
    pixels, labels = images.read()[..., 0], images.labels
    assert labels is not None
    if tune:
        order = np.random.default_rng(0).permutation(60_000)
        learned, scored = order[10_000:], order[:10_000]
        return _Data(pixels[learned], labels[learned], pixels[scored], labels[scored])
    return _Data(pixels[:60_000], labels[:60_000], pixels[60_000:], labels[60_000:])


def _unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = images.reshape(len(images), -1).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _raw(data: _Data, _: int) -> tuple[NDArray[Any], float]:
    return _unit(data.test), 0.0


def _pca(data: _Data, seed: int) -> tuple[NDArray[Any], float]:
    from sklearn.decomposition import PCA

    fitted = PCA(128, svd_solver="randomized", random_state=seed).fit(_unit(data.train))
    return fitted.transform(_unit(data.test)), 0.0


def _random_net(data: _Data, seed: int) -> tuple[NDArray[Any], float]:
    import torch

    from fastclust.learning.residual import SmallResNet

    net = SmallResNet((28, 28, 1), seed=seed)
    with torch.inference_mode():
        net.train()(torch.from_numpy(_unit(data.train[:2000])))  # running statistics; no weight changes
        return torch.cat([net.eval()(part) for part in torch.from_numpy(_unit(data.test)).split(500)]).numpy(), 0.0


def _efficientnet(data: _Data, _: int) -> tuple[NDArray[Any], float]:
    import fastclust as fc
    from fastclust.learning import compute_features

    return compute_features(fc.open_images(data.test), features="efficientnet-lite0", size=64).values, 0.0


def _patches(data: _Data, seed: int) -> tuple[NDArray[Any], float]:
    """What heads-only training starts from: the front of a learner that was never trained."""
    learner, seconds = _head_only(data, seed)
    return _front(learner, data.test), seconds


def _front(learner: fc.SelfTaughtLearner, images: NDArray[np.uint8]) -> NDArray[Any]:
    """The features that a learner's heads read."""
    import torch

    return learner._net.prepared(torch.from_numpy(_unit(images))).numpy()  # noqa: SLF001 - its front


def _head_only(data: _Data, seed: int) -> tuple[fc.SelfTaughtLearner, float]:
    return _kept(seed, "all", lambda: _fit(data.train, seed))


def _kept(
    seed: int, name: str, make: Callable[[], tuple[fc.SelfTaughtLearner, float]]
) -> tuple[fc.SelfTaughtLearner, float]:
    if (seed, name) not in _learned:
        for old in [key for key in _learned if key[0] != seed]:
            del _learned[old]
        _learned[seed, name] = make()
    return _learned[seed, name]


def _fit(images: NDArray[np.uint8], seed: int, **options: Any) -> tuple[fc.SelfTaughtLearner, float]:
    import fastclust as fc

    learner = fc.SelfTaughtLearner(random_state=seed, **options)
    start = time.perf_counter()
    learner.fit(images)
    return learner, time.perf_counter() - start


def _ours(data: _Data, seed: int) -> tuple[NDArray[Any], float]:
    learner, seconds = _head_only(data, seed)
    return learner.transform(data.test), seconds


def _some(options: dict[str, Any], count: int = _SOME) -> Callable[[_Data, int], tuple[NDArray[Any], float]]:
    """Ours with other options, on some of the training rows."""

    def embed(data: _Data, seed: int) -> tuple[NDArray[Any], float]:
        rows = np.random.default_rng(seed).permutation(len(data.train))[:count]
        learner, seconds = _fit(data.train[rows], seed, **options)
        return learner.transform(data.test), seconds

    return embed


def _mined(columns: int, *, trained: bool = True) -> Callable[[_Data, int], tuple[NDArray[Any], float]]:
    """A head of so many columns after an epoch of triplets, or those leading components that it began with."""

    def embed(data: _Data, seed: int) -> tuple[NDArray[Any], float]:
        def fit() -> tuple[fc.SelfTaughtLearner, float]:
            rows = np.random.default_rng(seed).permutation(len(data.train))[:20_000]
            return _fit(data.train[rows], seed, objective="manifold_triplet", epochs=1, embedding_dim=columns)

        learner, seconds = _kept(seed, f"triplets {columns}", fit)
        return learner.transform(data.test) if trained else _front(learner, data.test)[:, :columns], seconds

    return embed


def _labelled(data: _Data, share: float, seed: int) -> NDArray[np.int64]:
    """Labels of a share of the rows, as many of each class; -1 for the others."""
    rng = np.random.default_rng(seed)
    labels = np.full(len(data.train), -1)
    for label in range(10):
        rows = np.flatnonzero(data.train_labels == label)
        labels[rng.choice(rows, round(share * len(rows)), replace=False)] = label
    return labels


def _tuned(share: float) -> Callable[[_Data, int], tuple[NDArray[Any], float]]:
    def embed(data: _Data, seed: int) -> tuple[NDArray[Any], float]:
        learner = copy.deepcopy(_head_only(data, seed)[0])
        start = time.perf_counter()
        known = _labelled(data, share, seed)
        # Rows with labels first, then others up to 20,000.
        order = np.random.default_rng(seed).permutation(len(known))
        order = order[np.argsort(known[order] < 0, kind="stable")]
        rows = order[: max(20_000, int((known >= 0).sum()))]
        learner.fine_tune(data.train[rows], known[rows], epochs=1)
        return learner.transform(data.test), time.perf_counter() - start

    return embed


def _scratch(share: float, steps: int) -> Callable[[_Data, int], tuple[NDArray[Any], float]]:
    def embed(data: _Data, seed: int) -> tuple[NDArray[Any], float]:
        known = _labelled(data, share, seed)
        rows = np.flatnonzero(known >= 0)
        start = time.perf_counter()
        found = train_supervised(_unit(data.train[rows]), known[rows], _unit(data.test), steps=steps, seed=seed)
        return found, time.perf_counter() - start

    return embed


_TUNED = "20,000 rows with and without labels, 1 epoch"
_SCRATCH = "SmallResNet and a linear head from random weights, contrastive loss on the labelled rows, batches of 120"
_TRIPLETS = 'SelfTaughtLearner(objective="manifold_triplet") on 20,000 training rows, 1 epoch'
ROWS = [
    Row("ours", "SelfTaughtLearner(): patches, heads only, 1 epoch of the 60,000, 128-d", _ours),
    Row("ours, before training", "the same learner's 400 components of patches, no head", _patches),
    Row("ours + 1 % labels", f"the same, then fine_tune with 600 labels, {_TUNED}", _tuned(0.01)),
    Row("ours + 10 % labels", f"the same, then fine_tune with 6,000 labels, {_TUNED}", _tuned(0.1)),
    Row("1 % labels from scratch", f"{_SCRATCH}, 200 steps", _scratch(0.01, 200)),
    Row("10 % labels from scratch", f"{_SCRATCH}, 500 steps", _scratch(0.1, 500)),
    Row("ours, manifold triplets", f"{_TRIPLETS}, 128-d", _mined(128)),
    Row("- before training", "the same learner's leading 128 components of patches", _mined(128, trained=False)),
    Row("ours, manifold triplets, 400-d", f"{_TRIPLETS}, 400-d", _mined(400)),
    Row("- 400-d, before training", "the same learner's 400 components of patches", _mined(400, trained=False)),
    Row("raw", "pixels / L2 norm", _raw, (0,)),
    Row("PCA", "128 components of raw, fitted on the 60,000", _pca, (0,)),
    Row("tiny net, random", "SmallResNet with random weights, 256-d", _random_net),
    Row("EfficientNet-lite0", "its ImageNet features of images at 64 px, 1,280-d", _efficientnet, (0,)),
    Row("ours on 10,000", "SelfTaughtLearner() on 10,000 training rows, 3 epochs", _some({"epochs": 3}), (0,)),
    Row("- without W^C", "use_context=False, same 10,000", _some({"epochs": 3, "use_context": False}), (0,)),
    Row("- without KL", "use_distillation=False, same 10,000", _some({"epochs": 3, "use_distillation": False}), (0,)),
    Row("- without g", "use_g=False, same 10,000", _some({"epochs": 3, "use_g": False}), (0,)),
    Row("- in-batch W only", "context_weight=0, same 10,000", _some({"epochs": 3, "context_weight": 0.0}), (0,)),
    Row("supervised ceiling", f"{_SCRATCH}, all labels, 1,000 steps", _scratch(1.0, 1000), (0,)),
    Row("ours + all labels", "the same, then fine_tune with all labels, 1 epoch", _tuned(1.0), (0,)),
    Row(
        "ours, trained in full",
        "train_encoder=True on 10,000 training rows, 1 epoch",
        _some({"epochs": 1, "train_encoder": True}),
        (0,),
    ),
]


def _figures(embedding: NDArray[Any], labels: NDArray[np.int64], seed: int) -> dict[str, float]:
    import fastclust as fc
    from fastclust import evaluation

    rows = np.ascontiguousarray(embedding / np.linalg.norm(embedding, axis=1, keepdims=True), np.float32)
    plain = fc.KMeans(10, n_init=_STARTS, random_state=seed).fit(rows).labels_
    manifold = fc.ManifoldKMeans(10, damping=_DAMPING, random_state=seed).fit(rows).labels_
    return {
        "recall_at_1": evaluation.recall_at_k(rows, labels, 1),
        "map_at_r": evaluation.mean_average_precision_at_r(rows, labels),
        "kmeans_nmi": evaluation.normalized_mutual_information(labels, plain),
        "kmeans_accuracy": evaluation.clustering_accuracy(labels, plain),
        "manifold_nmi": evaluation.normalized_mutual_information(labels, manifold),
        "manifold_accuracy": evaluation.clustering_accuracy(labels, manifold),
    }


def main(out: Path | None, only: Sequence[str], seeds: Sequence[int] | None, *, tune: bool = False) -> int:
    """Run what is not yet in ``out`` (JSON, one record a row and seed) and write the table beside it.

    With ``tune`` the rows that are scored are 10,000 of the training rows, and what is learned from are the others.
    """
    path = out or _RESULTS / f"learning-{datetime.now(UTC).date().isoformat()}.json"
    records: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else []
    done = {(record["row"], record["seed"]) for record in records}
    names = [row.name for row in ROWS]
    chosen = {name for part in only for name in ([part] if part in names else names) if part in name}
    data = _load(tune=tune)
    wanted = [
        (row, seed)
        for seed in sorted({seed for row in ROWS for seed in row.seeds} if seeds is None else set(seeds))
        for row in ROWS
        if seed in row.seeds and row.name in chosen and (row.name, seed) not in done
    ]
    for row, seed in wanted:
        embedding, seconds = row.embed(data, seed)
        found = {"row": row.name, "configuration": row.configuration, "seed": seed, "seconds": round(seconds, 1)}
        found |= {name: round(value, 4) for name, value in _figures(embedding, data.test_labels, seed).items()}
        found |= {
            "damping": _DAMPING,
            "starts": _STARTS,
            "command": f"python -m bench learning{' --tune' * tune}",
            "commit": machine.describe(set(), 0)["commit"],
        }
        print(json.dumps(found), flush=True)
        records.append(found)
        path.write_text(json.dumps(records, indent=1) + "\n", "utf-8")
    path.with_suffix(".md").write_text(markdown(records), "utf-8")
    return 0


def markdown(records: list[dict[str, Any]]) -> str:
    """Return the table: mean over the seeds, and the spread (largest - smallest) where there are several."""
    figures = ["recall_at_1", "map_at_r", "kmeans_nmi", "kmeans_accuracy", "manifold_nmi", "manifold_accuracy"]
    heads = ["R@1", "MAP@R", "k-means NMI", "accuracy", "ManifoldKMeans NMI", "accuracy"]
    tuned = any("--tune" in record["command"] for record in records)
    lines = [
        f"# Learning without labels: Fashion-MNIST, 10,000 {'of the training' if tuned else 'test'} rows\n",
        "`python -m bench learning`. Mean of the seeds, (largest - smallest). Labels are used where a row says so.",
        f"ManifoldKMeans has damping={_DAMPING} where a record says so, else 0.",
        f"k-means is the best by inertia of {_STARTS} starts where a record says so, else of 10.\n",
        f"| row | {' | '.join(heads)} | seconds | seeds | configuration |",
        "|---|" + "---|" * (len(heads) + 3),
    ]
    for row in ROWS:
        mine = [record for record in records if record["row"] == row.name]
        if not mine:
            continue
        cells = []
        for figure in figures:
            values = [record[figure] for record in mine]
            spread = f" ({max(values) - min(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
        seconds = np.median([record["seconds"] for record in mine])
        lines.append(f"| {row.name} | {' | '.join(cells)} | {seconds:.0f} | {len(mine)} | {row.configuration} |")
    return "\n".join(lines) + "\n"
