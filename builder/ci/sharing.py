"""Which layers several rows have, and which of them one job makes together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from builder.lock.image import ImageRecord, LayerRecord

SMALL = 100_000_000
"""Bytes below which layers have no job of their own: starting a machine takes longer than making them."""

TINY = 1_000_000
"""Bytes below which layers are made with the base that they lie on, which all wait for anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A layer and who has it.

    Attributes:
        layer: The layer.
        rows: The rows that have it, in the order of the matrix.
    """

    layer: LayerRecord
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Layers that several rows have, and that one job makes.

    Attributes:
        id: The job's id.
        parts: The layers; those of the same rows are beside each other.
    """

    id: str
    parts: tuple[Used, ...]

    @property
    def size(self) -> int:
        """The bytes of its layers."""
        return sum(part.layer.size for part in self.parts)

    @property
    def rows(self) -> tuple[str, ...]:
        """All rows that have one of its layers."""
        return tuple(dict.fromkeys(row for part in self.parts for row in part.rows))

    @property
    def title(self) -> str:
        """What a person calls it: its largest layer, how many more, and for whom."""
        largest = max(self.parts, key=lambda part: part.layer.size).layer.title
        more = len(self.parts) - 1
        return f"{largest}{f' and {more} more' if more else ''}, for {', '.join(self.rows)}"

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of its layers."""
        return tuple(part.layer.digest for part in self.parts)

    def by_row(self) -> dict[str, tuple[str, ...]]:
        """Its layers' digests, each once, under the first row that has it."""
        found: dict[str, tuple[str, ...]] = {}
        for part in self.parts:
            found[part.rows[0]] = (*found.get(part.rows[0], ()), part.layer.digest)
        return found


def used(images: Mapping[str, ImageRecord]) -> dict[str, Used]:
    """By digest each layer of these images as they are published, with the rows that have it."""
    found: dict[str, Used] = {}
    for row, image in images.items():
        for layer in image.published:
            rows = found[layer.digest].rows if layer.digest in found else ()
            found[layer.digest] = Used(layer=layer, rows=tuple(dict.fromkeys((*rows, row))))
    return found


def bundles(shared: Iterable[Used]) -> tuple[Bundle, ...]:
    """Layers together with those that the same rows have, the largest bundle first; small ones in one.

    Args:
        shared: Layers, each once.
    """
    whole = tuple(_of_the_same_rows(shared))
    small = [one for one in whole if one.size < SMALL]
    if len(small) > 1:
        together = Bundle(id="shared-small", parts=tuple(part for one in small for part in one.parts))
        whole = (*(one for one in whole if one.size >= SMALL), together)
    return tuple(sorted(whole, key=lambda one: (-one.size, one.id)))


def _of_the_same_rows(shared: Iterable[Used]) -> Iterator[Bundle]:
    rows_of = attrgetter("rows")
    for rows, found in groupby(sorted(shared, key=rows_of), key=rows_of):
        yield Bundle(id=_id(rows), parts=tuple(found))


def _id(rows: Sequence[str]) -> str:
    """The same in every run for the same rows."""
    return f"shared-{hashlib.sha256(' '.join(rows).encode()).hexdigest()[:8]}"
