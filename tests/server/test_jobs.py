import grpc
import numpy as np
import pytest

from fastclust.v1 import artifact_pb2, job_pb2, spec_pb2

CODE = grpc.StatusCode


def kmeans(data, k, **others):
    return spec_pb2.KMeansSpec(dataset=data.name, clusters=spec_pb2.ClusterCount(fixed=k), **others)


@pytest.fixture(scope="module")
def data(server, blobs):
    return server.upload(blobs())


@pytest.fixture(scope="module")
def done(server, data):
    """A finished k-means job."""
    return server.wait(server.submit(kmeans=kmeans(data, 4, random_state=0)))


def test_a_kmeans_job_finds_the_clusters(server, done, blobs):
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.error
    labels, centers = server.read(done, "labels"), server.read(done, "cluster_centers")
    assert labels.dtype == np.int32
    assert labels.shape == (300,)
    assert centers.shape == (4, 8)
    rows = blobs()
    nearest = np.argmin(np.linalg.norm(rows[:, None].astype(float) - centers[None], axis=2), axis=1)
    assert np.array_equal(labels, nearest)
    assert len({frozenset(labels[place::4]) for place in range(4)}) == 4  # one cluster a centre
    inertia = sum(np.sum((rows[labels == k].astype(float) - centers[k]) ** 2) for k in range(4))
    assert done.metrics["inertia"] == pytest.approx(inertia, rel=1e-4)
    assert done.notes["backend"]


def test_a_finished_job_says_when_and_how_far(done):
    assert (done.attempt, done.progress.fraction) == (1, 1.0)
    assert done.create_time.ToNanoseconds() <= done.start_time.ToNanoseconds() <= done.end_time.ToNanoseconds()
    assert {artifact.key for artifact in done.artifacts} == {"labels", "cluster_centers", "kmeans.safetensors"}


def test_rows_of_an_artifact_can_be_read_from_anywhere(server, done):
    labels = server.read(done, "labels")
    assert np.array_equal(server.read(done, "labels", row_offset=10, row_limit=5), labels[10:15])
    assert np.array_equal(server.read(done, "labels", row_offset=290), labels[290:])
    assert len(server.read(done, "labels", row_offset=300)) == 0


def test_rows_beyond_the_end_are_refused(server, done, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.read(done, "labels", row_offset=301)
    assert told["metadata"]["field"] == "row_offset"


def test_a_file_reads_as_its_bytes(server, done):
    assert server.read(done, "kmeans.safetensors").dtype == np.uint8


def test_an_unknown_artifact_is_not_found_and_the_others_are_named(server, done, refused):
    with refused(CODE.NOT_FOUND) as told:
        server.read(done, "lables")
    assert "labels" in told["message"]
    with refused(CODE.NOT_FOUND):
        server.read(done, "../../../fastclust.db")


def test_artifacts_are_listed_in_pages(server, done):
    request = artifact_pb2.ListArtifactsRequest(parent=done.name, page_size=2)
    first = server.artifacts.ListArtifacts(request)
    rest = server.artifacts.ListArtifacts(
        artifact_pb2.ListArtifactsRequest(parent=done.name, page_token=first.next_page_token)
    )
    assert [*first.artifacts, *rest.artifacts] == list(done.artifacts)


def test_more_clusters_than_rows_are_refused_by_name_and_value(server, blobs, refused):
    small = server.upload(blobs(5, 3))
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(kmeans=kmeans(small, 10))
    assert told["metadata"]["error"] == "InputError"
    assert told["metadata"]["field"] == "n_clusters"
    assert told["metadata"]["came"] == "10"
    assert told["metadata"]["allowed"] == "1..5, the number of rows"
    assert told["violations"][0][0] == "n_clusters"
    with refused(CODE.INVALID_ARGUMENT) as told:  # the default is too many as well
        server.submit(kmeans=spec_pb2.KMeansSpec(dataset=small.name))
    assert told["metadata"]["came"] == "8"


def test_rows_of_a_wrong_dtype_are_refused_with_what_to_do(server, refused):
    data = server.upload(np.arange(40, dtype=np.int32).reshape(10, 4))
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(kmeans=kmeans(data, 2))
    assert told["metadata"]["error"] == "InputTypeError"
    assert told["metadata"]["came"] == "dtype int32"
    assert "astype" in told["metadata"]["fix"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"neighbors": {"n_neighbors": 300}}, "n_neighbors"),
        ({"neighbors": {"n_neighbors": 0}}, "n_neighbors"),
        ({"tsne": {"perplexity": [0.0]}}, "perplexity"),
        ({"tsne": {"perplexity": [300.0]}}, "perplexity"),
        ({"tsne": {"perplexity": [float("nan")]}}, "perplexity"),
        ({"tsne": {"learning_rate": -1.0}}, "learning_rate"),
        ({"kmeans": {"tol": float("inf")}}, "tol"),
        ({"kmeans": {"n_init": 0}}, "n_init"),
        ({"pipeline": {"n_neighbors": 300}}, "n_neighbors"),
        ({"pipeline": {"perplexity": 0.5}}, "perplexity"),
        ({"pipeline": {"epochs": 0}}, "epochs"),
        ({"train": {"epochs": 0}}, "epochs"),
    ],
)
def test_parameters_out_of_range_are_refused_before_the_job_exists(server, data, refused, spec, field):
    ((kind, values),) = spec.items()
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(**{kind: {"dataset": data.name, **values}})
    assert told["metadata"]["field"] == field


