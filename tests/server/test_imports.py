"""ImportDataset: what may be read, and nothing else."""

import contextlib
import http.server
import io
import os
import socket
import threading

import grpc
import h5py
import numpy as np
import pytest
from PIL import Image

import fastclust as fc
from fastclust import errors
from fastclust.v1 import common_pb2, dataset_pb2, job_pb2, spec_pb2
from fastclust_server.config import Settings
from fastclust_server.database import Database
from fastclust_server.jobs.records import NewJob
from fastclust_server.jobs.store import JobStore
from fastclust_server.jobs.tasks import importing as importing_task
from fastclust_server.jobs.worker import Worker
from fastclust_server.storage.catalog import Catalog
from fastclust_server.storage.folder import DataFolder
from fastclust_server.storage.places import check_uri, open_uri

CODE = grpc.StatusCode
TENSOR, IMAGES = common_pb2.DATASET_KIND_TENSOR, common_pb2.DATASET_KIND_IMAGES


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def importing(server_class, tmp_path_factory, root):
    made = server_class(tmp_path_factory.mktemp("importing") / "data", "--import-roots", str(root)).start()
    yield made
    assert made.stop() == 0


def bring(server, uri, kind=TENSOR, **others):
    request = dataset_pb2.ImportDatasetRequest(uri=uri, kind=kind, **others)
    return server.wait(server.datasets.ImportDataset(request))


def test_a_file_below_a_root_becomes_a_data_set(importing, root, blobs):
    rows = blobs(100, 4)
    np.save(root / "rows.npy", rows)
    done = bring(importing, f"file://{root}/rows.npy", display_name="mine")
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.error
    data = importing.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=done.dataset))
    assert (data.row_count, data.display_name, list(data.tensor.shape)) == (100, "mine", [100, 4])
    stored = np.load(importing.data / "datasets" / f"{data.name.split('/')[1]}.npy")
    assert np.array_equal(stored, rows)
    (root / "rows.npy").unlink()  # the data set stands for itself
    spec = {"dataset": data.name, "clusters": {"fixed": 2}}
    assert importing.wait(importing.submit(kmeans=spec)).state == job_pb2.JOB_STATE_SUCCEEDED


def test_rows_of_other_formats_are_read(importing, root):
    rows = np.random.default_rng(0).random((50, 3), np.float32)
    with (root / "rows.fbin").open("wb") as file:
        file.write(np.array(rows.shape, "<i4").tobytes() + rows.tobytes())
    assert bring(importing, f"file://{root}/rows.fbin").state == job_pb2.JOB_STATE_SUCCEEDED


def test_labels_are_imported(importing, root):
    (root / "labels.csv").write_text("id,label\n0,cat\n1,dog\n")
    done = bring(importing, f"file://{root}/labels.csv", common_pb2.DATASET_KIND_LABELS)
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.error


def parquet_of(path, images, **columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": pa.array(images, pa.binary()), **columns}), path)


def test_images_in_parquet_are_imported_with_their_labels(importing, root):
    images = []
    for level in (10, 20, 30):
        buffer = io.BytesIO()
        Image.new("L", (4, 4), level).save(buffer, "PNG")
        images.append(buffer.getvalue())
    parquet_of(root / "x.parquet", [*images, b"junk", None], label=list("abaab"), id=list("vwxyz"))
    done = bring(importing, f"file://{root}/x.parquet", IMAGES)
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.error
    data = importing.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=done.dataset))
    assert data.row_count == 3
    stored = importing.data / "datasets" / f"{data.name.split('/')[1]}.tar"
    with pytest.warns(UserWarning, match="left out 2"):
        found = fc.open_images(stored)
    assert found.ids == ["a/v.png", "b/w.png", "a/x.png"]
    assert found.read()[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert found.labels.tolist() == [0, 1, 0]


def test_parquet_without_images_fails_the_import(importing, root):
    parquet_of(root / "none.parquet", [b"junk"])
    (root / "torn.parquet").write_bytes(b"PAR1 and no more")
    for name, word in (("none", "no readable image"), ("torn", "Parquet")):
        done = bring(importing, f"file://{root}/{name}.parquet", IMAGES)
        assert (done.state, done.error.metadata["error"]) == (job_pb2.JOB_STATE_FAILED, "DataError")
        assert word in done.error.message
        assert str(root.parent) not in done.error.message


def test_compressed_images_that_become_too_many_bytes_fail_the_import(tmp_path):
    parquet_of(tmp_path / "bomb.parquet", [bytes(10**6)] * 9)
    assert (tmp_path / "bomb.parquet").stat().st_size < 10**6
    with pytest.raises(errors.OverloadedError, match="2000000 bytes"):
        importing_task._packed(tmp_path / "bomb.parquet", 2_000_000)
    assert (tmp_path / "bomb.tar").stat().st_size < 3_000_000


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296,), }", "payload"),
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "dtype"),
        (b"no numpy", "not a .npy"),
    ],
)
def test_a_header_that_lies_fails_the_job_before_numpy_sees_it(importing, root, content, word):
    """80 bytes that ask for 32 GiB."""
    head = b"" if content == b"no numpy" else b"\x93NUMPY\x01\x00\x76\x00"
    (root / "lie.npy").write_bytes(head + content.ljust(117) + b"\n")
    done = bring(importing, f"file://{root}/lie.npy")
    assert (done.state, done.error.metadata["error"]) == (job_pb2.JOB_STATE_FAILED, "DataError")
    assert word in done.error.message


