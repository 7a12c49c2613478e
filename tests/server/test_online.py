"""OnlineService over a real channel, against NumPy and the library in this process."""

import io
import os
import signal
import tarfile
import threading
import time
import types
from concurrent.futures import Future

import grpc
import numpy as np
import pytest
from PIL import Image

from fastclust import wire
from fastclust.cluster import KMeans
from fastclust.errors import NotFoundError
from fastclust.neighbors import NeighborIndex
from fastclust.v1 import common_pb2, dataset_pb2, job_pb2, online_pb2
from fastclust_server.online import frames
from fastclust_server.online.answers import METHODS
from fastclust_server.online.frames import Frame, Kind, pack_call
from fastclust_server.online.models import Loaded, Models
from fastclust_server.online.process import Online, _answers

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def rows(blobs):
    return blobs(300, 8)


@pytest.fixture(scope="module")
def data(server, rows):
    return server.upload(rows)


@pytest.fixture(scope="module")
def clusters(server, data):
    return server.succeed(kmeans={"dataset": data.name, "clusters": {"fixed": 4}, "random_state": 0})


@pytest.fixture(scope="module")
def graph(server, data):
    return server.succeed(neighbors={"dataset": data.name, "n_neighbors": 5})


@pytest.fixture(scope="module")
def metric(server, data):
    return server.succeed(mahalanobis={"dataset": data.name})


@pytest.fixture(scope="module")
def trained(server, data):
    return server.succeed(train={"dataset": data.name, "embedding_dim": 8, "epochs": 1, "random_state": 0})


def assign(server, model, rows, **others):
    request = online_pb2.AssignRequest(model=model.name, rows=wire.encode(rows), **others)
    return server.online.Assign(request, timeout=60)


def search(server, model, rows, k=3):
    request = online_pb2.SearchRequest(model=model.name, rows=wire.encode(rows), n_neighbors=k)
    return server.online.Search(request, timeout=60)


def online_process(server):
    return next(one for one in server.processes() if "fastclust_server.online.process" in one.info["cmdline"])


def test_assign_gives_the_nearest_centre_and_the_distance(server, clusters, rows):
    new = rows[::7] + np.float32(0.1)
    found = assign(server, clusters, new, return_distances=True)
    centers = server.read(clusters, "cluster_centers").astype(float)
    far = np.linalg.norm(new[:, None].astype(float) - centers[None], axis=2)
    labels = wire.decode(found.labels)
    assert labels.dtype == np.int32
    assert np.array_equal(labels, far.argmin(axis=1))
    assert np.allclose(wire.decode(found.distances), far.min(axis=1), rtol=1e-4, atol=1e-3)
    assert not assign(server, clusters, new).HasField("distances")


def test_search_gives_the_nearest_rows(server, graph, rows):
    new = rows[:9] + np.float32(0.05)
    found = search(server, graph, new, 4)
    far = np.linalg.norm(new[:, None].astype(float) - rows[None], axis=2)
    indices = wire.decode(found.indices)
    assert indices.dtype == np.int64
    assert np.allclose(np.take_along_axis(far, indices, 1), np.sort(far, axis=1)[:, :4], rtol=1e-4)
    assert np.allclose(wire.decode(found.distances), np.sort(far, axis=1)[:, :4], rtol=1e-4, atol=1e-3)


def test_embed_is_what_the_job_left(server, trained, rows):
    request = online_pb2.EmbedRequest(model=trained.name, rows=wire.encode(rows[:20]))
    found = wire.decode(server.online.Embed(request, timeout=60).embedding)
    assert np.allclose(found, server.read(trained, "embedding")[:20], atol=1e-5)


def test_mahalanobis_is_the_distance_to_the_mean_or_to_others(server, metric, rows):
    precision = server.read(metric, "mahalanobis_matrix").astype(float)
    gap = rows[:15].astype(float) - rows.mean(axis=0, dtype=float)
    request = online_pb2.MahalanobisRequest(model=metric.name, rows=wire.encode(rows[:15]), squared=True)
    found = wire.decode(server.online.Mahalanobis(request, timeout=60).distances)
    assert np.allclose(found, np.einsum("ij,jk,ik->i", gap, precision, gap), rtol=1e-3)
    request = online_pb2.MahalanobisRequest(
        model=metric.name, rows=wire.encode(rows[:5]), others=wire.encode(rows[5:9])
    )
    gap = rows[:5, None].astype(float) - rows[None, 5:9]
    expected = np.sqrt(np.einsum("ijk,kl,ijl->ij", gap, precision, gap))
    assert np.allclose(wire.decode(server.online.Mahalanobis(request, timeout=60).distances), expected, rtol=1e-3)


