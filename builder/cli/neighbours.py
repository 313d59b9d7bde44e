"""The order in which rows are unpacked: those that share the most bytes come one after the other.

Where such neighbours would fill the disk together, a row moves to smaller ones.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence

NEAR = 2
"""The rows before a row whose layers lie unpacked when its turn comes: they run beside it, or just did."""

SPARE = 1.02
"""How much more may be unpacked, of the least, for a smaller peak on the disk. More than this won nothing on
this project's matrix, and this already takes a fifth off the peak."""

Layers = Mapping[str, int]
"""The layers of a row's image by their `diff_id`, each with its bytes; empty for a row without one."""


class Queue:
    """Rows that are taken in that order, several at a time.

    Attributes:
        order: Their order.
    """

    def __init__(self, rows: Mapping[str, Layers], at_once: int) -> None:
        self.order = in_order(rows)
        self._rows = rows
        self._at_once = at_once
        self._waiting = list(self.order)
        self._running: list[str] = []
        self._lock = threading.Lock()

    def start(self, row: str) -> None:
        """A row is taken."""
        with self._lock:
            self._waiting.remove(row)
            self._running.append(row)

    def end(self, row: str) -> None:
        """A row is done with."""
        with self._lock:
            self._running.remove(row)

    def wanted(self) -> frozenset[str]:
        """The layers of the rows that are under way, and of those that come next."""
        with self._lock:
            rows = (*self._running, *self._waiting[: self._at_once])
            return frozenset(layer for row in rows for layer in self._rows[row])


def in_order(rows: Mapping[str, Layers]) -> tuple[str, ...]:
    """The rows, each followed by that which shares the most bytes with it and the one before it.

    Of the orders that begin with one of the rows, the one that unpacks the fewest bytes is taken, and changed
    by moving rows one at a time as long as that makes the peak on the disk smaller and costs little. Where
    nothing else decides, it is the order of `rows`.
    """
    near = min((_from(rows, first) for first in rows), key=lambda order: to_unpack(rows, order), default=())
    return _flattened(rows, near, round(to_unpack(rows, near) * SPARE))


def peak(rows: Mapping[str, Layers], order: Sequence[str]) -> int:
    """The most bytes of layers that lie there at a time: of a row and of those near before it."""
    there = (_all(rows, order[max(number - NEAR, 0) : number + 1]) for number in range(len(order)))
    return max((sum(layers.values()) for layers in there), default=0)


def to_unpack(rows: Mapping[str, Layers], order: Sequence[str]) -> int:
    """The bytes of all layers that do not lie there already when their row's turn comes."""
    shared = (_shared(rows[row], _near(rows, order[:number])) for number, row in enumerate(order))
    return sum(sum(rows[row].values()) for row in order) - sum(shared)


def _from(rows: Mapping[str, Layers], first: str) -> tuple[str, ...]:
    order, left = [first], [row for row in rows if row != first]
    while left:
        shared = {row: _shared(rows[row], _near(rows, order)) for row in left}
        order.append(max(left, key=shared.__getitem__))
        left.remove(order[-1])
    return tuple(order)


def _flattened(rows: Mapping[str, Layers], order: tuple[str, ...], most: int) -> tuple[str, ...]:
    """The order with rows moved to where the peak is smaller, while no more than `most` is unpacked."""

    def cost(one: tuple[str, ...]) -> tuple[int, int]:
        return peak(rows, one), to_unpack(rows, one)

    best, before = cost(order), None
    while best != before:
        before = best
        for row in rows:
            for moved in _moved(order, row):
                if (now := cost(moved)) < best and now[1] <= most:
                    best, order = now, moved
    return order


def _moved(order: tuple[str, ...], row: str) -> Iterator[tuple[str, ...]]:
    others = tuple(other for other in order if other != row)
    return ((*others[:place], row, *others[place:]) for place in range(len(order)))


def _all(rows: Mapping[str, Layers], some: Sequence[str]) -> Layers:
    return {layer: size for row in some for layer, size in rows[row].items()}


def _near(rows: Mapping[str, Layers], before: Sequence[str]) -> frozenset[str]:
    return frozenset(_all(rows, before[-NEAR:]))


def _shared(layers: Layers, there: Collection[str]) -> int:
    return sum(size for layer, size in layers.items() if layer in there)
