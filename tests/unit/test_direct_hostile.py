"""Wheels that are damaged or made to harm, held against what installs them: one clear error, and no layer.

What the zip file's reader refuses is told in test_harvest_hostile.py too; here it is on its way into a layer.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.engines.direct import collisions, stream
from builder.engines.direct.collisions import MOST_TOLD
from builder.engines.direct.entry import Entry
from builder.engines.direct.install import install
from builder.engines.direct.tar import Node
from builder.errors import BadInputError, CuveeError
from builder.wheels import directory
from builder.wheels.directory import MOST_FAULTS
from builder.wheels.members import opened_wheel
from tests.wheelmaker import (
    COMPRESSED,
    CRC,
    ENTRY,
    FLAGS,
    HEADER,
    INFO,
    METHOD,
    NAME,
    SITE,
    SIZE,
    TARGET,
    layer_of,
    put,
    record_line,
    wheel,
    whole,
    zipped,
)

LIBRARY = bytes(range(256)) * 20
DATA = "vat-1.0.data"
FILES = {"vat/a.so": LIBRARY}


def faults_of(path: Path) -> tuple[Any, ...]:
    """What is wrong with a wheel, told at once, each with place, cause and next step."""
    with pytest.raises(BadInputError) as caught:
        layer_of(path)
    for fault in caught.value.faults:
        assert fault.place.startswith(path.name)
        assert fault.fix.endswith((", or use another version", "use another version", "fetch it again"))
        assert not directory.CONTROL.search(str(fault))
    return caught.value.faults


def refused(path: Path, member: str, cause: str) -> None:
    fault = faults_of(path)[0]
    assert fault.place == f"{path.name} {member}".strip()
    assert cause in fault.cause


def at(path: Path, member: str, magic: bytes, place: int) -> int:
    """Where a member's header, or its entry in the directory, has something."""
    data, name = path.read_bytes(), member.encode()
    behind = {HEADER: 30, ENTRY: 46}[magic]
    start = data.index(magic)
    while data[start + behind : start + behind + len(name)] != name:
        start = data.index(magic, start + 1)
    return start + place


def record_of(files: Mapping[str, bytes], *, info: str = INFO) -> list[str]:
    return whole(files, info)[f"{info}/RECORD"].decode().splitlines()


def with_record(folder: Path, lines: Sequence[str], files: Mapping[str, bytes] = FILES) -> Path:
    return wheel(folder, {**files, f"{INFO}/RECORD": ("\n".join(lines) + "\n").encode()})


def test_the_same_wheel_without_harm_is_a_layer(tmp_path: Path) -> None:
    assert layer_of(wheel(tmp_path, FILES)).size > 0


# Names


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x.py",
        "a/../../x.py",
        "a/..",
        "C:/x.py",
        "\\x.py",
        "..\\x.py",
        f"{DATA}/data/../../etc/x",
    ],
)
def test_a_path_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    shown = name.replace("\\", "\\\\")
    refused(wheel(tmp_path, {name: b""}), shown, "has a path that leads out of the wheel")


@pytest.mark.parametrize("scheme", ["purelib", "platlib", "data", "scripts", "headers"])
def test_a_second_slash_does_not_lead_out_of_the_environment(scheme: str, tmp_path: Path) -> None:
    with opened_wheel(wheel(tmp_path, {f"{DATA}/{scheme}//etc/passwd": b"root::0:0\n"})) as archive:
        paths = [entry.node.path for entry in install(archive, 0, TARGET, ())]
    assert all(path.startswith("opt/cuvee/main/") for path in paths)
    assert any(path.endswith("/etc/passwd") for path in paths)


@pytest.mark.parametrize(
    "name", [".", "./.", f"{DATA}", f"{DATA}/data", f"{DATA}/data/.", f"{DATA}/root/x", "x.data/y"]
)
def test_a_file_that_belongs_nowhere_is_refused(name: str, tmp_path: Path) -> None:
    refused(
        wheel(tmp_path, {name: b"x"}),
        name,
        "it belongs nowhere: a wheel's .data has the folders data, headers,",
    )


