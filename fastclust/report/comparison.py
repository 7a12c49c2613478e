"""Two runs of the same rows beside each other: what a changed parameter or a few labels were worth."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.artifacts import load_array, load_json, replacing
from fastclust.errors import InputError, NotFoundError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["Comparison", "compare_runs", "write_comparison"]

#: Measures against labels, and of the map; all are better where they are larger.
_MEASURES = {
    "accuracy": "k-means accuracy",
    "nmi": "NMI",
    "ari": "ARI",
    "recall_at_1": "recall@1",
    "trustworthiness": "trustworthiness of the map",
    "neighbor_preservation": "neighbours kept on the map",
}
#: Rows for which the nearest neighbour is looked for, as in a run.
_SAMPLE = 10_000
_MOST_MOVES = 12


class Comparison(NamedTuple):
    """What differs between two runs."""

    names: tuple[str, str]
    n_rows: int
    #: By measure, of both runs; None where a run has none.
    measures: dict[str, tuple[float | None, float | None]]
    #: By parameter: what differs.
    params: dict[str, tuple[Any, Any]]
    n_clusters: tuple[int, int]
    #: Adjusted Rand index between the clusters of both.
    agreement: float
    #: Most frequent changes of cluster that are not what became of most of the cluster: from, to, rows.
    moves: list[tuple[int, int, int]]


def compare_runs(run: str | os.PathLike[str], other: str | os.PathLike[str], *, labels: Any = None) -> Comparison:
    """Compare two run folders of the same rows.

    Parameters
    ----------
    run, other
        The folders, the earlier first.
    labels
        Labels to score both against: an array of integers ``[n]`` (-1: unknown), ``.npy`` or CSV ``id,label``. None
        takes the figures that the runs have.

    Raises
    ------
    NotFoundError, DataError
        A folder is no finished run, or a file cannot be read.
    InputError, InputTypeError
        The runs are of other rows; labels of other rows.
    """
    folders = Path(run), Path(other)
    records = [load_json(folder / "run.json") for folder in folders]
    ids = [_ids(folder) for folder in folders]
    if ids[0] != ids[1]:
        raise InputError(
            "other", f"a run of {len(ids[1])} other rows", f"one of the {len(ids[0])} rows of {folders[0]}"
        )
    clusters = [load_array(folder / "labels.npy") for folder in folders]
    params = [record.get("params") or {} for record in records]
    names = sorted({*params[0], *params[1]} - {"title"})
    scores = [_scores(folder, own, labels, ids[0]) for folder, own in zip(folders, clusters, strict=True)]
    for place, record in enumerate(records):
        learned: dict[str, Any] = next((step for step in record.get("steps", []) if step["name"] == "learn"), {})
        params[place]["labels trained on"] = learned.get("notes", {}).get("fine_tuned_with", 0)
    names.append("labels trained on")
    return Comparison(
        (str(folders[0]), str(folders[1])),
        len(ids[0]),
        {name: (scores[0].get(name), scores[1].get(name)) for name in _MEASURES if name in {*scores[0], *scores[1]}},
        {
            name: (params[0].get(name), params[1].get(name))
            for name in names
            if params[0].get(name) != params[1].get(name)
        },
        (len(np.unique(clusters[0])), len(np.unique(clusters[1]))),
        _agreement(*clusters),
        _moves(*clusters),
    )


def write_comparison(
    run: str | os.PathLike[str], other: str | os.PathLike[str], out: str | os.PathLike[str], *, labels: Any = None
) -> Comparison:
    """Write :func:`compare_runs` as one page, with both maps; it needs no network. Returns what it shows.

    ``labels`` are integers ``[n]`` or a file, as there; the same errors (NotFoundError, DataError, InputError).
    """
    found = compare_runs(run, other, labels=labels)
    with replacing(Path(out)) as temporary:
        temporary.write_text(_page(found), encoding="utf-8", errors="xmlcharrefreplace")
    return found


def _ids(folder: Path) -> list[str]:
    import pyarrow.parquet as pq

    if not (folder / "ids.parquet").is_file() or not (folder / "labels.npy").is_file():
        raise NotFoundError(
            f"{folder}: no finished run (ids.parquet, labels.npy). Run: fastclust run SOURCE -o {folder}"
        )
    return [str(one) for one in pq.read_table(folder / "ids.parquet", columns=["id"])["id"].to_pylist()]


def _scores(folder: Path, clusters: NDArray[np.int32], labels: Any, ids: list[str]) -> dict[str, float]:
    """Figures of a run: those it has or, with labels, new ones by the same measures."""
    try:
        quality = load_json(folder / "quality.json")
    except NotFoundError:
        quality = {}
    found = {**(quality.get("rows") or [{}])[-1], **quality.get("map", {})}
    if labels is not None:
        found |= _scored(folder, clusters, labels, ids)
    return {name: float(found[name]) for name in _MEASURES if found.get(name) is not None}


def _scored(folder: Path, clusters: NDArray[np.int32], labels: Any, ids: list[str]) -> dict[str, float]:
    from fastclust.data import load_labels
    from fastclust.evaluation import (
        adjusted_rand_index,
        clustering_accuracy,
        normalized_mutual_information,
        recall_at_k,
    )

    known = load_labels(labels, ids)
    name = "embedding.npy" if (folder / "embedding.npy").is_file() else "features.npy"
    chosen = np.arange(len(known))
    if len(known) > _SAMPLE:
        chosen = np.sort(np.random.default_rng(0).choice(len(known), _SAMPLE, replace=False))
    return {
        "accuracy": clustering_accuracy(known, clusters),
        "nmi": normalized_mutual_information(known, clusters),
        "ari": adjusted_rand_index(known, clusters),
        "recall_at_1": recall_at_k(load_array(folder / name), known, k=1, metric="cosine", queries=chosen),
    }


def _agreement(one: NDArray[Any], other: NDArray[Any]) -> float:
    from fastclust.evaluation import adjusted_rand_index

    return adjusted_rand_index(one, other)


def _moves(one: NDArray[Any], other: NDArray[Any]) -> list[tuple[int, int, int]]:
    """Rows that left the majority of their cluster: from, to, how many; most first."""
    pairs, counts = np.unique(np.stack([one, other], axis=1), axis=0, return_counts=True)
    most = {cluster: int(counts[pairs[:, 0] == cluster].max()) for cluster in np.unique(one)}
    taken: set[int] = set()
    moves = []
    for (before, after), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        if count == most[before] and before not in taken:
            taken.add(before)  # what became of most of it
            continue
        moves.append((int(before), int(after), int(count)))
    return sorted(moves, key=lambda move: (-move[2], move[0], move[1]))[:_MOST_MOVES]


_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1b1f24, #e6e8eb); --soft: light-dark(#5b6470, #98a2ae);
  --line: light-dark(#e2e3e0, #2a2f36); --paper: light-dark(#f6f6f3, #101215); --panel: light-dark(#fff, #181b20);
  --good: light-dark(#1a7a3f, #6ed39a); --bad: light-dark(#b3261e, #f2938c);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
body { margin: 0 auto; max-width: 1180px; padding: 1.5rem; background: var(--paper); color: var(--ink); }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; } p { margin: .2rem 0; }
.soft { color: var(--soft); } .wide { overflow-x: auto; }
table { border-collapse: collapse; background: var(--panel); }
th, td { padding: .4rem .9rem; border: 1px solid var(--line); text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, thead th { text-align: left; font-weight: 500; } thead th { color: var(--soft); }
.up { color: var(--good); } .down { color: var(--bad); }
.maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; border: 1px solid var(--line); border-radius: 8px; background: #fff; }
figcaption { color: var(--soft); overflow-wrap: anywhere; }
"""


