from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from builder.errors import BadInputError, Fault
from builder.lock.record import Environment, Lock, Package
from builder.wheels.inside import join
from builder.wheels.pieces import Piece, sample_files, write_pieces

OWN = "{}.{}".format(*sys.version_info[:2])
CONTENTS = {
    "grape-1-py3-none-any.whl": b"0123456789" * 7,
    "vat-2.tar.gz": b"built",
    "shared-3-py3-none-any.whl": b"in two environments",
    "sound-4-py3-none-any.whl": b"what the checks hear",
    "tool-5-py3-none-any.whl": b"",
}


def package(file: str) -> Package:
    name, version = file.removesuffix(".tar.gz").split("-")[:2]
    content = CONTENTS[file]
    digest = hashlib.sha256(content).hexdigest()
    return Package(name=name, version=version, file=file, sha256=digest, size=len(content))


GRAPE, VAT, SHARED, SOUND, TOOL = map(package, CONTENTS)
LOCK = Lock(
    row="blend",
    fingerprint="f",
    as_of="2025-01-20",
    base="bookworm",
    python=OWN,
    environments=(
        Environment(name="asr", packages=(GRAPE, SHARED)),
        Environment(name="diarize", packages=(SHARED, VAT)),
    ),
    overlays=(Environment(name="cudnn8", packages=(SHARED,)),),
    tools=(TOOL,),
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for one in (GRAPE, VAT, SHARED, SOUND, TOOL):
        place = tmp_path / "wheels" / one.sha256
        place.mkdir(parents=True)
        (place / one.file).write_bytes(CONTENTS[one.file])
    return tmp_path / "wheels"


def cut(store: Path, folder: Path, size: int = 32) -> tuple[Piece, ...]:
    libraries = {"asr": [PurePosixPath("overlays/cudnn8/lib")]}
    return write_pieces(LOCK, libraries, store, folder, size, samples=[SOUND], fetch=lambda _: None)


def manifest(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return told


def joined(folder: Path, target: Path, *options: str) -> int:
    """Run the `join.py` that travelled, without installing."""
    script = folder / "join.py"
    assert script.read_bytes() == Path(join.__file__).read_bytes()
    scope: dict[str, Any] = {"__file__": str(script), "__name__": "joining"}
    exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), scope)  # noqa: S102 - it is ours
    code: int = scope["main"]([str(target), "--only-join", *options])
    return code