@pytest.mark.parametrize(
    "name",
    [
        ".wh.python",
        "vat/.wh..wh..opq",
        ".wh.vat/a.py",
        f"{DATA}/scripts/.wh.python",
        f"{DATA}/data/.wh.bin/x",
    ],
)
def test_a_name_that_deletes_another_file_of_a_layer_is_refused(name: str, tmp_path: Path) -> None:
    refused(wheel(tmp_path, {name: b""}), name, "a name that begins with .wh. deletes a file")


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x7f", "\x85", "\t"])
def test_a_name_with_a_control_character_is_refused_and_never_shown(character: str, tmp_path: Path) -> None:
    shown = f"vat/a{character}b.py".encode("unicode_escape").decode()
    refused(wheel(tmp_path, {f"vat/a{character}b.py": b""}), shown, "has a name with a control character")


def test_a_name_that_no_file_system_holds_is_refused(tmp_path: Path) -> None:
    assert layer_of(wheel(tmp_path, {"vat/" + "x" * 255: b""}))
    refused(
        wheel(tmp_path, {"vat/" + "é" * 128: b""}),
        "vat/" + "é" * 128,
        "no file system holds a name of more than 255",
    )


def test_many_faults_of_one_wheel_are_told_at_once_but_not_thousands(tmp_path: Path) -> None:
    names = {f"vat/.wh.{number}": b"" for number in range(MOST_FAULTS + 9)}
    assert len(faults_of(wheel(tmp_path, names))) == MOST_FAULTS


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"vat/passwd": b"/etc/passwd"})
    put(path, at(path, "vat/passwd", ENTRY, 38), (stat.S_IFLNK | 0o777) << 16, 4)
    refused(path, "vat/passwd", "is a symbolic link")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"vat/a.py": b"a", "vat/b.py": b"b"})
    path.write_bytes(path.read_bytes().replace(b"vat/b.py", b"vat/a.py"))
    refused(path, "vat/a.py", "stands in the wheel twice")


@pytest.mark.parametrize("name", ["vat//a.py", "./vat/a.py", f"{DATA}/purelib/vat/a.py"])
def test_two_files_of_a_wheel_at_one_place_of_the_image_are_refused(name: str, tmp_path: Path) -> None:
    path = wheel(tmp_path, {"vat/a.py": b"a", name: b"b"})
    with pytest.raises(BadInputError, match=f"/{SITE}/vat/a.py".replace("//", "/")):
        collide(path)


# What it says of itself


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("vat-1.0-py3-none-any.whl", None),
        ("Vat-1.0-py3-none-any.whl", None),
        ("wine-1.0-py3-none-any.whl", "its folder vat-1.0.dist-info is that of another distribution"),
        ("vat.whl", "is not the name of a wheel"),
        ("vat-1.0-py3-none-any.zip", "is not the name of a wheel"),
    ],
)
def test_a_wheel_of_another_name_is_refused(name: str, cause: str | None, tmp_path: Path) -> None:
    path = wheel(tmp_path, FILES, name=name)
    if cause is None:
        assert layer_of(path)
        return
    with pytest.raises(BadInputError, match=cause) as caught:
        layer_of(path)
    assert caught.value.faults[0].place == name


def test_a_wheel_has_one_dist_info(tmp_path: Path) -> None:
    two = {"wine-1.0.dist-info/METADATA": b"Name: wine\n"}
    refused(wheel(tmp_path, two), "", "it has 2 .dist-info folders, and a wheel has one")
    refused(zipped(tmp_path / NAME, FILES), "", "it has 0 .dist-info folders")


@pytest.mark.parametrize("missing", ["WHEEL", "RECORD"])
def test_a_wheel_without_what_every_wheel_has_is_refused(missing: str, tmp_path: Path) -> None:
    files = whole(FILES)
    del files[f"{INFO}/{missing}"]
    refused(zipped(tmp_path / NAME, files), "", f"it has no {INFO}/{missing}")


@pytest.mark.parametrize(
    "text", [b"", b"Wheel-Version: 2.0\n", b"Wheel-Version: one\n", b"Wheel-Version: 1\n"]
)
def test_another_format_of_wheels_is_refused(text: bytes, tmp_path: Path) -> None:
    path = wheel(tmp_path, {f"{INFO}/WHEEL": text})
    refused(path, f"{INFO}/WHEEL", "it names no version of the wheel format that is known")


