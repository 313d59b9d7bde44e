from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from builder.engines.direct import tar
from builder.engines.direct.tar import BLOCK, END, MTIME, Node, header, padding, parents

GIB = 1024**3


def read(*parts: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join((*parts, END)))) as archive:
        return archive.getmembers()


def test_a_file_is_what_its_node_says_and_nothing_of_this_machine() -> None:
    [found] = read(header(Node("opt/a.py", mode=0o755, owner=(0, 42)), 3), b"abc", padding(3))
    assert (found.name, found.size, found.mode, found.mtime) == ("opt/a.py", 3, 0o755, MTIME)
    assert (found.uid, found.gid, found.uname, found.gname) == (0, 42, "", "")
    assert found.type == tarfile.REGTYPE


def test_folders_and_links_have_no_content() -> None:
    folder, link, hard = read(
        header(Node("opt", "directory", 0o755)),
        header(Node("opt/b", "link", 0o777, "../a")),
        header(Node("opt/c", "hardlink", 0o644, "opt/a")),
    )
    assert (folder.isdir(), folder.name, folder.mode) == (True, "opt", 0o755)
    assert (link.issym(), link.linkname) == (True, "../a")
    assert (hard.islnk(), hard.linkname) == (True, "opt/a")


@pytest.mark.parametrize("length", [1, 99, 100, 101, 155, 156, 200, 255, 256, 257, 300, 1000])
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_path_of_any_length_stays(length: int, kind: tar.Kind) -> None:
    for path in ("x" * length, ("x" * 60 + "/") * (length // 60) + "y" * (length % 60 or 1)):
        [found] = read(header(Node(path, kind)))
        assert found.name == path


def test_a_path_that_fits_ustar_needs_no_pax_header() -> None:
    assert len(header(Node("a" * 100))) == BLOCK
    assert len(header(Node("b" * 155 + "/" + "a" * 100))) == BLOCK
    assert len(header(Node("b" * 156 + "/" + "a" * 100))) > BLOCK
    assert len(header(Node("a" * 101))) > BLOCK


@pytest.mark.parametrize("length", [1, 100, 101, 255, 1000])
def test_what_a_link_leads_to_may_be_long(length: int) -> None:
    [found] = read(header(Node("a", "link", target="t" * length)))
    assert found.linkname == "t" * length


@pytest.mark.parametrize("path", ["café.py", "字" * 40, "a\nb", "x=y 1", " ", "名/" * 60 + "a"])
def test_unusual_names_are_read_back(path: str) -> None:
    [found] = read(header(Node(path)))
    assert found.name == path


@pytest.mark.parametrize("size", [4 * GIB - 1, 4 * GIB, 5 * GIB, 8 * GIB - 1, 8 * GIB, 100 * GIB])
def test_a_size_beyond_four_and_eight_gigabytes_is_told(size: int) -> None:
    block = header(Node("large.so"), size)
    info = tarfile.TarInfo.frombuf(block[-BLOCK:], "utf-8", "strict")
    if size < 8 * GIB:
        assert (len(block), info.size) == (BLOCK, size)
    else:
        assert f" size={size}\n".encode() in block[BLOCK : 2 * BLOCK]


def test_the_length_of_a_pax_record_counts_itself() -> None:
    for length in range(101, 1200):  # crosses 100 and 1,000, where the number gets a digit more
        data = header(Node("x" * length))
        record = data[BLOCK : data.index(b"\n", BLOCK) + 1]
        assert int(record.split(b" ")[0]) == len(record)


@pytest.mark.parametrize("node", [Node("a\0b"), Node("a", "link", target="b\0c"), Node("\ud800")])
def test_what_no_archive_can_hold_is_an_error(node: Node) -> None:
    with pytest.raises(ValueError, match=r"zero byte|surrogates"):
        header(node)


@pytest.mark.parametrize(("size", "zeros"), [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)])
def test_contents_are_filled_up_to_whole_blocks(size: int, zeros: int) -> None:
    assert padding(size) == bytes(zeros)


def test_folders_come_once_before_what_is_in_them() -> None:
    assert list(parents(["a/b/c", "a/d", "e", "a/b/f"])) == ["a", "a/b"]


def test_headers_are_these_bytes_on_every_machine() -> None:
    """A change here changes every layer's digest: raise `content.FORMAT`, and record all images anew."""
    nodes = (
        Node("opt/cuvee/main/bin/python", "link", 0o777, "/usr/bin/python3.11"),
        Node("opt/cuvee", "directory", 0o755),
        Node("a/" * 200 + "é.py", mode=0o755),
        Node("large", owner=(0, 42)),
    )
    data = b"".join(header(node, 9 * GIB if node.path == "large" else 0) for node in nodes)
    assert (
        hashlib.sha256(data).hexdigest() == "d413a3f8d7f61c32dfb33b0a7d22aa32108f5aaaf7dcc92b377dd912a0539159"
    )


PATHS = st.lists(
    st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=130
    ).filter(lambda part: part not in {".", ".."}),
    min_size=1,
    max_size=6,
).map("/".join)


@seed(1)
@settings(deadline=None, max_examples=150)
@given(
    path=PATHS, target=PATHS, kind=st.sampled_from(["file", "directory", "link"]), mode=st.integers(0, 0o7777)
)
def test_whatever_a_header_says_tarfile_reads(path: str, target: str, kind: tar.Kind, mode: int) -> None:
    node = Node(path, kind, mode, target if kind == "link" else "")
    [found] = read(header(node))
    assert (found.name, found.mode, found.linkname) == (path, mode, node.target)
