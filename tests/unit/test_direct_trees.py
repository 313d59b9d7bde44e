from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.engines.direct import trees, unpacked
from builder.engines.direct.engine import DirectEngine
from builder.engines.direct.image import Layer, OciImage, configuration, sha256
from builder.engines.direct.store import Store
from builder.engines.direct.tar import MTIME, Node
from builder.engines.direct.trees import LARGE
from builder.engines.direct.unpacked import Unpacked
from builder.errors import CheckFailedError, EngineOrNetworkError
from builder.shell import SYSTEM
from tests.unit.test_direct_unpack import archive, file, folder, link

Files = Sequence[tuple[Node, bytes]]


class World:
    """Images of layers, and how often each layer was read."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.images: dict[str, OciImage] = {}
        self.read: list[str] = []
        self.pause = threading.Event()
        self.pause.set()

    def layer(self, title: str, files: Files, size: int = LARGE) -> Layer:
        data = archive(files)

        def tar() -> Iterator[bytes]:
            self.read.append(title)
            yield data[:700]
            assert self.pause.wait(10)
            yield data[700:]

        digest = sha256(data)
        return Layer(title=title, digest=digest, size=size, diff_id=digest, blob=tar, tar=tar)

    def image(self, name: str, *layers: Layer) -> str:
        config = configuration(
            environment=[("A", "1")],
            labels=[("row", name)],
            layers=[(one.title, one.diff_id) for one in layers],
            created="2025-01-20T00:00:00Z",
        )
        self.images[name] = OciImage(name=name, config=config, layers=layers)
        return name

    @property
    def engine(self) -> DirectEngine:
        @contextmanager
        def find(tag: str) -> Iterator[OciImage]:
            yield self.images[tag]

        return DirectEngine(
            find=find, store=self.store, tools=self.store.root, shell=SYSTEM, say=lambda _: None
        )

    def unpacked(self, name: str, *layers: Layer) -> Path:
        return self.engine.unpacked(self.image(name, *layers)).root

    @property
    def trees(self) -> set[str]:
        return {path.name for path in self.store.path("trees", "").iterdir()}

    def drop(self, name: str) -> None:
        image = self.images[name].digest.removeprefix("sha256:")
        self.store.delete((self.store.item(self.store.path("roots", image)),))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "store")


BASE = [folder("usr"), file("usr/sh", b"sh", 0o755), link("bin", "usr")]
TORCH = [
    folder("opt"),
    file("opt/torch.so", b"torch"),
    (Node("opt/also", "hardlink", 0o644, "opt/torch.so"), b""),
]


def name_of(layer: Layer) -> str:
    return layer.diff_id.removeprefix("sha256:")


# What is shared


def test_two_images_share_the_files_of_a_layer_which_is_read_once(world: World) -> None:
    base, torch = world.layer("base", BASE), world.layer("torch", TORCH)
    one = world.unpacked("one", base, torch, world.layer("a", [file("a")]))
    two = world.unpacked("two", base, torch, world.layer("b", [file("b")]))
    assert (one / "opt/torch.so").samefile(two / "opt/torch.so")
    assert (one / "opt/also").samefile(one / "opt/torch.so")
    assert (two / "bin").readlink() == Path("usr")
    assert sorted(world.read) == ["a", "b", "base", "torch"]
    assert [(one / name).exists() for name in "ab"] == [True, False]


def test_an_image_of_shared_layers_is_what_unpacking_them_gives(world: World) -> None:
    late = world.layer("late", [file("usr/sh", b"other"), folder("opt", 0o700)])
    root = world.unpacked("one", world.layer("base", BASE), world.layer("torch", TORCH), late)
    assert (root / "usr/sh").read_bytes() == b"other"
    assert stat.S_IMODE((root / "opt").stat().st_mode) == 0o700
    assert {(root / name).stat().st_mtime for name in ("usr", "opt", "usr/sh")} == {MTIME}


def test_a_later_layer_never_writes_into_a_shared_file(world: World) -> None:
    base = world.layer("base", BASE)
    small = world.layer("small", [file("usr/sh", b"mine", 0o600), file("bin", b"no link")], size=LARGE - 1)
    changed = world.unpacked("one", base, small)
    kept = world.unpacked("two", base)
    assert ((changed / "usr/sh").read_bytes(), (kept / "usr/sh").read_bytes()) == (b"mine", b"sh")
    assert stat.S_IMODE((kept / "usr/sh").stat().st_mode) == 0o755
    assert (kept / "bin").is_symlink()


def test_a_small_layer_has_no_tree(world: World) -> None:
    small = world.layer("small", [file("a")], size=LARGE - 1)
    large = world.layer("large", BASE)
    told = world.engine.unpacked(world.image("one", large, small))
    assert told.trees == (name_of(large),)
    assert world.trees == {name_of(large)}


def test_the_size_is_that_of_the_layers_files_shared_or_not(world: World) -> None:
    base, small = world.layer("base", BASE), world.layer("small", [file("a", b"123")], size=1)
    first = world.engine.unpacked(world.image("one", base, small)).size
    assert (
        first
        == world.engine.unpacked(world.image("two", base, small, world.layer("x", [file("x")]))).size - 1
    )
    assert first == len(b"sh") + len(b"123")


def test_the_name_that_came_last_in_a_layer_counts(world: World) -> None:
    root = world.unpacked("one", world.layer("odd", [file("./a", b"old"), link("b", "a"), file("a", b"new")]))
    assert (root / "a").read_bytes() == b"new"


def test_a_folder_that_a_layer_does_not_name_stays_as_it_was(world: World) -> None:
    first = world.layer("first", [folder("opt", 0o700)])
    assert (
        stat.S_IMODE((world.unpacked("one", first, world.layer("x", [file("opt/x")])) / "opt").stat().st_mode)
        == 0o700
    )


def test_a_further_name_for_a_file_of_another_layer_is_that_file(world: World) -> None:
    names = world.layer("names", [(Node("opt/more", "hardlink", 0o644, "opt/torch.so"), b""), file("c")])
    root = world.unpacked("one", world.layer("torch", TORCH), names)
    assert (root / "opt/more").samefile(root / "opt/torch.so")
    assert (root / "c").exists()


# What must not be


def test_no_layer_is_laid_through_a_link_of_another(world: World, tmp_path: Path) -> None:
    leading_out = world.layer("link", [link("out", str(tmp_path))])
    with pytest.raises(CheckFailedError, match="out/x: its path leads out of the image"):
        world.unpacked("one", leading_out, world.layer("through", [file("out/x")]))
    assert not (tmp_path / "x").exists()


def test_a_layer_that_is_not_what_it_should_be_leaves_nothing(world: World) -> None:
    base = world.layer("base", BASE)
    false = Layer(
        title="false", digest=base.digest, size=LARGE, diff_id=sha256(b""), blob=base.blob, tar=base.tar
    )
    with pytest.raises(CheckFailedError):
        world.unpacked("one", false)
    assert not list(world.store.root.rglob("files"))
    assert not list(world.store.root.glob("roots/*"))


# Disks that give no further name


@pytest.mark.parametrize("code", [errno.EMLINK, errno.EXDEV, errno.EPERM])
def test_where_a_file_can_have_no_further_name_it_is_copied(
    code: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, "refused")

    base = world.layer("base", BASE)
    world.unpacked("one", base)
    monkeypatch.setattr(os, "link", refused)
    root = world.unpacked("two", base, world.layer("x", [file("x")]))
    assert ((root / "usr/sh").read_bytes(), (root / "usr/sh").stat().st_nlink) == (b"sh", 1)
    assert (stat.S_IMODE((root / "usr/sh").stat().st_mode), (root / "usr/sh").stat().st_mtime) == (
        0o755,
        MTIME,
    )
    assert (root / "bin").readlink() == Path("usr")


def test_another_fault_of_the_disk_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(Exception, match="No space left on device"):
        world.unpacked("one", world.layer("base", BASE))


def test_a_layer_that_could_not_be_read_once_is_shared_all_the_same_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such program")

    base = world.layer("base", BASE)
    with monkeypatch.context() as broken:
        broken.setattr(trees, "unpacking", lacking)
        with pytest.raises(EngineOrNetworkError, match="No such program"):
            world.unpacked("one", base)
    first, second = world.unpacked("one", base), world.unpacked("two", base, world.layer("x", [file("x")]))
    assert (first / "usr/sh").samefile(second / "usr/sh")


# Several at once


def test_an_image_that_another_one_has_unpacked_meanwhile_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.image("one", world.layer("base", BASE))
    rename = Path.rename

    def later(self: Path, target: Path) -> Path:
        if target.parent.name == "roots" and not target.exists():
            shutil.copytree(self, target, symlinks=True)  # what the other one did
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", later)
    assert (world.engine.unpacked("one").root / "usr/sh").read_bytes() == b"sh"


def test_who_wants_a_layer_that_another_one_unpacks_waits_for_it(world: World) -> None:
    base = world.layer("base", BASE)
    names = [world.image(name, base, world.layer(name, [file(name)])) for name in ("one", "two")]
    world.pause.clear()
    threads = [threading.Thread(target=world.engine.unpacked, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    world.pause.set()
    for thread in threads:
        thread.join(20)
    assert sorted(world.read) == ["base", "one", "two"]
    assert len(list(world.store.path("roots", "").iterdir())) == 2


def test_two_that_want_each_other_s_layers_both_get_them(world: World) -> None:
    a, b = world.layer("a", [file("a")]), world.layer("b", [file("b")])
    names = [world.image("one", a, b), world.image("two", b, a)]
    threads = [threading.Thread(target=world.engine.unpacked, args=(name,)) for name in names * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(world.read) == ["a", "b"]


# Deleting


def test_a_tree_goes_with_the_last_image_that_uses_it(world: World) -> None:
    base, torch = world.layer("base", BASE), world.layer("torch", TORCH)
    world.unpacked("one", base, torch)
    world.unpacked("two", base)
    world.drop("one")
    assert trees.drop_unused(world.store) > 0
    assert world.trees == {name_of(base)}
    world.drop("two")
    trees.drop_unused(world.store)
    assert world.trees == set()


def test_a_tree_that_is_wanted_stays(world: World) -> None:
    base, torch = world.layer("base", BASE), world.layer("torch", TORCH)
    world.unpacked("one", base, torch)
    world.drop("one")
    trees.drop_unused(world.store, {name_of(torch)})
    assert world.trees == {name_of(torch)}


def test_the_trees_of_an_image_that_is_being_unpacked_stay(world: World) -> None:
    base = world.layer("base", BASE)
    with trees.provided(world.store, [base]):
        assert trees.drop_unused(world.store) == 0
        assert world.trees == {name_of(base)}
    assert trees.drop_unused(world.store) > 0


def test_an_image_keeps_its_files_when_their_trees_are_gone(world: World) -> None:
    root = world.unpacked("one", world.layer("base", BASE))
    world.store.delete(world.store.items(("trees",)))
    assert (root / "usr/sh").read_bytes() == b"sh"


def test_no_tree_seems_older_than_an_image_that_uses_it(world: World) -> None:
    world.unpacked("one", world.layer("base", BASE))
    world.engine.unpacked("one")
    [root, tree] = world.store.items()
    assert (root.path.parent.name, tree.path.parent.name) == ("roots", "trees")
    assert root.used <= tree.used


# Damage


@pytest.mark.parametrize("text", ["", "{", "{}"])
def test_a_tree_whose_index_cannot_be_read_is_made_anew(text: str, world: World) -> None:
    base = world.layer("base", BASE)
    world.unpacked("one", base)
    world.store.path("trees", f"{name_of(base)}/tree/index.json").write_text(text)
    root = world.unpacked("two", base, world.layer("x", [file("x")]))
    assert (root / "usr/sh").read_bytes() == b"sh"
    assert world.read.count("base") == 2


def test_an_image_that_says_nothing_of_itself_is_unpacked_anew(world: World) -> None:
    root = world.unpacked("one", world.layer("base", BASE))
    (root.parent / "unpacked.json").write_text("")
    (root / "usr/sh").unlink()
    assert (world.engine.unpacked("one").root / "usr/sh").read_bytes() == b"sh"


def test_a_whole_image_that_another_one_puts_where_a_damaged_one_lay_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = world.image("one", world.layer("base", BASE))
    folder = world.engine.unpacked(name).root.parent
    (folder / "unpacked.json").write_text("")
    given: list[int] = []
    other = threading.Thread(target=lambda: given.append(world.engine.unpacked(name).root.stat().st_ino))
    plain, times = unpacked.told_in, []

    def told_in(of: Path) -> Unpacked | None:
        found = plain(of)
        times.append(of)
        if len(times) == 2:  # the damage was seen a second time, just before the deletion
            other.start()
            other.join(0.5)
        return found

    monkeypatch.setattr(unpacked, "told_in", told_in)
    root = world.engine.unpacked(name).root
    other.join()
    assert given == [root.stat().st_ino]


def test_an_image_of_an_older_cuvee_uses_no_trees(world: World, tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "root": str(tmp_path),
        "name": "cuvee:a",
        "labels": {},
        "environment": [],
        "size": 1,
    }
    (tmp_path / "unpacked.json").write_text(json.dumps(told))
    assert trees.used_by([tmp_path, world.store.root]) == frozenset()
    about = Unpacked(root=tmp_path, name="cuvee:a", labels={}, environment=(), size=1, trees=("x", "y"))
    (tmp_path / "unpacked.json").write_text(about.to_json())
    assert trees.used_by([tmp_path]) == {"x", "y"}
