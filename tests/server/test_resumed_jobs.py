"""Jobs that lose their worker go on from what they kept: training to the same bits, distances block by block."""

import numpy as np
import pytest

from bench.machine import watched_anonymous
from fastclust.neighbors import engines, knn_graph, parts
from fastclust.neighbors.engine import Engine
from fastclust.v1 import job_pb2, spec_pb2
from fastclust_server.config import Settings
from fastclust_server.jobs.tasks import mahalanobis, neighbors
from fastclust_server.jobs.work import Work


def test_training_goes_on_where_a_killed_worker_left_it_to_the_same_bits(new_server, blobs):
    server = new_server().start()
    data = server.upload(blobs(300, 16))
    spec = {"dataset": data.name, "embedding_dim": 8, "epochs": 8, "batch_size": 20, "random_state": 3}
    whole = server.wait(server.submit(train=spec))
    assert (whole.state, whole.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 1), whole.error
    job = server.submit(train=spec)
    server.wait_until(job, lambda job: job.progress.fraction > 0.6)
    server.worker().kill()
    seen = [state.progress.fraction for state in server.watch(job) if state.attempt == 2]
    done = server.get(job)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2), done.error
    # Before the training stand features and the encoder; then it goes on where it was, less one interval.
    assert not [fraction for fraction in seen if 0.28 < fraction < 0.45], "the second attempt began again"
    assert np.array_equal(server.read(done, "embedding"), server.read(whole, "embedding"))


@pytest.fixture
def work(tmp_path):
    work = object.__new__(Work)
    work.folder = tmp_path
    return work


def test_blocks_that_an_attempt_ended_are_not_computed_again(work):
    rows, seen = np.arange(10.0), []

    def double(block, dies_at=None):
        if block.start == dies_at:
            raise KeyboardInterrupt
        seen.append(block.start)
        return {"twice": 2 * rows[block]}

    with pytest.raises(KeyboardInterrupt):
        work.in_blocks("work", 10, 4, lambda block: double(block, 8))
    assert seen == [0, 4]
    assert np.array_equal(work.in_blocks("work", 10, 4, double)["twice"], 2 * rows)
    assert seen == [0, 4, 8]


def test_what_is_one_block_is_not_kept(work):
    assert np.array_equal(work.in_blocks("work", 4, 4, lambda block: {"a": np.arange(4)[block]})["a"], np.arange(4))
    assert not list(work.folder.iterdir())


def test_what_is_joined_takes_the_memory_of_blocks(work):
    """As anonymous resident memory: 160 MiB of results in blocks of 16 MiB."""
    block = 2**22
    work.in_blocks("warm", 2, 1, lambda _block: {"a": np.ones(1, np.int32)})
    with watched_anonymous() as most:
        found = work.in_blocks(
            "work", 10 * block, block, lambda here: {"a": np.arange(here.start, here.stop, dtype=np.int32)}
        )
    assert np.array_equal(found["a"], np.arange(10 * block, dtype=np.int32))
    assert most[0] < 3 * 4 * block


def test_distances_in_blocks_are_those_of_one_piece(blobs, work, monkeypatch):
    """The task itself, with blocks so small that there are many, beside float64 NumPy."""
    rows = blobs(90, 5)
    monkeypatch.setattr(mahalanobis, "_PAIRS", 20 * 90)
    left = {}
    monkeypatch.setattr(Work, "array", lambda _self, _name: rows)
    monkeypatch.setattr(Work, "tensor", lambda _self, key, array: left.update({key: array}))
    metric = mahalanobis_metric(rows)
    spec = mahalanobis.spec_pb2.MahalanobisSpec(dataset="x", output=mahalanobis.spec_pb2.MAHALANOBIS_OUTPUT_PAIRWISE)
    mahalanobis._distances(spec, work, metric)
    assert len(list(work.folder.iterdir())) == 5
    gap = rows[:, None].astype(float) - rows[None]
    expected = np.sqrt(np.einsum("ijk,kl,ijl->ij", gap, metric.get_mahalanobis_matrix().astype(float), gap))
    assert np.allclose(left["distances"], expected, rtol=1e-3, atol=1e-2)
    assert (np.diag(left["distances"]) == 0).all()


@pytest.mark.parametrize("asked", ["neighbors", "mahalanobis"])
def test_a_graph_whose_attempt_died_goes_on_in_the_next_to_the_same_bits(blobs, work, monkeypatch, asked):
    """The tasks themselves, with parts so small that there are four."""
    rows, left, seen = blobs(900, 5), {}, []
    monkeypatch.setattr(parts, "ROWS", 250)
    monkeypatch.setattr(Engine, "whole_up_to", 250)
    monkeypatch.setattr(engines._Exact, "whole_up_to", 250)
    plain = engines._Exact.search

    def search(self, queries, k):
        seen.append(len(queries))
        if seen == [250, 250, 250]:
            raise KeyboardInterrupt
        return plain(self, queries, k)

    monkeypatch.setattr(engines._Exact, "search", search)
    monkeypatch.setattr(Work, "array", lambda _self, _name: rows)
    monkeypatch.setattr(Work, "tensor", lambda _self, key, array: left.update({key: array}))
    monkeypatch.setattr(Work, "new_file", lambda self, key: self.folder / key)
    monkeypatch.setattr(Work, "written", lambda _self, _path: None)
    work.settings, work.metrics, work.notes = Settings(work.folder), {}, {}

    def attempt():
        if asked == "neighbors":
            neighbors.run(spec_pb2.NeighborsSpec(dataset="x", n_neighbors=6), work)
        else:
            top = spec_pb2.MAHALANOBIS_OUTPUT_TOP_K
            spec = spec_pb2.MahalanobisSpec(dataset="x", output=top, n_neighbors=6)
            mahalanobis._distances(spec, work, mahalanobis_metric(rows))

    with pytest.raises(KeyboardInterrupt):
        attempt()
    assert len(list(work.graph_parts.iterdir())) == 2
    attempt()
    assert seen == [250, 250, 250, 250, 150]
    seen.clear()
    seen.append(0)
    metric = "euclidean" if asked == "neighbors" else mahalanobis_metric(rows)
    whole = knn_graph(rows, 6, metric)
    assert seen == [0, 900]
    assert np.array_equal(left["indices"], whole.indices)
    assert np.array_equal(left["distances"], whole.distances)


def mahalanobis_metric(rows):
    from fastclust.metric import MahalanobisMetric

    return MahalanobisMetric().fit(rows)
