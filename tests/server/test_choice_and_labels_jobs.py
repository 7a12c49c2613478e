"""Jobs that choose a number of clusters and that spread labels: what the library says in this process, exactly."""

import time

import grpc
import numpy as np
import pytest

from fastclust import insight
from fastclust.client import Client
from fastclust.errors import InputError, InputTypeError
from fastclust.neighbors import knn_graph
from fastclust.v1 import common_pb2, dataset_pb2, job_pb2

CODE = grpc.StatusCode
N = 200


@pytest.fixture(scope="module")
def rows(blobs):
    return blobs(N, 6)


@pytest.fixture(scope="module")
def data(server, rows):
    return server.upload(rows)


@pytest.fixture(scope="module")
def given():
    given = np.full(N, -1)
    given[:8] = np.arange(8) % 4
    return given


@pytest.fixture(scope="module")
def labels(server, given):
    spec = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_ROWS_INT64, row_count=N)
    return server.upload_bytes(common_pb2.DATASET_KIND_LABELS, given.astype("<i8").tobytes(), labels=spec)


@pytest.fixture(scope="module")
def graph(server, data):
    return server.succeed(neighbors={"dataset": data.name, "n_neighbors": 20})


def curve_of(server, job):
    names = ("ks", "silhouette", "calinski_harabasz", "stability", "inertia")
    return [insight.KPoint(*point) for point in zip(*(server.read(job, name).tolist() for name in names), strict=True)]


def test_the_curve_and_the_choice_are_those_of_the_library(server, data, rows):
    done = server.succeed(choose_k={"dataset": data.name, "ks": [4, 2, 7], "max_rows": 150, "random_state": 3})
    choice = insight.choose_k(rows, [2, 4, 7], max_rows=150, random_state=3)
    assert curve_of(server, done) == choice.curve
    assert done.metrics["k"] == choice.k == 4
    assert [step.name for step in done.progress.steps] == ["choose_k"]


def test_rows_of_a_job_are_looked_at_in_the_metric_of_its_clusters(server, data, rows):
    metric = {"name": "cosine"}
    clusters = server.succeed(
        kmeans={"dataset": data.name, "clusters": {"fixed": 3}, "metric": metric, "random_state": 0}
    )
    done = server.succeed(choose_k={"job": clusters.name, "ks": [2, 5]})
    choice = insight.choose_k(rows, [2, 5], metric="cosine")
    for point, expected in zip(curve_of(server, done), choice.curve, strict=True):
        assert point == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("by_id", [False, True])
def test_labels_spread_as_the_library_spreads_them(server, data, rows, labels, given, by_id):
    named = labels
    if by_id:
        text = "id,label\n" + "".join(f"{row},{label}\n" for row, label in enumerate(given) if label >= 0)
        spec = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_CSV)
        named = server.upload_bytes(common_pb2.DATASET_KIND_LABELS, text.encode(), labels=spec)
    done = server.succeed(propagate_labels={"dataset": data.name, "labels": named.name, "n_neighbors": 10})
    expected = insight.propagate_labels(knn_graph(rows, n_neighbors=10), given)
    assert np.array_equal(server.read(done, "labels"), expected.labels)
    assert np.array_equal(server.read(done, "confidence"), expected.confidence)
    assert done.metrics["labelled_rows"] == 8
    assert done.metrics["reached_rows"] == (expected.labels >= 0).sum() > 8
    assert [step.name for step in done.progress.steps] == ["neighbors", "propagate"]


def test_labels_spread_along_the_graph_of_a_job(server, graph, rows, labels, given):
    done = server.succeed(propagate_labels={"graph": graph.name, "labels": labels.name})
    expected = insight.propagate_labels(knn_graph(rows, n_neighbors=20), given)
    assert np.array_equal(server.read(done, "labels"), expected.labels)
    assert np.array_equal(server.read(done, "confidence"), expected.confidence)


def test_a_long_choice_tells_how_far_it_is_and_can_be_cancelled(server, blobs):
    data = server.upload(blobs(4000, 8))
    job = server.submit(choose_k={"dataset": data.name, "ks": range(2, 1500)})
    seen = server.wait_until(job, lambda state: 0 < state.progress.fraction < 1)
    assert seen.progress.step == "choose_k"
    assert seen.progress.message.endswith("clusters")
    begun = time.monotonic()
    server.cancel(job)
    assert server.wait(job).state == job_pb2.JOB_STATE_CANCELLED
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "input"),
        ({"dataset": "DATA", "ks": [1]}, "ks"),
        ({"dataset": "DATA", "ks": [101]}, "ks"),
        ({"dataset": "DATA", "ks": [11], "max_rows": 20}, "ks"),
        ({"dataset": "DATA", "max_rows": 7}, "max_rows"),
        ({"job": "GRAPH"}, "job"),
    ],
)
def test_numbers_that_cannot_be_tried_are_refused_before_there_is_a_job(server, data, graph, refused, values, field):
    swap = {"DATA": data.name, "GRAPH": graph.name}
    values = {key: swap.get(value, value) if isinstance(value, str) else value for key, value in values.items()}
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(choose_k=values)
    assert told["metadata"]["field"] == field


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"labels": "LABELS"}, "input"),
        ({"dataset": "DATA"}, "labels"),
        ({"dataset": "DATA", "labels": "LABELS", "n_neighbors": 200}, "n_neighbors"),
        ({"graph": "GRAPH", "labels": "LABELS", "n_neighbors": 21}, "n_neighbors"),
        ({"graph": "GRAPH", "labels": "LABELS", "metric": {"name": "cosine"}}, "metric"),
        ({"dataset": "DATA", "labels": "LABELS", "metric": {"name": "inner_product"}}, "dataset"),
        ({"dataset": "DATA", "labels": "DATA"}, "labels"),
    ],
)
def test_labels_that_cannot_spread_are_refused(server, data, graph, labels, refused, values, field):
    swap = {"DATA": data.name, "GRAPH": graph.name, "LABELS": labels.name}
    values = {key: swap.get(value, value) if isinstance(value, str) else value for key, value in values.items()}
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(propagate_labels=values)
    assert told["metadata"]["field"] == field


def test_the_client_submits_both(server, data, labels, given):
    with Client(server.address) as client:
        chosen = client.choose_k(data.name, ks=range(3, 6)).result(timeout=60)
        assert (chosen.k, chosen.ks.tolist()) == (4, [3, 4, 5])
        spread = client.propagate_labels(data.name, labels.name, n_neighbors=10).result(timeout=60)
        assert np.array_equal(spread.labels[given >= 0], given[given >= 0])
        with pytest.raises(InputTypeError, match="ks"):
            client.choose_k(data.name, ks=[2.5])
        with pytest.raises(InputError, match="ks"):
            client.choose_k(data.name, ks="many")
