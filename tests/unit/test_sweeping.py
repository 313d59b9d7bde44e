from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from builder.cli.neighbours import Layers
from builder.cli.sweeping import Steps, sweep
from builder.errors import CannotResolveError, Fault
from builder.matrix import Row
from builder.pipeline import rows
from builder.project import Project
from builder.render.readme import Told, readme
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
        self.shared: Mapping[str, Layers] = {}
        self.kept: dict[str, set[str]] = {}

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

    def drop(self, row: Row, keep: Collection[str]) -> None:
        self.done.append(f"drop {row.id}")
        self.kept[row.id] = set(keep)
        self.disk -= 5

    @property
    def steps(self) -> Steps:
        return Steps(
            build=self.build,
            test=self.test,
            drop=self.drop,
            layers=lambda row: self.shared.get(row.id, {}),
            used=lambda: self.disk,
            held=lambda: 1000,
        )


def outcomes(project: Project, world: World, *ids: str) -> dict[str, str]:
    found = sweep(project, rows(project, ids), lambda _: None, world.steps, at_once=1)
    return {one.row: f"{one.outcome} {one.why}".strip() for one in found}


def in_turn(done: list[str], *expected: str) -> bool:
    """Whether these were done in this order, whatever else was in between."""
    return [one for one in done if one in expected] == list(expected)


def test_each_row_is_built_tested_and_dropped_and_the_next_goes_on_meanwhile(project: Project) -> None:
    world = World()
    outcomes(project, world, "blend", "small")
    assert len(world.done) == 6
    assert in_turn(world.done, "build blend", "test blend", "build small", "test small")
    assert in_turn(world.done, "test blend", "drop blend", "drop small")
    assert in_turn(world.done, "test small", "drop small")


def test_a_row_that_fails_does_not_keep_the_others_from_it_and_is_dropped_too(project: Project) -> None:
    world = World(blend="unbuildable")
    assert outcomes(project, world, "blend", "small") == {
        "blend": "failed blend: it cannot be had. Wait.",
        "small": "passed",
    }
    assert sorted(world.done) == ["build blend", "build small", "drop blend", "drop small", "test small"]


def test_rows_that_share_layers_are_taken_one_after_the_other_and_told_in_their_own_order(
    project: Project,
) -> None:
    first, second, third, *_ = (row.id for row in rows(project, ()))
    world = World()
    world.shared = {first: {"a": 9}, second: {"b": 9}, third: {"a": 9, "c": 1}}
    assert list(outcomes(project, world, first, second, third)) == [first, second, third]
    built = [one.removeprefix("build ") for one in world.done if one.startswith("build ")]
    assert abs(built.index(first) - built.index(third)) == 1


def test_what_the_rows_to_come_have_stays_and_with_the_last_row_all_goes(project: Project) -> None:
    world = World()
    world.shared = {"blend": {"a": 9, "b": 1}, "small": {"a": 9}}
    outcomes(project, world, "blend", "small")
    assert world.kept["small"] == set()
    assert "b" not in world.kept["blend"]


def test_a_drop_that_fails_is_told(project: Project) -> None:
    world = World()

    def failing(row: Row, keep: Collection[str]) -> None:
        del keep
        raise OSError(row.id)

    steps = replace(world.steps, drop=failing)
    with pytest.raises(OSError, match="blend"):
        sweep(project, rows(project, ["blend"]), lambda _: None, steps, at_once=1)


def test_a_drop_that_fails_keeps_no_row_from_its_test(project: Project) -> None:
    world = World()
    ids = [row.id for row in rows(project, ())]
    world.shared = {row: {row: 90 if number % 2 else 1} for number, row in enumerate(ids)}

    def failing(row: Row, keep: Collection[str]) -> None:
        world.drop(row, keep)
        if row.id == ids[0]:
            raise OSError(row.id)

    steps = replace(world.steps, drop=failing)
    with pytest.raises(OSError, match=ids[0]):
        sweep(project, rows(project, ids), lambda _: None, steps, at_once=2)
    tested = [one for one in world.done if one.startswith("test ")]
    assert sorted(tested) == sorted(f"test {row}" for row in ids)


def test_a_worker_that_fails_does_not_leave_the_others_waiting(project: Project) -> None:
    world = World()
    ids = [row.id for row in rows(project, ())]
    world.shared = {row: {row: 90} for row in ids}

    def say(text: str) -> None:
        if "passed" in text:
            raise OSError("nobody listens")

    with pytest.raises(OSError, match="nobody listens"):
        sweep(project, rows(project, ids), say, world.steps, at_once=2)


def test_a_failed_check_and_a_run_of_nothing_are_failures(project: Project) -> None:
    world = World(blend="failed", small="nothing")
    assert outcomes(project, world, "blend", "small") == {
        "blend": "failed test_it: broken",
        "small": "failed nothing passed, and a skip is not a pass",
    }


def test_a_mistake_of_ours_with_one_row_does_not_keep_the_others_from_it(project: Project) -> None:
    world = World()

    def broken(row: Row) -> Evidence:
        if row.id == "blend":
            raise LookupError("no such thing")
        return world.steps.test(row)

    steps, said = replace(world.steps, test=broken), list[str]()
    found = sweep(project, rows(project, ["blend", "small"]), said.append, steps)
    assert [(one.outcome, one.why) for one in found] == [
        ("failed", "LookupError: no such thing"),
        ("passed", ""),
    ]
    assert any("Traceback" in line for line in said)


def test_only_a_run_over_all_rows_is_recorded(project: Project) -> None:
    outcomes(project, World(), "blend")
    assert not project.sweep.exists()
    found = outcomes(project, World())
    told = json.loads(project.sweep.read_text(encoding="utf-8"))
    assert [one["row"] for one in told["rows"]] == list(found)
    assert told["counts"]["passed"] == len(found)
    assert (told["held_before"], told["format"]) == (1000, 2)
    assert 1005 <= told["most_disk"] <= 1010  # a row's drop may go on while the next one is built
    assert all(1005 <= one["disk"] <= told["most_disk"] for one in told["rows"])


def test_the_readme_tells_of_a_run_over_all_rows_and_of_the_whole_disk_that_it_stood_on() -> None:
    rows = [
        {"status": "good", "outcome": "passed", "ended_s": 600, "disk": 40e9},
        {"status": "good", "outcome": "failed", "ended_s": 1200, "disk": 44e9},
        {"status": "known-bad", "outcome": "passed", "ended_s": 1800, "disk": 42e9},
    ]
    swept = {
        "command": "cuvee test --all",
        "date": "2026-11-26T05:00:00+00:00",
        "host": {"cpus": "2"},
        "seconds": 1800,
        "held_before": 33e9,
        "most_disk": 44.4e9,
        "rows": rows,
    }
    page = "<!-- sweep:begin -->\n<!-- sweep:end -->\n"
    told = Told(rows=(), evidence={}, shown="", sweep=swept, wheels=29_000_000_000)
    [line] = readme(page, told).splitlines()[1:-1]
    assert line == (
        "One run on 2 processors, `cuvee test --all` of 2026-11-26, with the wheels on the disk (29.0 GB for "
        "all rows): 1 of 2 good rows built and passed, in 30 minutes with the "
        "known-bad ones; 44.4 GB of disk at most, with the 33.0 GB that the store held before: the wheels "
        "and all else."
    )
