"""Against the generated classes, which are the oracle."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from fastclust import chunks, wire
from fastclust.v1 import artifact_pb2, dataset_pb2

offsets = st.integers(-(2**63), 2**63 - 1)


@given(st.text(max_size=20), st.integers(0, 2**63 - 1), st.binary(max_size=300))
def test_an_upload_is_what_protobuf_reads(name, offset, data):
    message = dataset_pb2.UploadRequest.FromString(
        chunks.encode_upload(name, offset, memoryview(data), wire.crc32c(data))
    )
    expected = dataset_pb2.UploadRequest(name=name, offset=offset, data=data, crc32c=wire.crc32c(data))
    assert message == expected


@given(st.text(max_size=20), offsets, st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_what_protobuf_writes_is_read(name, offset, data, crc):
    message = dataset_pb2.UploadRequest(name=name, offset=offset, data=data, crc32c=crc).SerializeToString()
    assert chunks.decode_upload(message) == (name, offset, memoryview(data), crc, wire.crc32c(data))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_protobuf_reads_them_or_refused(message):
    try:
        found = chunks.decode_upload(message)
    except (ValueError, UnicodeDecodeError):
        return
    try:
        expected = dataset_pb2.UploadRequest.FromString(message)
    except DecodeError:  # protobuf refuses more: groups that do not end, numbers of fields beyond its range
        return
    came = wire.crc32c(expected.data)
    assert found == (expected.name, expected.offset, memoryview(expected.data), expected.crc32c, came)


@given(st.integers(0, 2**63 - 1), st.binary(max_size=300))
def test_a_block_is_what_protobuf_reads_and_we_read_again(row, data):
    def fill(place):
        place[:] = data

    message = chunks.encode_block(row, len(data), fill)
    block = artifact_pb2.ArtifactBlock(row_offset=row, data=data, crc32c=wire.crc32c(data))
    assert artifact_pb2.ReadArtifactResponse.FromString(message) == artifact_pb2.ReadArtifactResponse(block=block)
    written = artifact_pb2.ReadArtifactResponse(block=block).SerializeToString()
    assert (
        chunks.decode_part(written) == chunks.decode_part(message) == (row, memoryview(data), *2 * (wire.crc32c(data),))
    )


def test_a_header_is_read():
    header = artifact_pb2.Artifact(name="jobs/1/artifacts/x", byte_count=7)
    assert chunks.decode_part(artifact_pb2.ReadArtifactResponse(header=header).SerializeToString()) == header


@pytest.mark.parametrize("message", [b"\x1a\xff\x01x", b"\x80" * 11, b"\x0b", b"\x08", b"\x00\x00"])
def test_bytes_that_are_no_message_are_refused(message):
    with pytest.raises(ValueError, match="protobuf"):
        chunks.decode_upload(message)


def test_the_checksum_of_a_view_is_that_of_its_bytes():
    data = bytearray(range(256)) * 9
    assert wire.crc32c(memoryview(data)[3:1000]) == wire.crc32c(bytes(data[3:1000]))
    assert wire.crc32c(memoryview(b"")) == 0
