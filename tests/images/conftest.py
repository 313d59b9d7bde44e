"""What every check of an image stands on: a container without a network, and the probe inside it.

The probe runs as a user without rights or home, under an empty environment. `cuvee test` reads the report
that is written here.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from builder import matrix
from builder.engines import installed
from builder.engines.container import Container
from builder.engines.direct import sandbox, unpacked
from builder.engines.docker import connect
from builder.engines.dockercontainer import DockerContainer
from builder.lock import record
from builder.lock.record import Lock
from builder.matrix import Row
from builder.places import HOME, overlay_folder
from builder.plan import image_tag
from builder.plan import plan as plan_image
from builder.project import Project, find
from builder.shell import SYSTEM
from builder.verdict.setting import Setting, settings_of_row
from builder.verify.samples import Samples, samples

PROBE = Path(__file__).parents[2] / "builder" / "probe"
NOBODY = "65534:65534"
ENGINES = ("docker", "direct", "environment")
NOT_AN_IMAGE = (
    "not an image: an installed environment has no labels, no loader's cache and no base of its own"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--row", required=True, help="the row whose image is checked")
    parser.addoption("--engine", choices=ENGINES, default="docker", help="what has the image")
    parser.addoption("--image", type=Path, help="with --engine=direct: the file that tells of the image")
    parser.addoption("--python", type=Path, help="with --engine=environment: the interpreter of it")
    parser.addoption("--gpus", action="store_true", help="run the GPU checks; without a GPU they fail")
    parser.addoption("--report", type=Path, help="where to write the outcomes, as JSON")


class Report:
    """Collects outcomes and measurements, and writes them when the run ends."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.checks: list[dict[str, Any]] = []
        self.measured: dict[str, Any] = {}
        self.gpu: dict[str, Any] | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            entry = {"name": report.nodeid.rpartition("::")[2], "outcome": report.outcome}
            self.checks.append({**entry, "seconds": round(report.duration, 2), "reason": _reason(report)})

    def pytest_sessionfinish(self) -> None:
        if self.path:
            told = {"checks": self.checks, "measured": self.measured, "gpu": self.gpu}
            self.path.write_text(json.dumps(told), encoding="utf-8")


