"""Chunks of uploads and downloads, in protobuf's wire format, written and read without copying their data twice.

``UploadRequest`` and ``ReadArtifactResponse`` are what these bytes are (``proto/fastclust/v1``); any client may build
them by protobuf. Generated code copies a chunk each time that it is set, serialised, parsed and read; here it is
copied once on the way out and not at all on the way in.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from fastclust import wire
from fastclust.v1 import artifact_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Block", "Chunk", "decode_part", "decode_upload", "encode_block", "encode_upload"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Chunk(NamedTuple):
    """An ``UploadRequest``."""

    name: str
    offset: int
    data: memoryview
    crc32c: int
    #: CRC32C of the data that came: cheapest where a message is parsed, as the processor still holds it.
    came: int


class Block(NamedTuple):
    """An ``ArtifactBlock``."""

    row_offset: int
    data: memoryview
    crc32c: int
    #: CRC32C of the data that came.
    came: int


def encode_upload(name: str, offset: int, data: memoryview, crc32c: int) -> bytes:
    """Serialise an ``UploadRequest``; ``crc32c`` is that of ``data``."""
    text = name.encode()
    head = (
        *(_key(1, _BYTES), _varint(len(text)), text),
        *(_key(2, _VARINT), _varint(offset)),
        *(_key(4, _FIXED32), crc32c.to_bytes(4, "little")),
        *(_key(3, _BYTES), _varint(len(data))),
    )
    return b"".join((*head, data))


def decode_upload(message: bytes) -> Chunk:
    """Parse an ``UploadRequest``. Raises ValueError for bytes that are none."""
    name, offset, data, crc = "", 0, memoryview(b""), 0
    for number, kind, value in _fields(memoryview(message)):
        if (number, kind) == (1, _BYTES):
            name = str(value, "utf-8")  # type: ignore[arg-type] # a view
        elif (number, kind) == (2, _VARINT):
            offset = _signed(value)
        elif (number, kind) == (3, _BYTES):
            data = value  # type: ignore[assignment] # a view
        elif (number, kind) == (4, _FIXED32):
            crc = int.from_bytes(value, "little")  # type: ignore[arg-type] # a view
    return Chunk(name, offset, data, crc, wire.crc32c(data))


def encode_block(row_offset: int, size: int, fill: Callable[[memoryview], None]) -> bytes:
    """Serialise a ``ReadArtifactResponse`` that carries a block of ``size`` bytes.

    ``fill`` is given the place of the data in the message and writes all of it: what comes from a file is copied by
    nobody after that. The checksum of the data stands behind it.
    """
    head = b"".join((*(_key(1, _VARINT), _varint(row_offset)), *(_key(2, _BYTES), _varint(size))))
    crc = _key(3, _FIXED32)
    head = b"".join((_key(2, _BYTES), _varint(len(head) + size + len(crc) + 4), head))
    end = len(head) + size
    # Of its buffer alone Python lets the bytes be taken without a copy.
    message = io.BytesIO()
    message.write(head)
    message.seek(end)
    message.write(crc + bytes(4))
    with message.getbuffer() as whole, whole[len(head) : end] as data:
        fill(data)
        whole[-4:] = wire.crc32c(data).to_bytes(4, "little")
    return message.getvalue()


def decode_part(message: bytes) -> artifact_pb2.Artifact | Block:
    """Parse a ``ReadArtifactResponse``: its header or its block. Raises ValueError for bytes that are none."""
    for number, kind, value in _fields(memoryview(message)):
        if (number, kind) == (1, _BYTES):
            return artifact_pb2.Artifact.FromString(bytes(value))
        if (number, kind) == (2, _BYTES):
            return _block(value)  # type: ignore[arg-type] # a view
    return artifact_pb2.Artifact()


def _block(view: memoryview) -> Block:
    row, data, crc = 0, memoryview(b""), 0
    for number, kind, value in _fields(view):
        if (number, kind) == (1, _VARINT):
            row = _signed(value)
        elif (number, kind) == (2, _BYTES):
            data = value  # type: ignore[assignment] # a view
        elif (number, kind) == (3, _FIXED32):
            crc = int.from_bytes(value, "little")  # type: ignore[arg-type] # a view
    return Block(row, data, crc, wire.crc32c(data))


def _fields(view: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (number, wire type, value) of each field: a number for varints, a view for the rest."""
    place, end = 0, len(view)
    while place < end:
        key, place = _read_varint(view, place)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ValueError("not a message of protobuf")
        if kind == _VARINT:
            value, place = _read_varint(view, place)
            yield number, kind, value
            continue
        if kind == _BYTES:
            size, place = _read_varint(view, place)
        else:
            size = {_FIXED32: 4, _FIXED64: 8}.get(kind, -1)
        if size < 0 or place + size > end:
            raise ValueError("not a message of protobuf")
        yield number, kind, view[place : place + size]
        place += size


def _read_varint(view: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if place >= len(view):
            raise ValueError("not a message of protobuf")
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place
        shift += 7
    raise ValueError("not a message of protobuf")


def _signed(value: int | memoryview) -> int:
    number = int(value)
    return number - (1 << 64) if number >> 63 else number


def _key(number: int, kind: int) -> bytes:
    return bytes((number << 3 | kind,))


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
