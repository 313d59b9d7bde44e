"""The direct engine as the later stages know an engine: images by name, and containers of them.

An image is unpacked once, into the store; containers share that folder and cannot change it. Images share
the files of the layers that they have in common; see `trees`.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from builder.engines.container import Container, Image
from builder.engines.direct import sandbox, trees, unpacked
from builder.engines.direct.ground import Ground
from builder.engines.direct.image import OciImage
from builder.engines.direct.store import Store, flocked, touch, written
from builder.engines.direct.trees import Tree
from builder.engines.direct.unpack import unpacking
from builder.engines.direct.unpacked import ABOUT, Unpacked
from builder.shell import Shell

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectEngine:
    """Images that the store has the parts of.

    Attributes:
        find: Opens an image by its name, `cuvee:cu121`. Raises CuveeError where there is none.
        store: Where images are unpacked.
        tools: Where bubblewrap is unpacked on a machine without it.
        shell: What starts processes.
        say: Told what takes long.
    """

    find: Callable[[str], AbstractContextManager[OciImage]]
    store: Store
    tools: Path
    shell: Shell
    say: Say

    def describe(self) -> dict[str, str]:
        """See `Engine.describe`."""
        runtime = sandbox.find_runtime(self.shell, self.tools)
        return {
            "version": f"cuvee {version('cuvee')}",
            "storage": f"direct, {runtime.kind}",
            "system": _system(),
            "kernel": platform.release(),
            "cpus": str(os.cpu_count()),
        }

    def image(self, tag: str) -> Image:
        """See `Engine.image`."""
        with self.find(tag) as found:
            there = self._there(found)
            return Image(
                tag=tag,
                id=found.digest,
                size=there.size if there else 0,
                layers=len(found.layers),
                labels=found.labels,
            )

    @contextmanager
    def container(
        self, tag: str, *, gpus: bool = False, binds: Mapping[Path, str] | None = None
    ) -> Iterator[Container]:
        """See `Engine.container`."""
        with self.store.in_use(), unpacked.used(self.store, tag):
            about = self.unpacked(tag)
            with sandbox.container(
                about.root,
                name=tag,
                labels=about.labels,
                size=about.size,
                environment=dict(about.environment),
                runtime=sandbox.find_runtime(self.shell, self.tools),
                binds=binds,
                gpus=gpus,
                shell=self.shell,
            ) as made:
                yield made

    def suite_arguments(self, tag: str) -> list[str]:
        """See `Engine.suite_arguments`."""
        self.unpacked(tag)
        with self.find(tag) as image:
            return ["--engine", "direct", "--image", str(self._folder(image) / ABOUT)]

    def unpacked(self, tag: str) -> Unpacked:
        """The image as a folder; unpacked first where it is not.

        Raises:
            CuveeError: There is no such image, or no room for it.
        """
        with self.find(tag) as image:
            there = self._there(image)
            if there is None:
                self._unpack(image)
                there = self._there(image)
            assert there  # noqa: S101 - it was written just now
            return there

    def _there(self, image: OciImage) -> Unpacked | None:
        folder = self._folder(image)
        told = unpacked.told_in(folder)
        if told:
            touch(folder)
            trees.touch_all(self.store, told.trees)  # after it: who keeps a bound deletes the older first
        return told

    def _folder(self, image: OciImage) -> Path:
        return self.store.path("roots", image.digest.removeprefix("sha256:"))

    def _unpack(self, image: OciImage) -> None:
        self.say(f"{image.name}: unpacking {len(image.layers)} layers")
        folder = self._folder(image)
        with (
            written(self.store.root),
            self.store.scratch() as scratch,
            trees.provided(self.store, image.layers) as found,
        ):
            root = scratch / "image" / "root"
            root.mkdir(parents=True)
            about = Unpacked(
                root=folder / "root",
                name=image.name,
                labels=image.labels,
                environment=_environment(image),
                size=_lay(image, found, root),
                trees=tuple(map(trees.name_of, found)),
            )
            (scratch / "image" / ABOUT).write_text(about.to_json(), encoding="utf-8")
            self._put(scratch / "image", folder)

    def _put(self, made: Path, folder: Path) -> None:
        """Give an unpacked image its place, unless another one is there by now."""
        folder.parent.mkdir(exist_ok=True)
        # One at a time: what another one has put here since must not be taken for the damaged one.
        with flocked(self.store.path("state", "putting"), fcntl.LOCK_EX):
            if folder.exists() and not unpacked.told_in(folder):
                self.store.delete((self.store.item(folder),))
            try:
                made.rename(folder)
            except OSError:
                if not unpacked.told_in(folder):
                    raise


def _lay(image: OciImage, found: Mapping[str, Tree], root: Path) -> int:
    """Lay the layers over each other, in their order; returns the bytes of their files."""
    ground, size = Ground(root), 0
    for layer in image.layers:
        tree = found.get(layer.diff_id)
        if tree and tree.whole:
            size += tree.lay(ground)
        else:
            size += sum(one.size for one in unpacking(layer.tar(), ground, layer.diff_id))
    ground.settle()
    return size


def _environment(image: OciImage) -> tuple[tuple[str, str], ...]:
    told: list[str] = json.loads(image.config)["config"]["Env"]
    return tuple((name, value) for name, _, value in (one.partition("=") for one in told))


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