def _reason(report: pytest.TestReport) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message).splitlines()[0] if crash else ""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "known_bad: what must hold of rows that are known to fail")
    config.addinivalue_line("markers", "any_row: what must hold of good and known-bad rows alike")
    config.addinivalue_line("markers", "anywhere: what must hold of an installed environment too")
    for engine, option in (("direct", "--image"), ("environment", "--python")):
        if (config.getoption("--engine") == engine) != bool(config.getoption(option)):
            raise pytest.UsageError(f"--engine={engine} and {option} go together")
    config.pluginmanager.register(Report(config.getoption("--report")), "cuvee-report")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what looks at one environment once in each; an ordinary row's one is not named."""
    if "environment" in metafunc.fixturenames:
        names = [name for name, _ in _row(metafunc.config).stacks()]
        ids = names if len(names) > 1 else [pytest.HIDDEN_PARAM]
        metafunc.parametrize("environment", names, ids=ids, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Hold a known-bad row to its own claims; the others are not its claims, so they are not even skipped.

    What asks for an image is skipped in an installed environment, so that its evidence says what it lacks.
    """
    bad = _row(config).status == "known-bad"
    anywhere = config.getoption("--engine") == "environment"
    chosen = [
        item
        for item in items
        if item.get_closest_marker("any_row") or bool(item.get_closest_marker("known_bad")) == bad
    ]
    for item in chosen:
        if anywhere and not item.get_closest_marker("anywhere"):
            item.add_marker(pytest.mark.skip(reason=NOT_AN_IMAGE))
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _row(config: pytest.Config) -> Row:
    project = find(Path.cwd())
    return matrix.load(project.matrix).select([config.getoption("--row")])[0]


@dataclass(frozen=True)
class Probe:
    """The probe inside the container, run by the Python of one of its environments."""

    host: Any
    environment: str

    @property
    def prefix(self) -> str:
        """Where the environment lies."""
        return here(self.host, f"{HOME}/{self.environment}")

    @property
    def site(self) -> str:
        """Its site-packages, for a shell."""
        return f"{self.prefix}/lib/python*/site-packages"

    def check(self, name: str, *options: str, **variables: str) -> dict[str, Any]:
        """Run one check; its outcome, reason and details. The environment holds `variables` alone."""
        answer = self._json("check", name, *options, **variables)
        result: dict[str, Any] = answer["checks"][0]
        return result

    def surroundings(self) -> dict[str, Any]:
        """Python, glibc and GPU, as seen from inside."""
        return self._json("check", "copies")

    def trace(self) -> dict[str, Any]:
        """What the real loader makes of every ELF file, by its path."""
        files: dict[str, Any] = self._json("trace")["files"]
        return files

    def transcribe(self, *options: str) -> dict[str, Any]:
        """Transcribe; what was said, and on what."""
        return self._json("transcribe", *options)

    def _json(self, *arguments: str, **variables: str) -> dict[str, Any]:
        path = f"{self.prefix}/bin:/usr/bin:/bin"
        told = {"PATH": path, **needed(self.host, self.environment), **variables}
        given = [f"{name}={value}" for name, value in told.items()]
        words = shlex.join(["env", "-i", *given, f"{self.prefix}/bin/python", "-I", "/tmp/probe", *arguments])
        done = self.host.run(words)
        assert done.stdout, f"the probe said nothing: {done.stderr}"
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def container_of(host: Any) -> Container | None:
    """The container behind a testinfra host, where it is one of ours and not testinfra's own."""
    found: Container | None = getattr(host.backend, "container", None)
    return found


def here(host: Any, path: str) -> str:
    """Where a path of the image is: elsewhere in an installed environment."""
    found = container_of(host)
    return found.here(path) if isinstance(found, installed.InstalledContainer) else path


def needed(host: Any, environment: str) -> dict[str, str]:
    """The variables that an installed environment needs; an image needs none."""
    found = container_of(host)
    return found.variables(environment) if isinstance(found, installed.InstalledContainer) else {}


@pytest.fixture(scope="session")
def project() -> Project:
    return find(Path.cwd())


@pytest.fixture(scope="session")
def row(request: pytest.FixtureRequest) -> Row:
    return _row(request.config)


@pytest.fixture(scope="session")
def lock(project: Project, row: Row) -> Lock:
    return record.read(project.image(row.id) / record.FILE)


@pytest.fixture(scope="session")
def setting(project: Project, row: Row, lock: Lock, environment: str) -> Setting:
    """What the proof looks at, before anything is built."""
    settings = settings_of_row(row, lock, project.library)
    return dict(zip((name for name, _ in row.stacks()), settings, strict=True))[environment]


@pytest.fixture(scope="session")
def speech() -> Samples:
    return samples()


@pytest.fixture(scope="session")
def gpus(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--gpus"))


@contextmanager
def in_docker(project: Project, row: Row, *, gpus: bool) -> Iterator[Container]:
    engine = connect(project.engine)
    os.environ.update(engine.environment)  # testinfra starts the docker client by itself
    try:
        with engine.container(image_tag(row.id), gpus=gpus) as running:
            yield running
    finally:
        engine.close()


@contextmanager
def in_a_sandbox(project: Project, image: Path, *, gpus: bool) -> Iterator[Container]:
    told = unpacked.from_json(image.read_text(encoding="utf-8"))
    with sandbox.container(
        told.root,
        name=told.name,
        labels=told.labels,
        size=told.size,
        environment=dict(told.environment),
        runtime=sandbox.find_runtime(SYSTEM, project.engine.home),
        gpus=gpus,
    ) as running:
        yield running


@pytest.fixture(scope="session")
def container(
    request: pytest.FixtureRequest, project: Project, row: Row, lock: Lock, gpus: bool
) -> Iterator[Container]:
    image: Path | None = request.config.getoption("--image")
    python: Path | None = request.config.getoption("--python")
    made: AbstractContextManager[Container]
    if python:
        made = installed.container(python, plan_image(row, lock).environments, name=image_tag(row.id))
    else:
        made = in_a_sandbox(project, image, gpus=gpus) if image else in_docker(project, row, gpus=gpus)
    with made as running:
        running.copy_in(PROBE, "/tmp")
        yield running


class Backend(BaseBackend):  # type: ignore[misc]  # testinfra ships no types
    """Runs testinfra's commands in any container."""

    NAME = "cuvee"

    def __init__(self, container: Container, user: str | None) -> None:
        super().__init__(container.name)
        self.container = container
        self.user = user

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        text = self.get_command(command, *args)
        done = self.container.run(["/bin/sh", "-c", text], user=self.user)
        return self.result(done.code, self.encode(text), done.out.encode(), done.err.encode())


def seen_by(container: Container, user: str | None) -> Any:
    """A container as testinfra sees it: for Docker, with testinfra's own means."""
    if isinstance(container, DockerContainer):
        return testinfra.get_host(f"docker://{user}@{container.id}" if user else f"docker://{container.id}")
    return Host(Backend(container, user))


@pytest.fixture(scope="session")
def host(container: Container) -> Any:
    """The container, as a user without rights."""
    return seen_by(container, NOBODY)


@pytest.fixture(scope="session")
def root(container: Container) -> Any:
    """The container, as root."""
    return seen_by(container, None)


@pytest.fixture(scope="session")
def environment(request: pytest.FixtureRequest) -> str:
    """The name of the environment that is looked at."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def probe(host: Any, environment: str) -> Probe:
    return Probe(host, environment)


def that_has(lock: Lock, name: str) -> str:
    """The environment with a package; the test is skipped where none has it."""
    found = next((one.name for one in lock.environments if one.package(name)), None)
    if found is None:
        pytest.skip(f"the row has no {name}")
    return found


@pytest.fixture(scope="session")
def hearing(host: Any, lock: Lock) -> Probe:
    """The probe in the environment that has CTranslate2."""
    return Probe(host, that_has(lock, "ctranslate2"))


@pytest.fixture(scope="session")
def cuda(row: Row) -> str:
    """The row's CUDA; a row for processors alone has nothing to show of it."""
    if row.cuda is None:
        pytest.skip("the row is for processors alone")
    return row.cuda


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    found: Any = request.config.pluginmanager.get_plugin("cuvee-report")
    plugin: Report = found
    return plugin


@pytest.fixture(scope="session")
def expectation(lock: Lock, host: Any) -> dict[str, Any]:
    """What the lock says is installed, as the probe reads it."""

    def part(environment: record.Environment, prefix: str) -> dict[str, Any]:
        return {
            "prefix": here(host, prefix),
            "packages": {found.name: found.version for found in environment.packages},
        }

    return {
        "environments": {found.name: part(found, f"{HOME}/{found.name}") for found in lock.environments},
        "overlays": {found.name: part(found, str(overlay_folder(found.name))) for found in lock.overlays},
    }
