from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from builder.lock import record
from builder.lock.image import BlobRecord, ImageRecord, LayerRecord, ZstdRecord
from builder.lock.record import Lock
from builder.matrix import Row
from builder.pipeline import plan, rows
from builder.project import Project
from builder.report.budgets import disk_faults, pull_faults
from builder.report.state import best_evidence, listed
from builder.report.tables import Listed, built, listing, listing_schema, planned
from builder.verify.evidence import FAILS, SHOWN_BY, Check, Evidence

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of the golden project, which is locked, and of which nothing is proven."""
    shutil.copytree(ROOT / "tests" / "golden", tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def found(project: Project) -> Listed:
    """What is listed of the row `blend`."""
    [row] = listed(project, ["blend"])
    return row


def evidence(project: Project, *outcomes: str, **changes: Any) -> Evidence:
    """Evidence for the row `blend` with checks that ended so, written where `cuvee test` writes it."""
    ended: list[Any] = list(outcomes)
    made = Evidence(
        row="blend",
        status="good",
        lock=record.read(project.image("blend") / record.FILE).digest,
        image={"tag": "cuvee:blend", "id": "sha256:" + "0" * 64, "bytes": 2_500_000_000, "layers": 9},
        host={},
        gpu=None,
        command="cuvee test blend",
        date="2026-01-01T00:00:00+00:00",
        checks=tuple(
            Check(
                name="test_it_works",
                outcome=outcome,
                seconds=1,
                reason="no GPU" if outcome == "skipped" else "",
            )
            for outcome in ended
        ),
    )
    made = dataclasses.replace(made, **changes)
    path = project.evidence("blend")
    path.parent.mkdir(exist_ok=True)
    path.write_text(made.text(), encoding="utf-8")
    return made


def move_on(project: Project) -> None:
    """Change what the row asks for, after it was locked."""
    text = project.matrix.read_text(encoding="utf-8")
    project.matrix.write_text(text.replace("as_of: 2025-01-20", "as_of: 2025-01-21"), encoding="utf-8")


def printed(table: Table) -> str:
    console = Console(file=io.StringIO(), width=150, no_color=True)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined] # it is the StringIO from above
    return "\n".join(line.rstrip() for line in text.splitlines())


def check(name: str, outcome: Any = "passed") -> Check:
    return Check(name=name, outcome=outcome, seconds=1, reason="no GPU" if outcome == "skipped" else "")


FOUND = check("test_every_elf_file_finds_what_it_needs")
HEARD = (FOUND, check("test_it_hears_what_is_said[faster-whisper]"))
ONE, OTHER = ("sha256:" + digit * 64 for digit in "12")
ON_GPU = (*HEARD, check("test_the_gpu_does_the_work[faster-whisper]"))


# How far a row is proven


@pytest.mark.parametrize(
    ("checks", "level"),
    [
        ((check("test_something_else"),), None),
        ((FOUND,), "loaded"),
        ((FOUND, check("test_it_hears_what_is_said[whisperx]", "skipped")), "loaded"),
        (HEARD, "cpu"),
        (ON_GPU, "gpu"),
        ((*HEARD, check("test_the_gpu_does_the_work[faster-whisper]", "skipped")), "cpu"),
        ((*ON_GPU, check("test_no_library_path_is_set", "failed")), None),
    ],
    ids=["nothing", "loaded", "not heard", "cpu", "gpu", "no gpu", "one failure"],
)
def test_the_level_is_the_highest_that_was_reached_and_none_where_something_failed(
    project: Project, checks: tuple[Check, ...], level: str | None
) -> None:
    assert evidence(project, checks=checks).level == level


def test_what_reaches_a_level_is_a_check_of_images() -> None:
    """Were one of them renamed, no row would reach its level any more, and nobody would know why."""
    suite = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "images").glob("test_*.py")
    )
    assert all(f"def {name}(" in suite for name in (*SHOWN_BY.values(), FAILS))


def test_a_known_bad_row_has_no_level_and_fails_as_it_says(project: Project) -> None:
    fails = (check("test_it_fails_as_it_is_known_to"), FOUND)
    bad = evidence(project, status="known-bad", checks=fails)
    assert (bad.level, bad.fails_as_recorded) == (None, True)
    assert not evidence(project, status="known-bad", checks=(FOUND,)).fails_as_recorded


def test_what_a_gpu_has_shown_is_not_lost_by_a_run_without_one(project: Project) -> None:
    found_on = evidence(project, checks=ON_GPU, gpu={"name": "a card"})
    project.evidence("blend").rename(project.evidence("blend", gpu=True))
    evidence(project, checks=HEARD)
    assert found(project).level == "gpu"
    assert best_evidence(project, rows(project, ["blend"])[0]) == found_on


def test_an_environment_on_a_gpu_has_the_weights_of_the_image(project: Project) -> None:
    evidence(project, checks=ON_GPU, gpu={"name": "a card"}, where="environment", image={})
    project.evidence("blend").rename(project.evidence("blend", gpu=True))
    weighed = evidence(project, checks=HEARD)
    best = best_evidence(project, rows(project, ["blend"])[0])
    assert best
    assert (best.level, best.where, best.image) == ("gpu", "environment", weighed.image)


def test_the_list_tells_what_an_image_weighs_and_how_soon_it_speaks(project: Project) -> None:
    assert (found(project).disk, found(project).first_words) == (None, None)
    evidence(project, checks=HEARD, measured={"faster-whisper cpu": {"first_words_seconds": 2.5}})
    assert (found(project).disk, found(project).first_words) == (2_500_000_000, 2.5)


def test_the_list_is_what_its_schema_says(project: Project) -> None:
    told = json.loads(json.dumps(found(project).to_json()))
    described = json.loads(listing_schema())["$defs"]["Listed"]
    assert list(told) == list(described["properties"]) == described["required"]
    read: Listed = TypeAdapter(Listed).validate_python(told)
    assert read == found(project)


def test_the_schema_of_the_list_is_committed() -> None:
    assert (ROOT / "builder" / "list.schema.json").read_text(encoding="utf-8") == listing_schema()


def test_evidence_of_an_environment_is_shown_as_such(project: Project) -> None:
    text = printed(built([evidence(project, "passed", where="environment", image={})]))
    assert "an installed environment" in text


def test_evidence_of_another_lock_is_said_to_be_so(project: Project) -> None:
    evidence(project, checks=HEARD, lock="sha256:" + "1" * 64)
    assert (found(project).evidence, found(project).level) == ("of another lock", None)
    assert found(project).shown == "of another lock"


def recorded(project: Project, manifest: str) -> None:
    """Have the row's lock record an image."""
    path = project.image("blend") / record.FILE
    digest = "sha256:" + "b" * 64
    layer = LayerRecord(title="base", packages=(), digest=digest, size=1, diff_id=digest, trace="")
    image = ImageRecord(recipe=digest, manifest=manifest, layers=(layer,))
    path.write_text(dataclasses.replace(record.read(path), image=image).text(), encoding="utf-8")


