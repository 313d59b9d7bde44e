"""A container around an unpacked root file system, which several may share: none of them changes it."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from builder.engines.direct.sandbox import driver
from builder.engines.direct.sandbox.box import DEFAULT_PATH, Box, Mount, prepare
from builder.engines.direct.sandbox.bubblewrap import Bubblewrap
from builder.engines.direct.sandbox.oci import Oci
from builder.engines.direct.sandbox.runtime import WISH, Runtime
from builder.engines.direct.sandbox.way import Call, Way, user_and_group
from builder.errors import EngineOrNetworkError, Fault
from builder.shell import SYSTEM, Finished, Shell

_OF_A_SIGNAL = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A container; see `builder.engines.container.Container`.

    Attributes:
        name: The name of its image.
        labels: The labels of its image.
        size: The bytes of its image on disk.
        box: Its folder.
        way: How commands run in it.
        shell: What starts them.
    """

    name: str
    labels: Mapping[str, str]
    size: int
    box: Box
    way: Way
    shell: Shell

    def run(
        self, words: Sequence[str], *, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> Finished:
        """See `Container.run`."""
        number, group = user_and_group(user)
        variables = {"HOME": self.box.home(number), **self.box.environment, **(env or {})}
        call = Call(words=tuple(words), user=number, group=group, environment=variables)
        done = self.shell.run(self.way.argv(call), cwd=Path("/"))
        code = done.code if done.code >= 0 else _OF_A_SIGNAL - done.code
        return replace(done, argv=tuple(words), code=code)

    def copy_in(self, source: Path, folder: str) -> None:
        """See `Container.copy_in`.

        Raises:
            ValueError: The folder is not in one of the container's own: `/etc`, `/root`, `/run`, `/tmp` and
                `/var`.
        """
        self.box.put(source, folder)


@contextmanager
def container(  # noqa: PLR0913 - an image's parts, and where and how it runs
    root: Path,
    *,
    name: str,
    labels: Mapping[str, str],
    size: int,
    environment: Mapping[str, str],
    runtime: Runtime,
    binds: Mapping[Path, str] | None = None,
    gpus: bool = False,
    shell: Shell = SYSTEM,
) -> Iterator[Sandbox]:
    """A container without a network around an unpacked image.

    Everything in it can be read, and its `/tmp`, `/etc`, `/var`, `/run` and `/root` can be written to: these
    are copies, which live as long as the container.

    Args:
        root: The root file system. Nothing is written to it.
        name: The image's name.
        labels: Its labels.
        size: Its bytes on disk.
        environment: Its variables.
        runtime: What makes the container.
        binds: Folders or files of this machine, and where they appear, read-only.
        gpus: Whether it sees this machine's GPUs.
        shell: What starts the runtime.

    Raises:
        EngineOrNetworkError: It does not start, or there is no GPU to see.
    """
    seen = tuple(Mount(source=path.absolute(), target=inside) for path, inside in (binds or {}).items())
    variables = {"PATH": DEFAULT_PATH, **environment}
    if gpus:
        seen += driver.driver(shell, name)
        variables["PATH"] += f":{driver.FOLDER}"  # nvidia-smi
    with tempfile.TemporaryDirectory(prefix="cuvee-box-") as folder:
        box = prepare(Path(folder).resolve(), root.resolve(), variables, seen, shell)
        way = _way(runtime, box)
        try:
            _require(name, runtime, *way.start(shell))
            made = Sandbox(name=name, labels=labels, size=size, box=box, way=way, shell=shell)
            _require(name, runtime, made.run(["/bin/sh", "-c", ":"]))
            if gpus:
                _offer_driver(made, runtime)
            yield made
        finally:
            way.stop(shell)


def _way(runtime: Runtime, box: Box) -> Way:
    rootful = os.geteuid() == 0
    if runtime.kind == "bwrap":
        return Bubblewrap(program=runtime.program, box=box, rootful=rootful)
    return Oci(runtime=runtime, box=box, id=f"cuvee-{secrets.token_hex(8)}", rootful=rootful)


def _offer_driver(made: Sandbox, runtime: Runtime) -> None:
    """Let the container's loader find the driver, as the NVIDIA runtime does: by its cache."""
    made.box.write("/etc/ld.so.conf.d/cuvee-driver.conf", f"{driver.FOLDER}\n")
    _require(made.name, runtime, made.run(["/sbin/ldconfig"]))


def _require(name: str, runtime: Runtime, *started: Finished) -> None:
    """See that the container, or what it needs, came up."""
    failed = [done for done in started if not done.ok]
    if not failed:
        return
    said = (failed[0].err.strip() or failed[0].out.strip() or "it said nothing").splitlines()[-1]
    who = "runs" if os.geteuid() == 0 else "runs, and that this user may make user namespaces (or be root)"
    raise EngineOrNetworkError(
        Fault(
            place=name,
            cause=f"the container does not start: {runtime.kind}: {said.removeprefix(f'{runtime.kind}: ')}",
            fix=f"See that {runtime.kind} {who}, or choose bwrap, crun or runc by the variable {WISH}",
        )
    )
