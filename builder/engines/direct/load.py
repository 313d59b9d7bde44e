"""An image into a Docker engine through its API: only layers that it lacks travel, and the name moves last.

An engine writes an archive to its disk, and then works on it, layer by layer. So the layers go in several
archives: each makes an image, without a name, of the layers so far, and while the engine works on one the
next is sent. Its disk then holds two of them beside the image, not all layers. Measured on 2 cores with 5 GB
of layers: on overlay2 35 to 38 s, and 61 s in one archive; as gzip, which Go inflates slowly, 58 and 66 s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

import docker

from builder.engines.direct import relay
from builder.engines.direct.image import Layer, OciImage
from builder.engines.direct.imagestore import ImageStore, LacksError
from builder.engines.direct.loadable import archive, prefix
from builder.errors import EngineOrNetworkError, Fault

STEP: Final = 100 * 1000 * 1000
"""Bytes of layers, at the least, that go in an archive: each costs the engine a tenth of a second."""

Say = Callable[[str], None]
Change = Callable[[OciImage], OciImage]


class Engine(Protocol):
    """What a Docker engine must have; `builder.engines.docker.DockerEngine` has it."""

    @property
    def client(self) -> docker.DockerClient:
        """What speaks with it."""
        ...

    def remove_replaced_images(self) -> int:
        """Delete rows' images that have lost their name; returns the bytes freed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An image that is in an engine now.

    Attributes:
        id: Its id there: the manifest's digest in a containerd image store, else the configuration's.
        sent: How many layers were sent.
        sent_bytes: Their bytes, as they were sent.
        present: How many were there already.
    """

    id: str
    sent: int = 0
    sent_bytes: int = 0
    present: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One archive.

    Attributes:
        image: The image of all layers so far.
        sent: The layers that travel in it.
        assumed: Whether the engine must have some layer that is new in this image.
    """

    image: OciImage
    sent: tuple[Layer, ...]
    assumed: bool


def load(
    image: OciImage, engine: Engine, say: Say, *, plain: Change | None = None, least: int = STEP
) -> Loaded:
    """Bring an image into an engine and give it its name; the image that had the name is deleted.

    Args:
        image: It. A layer is read only where it must be sent.
        engine: Where to, near or far.
        say: Told what takes long.
        plain: Gives an image the same layers, uncompressed. It is asked for those that go to a graph driver
            on this machine, which would have to inflate them; elsewhere goes the blob, which is smaller.
        least: The bytes of layers in each archive, at the least.

    Raises:
        EngineOrNetworkError: The engine refuses, or does not answer any more. The name stands for what it did
            before, and nothing is left of the image.
        CuveeError: A layer cannot be read; likewise.
    """
    store = ImageStore(engine.client)
    change = plain if plain and store.near and not store.containerd else _unchanged
    before = store.ids()
    sent: tuple[Layer, ...] = ()
    if store.id(image) in before:
        store.name(image)
    else:
        sent = _Loading(image=image, store=store, say=say, change=change, least=least).run(before)
    _remove_replaced(engine, say)
    return Loaded(
        id=store.id(image),
        sent=len(sent),
        sent_bytes=sum(layer.size for layer in sent),
        present=len(image.layers) - len(sent),
    )


def steps(image: OciImage, lacking: Iterable[Layer], least: int) -> Iterator[Step]:
    """The archives in which the lacking layers of an image go.

    Args:
        image: The image.
        lacking: Those of its layers that travel.
        least: The bytes of layers in each, at the least; the last one may have fewer, or none.
    """
    wanted = {layer.digest for layer in lacking}
    begin = 0
    for end in range(1, len(image.layers) + 1):
        new = image.layers[begin:end]
        sent = tuple(layer for layer in new if layer.digest in wanted)
        if end == len(image.layers) or sum(layer.size for layer in sent) >= least:
            yield Step(image=prefix(image, end), sent=sent, assumed=len(sent) < len(new))
            begin = end


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loading:
    """An image on its way into an engine."""

    image: OciImage
    store: ImageStore
    say: Say
    change: Change
    least: int

    def run(self, before: Collection[str]) -> tuple[Layer, ...]:
        """Send what lacks, or all at once where the engine then misses something; returns what was sent.

        Args:
            before: The ids of the images that stay whatever happens.
        """
        lacking = self.store.lacking(self.image)
        count = len(self.image.layers)
        self.say(f"{self.image.name}: the engine has {count - len(lacking)} of {count} layers")
        try:
            return self._send(tuple(steps(self.image, lacking, self.least)), before)
        except LacksError as error:
            self.say(f"{self.image.name}: the engine has fewer layers than it seemed ({error}): sending all")
        everything = Step(image=self.image, sent=self.image.layers, assumed=False)
        try:
            return self._send((everything,), before)
        except LacksError as error:
            raise _useless(self.image, error) from error

    def _send(self, planned: Sequence[Step], before: Collection[str]) -> tuple[Layer, ...]:
        sent: list[Layer] = []
        made = [self.store.id(step.image) for step in planned]
        try:
            relay.run([partial(self._step, step, sent) for step in planned])
            self.store.require(self.image)
            self.store.name(self.image)
            made.remove(self.store.id(self.image))
        finally:
            self.store.forget(one for one in made if one not in before)
        return tuple(sent)

    def _step(self, step: Step, sent: list[Layer], turn: relay.Turn) -> None:
        layers = self.change(replace(step.image, layers=step.sent)).layers
        changed = {layer.diff_id: layer for layer in layers}
        image = replace(
            step.image, layers=tuple(changed.get(layer.diff_id, layer) for layer in step.image.layers)
        )
        self.store.load(_stoppable(archive(image, layers, turn.finish), turn))
        if step.assumed:
            self.store.require(step.image)
        sent += layers
        self.say(f"{self.image.name}: {len(step.image.layers)} of {len(self.image.layers)} layers are there")


def _stoppable(pieces: Iterator[bytes], turn: relay.Turn) -> Iterator[bytes]:
    for piece in pieces:
        turn.go_on()
        yield piece


def _unchanged(image: OciImage) -> OciImage:
    return image


def _remove_replaced(engine: Engine, say: Say) -> None:
    """Delete what the image replaced; that it cannot be done now is no reason to fail."""
    try:
        engine.remove_replaced_images()
    except EngineOrNetworkError as error:
        say(f"the replaced image stays for now: {error.faults[0].cause}")


def _useless(image: OciImage, error: LacksError) -> EngineOrNetworkError:
    return EngineOrNetworkError(
        Fault(
            place=image.name,
            cause=f"the engine was sent all layers, and misses some: {error}",
            fix="See that nothing else deletes its images meanwhile, and read its log",
        )
    )
