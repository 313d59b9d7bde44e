"""The order in which rows are unpacked: those that share the most bytes come one after the other."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence

NEAR = 2
"""The rows before a row whose layers lie unpacked when its turn comes: they run beside it, or just did."""

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

    Of the orders that begin with one of the rows, the one that unpacks the fewest bytes is taken. Where
    nothing else decides, it is the order of `rows`.
    """
    return min((_from(rows, first) for first in rows), key=lambda order: to_unpack(rows, order), default=())


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


def _near(rows: Mapping[str, Layers], before: Sequence[str]) -> frozenset[str]:
    return frozenset(layer for row in before[-NEAR:] for layer in rows[row])


def _shared(layers: Layers, there: Collection[str]) -> int:
    return sum(size for layer, size in layers.items() if layer in there)
