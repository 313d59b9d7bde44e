"""The base that rows are built on: an image that is there, one from a registry, or one made here.

Where no container registry can be reached, the base is the layer that the direct engine's images lie on: what
`debian:bookworm-slim` has, plus Python, made by mmdebstrap from Debian's own packages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builder.engines.direct import base as layers
from builder.engines.direct import baselock, debian
from builder.engines.direct.store import default_store
from builder.engines.docker import DockerEngine
from builder.errors import EngineOrNetworkError, Fault
from builder.matrix import Base
from builder.project import find

Say = Callable[[str], None]

_DIGITS = 12  # of a digest, in a tag


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


def provide(
    base: Base, engine: DockerEngine, say: Say, *, locks: Path | None = None, store: Path | None = None
) -> BaseImage:
    """The base as an image of the engine, by the first way that works.

    Args:
        base: The base in the matrix.
        engine: Where it must be.
        say: Told what takes long.
        locks: The folder with the locks of bases; that of the project that we are in, when not given.
        store: Where layers are kept; the user's store, when not given.

    Raises:
        BadInputError: It must be made here, and has no lock that says what it is.
        CannotResolveError: It must be made here, and Debian has other versions than its lock says.
        CheckFailedError: It was made here, and is not what its lock says.
        EngineOrNetworkError: No registry can be reached, and it cannot be made here either.
    """
    if found := engine.image_id(base.image):
        return BaseImage(reference=base.image, id=found, origin=f"the engine's own {base.image}")
    locks = locks or find(Path.cwd()).bases
    made = _tag(base, locks)
    if made and (found := engine.image_id(made)):
        origin = f"{made}, made earlier from Debian's packages"
        return BaseImage(reference=made, id=found, origin=origin)
    say(f"base: no {base.image} here, asking the registry")
    if engine.pull(base.image):
        origin = f"{base.image}, pulled from the registry"
        return BaseImage(reference=base.image, id=engine.image_id(base.image) or "", origin=origin)
    say("base: no registry has it")
    return _imported(base, engine, say, locks, store or default_store().root)


def _imported(base: Base, engine: DockerEngine, say: Say, locks: Path, store: Path) -> BaseImage:
    search = engine.environment.get("PATH")
    try:
        layer = layers.provide(locks, base, (), store, engine.shell, say, search=search)
    except debian.CannotMakeError as error:
        raise _cannot(base, error) from error
    made = _named(base, layer.lock)
    engine.import_archive(layer.path, made)
    origin = f"{made}, made from Debian's packages by mmdebstrap"
    return BaseImage(reference=made, id=engine.image_id(made) or "", origin=origin)


def _tag(base: Base, locks: Path) -> str | None:
    """The name of the image that is made from the base's layer; None where it has no lock."""
    if not baselock.file(locks, base, ()).is_file():
        return None
    return _named(base, baselock.read(locks, base, ()))


def _named(base: Base, lock: baselock.BaseLock) -> str:
    """Names its bytes too: an image that was made of other ones, earlier, is not taken for it."""
    return f"cuvee-base:{base.id}-{lock.hex[:_DIGITS]}"


def _cannot(base: Base, error: debian.CannotMakeError) -> EngineOrNetworkError:
    return EngineOrNetworkError(
        Fault(
            place=f"base {base.id}",
            cause=f"no registry gives {base.image}, and it cannot be made here: {error.cause}",
            fix=f"{error.fix}, or load {base.image} into the engine",
        )
    )
