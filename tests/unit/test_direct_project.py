"""What the locks of this project record of their images."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise, takewhile
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder import direct, matrix, pipeline, rowfiles
from builder.cli import cli
from builder.engines.direct.grouping import MOST
from builder.errors import CheckFailedError, NothingSelectedError
from builder.lock import record
from builder.lock.image import ImageRecord
from builder.project import Project

ROOT = Path(__file__).parents[2]
HERE = Project(ROOT)
ROWS = tuple(row for row in matrix.load(ROOT / "matrix.yaml").rows if not rowfiles.unlocked(HERE, row))


def recorded(row: str) -> ImageRecord:
    found = record.read(HERE.image(row) / record.FILE).image
    assert found, f"no image of {row} is recorded: cuvee build {row} --engine direct"
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_records_its_present_image(row: matrix.Row) -> None:
    assert recorded(row.id)
    direct.check(HERE, row, lambda _: None)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_record_agrees_with_itself_and_has_few_layers(row: matrix.Row) -> None:
    with direct.rows(HERE, lambda _: None).known(row) as image:
        assert image.digest == recorded(row.id).manifest
        assert len(image.layers) <= MOST
        assert [layer.digest for layer in image.layers] == [one.digest for one in recorded(row.id).layers]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_can_be_published_in_zstd_with_nothing_made(row: matrix.Row) -> None:
    rows = direct.rows(HERE, lambda _: None)
    with rows.known(row) as image:
        found = rows.compressed(row, image, "zstd")
    zstd = recorded(row.id).zstd
    assert zstd, f"cuvee build {row.id} --compression zstd"
    assert found.digest == zstd.manifest
    assert found.size == zstd.size < image.size


def test_rows_begin_with_the_layers_that_they_share() -> None:
    """A Docker engine shares a layer only where all before it are the same."""
    founding, bad = recorded("cu121").layers, recorded("cu121-no-cudnn8").layers
    pairs = zip(founding, bad, strict=False)
    beginning = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    shared = {layer.digest for layer in founding} & {layer.digest for layer in bad}
    assert {layer.digest for layer in beginning} == shared
    assert len(shared) > len(founding) * 2 / 3


def test_a_record_of_another_recipe_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("matrix.yaml", "bases", "facts", "survey"):
        (other / name).symlink_to(ROOT / name)
    text = (HERE.image("asr-cu12") / record.FILE).read_text(encoding="utf-8")
    edited = json.loads(text)
    edited["image"]["recipe"] = "sha256:" + "0" * 64
    (other / "images" / "asr-cu12").mkdir(parents=True)
    (other / "images" / "asr-cu12" / record.FILE).write_text(json.dumps(edited), encoding="utf-8")
    [row] = pipeline.rows(Project(other), ["asr-cu12"])
    with pytest.raises(CheckFailedError, match=r"of another image than the row has now\. Run `cuvee build"):
        direct.check(Project(other), row, lambda _: None)


def test_what_an_image_records_is_not_part_of_the_locks_own_digest() -> None:
    lock = record.read(HERE.image("asr-cu12") / record.FILE)
    assert lock.image
    assert replace(lock, image=None).digest == lock.digest


class TestDiff:
    def diff(self, *words: str) -> str:
        done = CliRunner().invoke(cli, ["-C", str(ROOT), "diff", *words], standalone_mode=False)
        assert done.exception is None, done.exception
        return done.output

    def test_what_rows_share_is_not_pulled(self) -> None:
        told = json.loads(self.diff("cu121-no-cudnn8", "cu121", "--json"))
        assert [layer["title"] for layer in told["pulled"]] == [
            layer.title for layer in recorded("cu121").layers if "cudnn-cu12 8" in layer.title
        ] + ["loader", "launcher"]
        assert told["pulled_bytes"] + told["shared_bytes"] == recorded("cu121").pull

    def test_a_word_that_is_no_row_is_not_asked_of_a_registry(self) -> None:
        done = CliRunner().invoke(cli, ["-C", str(ROOT), "diff", "cu112", "cu121"], standalone_mode=False)
        assert isinstance(done.exception, NothingSelectedError)
        assert "Nearest: cu1" in str(done.exception)

    def test_a_row_costs_nothing_who_has_it(self) -> None:
        assert "they are one image" in self.diff("cu121", str(HERE.image("cu121") / record.FILE))


def test_layers_of_more_rows_come_first() -> None:
    rows = direct.rows(HERE, lambda _: None)
    for row in ROWS:
        counts = [len(group.rows) for group in rows.order(row).groups]
        assert all(one >= other for one, other in pairwise(counts))
