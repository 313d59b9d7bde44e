"""Rows without an image: a root file system that lies unpacked, or an environment that is installed here.

Both are engines with one image, so that the same checks run in them. An environment is no container: commands
run on this machine, as this user, with the network on; they write to a folder that is deleted afterwards.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

from builder.engines.container import Container, Image
from builder.engines.direct import sandbox, unpacked
from builder.engines.direct.unpacked import ABOUT, Unpacked
from builder.errors import BadInputError, Fault
from builder.places import HOME
from builder.plan import Plan, PlannedEnvironment
from builder.shell import SYSTEM, Finished, Shell

Where: TypeAlias = Literal["image", "root", "environment"]
"""What the checks ran on."""

TMP = "/tmp"  # noqa: S108 - as containers know it
LIBRARY_PATH = "LD_LIBRARY_PATH"
_OF_A_SIGNAL = 128
_KEPT = ("PATH", "HOME")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledContainer:
    """An environment of this machine as checks know a container.

    Paths of an image, in `/opt/cuvee` and `/tmp`, are those of the environment and of a folder of its own.

    Attributes:
        name: What it is called, `cuvee:cu121`.
        prefixes: Folders of an image, and where they are here; the first that fits counts.
        scratch: What is `/tmp` in commands.
        libraries: The folders of each environment's library path, as in an image.
        shell: What starts them.
        labels: None: nobody labelled it.
        size: Not known.
    """

    name: str
    prefixes: Mapping[str, Path]
    scratch: Path
    libraries: Mapping[str, Sequence[str]]
    shell: Shell
    labels: Mapping[str, str] = field(default_factory=dict)
    size: int = 0

    def variables(self, environment: str) -> dict[str, str]:
        """What an environment cannot do without: the plan's library path, for it has no loader's cache.

        Each has its own, since two of one row may not meet; what is set here is of nobody's plan.
        """
        found = map(self.here, self.libraries[environment])
        return {LIBRARY_PATH: ":".join(found)} if self.libraries[environment] else {}

    def here(self, text: str) -> str:
        """A command or a path of an image, with the paths of this machine."""
        places = {**self.prefixes, TMP: self.scratch}
        ours = map(str, places.values())  # what is of this machine already stays
        known = "|".join(map(re.escape, (*ours, *places)))
        return re.sub(
            rf"(?<![\w./-])(?:{known})(?![\w-])", lambda found: str(places.get(found[0], found[0])), text
        )

    def run(
        self, words: Sequence[str], *, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> Finished:
        """See `Container.run`; the user is always our own, and PATH and HOME are too."""
        del user
        own = {name: os.environ[name] for name in _KEPT if name in os.environ}
        given = [f"{name}={value}" for name, value in {**own, **(env or {})}.items()]
        argv = ["/usr/bin/env", "-i", *given, *map(self.here, words)]
        done = self.shell.run(argv, cwd=self.scratch)
        code = done.code if done.code >= 0 else _OF_A_SIGNAL - done.code
        return replace(done, argv=tuple(words), code=code)

    def copy_in(self, source: Path, folder: str) -> None:
        """See `Container.copy_in`.

        Raises:
            ValueError: The folder is not in `/tmp`: nothing else is written to.
        """
        target = Path(self.here(folder)).resolve() / source.name
        if not target.is_relative_to(self.scratch):
            raise ValueError(f"{folder} is not in {TMP}")
        if target.is_dir():
            shutil.rmtree(target)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)


@contextmanager
def container(
    python: Path, environments: Sequence[PlannedEnvironment], *, name: str, shell: Shell = SYSTEM
) -> Iterator[InstalledContainer]:
    """An installed environment as a container.

    Args:
        python: Its interpreter.
        environments: The row's; where it has several, they lie side by side in folders of their names, and
            the interpreter is of one of them.
        name: What it is called.
        shell: What starts commands.
    """
    prefix = python.absolute().parent.parent
    first, *more = environments
    own = {} if more else {str(first.prefix): prefix}
    with tempfile.TemporaryDirectory(prefix="cuvee-environment-") as scratch:
        yield InstalledContainer(
            name=name,
            prefixes={**own, str(HOME): prefix.parent},
            scratch=Path(scratch).resolve(),
            libraries={one.name: tuple(map(str, one.libraries)) for one in environments},
            shell=shell,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledEnvironment:
    """An engine with nothing but an environment of this machine.

    Attributes:
        python: Its interpreter, as an absolute path; a link is not followed, for it says which environment.
        plan: What it should be.
        shell: What starts commands.
    """

    python: Path
    plan: Plan
    shell: Shell = SYSTEM

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`."""
        return _described("an installed environment")

    def image(self, tag: str) -> Image:
        """See `Engine.image`; it has no id, no label and no known size."""
        return Image(tag=tag, id="", size=0, layers=0)

    def container(
        self, tag: str, *, gpus: bool = False, binds: Mapping[Path, str] | None = None
    ) -> AbstractContextManager[Container]:
        """See `Engine.container`; the GPUs of this machine are always seen.

        Raises:
            BadInputError: Something shall appear in another place than where it is.
        """
        del gpus
        if binds:
            fault = Fault(
                place=tag, cause="an installed environment binds nothing", fix="Leave out the binds"
            )
            raise BadInputError(fault)
        return container(self.python, self.plan.environments, name=tag, shell=self.shell)

    def suite_arguments(self, tag: str) -> list[str]:
        """See `Engine.suite_arguments`."""
        del tag
        return ["--engine", "environment", "--python", str(self.python)]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackedRoot:
    """An engine with nothing but an image that lies unpacked in a folder.

    Attributes:
        about: What is known of it.
        file: The file that says the same to other processes.
        tools: Where bubblewrap is unpacked on a machine without it.
        shell: What starts processes.
    """

    about: Unpacked
    file: Path
    tools: Path
    shell: Shell = SYSTEM

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`."""
        runtime = sandbox.find_runtime(self.shell, self.tools)
        return _described(f"an unpacked root, {runtime.kind}")

    def image(self, tag: str) -> Image:
        """See `Engine.image`; only what lies beside the folder tells its labels."""
        return Image(tag=tag, id="", size=self.about.size, layers=0, labels=self.about.labels)

    def container(
        self, tag: str, *, gpus: bool = False, binds: Mapping[Path, str] | None = None
    ) -> AbstractContextManager[Container]:
        """See `Engine.container`."""
        return sandbox.container(
            self.about.root,
            name=tag,
            labels=self.about.labels,
            size=self.about.size,
            environment=dict(self.about.environment),
            runtime=sandbox.find_runtime(self.shell, self.tools),
            binds=binds,
            gpus=gpus,
            shell=self.shell,
        )

    def suite_arguments(self, tag: str) -> list[str]:
        """See `Engine.suite_arguments`."""
        del tag
        return ["--engine", "direct", "--image", str(self.file)]


def installed_environment(python: Path, plan: Plan, shell: Shell = SYSTEM) -> InstalledEnvironment:
    """The environment that an interpreter belongs to.

    Raises:
        BadInputError: It is no interpreter of an environment that can be the row's.
    """
    path = python.absolute()
    names = [one.name for one in plan.environments]
    if not os.access(path, os.X_OK) or path.is_dir():
        fault = Fault(place=str(python), cause="it is no program", fix="Name the environment's bin/python")
        raise BadInputError(fault)
    if len(names) > 1 and path.parent.parent.name not in names:
        cause = (
            f"row {plan.row} has the environments {', '.join(names)}, and this is in a folder of another name"
        )
        fix = "Install each in a folder of its name, side by side, and name the interpreter of one"
        raise BadInputError(Fault(place=str(python), cause=cause, fix=fix))
    return InstalledEnvironment(python=path, plan=plan, shell=shell)


@contextmanager
def unpacked_root(root: Path, plan: Plan, tools: Path, shell: Shell = SYSTEM) -> Iterator[UnpackedRoot]:
    """The root file system in a folder, with its labels where `unpacked.json` beside it tells them.

    Raises:
        BadInputError: The folder has no environment of ours.
    """
    lacking = [str(one.prefix) for one in plan.environments if not _at(root, str(one.prefix)).is_dir()]
    if lacking:
        cause = f"it has no {', '.join(lacking)}"
        fix = f"Name the root file system of an image of {plan.row}: the folder that has its /usr and /opt"
        raise BadInputError(Fault(place=str(root), cause=cause, fix=fix))
    about = _told(root, plan)
    with tempfile.TemporaryDirectory(prefix="cuvee-root-") as scratch:
        file = Path(scratch) / ABOUT
        file.write_text(about.to_json(), encoding="utf-8")
        yield UnpackedRoot(about=about, file=file, tools=tools, shell=shell)


def _told(root: Path, plan: Plan) -> Unpacked:
    try:
        found = unpacked.from_json((root.parent / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return Unpacked(
            root=root.resolve(), name=plan.tag, labels={}, environment=plan.environment, size=_bytes(root)
        )
    return replace(found, root=root.resolve())


def _at(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _bytes(root: Path) -> int:
    """The bytes of all files; a second name of a file counts nothing."""
    seen: dict[tuple[int, int], int] = {}
    for top, _, names in os.walk(root):
        for name in names:
            about = Path(top, name).lstat()
            seen[about.st_dev, about.st_ino] = about.st_size
    return sum(seen.values())


def _described(storage: str) -> dict[str, str]:
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        system = "Linux"
    return {
        "version": f"cuvee {version('cuvee')}",
        "storage": storage,
        "system": system,
        "kernel": platform.release(),
        "cpus": str(os.cpu_count()),
    }
