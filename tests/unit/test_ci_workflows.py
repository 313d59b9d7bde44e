"""The committed workflows, and that they and `cuvee ci` agree; `.ci/workflows` checks them otherwise."""

from __future__ import annotations

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from builder import matrix
from builder.ci.formats import as_github
from builder.ci.job import LIMIT, REGISTRY, STAGES, Job
from builder.cli import cli
from tests.unit.test_ci_jobs import BASE, TORCH, layer, planned, row_text, rows

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
BAD = ROOT / ".ci" / "bad-workflows" / "bad.yml"

PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
OWN = re.compile(r"\$/(?P<folder>\.github/actions/[\w-]+)")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def uses(path: Path) -> list[str]:
    """What a file uses, with the comment behind it."""
    return re.findall(r"^\s*(?:- )?uses: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)


def steps(path: Path) -> Iterator[Mapping[str, Any]]:
    found = read(path)
    yield from (step for job in found["jobs"].values() for step in job["steps"])


def scripts(path: Path) -> str:
    found = read(path)
    jobs = found["jobs"].values() if "jobs" in found else [found["runs"]]
    return "\n".join(step.get("run", "") for job in jobs for step in job["steps"])


def faults(path: Path) -> set[str]:
    """What a workflow lacks."""
    found = read(path)
    jobs = found["jobs"].values()
    checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    lacks = {
        "no permissions to begin with": found.get("permissions") == {},
        "each job says its permissions": all("permissions" in job for job in jobs),
        "each job has an end": all("timeout-minutes" in job for job in jobs),
        "runs do not overtake each other": "concurrency" in found,
        "actions are pinned": all(PINNED.fullmatch(one) or OWN.fullmatch(one) for one in uses(path)),
        "no credentials stay": all(
            step.get("with", {}).get("persist-credentials") is False for step in checkouts
        ),
        "nothing is put into scripts": "${{" not in scripts(path),
    }
    return {name for name, holds in lacks.items() if not holds}


# Care


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_is_careful(path: Path) -> None:
    assert faults(path) == set()


def test_a_careless_workflow_is_found_out() -> None:
    assert len(faults(BAD)) == 7


def test_an_action_has_one_version_everywhere() -> None:
    versions: dict[str, set[str]] = defaultdict(set)
    for path in (*FILES, *ACTIONS):
        for one in uses(path):
            name, _, version = one.partition("@")
            versions[name].add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", ACTIONS, ids=lambda path: path.parent.name)
def test_our_own_actions_are_as_careful(path: Path) -> None:
    assert all(PINNED.fullmatch(one) for one in uses(path))
    assert "${{" not in scripts(path)


def test_only_the_jobs_that_send_images_may_write_and_no_change_of_others_starts_them() -> None:
    writing = {
        (path.stem, name, right)
        for path in FILES
        for name, job in read(path)["jobs"].items()
        for right, degree in job["permissions"].items()
        if degree == "write"
    }
    sending = {("images", stage, "packages") for stage in ("base", "shared", "rows")}
    assert writing == {*sending, ("drift", "tell", "issues")}
    whole: dict[Any, Any] = read(FOLDER / "images.yml")
    triggers = whole[True]  # YAML 1.1 reads `on` so
    assert set(triggers) == {"push", "workflow_dispatch"}
    assert triggers["push"]["branches"] == ["main"]
    assert "github.ref == 'refs/heads/main'" in read(FOLDER / "images.yml")["jobs"]["plan"]["if"]


# The workflow and `cuvee ci`


@pytest.fixture(scope="module")
def images() -> dict[str, Any]:
    return read(FOLDER / "images.yml")


@pytest.fixture(scope="module")
def jobs() -> tuple[Job, ...]:
    """Jobs of every stage, and of every kind of row."""
    bad = "status: known-bad\n    fails_with: {check: cudnn, message: no cuDNN}"
    chosen = rows(
        row_text("one", "ffmpeg: shared\n    aliases: [latest]"),
        row_text("two", "ffmpeg: shared"),
        row_text("bad", bad),
        row_text("refused", bad.replace("cudnn,", "lock,")),
        row_text("new", "status: untested"),
    )
    layers = {"one": [BASE, TORCH], "two": [BASE, TORCH, layer("two")], "bad": [layer("other base")]}
    return tuple(planned(chosen, layers, named=True).values())


def test_the_workflow_has_the_stages_of_cuvee_ci_in_their_order(images: dict[str, Any]) -> None:
    assert tuple(name for name in images["jobs"] if name != "plan") == STAGES
    for number, stage in enumerate(STAGES):
        job = images["jobs"][stage]
        needs = [job["needs"]] if isinstance(job["needs"], str) else job["needs"]
        assert needs == ["plan", *STAGES[:number]]
        assert f"contains(needs.plan.outputs.stages, '{stage}')" in job["if"]
        assert job["strategy"]["matrix"] == f"${{{{ fromJSON(needs.plan.outputs.matrix).{stage} }}}}"


def test_what_the_workflow_takes_from_the_matrix_is_in_it(
    images: dict[str, Any], jobs: tuple[Job, ...]
) -> None:
    told = json.loads(as_github(jobs))
    assert told["stages"] == list(STAGES)
    for stage in STAGES:
        wanted = set(re.findall(r"matrix\.(\w+)", json.dumps(images["jobs"][stage])))
        assert wanted >= {"name", "runner", "commands"}
        assert all(entry.keys() >= wanted for entry in told[stage]["include"])


def test_gpu_jobs_run_only_where_a_variable_says_that_there_is_a_runner(images: dict[str, Any]) -> None:
    assert "vars.GPU_RUNNER != ''" in images["jobs"]["gpu"]["if"]
    assert "--gpu-runner" in scripts(FOLDER / "images.yml")


def test_the_jobs_get_the_registry_under_the_name_that_their_commands_use(jobs: tuple[Job, ...]) -> None:
    [action] = ACTIONS
    [step] = [step for step in read(action)["runs"]["steps"] if "COMMANDS" in step.get("env", {})]
    assert REGISTRY in step["env"]
    used = {name for job in jobs for one in job.commands for name in re.findall(r"\$(\w+)", one)}
    assert used == {REGISTRY}


def test_every_action_of_our_own_that_is_used_is_there() -> None:
    own = {match["folder"] for path in FILES for one in uses(path) if (match := OWN.fullmatch(one))}
    assert own == {str(path.parent.relative_to(ROOT)) for path in ACTIONS}


def require_known(command: str) -> None:
    """See that cuvee's command line takes a command; it is not run."""
    name, *words = shlex.split(command.replace("$", ""))[1:]
    found = cli.commands[name]
    found.make_context(name, words, obj=None)


def test_every_planned_command_is_one_that_cuvee_has(jobs: tuple[Job, ...]) -> None:
    planned_commands = [part for job in jobs for one in job.commands for part in one.split(" || ")]
    ours = [one for one in planned_commands if one.startswith("cuvee ")]
    assert {one.split()[1] for one in ours} == {"base", "push", "test", "lock", "build"}
    for one in ours:
        require_known(one)


def test_a_command_that_cuvee_does_not_have_is_found_out() -> None:
    with pytest.raises(click.UsageError):
        require_known("cuvee test one --no-such-option")
    with pytest.raises(KeyError):
        require_known("cuvee dance")


def test_every_command_in_a_script_is_one_that_cuvee_has() -> None:
    found = {name for path in FILES for name in re.findall(r"bin/cuvee (\w+)", scripts(path))}
    assert found == {"ci", "drift"}
    assert found <= cli.commands.keys()


def test_every_target_and_row_that_a_workflow_makes_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    known = {row.id for row in matrix.load(ROOT / "matrix.yaml").rows}
    for path in (*FILES, *ACTIONS):
        for line in re.findall(r"^make (.+)$", scripts(path), re.MULTILINE):
            target, *named = line.split()
            assert target in targets, f"{path.name}: make {target}"
            assert set(named) <= known


def test_all_rows_of_this_project_fit_into_one_workflow() -> None:
    assert 2 * len(matrix.load(ROOT / "matrix.yaml").rows) < LIMIT / 2