def test_numbers_that_are_not_finite_fail_the_job(importing, root):
    np.save(root / "nan.npy", np.array([[1.0, np.nan]]))
    done = bring(importing, f"file://{root}/nan.npy")
    assert done.state == job_pb2.JOB_STATE_FAILED
    assert "row 0, column 1" in done.error.message
    assert not list((importing.data / "work").iterdir())


@pytest.mark.parametrize("place", ["/etc/passwd", "ROOT/../outside.npy", "ROOT/link.npy", "ROOT/folder/secret.npy"])
def test_files_outside_the_roots_are_never_read(importing, root, tmp_path, place):
    np.save(tmp_path / "secret.npy", np.ones((3, 3)))
    for name, target in (("link.npy", tmp_path / "secret.npy"), ("folder", tmp_path)):
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    uri = "file://" + place.replace("ROOT", str(root))
    settings = Settings(tmp_path, import_roots=(str(root),))
    with pytest.raises(errors.PermissionDeniedError):
        open_uri(uri, settings)
    if uri.endswith(".npy"):
        done = bring(importing, uri)
        assert done.error.metadata["error"] == "PermissionDeniedError"
    for name in ("link.npy", "folder"):
        (root / name).unlink()


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(errors.PermissionDeniedError):
        open_uri(f"file://{tmp_path}/pipe.npy", Settings(tmp_path, import_roots=(str(tmp_path),)))


def test_hdf5_that_names_another_file_is_refused(importing, root, tmp_path, refused):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.ones((2, 2))
    with h5py.File(root / "x.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
    with refused(CODE.INVALID_ARGUMENT) as told:
        bring(importing, f"file://{root}/x.h5")
    assert ".npy" in told["metadata"]["allowed"]


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "rows.npy",
        "ftp://host/x.npy",
        "s3://bucket/x.npy",
        "simplecache::file:///etc/passwd",
        "http://host/x.npy::file:///etc/passwd",
        "file://host/x.npy",
        "https://user:secret@host/x.npy",
        "https://host/a/../x.npy",
        "https://host/a/%2e%2e/x.npy",
        "http://host:port/x.npy",
        "file:///a b.npy",
        "file:///a\n.npy",
    ],
)
def test_uris_of_other_forms_are_refused(tmp_path, uri):
    settings = Settings(tmp_path, import_roots=("/",), import_urls=("https://host/", "http://host/"))
    with pytest.raises((errors.InputError, errors.PermissionDeniedError)):
        check_uri(uri, settings)


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("https://host/data/x.npy", True),
        ("https://host/database/x.npy", False),
        ("https://host.evil/data/x.npy", False),
        ("http://host/data/x.npy", False),
        ("https://host:444/data/x.npy", False),
        ("https://host:443/data/x.npy", True),
    ],
)
def test_a_url_must_begin_as_allowed_to_the_host_and_the_slash(tmp_path, uri, allowed):
    settings = Settings(tmp_path, import_urls=("https://host/data",))
    with contextlib.nullcontext() if allowed else pytest.raises(errors.PermissionDeniedError):
        check_uri(uri, settings)


