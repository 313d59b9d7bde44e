from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from builder.engines.direct.store import KINDS, Item, Store, default_store, flocked, to_delete, touch
from builder.errors import CuveeError, EngineOrNetworkError
from builder.wheels.store import PARTIAL, STALE_S

DAY_S = 24 * 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def aged(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Writing


def test_a_file_is_written_with_its_folders(store: Store) -> None:
    store.write(store.path("layers", "a.json"), (b"one", b"two"))
    assert store.path("layers", "a.json").read_bytes() == b"onetwo"
    assert names(store.root) == ["layers/a.json"]


def test_a_file_that_is_there_is_replaced(store: Store) -> None:
    for content in (b"old", b"new"):
        store.write(store.path("layers", "a.json"), (content,))
    assert store.path("layers", "a.json").read_bytes() == b"new"


def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(store: Store) -> None:
    def failing() -> Iterator[bytes]:
        yield b"half"
        raise CuveeError

    path = store.path("layers", "a.json")
    store.write(path, (b"old",))
    with pytest.raises(CuveeError):
        store.write(path, failing())
    assert path.read_bytes() == b"old"
    assert [one.name for one in store.root.iterdir()] == ["layers"]


def test_a_full_disk_is_one_error_with_a_way_out(store: Store) -> None:
    def full() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(EngineOrNetworkError) as caught:
        store.write(store.path("layers", "a.json"), full())
    [fault] = caught.value.faults
    assert fault.place == str(store.root)
    assert fault.cause == "it cannot be written: No space left on device"
    assert "cuvee clean --store" in fault.fix
    assert names(store.root) == []


def test_a_store_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = Store(tmp_path / "file" / "store")
    with pytest.raises(EngineOrNetworkError, match="it cannot be written: Not a directory"), below.in_use():
        pass
    with pytest.raises(EngineOrNetworkError, match="it cannot be written"), below.alone():
        pass


def test_a_scratch_folder_is_gone_afterwards_come_what_may(store: Store) -> None:
    def failing() -> None:
        with store.scratch() as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").touch()
            assert folder.parent == store.root
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert list(store.root.iterdir()) == []


# Who may use it when


def may_lock(store: Store, how: int) -> bool:
    """Whether another process could lock the store so: a lock belongs to an opened file."""
    with (store.root / "lock").open("rb+") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_several_builds_use_it_at_once_and_nobody_deletes_meanwhile(store: Store) -> None:
    with store.in_use(), store.in_use():
        assert may_lock(store, fcntl.LOCK_SH)
        assert not may_lock(store, fcntl.LOCK_EX)
    assert may_lock(store, fcntl.LOCK_EX)


def test_who_deletes_is_alone(store: Store) -> None:
    with store.alone():
        assert not may_lock(store, fcntl.LOCK_SH)
    assert may_lock(store, fcntl.LOCK_SH)


def test_a_lock_ends_with_an_error_too(store: Store) -> None:
    with pytest.raises(KeyError), store.alone():
        raise KeyError
    assert may_lock(store, fcntl.LOCK_EX)


# What killed ones have left


def test_what_a_killed_build_has_left_is_swept_a_day_later(store: Store) -> None:
    store.root.mkdir()
    old, young, ours = (store.root / name for name in (f"{PARTIAL}old", f"{PARTIAL}young", "wheels"))
    for folder in (old, young, ours):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").touch()
    for folder in (old, ours):
        aged(folder / "deep", STALE_S + 60)
        aged(folder, STALE_S + 60)
    bytecode = store.path("bytecode", f"{PARTIAL}old")
    bytecode.parent.mkdir()
    for path in (bytecode, store.root / f"{PARTIAL}file"):
        path.touch()
        aged(path, STALE_S + 60)
    with store.in_use():
        pass
    assert sorted(path.name for path in store.root.iterdir()) == [young.name, "bytecode", "lock", "wheels"]
    assert not list(bytecode.parent.iterdir())


# Deleting


def test_all_that_can_be_deleted_is_told_with_its_bytes_on_disk(store: Store) -> None:
    for kind in KINDS:
        store.write(store.path(kind, f"{kind}.x"), (bytes(10_000),))
    store.write(store.path("wheels", "abc/vat.whl"), (bytes(20_000),))
    store.write(store.path("state", "registry.json"), (b"{}",))
    found = {str(item.path.relative_to(store.root)): item for item in store.items()}
    assert set(found) == {*(f"{kind}/{kind}.x" for kind in KINDS), "wheels/abc"}
    assert found["layers/layers.x"].size == 12288
    assert found["wheels/abc"].size == 20480
    assert all(abs(item.used - time.time()) < 60 for item in found.values())


def test_an_empty_store_has_nothing_to_delete(store: Store) -> None:
    assert list(store.items()) == []


def test_a_folder_was_used_when_what_is_in_it_was(store: Store) -> None:
    store.write(store.path("wheels", "abc/vat.whl"), (b"x",))
    aged(store.path("wheels", "abc/vat.whl"), 5 * DAY_S)
    aged(store.path("wheels", "abc"), 9 * DAY_S)
    [item] = store.items()
    assert round((time.time() - item.used) / DAY_S) == 5
    touch(store.path("wheels", "abc"))
    [item] = store.items()
    assert round((time.time() - item.used) / DAY_S) == 0


def test_to_note_a_use_of_what_is_gone_does_no_harm(store: Store) -> None:
    touch(store.path("wheels", "gone"))


def test_what_is_deleted_is_gone_and_its_bytes_are_told(store: Store) -> None:
    store.write(store.path("layers", "a.json"), (b"x",))
    store.write(store.path("wheels", "abc/vat.whl"), (b"x",))
    items = list(store.items())
    store.path("layers", "a.json").unlink()  # gone in the meantime
    assert store.delete(items) == sum(item.size for item in items) == 8192
    assert names(store.root) == []


def test_files_that_an_image_shares_are_counted_where_they_are_kept_and_once(store: Store) -> None:
    store.write(store.path("trees", "t/tree/files/lib"), (bytes(20_000),))
    store.write(store.path("roots", "r/root/own"), (bytes(10_000),))
    for name in ("lib", "again"):
        store.path("roots", f"r/root/{name}").hardlink_to(store.path("trees", "t/tree/files/lib"))
    sizes = {one.path.name: one.size for one in store.items()}
    assert sizes == {"r": 12288, "t": 20480}
    assert store.held() == 32768


def test_a_folder_is_out_of_its_place_before_anything_in_it_is_deleted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(store.path("trees", "t/tree/files/lib"), (b"x",))
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # as one that is killed
    store.delete(store.items())
    assert not list(store.path("trees", "").iterdir())
    [left] = store.root.glob(f"{PARTIAL}*")
    assert names(left) == ["tree/files/lib"]


def test_a_disk_too_full_to_move_a_folder_can_be_cleaned(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> Path:
        raise OSError(28, "No space left on device")

    store.write(store.path("trees", "t/tree/files/lib"), (b"x",))
    monkeypatch.setattr(Path, "rename", full)
    assert store.delete(store.items()) == 4096
    assert names(store.root) == []


# Locks on files that may go


def test_a_file_s_lock_is_held_by_several_or_by_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    alone = fcntl.LOCK_EX | fcntl.LOCK_NB
    with (
        flocked(path, fcntl.LOCK_SH),
        flocked(path, fcntl.LOCK_SH | fcntl.LOCK_NB),
        pytest.raises(BlockingIOError),
        flocked(path, alone),
    ):
        pass
    with flocked(path, alone):
        pass


def test_who_waited_for_a_file_that_is_gone_begins_anew(tmp_path: Path) -> None:
    path, got = tmp_path / "t" / "used", threading.Event()

    def wait() -> None:
        with flocked(path, fcntl.LOCK_SH):
            got.set()

    with flocked(path, fcntl.LOCK_EX):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.05)
        path.parent.rename(tmp_path / "away")
    waiting.join(10)
    assert got.is_set()
    assert path.exists()


def item(name: str, *, days: float, size: int = 100) -> Item:
    return Item(path=Path(name), size=size, used=time.time() - days * DAY_S)


OLD, MIDDLE, NEW = item("old", days=30), item("middle", days=3), item("new", days=0)


@pytest.mark.parametrize(
    ("days", "most", "expected"),
    [
        (None, None, []),
        (7, None, ["old"]),
        (1, None, ["old", "middle"]),
        (0, None, ["old", "middle", "new"]),
        (100, None, []),
        (None, 300, []),
        (None, 299, ["old"]),
        (None, 200, ["old"]),
        (None, 100, ["old", "middle"]),
        (None, 0, ["old", "middle", "new"]),
        (7, 200, ["old"]),
        (7, 150, ["old", "middle"]),
        (1, 0, ["old", "middle", "new"]),
    ],
)
def test_the_old_go_and_then_the_least_recently_used_until_the_rest_is_small_enough(
    days: float | None, most: int | None, expected: list[str]
) -> None:
    older_s = None if days is None else days * DAY_S
    found = to_delete([NEW, OLD, MIDDLE], older_s=older_s, most=most)
    assert [one.path.name for one in found] == expected


@seed(1)
@settings(deadline=None, max_examples=100)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 100)), max_size=12),
    days=st.one_of(st.none(), st.floats(0, 100)),
    most=st.one_of(st.none(), st.integers(0, 5000)),
)
def test_what_stays_is_young_and_small_enough_and_nothing_more_goes_than_must(
    sizes: list[tuple[int, float]], days: float | None, most: int | None
) -> None:
    items = [item(str(number), days=age, size=size) for number, (size, age) in enumerate(sizes)]
    gone = to_delete(items, older_s=None if days is None else days * DAY_S, most=most)
    assert len(set(gone)) == len(gone)
    stays = [one for one in items if one not in gone]
    if most is not None:
        assert sum(one.size for one in stays) <= most
    if days is not None:
        assert all(one.used >= time.time() - days * DAY_S - 60 for one in stays)
    if gone and most is not None:
        last = gone[-1]
        too_old = days is not None and last.used < time.time() - days * DAY_S
        assert too_old or sum(one.size for one in stays) + last.size > most


