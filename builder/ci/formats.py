"""Jobs as the texts that CI systems take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from builder.ci.job import REGISTRY, STAGES, Job

FORMAT = 1

_LOGIN = 'docker login "$CI_REGISTRY" --username "$CI_REGISTRY_USER" --password-stdin'
_GITLAB_FIRST = (
    "make setup",
    'export PATH="$PWD/.venv/bin:$PATH"',
    "rm -rf evidence",  # what is committed is not what this job finds
    f'echo "$CI_REGISTRY_PASSWORD" | {_LOGIN}',
)


def as_json(jobs: Sequence[Job]) -> str:
    """All that is known of the jobs, for any other system; `builder/ci.schema.json` describes it."""
    return json.dumps({"format": FORMAT, "jobs": [job.to_json() for job in jobs]}, indent=1) + "\n"


def as_github(jobs: Sequence[Job]) -> str:
    """One line: by stage the object that a job's `strategy.matrix` takes, and the stages that have jobs.

    GitHub refuses an empty matrix, so that a workflow must ask for the stage first:
    `if: contains(needs.plan.outputs.stages, 'shared')`.
    """
    by_stage = {stage: [_entry(job) for job in jobs if job.stage == stage] for stage in STAGES}
    filled = [stage for stage, entries in by_stage.items() if entries]
    matrices = {stage: {"include": entries} for stage, entries in by_stage.items()}
    return json.dumps({"stages": filled, **matrices}, separators=(",", ":")) + "\n"


def _entry(job: Job) -> dict[str, Any]:
    """What a workflow can write as `matrix.runner`."""
    return {
        "id": job.id,
        "name": job.name,
        "row": job.row or "",
        "runner": job.runner,
        "may_fail": job.may_fail,
        "commands": "\n".join(job.commands),
    }


def as_gitlab(jobs: Sequence[Job], *, tagged: bool) -> str:
    """The YAML of a child pipeline, whose jobs start as soon as those that they need are done.

    Args:
        jobs: The jobs.
        tagged: Whether jobs without a GPU ask for their runner too; the others always do.
    """
    filled = {job.stage for job in jobs}
    head = {
        "stages": [stage for stage in STAGES if stage in filled],
        "variables": {REGISTRY: "$CI_REGISTRY_IMAGE"},
        "default": {"before_script": list(_GITLAB_FIRST)},
    }
    names = {job.id: _gitlab_name(job) for job in jobs}
    told = {names[job.id]: _gitlab_job(job, names, tagged=tagged or job.gpu) for job in jobs}
    return yaml.safe_dump({**head, **told}, sort_keys=False, allow_unicode=True, width=1000)


def _gitlab_name(job: Job) -> str:
    """With the id: what GitLab has under one name is one job."""
    return f"{job.id}: {job.name}"[:255]


def _gitlab_job(job: Job, names: Mapping[str, str], *, tagged: bool) -> dict[str, Any]:
    return {
        "stage": job.stage,
        "needs": [names[needed] for needed in job.needs],
        **({"tags": [job.runner]} if tagged else {}),
        **({"allow_failure": True} if job.may_fail else {}),
        "script": list(job.commands),
        **({"artifacts": _artifacts(job.row)} if job.row else {}),
    }


def _artifacts(row: str) -> dict[str, Any]:
    return {"when": "always", "paths": [f"evidence/{row}.json", f"evidence/{row}.gpu.json"]}


def schema() -> str:
    """The text of `ci.schema.json`."""
    job = TypeAdapter(Job).json_schema()
    job["required"] = list(job["properties"])  # all are printed
    job["additionalProperties"] = False
    described = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "cuvee ci --format json",
        "type": "object",
        "additionalProperties": False,
        "required": ["format", "jobs"],
        "properties": {"format": {"const": FORMAT}, "jobs": {"type": "array", "items": job}},
    }
    return json.dumps(described, indent=2) + "\n"
