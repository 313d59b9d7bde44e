"""Rows as the direct engine takes them: from a project's files to an assembly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from builder.abi.library import Library
from builder.engines.direct import base, baselock
from builder.engines.direct.agreement import recorded_image, require_same
from builder.engines.direct.assemble import Assembly, Order
from builder.engines.direct.compression import ZSTD, compressed
from builder.engines.direct.content import Pantry
from builder.engines.direct.grouping import groups
from builder.engines.direct.image import Compression, OciImage
from builder.engines.direct.loadercache import loader_sonames
from builder.engines.direct.store import Store
from builder.engines.direct.workshop import workshop
from builder.errors import BadInputError, CheckFailedError, Fault
from builder.lock import record
from builder.lock.image import BlobRecord, ImageRecord, LayerRecord, ZstdRecord
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import plan
from builder.project import Project, write
from builder.render.launcher import image_files
from builder.shell import Shell
from builder.wheels.index import extra_index

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectRows:
    """The rows of a project, for the direct engine.

    Attributes:
        project: Where their locks are.
        rows: All rows of the matrix: which of them share a package decides the layers.
        library: The facts of their wheels.
        store: Where wheels are, and what was made of them.
        shell: What starts the base's programs.
        say: Told what takes long.
    """

    project: Project
    rows: Sequence[Row]
    library: Library
    store: Store
    shell: Shell
    say: Say

    def order(self, row: Row) -> Order:
        """What the image of a row is made of.

        Raises:
            BadInputError: The row's lock, its base's lock or its wheels' facts are missing.
        """
        lock = self._lock(row)
        planned = plan(row, lock)
        return Order(
            plan=planned,
            created=lock.as_of,
            groups=groups(lock, self._locks()),
            base=baselock.read(self.project.bases, row.base, planned.system_packages),
            sonames=loader_sonames(lock, planned.loader, self.library, planned.left_out),
            launcher=image_files(planned),
        )

    @contextmanager
    def assembly(self, row: Row) -> Iterator[Assembly]:
        """The image of a row, to be assembled; the store is in use meanwhile.

        Raises:
            CuveeError: As `order`.
        """
        order = self.order(row)
        shop = workshop(lambda: self._base(row, order), row.python, self.store, self.shell)
        with self.store.in_use(), shop as open_shop:
            pantry = Pantry(
                lock=self._lock(row),
                left_out=order.plan.left_out,
                store=self.store,
                workshop=open_shop,
                python=order.base.python,
                say=self.say,
                extra=partial(extra_index, row.index, row.place("index")) if row.index else None,
            )
            yield Assembly(order, pantry)

    @contextmanager
    def built(self, row: Row) -> Iterator[OciImage]:
        """The image of a row, all of it read and held against the lock's record, which is written if new.

        Raises:
            CheckFailedError: The record of the same recipe is of another image.
            CuveeError: Something cannot be had, or is not sound.
        """
        with self.assembly(row) as assembly:
            image, made = assembly.assemble()
            lock = self._lock(row)
            place = str((self.project.image(row.id) / record.FILE).relative_to(self.project.root))
            if lock.image and lock.image.recipe == made.recipe:
                require_same(place, assembly, lock.image, made)
            else:
                if lock.image and lock.image.zstd:
                    self.say(f"{row.id}: compressing what is new with zstd, as its record has it")
                    made = replace(made, zstd=_zstd_record(self._in_zstd(image)))
                write(self.project.root / place, replace(lock, image=made).text())
                self.say(f"{place}: the image's digest is recorded")
            yield image

    def compressed(self, row: Row, image: OciImage, how: Compression, *, recorded: bool = False) -> OciImage:
        """The image of a row with its layers compressed so; what locks know of zstd's is not made for that.

        Args:
            row: The row.
            image: Its image.
            how: How.
            recorded: Whether a record of zstd's layers by another zstd is refused: others go by it.

        Raises:
            CheckFailedError: The row's record of zstd's layers does not agree with itself, or is refused.
            CuveeError: A layer cannot be read.
        """
        if how != "zstd":
            return compressed(image, how, self.store)
        known = self._lock(row).image
        if recorded and known:
            _require_this_zstd(row, known)
        found = self._in_zstd(image)
        self._require_zstd(row, known, found)
        return found

    def _in_zstd(self, image: OciImage) -> OciImage:
        return compressed(image, "zstd", self.store, self._zstd_blobs())

    def record_zstd(self, row: Row, image: OciImage) -> None:
        """Note what the image is with zstd's layers, or see that it is what was noted.

        Raises:
            CheckFailedError: The lock's record of the same layers has another manifest.
        """
        lock = self._lock(row)
        found = _zstd_record(image)
        if lock.image is None or lock.image.zstd == found:
            return
        self._require_zstd(row, lock.image, image)
        made = replace(lock, image=replace(lock.image, zstd=found))
        write(self.project.image(row.id) / record.FILE, made.text())

    def _require_zstd(self, row: Row, recorded: ImageRecord | None, image: OciImage) -> None:
        zstd = recorded.zstd if recorded else None
        if zstd and zstd.how == ZSTD and zstd.manifest != image.digest:
            raise CheckFailedError(
                Fault(
                    place=f"images/{row.id}/{record.FILE} image.zstd",
                    cause=f"it was recorded as {zstd.manifest} and is {image.digest} now",
                    fix="Delete `image.zstd` from the lock, and build again with `--compression zstd`",
                )
            )

    def _zstd_blobs(self) -> dict[str, BlobRecord]:
        """By `diff_id` zstd's blobs of all rows, as far as locks record them of this zstd.

        Raises:
            CheckFailedError: Two locks have two blobs of one layer: somebody has edited one of them.
        """
        found: dict[str, tuple[BlobRecord, str]] = {}
        for lock in self._locks():
            if not (lock.image and lock.image.zstd and lock.image.zstd.how == ZSTD):
                continue
            # without the base, which is none of zstd's
            for layer, blob in zip(lock.image.layers[1:], lock.image.zstd.layers[1:], strict=True):
                known, other = found.setdefault(layer.diff_id, (blob, lock.row))
                if known != blob:
                    raise CheckFailedError(_two_blobs(layer, other, lock.row))
        return {diff_id: blob for diff_id, (blob, _) in found.items()}

    @contextmanager
    def known(self, row: Row) -> Iterator[OciImage]:
        """The image of a row as its lock records it; of its content only what is asked for is brought.

        Raises:
            BadInputError: The lock has no record of the row's present image.
            CheckFailedError: The record does not agree with itself.
        """
        with self.assembly(row) as assembly:
            recorded = self._lock(row).image
            if not recorded or recorded.recipe != assembly.order.recipe:
                raise BadInputError(_unrecorded(row, recorded))
            yield recorded_image(f"images/{row.id}/{record.FILE}", assembly, recorded)

    def check(self, row: Row) -> None:
        """See that the lock's record, if there is one, is of the row's present image, by the present zstd.

        Raises:
            CheckFailedError: It is of another one.
            BadInputError: The lock of its base, or facts, are missing.
        """
        recorded = self._lock(row).image
        if recorded and recorded.recipe != self.order(row).recipe:
            raise CheckFailedError(_unrecorded(row, recorded))
        if recorded:
            _require_this_zstd(row, recorded)

    def recorded(self, row: Row) -> ImageRecord | None:
        """What the lock records of the row's image, be it the present one or not."""
        return self._lock(row).image

    def _base(self, row: Row, order: Order) -> base.BaseLayer:
        return base.provide(
            self.project.bases,
            row.base,
            order.plan.system_packages,
            self.store.root,
            self.shell,
            self.say,
        )

    def _lock(self, row: Row) -> Lock:
        return record.read(self.project.image(row.id) / record.FILE)

    def _locks(self) -> Iterator[Lock]:
        for row in self.rows:
            path = self.project.image(row.id) / record.FILE
            if path.is_file():
                yield record.read(path)


