"""The direct engine against BuildKit, on one lock in one run: the second half of `make bench [ROW]`.

Everything starts from wheels that lie on the disk, and were read just before. Nothing is downloaded:
registries and the index that BuildKit's steps use are on loopback.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Collection, Iterator
from importlib.metadata import version
from pathlib import Path

from builder import matrix
from builder.project import Project, find, write
from builder.render.readme import figure_cells
from builder.report.bench import DIRECT, Amount, DirectBench, Figure
from builder.shell import SYSTEM
from tests.bench import ours, theirs
from tests.bench.common import DEFAULT, GB, host, require_room, run, show, today
from tests.bench.limit import limit
from tests.bench.setting import Setting

# overlay2 comes first, since it takes less of the disk.
PUSH_LIMITS = {"overlay2": 0.5, "containerd": 0.25}
ENGINE_LIMITS = {"overlay2": 1.0, "containerd": 0.5}
PHASES = ("push", "engine", "change", "disk", "memory", "limit")


def main() -> int:
    """Measure, write `evidence/bench-direct.json` if all was measured, and fail where a limit is passed."""
    told = _arguments()
    project = find(Path.cwd())
    row = matrix.load(project.matrix).select([told.row])[0]
    with tempfile.TemporaryDirectory(prefix="cuvee-bench-") as scratch:
        setting = Setting(row=row, project=project, scratch=Path(scratch))
        require_room(setting.scratch, _room(setting, told.only), "this run")
        figures = tuple(_figures(setting, told.only))
    for one in figures:
        show(" | ".join(cell for cell in figure_cells(one) if cell) + ("" if one.holds else " | TOO MUCH"))
    if set(told.only) == set(PHASES):
        write(project.bench.with_name(DIRECT), _record(project, row.id, figures).text())
    return 0 if all(one.holds for one in figures) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", nargs="?", default=DEFAULT)
    parser.add_argument(
        "--only",
        type=lambda text: tuple(text.split(",")),
        default=PHASES,
        metavar=",".join(PHASES),
        help="measure a part, print it, and write nothing",
    )
    told = parser.parse_args()
    if unknown := set(told.only) - set(PHASES):
        parser.error(f"no phase is called {', '.join(sorted(unknown))}")
    return told


def _figures(setting: Setting, only: Collection[str]) -> list[Figure]:
    """All that is measured. BuildKit comes last: it takes longest, and most of the disk."""
    cold: Amount | None = None
    alone: list[Figure] = []
    if {"push", "change", "memory", "limit"} & set(only):
        with ours.cold(setting) as found:
            cold = found.amount
            alone += _of_the_cold_build(setting, found, only)
    if "disk" in only:
        alone.append(ours.all_rows(setting))
    against = [figure for kind in PUSH_LIMITS for figure in _against_buildkit(setting, kind, only, cold)]
    return [*against, *alone]


def _of_the_cold_build(setting: Setting, found: ours.Cold, only: Collection[str]) -> Iterator[Figure]:
    if "change" in only:
        yield ours.changed(setting, found)
    if "memory" in only:
        yield from ours.memory(found)
    if "limit" in only:
        build = Amount(value=found.build.seconds)
        yield Figure(name="`cuvee build` from nothing", ours=build, theirs=limit(setting.wheels))


def _against_buildkit(
    setting: Setting, kind: str, only: Collection[str], cold: Amount | None
) -> Iterator[Figure]:
    """The figures of one kind of image store."""
    loaded = ours.built_and_loaded(setting, kind) if "engine" in only else None
    if not loaded and "push" not in only:
        return
    both = theirs.build_and_push(setting, kind)
    if cold and "push" in only:
        name = "from nothing to a registry"
        yield Figure(name=name, ours=cold, theirs=both, limit=PUSH_LIMITS[kind])
    if loaded:
        build = Amount(of=both.of, value=both.parts["build"])
        name = "from nothing into the engine"
        yield Figure(name=name, ours=loaded, theirs=build, limit=ENGINE_LIMITS[kind])


def _room(setting: Setting, only: Collection[str]) -> float:
    """The bytes of disk that a run takes at the most; each part's data is deleted before the next one."""
    plan = setting.plan
    least = plan.download * theirs.IN_REGISTRY + GB
    if not {"push", "engine"} & set(only):
        return least
    return max(least, *(theirs.room(kind, plan) for kind in PUSH_LIMITS))


def _record(project: Project, row: str, figures: tuple[Figure, ...]) -> DirectBench:
    return DirectBench(
        row=row,
        host=host(),
        command=f"make bench {row}",
        date=today(),
        tools=_tools(project),
        figures=figures,
    )


def _tools(project: Project) -> dict[str, str]:
    said = {
        "Docker": ["dockerd", "--version"],
        "buildx": ["docker", "buildx", "version"],
        "docker-registry": ["docker-registry", "--version"],
    }
    found = {name: SYSTEM.run(argv, env=project.engine.environment).out for name, argv in said.items()}
    return {
        **{name: _version(text) for name, text in found.items()},
        "Python": platform.python_version(),
        "isal": version("isal"),
    }


def _version(text: str) -> str:
    """The first word of a program's answer that begins as versions do."""
    words = (word.strip(",") for word in text.split())
    return next((word for word in words if word[:1].isdigit()), text.strip())


if __name__ == "__main__":
    run(main)