def test_images_are_embedded_as_the_pipeline_saw_them(server):
    random, out, files = np.random.default_rng(0), io.BytesIO(), []
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(40):
            picture = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (8, 8)).astype(np.uint8), "L").save(picture, "PNG")
            files.append(picture.getvalue())
            member = tarfile.TarInfo(f"{number:02}.png")
            member.size = len(files[-1])
            archive.addfile(member, io.BytesIO(files[-1]))
    images = server.upload_bytes(common_pb2.DATASET_KIND_IMAGES, out.getvalue(), images=dataset_pb2.ImagesSpec())
    done = server.succeed(train={"dataset": images.name, "embedding_dim": 4, "epochs": 1, "random_state": 0})
    request = online_pb2.EmbedRequest(model=done.name, images=online_pb2.EncodedImages(files=files[:10]))
    found = wire.decode(server.online.Embed(request, timeout=60).embedding)
    assert np.allclose(found, server.read(done, "embedding")[:10], atol=1e-5)
    bad = online_pb2.EncodedImages(files=[files[0], b"no image"])
    with pytest.raises(grpc.RpcError) as caught:
        server.online.Embed(online_pb2.EmbedRequest(model=done.name, images=bad), timeout=60)
    assert caught.value.code() is CODE.INVALID_ARGUMENT
    assert "file 1" in caught.value.details()