def test_no_piece_is_larger_than_asked_and_only_the_last_is_smaller(store: Path, tmp_path: Path) -> None:
    pieces = cut(store, tmp_path / "out")
    assert [piece.size for piece in pieces[:-1]] == [32] * (len(pieces) - 1)
    assert sum(piece.size for piece in pieces) == sum(map(len, CONTENTS.values()))
    for piece in pieces:
        content = (tmp_path / "out" / piece.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (piece.size, piece.sha256)


@pytest.mark.parametrize("size", [1, 7, 32, 10**6])
def test_what_is_joined_is_what_was_cut(store: Path, tmp_path: Path, size: int) -> None:
    cut(store, tmp_path / "out", size)
    assert joined(tmp_path / "out", tmp_path / "new") == 0
    wheels = tmp_path / "new" / "wheels"
    assert {path.name: path.read_bytes() for path in wheels.iterdir()} == CONTENTS


def test_a_file_of_two_environments_travels_once(store: Path, tmp_path: Path) -> None:
    cut(store, tmp_path / "out")
    told = manifest(tmp_path / "out")
    assert sorted(one["file"] for one in told["files"]) == sorted(CONTENTS)
    parts = told["environments"]
    assert {name: [one["name"] for one in part["packages"]] for name, part in parts.items()} == {
        "asr": ["grape", "shared"],
        "diarize": ["shared", "vat"],
    }
    assert parts["asr"]["libraries"] == ["overlays/cudnn8/lib"]
    assert (told["row"], told["lock"]) == ("blend", LOCK.digest)


def test_the_samples_arrive_where_the_checks_look_for_them(store: Path, tmp_path: Path) -> None:
    cut(store, tmp_path / "out")
    joined(tmp_path / "out", tmp_path / "new")
    there = tmp_path / "new" / "store" / "wheels" / SOUND.sha256 / SOUND.file
    assert there.read_bytes() == CONTENTS[SOUND.file]


def test_the_checks_own_samples_are_files_of_the_index() -> None:
    found = sample_files()
    assert len({one.sha256 for one in found}) == len(found) > 1
    assert all(one.file.endswith(".whl") and one.size for one in found)


def test_all_that_is_missing_or_damaged_is_told_at_once(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = cut(store, tmp_path / "out")
    (tmp_path / "out" / first.name).write_bytes(b"x" * first.size)
    (tmp_path / "out" / second.name).unlink()
    assert joined(tmp_path / "out", tmp_path / "new") == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{first.name}: it is damaged: bring it again",
        f"{second.name}: it is missing: bring it",
    ]
    assert not any((tmp_path / "new").glob("main"))
    assert (tmp_path / "out" / first.name).is_file(), "what is damaged is not taken in, and not deleted"


@pytest.mark.parametrize("size", [7, 32])
def test_pieces_may_come_one_by_one_and_in_any_order(store: Path, tmp_path: Path, size: int) -> None:
    pieces = cut(store, tmp_path / "out", size)
    (tmp_path / "away").mkdir()
    for piece in pieces:
        (tmp_path / "out" / piece.name).rename(tmp_path / "away" / piece.name)
    codes = []
    for piece in reversed(pieces):
        (tmp_path / "away" / piece.name).rename(tmp_path / "out" / piece.name)
        codes.append(joined(tmp_path / "out", tmp_path / "new"))
        assert not list((tmp_path / "out").glob("piece-*")), "what is taken in leaves no second copy"
    assert codes == [*[1] * (len(pieces) - 1), 0]
    wheels = tmp_path / "new" / "wheels"
    assert {path.name: path.read_bytes() for path in wheels.iterdir()} == CONTENTS


def test_pieces_with_the_same_bytes_are_not_mistaken_for_each_other(store: Path, tmp_path: Path) -> None:
    pieces = cut(store, tmp_path / "out", 10)
    assert len({piece.sha256 for piece in pieces}) < len(pieces)
    assert joined(tmp_path / "out", tmp_path / "new") == 0
    assert (tmp_path / "new" / "wheels" / GRAPE.file).read_bytes() == CONTENTS[GRAPE.file]


def test_pieces_can_be_kept(store: Path, tmp_path: Path) -> None:
    pieces = cut(store, tmp_path / "out")
    assert joined(tmp_path / "out", tmp_path / "new", "--keep") == 0
    assert len(list((tmp_path / "out").glob("piece-*"))) == len(pieces)


def test_pieces_of_another_lock_do_not_join_those_that_are_in(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(store, tmp_path / "out")
    joined(tmp_path / "out", tmp_path / "new")
    cut(store, tmp_path / "out")
    file = tmp_path / "out" / "manifest.json"
    file.write_text(json.dumps({**manifest(tmp_path / "out"), "lock": "other"}), encoding="utf-8")
    assert joined(tmp_path / "out", tmp_path / "new") == 2
    assert capsys.readouterr().err == (
        f"{tmp_path / 'new'}: it has pieces of another lock: name an empty folder.\n"
    )


def test_the_probe_travels_too(store: Path, tmp_path: Path) -> None:
    cut(store, tmp_path / "out")
    joined(tmp_path / "out", tmp_path / "new")
    assert (tmp_path / "new" / "probe" / "__main__.py").is_file()


def test_another_file_than_the_locks_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / GRAPE.sha256 / GRAPE.file).write_bytes(CONTENTS[GRAPE.file][::-1])
    cut(store, tmp_path / "out")
    assert joined(tmp_path / "out", tmp_path / "new") == 2
    assert capsys.readouterr().err == f"{GRAPE.file}: it is not the file that the lock names\n"


def test_another_python_is_refused_before_anything_is_written(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(store, tmp_path / "out")
    file = tmp_path / "out" / "manifest.json"
    file.write_text(json.dumps({**manifest(tmp_path / "out"), "python": "3.1"}), encoding="utf-8")
    script = tmp_path / "out" / "join.py"
    scope: dict[str, Any] = {"__file__": str(script), "__name__": "joining"}
    exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), scope)  # noqa: S102 - it is ours
    assert scope["main"]([str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == (
        f"The wheels are for Python 3.1, and this is {OWN}: start join.py with python3.1.\n"
    )
    assert not (tmp_path / "new").exists()


def test_what_the_store_lacks_is_fetched_first(store: Path, tmp_path: Path) -> None:
    shutil.rmtree(store / GRAPE.sha256)
    asked: list[str] = []

    def fetch(files: Sequence[Package]) -> None:
        asked.extend(one.file for one in files)
        (store / GRAPE.sha256).mkdir()
        (store / GRAPE.sha256 / GRAPE.file).write_bytes(CONTENTS[GRAPE.file])

    write_pieces(LOCK, {}, store, tmp_path / "out", 32, fetch=fetch)
    assert GRAPE.file in asked
    assert joined(tmp_path / "out", tmp_path / "new") == 0


def test_pieces_of_before_are_replaced(store: Path, tmp_path: Path) -> None:
    cut(store, tmp_path / "out", 7)
    pieces = cut(store, tmp_path / "out", 10**6)
    assert [path.name for path in (tmp_path / "out").glob("piece-*")] == [pieces[0].name]


@pytest.mark.parametrize(
    ("size", "fault"),
    [(0, Fault(place="--size", cause="a piece would have no bytes", fix="Give it some: 60MB"))],
)
def test_a_size_must_have_room_for_something(store: Path, tmp_path: Path, size: int, fault: Fault) -> None:
    with pytest.raises(BadInputError) as caught:
        cut(store, tmp_path / "out", size)
    assert caught.value.faults == (fault,)


def test_a_folder_of_somebody_elses_files_is_left_alone(store: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(BadInputError) as caught:
        cut(store, tmp_path / "out")
    [fault] = caught.value.faults
    assert fault.cause == "it has files that are no pieces: thesis.tex"
    assert fault.fix == "Name an empty folder"