def _page(found: Comparison) -> str:
    first, second = (html.escape(name) for name in found.names)
    k, agree = found.n_clusters, f"adjusted Rand index between them {found.agreement:.3f}"
    parts = [
        f"<h1>{first} and {second}</h1>",
        f'<p class="soft">{found.n_rows:,} rows in {k[0]:,} and in {k[1]:,} clusters; {agree}.</p>',
        "<h2>Quality</h2>",
        _measures(found, first, second) if found.measures else '<p class="soft">Neither run has figures.</p>',
        "<h2>What was asked otherwise</h2>",
        _params(found, first, second) if found.params else '<p class="soft">Nothing.</p>',
    ]
    if found.moves:
        rows = "".join(f"<tr><th>{a}</th><td>{b}</td><td>{count:,}</td></tr>" for a, b, count in found.moves)
        head = f"<tr><th>Cluster in {first}</th><th>Cluster in {second}</th><th>Rows</th></tr>"
        parts += [
            "<h2>Rows that left their cluster's majority</h2>",
            f'<div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>',
        ]
    maps = [(name, Path(name) / "map.png") for name in found.names]
    figures = "".join(
        f'<figure><img alt="Map of {html.escape(name)}" src="data:image/png;base64,'
        f'{base64.b64encode(path.read_bytes()).decode("ascii")}"><figcaption>{html.escape(name)}</figcaption></figure>'
        for name, path in maps
        if path.is_file()
    )
    if figures:
        parts += ["<h2>Maps</h2>", f'<div class="maps">{figures}</div>']
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{first} and {second}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _measures(found: Comparison, first: str, second: str) -> str:
    lines = []
    for name, (before, after) in found.measures.items():
        change = ""
        if before is not None and after is not None:
            step = after - before
            change = f'<span class="{"up" if step > 0 else "down" if step < 0 else "soft"}">{step:+.3f}</span>'
        cells = "".join(f"<td>{'-' if value is None else f'{value:.3f}'}</td>" for value in (before, after))
        lines.append(f"<tr><th>{_MEASURES[name]}</th>{cells}<td>{change}</td></tr>")
    head = f"<tr><th></th><th>{first}</th><th>{second}</th><th>change</th></tr>"
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'


def _params(found: Comparison, first: str, second: str) -> str:
    def say(value: Any) -> str:
        return html.escape("not set" if value is None else str(value))

    lines = [
        f"<tr><th>{html.escape(name)}</th><td>{say(before)}</td><td>{say(after)}</td></tr>"
        for name, (before, after) in found.params.items()
    ]
    head = f"<tr><th></th><th>{first}</th><th>{second}</th></tr>"
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'
