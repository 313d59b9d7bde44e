"""How rows stand: locked or not, proven or not, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from builder import matrix
from builder.abi.library import Library
from builder.errors import BadInputError
from builder.lock import record
from builder.lock.record import Lock
from builder.matrix import Row
from builder.project import Project
from builder.report.tables import Listed
from builder.verdict import refusal
from builder.verdict.prove import prove
from builder.verify import evidence
from builder.verify.evidence import LEVELS, Evidence


def listed(project: Project, ids: Sequence[str]) -> tuple[Listed, ...]:
    """The rows asked for, or all, as `cuvee list` shows them."""
    return tuple(_listed(project, row) for row in matrix.load(project.matrix).select(ids))


def locked_bytes(project: Project) -> int:
    """The bytes of all files that rows lock, each once."""
    locks = filter(None, (_valid_lock(project, row) for row in matrix.load(project.matrix).rows))
    return sum({one.sha256: one.size for lock in locks for one in lock.packages()}.values())


def best_evidence(project: Project, row: Row) -> Evidence | None:
    """What shows most of a row: evidence of its present lock and claim, on a GPU where there is some.

    Where the GPU had only an environment, the weights are those of the image that was seen without one.
    """
    return _best(project, row, _valid_lock(project, row))


def _listed(project: Project, row: Row) -> Listed:
    lock = _valid_lock(project, row)
    found = _best(project, row, lock)
    image = lock.image if lock else None
    zstd = image.zstd if image else None
    return Listed(
        id=row.id,
        status=row.status,
        summary=row.summary,
        aliases=row.aliases,
        cuda=_shown(row.every("cuda")),
        cudnn=" + ".join(filter(None, [_shown(row.every("cudnn")), *row.overlays])) or None,
        torch=_shown(row.every("torch")),
        ctranslate2=_shown(row.every("ctranslate2")),
        lock=lock.digest if lock else None,
        image=image.manifest if image else None,
        image_zstd=zstd.manifest if zstd else None,
        level=_level(project, row, lock, found),
        proven=_proven(found),
        evidence=_state(project, row, found),
        pull=image.size if image else None,
        pull_zstd=zstd.size if zstd else None,
        disk=_disk(found),
        first_words=found.first_words if found else None,
    )


def _disk(found: Evidence | None) -> int | None:
    return int(found.image["bytes"]) if found and found.image else None


def _shown(values: Sequence[str]) -> str | None:
    """What the environments of a row have, as a person reads it: `8.9 / 9.10`."""
    return " / ".join(values) or None


def _valid_lock(project: Project, row: Row) -> Lock | None:
    try:
        lock = record.read(project.image(row.id) / record.FILE)
    except BadInputError:
        return None
    return lock if lock.fingerprint == row.fingerprint() else None


def _best(project: Project, row: Row, lock: Lock | None) -> Evidence | None:
    on_gpu, without = (_found(project, row, lock, gpu=gpu) for gpu in (True, False))
    if without and without.count("failed"):
        return without
    if on_gpu and without and not on_gpu.image:
        return replace(on_gpu, image=without.image)
    return on_gpu or without


def _found(project: Project, row: Row, lock: Lock | None, *, gpu: bool) -> Evidence | None:
    """None that was made for another lock, of another image or for another claim counts.

    What was to be seen on a GPU, and was not, says nothing.
    """
    about = row.fingerprint() if refusal.is_known(row) else lock.digest if lock else None
    found = evidence.read(project.evidence(row.id, gpu=gpu))
    if found is None or (found.lock, found.status) != (about, row.status) or (gpu and not found.gpu):
        return None
    recorded = lock.image.manifest if lock and lock.image else None
    of_another = recorded and found.image.get("digest") and found.image["digest"] != recorded
    return None if of_another or not _of_this_claim(row, found) else found


def _of_this_claim(row: Row, found: Evidence) -> bool:
    """Whether a row that was seen to fail was seen to fail with the words that it has now."""
    known = row.fails_with
    return not (known and found.fails_as_recorded) or known.message in found.measured.get("fails_with", "")


def _level(project: Project, row: Row, lock: Lock | None, found: Evidence | None) -> str | None:
    """The level that evidence shows; without any, whether the proof holds."""
    if row.status == "known-bad" or lock is None:
        return None
    if found and found.level:
        return found.level
    with suppress(BadInputError):
        library = Library(folders=(project.facts, project.survey / "facts"))
        if prove(row, lock, library).outcome != "fails":
            return LEVELS[0]
    return None


def _proven(found: Evidence | None) -> str | None:
    """What the evidence says; a skip is not a pass: where nothing ran, nothing is proven."""
    if found is None:
        return None
    if found.count("failed"):
        return "failed"
    return None if found.lacking else "passed"


def _state(project: Project, row: Row, found: Evidence | None) -> str:
    if found:
        return "valid"
    there = [path for gpu in (True, False) if (path := project.evidence(row.id, gpu=gpu)).is_file()]
    if not there:
        return "none"
    return "of another lock" if any(map(evidence.read, there)) else "unreadable"
