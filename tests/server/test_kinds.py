"""One job of each kind, its result checked against what the same call gives in this process or in NumPy."""

import io
import tarfile

import grpc
import numpy as np
import pytest
from PIL import Image

from fastclust.v1 import common_pb2, dataset_pb2, spec_pb2

CODE = grpc.StatusCode


def gpu():
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="module")
def rows(blobs):
    return blobs(200, 6)


@pytest.fixture(scope="module")
def data(server, rows):
    return server.upload(rows)


@pytest.fixture(scope="module")
def metric(server, data):
    return server.succeed(mahalanobis={"dataset": data.name, "output": spec_pb2.MAHALANOBIS_OUTPUT_PAIRWISE})


@pytest.fixture(scope="module")
def graph(server, data):
    return server.succeed(neighbors={"dataset": data.name, "n_neighbors": 40})


def test_mahalanobis_leaves_the_metric_and_distances_in_it(server, metric, rows):
    precision = np.linalg.inv(np.cov(rows.astype(float), rowvar=False))
    found = server.read(metric, "mahalanobis_matrix")
    assert found.shape == (6, 6)
    # Conditioning of the covariance times float32.
    assert np.allclose(found, precision, rtol=0.02, atol=1e-3 * np.abs(precision).max())
    gap = rows[:, None].astype(float) - rows[None]
    expected = np.sqrt(np.maximum(np.einsum("ijk,kl,ijl->ij", gap, found.astype(float), gap), 0))
    assert np.allclose(server.read(metric, "distances"), expected, rtol=1e-3, atol=2e-2)
    assert server.read(metric, "components").shape[1] == 6


def test_mahalanobis_to_components_has_a_column_a_component(server, data, rows):
    means, covariances = rows[:3].copy(), np.stack([np.eye(6, dtype=np.float32) * scale for scale in (1, 4, 9)])
    spec = spec_pb2.MahalanobisSpec(
        dataset=data.name,
        output=spec_pb2.MAHALANOBIS_OUTPUT_COMPONENTS,
        means=server.upload(means).name,
        covariances=server.upload(covariances).name,
    )
    found = server.read(server.succeed(mahalanobis=spec), "distances")
    expected = np.linalg.norm(rows[:, None].astype(float) - means[None], axis=2) / [1, 2, 3]
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("output", ["PAIRWISE", "NEAREST", "TOP_K", "COMPONENTS"])
def test_mahalanobis_distances_are_by_the_backend_that_was_asked_for(server, data, rows, output):
    """Triton's rows are on a GPU, which is not here: whoever asks for it is told so, and gets no other's numbers."""
    means, covariances = rows[:3].copy(), np.stack([np.eye(6, dtype=np.float32)] * 3)
    spec = {"dataset": data.name, "output": f"MAHALANOBIS_OUTPUT_{output}"}
    if output == "COMPONENTS":
        spec |= {"means": server.upload(means).name, "covariances": server.upload(covariances).name}
    by_default = server.succeed(mahalanobis=spec)
    by_oracle = server.succeed(mahalanobis=spec | {"backend": "reference"})
    assert np.allclose(server.read(by_oracle, "distances"), server.read(by_default, "distances"), rtol=1e-3, atol=1e-3)
    if not gpu():
        ended = server.wait(server.submit(mahalanobis=spec | {"backend": "triton"}))
        assert ended.error.metadata["error"] == "BackendError", ended


@pytest.mark.parametrize("others", [False, True])
def test_the_nearest_by_a_backend_are_those_of_numpy(server, data, rows, others):
    among = rows[:50] + np.float32(0.25) if others else rows
    spec = {"dataset": data.name, "output": "MAHALANOBIS_OUTPUT_TOP_K", "n_neighbors": 3, "squared": True}
    spec |= {"others": server.upload(among).name} if others else {}
    done = server.succeed(mahalanobis=spec | {"backend": "numba"})
    gap = rows[:, None].astype(float) - among[None]
    far = np.einsum("ijk,kl,ijl->ij", gap, np.linalg.inv(np.cov(rows.astype(float), rowvar=False)), gap)
    if not others:
        np.fill_diagonal(far, np.inf)
    assert np.allclose(server.read(done, "distances"), np.sort(far, axis=1)[:, :3], rtol=1e-3, atol=1e-3)
    assert np.allclose(np.take_along_axis(far, server.read(done, "indices"), 1), np.sort(far, axis=1)[:, :3], rtol=1e-3)


@pytest.mark.parametrize(
    ("values", "told_of"),
    [
        ({"output": "MAHALANOBIS_OUTPUT_PAIRWISE", "backend": "abacus"}, "auto, numba, triton, reference"),
        ({"output": "MAHALANOBIS_OUTPUT_TRANSFORMED", "backend": "numba"}, "MAHALANOBIS_OUTPUT_TOP_K"),
        ({"backend": "numba"}, "MAHALANOBIS_OUTPUT_PAIRWISE"),
    ],
)
def test_a_backend_that_cannot_be_obeyed_is_refused_before_there_is_a_job(server, data, refused, values, told_of):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(mahalanobis={"dataset": data.name, **values})
    assert told_of in told["message"]


