"""Locks edited by hand, bases and stores that are damaged, and full disks, on a whole small project."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard

from builder.engines.direct import layout
from builder.engines.direct.base import LAYOUT
from builder.engines.direct.compression import compressed
from builder.engines.direct.image import OciImage
from builder.errors import BadInputError, CheckFailedError, CuveeError, EngineOrNetworkError
from builder.lock import record
from builder.publish.push import push
from builder.publish.reference import Reference
from tests.directworld import BasePrograms, World, world
from tests.memory_registry import HOST, MemoryRegistry
from tests.wheelmaker import ENTRY, OFFSET, put

WHEELS = {
    "vat": {"vat/__init__.py": b"x = 1\n", "vat/lib.so": bytes(range(256)) * 40},
    "wine": {"wine/a.py": b"y = 2\n", "wine-1.0.data/scripts/wine": b"#!python\n"},
}
OTHER = "sha256:" + "5" * 64
TAG = Reference(registry=HOST, repository="cuvee", tag="vat")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project, of which nothing is built yet."""
    found = world(tmp_path / "project", WHEELS)
    monkeypatch.setenv(LAYOUT, str(found.layout))
    return found


@pytest.fixture
def built(small: World) -> World:
    """A project whose image is built and recorded."""
    build(small)
    return small


def build(of: World) -> str:
    """Build, and write to a layout; returns the digest."""
    with of.rows.built(of.row) as image:
        layout.write(image, of.folder / "out")
        return image.digest


def one_fault(caught: pytest.ExceptionInfo[CuveeError]) -> tuple[str, str, str]:
    [fault] = caught.value.faults
    return fault.place, fault.cause, fault.fix


def known(of: World) -> OciImage:
    with of.rows.known(of.row) as image:
        return image


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# A lock edited by hand

Edit = Callable[[dict[str, Any]], object]
EDITS: dict[str, tuple[Edit, str, str]] = {
    "manifest": (
        lambda image: image.update(manifest=OTHER),
        "image.manifest",
        f"the record says {OTHER}, and its own layers make sha256:",
    ),
    "digest": (
        lambda image: image["layers"][2].update(digest=OTHER),
        "image.layers[2] (2 packages)",
        "no file that is made here differs, so the record was edited or the store is damaged",
    ),
    "diff_id": (
        lambda image: image["layers"][2].update(diff_id=OTHER),
        "image.layers[2] (2 packages)",
        "the record's digest is right, and its diff_id not: it was edited",
    ),
    "size": (
        lambda image: image["layers"][3].update(size=7),
        "image.layers[3] (loader)",
        "the record's digest is right, and its size not: it was edited",
    ),
    "title": (
        lambda image: image["layers"][0].update(title="base of another", packages=["vat 2.0"]),
        "image.layers[0] (base bookworm)",
        "the record's digest is right, and its title, packages not: it was edited",
    ),
    "order": (
        lambda image: image["layers"].reverse(),
        "image.layers[0] (base bookworm)",
        "and this build gave sha256:",
    ),
    "one too few": (
        lambda image: image["layers"].pop(),
        "image.layers",
        "the record has 4 layers, and ",
    ),
    "one too many": (
        lambda image: image["layers"].append(image["layers"][1]),
        "image.layers",
        "the record has 6 layers, and ",
    ),
    "none": (
        lambda image: image["layers"].clear(),
        "image.layers",
        "the record has 0 layers, and ",
    ),
}
edits = pytest.mark.parametrize("name", list(EDITS))


@edits
def test_a_build_that_differs_from_an_edited_record_says_so_and_leaves_the_lock(
    name: str, built: World
) -> None:
    change, place, cause = EDITS[name]
    built.edit(lambda lock: change(lock["image"]))
    before = built.lock.read_text()
    with pytest.raises(CheckFailedError) as caught:
        build(built)
    told = one_fault(caught)
    assert told[0].startswith(f"images/vat/lock.json {place}")
    assert cause in told[1]
    assert "`image`" in told[2]
    assert built.lock.read_text() == before


@edits
def test_an_edited_record_is_never_published(name: str, built: World) -> None:
    change, *_ = EDITS[name]
    built.edit(lambda lock: change(lock["image"]))
    with pytest.raises(CheckFailedError) as caught:
        known(built)
    place, cause, fix = one_fault(caught)
    assert place.startswith("images/vat/lock.json image.")
    assert cause.startswith("the record ")
    assert fix == "The record was edited: delete `image` from the lock, and build again"


def test_an_edited_trace_is_told_and_no_digest_hangs_on_it(built: World) -> None:
    digest = known(built).digest
    built.edit(lambda lock: lock["image"]["layers"][2].update(trace="AAAA"))
    assert known(built).digest == digest
    with pytest.raises(
        CheckFailedError, match="the record's digest is right, and its trace not: it was edited"
    ):
        build(built)


