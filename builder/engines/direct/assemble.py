"""From a plan to an image, layer by layer: base, environments, packages, loader's configuration, launcher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from builder.engines.direct import collisions, gz, stream
from builder.engines.direct.baselock import BaseLock
from builder.engines.direct.bytecode import SCRIPT
from builder.engines.direct.collisions import Writes
from builder.engines.direct.compression import remember_size
from builder.engines.direct.content import FORMAT, Pantry, code
from builder.engines.direct.entry import Entry
from builder.engines.direct.environment import environment_files
from builder.engines.direct.grouping import Group
from builder.engines.direct.image import Bytes, Layer, OciImage, canonical, configuration, sha256
from builder.engines.direct.launching import launcher_entries
from builder.engines.direct.loadercache import loader_files
from builder.engines.direct.store import touch
from builder.engines.direct.stream import Measured
from builder.engines.direct.tar import Node, parents
from builder.engines.direct.unpack import inflated
from builder.lock.image import ImageRecord, LayerRecord
from builder.places import HOME
from builder.plan import Plan
from builder.render.launcher import ImageFile

AT_ONCE = 2
"""Layers that are read at a time: hashing and inflating let other threads run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An image that is wanted.

    Attributes:
        plan: Its plan.
        created: The day of its lock, YYYY-MM-DD.
        groups: Its packages, layer by layer.
        base: The lock of its base.
        sonames: Of each library in the loader's folders, by its path, its soname.
        launcher: The files of `transcribe`.
    """

    plan: Plan
    created: str
    groups: tuple[Group, ...]
    base: BaseLock
    sonames: Mapping[str, str]
    launcher: tuple[ImageFile, ...]

    @property
    def recipe(self) -> str:
        """The hash of all that decides the image: two orders with one recipe must give one digest."""
        plan = self.plan
        facts = {
            "format": FORMAT,
            "compressor": gz.COMPRESSOR,
            "base": self.base.diff_id,
            "created": self.created,
            "environment": plan.environment,
            "labels": plan.labels,
            "prefixes": [str(one.prefix) for one in plan.environments],
            "links": [(str(link.path), str(link.target)) for link in plan.links],
            "left out": plan.left_out.patterns,
            "loader": [str(folder) for folder in plan.loader],
            "sonames": sorted(self.sonames.items()),
            "launcher": _hash(self.launcher),
            "groups": [
                (group.part, group.is_overlay, [package.sha256 for package in group.packages])
                for group in self.groups
            ],
        }
        return sha256(canonical(facts))


class Assembly:
    """One image on its way from an order to layers.

    Attributes:
        order: What is wanted.
        pantry: Where its packages come from.
    """

    def __init__(self, order: Order, pantry: Pantry) -> None:
        self.order = order
        self.pantry = pantry

    def assemble(self) -> tuple[OciImage, ImageRecord]:
        """Read all of it once, unless that was done before.

        Raises:
            CuveeError: Something cannot be had, or is not sound.
        """
        new = [group for group in self.order.groups if self._remembered(group) is None]
        self._require_no_collisions()
        self.pantry.provide(new)
        self._measure_all(new)
        measured = [
            self._of_base(),
            self._small("environment", self._environment_key(), self._environment),
            *((group.title, group.names, self._measured(group)) for group in self.order.groups),
            self._small("loader", self._loader_key(), self._loader),
            self._small("launcher", self._launcher_key(), self._launcher),
        ]
        layers = tuple(
            LayerRecord(
                title=title,
                packages=packages,
                digest=found.digest,
                size=found.size,
                diff_id=found.diff_id,
                trace=found.trace,
            )
            for title, packages, found in measured
        )
        image = self.image(layers)
        return image, ImageRecord(recipe=self.order.recipe, manifest=image.digest, layers=layers)

    def image(self, layers: Sequence[LayerRecord]) -> OciImage:
        """The image of layers whose hashes are known; its content is read when it is wanted."""
        plan = self.order.plan
        config = configuration(
            environment=plan.environment,
            labels=plan.labels,
            layers=[(layer.title, layer.diff_id) for layer in layers],
            created=f"{self.order.created}T00:00:00Z",
        )
        first, second, *middle, loader, launcher = layers
        readers: tuple[tuple[LayerRecord, Bytes, Bytes], ...] = (
            (first, self._base_blob, self._base_tar),
            (second, *self._small_readers(self._environment_key(), self._environment)),
            *(
                (layer, partial(self._blob, group), partial(self._tar, group))
                for layer, group in zip(middle, self.order.groups, strict=True)
            ),
            (loader, *self._small_readers(self._loader_key(), self._loader)),
            (launcher, *self._small_readers(self._launcher_key(), self._launcher)),
        )
        return OciImage(
            name=plan.tag,
            config=config,
            layers=tuple(
                Layer(
                    title=layer.title,
                    packages=layer.packages,
                    digest=layer.digest,
                    size=layer.size,
                    diff_id=layer.diff_id,
                    blob=blob,
                    tar=tar,
                )
                for layer, blob, tar in readers
            ),
        )

    def made_files(self, number: int) -> list[str]:
        """The files of a layer that a trace tells of, in order."""
        groups = self.order.groups
        made = {1: self._environment, len(groups) + 2: self._loader, len(groups) + 3: self._launcher}
        if number == 0:
            return []
        if number in made:
            return [entry.node.path for entry in made[number]() if entry.made]
        group = groups[number - 2]
        self.pantry.provide([group])
        with self.pantry.entries(group) as (entries, _):
            return [entry.node.path for entry in entries if entry.made]

    # The layers of packages

    def _measure_all(self, groups: Sequence[Group]) -> None:
        if groups:
            total = sum(group.size for group in groups)
            self.pantry.say(f"layers: reading {len(groups)}, {total / 1e6:.0f} MB, once")
        largest_first = sorted(groups, key=lambda group: -group.size)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            futures = [pool.submit(self._measured, group) for group in largest_first]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _measured(self, group: Group) -> Measured:
        known = self._remembered(group)
        if known:
            return known
        with self.pantry.entries(group) as (entries, archives):
            found = stream.measure(entries, archives)
        self._remember(self.pantry.key(group), found)
        return found

    def _blob(self, group: Group) -> Iterator[bytes]:
        self.pantry.provide([group])
        with self.pantry.entries(group) as (entries, archives):
            yield from stream.blob(entries, archives)

    def _tar(self, group: Group) -> Iterator[bytes]:
        self.pantry.provide([group])
        with self.pantry.entries(group) as (entries, archives):
            yield from stream.archive(entries, archives)

    def _require_no_collisions(self) -> None:
        """See that no two packages write another content to one path; asked once for a set of packages."""
        groups = self.order.groups
        keys = [self.pantry.key(group) for group in groups]
        mark = self.pantry.store.path("layers", f"{sha256(canonical(keys))[7:]}.distinct")
        if not mark.is_file():
            own = self._writes(self._environment_key(), self._own_writes)
            wheels = (
                self._writes(key, partial(self._wheels_writes, group))
                for key, group in zip(keys, groups, strict=True)
            )
            collisions.require_none(chain(own, *wheels))
            self.pantry.store.write(mark, ())

    def _own_writes(self) -> Iterator[Writes]:
        yield from (collisions.writes("the environment itself", entry) for entry in self._environment())

    def _wheels_writes(self, group: Group) -> Iterator[Writes]:
        self.pantry.provide_wheels([group])
        for wheel, entry in self.pantry.named_entries(group):
            yield collisions.writes(wheel, entry)

    def _writes(self, key: str, ask: Callable[[], Iterator[Writes]]) -> Iterator[Writes]:
        """What a layer writes, read from its wheels once: a row that changes keeps most of its layers."""
        file = self.pantry.store.path("layers", f"{key}.writes")
        try:
            told = [(wheel, path, content) for wheel, path, content in json.loads(file.read_bytes())]
        except (OSError, ValueError, TypeError):
            told = list(ask())
            self.pantry.store.write(file, (canonical(told),))
        yield from told

    # What is remembered

    def _remembered(self, group: Group) -> Measured | None:
        return self._recall(self.pantry.key(group))

    def _recall(self, key: str) -> Measured | None:
        try:
            found = Measured(**json.loads(self._file(key).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        touch(self._file(key))
        touch(self._made(key))
        return found

    def _remember(self, key: str, found: Measured) -> None:
        remember_size(self.pantry.store, found.diff_id, found.unpacked)
        # This comes last: where it is, the rest is too.
        self.pantry.store.write(self._file(key), (canonical(asdict(found)),))

    def _file(self, key: str) -> Path:
        return self.pantry.store.path("layers", f"{key}.json")

    # The base, the environments, the loader's configuration and the launcher

    def _of_base(self) -> tuple[str, tuple[str, ...], Measured]:
        base = self.order.base
        found = Measured(digest=base.digest, size=base.size, diff_id=base.diff_id, unpacked=0, trace="")
        return f"base {base.id}", (), found

    def _base_blob(self) -> Iterator[bytes]:
        yield from self.pantry.workshop.layer.blob()

    def _base_tar(self) -> Iterator[bytes]:
        yield from self.pantry.workshop.layer.tar()

    def _small(
        self, title: str, key: str, make: Callable[[], list[Entry]]
    ) -> tuple[str, tuple[str, ...], Measured]:
        found = self._recall(key)
        if found is None or not self._made(key).is_file():
            entries = make()
            self.pantry.store.write(self._made(key), stream.blob(entries, ()))
            found = stream.measure(entries, ())
            self._remember(key, found)
        return title, (), found

    def _small_readers(self, key: str, make: Callable[[], list[Entry]]) -> tuple[Bytes, Bytes]:
        def blob() -> Iterator[bytes]:
            if not self._made(key).is_file():
                self._small("", key, make)
            yield self._made(key).read_bytes()

        return blob, lambda: inflated(blob())

    def _made(self, key: str) -> Path:
        return self.pantry.store.path("made", f"{key}.tar.gz")

    def _environment_key(self) -> str:
        return self._key("environment", *(str(one.prefix) for one in self.order.plan.environments))

    def _environment(self) -> list[Entry]:
        interpreter = self.pantry.workshop.interpreter
        made = (environment_files(interpreter, one.prefix) for one in self.order.plan.environments)
        return with_parents(list(chain.from_iterable(made)))

    def _loader_key(self) -> str:
        plan = self.order.plan
        links = [f"{link.path} {link.target}" for link in plan.links]
        sonames = [f"{path} {name}" for path, name in sorted(self.order.sonames.items())]
        return self._key("loader", *map(str, plan.loader), *links, *sonames)

    def _loader(self) -> list[Entry]:
        plan, shop = self.order.plan, self.pantry.workshop
        shell = shop.interpreter.shell
        return with_parents(loader_files(shop.root, plan.loader, self.order.sonames, shell, plan.links))

    def _launcher_key(self) -> str:
        script = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()
        return self._key("launcher", script, _hash(self.order.launcher))

    def _launcher(self) -> list[Entry]:
        return with_parents(launcher_entries(self.order.launcher, self.pantry.workshop.interpreter))

    def _key(self, *parts: str) -> str:
        told = (code(), gz.COMPRESSOR, self.order.base.diff_id, *parts)
        return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _hash(files: Sequence[ImageFile]) -> str:
    return sha256(canonical([(str(file.path), file.mode, file.text) for file in files]))


def with_parents(entries: Sequence[Entry]) -> list[Entry]:
    """Entries by path, with those folders above them that are ours; the base's own are not written again."""
    home = str(HOME)[1:]
    paths = {entry.node.path: entry for entry in entries}
    above = [path for path in parents(paths) if path == home or path.startswith(f"{home}/")]
    folders = {path: Entry(Node(path, "directory", 0o755), made=False) for path in above}
    return [entry for _, entry in sorted({**folders, **paths}.items())]