@pytest.mark.parametrize("name", ["WHEEL", "RECORD", "entry_points.txt"])
def test_a_text_that_is_not_utf_8_is_refused(name: str, tmp_path: Path) -> None:
    refused(wheel(tmp_path, {f"{INFO}/{name}": b"\xff\xfe"}), f"{INFO}/{name}", "it is not UTF-8")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"[console_scripts]\nvat = os.system('rm -rf /')\n", "vat = os.system('rm -rf /') is no program"),
        (b"[console_scripts]\nvat = vat\n", "vat = vat is no program"),
        (b"[console_scripts]\nvat = vat:main\n  import os\n", "is no program"),
        (b"[console_scripts]\n.. = vat:main\n", ".. = vat:main is no program"),
        (b"[console_scripts]\n.wh.python = vat:main\n", ".wh.python = vat:main is no program"),
        (b"[console_scripts]\n../../../../etc/x = vat:main\n", "is no program"),
        (b"[console_scripts]\n/etc/x = vat:main\n", "is no program"),
        (b"[gui_scripts]\nvat\x1b[2J = vat:main\n", "vat\\x1b[2J = vat:main is no program"),
        (b"[console_scripts]\nvat = a:b\n[gui_scripts]\nvat = a:c\n", "two programs of it are called vat"),
        (b"no section\n", "it cannot be read: "),
        (b"[console_scripts\n", "it cannot be read: "),
    ],
)
def test_an_entry_point_that_is_no_program_is_refused(text: bytes, cause: str, tmp_path: Path) -> None:
    refused(wheel(tmp_path, {f"{INFO}/entry_points.txt": text}), f"{INFO}/entry_points.txt", cause)


# RECORD


def test_a_file_with_another_hash_than_record_says_is_refused(tmp_path: Path) -> None:
    lines = [record_line("vat/a.so", b"other"), *record_of(FILES)[1:]]
    refused(
        with_record(tmp_path, lines),
        "vat/a.so",
        "and the wheel's RECORD says d9298a10d1b0735837dc4bd85dac641b",
    )


@pytest.mark.parametrize("script", [b"#!python\nimport os\n", b"#!/bin/sh\n"])
def test_a_script_is_held_to_record_even_where_its_first_line_is_replaced(
    script: bytes, tmp_path: Path
) -> None:
    name = f"{DATA}/scripts/vat"
    lines = [record_line(name, b"#!python\nimport sys\n"), *record_of({name: script})[1:]]
    refused(with_record(tmp_path, lines, {name: script}), name, "and the wheel's RECORD says ")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda lines: [*lines, lines[0]], "it lists vat/a.so twice"),
        (lambda lines: lines[1:], "it does not list vat/a.so, which is in the wheel"),
        (
            lambda lines: [*lines, record_line("vat/b.so", b"")],
            "it lists vat/b.so, which is not in the wheel",
        ),
        (lambda lines: ["vat/a.so,,", *lines[1:]], "it has no SHA-256 of vat/a.so"),
        (lambda lines: ["vat/a.so", *lines[1:]], "it has no SHA-256 of vat/a.so"),
        (lambda lines: [lines[0].replace("sha256", "md5"), *lines[1:]], "it has no SHA-256 of vat/a.so"),
        (lambda lines: ["vat/a.so,sha256=AAAA,9", *lines[1:]], "it has no SHA-256 of vat/a.so"),
        (lambda lines: ["vat/a.so,sha256=" + "é" * 43, *lines[1:]], "it has no SHA-256 of vat/a.so"),
        (lambda lines: ["/vat/a.so" + lines[0][8:], *lines[1:]], "it does not list vat/a.so"),
        (lambda lines: ['"' + "x" * 200_000, *lines], "it cannot be read: field larger than"),
        (lambda lines: [*lines, "x" * 9000 + ",sha256=AAAA,9"], "it has no SHA-256 of " + "x" * 100),
        (lambda lines: [*lines, "\x1b[2J,,"], "it has no SHA-256 of \\x1b[2J"),
        (lambda _: [""], "it does not list vat"),
    ],
)
def test_a_record_that_does_not_fit_the_wheel_is_refused(
    change: Callable[[list[str]], list[str]], cause: str, tmp_path: Path
) -> None:
    refused(with_record(tmp_path, change(record_of(FILES))), f"{INFO}/RECORD", cause)


