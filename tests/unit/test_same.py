"""The comparison of two engines' files sees what differs, and lets through only what is argued."""

from __future__ import annotations

import importlib.util
import io
import marshal
import tarfile
from pathlib import Path

import pytest

from tests.engine import same
from tests.engine.agree import AGREE, WINDOWS
from tests.engine.same import Argument, Root

HEAD = importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + bytes(8)
PROGRAM = b'#!/opt/e/bin/python\nimport sys\nfrom a import m\nif __name__ == "__main__":\n    sys.exit(m())\n'
UV_PROGRAM = PROGRAM.replace(b"    sys.exit", WINDOWS + b"    sys.exit")


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def root(*layers: bytes) -> Root:
    made: Root = {}
    for layer in layers:
        same.lay([layer[:700], layer[700:]], made, lambda _: True)
    return made


def told(here: Root, there: Root) -> list[tuple[str, str]]:
    return [(one.path, one.what) for one in same.differences(here, there)]


PLAIN = member("opt/a", b"one", mode=0o644)


def test_what_is_the_same_does_not_differ() -> None:
    assert told(root(archive(PLAIN)), root(archive(member("./opt/a", b"one", mode=0o644, mtime=7)))) == []


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (member("opt/a", b"two", mode=0o644), ["content"]),
        (member("opt/a", b"one", mode=0o755), ["mode"]),
        (member("opt/a", b"one", mode=0o644, uid=7), ["owner"]),
        (member("opt/a", b"one", mode=0o644, pax_headers={"SCHILY.xattr.x": "y"}), ["attributes"]),
        (member("opt/a", mode=0o644, type=tarfile.SYMTYPE, linkname="b"), ["kind", "target", "content"]),
        (member("opt/a", mode=0o644, type=tarfile.DIRTYPE), ["kind", "content"]),
        (member("opt/a", mode=0o644, type=tarfile.FIFOTYPE), ["kind", "content"]),
        (member("opt/b", b"one", mode=0o644), ["only here", "only there"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_way_to_differ_is_seen(other: tuple[tarfile.TarInfo, bytes], what: list[str]) -> None:
    assert [found for _, found in told(root(archive(PLAIN)), root(archive(other)))] == what


def test_links_that_lead_elsewhere_differ() -> None:
    one, other = (root(archive(member("a", type=tarfile.SYMTYPE, linkname=target))) for target in ("b", "c"))
    assert told(one, other) == [("a", "target")]


def test_a_later_layer_lies_over_an_earlier_one() -> None:
    both = root(archive(PLAIN), archive(member("opt/a", b"two", mode=0o600)))
    assert told(both, root(archive(member("opt/a", b"two", mode=0o600)))) == []


def test_a_hard_link_is_the_file_that_it_leads_to() -> None:
    linked = root(archive(PLAIN, member("opt/b", type=tarfile.LNKTYPE, linkname="opt/a")))
    assert linked["opt/b"] == linked["opt/a"]


def test_dots_in_names_are_kept() -> None:
    assert set(root(archive(member(".dockerenv"), member("./"), member("opt/.lock")))) == {
        ".dockerenv",
        "opt/.lock",
    }


def test_a_layer_that_deletes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"/opt/\.wh\.a deletes a file"):
        root(archive(member("opt/.wh.a")))


# Arguments


def argument(tmp_path: Path, text: str, row: str = "row") -> tuple[Argument, ...]:
    file = tmp_path / "differences.yaml"
    file.write_text(text)
    return same.arguments(row, file)


def test_a_difference_passes_only_by_its_own_argument(tmp_path: Path) -> None:
    given = argument(tmp_path, "[{paths: [opt/a], what: mode, reason: because}]")
    here, there = root(archive(PLAIN)), root(archive(member("opt/a", b"two", mode=0o755)))
    assert [str(one) for one in same.unargued(given, here, there)] == [
        "/opt/a: content (7692c3ad3540 here, 3fc4ccfe7458 there)"
    ]
    assert same.unneeded(given, here, there) == []


def test_a_pattern_must_be_the_whole_path(tmp_path: Path) -> None:
    given = argument(tmp_path, "[{paths: [opt], what: mode, reason: because}]")
    here, there = root(archive(PLAIN)), root(archive(member("opt/a", b"one", mode=0o755)))
    assert len(same.unargued(given, here, there)) == 1


def test_contents_that_do_not_agree_are_not_argued(tmp_path: Path) -> None:
    given = argument(tmp_path, "[{paths: [a], what: only there, agree: both empty, reason: because}]")
    assert same.unargued(given, {}, root(archive(member("a")))) == []
    assert [one.path for one in same.unargued(given, {}, root(archive(member("a", b"!"))))] == ["a"]


def test_a_pattern_that_nothing_needs_is_told(tmp_path: Path) -> None:
    given = argument(tmp_path, "[{paths: [opt/a, opt/b], what: mode, reason: because}]")
    here, there = root(archive(PLAIN)), root(archive(member("opt/a", b"one", mode=0o755)))
    assert same.unneeded(given, here, there) == ["mode: opt/b"]


def test_an_argument_of_another_row_does_not_count(tmp_path: Path) -> None:
    text = "[{paths: [a], what: mode, rows: [cu121], reason: because}]"
    assert argument(tmp_path, text) == ()
    assert len(argument(tmp_path, text, "cu121")) == 1


@pytest.mark.parametrize("wrong", ["what: colour", "what: mode, agree: roughly", "what: mode, reason: ''"])
def test_an_entry_that_is_no_argument_is_refused(tmp_path: Path, wrong: str) -> None:
    reason = "" if "reason" in wrong else ", reason: because"
    with pytest.raises(ValueError, match="is no argument"):
        argument(tmp_path, f"[{{paths: [a], {wrong}{reason}}}]")


def test_the_projects_own_arguments_can_be_read_and_their_contents_are_kept() -> None:
    given = same.arguments("cu121")
    keep = same.keeps(given)
    assert keep("opt/cuvee/main/bin/pip")
    assert keep("opt/cuvee/main/lib/python3.11/site-packages/a-1.dist-info/RECORD")
    assert not keep("usr/bin/python3.11")


# How far contents agree


def test_an_installer_is_one_of_two() -> None:
    assert AGREE["installer"](b"cuvee\n", b"uv")
    assert not AGREE["installer"](b"cuvee\n", b"pip\n")


def test_programs_agree_but_for_windows_and_pythons_name() -> None:
    agree = AGREE["program"]
    assert agree(PROGRAM, UV_PROGRAM)
    assert agree(PROGRAM, UV_PROGRAM.replace(b"/python\n", b"/python3\n"))
    assert not agree(PROGRAM, UV_PROGRAM.replace(b"/opt/e/", b"/opt/f/"))
    assert not agree(PROGRAM, UV_PROGRAM.replace(b"from a", b"from b"))
    assert not agree(PROGRAM, UV_PROGRAM.replace(b"m())", b"m() or 1)"))


RECORD = b"a.py,sha256=x,1\na-1.dist-info/INSTALLER,sha256=y,6\n"


def test_records_agree_but_for_order_bytecode_and_what_installers_write() -> None:
    agree = AGREE["record"]
    there = b"a-1.dist-info/REQUESTED,sha256=e,0\na-1.dist-info/INSTALLER,sha256=z,2\na.py,sha256=x,1\n"
    here = RECORD + b"__pycache__/a.cpython-311.pyc,,\n../../../bin/a,sha256=p,9\n"
    assert agree(here, there + b"../../../bin/a,sha256=q,8\n")
    for wrong in (b"a.py,sha256=w,1", b"a.py,sha256=x,2", b"b.py,sha256=x,1", b"a.py,,"):
        assert not agree(here, there.replace(b"a.py,sha256=x,1", wrong))
    assert not agree(here, there + b"a.py,sha256=x,1\n")
    assert not agree(here + b"a.py,sha256=x,1\n", there)
    assert not agree(here, there + b"c.py,sha256=c,1\n")


def code(source: str, name: str = "/a.py") -> bytes:
    return HEAD + marshal.dumps(compile(source, name, "exec"))


def test_code_agrees_whatever_marshal_marks() -> None:
    source = "def f(x: int) -> bool:\n    return x in {'a', 'b', (1, 2.5, None)}\n"
    plain = HEAD + marshal.dumps(compile(source, "/a.py", "exec"), 2)  # which marks nothing
    assert plain != code(source)
    assert AGREE["bytecode"](plain, code(source))


@pytest.mark.parametrize(
    ("source", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 1", "x = True"),
        ("x = 0.0", "x = -0.0"),
        ("x = 1", "y = 1"),
        ("x = 1", "\nx = 1"),
        ("x = y in {1, 2}", "x = y in {1, 3}"),
        ("def f(): return 1", "def f(): return 2"),
        ("x = 'a'", "x = b'a'"),
    ],
)
def test_other_code_does_not_agree(source: str, other: str) -> None:
    assert not AGREE["bytecode"](code(source), code(other))


def test_code_of_another_file_source_or_python_does_not_agree() -> None:
    ours = code("x = 1")
    assert AGREE["bytecode"](ours, ours)
    assert not AGREE["bytecode"](ours, code("x = 1", "/b.py"))
    assert not AGREE["bytecode"](ours, ours[:8] + b"otherone" + ours[16:])
    assert not AGREE["bytecode"](b"old!" + ours[4:], b"old!" + ours[4:])
