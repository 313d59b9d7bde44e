"""The bases that rows lie on: their locks, their layers, and the facts of the libraries they have.

They are made seldom, and for all rows at once, so that they are no stage: `build` and `assemble` take the
layer that a base's lock names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from builder import matrix
from builder.abi.base import read_base
from builder.abi.library import base_file, text
from builder.engines.direct import base as layers
from builder.engines.direct import baselock
from builder.engines.direct.store import default_store
from builder.errors import Fault, NothingSelectedError
from builder.matrix import Base
from builder.project import Project, write
from builder.shell import SYSTEM

Say = Callable[[str], None]


def named(project: Project, name: str) -> Base:
    """matrix.yaml ─▶ the base of that name.

    Raises:
        NothingSelectedError: There is none.
    """
    found = {one.id: one for one in matrix.load(project.matrix).bases}
    if name not in found:
        fault = Fault(place=name, cause="no base has that name", fix=f"Take one of {', '.join(found)}")
        raise NothingSelectedError(fault)
    return found[name]


def names(project: Project) -> tuple[str, ...]:
    """The bases of the matrix."""
    return tuple(one.id for one in matrix.load(project.matrix).bases)


def provide(project: Project, base: Base, also: Sequence[str], say: Say) -> str:
    """Base ─▶ its layer, which its lock names: from the store, or made; returns the layer's digest."""
    store = default_store()
    with store.in_use():
        return layers.provide(project.bases, base, also, store.root, SYSTEM, say).lock.digest


def fetch(project: Project, base: Base, also: Sequence[str], reference: str, say: Say) -> str:
    """Registry ─▶ base: take its layer, by the locked digest, from any repository with an image on it."""
    from builder.publish.pull import fetch_blob
    from builder.publish.reference import Reference

    locked, store = baselock.read(project.bases, base, also), default_store()
    with store.in_use():
        say(f"base {locked.id}: taking it from {reference}")
        fetch_blob(Reference.parse(reference), locked.digest, locked.size, layers.blob_path(store, locked))
    return locked.digest


def update(project: Project, base: Base, also: Sequence[str], say: Say) -> str:
    """Base ─▶ its lock: make it of what Debian has today; returns its layer's digest."""
    store = default_store()
    with store.in_use():
        return layers.update(project.bases, base, also, store.root, SYSTEM, say).lock.digest


def record_facts(project: Project, base: Base, say: Say) -> None:
    """Base ─▶ facts: record the libraries it has, alone and as each of its variants that is locked.

    They are read from the layer that its lock names; it is made where the store does not have it.

    Raises:
        BadInputError: It has no lock.
        CheckFailedError: Its layer is damaged.
        EngineOrNetworkError: It is nowhere, and cannot be made here.
    """
    store = default_store()
    for name, also in base.variants.items():
        if also and not baselock.file(project.bases, base, also).is_file():
            say(f"base {name}: it has no lock, so nothing is recorded")
            continue
        with store.in_use():
            layer = layers.provide(project.bases, base, also, store.root, SYSTEM, say)
            with layers.reading(layer) as stream:
                facts = read_base(name, base.image, stream)
        write(project.facts / base_file(name), text(facts))
        say(f"base {name}: {len(facts.binaries)} libraries read")
