"""Jobs over finished jobs: figures and analyses, checked against scikit-learn and the library in this process."""

import re
import types

import grpc
import numpy as np
import pytest
from sklearn import metrics

from fastclust import evaluation, insight
from fastclust.client import Client
from fastclust.errors import InputError, InputTypeError
from fastclust.v1 import common_pb2, dataset_pb2, spec_pb2
from fastclust_server.jobs.tasks import insight as task
from fastclust_server.jobs.work import Work

CODE = grpc.StatusCode
N = 200


@pytest.fixture(scope="module")
def rows(blobs):
    rows = blobs(N, 6)
    rows[7] = rows[3]  # near-duplicates
    rows[11] += np.float32(40)  # fits nowhere
    return rows


@pytest.fixture(scope="module")
def data(server, rows):
    return server.upload(rows)


@pytest.fixture(scope="module")
def clusters(server, data):
    return server.succeed(kmeans={"dataset": data.name, "clusters": {"fixed": 4}, "random_state": 0})


@pytest.fixture(scope="module")
def truth():
    truth = np.arange(N) % 4
    truth[:20] = -1
    return truth


@pytest.fixture(scope="module")
def labels(server, truth):
    spec = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_ROWS_INT64, row_count=N)
    return server.upload_bytes(common_pb2.DATASET_KIND_LABELS, truth.astype("<i8").tobytes(), labels=spec)


def test_clusters_are_measured_against_labels_and_rows_without_one_are_left_out(server, clusters, labels, truth, rows):
    done = server.succeed(evaluate={"job": clusters.name, "labels": labels.name})
    found, known = server.read(clusters, "labels"), truth >= 0
    assert done.metrics["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(truth[known], found[known]))
    assert done.metrics["ari"] == pytest.approx(metrics.adjusted_rand_score(truth[known], found[known]))
    assert done.metrics["accuracy"] == pytest.approx(evaluation.clustering_accuracy(truth, found))
    assert done.metrics["recall_at_1"] == pytest.approx(evaluation.recall_at_k(rows, truth, 1))
    assert done.metrics["map_at_r"] == pytest.approx(evaluation.mean_average_precision_at_r(rows, truth))
    assert done.metrics["silhouette"] == pytest.approx(metrics.silhouette_score(rows, found), rel=1e-4)
    assert (done.metrics["rows"], done.metrics["labelled_rows"]) == (N, N - 20)


def test_without_labels_what_needs_none_is_measured(server, clusters):
    done = server.succeed(evaluate={"job": clusters.name})
    assert set(done.metrics) == {"silhouette", "rows"}


def test_embeddings_in_a_data_set_are_measured_by_labels_given_by_id(server, data, truth, rows):
    text = "id,label\n" + "".join(f"{row},{label}\n" for row, label in enumerate(truth) if label >= 0)
    spec = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_CSV)
    by_id = server.upload_bytes(common_pb2.DATASET_KIND_LABELS, text.encode(), labels=spec)
    wanted = ["map_at_r"]
    done = server.succeed(evaluate={"dataset": data.name, "labels": by_id.name, "measures": wanted})
    assert done.metrics["map_at_r"] == pytest.approx(evaluation.mean_average_precision_at_r(rows, truth))
    assert "recall_at_1" not in done.metrics


def test_a_measure_that_cannot_be_taken_is_left_out_with_a_note_or_fails_the_job_that_asked(server, data):
    spec = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_ROWS_INT64, row_count=N)
    alone = np.arange(N).astype("<i8").tobytes()
    labels = server.upload_bytes(common_pb2.DATASET_KIND_LABELS, alone, labels=spec)
    done = server.succeed(evaluate={"dataset": data.name, "labels": labels.name})
    assert done.metrics["recall_at_1"] == 0
    assert {"map_at_r", "silhouette"} <= set(done.notes)
    asked = server.submit(evaluate={"dataset": data.name, "labels": labels.name, "measures": ["map_at_r"]})
    assert server.wait(asked).error.reason == "INVALID_INPUT"


def test_insight_is_what_the_library_says(server, clusters, rows):
    done = server.succeed(insight={"job": clusters.name, "duplicate_threshold": 1e-3, "per_cluster": 2})

    class Model:
        labels_ = server.read(clusters, "labels")
        cluster_centers_ = server.read(clusters, "cluster_centers")

    assert server.read(done, "duplicate_rows").tolist() == [3, 7]
    assert server.read(done, "duplicate_groups").tolist() == [0, 0]
    assert done.metrics["duplicate_groups"] == 1
    scores, p_values = insight.outliers(rows, Model)
    assert np.allclose(server.read(done, "outlier_scores"), scores)
    assert np.allclose(server.read(done, "outlier_p_values"), p_values)
    assert int(server.read(done, "outlier_scores").argmax()) == 11
    assert np.array_equal(server.read(done, "representatives"), insight.representatives(rows, Model, 2))
    assert [step.name for step in done.progress.steps] == ["near_duplicates", "outliers", "representatives"]


@pytest.fixture(scope="module")
def mapped(server):
    """Jobs of kmeans in other metrics, with their rows, float64, where Euclid's distance is the metric's."""
    random = np.random.default_rng(5)
    turned = random.standard_normal((4, 6))[np.arange(N) % 4] + 0.3 * random.standard_normal((N, 6))
    rows = (turned * random.lognormal(0, 2, (N, 1)) * [1, 1, 1, 1, 1, 30]).astype(np.float32)
    rows[7] = 9 * rows[3]  # the same direction
    data = server.upload(rows)
    metric = server.succeed(mahalanobis={"dataset": data.name})
    wide = rows.astype(float)
    factor = server.read(metric, "components").astype(float)
    inside = {"cosine": wide / np.linalg.norm(wide, axis=1, keepdims=True), "mahalanobis": wide @ factor.T}
    named = {"cosine": {"name": "cosine"}, "mahalanobis": {"model": metric.name}}
    clusters = {"fixed": 4}
    return {
        one: (
            server.succeed(
                kmeans={"dataset": data.name, "clusters": clusters, "metric": named[one], "random_state": 0}
            ),
            inside[one],
        )
        for one in named
    }


