"""Effects are fenced, nothing reaches back, and versions live in one place.

The imports are read from the source, those inside functions and those for types alone included.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from builder import matrix

ROOT = Path(__file__).parents[2]

PROCESSES = {"subprocess", "multiprocessing", "pty", "pexpect", "asyncio"}
NETWORK = {"requests", "urllib", "urllib3", "socket", "http", "httpx", "ftplib", "ssl"}
DISK = {"shutil", "tempfile", "os", "io", "glob"}
STARTS = re.compile(r"system|popen|exec[lv]\w*|spawn\w*|posix_spawn\w*|fork\w*|startfile")


@dataclass(frozen=True)
class Module:
    """A module of the package.

    Attributes:
        name: Its dotted name.
        tree: Its source.
        imports: The full names of what it imports: modules, and names in modules.
    """

    name: str
    tree: ast.Module
    imports: frozenset[str]

    def needs(self, roots: set[str]) -> set[str]:
        """Which of these top-level modules it imports, at least in part."""
        return {name.split(".")[0] for name in self.imports} & roots


def imported(name: str, tree: ast.Module, *, package: bool) -> Iterator[str]:
    here = name.split(".") if package else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def module(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if package else parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return Module(name, tree, frozenset(imported(name, tree, package=package)))


MODULES = {found.name: found for found in map(module, sorted((ROOT / "builder").rglob("*.py")))}
ELSEWHERE = (
    "builder.probe",
    "builder.doctor.patient",
    "builder.doctor.doctor",
    "builder.engines.direct.inside",
    "builder.launcher",
    "builder.verify.inside",
    "builder.wheels.inside.join",
)
"""These run in images, in a base's Python and on other people's machines, as programs of their own."""

OURS = {name: found for name, found in MODULES.items() if not name.startswith(ELSEWHERE)}


def dependencies(found: Module) -> set[str]:
    """The modules of ours that a module imports; a name in a module stands for the module."""
    known = (name if name in MODULES else name.rpartition(".")[0] for name in found.imports)
    return {name for name in known if name in MODULES and name != found.name}


def reached(start: str) -> set[str]:
    seen: set[str] = set()
    pending = [start]
    while pending:
        for name in dependencies(MODULES[pending.pop()]) - seen:
            seen.add(name)
            pending.append(name)
    return seen


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_the_source_is_read_as_python_reads_it() -> None:
    assert "builder.errors" in dependencies(MODULES["builder.plan"])
    assert "requests" in MODULES["builder.wheels.network"].imports
    assert "builder.wheels.network" in reached("builder.lock.resolve")
    tree = ast.parse("from . import a\nfrom .b import c\nfrom .. import d\nimport e.f")
    assert set(imported("p.q.r", tree, package=False)) == {"p.q.a", "p.q.b.c", "p.d", "e.f"}
    assert set(imported("p.q", tree, package=True)) == {"p.q.a", "p.q.b.c", "p.d", "e.f"}


# Effects


def test_only_the_shell_starts_processes() -> None:
    assert {name for name, found in OURS.items() if found.needs(PROCESSES)} == {"builder.shell"}


def test_no_module_starts_a_process_through_os() -> None:
    for name, found in OURS.items():
        for node in ast.walk(found.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert not STARTS.fullmatch(node.attr), f"{name}, line {node.lineno}"
        starts = {used for used in found.imports if used.startswith("os.") and STARTS.fullmatch(used[3:])}
        assert not starts, name


def test_only_wheels_engines_and_publish_use_the_network() -> None:
    allowed = ("builder.wheels", "builder.engines", "builder.publish")
    users = {name for name, found in OURS.items() if found.needs(NETWORK)}
    assert users
    assert {name for name in users if not inside(name, *allowed)} == set()


PURE = (
    "builder.errors",
    "builder.ci",
    "builder.layering",
    "builder.matrix",
    "builder.plan",
    "builder.render",
    "builder.abi.loader",
    "builder.abi.ldconfig",
    "builder.publish.reference",
)


def test_what_is_pure_imports_nothing_with_effects() -> None:
    ours_with_effects = (
        "builder.shell",
        "builder.wheels",
        "builder.engines",
        "builder.project",
        "builder.cli",
    )
    pure = {name: found for name, found in OURS.items() if inside(name, *PURE)}
    assert len(pure) > len(PURE)
    for name, found in pure.items():
        allowed = {"io"} if name == "builder.render.readme" else set()  # rich prints to a text in memory
        assert found.needs(PROCESSES | NETWORK | DISK) <= allowed, name
        assert not {other for other in dependencies(found) if inside(other, *ours_with_effects)}, name


@pytest.mark.parametrize("name", ["builder.matrix", "builder.plan", "builder.render.dockerfile"])
def test_what_is_pure_does_not_even_reach_a_process_or_an_engine(name: str) -> None:
    far = ("builder.shell", "builder.engines", "builder.lock.uv", "builder.lock.resolve", "builder.project")
    assert {found for found in reached(name) if inside(found, *far)} == set()


# Nothing reaches back


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: dependencies(found) for name, found in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


BESIDE = {"builder.rowfiles", "builder.bases", "builder.direct", "builder.elsewhere"}
"""What puts stages together as the pipeline does, and is none."""


def test_only_the_command_line_knows_the_pipeline_and_nothing_knows_the_command_line() -> None:
    knows = {name: dependencies(found) for name, found in MODULES.items()}
    knowing = {name for name in knows if "builder.pipeline" in knows[name]}
    assert "builder.cli" in knowing
    assert {name for name in knowing if not inside(name, "builder.cli")} == set()
    beside = {name for name in knows if knows[name] & BESIDE}
    assert {name for name in beside if not inside(name, "builder.cli")} <= {"builder.pipeline", *BESIDE}
    assert "builder.pipeline" in beside
    outside = (name for name in knows if not inside(name, "builder.cli"))
    assert {name for name in outside if any(inside(other, "builder.cli") for other in knows[name])} == set()


STAGES = ("matrix", "lock", "plan", "render", "engines", "verify", "publish")


@pytest.mark.parametrize(("number", "stage"), list(enumerate(STAGES)))
def test_no_stage_knows_a_later_one(number: int, stage: str) -> None:
    later = tuple(f"builder.{name}" for name in STAGES[number + 1 :])
    reports = {"builder.render.readme"}  # a page about evidence stands after everything else
    known = {
        name: {other for other in dependencies(found) if inside(other, *later)}
        for name, found in OURS.items()
        if inside(name, f"builder.{stage}") and name not in reports
    }
    assert known
    assert {name: others for name, others in known.items() if others} == {}


def test_what_runs_elsewhere_uses_the_standard_library_alone() -> None:
    with_it = (*ELSEWHERE, "builder.doctor.combinations", "builder.doctor.versions")  # bundled with it
    for name, found in MODULES.items():
        if name not in OURS:
            # In images the launcher is called `cuvee`, as its example has it.
            roots = {root.split(".")[0] for root in found.imports} - {"builder", "cuvee"}
            assert roots <= sys.stdlib_module_names, name
            assert all(inside(other, *with_it) for other in dependencies(found)), name


# Versions live in one place


def versions() -> set[str]:
    """The versions of packages that the matrix asks for; `1.2.*` stands for all that begin so."""
    found: set[str] = set()
    for row in matrix.load(ROOT / "matrix.yaml").rows:
        found |= {version for version in (row.torch, row.ctranslate2) if version}
        overlaid = [text for overlay in row.overlays.values() for text in overlay.requirements]
        for text in (*row.requirements, *row.constraints, *row.overrides, *overlaid):
            found |= {part.version for part in Requirement(text).specifier}
    # A bare "2" is a number like others.
    return {version for version in found if len(Version(version.removesuffix(".*")).release) > 1}


def written(version: str, text: str) -> bool:
    """Whether a version stands in a text, and not as a part of another one."""
    exact = re.escape(version.removesuffix("*"))
    end = r"\d" if version.endswith("*") else r"(?![\d.]*\d)"
    return bool(re.search(rf"(?<![\d.]){exact}{end}", text))


def without_docstrings(text: str) -> str:
    """Python source less its docstrings, which may say of which wheel a fact was read."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.end_lineno:
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines)


