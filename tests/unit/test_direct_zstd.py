"""What locks record of an image's layers in zstd: digests that a push and CI's plan go by."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from builder import matrix
from builder.engines.direct import compression, layout
from builder.engines.direct.base import LAYOUT
from builder.engines.direct.compression import ZSTD
from builder.engines.direct.image import OciImage
from builder.engines.direct.rows import DirectRows
from builder.errors import BadInputError, CheckFailedError
from builder.lock import record
from builder.lock.image import ImageRecord
from builder.matrix import Row
from builder.plan import Plan
from builder.render.launcher import ImageFile, image_files
from tests.directworld import MATRIX, World, opened, world

WHEELS = {
    "vat": {"vat/__init__.py": b"x = 1\n", "vat/lib.so": b"vat" * 50_000},
    "wine": {"wine.py": b"y = 2\n"},
}
OTHER = "sha256:" + "5" * 64


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project of which nothing is built."""
    found = world(tmp_path / "project", WHEELS)
    monkeypatch.setenv(LAYOUT, str(found.layout))
    return found


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was built with zstd's layers, to copy: its tables take a second a layer to set up."""
    made = world(tmp_path_factory.mktemp("once") / "project", WHEELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LAYOUT, str(made.layout))
        build(made)
    return made.folder


@pytest.fixture
def packed(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project of one's own that was built with zstd's layers."""
    shutil.copytree(once, tmp_path / "packed")
    found = opened(tmp_path / "packed")
    monkeypatch.setenv(LAYOUT, str(found.layout))
    return found


def build(of: World, output: Path | None = None) -> OciImage:
    with of.rows.built(of.row) as image:
        found = of.rows.compressed(of.row, image, "zstd")
        of.rows.record_zstd(of.row, found)
        if output:
            layout.write(found, output)
        return found


def recorded(of: World) -> ImageRecord:
    found = record.read(of.lock).image
    assert found
    return found


def blobs(of: World) -> set[str]:
    return {path.name for path in of.store.path("blobs", "").glob("*.zst")}


def forget(of: World) -> None:
    """Delete what the store has of zstd."""
    for path in of.store.path("blobs", "").iterdir():
        path.unlink()


def changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let images have another launcher from now on."""

    def other(planned: Plan) -> tuple[ImageFile, ...]:
        first, *rest = image_files(planned)
        return (replace(first, text=first.text + "# more\n"), *rest)

    monkeypatch.setattr("builder.engines.direct.rows.image_files", other)


def test_a_lock_records_every_layer_with_the_base_as_it_is_and_what_made_them(small: World) -> None:
    image = build(small)
    found = recorded(small)
    assert found.zstd
    assert found.zstd.how == ZSTD
    assert found.zstd.manifest == image.digest
    assert [blob.digest for blob in found.zstd.layers] == [layer.digest for layer in image.layers]
    assert found.zstd.layers[0].digest == found.layers[0].digest
    assert [layer.digest for layer in found.published] == [layer.digest for layer in image.layers]
    assert found.pull == image.size == found.zstd.size
    assert found.manifests == {found.manifest, image.digest}


def test_without_zstd_the_layers_are_published_as_they_are(small: World) -> None:
    with small.rows.built(small.row) as image:
        found = recorded(small)
        assert found.published == found.layers
        assert found.pull == found.size == image.size
        assert found.manifests == {image.digest}


def test_what_is_recorded_is_made_only_when_somebody_reads_it(packed: World) -> None:
    forget(packed)
    with packed.rows.known(packed.row) as image:
        found = packed.rows.compressed(packed.row, image, "zstd")
        assert blobs(packed) == set()
        for layer in found.layers:
            layer.check()
    assert len(blobs(packed)) == len(found.layers) - 1


def test_a_layout_has_what_is_recorded(packed: World, tmp_path: Path) -> None:
    forget(packed)
    build(packed, tmp_path / "out")
    [(_, manifest)] = layout.manifests(tmp_path / "out")
    zstd = recorded(packed).zstd
    assert zstd
    assert [layer["digest"] for layer in manifest["layers"]] == [blob.digest for blob in zstd.layers]


def test_a_build_of_another_recipe_goes_on_recording_zstd_and_makes_only_what_is_new(
    packed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = recorded(packed)
    forget(packed)
    changed(monkeypatch)
    with packed.rows.built(packed.row):
        pass
    after = recorded(packed)
    assert after.recipe != before.recipe
    assert before.zstd
    assert after.zstd
    assert after.zstd.layers[:-1] == before.zstd.layers[:-1]
    assert after.zstd.layers[-1] != before.zstd.layers[-1]
    assert len(blobs(packed)) == 1
    packed.rows.check(packed.row)


def test_a_build_without_such_a_record_makes_none(small: World) -> None:
    with small.rows.built(small.row):
        pass
    assert recorded(small).zstd is None
    assert not small.store.path("blobs", "").exists()


def edit(of: World, **changes: Any) -> None:
    of.edit(lambda lock: lock["image"]["zstd"].update(changes))


def test_a_record_of_another_zstd_is_told_and_a_build_replaces_it(packed: World) -> None:
    sound = packed.lock.read_text()
    edit(packed, how="zstandard 0.1 level 1", manifest=OTHER)
    with pytest.raises(CheckFailedError) as caught:
        packed.rows.check(packed.row)
    [fault] = caught.value.faults
    assert fault.place == "images/vat/lock.json image.zstd"
    assert fault.cause == f"it is of zstandard 0.1 level 1, and this is {ZSTD}"
    assert fault.fix == "Run `cuvee build vat --compression zstd`, and commit the lock"
    build(packed)
    assert packed.lock.read_text() == sound


def test_a_push_does_not_go_by_a_record_of_another_zstd(packed: World) -> None:
    edit(packed, how="zstandard 0.1 level 1")
    with (
        packed.rows.known(packed.row) as image,
        pytest.raises(CheckFailedError, match=r"it is of zstandard 0\.1"),
    ):
        packed.rows.compressed(packed.row, image, "zstd", recorded=True)


def test_a_build_that_is_interrupted_does_not_lose_the_record(
    packed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch)
    with monkeypatch.context() as patch:

        def interrupted(_: object) -> NoReturn:
            raise KeyboardInterrupt

        patch.setattr(compression, "_zstd_pieces", interrupted)
        with pytest.raises(KeyboardInterrupt), packed.rows.built(packed.row):
            pass
    with packed.rows.built(packed.row):
        pass
    assert recorded(packed).zstd
    packed.rows.check(packed.row)


@pytest.mark.parametrize("layer", [None, 1, 2])
def test_a_record_that_was_edited_is_not_published(layer: int | None, packed: World) -> None:
    if layer is None:
        edit(packed, manifest=OTHER)
    else:
        packed.edit(lambda lock: lock["image"]["zstd"]["layers"][layer].update(digest=OTHER))
    with packed.rows.known(packed.row) as image, pytest.raises(CheckFailedError) as caught:
        packed.rows.compressed(packed.row, image, "zstd")
    [fault] = caught.value.faults
    assert fault.place == "images/vat/lock.json image.zstd"
    assert fault.cause.startswith("it was recorded as sha256:")
    assert fault.fix == "Delete `image.zstd` from the lock, and build again with `--compression zstd`"


def drop(lock: dict[str, Any]) -> None:
    lock["image"]["zstd"]["layers"].pop()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"manifest": "sha256:../x"}, "image.zstd.manifest: 'sha256:../x' where"),
        ({"how": 7}, "image.zstd.how: 7 is not a text"),
        ({"layers": [{"digest": "7", "size": 7}]}, "image.zstd.layers.digest: '7' where"),
        (
            {"layers": [{"digest": OTHER, "size": "7"}]},
            "image.zstd.layers.size: '7' is not a number of bytes",
        ),
        ({"layers": [{"digest": OTHER, "size": -1}]}, "image.zstd.layers.size: -1 is not a number"),
        ({"layers": [{"digest": OTHER, "size": 1}]}, "image.zstd.layers: 1 for 5 layers"),
        ({"layers": [{"digest": OTHER, "size": 1}] * 5}, "image.zstd.layers: the first is not the base's"),
        ({"layers": [7]}, "it is not a lock: "),
        ({"layers": 7}, "it is not a lock: "),
        ({"more": 7}, "unexpected keyword argument 'more'"),
    ],
)
def test_a_record_that_is_none_is_named_with_what_is_wrong(
    changes: dict[str, Any], cause: str, packed: World
) -> None:
    edit(packed, **changes)
    with pytest.raises(BadInputError) as caught:
        packed.rows.recorded(packed.row)
    [fault] = caught.value.faults
    assert fault.place == str(packed.lock)
    assert cause in fault.cause


