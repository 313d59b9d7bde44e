"""A build held against what the lock records of it: one digest everywhere, or the first file that differs."""

from __future__ import annotations

from dataclasses import fields

from builder.engines.direct.assemble import Assembly
from builder.engines.direct.grouping import OTHERS
from builder.engines.direct.image import OciImage
from builder.engines.direct.trace import first_difference
from builder.errors import CheckFailedError, Fault
from builder.lock.image import ImageRecord


def require_same(place: str, assembly: Assembly, recorded: ImageRecord, made: ImageRecord) -> None:
    """See that a build gave what is recorded of the same recipe.

    Args:
        place: What the record is called: `images/cu121/lock.json`.
        assembly: Of the build, to name files.
        recorded: What the lock says.
        made: What was built.

    Raises:
        CheckFailedError: It is another image; the first differing layer and file are named.
    """
    if recorded.manifest == made.manifest and recorded.layers == made.layers:
        return
    for number, (old, new) in enumerate(zip(recorded.layers, made.layers, strict=False)):
        if old != new:
            raise CheckFailedError(
                Fault(
                    place=f"{place} image.layers[{number}] ({new.title})",
                    cause=_cause(assembly, number, recorded, made),
                    fix="See which of both machines is at fault with `cuvee repro` on each; a record that is "
                    "wrong is written anew after deleting `image` from the lock",
                )
            )
    if len(recorded.layers) != len(made.layers):
        raise _edited(
            f"{place} image.layers",
            f"the record has {len(recorded.layers)} layers, and this build gave {len(made.layers)}",
        )
    raise _edited(
        f"{place} image.manifest",
        f"the record says {recorded.manifest}, and its own layers make {made.manifest}",
    )


def recorded_image(place: str, assembly: Assembly, recorded: ImageRecord) -> OciImage:
    """The image that a record of this recipe tells of; nothing of it is read.

    Raises:
        CheckFailedError: The record does not agree with itself: it was edited.
    """
    wanted = len(assembly.order.groups) + OTHERS
    if len(recorded.layers) != wanted:
        raise _edited(
            f"{place} image.layers", f"the record has {len(recorded.layers)} layers, and the row has {wanted}"
        )
    image = assembly.image(recorded.layers)
    if image.digest != recorded.manifest:
        raise _edited(
            f"{place} image.manifest",
            f"the record says {recorded.manifest}, and its own layers make {image.digest}",
        )
    return image


def _edited(place: str, cause: str) -> CheckFailedError:
    return CheckFailedError(
        Fault(
            place=place,
            cause=cause,
            fix="The record was edited: delete `image` from the lock, and build again",
        )
    )


def _cause(assembly: Assembly, number: int, recorded: ImageRecord, made: ImageRecord) -> str:
    old, new = recorded.layers[number], made.layers[number]
    if old.digest == new.digest:
        names = [one.name for one in fields(old) if getattr(old, one.name) != getattr(new, one.name)]
        return f"the record's digest is right, and its {', '.join(names)} not: it was edited"
    digests = f"the record says {old.digest}, and this build gave {new.digest}"
    at = first_difference(old.trace, new.trace)
    if at is None:
        return (
            f"{digests}; no file that is made here differs, so the record was edited or the store is damaged"
        )
    files = assembly.made_files(number)
    name = f"/{files[at]}" if at < len(files) else "the last one, which this build lacks"
    return f"{digests}; the first differing file is {name}"
