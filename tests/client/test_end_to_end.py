import asyncio
import time

import numpy as np
import pytest
from PIL import Image

import fastclust as fc
from fastclust import errors, wire
from fastclust.client import AsyncClient, Client, Job
from fastclust.client.asynchronous import AsyncJob
from fastclust.v1 import common_pb2, dataset_pb2


def test_kmeans_is_the_librarys_to_the_last_bit(client, rows):
    job = client.kmeans(client.upload(rows, name="rows"), n_clusters=5, random_state=3)
    result = job.result(timeout=120)
    here = fc.KMeans(5, random_state=3).fit(rows)
    assert np.array_equal(result.labels, here.labels_)
    assert np.array_equal(result.cluster_centers, here.cluster_centers_)
    assert result.inertia == pytest.approx(here.inertia_)
    assert (result.n_iter, type(result.n_iter)) == (here.n_iter_, int)
    assert result.backend == "numba"
    assert (job.state, job.attempt, job.done()) == ("succeeded", 1, True)


def test_neighbours_maps_and_metrics_come_back(client, rows):
    data = client.upload(rows)
    found = client.neighbors(data, n_neighbors=6, index="exact").result(timeout=120)
    graph = fc.knn_graph(rows, 6, index="exact")
    assert np.array_equal(found.indices, graph.indices)
    assert np.array_equal(found.distances, graph.distances)
    points = client.tsne(data, max_iter=60, perplexity=10, random_state=0).result(timeout=120).embedding
    assert points.shape == (400, 2)
    matrix = client.mahalanobis(data).result(timeout=120).mahalanobis_matrix
    np.testing.assert_allclose(matrix, fc.MahalanobisMetric().fit(rows).get_mahalanobis_matrix())


def test_watching_ends_with_the_end_and_never_goes_back(client, rows):
    job = client.tsne(client.upload(rows), max_iter=300, perplexity=10)
    states = list(job.watch(timeout=120))
    assert states[-1].state == "succeeded"
    sequences = [state.sequence for state in states]
    assert sequences == sorted(sequences)
    running = [state.fraction for state in states if state.state == "running"]
    assert running == sorted(running)


def test_a_running_job_is_cancelled(client, rows):
    job = client.tsne(client.upload(rows), max_iter=100_000, perplexity=10)
    for state in job.watch(timeout=60):
        if state.state == "running" and state.fraction > 0:
            break
    started = time.monotonic()
    job.cancel()
    with pytest.raises(errors.JobCancelledError, match=job.name):
        job.result(timeout=60)
    assert time.monotonic() - started < 10  # the target is 2 s


def test_a_job_is_found_again_from_another_connection(client, address, rows):
    job = client.kmeans(client.upload(rows), n_clusters=2)
    with Client(address) as other:
        again = other.job(job.name)
        assert again.result(timeout=120).labels.shape == (400,)
        assert job.name in [state.name for state in other.jobs()]


def test_results_that_are_not_there_are_told_with_those_that_are(client, rows):
    result = client.kmeans(client.upload(rows), n_clusters=2).result(timeout=120)
    with pytest.raises(AttributeError, match=r"no 'embedding'; it has labels, cluster_centers"):
        _ = result.embedding


def test_a_folder_of_images_goes_through_the_pipeline(client, tmp_path):
    digits = fc.open_images("digits")
    for row in range(120):
        path = tmp_path / "images" / str(digits.labels[row]) / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        digits.image(row).save(path)
    data = client.upload(tmp_path / "images")
    job = client.pipeline(data, n_clusters=10, epochs=1, map_max_iter=30, perplexity=5.0, n_neighbors=10)
    paths = job.download(tmp_path / "out", timeout=240)
    names = {path.name for path in paths}
    assert {"report.html", "map.png", "map.parquet", "quality.json", "labels.npy", "embedding.npy", "map.npy"} <= names
    assert Image.open(tmp_path / "out" / "map.png").size[0] > 500
    assert np.load(tmp_path / "out" / "labels.npy").shape == (120,)


def test_training_and_embedding_give_the_same_vectors(client, rows):
    data = client.upload(rows)
    trained = client.train(data, embedding_dim=4, epochs=1, random_state=0)
    embedding = trained.result(timeout=240).embedding
    assert embedding.shape == (400, 4)
    again = client.embed(data, model=trained).result(timeout=120).embedding
    np.testing.assert_allclose(again, embedding, atol=1e-5)