def _zstd_record(image: OciImage) -> ZstdRecord:
    blobs = tuple(BlobRecord(digest=layer.digest, size=layer.size) for layer in image.layers)
    return ZstdRecord(how=ZSTD, manifest=image.digest, layers=blobs)


def _require_this_zstd(row: Row, recorded: ImageRecord) -> None:
    if recorded.zstd and recorded.zstd.how != ZSTD:
        raise CheckFailedError(
            Fault(
                place=f"images/{row.id}/{record.FILE} image.zstd",
                cause=f"it is of {recorded.zstd.how}, and this is {ZSTD}",
                fix=f"Run `cuvee build {row.id} --compression zstd`, and commit the lock",
            )
        )


def _two_blobs(layer: LayerRecord, one: str, other: str) -> Fault:
    return Fault(
        place=f"images/{other}/{record.FILE} image.zstd",
        cause=f"its blob of layer {layer.title} is not the one that images/{one}/{record.FILE} has",
        fix="Delete `image.zstd` from the one that was edited, or from both, and build again with "
        "`--compression zstd`",
    )


def _unrecorded(row: Row, recorded: ImageRecord | None) -> Fault:
    return Fault(
        place=f"images/{row.id}/{record.FILE} image",
        cause="it is of another image than the row has now" if recorded else "no image is recorded yet",
        fix=f"Run `cuvee build {row.id} --engine direct`, and commit the lock",
    )