def test_evidence_of_another_image_of_the_same_lock_is_none(project: Project) -> None:
    recorded(project, ONE)
    tested = evidence(project, checks=HEARD)
    assert found(project).evidence == "valid"  # Docker's own digest says nothing of the direct engine's
    evidence(project, checks=HEARD, image={**tested.image, "digest": ONE})
    assert (found(project).evidence, found(project).level) == ("valid", "cpu")
    recorded(project, OTHER)
    assert (found(project).evidence, found(project).level) == ("of another lock", None)


def test_evidence_that_cannot_be_read_is_said_to_be_so(project: Project) -> None:
    evidence(project, checks=HEARD, measured={"faster-whisper cpu": 3})
    assert (found(project).evidence, found(project).shown) == ("unreadable", "unreadable")
    evidence(project, checks=HEARD, image={"tag": "cuvee:blend"})
    assert found(project).evidence == "unreadable"


def test_a_gpu_does_not_hide_what_failed_without_one(project: Project) -> None:
    evidence(project, checks=ON_GPU, gpu={"name": "a card"})
    project.evidence("blend").rename(project.evidence("blend", gpu=True))
    evidence(project, "failed")
    assert (found(project).proven, found(project).level) == ("failed", None)


def test_a_gpu_that_was_asked_for_and_was_not_there_says_nothing(project: Project) -> None:
    evidence(project, "failed")
    project.evidence("blend").rename(project.evidence("blend", gpu=True))
    evidence(project, checks=HEARD)
    assert (found(project).proven, found(project).level) == ("passed", "cpu")