def test_what_is_written_is_read_again(packed: World) -> None:
    lock = record.read(packed.lock)
    assert json.loads(lock.text())["image"]["zstd"]["how"] == ZSTD
    packed.lock.write_text(lock.text())
    assert record.read(packed.lock) == lock


def with_another(packed: World, image: ImageRecord) -> tuple[DirectRows, Row, Path]:
    """A second row with the same packages, whose lock has this image."""
    both = matrix.parse(MATRIX + MATRIX.splitlines()[-1].replace("vat", "other") + "\n").rows
    path = packed.folder / "images" / "other" / record.FILE
    path.parent.mkdir()
    path.write_text(replace(record.read(packed.lock), row="other", image=image).text())
    return replace(packed.rows, rows=both), both[1], path


def test_two_locks_that_do_not_agree_are_both_named(packed: World) -> None:
    image = recorded(packed)
    assert image.zstd
    base, first, *rest = image.zstd.layers
    wrong = replace(image.zstd, layers=(base, replace(first, digest=OTHER), *rest))
    rows, _, _ = with_another(packed, replace(image, zstd=wrong))
    with rows.known(packed.row) as known, pytest.raises(CheckFailedError) as caught:
        rows.compressed(packed.row, known, "zstd")
    [fault] = caught.value.faults
    assert fault.place == "images/other/lock.json image.zstd"
    assert "is not the one that images/vat/lock.json has" in fault.cause


def test_layers_that_another_row_has_in_zstd_are_not_made_again(packed: World) -> None:
    """A second row with the same packages is compressed without a byte being read but its own."""
    lock = record.read(packed.lock)
    assert lock.image
    rows, other, path = with_another(packed, replace(lock.image, zstd=None))
    forget(packed)
    with packed.rows.known(packed.row) as image:
        found = rows.compressed(other, image, "zstd")
        assert blobs(packed) == set()
        rows.record_zstd(other, found)
    assert record.read(path).image == lock.image