def test_calls_of_many_callers_are_answered_in_fewer_batches_each_with_its_own(server, clusters, rows):
    centers = server.read(clusters, "cluster_centers").astype(float)
    wrong = []

    def ask(seed):
        new = rows[seed : seed + 3]
        for _ in range(10):
            labels = wire.decode(assign(server, clusters, new).labels)
            expected = np.linalg.norm(new[:, None].astype(float) - centers[None], axis=2).argmin(axis=1)
            if not np.array_equal(labels, expected):
                wrong.append(seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (np.zeros((2, 7), np.float32), "rows"),
        (np.zeros((0, 8), np.float32), "rows"),
        (np.zeros(8, np.float32), "rows"),
        (np.zeros((2, 8), np.int32), "rows"),
        (np.full((2, 8), np.nan, np.float32), "rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name(server, clusters, refused, bad, field):
    with refused(CODE.INVALID_ARGUMENT) as told:
        assign(server, clusters, bad)
    assert told["metadata"]["field"] == field
    assert told["metadata"]["allowed"]


@pytest.mark.parametrize("method", ["Assign", "Search"])
def test_a_row_without_a_direction_fails_its_own_call_alone(method, rows):
    """Calls of several callers in one batch of a cosine model."""
    if method == "Assign":
        model, request = KMeans(4, metric="cosine", random_state=0).fit(rows), online_pb2.AssignRequest
    else:
        model, request = NeighborIndex("cosine").fit(rows), online_pb2.SearchRequest
    loaded = Loaded(types.SimpleNamespace(id=32 * "a", owner="local"), model, 8, 4, 0)
    ready, told = Future(), {}
    ready.set_result(loaded)
    link = types.SimpleNamespace(send=lambda *frames: told.update({one.number: one for one in frames}))
    online = Online(link, types.SimpleNamespace(get=lambda *_: ready), 0.0)
    zero = rows[:3].copy()
    zero[1] = 0
    for number, asked in enumerate((rows[:2], zero, rows[2:6]), 1):
        data = request(model="jobs/" + 32 * "a", rows=wire.encode(asked)).SerializeToString()
        online._read(Frame(Kind.CALL, number, pack_call(frames.METHODS.index(method), "local", 9.0, data)))
    online._answer_batch(online._batcher.take())
    assert [told[number].kind for number in (1, 2, 3)] == [Kind.REPLY, Kind.REFUSAL, Kind.REPLY]
    assert b"a row of zeros at 1" in told[2].payload


def test_what_no_check_foresaw_fails_its_own_call_alone(rows):
    class Fragile:
        metric = "euclidean"

        def predict_checked(self, rows):
            if (rows > 1e6).any():
                raise FloatingPointError("too large")
            return np.zeros(len(rows), np.int32)

    loaded = Loaded(None, Fragile(), 8, 4, 0)
    large = online_pb2.AssignRequest(rows=wire.encode(rows * np.float32(1e9)))
    small = online_pb2.AssignRequest(rows=wire.encode(rows))
    asked = [METHODS["Assign"].check(one, loaded) for one in (small, large, small)]
    found = _answers("Assign", asked, loaded)
    assert [type(one) for one in found] == [online_pb2.AssignResponse, FloatingPointError, online_pb2.AssignResponse]


def test_bytes_that_are_no_request_are_refused(server, refused):
    call = server.channel.unary_unary("/fastclust.v1.OnlineService/Assign")
    with refused(CODE.INVALID_ARGUMENT):
        call(b"\xff\xff\xff no message", timeout=60)


def test_too_many_neighbours_are_refused(server, graph, rows, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        search(server, graph, rows[:2], 301)
    assert told["metadata"]["allowed"].startswith("1..300")


def test_a_job_of_another_kind_and_one_that_is_not_there_are_refused(server, clusters, graph, rows, refused):
    with refused(CODE.FAILED_PRECONDITION) as told:
        assign(server, graph, rows[:2])
    assert "kmeans or pipeline" in told["message"]
    with refused(CODE.NOT_FOUND):
        assign(server, job_pb2.Job(name="jobs/" + 32 * "0"), rows[:2])
    with refused(CODE.INVALID_ARGUMENT):
        assign(server, job_pb2.Job(name="../x"), rows[:2])


def test_a_message_over_the_cap_is_refused(server, clusters):
    with pytest.raises(grpc.RpcError) as caught:
        assign(server, clusters, np.zeros((2**19, 9), np.float32))
    assert caught.value.code() is CODE.RESOURCE_EXHAUSTED


def test_a_deleted_job_answers_no_more(server, data, rows, refused):
    done = server.succeed(kmeans={"dataset": data.name, "clusters": {"fixed": 2}})
    assign(server, done, rows[:2])
    server.jobs.DeleteJob(job_pb2.DeleteJobRequest(name=done.name))
    with refused(CODE.NOT_FOUND):
        assign(server, done, rows[:2])


def test_an_online_process_that_dies_is_started_again(server, clusters, rows):
    assign(server, clusters, rows[:2])
    process = online_process(server)
    process.kill()
    until = time.monotonic() + 60
    while True:
        try:
            assert assign(server, clusters, rows[:2]).labels.spec.shape == [2]
            break
        except grpc.RpcError as error:
            if error.code() is not CODE.UNAVAILABLE:
                raise
            assert time.monotonic() < until
            time.sleep(0.1)
    assert online_process(server).pid != process.pid


def test_a_caller_that_gives_up_or_runs_out_of_time_leaves_nothing_behind(server, clusters, rows):
    assign(server, clusters, rows[:2])
    process = online_process(server)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        request = online_pb2.AssignRequest(model=clusters.name, rows=wire.encode(rows[:2]))
        calls = [server.online.Assign.future(request, timeout=60) for _ in range(5)]
        time.sleep(0.3)
        for call in calls:
            call.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            server.online.Assign(request, timeout=0.3)
        assert caught.value.code() is CODE.DEADLINE_EXCEEDED
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert assign(server, clusters, rows[:2]).labels.spec.shape == [2]


@pytest.mark.alone
def test_a_full_queue_refuses_and_says_when_to_come_back(new_server, blobs, refused):
    server = new_server("--online-bytes", "2000").start()
    rows = blobs(50, 8)
    data = server.upload(rows)
    done = server.succeed(kmeans={"dataset": data.name, "clusters": {"fixed": 2}})
    assign(server, done, rows[:2])
    process = online_process(server)
    process.suspend()
    request = online_pb2.AssignRequest(model=done.name, rows=wire.encode(rows))
    waiting = server.online.Assign.future(request, timeout=60)
    time.sleep(0.3)  # it is with the process now
    try:
        with refused(CODE.RESOURCE_EXHAUSTED) as told:
            server.online.Assign(request, timeout=10)
    finally:
        process.resume()
    assert told["retry"] > 0
    assert waiting.result().labels.spec.shape == [50]


@pytest.mark.alone
def test_a_job_does_not_keep_online_calls_waiting(server, clusters, rows, blobs):
    assign(server, clusters, rows[:2])
    data = server.upload(blobs(600, 8))
    job = server.submit(tsne={"dataset": data.name, "max_iter": 100_000, "perplexity": [20.0]})
    server.wait_until(job, lambda now: now.state == job_pb2.JOB_STATE_RUNNING and now.progress.fraction > 0)
    begun = time.monotonic()
    for _ in range(20):
        assign(server, clusters, rows[:2])
    assert (time.monotonic() - begun) / 20 < 0.5
    assert server.get(job).state == job_pb2.JOB_STATE_RUNNING
    server.cancel(job)
    server.wait(job)


def test_the_online_process_goes_with_a_server_that_is_killed(new_server, blobs, nothing_left):
    server = new_server().start()
    rows = blobs(20, 3)
    data = server.upload(rows)
    done = server.succeed(kmeans={"dataset": data.name, "clusters": {"fixed": 2}})
    assign(server, done, rows)
    assert online_process(server).is_running()
    server.kill()
    nothing_left(server)


def test_the_least_recently_used_model_is_forgotten(tmp_path):
    models = Models(None, None, None, 250)
    loads = []

    def load(record, method):
        loads.append(record)
        return Loaded(record, None, 0, 0, 100)

    models._find = lambda owner, job, _method: type("Record", (), {"owner": owner, "id": job})
    models._load = load
    for job in ("a", "b", "a", "c"):
        models.get("ann", job, "Assign").result(5)
    until = time.monotonic() + 5
    while len(models._kept) > 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert [key[0] for key in models._kept] == ["a", "c"]
    assert len(loads) == 3


def test_a_model_is_its_owners_alone_whether_it_is_loaded_or_on_its_way():
    models, hold = Models(None, None, None, 250), threading.Event()

    def load(record, _method):
        hold.wait(10)
        return Loaded(record, None, 0, 0, 100)

    models._find = lambda owner, job, _method: type("Record", (), {"owner": owner, "id": job})
    models._load = load
    mine, theirs = models.get("ann", "a", "Assign"), models.get("bob", "a", "Assign")
    hold.set()
    assert mine.result(5).record.owner == "ann"
    for future in (theirs, models.get("bob", "a", "Assign")):
        with pytest.raises(NotFoundError):
            future.result(5)
    assert models.get("ann", "a", "Assign").result(5) is mine.result()
