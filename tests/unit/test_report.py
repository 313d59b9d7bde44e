from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from builder.lock import record
from builder.pipeline import plan, rows
from builder.project import Project
from builder.report.state import listed
from builder.report.tables import Listed, built, listing, planned
from builder.verify.evidence import Check, Evidence

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
    checks: list[Any] = list(outcomes)
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
            for outcome in checks
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
    [_, small] = listed(project, [])
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
    assert json.loads(json.dumps(row.to_json())) == dataclasses.asdict(row)


# Tables


def test_the_list_says_of_each_row_whether_it_is_proven_or_its_lock_is_stale(project: Project) -> None:
    evidence(project, "passed")
    blend, small = (line for line in printed(listing(listed(project, []))).splitlines() if "good" in line)
    assert blend.endswith("passed")
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
