"""A job of the CI matrix: what a CI system is told, whichever it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

Stage: TypeAlias = Literal["base", "shared", "rows", "gpu"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""In their order: no job needs one of its own stage, or of a later one."""

LIMIT = 256
"""Jobs that a matrix may make in one run of a workflow.

https://docs.github.com/en/actions/reference/limits says so of GitHub.
"""

REGISTRY = "CUVEE_REGISTRY"
"""Names the variable with the repository that images go to, such as `registry.example.org/me/cuvee`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runners:
    """Where jobs run.

    Attributes:
        plain: The label of machines without a GPU.
        gpu: The label of machines with one.
    """

    plain: str = "ubuntu-24.04"
    gpu: str = "gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job.

    Attributes:
        id: Its name for machines, unique: `row-cu121`.
        name: Its name for people; it says so where a row must fail.
        stage: When it runs: bases, then layers of several rows, then rows, then rows on GPUs.
        row: The row that it is about, or null for one that serves several.
        needs: The ids of the jobs whose layers or image it uses.
        runner: The label of the machines that it runs on.
        gpu: Whether it needs a GPU.
        expect: What the row does in it. The job itself succeeds where a row that must `fail` fails as its
            entry in the matrix says, and fails where that row starts to work.
        may_fail: Whether the workflow goes on when the job fails: nobody has seen such a row work yet.
        layers: The digests of the layers that this job makes and sends, and no other job does.
        bytes: Their bytes.
        commands: What it runs, for a POSIX shell that ends at the first error. `cuvee` is on the path, and
            `$CUVEE_REGISTRY` names a repository that the job is logged in to.
    """

    id: str
    name: str
    stage: Stage
    row: str | None = None
    needs: tuple[str, ...] = ()
    runner: str
    gpu: bool = False
    expect: Literal["pass", "fail"] = "pass"
    may_fail: bool = False
    layers: tuple[str, ...] = ()
    bytes: int = 0
    commands: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A plain dict, as `cuvee ci --format json` prints it."""
        return asdict(self)
