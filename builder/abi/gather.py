"""Gathering facts: fetch what is not recorded, harvest it, write it down; two wheels at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from builder.abi.facts import WheelFacts
from builder.abi.harvest import harvest
from builder.wheels.network import session
from builder.wheels.remote import Wheel
from builder.wheels.store import WheelStore, default_folder, find

AT_A_TIME = 2
"""One wheel is read while another one comes; more would only fill memory and disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A wheel whose facts are wanted.

    Attributes:
        name: The distribution's normalised name.
        version: Its version.
        file: The wheel's file name.
        sha256: Its hash, in hex.
        size: Its size in bytes.
        most: Members that are larger than this when compressed, in bytes, stay unread, and the wheel is read
            where it lies on the server; None reads all of it, from the store.
    """

    name: str
    version: str
    file: str
    sha256: str
    size: int
    most: int | None = None


def gather(
    wanted: Sequence[Wanted], keep: Callable[[WheelFacts], None], done: Callable[[Wanted], None]
) -> None:
    """Harvest wheels.

    Args:
        wanted: Which.
        keep: Given each record as soon as it is there.
        done: Told each wheel when it is done.

    Raises:
        CannotResolveError: The index does not have a file.
        EngineOrNetworkError: The index does not answer, or has other files under these names.
        BadInputError: A wheel is damaged.
    """

    def one(wheel: Wanted) -> None:
        keep(_harvested(wheel))
        done(wheel)

    # The largest first: at the end no worker then waits for a long one.
    in_order = sorted(wanted, key=lambda wheel: -wheel.size)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        _all(pool.map(one, in_order))


def _all(results: Iterable[None]) -> None:
    for _ in results:
        pass


def _harvested(wheel: Wanted) -> WheelFacts:
    with session() as network:  # one each: sessions are not made for several threads
        store = WheelStore(folder=default_folder(), session=network)
        return harvest(wheel.file, wheel.sha256, _opened(store, wheel), most=wheel.most)


def _opened(store: WheelStore, wheel: Wanted) -> Wheel:
    if store.holds(wheel.file, wheel.sha256, wheel.size):
        return store.path(wheel.file, wheel.sha256)
    url = find(store.session, wheel.name, wheel.version, wheel.file, wheel.sha256)
    if wheel.most is None:
        return store.fetch(wheel.file, wheel.sha256, wheel.size, url)
    return store.open(wheel.file, wheel.sha256, wheel.size, url)
