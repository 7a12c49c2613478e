"""Estimators, training and a server on a real Ray cluster of two local nodes, which starts once; nodes are lost."""

import itertools
import json
import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
import ray
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from typer.testing import CliRunner

import fastclust as fc
from bench.local_cluster import own_workers, watched_workers
from fastclust import distributed, progress
from fastclust.cli.main import app
from fastclust.cluster.chunks import CHUNK
from fastclust.errors import InputError, OperationCancelledError, PreconditionError, UnavailableError
from tests.distributed.conftest import D, N

K = 20


def same(one, other):
    assert np.array_equal(one.cluster_centers_, other.cluster_centers_)
    assert np.array_equal(one.labels_, other.labels_)
    assert (one.inertia_, one.n_iter_) == (other.inertia_, other.n_iter_)


def test_two_nodes_give_the_bits_of_the_same_stretches_in_one_process(cluster, files, rows, capfd):
    params = {"n_clusters": K, "init": rows[:K], "n_init": 1, "max_iter": 15, "tol": 0, "n_workers": 3, "threads": 1}
    there = distributed.KMeans(**params).fit(fc.open_rows(files))
    assert "object store" not in capfd.readouterr().err
    same(there, distributed.KMeans(**params, address="here").fit(fc.open_rows(files)))
    assert there.n_workers_ == 3
    whole = fc.KMeans(K, init=rows[:K], n_init=1, max_iter=15, tol=0).fit(rows)
    assert there.inertia_ == pytest.approx(whole.inertia_, rel=1e-6)
    assert there.n_iter_ == whole.n_iter_


def test_a_fit_that_was_stopped_goes_on_from_its_checkpoint_to_the_same_bits(files, rows, tmp_path, monkeypatch):
    """The driver is what may go: workers begin anew from the centres that it kept."""
    params = {"n_clusters": K, "init": rows[:K], "n_init": 1, "max_iter": 8, "tol": 0, "random_state": 0}
    on = {"n_workers": 3, "threads": 1, "address": "here"}
    seen = []

    def stop(told):
        seen.extend([told.message] if told.step == "kmeans" else [])
        if len(seen) == 3 and told.step == "pass":
            raise OperationCancelledError("stopped")

    with progress.listening(stop), pytest.raises(OperationCancelledError):
        distributed.KMeans(**params, **on).fit(files, checkpoint=tmp_path)
    with progress.listening(lambda told: seen.extend([told.message] if told.step == "kmeans" else [])):
        model = distributed.KMeans(**params, **on).fit(files, checkpoint=tmp_path)
    assert len(seen) == model.n_iter_
    same(model, distributed.KMeans(**params, **on).fit(files))
    # What counts is how many there are, not how that was asked for.
    monkeypatch.setattr("fastclust.distributed.kmeans.nodes", lambda _: 3)
    same(model, distributed.KMeans(**params, **on | {"n_workers": "auto"}).fit(files, checkpoint=tmp_path))
    monkeypatch.setattr("fastclust.distributed.kmeans.nodes", lambda _: 2)
    with pytest.raises(PreconditionError, match="n_workers"):
        distributed.KMeans(**params, **on | {"n_workers": "auto"}).fit(files, checkpoint=tmp_path)


def test_a_data_set_of_several_times_a_workers_memory_is_clustered_to_the_same_bits(cluster, files, rows):
    params = {"n_clusters": K, "init": rows[:K], "n_init": 1, "max_iter": 6, "n_workers": 2, "threads": 1}
    assert rows.nbytes > 4 * 200_000
    little = distributed.KMeans(**params, memory="200kB").fit(fc.open_rows(files))
    same(little, distributed.KMeans(**params, memory="1GB", address="here").fit(fc.open_rows(files)))