def test_a_record_larger_than_any_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.engines.direct.dist_info.MOST_RECORD", 100)
    refused(wheel(tmp_path, FILES), f"{INFO}/RECORD", "and no such file has more than 100")


# Sizes, checksums and streams that lie


@pytest.mark.parametrize(
    ("place", "value", "cause"),
    [
        (
            SIZE,
            len(LIBRARY) - 1,
            f"it has more than the {len(LIBRARY) - 1} bytes that the wheel's directory tells",
        ),
        (SIZE, len(LIBRARY) + 1, "its size or its checksum is not what the wheel's directory tells"),
        (SIZE, 0xFFFFFFFE, "that is a trap"),
        (CRC, 0, "its size or its checksum is not what the wheel's directory tells"),
        (COMPRESSED, 4, "that is a trap"),
        (COMPRESSED, 200, "it ends in the middle of its content"),
        (COMPRESSED, 1_000_000, "reaches into the one behind it"),
        (METHOD, zipfile.ZIP_STORED, "its own header says another way of storing"),
        (METHOD, zipfile.ZIP_LZMA, "it is compressed by method 14, which wheels do not use"),
        (FLAGS, directory.ENCRYPTED, "is encrypted"),
        (42, 0xFFFFFFF0, "reaches into the one behind it"),
    ],
)
def test_a_directory_that_lies_is_refused(place: int, value: int, cause: str, tmp_path: Path) -> None:
    path = wheel(tmp_path, FILES)
    size = 2 if place in {FLAGS, METHOD} else 4
    refused(put(path, at(path, "vat/a.so", ENTRY, place), value, size), "vat/a.so", cause)


@pytest.mark.parametrize(
    ("place", "value", "size", "cause"),
    [
        (0, 0, 4, "its own header has another name"),
        (30, ord("x"), 1, "its own header has another name"),
        (6, directory.ENCRYPTED, 2, "its own header says another way of storing"),
        (8, 0, 2, "its own header says another way of storing"),
        (28, 60_000, 2, "it reaches into the one behind it"),
    ],
)
def test_a_members_own_header_that_lies_is_refused(
    place: int, value: int, size: int, cause: str, tmp_path: Path
) -> None:
    path = wheel(tmp_path, FILES)
    refused(put(path, at(path, "vat/a.so", HEADER, place), value, size), "vat/a.so", cause)


@pytest.mark.parametrize("place", [14, 18, 22])
def test_a_members_own_size_and_checksum_change_nothing_the_directory_counts(
    place: int, tmp_path: Path
) -> None:
    path = wheel(tmp_path, FILES)
    sound = layer_of(path)
    put(path, at(path, "vat/a.so", HEADER, place), 12345, 4)
    assert layer_of(path) == sound


def test_damage_in_a_stream_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, FILES)
    start = at(path, "vat/a.so", HEADER, 30 + len("vat/a.so"))
    data = path.read_bytes()
    path.write_bytes(data[: start + 20] + b"\xff" * 40 + data[start + 60 :])
    refused(path, "vat/a.so", "cannot be read as a wheel")


def deflated(folder: Path, raw: bytes, content: bytes) -> Path:
    """A wheel with a file whose deflate stream is `raw`, and which claims to be `content`."""
    path = wheel(folder, {"vat/a.so": raw}, stored=("vat/a.so",))
    for magic, method in ((HEADER, 8), (ENTRY, METHOD)):
        put(path, at(path, "vat/a.so", magic, method), zipfile.ZIP_DEFLATED, 2)
    put(path, at(path, "vat/a.so", ENTRY, SIZE), len(content), 4)
    return put(path, at(path, "vat/a.so", ENTRY, CRC), zlib.crc32(content), 4)


