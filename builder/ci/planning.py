"""Rows and their locks ─▶ jobs: bases, then what rows share, then rows, then rows on GPUs.

Each layer is made and sent to the registry by one job, which the rows that have it need. A row's job sends
only what no other row has; what it tests is the image in the registry, pulled as users pull it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from builder.ci import commands
from builder.ci.job import LIMIT, Job, Runners
from builder.ci.sharing import TINY, Bundle, Used, bundles, used
from builder.errors import BadInputError, Fault
from builder.lock.image import ImageRecord
from builder.lock.record import Lock
from builder.matrix import Row

_UNRECORDED = "no image is recorded, so that nobody knows which layers the row shares"


def jobs(
    rows: Sequence[Row],
    locks: Mapping[str, Lock],
    runners: Runners,
    *,
    zstd: str | None = None,
    named: bool = False,
) -> tuple[Job, ...]:
    """The jobs of rows, in the order of the stages.

    Args:
        rows: The rows.
        locks: Their locks by row, as far as they have one.
        runners: Where jobs run.
        zstd: What compresses layers, as locks record it; None takes any record.
        named: Whether rows were asked for by name: an untested row has a job only then.

    Raises:
        BadInputError: A row's lock records no image, or zstd's layers of another zstd, or is of what the
            matrix said before; or there are more jobs than a workflow may have.
    """
    chosen = {row.id: row for row in rows if named or row.status != "untested"}
    images = _images({row.id: row for row in chosen.values() if _has_image(row)}, locks)
    if others := [row for row, image in images.items() if zstd and image.zstd and image.zstd.how != zstd]:
        raise BadInputError(*map(_of_another_zstd, others))
    found = tuple(_Making(rows=chosen, images=images, used=used(images), runners=runners).jobs())
    if len(found) > LIMIT:
        raise BadInputError(_too_many(len(found)))
    return found


def _has_image(row: Row) -> bool:
    """Whether there is an image of a row: some cannot be locked, which is what they show."""
    unlockable = row.fails_with is not None and row.fails_with.check == "lock"
    return row.status != "untested" and not unlockable


def _images(rows: Mapping[str, Row], locks: Mapping[str, Lock]) -> dict[str, ImageRecord]:
    found = {row: locks[row].image if row in locks else None for row in rows}
    moved_on = [row for row in rows if row in locks and locks[row].fingerprint != rows[row].fingerprint()]
    causes = {
        **{row: _UNRECORDED for row, image in found.items() if not (image and image.layers)},
        **dict.fromkeys(moved_on, "the matrix has moved on since it was locked"),
    }
    faults = [
        Fault(
            place=f"images/{row}/lock.json",
            cause=cause,
            fix=f"Run `cuvee build {row} --engine direct`, and commit the lock",
        )
        for row, cause in causes.items()
    ]
    if faults:
        raise BadInputError(*faults)
    return {row: image for row, image in found.items() if image}


def _of_another_zstd(row: str) -> Fault:
    return Fault(
        place=f"images/{row}/lock.json image.zstd",
        cause="it is of another zstd, which gave other digests than this one will",
        fix=f"Run `cuvee build {row} --compression zstd`, and commit the lock",
    )


def _too_many(count: int) -> Fault:
    return Fault(
        place="cuvee ci",
        cause=f"these rows make {count} jobs, and a workflow may have {LIMIT}",
        fix="Name fewer rows (`cuvee ci ROW...`) and give the others a workflow that runs after this one: it "
        "finds in the registry what both share",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Making:
    """The jobs of some rows, while they are made.

    Attributes:
        rows: The rows by id, in the order of the matrix.
        images: The images of those that have one.
        used: The images' layers by digest.
        runners: Where jobs run.
    """

    rows: Mapping[str, Row]
    images: Mapping[str, ImageRecord]
    used: Mapping[str, Used]
    runners: Runners

    def jobs(self) -> Iterator[Job]:
        """All of them."""
        bases = self._bases()
        taken = {digest for job in bases.values() for digest in job.layers}
        left = (one for digest, one in self.used.items() if len(one.rows) > 1 and digest not in taken)
        shared = [self._bundle(bundle, bases) for bundle in bundles(left)]
        of_rows = {row.id: self._row(row, [*bases.values(), *shared]) for row in self.rows.values()}
        yield from (*bases.values(), *shared, *of_rows.values())
        for row in self.rows.values():
            if row.status == "good" and row.cuda is not None:
                yield self._gpu(row, of_rows[row.id])

    def _bases(self) -> dict[str, Job]:
        """By digest of the base the job that makes it, and what little all its rows have besides."""
        shared = [one for one in self.used.values() if len(one.rows) > 1]
        firsts = {one.layer.digest: one for one in shared if one.layer.digest == self._base_of(one.rows[0])}
        tiny = [one for one in shared if one.layer.size < TINY and one.layer.digest not in firsts]
        return {
            digest: self._base(first, [one for one in tiny if self._base_of(one.rows[0]) == digest])
            for digest, first in firsts.items()
        }

    def _base_of(self, row: str) -> str:
        return self.images[row].published[0].digest

    def _base(self, base: Used, tiny: Sequence[Used]) -> Job:
        row, digest = self.rows[base.rows[0]], base.layer.digest
        bundle = Bundle(id=f"base-{row.base.id}-{digest.partition(':')[2][:8]}", parts=(base, *tiny))
        return Job(
            id=bundle.id,
            name=f"base {commands.base_name(row).replace('--', '')}",
            stage="base",
            runner=self.runners.plain,
            layers=bundle.digests,
            bytes=bundle.size,
            commands=(commands.have_base(row), *self._pushes(bundle)),
        )

    def _bundle(self, bundle: Bundle, bases: Mapping[str, Job]) -> Job:
        makers = [self.rows[row] for row in bundle.by_row()]
        needed = dict.fromkeys(self._base_of(row.id) for row in makers)
        return Job(
            id=bundle.id,
            name=bundle.title,
            stage="shared",
            needs=tuple(bases[digest].id for digest in needed if digest in bases),
            runner=self.runners.plain,
            layers=bundle.digests,
            bytes=bundle.size,
            commands=(*dict.fromkeys(self._get_base(row, bases) for row in makers), *self._pushes(bundle)),
        )

    def _get_base(self, row: Row, bases: Mapping[str, Job]) -> str:
        shared = self._base_of(row.id) in bases
        return commands.take_base(row) if shared else commands.have_base(row)

    def _row(self, row: Row, makers: Sequence[Job]) -> Job:
        job = Job(
            id=f"row-{row.id}", name=row.id, stage="rows", row=row.id, runner=self.runners.plain, commands=()
        )
        if row.status == "untested":
            name = f"{row.id} (untested, may fail)"
            return replace(job, name=name, may_fail=True, commands=commands.try_first(row))
        if row.status == "known-bad":
            job = replace(job, name=f"{row.id} (must fail as recorded)", expect="fail")
        if row.id not in self.images:
            return replace(job, commands=commands.refuse(row))
        return self._with_image(job, row, makers)

    def _with_image(self, job: Job, row: Row, makers: Sequence[Job]) -> Job:
        layers = dict.fromkeys(layer.digest for layer in self.images[row.id].published)
        own = [self.used[digest] for digest in layers if self.used[digest].rows == (row.id,)]
        bases = {one.layers[0]: one for one in makers if one.stage == "base"}
        return replace(
            job,
            needs=tuple(maker.id for maker in makers if layers.keys() & set(maker.layers)),
            layers=tuple(one.layer.digest for one in own),
            bytes=sum(one.layer.size for one in own),
            commands=(self._get_base(row, bases), *commands.prove(row, zstd=self._in_zstd(row.id))),
        )

    def _gpu(self, row: Row, needed: Job) -> Job:
        return Job(
            id=f"gpu-{row.id}",
            name=f"{row.id} on a GPU",
            stage="gpu",
            row=row.id,
            needs=(needed.id,),
            runner=self.runners.gpu,
            gpu=True,
            commands=commands.prove_on_gpu(row),
        )

    def _in_zstd(self, row: str) -> bool:
        return self.images[row].zstd is not None

    def _pushes(self, bundle: Bundle) -> Iterator[str]:
        for row, digests in bundle.by_row().items():
            yield commands.push_layers(row, digests, zstd=self._in_zstd(row))