def test_weights_metrics_starts_and_clusters_without_rows(cluster, files, rows):
    weights = np.random.default_rng(0).random(N) * (np.arange(N) % 5 > 0)
    far = np.vstack([rows[:5], np.full((3, D), 1e4, np.float32)])
    metric = fc.MahalanobisMetric().fit(rows)
    of_a_metric, of_none = {"metric": metric, "init": metric.transform(rows[:8])}, {"init": far, "max_iter": 4}
    # What workers of the cluster do, those in this process do; processes of their own start for seconds.
    for more, address in ((of_a_metric, None), (of_none, "here")):
        params = {"n_clusters": 8, "n_init": 1, "max_iter": 8, **more}
        model = distributed.KMeans(**params, n_workers=2, threads=1, address=address)
        there = model.fit(files, sample_weight=weights)
        whole = fc.KMeans(**params).fit(rows, sample_weight=weights)
        assert there.inertia_ == pytest.approx(whole.inertia_, rel=1e-6)
        np.testing.assert_allclose(there.cluster_centers_, whole.cluster_centers_, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("init", ["auto", "k-means||", "random"])
def test_starts_are_as_good_as_those_of_rows_in_memory(files, rows, init):
    params = {"n_clusters": K, "n_init": 1, "random_state": 0}
    model = distributed.KMeans(**params, init=init, n_workers=2, address="here").fit(files)
    assert model.init_.startswith(init if init != "auto" else "k-means")
    assert model.inertia_ <= 1.25 * fc.KMeans(**params).fit(rows).inertia_


def test_errors_of_workers_are_ours(cluster, rows, tmp_path):
    bad = rows.copy()
    bad[33_000, 2] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(InputError, match="nan"):
        distributed.KMeans(3, n_workers=2, threads=1, init=rows[:3]).fit(tmp_path / "bad.npy")
    with pytest.raises(InputError, match="tol"):
        distributed.KMeans(3, tol=-1).fit(rows)
    with pytest.raises(InputError, match="n_workers"):
        distributed.KMeans(3, n_workers=0).fit(rows)


def test_labels_embeddings_and_neighbours_of_all_rows_are_written_by_workers(cluster, files, rows, tmp_path):
    model = fc.KMeans(K, random_state=0, max_iter=3).fit(rows)
    distributed.predict_to(model, files, tmp_path / "labels", n_workers=2, threads=1)
    table = pd.read_parquet(tmp_path / "labels")
    assert np.array_equal(table["row"], np.arange(N))
    assert np.array_equal(table["label"], model.labels_)
    components = fc.PCA(2).fit(rows)
    made = distributed.transform_to(components, files, tmp_path / "scores", n_workers=2, threads=1)
    assert len(made) == 3
    made[1].unlink()
    distributed.transform_to(components, files, tmp_path / "scores", n_workers=1, threads=1)
    scores = np.stack(pd.read_parquet(tmp_path / "scores")["scores"])
    np.testing.assert_allclose(scores, components.transform(rows), atol=1e-4)
    with pytest.raises(PreconditionError):
        distributed.transform_to(fc.PCA(2).fit(rows[:99]), files, tmp_path / "scores", n_workers=2)
    few = rows[: 3 * CHUNK]
    np.save(tmp_path / "few.npy", few)
    distributed.kneighbors_to(tmp_path / "few.npy", tmp_path / "graph", 5, n_workers=2, threads=1)
    graph = pd.read_parquet(tmp_path / "graph")
    sample = np.arange(0, len(few), 101)
    wanted = cdist(few[sample].astype(np.float64), few.astype(np.float64))
    wanted[np.arange(len(sample)), sample] = np.inf
    np.testing.assert_allclose(np.stack(graph["distances"])[sample], np.sort(wanted, axis=1)[:, :5], rtol=1e-5)


def test_the_command_line_clusters_on_the_cluster(cluster, files, rows, tmp_path):
    command = ["kmeans", str(files), "-o", str(tmp_path), "-k", "7", "--max-iter", "5", "--json"]
    done = CliRunner().invoke(app, [*command, "--engine", "ray", "--workers", "2", "--memory", "1GB"])
    assert done.exit_code == 0, done.output
    model = distributed.KMeans(7, max_iter=5, random_state=0, n_workers=2, address="here").fit(fc.open_rows(files))
    table = pd.read_parquet(tmp_path / "labels")
    assert np.array_equal(table["label"], model.labels_)
    assert json.loads(done.stdout)["inertia"] == model.inertia_
    for wrong in (["--engine", "spark"], ["--workers", "2"], ["--engine", "ray", "--server", "x:1"]):
        with pytest.raises(InputError, match="engine"):
            CliRunner().invoke(app, [*command, *wrong], catch_exceptions=False)


def test_an_address_where_nobody_is_says_so(cluster, rows, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UnavailableError, match="nobody"):
        distributed.KMeans(3, address="nobody:1").fit(rows)


LEARN = {"embedding_dim": 8, "teacher_dim": 16, "batch_size": 20, "encoder": "linear", "epochs": 1, "random_state": 0}


def test_a_servers_training_by_ray_train_is_what_one_process_learns_that_takes_as_many_batches(ray_server, digits):
    data = ray_server.upload(digits.astype(np.float32))
    asked = {name: LEARN[name] for name in ("embedding_dim", "batch_size", "encoder", "epochs", "random_state")}
    # Four processes import torch and Ray Train for it.
    done = ray_server.wait(ray_server.submit(train={"dataset": data.name, **asked}), timeout=280)
    assert done.notes["engine"] == "ray", done.error
    found = ray_server.read(done, "embedding")
    here = fc.SelfTaughtLearner(**asked, accumulate=2).fit(digits).transform(digits)
    np.testing.assert_allclose(found, here, atol=2e-5)
    assert np.abs(found - fc.SelfTaughtLearner(**asked).fit(digits).transform(digits)).max() > 1e-3


@pytest.mark.full
def test_other_jobs_of_a_server_run_on_the_cluster_too(ray_server, rows, files, digits):
    data = ray_server.upload(rows)
    spec = {"dataset": data.name, "clusters": {"fixed": K}, "max_iter": 5, "random_state": 0}
    done = ray_server.succeed(kmeans=spec)
    model = distributed.KMeans(K, max_iter=5, random_state=0, n_workers=2, address="here").fit(fc.open_rows(files))
    assert np.array_equal(ray_server.read(done, "labels"), model.labels_)
    assert np.array_equal(ray_server.read(done, "cluster_centers"), model.cluster_centers_)
    few = ray_server.upload(rows[:9000])
    near = ray_server.succeed(neighbors={"dataset": few.name, "n_neighbors": 4, "index": "exact"})
    assert np.array_equal(ray_server.read(near, "indices"), fc.knn_graph(rows[:9000], 4, index="exact").indices)
    images = ray_server.upload(digits.astype(np.float32))
    learned = ray_server.succeed(train={"dataset": images.name, "embedding_dim": 4, "epochs": 1})
    embedded = ray_server.succeed(embed={"dataset": images.name, "model": learned.name})
    np.testing.assert_allclose(ray_server.read(embedded, "embedding"), ray_server.read(learned, "embedding"), atol=1e-5)
    assert {job.notes["engine"] for job in (done, near, learned, embedded)} == {"ray"}
    other = ray_server.succeed(neighbors={"dataset": few.name, "n_neighbors": 4})
    assert other.notes["engine"] == "local"


@pytest.mark.full
def test_ray_train_tells_figures_and_tunes(cluster, digits):
    figures = []
    log = lambda *figure: figures.append(figure)  # noqa: E731 - a short name
    on = {"n_workers": 2, "threads": 1}
    there = distributed.train(fc.SelfTaughtLearner(**LEARN), digits, log=log, **on)
    here = fc.SelfTaughtLearner(**LEARN, accumulate=2).fit(digits)
    assert (there.n_workers_, there.n_repeated_, there.get_params()) == (
        2,
        0,
        fc.SelfTaughtLearner(**LEARN).get_params(),
    )
    losses = [(step, value) for name, value, step in figures if name == "loss"]
    assert [step for step, _ in losses] == list(range(1, len(losses) + 1))
    known = np.where(np.arange(len(digits)) % 2, load_digits().target[: len(digits)], -1)
    tuned = distributed.fine_tune(there, digits, known, epochs=1, **on).transform(digits)
    np.testing.assert_allclose(tuned, here.fine_tune(digits, known, epochs=1).transform(digits), atol=2e-4)


@pytest.mark.full
def test_a_worker_holds_the_memory_allowed_with_rows_of_four_times_that(cluster, tmp_path):
    """256 MB of rows, 128 MB a worker, in 32 MB each: as anonymous memory above what a worker with few rows has."""
    many = np.random.default_rng(0).normal(size=(1_000_000, 64)).astype(np.float32)
    np.save(tmp_path / "many.npy", many)
    np.save(tmp_path / "few.npy", many[:8192])
    params = {"n_clusters": K, "init": many[:K], "n_init": 1, "max_iter": 4, "n_workers": 2, "threads": 1}
    with watched_workers("Shard") as few:
        distributed.KMeans(**params, memory="32MB").fit(tmp_path / "few.npy")
    with watched_workers("Shard") as held:
        model = distributed.KMeans(**params, memory="32MB").fit(tmp_path / "many.npy")
    print(f"a worker took {(held[0] - few[1]) / 1e6:.1f} MB more, of 32 allowed")
    assert few[1] > 0
    # Its labels come on top.
    assert held[0] - few[1] < 32 * 10**6 + 2 * 4 * len(many)
    same(model, distributed.KMeans(**params, address="here").fit(tmp_path / "many.npy"))


@pytest.mark.full
def test_errors_and_stops_of_a_training_on_the_cluster_are_ours(cluster, digits):
    learner = fc.SelfTaughtLearner("linear", objective="manifold_triplet", epochs=1)
    with pytest.raises(PreconditionError, match="mining found no anchor"):
        distributed.train(learner, np.eye(6), n_workers=2, threads=1)

    def stop(told):
        if "loss" in told.message:
            raise OperationCancelledError("enough")

    long = fc.SelfTaughtLearner(**LEARN | {"epochs": 10_000})
    with progress.listening(stop), pytest.raises(OperationCancelledError, match="enough"):
        distributed.train(long, digits, n_workers=2, threads=1)
    end = time.monotonic() + 10
    while own_workers("RayTrainWorker"):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not hasattr(long, "encoder_")


@pytest.mark.full
def test_a_training_that_loses_a_worker_goes_on_from_its_checkpoint_to_the_same_bits(cluster, digits, tmp_path):
    options = LEARN | {"epochs": 200}
    killed, epochs = [], []

    def kill(told):
        epochs.extend([int(told.message.split(" ")[1])] if told.message.startswith("epoch ") else [])
        if epochs and epochs[-1] > 60 and not killed:
            killed.extend(own_workers("RayTrainWorker"))
            os.kill(killed[-1], signal.SIGKILL)

    on = {"n_workers": 2, "threads": 1}
    with progress.listening(kill):
        learner = distributed.train(fc.SelfTaughtLearner(**options), digits, checkpoint=tmp_path, **on)
    assert len(killed) == 2
    assert learner.n_repeated_ == 1
    # It did not begin with the first epoch again.
    assert all(after >= before - 5 for before, after in itertools.pairwise(epochs))
    whole = distributed.train(fc.SelfTaughtLearner(**options), digits, **on)
    assert np.array_equal(learner.transform(digits), whole.transform(digits))
    with pytest.raises(PreconditionError, match="processes"):
        fc.SelfTaughtLearner(**options).fit(digits, checkpoint=tmp_path)


@pytest.mark.full
def test_a_node_that_is_killed_in_mid_iteration_costs_at_most_one_iteration(cluster, files, rows):
    node = cluster.add_node(num_cpus=4, object_store_memory=10**8)
    params = {"n_clusters": K, "init": rows[:K], "n_init": 1, "max_iter": 12, "tol": 0, "n_workers": 6, "threads": 1}
    seen, killed = [], []

    def listen(told):
        seen.append((told.step, told.message, time.monotonic()))
        if told.step == "pass" and not killed and any("iteration 4" in message for _, message, _ in seen):
            killed.append(time.monotonic())
            threading.Thread(target=cluster.remove_node, args=(node, False)).start()

    with progress.listening(listen):
        model = distributed.KMeans(**params).fit(fc.open_rows(files))
    took = time.monotonic() - killed[0]
    print(f"finished {took:.1f} s after the node was killed; {model.n_repeated_} calls were made again")
    same(model, distributed.KMeans(**params, address="here").fit(fc.open_rows(files)))
    assert model.n_repeated_ >= 1
    assert took < 60
    # Each iteration was told once, in order: none but the one under way was done again.
    iterations = [int(message.rsplit(" ", 1)[1]) for step, message, _ in seen if step == "kmeans"]
    assert iterations == list(range(1, model.n_iter_ + 1))