@pytest.mark.parametrize("length", [1, 20, 100_000])
def test_data_behind_the_end_of_a_stream_is_refused(length: int, tmp_path: Path) -> None:
    """In the layer it would stand inside a gzip member, and every reader would fail over it."""
    packer = zlib.compressobj(wbits=-15)
    stream = packer.compress(LIBRARY) + packer.flush()
    refused(
        deflated(tmp_path, stream + bytes(length), LIBRARY),
        "vat/a.so",
        "it goes on behind the end of its content",
    )


def test_a_stream_without_an_end_is_refused(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=-15)
    stream = packer.compress(LIBRARY) + packer.flush(zlib.Z_FULL_FLUSH)
    refused(deflated(tmp_path, stream, LIBRARY), "vat/a.so", "it ends in the middle of its content")


def test_an_empty_file_without_a_stream_is_refused(tmp_path: Path) -> None:
    refused(deflated(tmp_path, b"", b""), "vat/a.so", "it ends in the middle of its content")


def test_a_bomb_that_says_so_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MOST_BYTES", 1_000_000)
    refused(wheel(tmp_path, {"vat/a.so": bytes(1_000_001)}), "vat/a.so", "claims to hold 1000001 bytes in ")
    monkeypatch.setattr(directory, "MOST_BYTES_TOGETHER", 1_500_000)
    files = {"vat/a.so": bytes(900_000), "vat/b.so": bytes(900_000)}
    refused(wheel(tmp_path, files), "", "bytes: that is a trap")


def test_a_bomb_that_lies_is_stopped_as_it_grows(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"vat/a.so": bytes(50_000_000)})
    put(path, at(path, "vat/a.so", ENTRY, SIZE), 10_000, 4)
    refused(path, "vat/a.so", "it has more than the 10000 bytes")


def zip64(path: Path, member: str, magic: bytes, size: int, compressed: int) -> Path:
    """Have a header say that its sizes are in a zip64 field, and put that there."""
    fields = {HEADER: (18, 22, 28, 30), ENTRY: (COMPRESSED, SIZE, 30, 46)}[magic]
    extra = struct.pack("<HHQQ", 1, 16, size, compressed)
    for place in fields[:2]:
        put(path, at(path, member, magic, place), 0xFFFFFFFF, 4)
    put(path, at(path, member, magic, fields[2]), len(extra), 2)
    data, end = path.read_bytes(), at(path, member, magic, fields[3] + len(member))
    path.write_bytes(data[:end] + extra + data[end:])
    grown = {ENTRY: 12, HEADER: 16}[magic]  # the directory's size, or where it begins
    place = path.read_bytes().rindex(b"PK\x05\x06") + grown
    return put(path, place, int.from_bytes(path.read_bytes()[place : place + 4], "little") + len(extra), 4)


@pytest.mark.parametrize(
    ("size", "compressed", "cause"),
    [
        (1 << 62, 1 << 61, "that is a trap"),
        (len(LIBRARY), 1 << 40, "reaches into the one behind it"),
        (1 << 40, 400, "that is a trap"),
        (len(LIBRARY) + 1, 0, "that is a trap"),
    ],
)
def test_a_zip64_field_that_lies_is_refused(size: int, compressed: int, cause: str, tmp_path: Path) -> None:
    refused(zip64(wheel(tmp_path, FILES), "vat/a.so", ENTRY, size, compressed), "vat/a.so", cause)


def test_a_zip64_field_that_tells_the_truth_is_read_and_one_of_a_members_own_header_is_not(
    tmp_path: Path,
) -> None:
    path = wheel(tmp_path, FILES)
    sound = layer_of(path)
    with opened_wheel(path) as archive:
        [member] = [one for one in archive.members if one.path == "vat/a.so"]
    assert layer_of(zip64(path, "vat/a.so", ENTRY, member.size, member.compressed)) == sound
    last = f"{INFO}/RECORD"  # behind it, only the directory moves
    assert layer_of(zip64(path, last, HEADER, 1 << 62, 1 << 61)) == sound


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_a_wheel_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    path = wheel(tmp_path, FILES)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path, "", "cannot be read as a wheel")


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"<html>log in</html>" * 100)
    refused(tmp_path / NAME, "", "cannot be read as a wheel: File is not a zip file")


# Two wheels in one image


