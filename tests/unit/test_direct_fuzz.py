"""Any damage to a wheel on its way into a layer: the same layer, or one clear error, and never anything else.

`CUVEE_CASES=100000` tries more of them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from builder.engines.direct import collisions, stream
from builder.engines.direct.entry import Entry
from builder.engines.direct.stream import Measured
from builder.errors import CuveeError
from builder.wheels.directory import CONTROL
from tests.wheelmaker import END, ENTRY, HEADER, INFO, NAME, entries, members, wheel, whole, zipped

CASES = int(os.environ.get("CUVEE_CASES", "80"))
FILES = {
    "vat/__init__.py": b"x = 1\n",
    "vat/empty.py": b"",
    "vat/lib.so": bytes(range(256)) * 20 + hashlib.sha256(b"vat").digest() * 9,
    "vat/stored.bin": b"stored" * 90,
    "vat-1.0.data/scripts/run": b"#!python\nprint(1)\n",
    "vat-1.0.data/data/share/a b,c.txt": b"hm",
    f"{INFO}/entry_points.txt": b"[console_scripts]\nvat = vat.cli:main\n[gui_scripts]\nwin = vat:a.b [x]\n",
}
STORED = ("vat/stored.bin",)

quick = settings(
    deadline=None,  # a busy machine is no failure
    max_examples=CASES,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture(scope="module")
def sound(folder: Path) -> list[bytes]:
    """Wheels with the same files, each of another form."""
    plain = wheel(folder / "sound", FILES, stored=STORED, modes={"vat/lib.so": 0o755}).read_bytes()
    large = wheel(folder / "sound", FILES, zip64=tuple(FILES)).read_bytes()
    return [plain, large]


@pytest.fixture(scope="module")
def expected(folder: Path, sound: list[bytes]) -> dict[str, bytes]:
    """What every one of them installs."""
    (folder / NAME).write_bytes(sound[0])
    return files(read(folder / NAME)[2])


def read(path: Path) -> tuple[list[Entry], Measured, bytes]:
    """All that is made of a wheel: its entries, their measure, and the archive, which must agree."""
    with stream.opened([path]) as archives:
        made = entries(archives)
        collisions.require_none(collisions.writes(path.name, entry) for entry in made)
        measured = stream.measure(made, archives)
        packed = b"".join(stream.blob(made, archives))
        plain = b"".join(stream.archive(made, archives))
    assert measured.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert measured.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    return made, measured, plain


def files(plain: bytes) -> dict[str, bytes]:
    """What is in an archive. Modes are not among it: they hang on numbers that nothing vouches for."""
    return {path: content for path, (_, content) in members(plain).items()}


def same_or_refused(folder: Path, data: bytes, expected: dict[str, bytes]) -> None:
    path = folder / NAME
    path.write_bytes(data)
    try:
        found = files(read(path)[2])
    except CuveeError as error:
        told(error)
    else:
        assert found == expected


def told(error: CuveeError) -> None:
    """See that an error helps, and does nothing to a terminal."""
    assert error.faults
    for fault in error.faults:
        assert fault.place.startswith((NAME, "/"))
        assert fault.cause
        assert fault.fix
        assert not CONTROL.search(str(fault))
        assert len(str(fault)) < 1000


# Damage to what lies in the file

BYTES = st.lists(
    st.tuples(
        st.integers(0, 1 << 20),
        st.one_of(
            st.binary(min_size=1, max_size=1),
            st.binary(min_size=2, max_size=64),
            st.sampled_from([HEADER, ENTRY, END, b"PK\x06\x06", b"PK\x06\x07", b"\xff" * 4, bytes(8)]),
        ),
    ),
    min_size=1,
    max_size=8,
)


def changed(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    result = bytearray(data)
    for place, value in changes:
        at = place % len(data)
        result[at : at + len(value)] = value[: len(data) - at]
    return bytes(result)


@seed(1)
@quick
@given(form=st.integers(0, 1), changes=BYTES)
def test_no_changed_byte_is_a_traceback_or_another_layer(
    form: int, changes: list[tuple[int, bytes]], sound: list[bytes], expected: dict[str, bytes], folder: Path
) -> None:
    same_or_refused(folder, changed(sound[form], changes), expected)


@seed(2)
@quick
@given(
    form=st.integers(0, 1),
    start=st.integers(0, 1 << 20),
    length=st.integers(1, 400),
    more=st.binary(max_size=40),
)
def test_nothing_cut_out_or_put_in_is_a_traceback_or_another_layer(
    form: int,
    start: int,
    length: int,
    more: bytes,
    sound: list[bytes],
    expected: dict[str, bytes],
    folder: Path,
) -> None:
    data = sound[form]
    at = start % len(data)
    for damaged in (data[:at], data[:at] + data[at + length :], data[:at] + more + data[at:]):
        same_or_refused(folder, damaged, expected)


NUMBERS = {
    HEADER: [(4, 2), (6, 2), (8, 2), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)],
    ENTRY: [(4, 2), (6, 2), (8, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (38, 4), (42, 4)],
    END: [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)],
}
FIELDS = st.lists(
    st.tuples(
        st.sampled_from([(magic, *number) for magic, numbers in NUMBERS.items() for number in numbers]),
        st.integers(0, 30),
        st.one_of(
            st.sampled_from([0, 1, 8, 9, 14, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 300),
        ),
    ),
    min_size=1,
    max_size=3,
)


@seed(3)
@quick
@given(form=st.integers(0, 1), fields=FIELDS)
def test_no_number_in_a_header_is_a_traceback_or_another_layer(
    form: int,
    fields: list[tuple[tuple[bytes, int, int], int, int]],
    sound: list[bytes],
    expected: dict[str, bytes],
    folder: Path,
) -> None:
    data = bytearray(sound[form])
    for (magic, place, size), number, value in fields:
        starts = [at for at in range(len(data)) if data.startswith(magic, at)]
        at = starts[number % len(starts)] + place if starts else 0
        data[at : at + size] = struct.pack("<Q", value)[:size]
    same_or_refused(folder, bytes(data), expected)


# Wheels that are whole as zip files, and say odd things

PARTS = st.sampled_from(
    [
        *("vat", "a", "..", ".", "", "é", "x.data", "vat-1.0.data", "purelib", "scripts", "data", "headers"),
        *(INFO, "other-1.0.dist-info", "RECORD", "WHEEL", "INSTALLER", ".wh.x", ".wh..wh..opq", "b\\c", "C:"),
        *("x" * 300, "\n", "\r", "\x7f", "\u2028", "bin", "python", " ", "a,b", '"', "__pycache__", "x.py"),
    ]
)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join).filter(bool)
CONTENTS = st.sampled_from([b"", b"hm", b"#!python -E\n", b"#!pythonw", b"\x7fELF" * 99])
EDITS = st.lists(
    st.tuples(
        st.integers(0, 9999),
        st.sampled_from([0, 0, 1, 5]),
        st.one_of(
            st.sampled_from(
                [
                    *(
                        b"\n",
                        b'"',
                        b",",
                        b"=",
                        b"[",
                        b"]",
                        b":",
                        b";",
                        b"\0",
                        b"\xff",
                        b"\r",
                        b" ",
                        b"%s",
                        b"..",
                    ),
                    *("\u2028".encode(), b"[DEFAULT]\n", b"x" * 200_000, b"../", b"sha512=", b"\x1b[2J"),
                ]
            ),
            st.binary(max_size=4),
        ),
    ),
    max_size=4,
)


def edited(text: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, more in edits:
        at = place % (len(text) + 1)
        text = text[:at] + more + text[at + length :]
    return text


def harmless(path: Path) -> None:
    """See that a wheel is refused, or all it brings lies in the environment and can be read by others."""
    try:
        made, _, plain = read(path)
    except CuveeError as error:
        told(error)
        return
    with stream.opened([path]) as archives:
        assert gzip.decompress(b"".join(stream.blob(made, archives))) == plain
    paths = [entry.node.path for entry in made]
    assert set(paths) == set(files(plain))
    assert len(paths) == len(set(paths))
    for one in paths:
        parts = one.split("/")
        assert parts[:3] == ["opt", "cuvee", "main"]
        assert not {"", ".", ".."} & set(parts)
        assert not any(part.startswith(".wh.") for part in parts)


@seed(4)
@quick
@given(
    more=st.dictionaries(NAMES, CONTENTS, max_size=4),
    texts=st.tuples(EDITS, EDITS, EDITS),
    stored=st.booleans(),
)
def test_whatever_a_wheel_says_of_itself_is_refused_or_harmless(
    more: dict[str, bytes], texts: tuple[list[tuple[int, int, bytes]], ...], stored: bool, folder: Path
) -> None:
    given_files = {**FILES, **more}
    for name, edits in zip(("entry_points.txt", "WHEEL"), texts[:2], strict=True):
        path = f"{INFO}/{name}"
        given_files[path] = edited(whole(given_files)[path], edits)
    every = whole(given_files)
    every[f"{INFO}/RECORD"] = edited(every[f"{INFO}/RECORD"], texts[2])
    harmless(zipped(folder / NAME, every, stored=tuple(every) if stored else ()))


@seed(5)
@quick
@given(names=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_whatever_files_a_wheel_has_they_are_refused_or_harmless(names: list[str], folder: Path) -> None:
    harmless(wheel(folder, {**FILES, **{name: b"%d" % number for number, name in enumerate(names)}}))
