"""Checksums of wholes from those of pieces, against the checksum of all bytes at once."""

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust import checksums
from fastclust.checksums import Whole, crc32c


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 80)), max_size=6), st.booleans())
def test_pieces_give_the_checksum_of_the_whole(runs, told):
    whole, data = Whole(), b""
    for piece, times in runs:
        for _ in range(times):
            whole.add(memoryview(piece), crc32c(piece) if told else None)
            data += piece
    assert whole.value == google_crc32c.value(data)


def test_after_many_pieces_of_one_length_no_byte_is_summed_again(monkeypatch):
    data = bytes(range(250)) * 400
    pieces = [data[start : start + 1000] for start in range(0, len(data), 1000)]
    known = [crc32c(piece) for piece in pieces]
    checksums._zeros(1000)
    summed = []
    monkeypatch.setattr(checksums, "crc32c", lambda piece, start=0: summed.append(piece) or crc32c(piece, start))
    whole = Whole()
    for piece, crc in zip(pieces, known, strict=True):
        whole.add(piece, crc)
    assert whole.value == google_crc32c.value(data)
    assert len(summed) == 32


def test_a_piece_whose_checksum_is_not_known_is_summed():
    whole, data = Whole(), bytes(1000) + bytes(range(100)) * 10
    for place in range(200):
        whole.add(data[:1000], 0 if place < 0 else crc32c(bytes(1000)))
    whole.add(data[1000:])
    assert whole.value == google_crc32c.value(bytes(200_000) + data[1000:])


@pytest.mark.parametrize("length", [1, 7, 2**20])
def test_zeros_do_to_a_checksum_what_they_do(length):
    first, second, third, fourth = checksums._zeros(length)
    zeros = bytes(length)
    for start in (0, 1, 0xDEADBEEF, 0xFFFFFFFF):
        moved = first[start & 255] ^ second[start >> 8 & 255] ^ third[start >> 16 & 255] ^ fourth[start >> 24]
        assert moved ^ crc32c(zeros) == google_crc32c.extend(start, zeros)