def test_the_asynchronous_client_does_the_same(address, rows):
    async def work():
        async with AsyncClient(address) as client:
            job = await client.kmeans(await client.upload(rows), n_clusters=3, random_state=0)
            states = [state.state async for state in job.watch(timeout=120)]
            return states, (await job.result(timeout=120)).labels

    states, labels = asyncio.run(work())
    assert states[-1] == "succeeded"
    assert np.array_equal(labels, fc.KMeans(3, random_state=0).fit(rows).labels_)


def test_the_asynchronous_client_has_what_the_other_has():
    def public(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    for_handles = {"fetch_job", "cancel_job", "delete_job", "watch_job", "result_of"}
    assert public(Client) - for_handles == public(AsyncClient)
    assert public(Job) == public(AsyncJob)


def test_jobs_are_handed_to_jobs_by_either_client(address, rows):
    async def work():
        async with AsyncClient(address) as client:
            data = await client.upload(rows)
            metric = await client.mahalanobis(data)
            await metric.wait(timeout=120)
            clusters = await client.kmeans(data, n_clusters=3, metric=metric, random_state=0)
            await clusters.wait(timeout=120)
            found = await (await client.choose_k(clusters, ks=[2, 3])).result(timeout=120)
            await clusters.delete()
            return found.k

    assert asyncio.run(work()) in {2, 3}


# Bad input: each is an exception that names field, value and what is allowed, and the server lives on. ----------------


@pytest.mark.parametrize(
    ("bad", "error", "field", "came"),
    [
        (np.array([[1.0, 2.0], [3.0, np.nan]]), errors.InputError, "X", "nan at row 1, column 1"),
        (np.array([[np.inf, 0.0]], np.float32), errors.InputError, "X", "inf at row 0, column 0"),
        (np.array([["a", "b"]]), errors.InputTypeError, "X", "dtype <U1"),
        (np.zeros((2, 2), complex), errors.InputTypeError, "X", "dtype complex128"),
        (np.zeros((0, 64)), errors.InputError, "X", "shape (0, 64)"),
    ],
)
def test_bad_arrays_are_refused_before_a_byte_is_sent(client, bad, error, field, came):
    before = len(client.datasets())
    with pytest.raises(error) as caught:
        client.upload(bad)
    assert (caught.value.field, caught.value.came) == (field, came)
    assert caught.value.allowed
    assert len(client.datasets()) == before


@pytest.mark.parametrize(
    ("params", "field", "came"),
    [
        ({"n_clusters": 401}, "n_clusters", "401"),
        ({"n_clusters": 0}, "n_clusters", "0"),
        ({"n_clusters": "many"}, "n_clusters", "str 'many'"),
        ({"n_clusters": 2, "method": "magic"}, "method", "'magic'"),
        ({"n_clusters": 2, "random_state": -1}, "random_state", "-1"),
    ],
)
def test_bad_parameters_name_the_field(client, rows, params, field, came):
    data = client.upload(rows)
    with pytest.raises((errors.InputError, errors.InputTypeError)) as caught:
        client.kmeans(data, **params)
    assert (caught.value.field, caught.value.came) == (field, came)
    assert caught.value.allowed


def raw_upload(client, data, size, spec):
    """Go around the client's own checks."""
    request = dataset_pb2.CreateUploadRequest(kind=common_pb2.DATASET_KIND_TENSOR, byte_count=size, tensor=spec)
    session = client.call(client._datasets.CreateUpload, request)
    chunk = dataset_pb2.UploadRequest(name=session.name, offset=0, data=data, crc32c=wire.crc32c(data))
    client._datasets.Upload(iter([chunk]))
    checksum = common_pb2.Checksum(crc32c=wire.crc32c(data))
    finish = dataset_pb2.FinishUploadRequest(name=session.name, checksum=checksum)
    return client.call(client._datasets.FinishUpload, finish)


def test_the_server_checks_for_itself(client):
    spec = common_pb2.TensorSpec(dtype=common_pb2.DATA_TYPE_FLOAT32, shape=[2, 2])
    with pytest.raises(errors.InputError, match="nan at row 1, column 0"):
        raw_upload(client, np.array([[0, 0], [np.nan, 0]], "<f4").tobytes(), 16, spec)
    with pytest.raises(errors.InputError, match="12 bytes") as caught:
        raw_upload(client, bytes(12), 16, spec)
    assert caught.value.field == "upload"
    with pytest.raises(errors.InputError, match="byte_count"):
        raw_upload(client, b"", 0, spec)
    job = client.kmeans(client.upload(np.eye(3)), n_clusters=2)
    assert job.result(timeout=120).labels.shape == (3,)


@pytest.mark.parametrize("call", ["job", "delete_dataset"])
def test_unknown_names_are_not_found(client, call):
    name = ("jobs/" if call == "job" else "datasets/") + "0" * 32
    with pytest.raises(errors.NotFoundError, match=name):
        getattr(client, call)(name)


def test_files_that_are_missing_or_broken_are_named(client, tmp_path):
    with pytest.raises(errors.NotFoundError, match="nothing"):
        client.upload(tmp_path / "nothing.npy")
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(errors.DataError, match=r"x\.npy"):
        client.upload(tmp_path / "x.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.InputError, match="no image file"):
        client.upload(tmp_path / "empty")


def test_a_few_rows_are_answered_at_once_by_a_finished_jobs_model(client, address, rows):
    data = client.upload(rows)
    job = client.kmeans(data, n_clusters=5, random_state=3)
    job.wait(timeout=120)
    here = fc.KMeans(5, random_state=3).fit(rows)
    assert np.array_equal(client.assign(job, rows[:7]), here.predict(rows[:7]))
    labels, distances = client.assign(job.name, rows[:7], return_distances=True)
    np.testing.assert_allclose(distances, here.transform(rows[:7])[np.arange(7), labels], rtol=1e-5)
    graph = client.neighbors(data, n_neighbors=4)
    graph.wait(timeout=120)
    far, near = client.search(graph, rows[:3], 2)
    assert np.array_equal(near[:, 0], np.arange(3))
    assert far.shape == (3, 2)
    metric = client.mahalanobis(data)
    metric.wait(timeout=120)
    fitted = fc.MahalanobisMetric().fit(rows)
    np.testing.assert_allclose(
        client.distances(metric, rows[:3], rows[3:5]), fitted.pairwise(rows[:3], rows[3:5]), rtol=1e-4
    )
    assert client.distances(metric, rows[:3]).shape == (3,)
    with pytest.raises(errors.InputError, match="rows"):
        client.assign(job, rows[0])
    with pytest.raises(errors.PreconditionError, match="kmeans"):
        client.assign(graph, rows[:3])

    async def ask():
        async with AsyncClient(address) as other:
            return await other.assign(job.name, rows[:7]), await other.search(graph.name, rows[:3], 2)

    labels, (_, again) = asyncio.run(ask())
    assert np.array_equal(labels, here.predict(rows[:7]))
    assert np.array_equal(again, near)


def test_an_embedding_of_a_few_rows_is_that_of_the_job(client, rows):
    trained = client.train(client.upload(rows), embedding_dim=4, epochs=1, random_state=0)
    embedding = trained.result(timeout=240).embedding
    np.testing.assert_allclose(client.transform(trained, rows[:5]), embedding[:5], atol=1e-5)


def test_a_wait_that_is_too_short_leaves_the_job_running(client, rows):
    job = client.tsne(client.upload(rows), max_iter=100_000, perplexity=10)
    with pytest.raises(errors.WaitTimeoutError, match="goes on"):
        job.result(timeout=0.5)
    assert not job.done()
    job.cancel()
    assert job.wait(timeout=60).state == "cancelled"


def test_no_server_is_told_with_the_address_and_the_way_out():
    with (
        Client("127.0.0.1:1", connect_timeout=0.3) as client,
        pytest.raises(errors.UnavailableError, match="fastclust serve"),
    ):
        client.jobs()


def test_a_run_on_the_server_chooses_its_number_of_clusters(client, tmp_path):
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(160, 5)) + np.repeat(9 * np.eye(5)[:4], 40, axis=0)).astype(np.float32)
    result = client.pipeline(client.upload(rows), n_clusters="auto", steps=["clusters"]).result(timeout=120)
    assert len(result.cluster_centers) == 4
    assert "choice.json" in {path.name for path in result.save(tmp_path)}