@pytest.mark.parametrize("metric", ["cosine", "mahalanobis"])
def test_clusters_in_another_metric_are_looked_at_in_it(server, mapped, metric):
    job, inside = mapped[metric]
    labels = server.read(job, "labels")
    measured = server.succeed(evaluate={"job": job.name})
    assert measured.metrics["silhouette"] == pytest.approx(metrics.silhouette_score(inside, labels), rel=1e-3)
    found = server.succeed(insight={"job": job.name, "per_cluster": 1})
    for cluster in range(4):
        own = np.flatnonzero(labels == cluster)
        middle = inside[own].mean(axis=0)
        far = np.linalg.norm(inside[own] - (middle / np.linalg.norm(middle) if metric == "cosine" else middle), axis=1)
        (chosen,) = server.read(found, "representatives")[cluster]
        assert chosen == own[far.argmin()]
    if metric == "cosine":
        assert {3, 7} <= set(server.read(found, "duplicate_rows").tolist())


def test_places_for_representatives_are_bounded_before_there_is_a_job():
    class Large:
        """A job of a million rows in a hundred thousand clusters."""

        def job(self, _field, name, *_kinds):
            spec = spec_pb2.JobSpec(kmeans=spec_pb2.KMeansSpec(dataset="datasets/" + 32 * "a"))
            return types.SimpleNamespace(name=name, kind="kmeans", spec=spec.SerializeToString())

        def tensor(self, *_):
            return (10**6, 8)

        def job_tensor(self, _job, key):
            return {"labels": (10**6,), "cluster_centers": (10**5, 8)}[key]

    task.check(spec_pb2.InsightSpec(job="jobs/x", per_cluster=167), Large())
    with pytest.raises(InputError, match=re.escape("per_cluster: got 168; allowed: 1..167, for 1000000 rows")):
        task.check(spec_pb2.InsightSpec(job="jobs/x", per_cluster=168), Large())


def test_only_the_analyses_that_were_asked_for_are_done(server, clusters):
    done = server.succeed(insight={"job": clusters.name, "analyses": ["representatives"]})
    assert {artifact.key for artifact in done.artifacts} == {"representatives"}


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        ("evaluate", {"measures": ["accuracy"]}, "measures"),
        ("evaluate", {"measures": ["speed"]}, "measures"),
        ("insight", {"analyses": ["poetry"]}, "analyses"),
        ("insight", {"per_cluster": 0}, "per_cluster"),
        ("insight", {"duplicate_threshold": -1.0}, "duplicate_threshold"),
        ("insight", {"analyses": ["outliers"], "per_cluster": 3}, "per_cluster"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(server, clusters, refused, kind, values, field):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(**{kind: {"job": clusters.name, **values}})
    assert told["metadata"]["field"] == field


def test_what_has_a_job_of_its_own_is_no_analysis_of_clusters(server, clusters, refused):
    for values in ({"analyses": ["choose_k"]}, {"clusters": {"min": 2, "max": 9}}):
        with refused(CODE.UNIMPLEMENTED) as told:
            server.submit(insight={"job": clusters.name, **values})
        assert "near_duplicates" in told["message"]


def test_jobs_without_a_result_and_data_sets_without_labels_are_refused(server, data, labels, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(evaluate={"dataset": data.name})
    assert told["metadata"]["field"] == "labels"
    with refused(CODE.INVALID_ARGUMENT):
        server.submit(evaluate={})
    with refused(CODE.NOT_FOUND):
        server.submit(insight={"job": "jobs/" + 32 * "a"})
    other = server.upload(np.zeros((5, 2), np.float32))
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(evaluate={"dataset": other.name, "labels": labels.name})
    assert told["metadata"]["field"] == "labels"


def test_what_an_attempt_ended_the_next_one_takes_over(tmp_path):
    """Steps of one job over two attempts, the second with what the first left on disk."""
    work = object.__new__(Work)
    work.folder = tmp_path
    made = []

    def compute(value):
        made.append(value)
        return {"value": np.array([value])}

    def killed():
        raise KeyboardInterrupt

    assert work.once("first", lambda: compute(1))["value"] == [1]
    with pytest.raises(KeyboardInterrupt):
        work.once("second", killed)
    assert work.once("first", lambda: compute(2))["value"] == [1]
    assert work.once("second", lambda: compute(3))["value"] == [3]
    assert made == [1, 3]


def test_the_client_submits_both(server, data, labels):
    with Client(server.address) as client:
        job = client.kmeans(data.name, n_clusters=4, random_state=0)
        job.wait(timeout=60)
        measured = client.evaluate(job, labels=labels.name, measures=["nmi"]).result(timeout=60)
        assert set(measured.metrics) == {"nmi", "rows", "labelled_rows"}
        found = client.insight(job, analyses=["outliers", "representatives"], per_cluster=3).result(timeout=60)
        assert found.outlier_scores.shape == (N,)
        assert found.representatives.shape == (4, 3)
        with pytest.raises(InputTypeError, match="measures"):
            client.evaluate(job, measures="nmi")
