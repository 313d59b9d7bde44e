from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from builder.engines.direct import zips
from builder.engines.direct.zips import ZipWriter, written_zip
from builder.errors import BadInputError, EngineOrNetworkError
from builder.wheels.members import opened_wheel

CONTENT = {"a/b.txt": b"some text " * 100, "a/empty": b"", "ünï/code.py": b"pass\n"}


def written(path: Path) -> Path:
    with written_zip(path) as archive:
        for name, content in CONTENT.items():
            archive.add(name, content, 0o755 if name.endswith(".py") else 0o644)
    return path


def test_wheels_are_read_from_it(tmp_path: Path) -> None:
    with opened_wheel(written(tmp_path / "x.zip")) as archive:
        assert {one.path: archive.read(one, 10_000) for one in archive.members} == CONTENT


def test_pythons_own_reader_finds_it_whole(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path / "x.zip")) as archive:
        assert archive.testzip() is None
        modes = {one.filename: one.external_attr >> 16 for one in archive.infolist()}
        assert modes == {"a/b.txt": 0o100644, "a/empty": 0o100644, "ünï/code.py": 0o100755}
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_it_has_the_same_bytes_wherever_it_is_written(tmp_path: Path) -> None:
    first, second = written(tmp_path / "x.zip"), written(tmp_path / "other" / "folder" / "y.zip")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o644


def test_a_zip_file_of_nothing_is_an_empty_file(tmp_path: Path) -> None:
    with written_zip(tmp_path / "x.zip"):
        pass
    assert (tmp_path / "x.zip").read_bytes() == b""


def test_what_ends_badly_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "x.zip"
    target.write_bytes(b"earlier")
    with pytest.raises(TypeError), written_zip(target) as archive:
        archive.add("a", None)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]
    assert target.read_bytes() == b"earlier"


def test_where_there_is_no_room_the_error_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineOrNetworkError) as caught, written_zip(tmp_path / "file" / "x.zip"):
        pass
    [fault] = caught.value.faults
    assert fault.place == "x.zip"
    assert fault.cause.startswith(f"cannot be written to {tmp_path}/file: ")
    assert fault.fix == "Free some space there, or set CUVEE_CACHE to another folder"


@pytest.mark.parametrize("limit", ["MOST_MEMBERS", "MOST_BYTES"])
def test_more_than_a_plain_zip_file_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    archive = ZipWriter(io.BytesIO())
    archive.add("a", b"")
    monkeypatch.setattr(zips, limit, 1)
    with pytest.raises(BadInputError, match="too much for a zip file"):
        archive.add("b", b"")