@pytest.mark.parametrize(
    ("checks", "why"),
    [
        ((check(FAILS), FOUND), ""),
        ((FOUND,), "it was not seen to fail, which is what it claims"),
        ((FOUND, check(FAILS, "skipped")), "it was not seen to fail, which is what it claims"),
        ((check(FAILS, "skipped"),), "nothing passed, and a skip is not a pass"),
        ((check(FAILS, "failed"),), ""),
    ],
)
def test_a_known_bad_row_must_be_seen_to_fail(project: Project, checks: tuple[Check, ...], why: str) -> None:
    assert evidence(project, status="known-bad", checks=checks).lacking == why


def test_the_first_words_are_the_gpus_where_one_spoke(project: Project) -> None:
    cpu, gpu = {"first_words_seconds": 2.5}, {"first_words_seconds": 0.5}
    assert evidence(project, measured={"faster-whisper cpu": cpu}).first_words == 2.5
    both = {"faster-whisper cpu": cpu, "faster-whisper gpu": gpu}
    assert evidence(project, measured=both).first_words == 0.5
    assert evidence(project, measured={}).first_words is None


# Budgets


def with_budget(project: Project, text: str) -> Row:
    written = re.sub(r"    budget: .*\n", "", project.matrix.read_text(encoding="utf-8"))
    with_it = written.replace("  blend:\n", f"  blend:\n    budget: {text}\n")
    project.matrix.write_text(with_it, encoding="utf-8")
    return rows(project, ["blend"])[0]


def weighing(project: Project, size: int, zstd: int | None = None) -> Lock:
    digest = "sha256:" + "0" * 64
    layer = LayerRecord(title="all", digest=digest, size=size, diff_id=digest)
    image = ImageRecord(
        recipe=digest,
        manifest=digest,
        layers=(layer,),
        zstd=ZstdRecord(how="zstd", manifest=digest, layers=(BlobRecord(digest=digest, size=zstd),))
        if zstd
        else None,
    )
    return dataclasses.replace(record.read(project.image("blend") / record.FILE), image=image)


def test_two_percent_over_a_budget_are_forgiven_and_more_are_not(project: Project) -> None:
    row = with_budget(project, "{pull: 1, disk: 2.5}")
    assert list(pull_faults(row, weighing(project, 1_020_000_000))) == []
    [fault] = pull_faults(row, weighing(project, 1_030_000_000))
    assert fault.place.endswith("rows.blend.budget.pull")
    assert "1.030 GB" in fault.cause
    assert list(disk_faults(row, evidence(project, "passed"))) == []
    [over] = disk_faults(with_budget(project, "{pull: 1, disk: 2.4}"), evidence(project, "passed"))
    assert over.place.endswith("rows.blend.budget.disk")


def test_a_pull_is_weighed_in_zstds_layers_where_they_are_known(project: Project) -> None:
    row = with_budget(project, "{pull: 1, disk: 3}")
    assert list(pull_faults(row, weighing(project, 1_500_000_000, zstd=900_000_000))) == []


def test_what_zstd_makes_is_in_the_lock_and_not_in_its_digest(project: Project) -> None:
    lock = weighing(project, 5, zstd=4)
    path = project.image("blend") / record.FILE
    path.write_text(lock.text(), encoding="utf-8")
    assert record.read(path) == lock
    assert lock.digest == weighing(project, 5).digest


# How rows stand


def test_a_locked_row_is_listed_with_what_it_wants_and_its_locks_digest(project: Project) -> None:
    assert found(project) == Listed(
        id="blend",
        status="good",
        summary='Torch with its own cuDNN, an overlay and a static FFmpeg, called "the $5 blend"',
        cuda="12.1",
        cudnn="9.1 + cudnn8",
        torch="2.4.1",
        ctranslate2="4.4.0",
        lock=record.read(project.image("blend") / record.FILE).digest,
        proven=None,
    )


