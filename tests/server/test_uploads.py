import io
import tarfile
import threading
import time

import grpc
import numpy as np
import pytest
from PIL import Image

from fastclust import wire
from fastclust.v1 import common_pb2, dataset_pb2

CODE = grpc.StatusCode


def images_tar(count=3, *, broken=0):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(count + broken):
            picture = io.BytesIO()
            Image.new("L", (8, 8), 20 * number).save(picture, "PNG")
            data = picture.getvalue() if number < count else b"no picture"
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def test_an_uploaded_tensor_becomes_a_data_set(server, blobs):
    rows = blobs(50, 4)
    data = server.upload(rows, display_name="faces")
    assert (data.owner, data.display_name, data.row_count, data.byte_count) == ("local", "faces", 50, rows.nbytes)
    assert data.crc32c == wire.crc32c(rows.tobytes())
    assert list(data.tensor.shape) == [50, 4]
    assert server.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=data.name)) == data


def test_the_stored_file_is_a_plain_npy(server, blobs, ids):
    rows = blobs(50, 4)
    data = server.upload(rows)
    stored = np.load(server.data / "datasets" / f"{ids(data.name)}.npy", mmap_mode="r")
    assert np.array_equal(stored, rows)


def test_an_upload_goes_on_where_its_connection_broke(server):
    rows = np.random.default_rng(0).random((5 * 2**20 // 8, 1))
    data = rows.tobytes()
    session = server.create_upload(rows)
    arrived, hold = threading.Event(), threading.Event()

    def some():
        for number, offset in enumerate(range(0, len(data), 2**20)):
            if number == 3:
                arrived.set()
                hold.wait(10)
                return
            part = data[offset : offset + 2**20]
            yield dataset_pb2.UploadRequest(name=session.name, offset=offset, data=part, crc32c=wire.crc32c(part))

    call = server.datasets.Upload.future(some())
    assert arrived.wait(10)
    call.cancel()
    hold.set()
    reached = 0
    for _ in range(200):
        now = server.datasets.GetUpload(dataset_pb2.GetUploadRequest(name=session.name)).persisted_bytes
        assert now >= reached
        reached = now
    assert reached <= 3 * 2**20
    assert server.send(session.name, data, reached).persisted_bytes == len(data)
    assert server.finish(session.name, data).byte_count == len(data)


def test_bytes_that_are_persisted_already_are_skipped(server, blobs):
    rows = blobs(100, 4)
    data = rows.tobytes()
    session = server.create_upload(rows)
    server.send(session.name, data[:1000])
    assert server.send(session.name, data, 0, chunk=300).persisted_bytes == len(data)
    assert server.finish(session.name, data).row_count == 100


def test_a_gap_is_refused_with_the_byte_that_is_expected(server, blobs, refused):
    rows = blobs(100, 4)
    data = rows.tobytes()
    session = server.create_upload(rows)
    server.send(session.name, data[:400])
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.send(session.name, data, 800)
    assert told["metadata"]["field"] == "offset"
    assert told["metadata"]["came"] == "800"
    assert "400" in told["metadata"]["fix"]


def test_more_than_was_declared_is_refused(server, blobs, refused):
    rows = blobs(100, 4)
    session = server.create_upload(rows)
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.send(session.name, rows.tobytes() + b"more")
    assert "1600 bytes in all" in told["metadata"]["allowed"]


def test_a_damaged_chunk_is_refused_and_not_counted(server, blobs, refused):
    rows = blobs(100, 4)
    session = server.create_upload(rows)
    bad = dataset_pb2.UploadRequest(name=session.name, offset=0, data=b"x" * 100, crc32c=1)
    with refused(CODE.DATA_LOSS) as told:
        server.datasets.Upload(iter([bad]))
    assert told["metadata"]["error"] == "DataLossError"
    assert server.datasets.GetUpload(dataset_pb2.GetUploadRequest(name=session.name)).persisted_bytes == 0


def test_a_truncated_upload_is_refused_with_both_sizes(server, blobs, refused):
    rows = blobs(100, 4)
    session = server.create_upload(rows)
    server.send(session.name, rows.tobytes()[:999])
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.finish(session.name, rows.tobytes())
    assert told["metadata"]["came"] == "999 bytes"
    assert told["metadata"]["allowed"].startswith("1600 bytes")


def test_a_wrong_checksum_of_the_whole_is_refused(server, blobs, refused):
    rows = blobs(100, 4)
    session = server.create_upload(rows)
    server.send(session.name, rows.tobytes())
    with refused(CODE.DATA_LOSS) as told:
        server.finish(session.name, b"something else")
    assert told["reason"] == "CHECKSUM_MISMATCH"


def test_a_sha256_does_as_well(server, blobs):
    import hashlib

    rows = blobs(100, 4)
    session = server.create_upload(rows)
    server.send(session.name, rows.tobytes())
    checksum = common_pb2.Checksum(sha256=hashlib.sha256(rows.tobytes()).digest())
    assert server.datasets.FinishUpload(dataset_pb2.FinishUploadRequest(name=session.name, checksum=checksum)).name


def test_finishing_twice_gives_the_same_data_set(server, blobs):
    rows = blobs(100, 4)
    session = server.create_upload(rows)
    server.send(session.name, rows.tobytes())
    first = server.finish(session.name, rows.tobytes())
    assert server.finish(session.name, rows.tobytes()) == first
    assert server.datasets.GetUpload(dataset_pb2.GetUploadRequest(name=session.name)).dataset == first.name


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_numbers_that_are_not_finite_are_refused_by_row_and_column(server, blobs, refused, value, shown):
    rows = blobs(100, 4)
    rows[37, 2] = value
    session = server.create_upload(rows)
    server.send(session.name, rows.tobytes())
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.finish(session.name, rows.tobytes())
    assert told["metadata"]["error"] == "InputError"
    assert told["metadata"]["came"] == f"{shown} at row 37, column 2"
    assert told["metadata"]["allowed"] == "finite numbers"
    assert told["violations"][0][0] == "array"


def test_a_bad_number_far_into_the_payload_is_found(server, refused):
    rows = np.zeros((3 * 2**20, 1))  # more than one block of the check
    rows[-1] = np.nan
    session = server.create_upload(rows)
    server.send(session.name, rows.tobytes())
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.finish(session.name, rows.tobytes())
    assert told["metadata"]["came"] == f"nan at row {3 * 2**20 - 1}, column 0"


def test_an_empty_upload_is_refused(server, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.create_upload(np.zeros((0, 4), np.float32))
    assert "at least one row" in told["metadata"]["allowed"]
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.create_upload(np.zeros((2, 4), np.float32), byte_count=0)
    assert told["metadata"]["field"] == "byte_count"


def test_a_size_that_does_not_fit_the_shape_is_refused(server, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.create_upload(np.zeros((2, 4), np.float32), byte_count=31)
    assert told["metadata"]["allowed"].startswith("32")


def test_a_shape_beyond_the_disk_is_refused_before_a_byte_is_sent(server, refused):
    shape = [2**40, 4]
    request = dataset_pb2.CreateUploadRequest(
        kind=common_pb2.DATASET_KIND_TENSOR,
        tensor=common_pb2.TensorSpec(dtype=common_pb2.DATA_TYPE_FLOAT32, shape=shape),
        byte_count=2**44,
    )
    with refused(CODE.RESOURCE_EXHAUSTED) as told:
        server.datasets.CreateUpload(request)
    assert told["reason"] == "STORAGE_FULL"


def test_an_unknown_dtype_is_refused(server, refused):
    request = dataset_pb2.CreateUploadRequest(
        kind=common_pb2.DATASET_KIND_TENSOR,
        tensor=common_pb2.TensorSpec(dtype=common_pb2.DATA_TYPE_BFLOAT16, shape=[2, 4]),
        byte_count=16,
    )
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.datasets.CreateUpload(request)
    assert told["metadata"]["error"] == "InputTypeError"


def test_the_same_request_id_is_one_upload(server, blobs, refused):
    first = server.create_upload(blobs(10, 4), request_id="once")
    assert server.create_upload(blobs(10, 4), request_id="once").name == first.name
    with refused(CODE.ALREADY_EXISTS):
        server.create_upload(blobs(11, 4), request_id="once")


def test_a_later_stream_takes_an_upload_over(server, refused, chunked):
    rows = np.zeros((18 * 2**20, 1), np.uint8)
    data = rows.tobytes()
    session = server.create_upload(rows)
    go_on = threading.Event()

    def slow():
        yield from chunked(session.name, data[: 17 * 2**20])
        go_on.wait(30)
        yield from chunked(session.name, data, 17 * 2**20)

    call = server.datasets.Upload.future(slow())
    # Bytes are acknowledged while the stream is open, after each 16 MiB.
    while not server.datasets.GetUpload(dataset_pb2.GetUploadRequest(name=session.name)).persisted_bytes:
        time.sleep(0.02)
    assert server.send(session.name, data).persisted_bytes == len(data)
    go_on.set()
    with refused(CODE.FAILED_PRECONDITION):
        call.result()
    assert server.finish(session.name, data).row_count == len(rows)


def test_a_deleted_upload_is_gone_with_its_file(server, blobs, refused, ids):
    session = server.create_upload(blobs(10, 4))
    server.datasets.DeleteUpload(dataset_pb2.DeleteUploadRequest(name=session.name))
    assert not (server.data / "uploads" / f"{ids(session.name)}.npy").exists()
    with refused(CODE.NOT_FOUND):
        server.datasets.GetUpload(dataset_pb2.GetUploadRequest(name=session.name))


@pytest.mark.parametrize("name", ["", "uploads", "datasets/1", "uploads/../../etc/passwd", "uploads/a/b"])
def test_names_of_another_form_are_refused(server, refused, name):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.datasets.GetUpload(dataset_pb2.GetUploadRequest(name=name))
    assert told["metadata"]["field"] == "name"


def test_images_are_counted_and_unreadable_ones_left_out(server):
    data = server.upload_bytes(common_pb2.DATASET_KIND_IMAGES, images_tar(3, broken=1), images=dataset_pb2.ImagesSpec())
    assert data.row_count == 3


def test_an_archive_that_is_none_is_refused_without_the_servers_paths(server, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.upload_bytes(common_pb2.DATASET_KIND_IMAGES, b"no tar" * 200, images=dataset_pb2.ImagesSpec())
    assert told["metadata"]["error"] == "DataError"
    assert str(server.data) not in told["message"]


def test_a_truncated_archive_is_refused(server, refused):
    with refused(CODE.INVALID_ARGUMENT):
        server.upload_bytes(common_pb2.DATASET_KIND_IMAGES, images_tar()[:700], images=dataset_pb2.ImagesSpec())


def test_another_number_of_images_than_declared_is_refused(server, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.upload_bytes(common_pb2.DATASET_KIND_IMAGES, images_tar(3), images=dataset_pb2.ImagesSpec(image_count=4))
    assert told["metadata"]["field"] == "images.image_count"


def test_labels_come_as_rows_or_as_csv(server):
    rows = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_ROWS_INT64, row_count=4)
    made = server.upload_bytes(common_pb2.DATASET_KIND_LABELS, np.arange(4).astype("<i8").tobytes(), labels=rows)
    assert made.row_count == 4
    table = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_CSV)
    made = server.upload_bytes(common_pb2.DATASET_KIND_LABELS, b"id,label\n0,5\n1,cat\n", labels=table)
    assert made.row_count == 2


@pytest.mark.parametrize(
    "text", [b"0,5\n", b"id,label\n", b"id,label\n0,1\n0,2\n", b"id,label\n0\n", b"id,label\n\xff,1"]
)
def test_a_csv_that_holds_no_labels_is_refused(server, refused, text):
    table = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_CSV)
    with refused(CODE.INVALID_ARGUMENT):
        server.upload_bytes(common_pb2.DATASET_KIND_LABELS, text, labels=table)


def test_data_sets_are_listed_in_pages_and_deleted(server, blobs, refused, ids):
    made = [server.upload(blobs(5, 2, seed=seed)).name for seed in range(3)]
    listed, token = [], ""
    while True:
        request = dataset_pb2.ListDatasetsRequest(page_size=2, page_token=token, kind=common_pb2.DATASET_KIND_TENSOR)
        page = server.datasets.ListDatasets(request)
        listed += [data.name for data in page.datasets]
        token = page.next_page_token
        if not token:
            break
    assert listed[:3] == made[::-1]
    assert len(set(listed)) == len(listed)
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.datasets.ListDatasets(dataset_pb2.ListDatasetsRequest(page_token="bm8="))
    assert told["metadata"]["field"] == "page_token"
    server.datasets.DeleteDataset(dataset_pb2.DeleteDatasetRequest(name=made[0]))
    assert not (server.data / "datasets" / f"{ids(made[0])}.npy").exists()
    with refused(CODE.NOT_FOUND):
        server.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=made[0]))


def test_acknowledged_bytes_survive_a_kill_of_the_server(new_server, blobs):
    server = new_server().start()
    rows = blobs(1000, 8)
    data = rows.tobytes()
    session = server.create_upload(rows)
    acknowledged = server.send(session.name, data[:20_000]).persisted_bytes
    server.kill()
    server.start()
    assert server.datasets.GetUpload(dataset_pb2.GetUploadRequest(name=session.name)).persisted_bytes == acknowledged
    server.send(session.name, data, acknowledged)
    made = server.finish(session.name, data)
    server.kill()
    server.start()
    assert server.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=made.name)) == made