def collide(*paths: Path, environment: Sequence[Entry] = ()) -> None:
    with stream.opened(paths) as archives:
        wheels = [(one.name, entry) for one in archives for entry in install(one, 0, TARGET, ())]
        both = [*(("the environment itself", entry) for entry in environment), *wheels]
        collisions.require_none(collisions.writes(name, entry) for name, entry in both)


def two(folder: Path, first: Mapping[str, bytes], second: Mapping[str, bytes]) -> tuple[Path, Path]:
    return (
        wheel(folder, first, name="vat-1.0-py3-none-any.whl"),
        wheel(folder, second, name="wine-2.0-py3-none-any.whl", info="wine-2.0.dist-info"),
    )


def told_both(caught: pytest.ExceptionInfo[BadInputError], path: str, cause: str) -> None:
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == (path, cause)
    assert fault.fix == "Demand versions that do not, or leave one of them out"


def test_what_two_wheels_write_with_one_content_does_no_harm(tmp_path: Path) -> None:
    collide(*two(tmp_path, {"nvidia/__init__.py": b""}, {"nvidia/__init__.py": b"", "nvidia/a.py": b""}))


def test_a_path_that_two_wheels_write_differently_is_named_with_both(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        collide(*two(tmp_path, {"a/b.py": b"1"}, {"a/b.py": b"2"}))
    cause = "vat-1.0-py3-none-any.whl and wine-2.0-py3-none-any.whl both write it, with different content"
    told_both(caught, f"{SITE}/a/b.py", cause)


@pytest.mark.parametrize(("first", "second"), [("a", "a/b/c.py"), ("a/b/c.py", "a"), ("a/b", "a/b/c.py")])
def test_a_file_where_another_wheel_has_a_folder_is_named_with_both(
    first: str, second: str, tmp_path: Path
) -> None:
    wheels = two(tmp_path, {first: b""}, {second: b""})
    file, folder = (wheels[0], wheels[1]) if len(first) < len(second) else (wheels[1], wheels[0])
    with pytest.raises(BadInputError) as caught:
        collide(*wheels)
    cause = f"{file.name} writes it as a file or a link, and {folder.name} has files below it"
    told_both(caught, f"{SITE}/{min(first, second, key=len)}", cause)


def test_a_file_in_a_folder_of_its_own_name_is_refused_in_one_wheel_too(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="writes it as a file or a link"):
        collide(wheel(tmp_path, {"a": b"", "a/b.py": b""}))


@pytest.mark.parametrize(
    "files",
    [
        {f"{DATA}/scripts/python": b"#!/bin/sh\n"},
        {f"{DATA}/data/bin/python": b"\x7fELF"},
        {f"{INFO}/entry_points.txt": b"[console_scripts]\npython = vat:main\n"},
    ],
)
def test_the_environments_own_python_is_not_overwritten(files: Mapping[str, bytes], tmp_path: Path) -> None:
    own = Entry(Node("opt/cuvee/main/bin/python", "link", 0o777, "/usr/bin/python3.11"))
    with pytest.raises(BadInputError) as caught:
        collide(wheel(tmp_path, files), environment=[own])
    told_both(
        caught,
        "/opt/cuvee/main/bin/python",
        f"the environment itself and {NAME} both write it, with different content",
    )


def test_the_environments_links_and_folders_are_not_replaced(tmp_path: Path) -> None:
    own = [
        Entry(Node("opt/cuvee/main/bin", "directory", 0o755)),
        Entry(Node("opt/cuvee/main/lib64", "link", 0o777, "lib")),
    ]
    collide(wheel(tmp_path, {f"{DATA}/scripts/vat": b"x"}), environment=own)
    for name in ("bin", "lib64/vat.so"):
        with pytest.raises(BadInputError, match=r"/opt/cuvee/main/(bin|lib64): the environment itself"):
            collide(wheel(tmp_path, {f"{DATA}/data/{name}": b"x"}), environment=own)


def test_thousands_of_collisions_are_not_told(tmp_path: Path) -> None:
    names = [f"a/{number}.py" for number in range(MOST_TOLD + 5)]
    with pytest.raises(CuveeError) as caught:
        collide(*two(tmp_path, dict.fromkeys(names, b"1"), dict.fromkeys(names, b"2")))
    assert len(caught.value.faults) == MOST_TOLD