@pytest.mark.parametrize("kind", ["kmeans", "mahalanobis", "neighbors", "tsne", "train", "pipeline"])
def test_a_job_needs_a_data_set_that_exists(server, refused, kind):
    with refused(CODE.NOT_FOUND):
        server.submit(**{kind: {"dataset": "datasets/" + 32 * "a"}})
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.submit(**{kind: {}})
    assert told["metadata"]["field"] == "dataset"


def test_a_job_without_a_kind_is_refused(server, refused):
    with refused(CODE.INVALID_ARGUMENT):
        server.submit()


def test_limits_beyond_reason_are_refused_by_name(server, data, refused):
    for limits, field in (
        ({"memory_bytes": 1}, "limits.memory_bytes"),
        ({"run_time": {"seconds": -1}}, "limits.run_time"),
    ):
        with refused(CODE.INVALID_ARGUMENT) as told:
            server.submit(kmeans=kmeans(data, 4), limits=limits)
        assert told["metadata"]["field"] == field


def test_a_job_that_runs_longer_than_it_may_fails_and_says_so(server, blobs):
    rows = server.upload(blobs(600, 8))
    spec = {"dataset": rows.name, "max_iter": 10**6, "perplexity": [20.0]}
    done = server.wait(server.submit(tsne=spec, limits={"run_time": {"seconds": 1}}))
    assert (done.state, done.error.reason) == (job_pb2.JOB_STATE_FAILED, "TIME_LIMIT")


def test_a_job_that_takes_more_memory_than_it_may_fails_and_says_so(server):
    data = server.upload(np.random.default_rng(0).random((6000, 4), np.float32))
    spec = {"dataset": data.name, "output": spec_pb2.MAHALANOBIS_OUTPUT_PAIRWISE}  # 144 MB and more
    done = server.wait(server.submit(mahalanobis=spec, limits={"memory_bytes": 64 * 2**20}))
    assert (done.state, done.error.reason) == (job_pb2.JOB_STATE_FAILED, "MEMORY_LIMIT")
    assert server.wait(server.submit(kmeans=kmeans(data, 4))).state == job_pb2.JOB_STATE_SUCCEEDED


def test_a_value_that_only_the_library_knows_fails_the_job_with_the_field(server, data):
    done = server.wait(server.submit(kmeans=kmeans(data, 4, backend="abacus")))
    assert done.state == job_pb2.JOB_STATE_FAILED
    assert done.error.metadata["error"] in {"InputError", "BackendError"}
    assert "abacus" in done.error.message


def test_the_same_request_id_is_one_job(server, data, refused):
    first = server.submit("once", kmeans=kmeans(data, 4))
    assert server.submit("once", kmeans=kmeans(data, 4)).name == first.name
    with refused(CODE.ALREADY_EXISTS) as told:
        server.submit("once", kmeans=kmeans(data, 3))
    assert told["reason"] == "ALREADY_EXISTS"
    server.wait(first)


def listed(server, **filters):
    """All pages: other tests leave jobs on this server too, whichever of them ran before."""
    request = job_pb2.ListJobsRequest(page_size=1000, **filters)
    found = []
    while True:
        page = server.jobs.ListJobs(request)
        found += page.jobs
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def test_jobs_are_listed_newest_first_with_filters(server, done, data):
    newer = server.submit(kmeans=kmeans(data, 2), display_name="two")
    server.wait(newer)
    found = listed(server, kinds=["kmeans"], states=[job_pb2.JOB_STATE_SUCCEEDED])
    names = [job.name for job in found]
    assert names.index(newer.name) < names.index(done.name)
    assert found[names.index(newer.name)].display_name == "two"
    assert {job.spec.WhichOneof("kind") for job in found} == {"kmeans"}
    assert {job.state for job in found} == {job_pb2.JOB_STATE_SUCCEEDED}
    for other in ({"kinds": ["embed"]}, {"kinds": ["kmeans"], "states": [job_pb2.JOB_STATE_QUEUED]}):
        assert not {newer.name, done.name} & {job.name for job in listed(server, **other)}


def test_a_watch_shows_growing_sequences_and_ends_with_the_job(server, data):
    seen = list(server.watch(server.submit(kmeans=kmeans(data, 3))))
    assert [job.sequence for job in seen] == sorted({job.sequence for job in seen})
    assert [job.progress.fraction for job in seen] == sorted(job.progress.fraction for job in seen)
    assert seen[-1].state == job_pb2.JOB_STATE_SUCCEEDED


def test_a_watch_of_an_ended_job_that_was_seen_says_nothing(server, done):
    assert list(server.watch(done, resume=done.sequence)) == []
    assert list(server.watch(done, resume=done.sequence - 1)) == [done]


def test_a_deleted_job_is_gone_with_its_files(server, data, refused, ids):
    job = server.wait(server.submit(kmeans=kmeans(data, 2)))
    folder = server.data / "artifacts" / ids(job.name)
    assert folder.is_dir()
    server.jobs.DeleteJob(job_pb2.DeleteJobRequest(name=job.name))
    assert not folder.exists()
    with refused(CODE.NOT_FOUND):
        server.get(job)


def test_the_server_lives_on_after_all_this(server, data):
    assert server.wait(server.submit(kmeans=kmeans(data, 4))).state == job_pb2.JOB_STATE_SUCCEEDED
    assert not server.events("call_failed")
    assert len(server.events("worker_started")) == 1 + len(server.events("job_broken_off"))
