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
from builder.lock.image import BlobRecord, ImageRecord, ZstdRecord
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
                known = self._zstd_blobs()  # the old record's too
                write(self.project.root / place, replace(lock, image=made).text())
                self.say(f"{place}: the image's digest is recorded")
                if lock.image and lock.image.zstd:
                    self.say(f"{row.id}: compressing what is new with zstd, as its record has it")
                    self.record_zstd(row, compressed(image, "zstd", self.store, known))
            yield image

    def compressed(self, row: Row, image: OciImage, how: Compression) -> OciImage:
        """The image of a row with its layers compressed so; what locks know of zstd's is not made for that.

        Raises:
            CheckFailedError: The row's record of zstd's layers does not agree with itself.
            CuveeError: A layer cannot be read.
        """
        found = compressed(image, how, self.store, self._zstd_blobs() if how == "zstd" else {})
        if how == "zstd":
            self._require_zstd(row, self._lock(row).image, found)
        return found

    def record_zstd(self, row: Row, image: OciImage) -> None:
        """Note what the image is with zstd's layers, or see that it is what was noted.

        Raises:
            CheckFailedError: The lock's record of the same layers has another manifest.
        """
        lock = self._lock(row)
        blobs = tuple(BlobRecord(digest=layer.digest, size=layer.size) for layer in image.layers)
        found = ZstdRecord(how=ZSTD, manifest=image.digest, layers=blobs)
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
        """By `diff_id` zstd's blobs of all rows, as far as locks record them of this zstd."""
        images = (lock.image for lock in self._locks())
        known = ((one.layers, one.zstd.layers) for one in images if one and one.zstd and one.zstd.how == ZSTD)
        return {
            layer.diff_id: blob
            for layers, blobs in known
            for layer, blob in zip(layers, blobs, strict=True)
            if blob.digest != layer.digest  # the base is none of zstd's
        }

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
        if recorded and recorded.zstd and recorded.zstd.how != ZSTD:
            raise CheckFailedError(_of_another_zstd(row, recorded.zstd))

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


def _of_another_zstd(row: Row, recorded: ZstdRecord) -> Fault:
    return Fault(
        place=f"images/{row.id}/{record.FILE} image.zstd",
        cause=f"it is of {recorded.how}, and this is {ZSTD}",
        fix=f"Run `cuvee build {row.id} --compression zstd`, and commit the lock",
    )


def _unrecorded(row: Row, recorded: ImageRecord | None) -> Fault:
    return Fault(
        place=f"images/{row.id}/{record.FILE} image",
        cause="it is of another image than the row has now" if recorded else "no image is recorded yet",
        fix=f"Run `cuvee build {row.id} --engine direct`, and commit the lock",
    )