def test_the_store_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUVEE_CACHE", str(tmp_path))
    assert default_store() == Store(tmp_path)
    assert (default_store().wheels, default_store().bases) == (tmp_path / "wheels", tmp_path / "bases")
    assert default_store().state == tmp_path / "state"
    assert KINDS[-1] == "wheels"  # what must be fetched again goes last


def test_what_others_delete_meanwhile_hinders_nobody(tmp_path: Path) -> None:
    store, done = Store(tmp_path), threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            with store.scratch():
                pass

    others = [threading.Thread(target=come_and_go) for _ in range(3)]
    for other in others:
        other.start()
    try:
        for _ in range(300):
            with store.in_use():
                pass
    finally:
        done.set()
        for other in others:
            other.join()


def test_a_folder_that_goes_while_a_lock_is_made_in_it_is_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.path("trees", "t/used")
    path.parent.mkdir(parents=True)
    is_dir, gone = Path.is_dir, list[Path]()

    def deleted_before_it_is_seen(self: Path) -> bool:
        if self == path.parent and not gone:
            gone.append(self)
            self.rmdir()
        return is_dir(self)

    monkeypatch.setattr(Path, "is_dir", deleted_before_it_is_seen)
    with flocked(path, fcntl.LOCK_SH):
        assert path.exists()
    assert gone


def test_where_no_folder_can_be_no_lock_can_be(store: Store) -> None:
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / "trees").touch()
    told = pytest.raises(EngineOrNetworkError, match=r"it cannot be written: (File exists|Not a directory)")
    with told, flocked(store.root / "trees" / "used", fcntl.LOCK_SH):
        pass
