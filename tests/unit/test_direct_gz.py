from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, cast

import pytest
from isal import igzip

from builder.engines.direct import gz
from builder.engines.direct.gz import STORED, member, squeezed, stored, tail

GIB = 1024**3
TEXT = b"".join(b"%d grapes\n" % number for number in range(5000))


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def a_file_of(deflated: bytes, content: bytes) -> bytes:
    return gz.HEAD + deflated + tail(zlib.crc32(content), len(content))


@pytest.mark.parametrize("data", [b"", b"x", TEXT, bytes(1_000_000)])
def test_gzip_reads_a_member_and_many(data: bytes) -> None:
    assert gzip.decompress(member(data)) == data
    assert gzip.decompress(member(data) + member(b"more") + member(data)) == data + b"more" + data
    assert cast("Any", igzip).decompress(member(data) + member(b"more")) == data + b"more"


def test_a_member_says_nothing_of_when_where_and_from_what_it_was_made() -> None:
    assert member(TEXT)[:10] == bytes.fromhex("1f8b08000000000000ff")
    assert member(TEXT) == member(bytes(TEXT))


def test_a_squeezed_stream_is_a_raw_deflate_stream() -> None:
    assert zlib.decompress(squeezed(TEXT), wbits=-15) == TEXT
    assert len(squeezed(TEXT)) < len(TEXT) // 4


@pytest.mark.parametrize("size", [0, 1, STORED - 1, STORED, STORED + 1, 2 * STORED, 2 * STORED + 1, 300_000])
@pytest.mark.parametrize("piece", [1000, STORED, 100_000])
def test_a_stored_stream_holds_its_content_whatever_pieces_it_came_in(size: int, piece: int) -> None:
    data = (TEXT * 8)[:size]
    made = b"".join(stored(cut(data, piece), size))
    assert gzip.decompress(a_file_of(made, data)) == data
    assert len(made) == size + 5 * max(1, -(-size // STORED))
    assert made == b"".join(stored(iter([data]), size))


def test_the_size_in_a_member_counts_to_four_gigabytes_and_begins_anew() -> None:
    assert tail(1, 5 * GIB) == tail(1, GIB) == b"\1\0\0\0" + GIB.to_bytes(4, "little")
    assert tail(1, 4 * GIB) == b"\1\0\0\0\0\0\0\0"


def test_the_compressor_is_named_with_the_one_release_that_gives_these_bytes() -> None:
    """Another release compresses to other bytes: it is a new recipe, and every image is recorded anew."""
    assert f"deflate {version('deflate')}" == gz.COMPRESSOR
    assert (
        hashlib.sha256(member(TEXT)).hexdigest()
        == "a81194e0e0f3f88c028d7bd92f938888472b9d33929e295972c53a7584faf70c"
    )