def test_more_nearest_rows_than_there_are_are_refused(server, blobs, refused):
    few = server.upload(blobs(5, 2))
    with refused(CODE.INVALID_ARGUMENT) as told:  # 15, where none is asked for
        server.submit(mahalanobis={"dataset": few.name, "output": "MAHALANOBIS_OUTPUT_TOP_K"})
    assert (told["metadata"]["field"], told["metadata"]["allowed"]) == ("n_neighbors", "1..4, the rows to look among")


def test_kmeans_takes_the_metric_of_a_job(server, data, metric):
    spec = spec_pb2.KMeansSpec(
        dataset=data.name,
        clusters=spec_pb2.ClusterCount(fixed=4),
        metric=spec_pb2.MetricSpec(model=metric.name),
        random_state=0,
    )
    assert server.read(server.succeed(kmeans=spec), "labels").shape == (200,)


def test_neighbors_are_the_nearest_rows(server, graph, rows):
    indices, distances = server.read(graph, "indices"), server.read(graph, "distances")
    far = np.linalg.norm(rows[:, None].astype(float) - rows[None], axis=2)
    np.fill_diagonal(far, np.inf)
    assert np.allclose(distances, np.sort(far, axis=1)[:, :40], rtol=1e-4, atol=1e-3)
    assert np.allclose(np.take_along_axis(far, indices, axis=1), distances, rtol=1e-4, atol=1e-3)
    assert graph.notes["index"]


def test_neighbors_of_other_rows_are_looked_up(server, data, rows):
    queries = server.upload(rows[:7] + np.float32(0.01))
    done = server.succeed(neighbors={"dataset": data.name, "queries": queries.name, "n_neighbors": 3})
    assert np.array_equal(server.read(done, "indices")[:, 0], np.arange(7))


def test_tsne_keeps_clusters_together_from_rows_and_from_a_graph(server, data, graph):
    from_rows = server.succeed(tsne={"dataset": data.name, "perplexity": [10.0], "max_iter": 300, "random_state": 0})
    spec = {"graph": graph.name, "perplexity": [10.0], "max_iter": 300, "initialization": "random", "random_state": 0}
    from_graph = server.succeed(tsne=spec)
    for done in (from_rows, from_graph):
        places = server.read(done, "embedding")
        assert places.shape == (200, 2)
        assert np.isfinite(places).all()
        far = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(far, np.inf)
        assert np.mean(far.argmin(axis=1) % 4 == np.arange(200) % 4) > 0.9
        assert np.isfinite(done.metrics["kl_divergence"])


def test_a_graph_with_too_few_neighbours_is_refused(server, graph, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(tsne={"graph": graph.name, "perplexity": [20.0]})
    assert told["metadata"]["allowed"] == "at least 60, 3 x perplexity"


def test_neighbors_of_other_rows_are_no_graph(server, data, rows, refused):
    queries = server.upload(rows[:7])
    done = server.succeed(neighbors={"dataset": data.name, "queries": queries.name, "n_neighbors": 3})
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(tsne={"graph": done.name, "perplexity": [1.0]})
    assert told["metadata"]["field"] == "graph"


def test_a_graph_must_come_from_a_neighbors_job(server, metric, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(tsne={"graph": metric.name})
    assert told["metadata"]["field"] == "graph"


def test_train_and_embed_give_the_same_embedding(server, data):
    trained = server.succeed(train={"dataset": data.name, "embedding_dim": 8, "epochs": 2, "random_state": 0})
    embedding = server.read(trained, "embedding")
    assert embedding.shape == (200, 8)
    assert np.allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-4)
    again = server.succeed(embed={"dataset": data.name, "model": trained.name})
    assert np.allclose(server.read(again, "embedding"), embedding, atol=1e-5)


def labelled(server, values):
    spec = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_ROWS_INT64, row_count=len(values))
    return server.upload_bytes(common_pb2.DATASET_KIND_LABELS, values.astype("<i8").tobytes(), labels=spec)