def test_a_record_of_another_recipe_is_not_published_and_a_build_replaces_it(built: World) -> None:
    digest = known(built).digest
    built.edit(lambda lock: lock["image"].update(recipe=OTHER))
    with pytest.raises(BadInputError, match=r"it is of another image than the row has now.*cuvee build vat"):
        known(built)
    assert build(built) == known(built).digest == digest


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (
            lambda image: image.update(manifest="sha256:../../../etc/passwd"),
            "image.manifest: 'sha256:../../../etc",
        ),
        (lambda image: image.update(recipe=None), "image.recipe: None where "),
        (
            lambda image: image["layers"][1].update(digest="sha256:../x"),
            "image.layers.digest: 'sha256:../x' where",
        ),
        (lambda image: image["layers"][1].update(diff_id=7), "image.layers.diff_id: 7 where"),
        (lambda image: image["layers"][1].update(trace="AAA"), "image.layers.trace: 'AAA' where"),
        (
            lambda image: image["layers"][1].update(size="7"),
            "image.layers.size: '7' is not a number of bytes",
        ),
        (lambda image: image["layers"][1].update(size=-1), "image.layers.size: -1 is not a number of bytes"),
        (lambda image: image["layers"][1].update(title=[]), "image.layers: [] is not a name"),
        (lambda image: image["layers"][1].update(packages=[1]), "image.layers: 1 is not a name"),
        (lambda image: image["layers"][1].update(more=1), "unexpected keyword argument 'more'"),
        (
            lambda image: image["layers"][1].pop("digest"),
            "missing 1 required keyword-only argument: 'digest'",
        ),
        (lambda image: image["layers"][1].pop("packages"), "the key 'packages' is missing"),
        (lambda image: image.update(layers=7), "it is not a lock: "),
        (lambda image: image.update(layers=[7]), "it is not a lock: "),
        (lambda image: image.pop("layers"), "the key 'layers' is missing"),
    ],
)
def test_a_record_that_is_none_is_named_with_what_is_wrong(change: Edit, cause: str, built: World) -> None:
    built.edit(lambda lock: change(lock["image"]))
    for look in (known, build):
        with pytest.raises(BadInputError) as caught:
            look(built)
        place, told, fix = one_fault(caught)
        assert (place, fix) == (str(built.lock), "Run `cuvee lock vat`")
        assert cause in told


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_lock_cut_short_is_one_error(share: float, built: World) -> None:
    text = built.lock.read_text()
    built.lock.write_text(text[: int(len(text) * share)])
    with pytest.raises(BadInputError, match="it is not a lock"):
        build(built)


def test_a_wheels_hash_edited_in_the_lock_is_another_image_whose_file_nobody_has(
    built: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "nonsense:/nowhere")
    built.edit(lambda lock: lock["environments"]["main"][0].update(sha256="5" * 64))
    with pytest.raises(EngineOrNetworkError) as caught:
        build(built)
    assert one_fault(caught)[0] == "vat-1.0-py3-none-any.whl"


# One digest everywhere, or the file that differs


def test_two_stores_at_two_places_give_one_digest(built: World, tmp_path: Path) -> None:
    assert build(built.elsewhere(tmp_path / "another" / "deeper folder")) == known(built).digest


def test_a_machine_that_compiles_otherwise_is_told_the_first_file_that_differs(
    built: World, tmp_path: Path
) -> None:
    other = built.elsewhere(tmp_path / "other", BasePrograms(compiler="other bytecode of"))
    with pytest.raises(CheckFailedError) as caught:
        build(other)
    place, cause, _ = one_fault(caught)
    assert place == "images/vat/lock.json image.layers[2] (2 packages)"
    first = "/opt/cuvee/main/lib/python3.11/site-packages/vat/__pycache__/__init__.cpython-311.pyc"
    assert cause.endswith(f"the first differing file is {first}")


# A base that is not what its lock says


def test_a_base_layout_with_a_wrong_digest_is_refused_and_nothing_of_it_kept(small: World) -> None:
    sound = small.base.read_bytes()
    small.base.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(CheckFailedError) as caught:
        build(small)
    place, cause, fix = one_fault(caught)
    assert place == str(small.base)
    assert cause.endswith("which is not its name")
    assert LAYOUT in fix
    assert not list(small.store.bases.glob("*/*"))
    assert not (small.folder / "out").exists()

    small.base.write_bytes(sound)
    assert build(small)


def test_a_stored_base_that_is_damaged_is_not_published(built: World) -> None:
    [blob] = [path for path in built.store.bases.rglob("*") if path.is_file()]
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 0xFF
    blob.write_bytes(data)
    never_published(built, known(built))


# A store that is damaged


def never_published(of: World, image: OciImage) -> None:
    """See that neither a layout nor a registry gets an image, and that both are told why."""
    folder = of.folder / "new"
    with pytest.raises(CuveeError) as caught:
        layout.write(image, folder)
    assert all(one_fault(caught))
    assert not (folder / "index.json").exists()
    assert not [path for path in files(folder) if ".part-" in path]

    server = MemoryRegistry()
    with pytest.raises(CuveeError) as caught:
        push(image, TAG, registry=server.client())
    assert all(one_fault(caught))
    assert not server.manifests.get("cuvee")
    bad = {layer.digest for layer in image.layers} - set(server.blobs.get("cuvee", {}))
    assert bad


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(data)


