"""A graph in parts: the bits of the whole, and what was found is not looked for again."""

import numpy as np
import pytest

import fastclust as fc
from fastclust import progress
from fastclust.neighbors import cells, engine, engines, parts

ROWS = 300


def rows_of(n=1000, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.fixture
def small(monkeypatch):
    """Parts of so few rows; returns the first row of each part that was searched."""
    monkeypatch.setattr(parts, "ROWS", ROWS)
    monkeypatch.setattr(cells, "_GROUP", ROWS)
    monkeypatch.setattr(engine.Engine, "whole_up_to", ROWS)
    monkeypatch.setattr(engines._Exact, "whole_up_to", ROWS)
    searched, plain = [], parts._part

    def part(path, rows, asked, search):
        return plain(path, rows, asked, lambda here: searched.append(here.start) or search(here))

    monkeypatch.setattr(parts, "_part", part)
    return searched


class Killed(BaseException):
    """As a signal would end it."""


def killed_after(rows):
    def listen(told):
        if told.message == f"{rows} of 1000 rows":
            raise Killed

    return progress.listening(listen)


def alike(one, other):
    assert np.array_equal(one.indices, other.indices)
    assert np.array_equal(one.distances, other.distances)
    assert (one.recall, one.recomputed_, one.index_) == (other.recall, other.recomputed_, other.index_)


@pytest.mark.parametrize("index", ["exact", "cells", "flat", "ivf"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_graph_that_was_broken_off_goes_on_to_the_same_bits(small, tmp_path, index, metric):
    X = rows_of()
    X[5] = X[400]  # duplicates, in different parts
    whole = fc.knn_graph(X, 7, metric, index)
    with killed_after(600), pytest.raises(Killed):
        fc.knn_graph(X, 7, metric, index, checkpoint=tmp_path / "parts")
    assert small == [0, 300]
    assert len(list((tmp_path / "parts").iterdir())) == 2
    again = fc.knn_graph(X, 7, metric, index, checkpoint=tmp_path / "parts")
    assert small == [0, 300, 600, 900]
    alike(again, whole)
    alike(fc.knn_graph(X, 7, metric, index, checkpoint=tmp_path / "parts"), whole)
    assert small == [0, 300, 600, 900]


def test_parts_of_another_search_are_not_taken(small, tmp_path):
    X = rows_of()
    fc.knn_graph(X, 7, checkpoint=tmp_path)
    changed = X.copy()
    changed[999, 0] += 1
    for other, k, metric in ((changed, 7, "euclidean"), (X, 8, "euclidean"), (X, 7, "cosine")):
        small.clear()
        alike(fc.knn_graph(other, k, metric, checkpoint=tmp_path), fc.knn_graph(other, k, metric))
        assert small == [0, 300, 600, 900]


def test_gaps_are_filled_within_parts(small, tmp_path, monkeypatch):
    """Rows whose lists hold too few are searched in full: by their own numbers, not by those within the part."""
    plain = engines._Exact.search

    def gaps(self, queries, k):
        found = plain(self, queries, k)
        found[::50, 3:] = -1
        return found

    X = rows_of()
    whole = fc.knn_graph(X, 7, index="exact")
    monkeypatch.setattr(engines._Exact, "search", gaps)
    found = fc.knn_graph(X, 7, index="exact", checkpoint=tmp_path)
    assert np.array_equal(found.indices, whole.indices)


def test_small_graphs_and_those_without_parts_leave_nothing(tmp_path, monkeypatch):
    X = rows_of(400)
    fc.knn_graph(X, 7, checkpoint=tmp_path)
    monkeypatch.setattr(engine.Engine, "whole_up_to", ROWS)
    monkeypatch.setattr(engines._Exact, "whole_up_to", None)  # as nndescent, which takes a minute to compile
    fc.knn_graph(X, 7, index="exact", checkpoint=tmp_path)
    assert engines._Descent.whole_up_to is None
    assert not list(tmp_path.iterdir())


def test_progress_of_parts_never_goes_back(small, tmp_path):
    told = []
    with progress.listening(lambda now: told.append(now.fraction) if now.step == "neighbors" else None):
        fc.knn_graph(rows_of(), 7, index="cells", checkpoint=tmp_path)
    assert told == sorted(told)
    assert told[-1] == 1


@pytest.mark.full
@pytest.mark.parametrize("index", ["auto", "ivf"])
def test_parts_of_their_own_size_have_the_bits_of_the_whole(tmp_path, index):
    X = rows_of(parts.ROWS + 5000)
    alike(fc.knn_graph(X, 7, index=index, checkpoint=tmp_path), fc.knn_graph(X, 7, index=index))
    assert len(list(tmp_path.iterdir())) == 2