def test_a_model_is_fine_tuned_with_a_share_of_the_labels_as_here(server):
    import fastclust as fc

    rows = np.random.default_rng(3).standard_normal((400, 6)).astype(np.float32)
    data = server.upload(rows)
    values = np.where(np.arange(400) < 100, np.arange(400) % 3, -1)
    labels = labelled(server, values)
    trained = server.succeed(
        train={
            "dataset": data.name,
            "embedding_dim": 8,
            "epochs": 1,
            "random_state": 5,
            "objective": "manifold_triplet",
            "backend": "cpu",
        }
    )
    learner = fc.SelfTaughtLearner(
        embedding_dim=8, epochs=1, random_state=5, objective="manifold_triplet", device="cpu"
    ).fit(rows)
    assert np.allclose(server.read(trained, "embedding"), learner.transform(rows), atol=1e-5)
    tuned = server.succeed(
        train={
            "dataset": data.name,
            "model": trained.name,
            "labels": labels.name,
            "label_share": 0.3,
            "epochs": 1,
            "random_state": 7,
        }
    )
    assert tuned.notes["fine_tuned_with"] == "30"
    draw, some = np.random.default_rng(7), np.full(400, -1)
    for label in range(3):
        some[draw.permutation(np.flatnonzero(values == label))[:10]] = label
    learner.random_state = 7
    learner.fine_tune(rows, some, epochs=1)
    assert np.allclose(server.read(tuned, "embedding"), learner.transform(rows), atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"objective": "manifold"}, "objective"),
        ({"label_share": 0.5}, "label_share"),
        ({"labels": True, "label_share": 0.0}, "label_share"),
        ({"labels": True, "label_share": float("nan")}, "label_share"),
        ({"model": True}, "model"),
        ({"model": True, "labels": True, "embedding_dim": 4}, "embedding_dim"),
        ({"model": "jobs/none", "labels": True}, ""),
        ({"model": "learned nothing", "labels": True}, "model"),
    ],
)
def test_a_training_that_does_not_fit_together_is_refused(server, data, refused, fields, field):
    fields = dict(fields)
    if "labels" in fields:
        fields["labels"] = labelled(server, np.arange(200) % 3).name
    if fields.get("model") is True:
        fields["model"] = server.succeed(train={"dataset": data.name, "embedding_dim": 4, "epochs": 1}).name
    if fields.get("model") == "learned nothing":
        done = server.succeed(pipeline={"dataset": data.name, "steps": ["features"]})
        fields["model"] = done.name
    codes = CODE.INVALID_ARGUMENT if field else CODE.NOT_FOUND
    with refused(codes) as told:
        server.submit(train={"dataset": data.name, **fields})
    if field:
        assert told["metadata"]["field"] == field


@pytest.mark.skipif(gpu(), reason="a CUDA GPU is here")
def test_training_on_a_gpu_that_is_not_there_fails_and_says_so(server, data, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(train={"dataset": data.name, "backend": "tpu"})
    assert told["metadata"]["error"] == "BackendError"
    job = server.wait(server.submit(train={"dataset": data.name, "backend": "gpu", "epochs": 1}))
    assert "sees no CUDA GPU" in job.error.message


def test_the_objectives_of_a_job_are_those_of_the_learner():
    from fastclust.learning.plan import OBJECTIVES
    from fastclust_server.jobs.tasks import train

    assert train._OBJECTIVES == OBJECTIVES


def test_the_pipeline_runs_on_images_with_labels(server):
    """Images in, report out, in the same attempt; labels are only scored against."""
    out, random = io.BytesIO(), np.random.default_rng(0)
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(120):
            picture, pixels = io.BytesIO(), random.integers(0, 60, (8, 8)).astype(np.uint8)
            pixels[:, 2 * (number % 3) : 2 * (number % 3) + 3] += 150
            Image.fromarray(pixels, "L").save(picture, "PNG")
            member = tarfile.TarInfo(f"{number:03}.png")
            member.size = picture.tell()
            picture.seek(0)
            archive.addfile(member, picture)
    images = server.upload_bytes(common_pb2.DATASET_KIND_IMAGES, out.getvalue(), images=dataset_pb2.ImagesSpec())
    truth = np.arange(120) % 3
    labels = labelled(server, truth)
    pipeline = spec_pb2.PipelineSpec(
        dataset=images.name,
        labels=labels.name,
        title="stripes",
        epochs=2,
        perplexity=8.0,
        map_max_iter=260,
        clusters=spec_pb2.ClusterCount(fixed=3),
        random_state=0,
    )
    done = server.succeed(pipeline=pipeline)
    keys = {artifact.key for artifact in done.artifacts}
    assert {"embedding", "labels", "map", "cluster_centers"} <= keys
    assert {"report.html", "map.png", "map.parquet", "quality.json", "insight.json", "run.json"} <= keys
    assert server.read(done, "map").shape == (120, 2)
    assert b"stripes" in server.read(done, "report.html").tobytes()
    assert {"accuracy", "nmi", "recall_at_1"} <= set(done.metrics)
    assert [step.name for step in done.progress.steps][-1] == "report"
    assert all(step.seconds > 0 and not step.reused for step in done.progress.steps)
    again = server.succeed(embed={"dataset": images.name, "model": done.name})
    assert np.allclose(server.read(again, "embedding"), server.read(done, "embedding"), atol=1e-5)