def test_a_wheel_damaged_after_its_layer_was_measured_is_not_published(built: World) -> None:
    path = built.wheel("vat")
    sound = path.read_bytes()
    start = sound.index(b"vat/lib.so") + 100
    flip(path, start)
    with built.rows.known(built.row) as image:
        never_published(built, image)

    path.write_bytes(sound)
    with built.rows.known(built.row) as image:
        assert layout.write(image, built.folder / "new")[0] > 0


def test_a_wheel_whose_directory_is_damaged_is_named(built: World) -> None:
    path = built.wheel("vat")
    put(path, path.read_bytes().index(ENTRY) + OFFSET, 9, 4)
    with built.rows.known(built.row) as image:
        never_published(built, image)
        with pytest.raises(BadInputError, match=r"vat-1\.0-.*reaches into the one behind it"):
            layout.write(image, built.folder / "newer")


def test_a_damaged_wheel_is_not_compressed_another_way_either(built: World) -> None:
    path = built.wheel("vat")
    flip(path, path.read_bytes().index(b"vat/lib.so") + 100)
    with built.rows.known(built.row) as image, pytest.raises(CuveeError):
        compressed(image, "zstd", built.store)
    sound = {layer.diff_id for layer in image.layers if not layer.packages}
    blobs = list(built.store.path("blobs", "").glob("*.zst"))
    assert {f"sha256:{hashlib.sha256(inflated(blob)).hexdigest()}" for blob in blobs} <= sound


def inflated(path: Path) -> bytes:
    with path.open("rb") as file:
        return zstandard.ZstdDecompressor().stream_reader(file).read()


@pytest.mark.parametrize("kind", ["made", "bytecode"])
def test_other_files_of_the_store_that_are_damaged_are_not_published(kind: str, built: World) -> None:
    for path in built.store.path(kind, "").iterdir():
        flip(path, path.stat().st_size // 2)
    with built.rows.known(built.row) as image:
        never_published(built, image)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"digest": 7}', '{"unknown": 1}'])
def test_what_is_remembered_of_layers_and_cannot_be_read_is_found_anew(text: str, built: World) -> None:
    digest = known(built).digest
    for path in built.store.path("layers", "").glob("*.json"):
        path.write_text(text)
    assert build(built) == digest


def test_what_is_remembered_of_layers_and_is_wrong_is_noticed(built: World) -> None:
    for path in built.store.path("layers", "").glob("*.json"):
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, "digest": OTHER}))
    with pytest.raises(CheckFailedError, match="the record was edited or the store is damaged"):
        build(built)


@pytest.mark.parametrize("kind", ["layers", "made", "bytecode", "bases"])
def test_a_store_that_has_lost_something_makes_it_anew(kind: str, built: World) -> None:
    digest = known(built).digest
    for path in [path for path in built.store.path(kind, "").rglob("*") if path.is_file()]:
        path.unlink()
    with built.rows.known(built.row) as image:
        layout.write(image, built.folder / "new")
    assert build(built) == digest


# A full disk: this process may write no larger files, which fails as a full disk does


@contextmanager
def small_files(most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("most", [0, 20, 100, 200])
def test_a_disk_that_is_full_while_building_is_one_error_and_the_store_stays_usable(
    most: int, small: World, tmp_path: Path
) -> None:
    lock = small.lock.read_text()
    with small_files(most), pytest.raises(EngineOrNetworkError) as caught:
        build(small)
    _, cause, fix = one_fault(caught)
    assert "written" in cause or "made" in cause or "unpacked" in cause
    assert fix.startswith("Free some")
    assert small.lock.read_text() == lock
    assert not list(small.store.root.glob(".partial-*"))
    assert build(small) == build(small.elsewhere(tmp_path / "fresh"))


@pytest.mark.parametrize("most", [0, 50, 300, 2000])
def test_a_disk_that_is_full_while_writing_a_layout_leaves_none(most: int, built: World) -> None:
    folder = built.folder / "new"
    with built.rows.known(built.row) as image:
        with small_files(most), pytest.raises(EngineOrNetworkError) as caught:
            layout.write(image, folder)
        place, cause, fix = one_fault(caught)
        assert (place, cause) == (str(folder), "it cannot be written: File too large")
        assert fix == "Free some space there, or name another folder"
        assert not [path for path in files(folder) if ".part-" in path or path == "index.json"]
        layout.write(image, folder)
    assert [name for name, _ in layout.manifests(folder)] == ["vat"]


def test_a_disk_that_is_full_while_a_lock_is_written_leaves_the_old_one(small: World) -> None:
    build(small)
    small.edit(lambda lock: lock.pop("image"))
    before = small.lock.read_text()
    with small_files(len(before)), pytest.raises(CuveeError):
        build(small)
    assert small.lock.read_text() == before
    assert record.read(small.lock).image is None
