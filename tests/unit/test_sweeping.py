from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from builder.cli.sweeping import Steps, sweep
from builder.errors import CannotResolveError, Fault
from builder.matrix import Row
from builder.pipeline import rows
from builder.project import Project
from builder.verify.evidence import Check, Evidence

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    shutil.copytree(ROOT / "tests" / "golden", tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


class World:
    """Rows that can be built or not, and pass or not; remembers what was done."""

    def __init__(self, **outcomes: str) -> None:
        self.outcomes = outcomes
        self.done: list[str] = []
        self.disk = 10

    def build(self, row: Row) -> None:
        self.done.append(f"build {row.id}")
        self.disk += 5
        if self.outcomes.get(row.id) == "unbuildable":
            raise CannotResolveError(Fault(place=row.id, cause="it cannot be had", fix="Wait"))

    def test(self, row: Row) -> Evidence:
        self.done.append(f"test {row.id}")
        outcome = self.outcomes.get(row.id, "passed")
        check = Check(
            name="test_it", outcome="failed" if outcome == "failed" else "passed", seconds=1, reason="broken"
        )
        return Evidence(
            row=row.id,
            status=row.status,
            lock="",
            image={"bytes": 1},
            host={},
            gpu=None,
            command="",
            date="",
            checks=() if outcome == "nothing" else (check,),
        )

    def drop(self, row: Row) -> None:
        self.done.append(f"drop {row.id}")
        self.disk -= 5

    @property
    def steps(self) -> Steps:
        return Steps(build=self.build, test=self.test, drop=self.drop, used=lambda: self.disk)


def outcomes(project: Project, world: World, *ids: str) -> dict[str, str]:
    found = sweep(project, rows(project, ids), lambda _: None, world.steps, at_once=1)
    return {one.row: f"{one.outcome} {one.why}".strip() for one in found}


def test_each_row_is_built_tested_and_dropped_before_the_next(project: Project) -> None:
    world = World()
    outcomes(project, world, "blend", "small")
    assert world.done == [
        "build blend",
        "test blend",
        "drop blend",
        "build small",
        "test small",
        "drop small",
    ]


def test_a_row_that_fails_does_not_keep_the_others_from_it_and_is_dropped_too(project: Project) -> None:
    world = World(blend="unbuildable")
    assert outcomes(project, world, "blend", "small") == {
        "blend": "failed blend: it cannot be had. Wait.",
        "small": "passed",
    }
    assert world.done == ["build blend", "drop blend", "build small", "test small", "drop small"]


def test_a_failed_check_and_a_run_of_nothing_are_failures(project: Project) -> None:
    world = World(blend="failed", small="nothing")
    assert outcomes(project, world, "blend", "small") == {
        "blend": "failed test_it: broken",
        "small": "failed nothing ran",
    }


def test_only_a_run_over_all_rows_is_recorded(project: Project) -> None:
    outcomes(project, World(), "blend")
    assert not project.sweep.exists()
    found = outcomes(project, World())
    told = json.loads(project.sweep.read_text(encoding="utf-8"))
    assert [one["row"] for one in told["rows"]] == list(found)
    assert told["counts"]["passed"] == len(found)
    assert told["most_disk"] == 5
