"""The base that rows are built on: an image that is there, one from a registry, or one made here.

Where no container registry can be reached, mmdebstrap makes the same small Debian from Debian's own packages:
what `debian:bookworm-slim` has, plus Python.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder.engines.docker import DockerEngine
from builder.errors import EngineOrNetworkError, Fault
from builder.matrix import Base

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base in an engine.

    Attributes:
        reference: What `FROM` names.
        id: The image's id.
        origin: How it came to be there, for people.
    """

    reference: str
    id: str
    origin: str


def provide(base: Base, engine: DockerEngine, say: Say) -> BaseImage:
    """The base as an image of the engine, by the first way that works.

    Args:
        base: The base in the matrix.
        engine: Where it must be.
        say: Told what takes long.

    Raises:
        EngineOrNetworkError: No registry can be reached, and it cannot be made here either.
    """
    made = f"cuvee-base:{base.id}"
    for reference, origin in (
        (base.image, f"the engine's own {base.image}"),
        (made, f"{made}, made earlier from Debian's packages"),
    ):
        if found := engine.image_id(reference):
            return BaseImage(reference=reference, id=found, origin=origin)
    say(f"base: no {base.image} here, asking the registry")
    if engine.pull(base.image):
        return BaseImage(
            reference=base.image,
            id=engine.image_id(base.image) or "",
            origin=f"{base.image}, pulled from the registry",
        )
    say(f"base: no registry has it, making {made} from Debian's packages (half a minute)")
    with root_filesystem(base, (), engine) as archive:
        engine.import_archive(archive, made)
    return BaseImage(
        reference=made,
        id=engine.image_id(made) or "",
        origin=f"{made}, made from Debian's packages by mmdebstrap",
    )


@contextmanager
def root_filesystem(base: Base, also: Sequence[str], engine: DockerEngine) -> Iterator[Path]:
    """The archive of a base's root file system, made from Debian's packages; it is deleted afterwards.

    Args:
        base: The base in the matrix.
        also: Debian's packages beyond the base's own.
        engine: Beside which mmdebstrap may lie.

    Raises:
        EngineOrNetworkError: It cannot be made here.
    """
    if not shutil.which("mmdebstrap", path=engine.environment.get("PATH")):
        raise _cannot(base, "mmdebstrap is not installed", "Install it (Debian's package mmdebstrap)")
    with tempfile.TemporaryDirectory(prefix="cuvee-base-") as scratch:
        archive = Path(scratch) / "base.tar"
        include = ",".join((*base.packages, *also))
        done = engine.shell.run(
            ["mmdebstrap", "--variant=minbase", f"--include={include}", base.suite, str(archive)],
            env=engine.environment,
        )
        if not done.ok:
            lines = [line[2:].strip() for line in done.err.splitlines() if line.startswith("E:")]
            raise _cannot(
                base,
                next(iter(lines), "mmdebstrap failed"),
                "See that this machine reaches Debian's packages, and try again",
            )
        yield archive


def _cannot(base: Base, cause: str, fix: str) -> EngineOrNetworkError:
    return EngineOrNetworkError(
        Fault(
            place=f"base {base.id}",
            cause=f"no registry gives {base.image}, and it cannot be made here: {cause}",
            fix=f"{fix}, or load {base.image} into the engine",
        )
    )