def places() -> list[Path]:
    """Where nothing may be pinned. `builder/data` is not among them: it tells of releases that are out."""
    folders = ("builder/**/*.py", "templates/*", ".ci/*", ".github/**/*", "Makefile")
    found = {path for pattern in folders for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(found - {ROOT / "builder" / "doctor" / "doctor.py"})  # made from the matrix, like the locks


def test_no_version_of_the_matrix_is_written_a_second_time() -> None:
    wanted = versions()
    for path in places():
        text = path.read_text(encoding="utf-8")
        text = without_docstrings(text) if path.suffix == ".py" else text
        assert {version for version in wanted if written(version, text)} == set(), path


def test_the_places_without_versions_are_all_there() -> None:
    names = {str(path.relative_to(ROOT)) for path in places()}
    assert names > {"builder/plan.py", "templates/Dockerfile.j2", "Makefile", ".ci/run"}


def test_a_version_is_found_where_it_is_written() -> None:
    [founding] = matrix.load(ROOT / "matrix.yaml").select(["cu121"])
    assert founding.torch in versions()
    assert written("1.2.3", "torch==1.2.3 ")
    assert written("1.2.3", "torch 1.2.3.")
    assert written("1.2.*", 'ctranslate2 = "1.2.9"')
    assert not written("1.2.3", "1.2.34 11.2.3 1.2.3.4 0.1.2.3")
    assert not written("1.2.*", "1.20 1.2")
    assert "1.2" not in without_docstrings('"""Of 1.2."""\nX = 1\n"""Of 1.2."""\n')
    assert "1.2" in without_docstrings('X = "1.2"  # 1.2\n')
