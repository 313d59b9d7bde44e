from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from builder.ci.formats import as_github, as_gitlab, as_json, schema
from builder.ci.job import STAGES, Job

ROOT = Path(__file__).parents[2]

SHARED = Job(
    id="shared-1",
    name="torch, for one, two",
    stage="shared",
    runner="small",
    layers=("sha256:" + "0" * 64,),
    bytes=7,
    commands=('cuvee push one "$CUVEE_REGISTRY" --layer sha256:0',),
)
ROW = Job(
    id="row-one",
    name="one (must fail as recorded)",
    stage="rows",
    row="one",
    needs=("shared-1",),
    runner="small",
    expect="fail",
    commands=("cuvee base old", "cuvee test one"),
)
NEW = Job(
    id="row-new", name="new", stage="rows", row="new", runner="small", may_fail=True, commands=("true",)
)
GPU = Job(
    id="gpu-one",
    name="one on a GPU",
    stage="gpu",
    row="one",
    needs=("row-one",),
    runner="large",
    gpu=True,
    commands=("true",),
)
JOBS = (SHARED, ROW, NEW, GPU)


# JSON


def test_the_json_is_what_its_schema_says() -> None:
    told = json.loads(as_json(JOBS))
    described = json.loads(schema())
    assert set(told) == set(described["required"]) == set(described["properties"])
    assert told["format"] == described["properties"]["format"]["const"]
    item = described["properties"]["jobs"]["items"]
    for job in told["jobs"]:
        assert set(job) == set(item["required"]) == set(item["properties"])
        assert job["stage"] in item["properties"]["stage"]["enum"]
    read = TypeAdapter(tuple[Job, ...]).validate_python(told["jobs"])
    assert read == JOBS


def test_the_schema_that_is_committed_is_the_one_that_the_records_make() -> None:
    assert (ROOT / "builder" / "ci.schema.json").read_text(encoding="utf-8") == schema()


# GitHub


def test_github_gets_a_matrix_for_each_stage_in_one_line() -> None:
    text = as_github(JOBS)
    assert text.count("\n") == 1  # it is a line of $GITHUB_OUTPUT
    told = json.loads(text)
    assert told["stages"] == ["shared", "rows", "gpu"]
    assert [entry["id"] for entry in told["rows"]["include"]] == ["row-one", "row-new"]
    assert told["rows"]["include"][0]["commands"] == "cuvee base old\ncuvee test one"
    assert [entry["may_fail"] for entry in told["rows"]["include"]] == [False, True]


def test_a_stage_without_jobs_is_not_named_since_github_refuses_an_empty_matrix() -> None:
    told = json.loads(as_github([ROW]))
    assert told["stages"] == ["rows"]
    assert told["base"] == {"include": []}


def test_no_stages_name_is_a_part_of_anothers_since_workflows_look_for_it_in_a_text() -> None:
    assert not [(one, other) for one in STAGES for other in STAGES if one != other and one in other]


# GitLab


def gitlab() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(as_gitlab(JOBS, tagged=False))
    return read


def test_gitlab_jobs_begin_when_those_that_they_need_are_done() -> None:
    told = gitlab()
    assert told["stages"] == ["shared", "rows", "gpu"]
    assert told["row-one: one (must fail as recorded)"]["needs"] == ["shared-1: torch, for one, two"]
    assert told["shared-1: torch, for one, two"]["needs"] == []  # at once
    assert told["row-one: one (must fail as recorded)"]["script"] == ["cuvee base old", "cuvee test one"]


def test_every_job_that_a_gitlab_job_needs_is_there() -> None:
    told = gitlab()
    assert {needed for job in told.values() if "needs" in job for needed in job["needs"]} <= told.keys()


def test_gitlab_keeps_evidence_also_of_what_failed() -> None:
    told = gitlab()
    assert told["gpu-one: one on a GPU"]["artifacts"] == {
        "when": "always",
        "paths": ["evidence/one.json", "evidence/one.gpu.json"],
    }
    # What is committed would be kept as what a job found that came to nothing.
    assert "rm -rf evidence" in told["default"]["before_script"]
    assert "artifacts" not in told["shared-1: torch, for one, two"]


def test_gpu_jobs_ask_for_their_runner_and_untested_ones_may_fail() -> None:
    told = gitlab()
    assert told["gpu-one: one on a GPU"]["tags"] == ["large"]
    assert "tags" not in told["row-new: new"]
    assert told["row-new: new"]["allow_failure"] is True
    assert "allow_failure" not in told["row-one: one (must fail as recorded)"]


def test_the_login_does_not_show_its_password() -> None:
    [login] = [words for words in gitlab()["default"]["before_script"] if "docker login" in words]
    assert "--password-stdin" in login
    assert "--password " not in login