def test_a_row_without_torch_and_cudnn_is_listed_with_none(project: Project) -> None:
    [_, small, *_] = listed(project, [])
    assert (small.id, small.torch, small.cudnn) == ("small", None, None)


def test_a_lock_that_the_matrix_has_moved_on_from_is_none_and_its_evidence_does_not_count(
    project: Project,
) -> None:
    evidence(project, "passed")
    assert found(project).proven == "passed"
    move_on(project)
    assert (found(project).lock, found(project).proven) == (None, None)


@pytest.mark.parametrize("broken", [None, b"", b"{}", b"<<<<<<< HEAD"])
def test_a_row_whose_lock_is_missing_or_broken_is_still_listed(
    project: Project, broken: bytes | None
) -> None:
    path = project.image("blend") / record.FILE
    path.unlink() if broken is None else path.write_bytes(broken)
    assert (found(project).id, found(project).lock) == ("blend", None)


@pytest.mark.parametrize(
    ("outcomes", "proven"),
    [
        (["passed"], "passed"),
        (["passed", "skipped"], "passed"),
        (["passed", "failed"], "failed"),
        (["failed", "skipped"], "failed"),
        (["skipped"], None),
        ([], None),
    ],
)
def test_a_row_is_proven_by_what_passed_and_a_skip_is_not_a_pass(
    project: Project, outcomes: list[str], proven: str | None
) -> None:
    evidence(project, *outcomes)
    assert found(project).proven == proven


def test_evidence_of_another_lock_proves_nothing(project: Project) -> None:
    evidence(project, "passed", lock="sha256:" + "0" * 64)
    assert found(project).proven is None


def test_evidence_that_a_row_fails_does_not_prove_that_it_works(project: Project) -> None:
    """The lock is the same: whether a row is good or known-bad changes no package of it."""
    evidence(project, "passed", status="known-bad")
    assert found(project).proven is None


@pytest.mark.parametrize(
    "broken", ["", "[]", "{}", "<<<<<<< HEAD", '{"lock": 1, "status": "good", "checks": [3]}']
)
def test_evidence_that_cannot_be_read_proves_nothing(project: Project, broken: str) -> None:
    evidence(project, "passed")
    project.evidence("blend").write_text(broken, encoding="utf-8")
    assert found(project).proven is None


def test_a_row_as_json_has_all_that_is_listed(project: Project) -> None:
    row = found(project)
    assert json.loads(json.dumps(row.to_json())) == {**dataclasses.asdict(row), "aliases": []}


# Tables


def test_the_list_says_of_each_row_whether_it_is_proven_or_its_lock_is_stale(project: Project) -> None:
    evidence(project, checks=HEARD)
    blend, small, _ = (line for line in printed(listing(listed(project, []))).splitlines() if "good" in line)
    assert blend.endswith("cpu")
    assert small.endswith("none yet")
    move_on(project)
    assert "stale lock" in printed(listing([found(project)]))


def test_a_dry_run_shows_every_layer_and_all_there_is_to_download(project: Project) -> None:
    intended = plan(project, rows(project, ["blend"])[0])
    text = printed(planned(intended))
    assert "cuvee:blend, on debian:bookworm-slim" in text
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for layer in intended.layers:
        size = f"{layer.size / 1e6:.1f}"
        assert [layer.name, str(len(layer.packages)), size, str(layer.prefix)] in lines
    total = sum(len(layer.packages) for layer in intended.layers)
    assert ["all", str(total), f"{intended.download / 1e6:.1f}"] in lines


def test_what_was_built_is_shown_with_its_size_and_every_outcome(project: Project) -> None:
    text = printed(built([evidence(project, "passed", "passed", "skipped", "failed")]))
    for part in ("cuvee:blend", "2.50 GB", "2 passed, 1 failed, 1 skipped", "cuvee run blend"):
        assert part in text


def test_no_way_to_run_it_is_shown_for_a_row_that_is_known_to_fail(project: Project) -> None:
    text = printed(built([evidence(project, "passed", status="known-bad")]))
    assert "known to fail" in text
    assert "run blend" not in text
