from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from builder.launcher.writing import write


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "target.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("target.txt")
    write(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "target.txt").read_text() == "new"


def test_what_cannot_be_replaced_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: Any) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")  # a file that is mounted by itself

    monkeypatch.setattr(Path, "replace", busy)
    path = tmp_path / "out.txt"
    path.write_text("something longer than that")
    write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "out.txt"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_stands_for_an_open_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "redirected.txt"
    with path.open("wb") as stream:
        write(Path(f"/proc/self/fd/{stream.fileno()}"), "said")
        assert path.read_text() == "said"
        assert path.stat().st_ino == os.fstat(stream.fileno()).st_ino