PRIVATE = ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"]
PRIVATE += ["::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_in_private_networks_are_refused(monkeypatch, tmp_path, address):
    """Whatever name they hide behind; nothing is connected to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_others: found)
    monkeypatch.setattr(socket, "create_connection", lambda *_args: pytest.fail("connected"))
    with pytest.raises(errors.PermissionDeniedError, match="no public network"):
        open_uri("http://host/x.npy", Settings(tmp_path, import_urls=("http://host/",)))


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch, tmp_path):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in ("93.184.216.34", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_others: found)
    with pytest.raises(errors.PermissionDeniedError):
        open_uri("http://host/x.npy", Settings(tmp_path, import_urls=("http://host/",)))


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch, tmp_path):
    """A name that resolves otherwise a moment later changes nothing."""
    answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80))]])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_others: next(answers))
    asked = []

    def connect(address, _timeout):
        asked.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(errors.UnavailableError):
        open_uri("http://host/x.npy", Settings(tmp_path, import_urls=("http://host/",)))
    assert asked == [("93.184.216.34", 80)]


class Site(http.server.BaseHTTPRequestHandler):
    """A file, a redirect inwards, and a file that breaks off."""

    rows = b""

    def do_GET(self):
        if self.path == "/files/rows.npy":
            self.answer(200, {"Content-Length": str(len(self.rows))}, self.rows)
        elif self.path == "/files/short.npy":
            self.answer(200, {"Content-Length": str(len(self.rows))}, self.rows[:100])
        elif self.path == "/files/away.npy":
            self.answer(302, {"Location": "http://127.0.0.1:1/secret.npy", "Content-Length": "0"}, b"")
        else:
            self.answer(404, {"Content-Length": "0"}, b"")

    def answer(self, code, headers, body):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_args):
        return


def test_a_url_is_read_and_redirects_are_not_followed(new_server, tmp_path, blobs):
    np.save(tmp_path / "rows.npy", blobs(40, 3))
    Site.rows = (tmp_path / "rows.npy").read_bytes()
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{site.server_address[1]}/files/"
    server = new_server("--import-urls", base, "--import-private", "127.0.0.1").start()
    done = bring(server, base + "rows.npy")
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.error
    for name, error in (("short.npy", "DataError"), ("away.npy", "DataError"), ("gone.npy", "NotFoundError")):
        done = bring(server, base + name)
        assert (done.state, done.error.metadata["error"]) == (job_pb2.JOB_STATE_FAILED, error)
    site.shutdown()
    site.server_close()


def test_a_server_without_roots_imports_nothing(server, refused):
    with refused(CODE.PERMISSION_DENIED):
        server.datasets.ImportDataset(dataset_pb2.ImportDatasetRequest(uri="file:///etc/x.npy", kind=TENSOR))
    with refused(CODE.PERMISSION_DENIED):
        server.datasets.ImportDataset(dataset_pb2.ImportDatasetRequest(uri="https://host/x.npy", kind=TENSOR))
    with refused(CODE.INVALID_ARGUMENT):
        server.datasets.ImportDataset(dataset_pb2.ImportDatasetRequest(uri="redis://host/x.npy", kind=TENSOR))


def test_more_than_an_owner_may_keep_is_not_fetched(new_server, tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((1000, 10)))
    server = new_server("--import-roots", str(tmp_path), "--owner-bytes", "50000").start()
    done = bring(server, f"file://{tmp_path}/rows.npy")
    assert done.state == job_pb2.JOB_STATE_FAILED
    assert "50000 bytes" in done.error.message


def test_an_import_that_no_longer_fits_when_it_ends_fails_and_leaves_nothing_behind(tmp_path, monkeypatch):
    """The worker itself, for two imports that both saw an empty quota."""
    np.save(tmp_path / "rows.npy", np.ones((100, 10)))
    folder = DataFolder(tmp_path / "data")
    folder.open()
    database = Database(folder.database_url)
    database.prepare()
    store, catalog = JobStore(database), Catalog(database)
    monkeypatch.setattr(catalog, "owner_bytes", lambda _owner: 0)
    settings = Settings(folder.root, import_roots=(str(tmp_path),), owner_bytes=12_000)
    worker = Worker(folder, store, catalog, settings, worker="w", server="s")
    spec = spec_pb2.JobSpec(**{"import": {"uri": f"file://{tmp_path}/rows.npy", "dataset_kind": TENSOR}})
    ended = []
    for _ in range(2):
        store.create(NewJob("ann", "import", spec.SerializeToString()))
        record = store.claim("w", "s", 30)
        worker.attempt(record)
        ended.append(store.get("ann", record.id))
    assert [job.state for job in ended] == [job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED]
    error = common_pb2.Error.FromString(ended[1].error)
    assert error.reason == "OVERLOADED"
    assert error.message.startswith("The data set needs 8000 bytes; you keep 8000 of the 12000")
    kept = {path.name for path in folder.datasets.iterdir()}
    assert kept == catalog.dataset_files() == {f"{ended[0].dataset}.npy"}
    assert not [*folder.work.iterdir(), *folder.artifacts.iterdir()]
    database.close()
    folder.close()
