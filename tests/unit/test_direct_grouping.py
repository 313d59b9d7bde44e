from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from builder.engines.direct.grouping import HEAVY, MOST, OTHERS, Group, groups
from builder.lock.record import Environment, Lock, Package


def package(name: str, size: int = 1000, version: str = "1.0") -> Package:
    return Package(
        name=name,
        version=version,
        file=f"{name}-{version}-py3-none-any.whl",
        sha256=hashlib.sha256(f"{name} {version}".encode()).hexdigest(),
        size=size,
    )


def lock(
    row: str,
    *packages: Package,
    base: str = "bookworm",
    more: Sequence[Environment] = (),
    overlays: Sequence[Environment] = (),
) -> Lock:
    return Lock(
        row=row,
        fingerprint="f",
        as_of="2025-01-20",
        base=base,
        python="3.11",
        environments=(Environment(name="main", packages=packages), *more),
        overlays=tuple(overlays),
        tools=(),
    )


def names(found: Sequence[Group]) -> list[list[str]]:
    return [[one.name for one in group.packages] for group in found]


TORCH, CUDNN = package("torch", 800_000_000), package("cudnn", 600_000_000)
A, B, C, D = (package(name) for name in "abcd")


def test_a_heavy_wheel_has_a_layer_of_its_own_and_small_ones_share_one() -> None:
    one = lock("one", A, TORCH, B, CUDNN)
    assert names(groups(one, [])) == [["torch"], ["cudnn"], ["a", "b"]]
    edge = lock("edge", package("just", HEAVY), package("under", HEAVY - 1))
    assert names(groups(edge, [])) == [["just"], ["under"]]


def test_small_wheels_are_with_those_that_the_same_rows_have() -> None:
    rows = [lock("one", A, B, C), lock("two", A, B, D), lock("three", A, C)]
    assert names(groups(rows[0], rows)) == [["a"], ["c"], ["b"]]
    assert [group.rows for group in groups(rows[0], rows)] == [
        ("one", "three", "two"),
        ("one", "three"),
        ("one", "two"),
    ]
    assert names(groups(rows[1], rows)) == [["a"], ["b"], ["d"]]


def test_what_more_rows_have_comes_first_and_then_what_is_larger() -> None:
    own = package("own", 900_000_000)
    rows = [lock("one", own, TORCH, CUDNN, A), lock("two", TORCH, CUDNN, A)]
    assert names(groups(rows[0], rows)) == [["torch"], ["cudnn"], ["a"], ["own"]]


def test_rows_that_share_packages_share_the_beginning_of_their_layers() -> None:
    rows = [lock("one", A, B, TORCH), lock("two", A, B, TORCH, CUDNN, C), lock("three", A, B, TORCH, D)]
    told = [names(groups(row, rows)) for row in rows]
    assert [one[:2] for one in told] == [[["torch"], ["a", "b"]]] * 3
    assert [one[2:] for one in told] == [[], [["cudnn"], ["c"]], [["d"]]]


def test_a_row_shares_nothing_with_one_of_another_base_python_or_prefix() -> None:
    own = lock("one", A, B)
    for other in (
        lock("two", A, base="trixie"),
        replace(lock("two", A), python="3.12"),
        replace(lock("two"), environments=(Environment(name="asr", packages=(A,)),)),
    ):
        assert names(groups(own, [own, other])) == [["a", "b"]]


def test_environments_and_overlays_are_apart() -> None:
    one = lock(
        "one",
        A,
        B,
        more=[Environment(name="diarize", packages=(A,))],
        overlays=[Environment(name="cudnn8", packages=(replace(CUDNN, version="8"),))],
    )
    found = groups(one, [])
    assert {(group.part, group.is_overlay, group.names) for group in found} == {
        ("main", False, ("a 1.0", "b 1.0")),
        ("diarize", False, ("a 1.0",)),
        ("cudnn8", True, ("cudnn 8",)),
    }


def test_another_lock_of_the_same_row_counts_for_nothing() -> None:
    now, before = lock("one", A, B), lock("one", A, C)
    assert groups(now, [before]) == groups(now, [now]) == groups(now, [])


def test_a_group_says_what_it_is() -> None:
    torch, rest = groups(lock("one", TORCH, A, B), [])
    assert (torch.title, torch.names, torch.size) == ("torch 1.0", ("torch 1.0",), 800_000_000)
    assert (rest.title, rest.names, rest.size) == ("2 packages", ("a 1.0", "b 1.0"), 2000)


def test_a_row_without_packages_has_no_groups() -> None:
    assert groups(lock("one"), []) == ()


@pytest.mark.parametrize("count", [MOST - OTHERS, MOST - OTHERS + 1, 200])
def test_an_image_has_at_most_sixty_layers_and_the_smallest_are_joined(count: int) -> None:
    heavy = [package(f"heavy{number:03}", HEAVY + number) for number in range(count)]
    found = groups(lock("one", *heavy), [])
    assert len(found) == min(count, MOST - OTHERS)
    assert Counter(one for group in found for one in group.packages) == Counter(heavy)
    if count == MOST - OTHERS + 1:
        assert [one.name for one in max(found, key=lambda group: len(group.packages)).packages] == [
            "heavy000",
            "heavy001",
        ]


def test_layers_are_joined_only_within_one_environment() -> None:
    parts = [
        Environment(name=part, packages=tuple(package(f"{part}{n:02}", HEAVY + n) for n in range(40)))
        for part in ("asr", "diarize")
    ]
    overlay = Environment(name="old", packages=(package("tiny", 1),))
    found = groups(replace(lock("one"), environments=tuple(parts), overlays=(overlay,)), [])
    assert len(found) == MOST - OTHERS
    for group in found:
        assert group.part == "old" or all(one.name.startswith(group.part) for one in group.packages)


# Whatever rows there are

POOL = [package(f"p{number:02}", size) for number, size in enumerate([10, 1000, 10**6, HEAVY, 10**9] * 4)]
PARTS = st.lists(st.sampled_from(POOL), max_size=12, unique=True)
LOCKS = st.lists(
    st.tuples(PARTS, PARTS, PARTS, st.sampled_from(["bookworm", "trixie"])), min_size=1, max_size=5
).map(
    lambda told: [
        lock(
            f"row{number}",
            *main,
            base=base,
            more=[Environment(name="asr", packages=tuple(asr))],
            overlays=[Environment(name="old", packages=tuple(old))],
        )
        for number, (main, asr, old, base) in enumerate(told)
    ]
)


def shuffled(one: Lock, order: random.Random) -> Lock:
    def mixed(parts: Sequence[Environment]) -> tuple[Environment, ...]:
        return tuple(
            replace(part, packages=tuple(order.sample(part.packages, len(part.packages))))
            for part in order.sample(parts, len(parts))
        )

    return replace(one, environments=mixed(one.environments), overlays=mixed(one.overlays))


@seed(1)
@settings(deadline=None, max_examples=100)
@given(rows=LOCKS)
def test_every_package_is_in_exactly_one_layer_of_its_place(rows: list[Lock]) -> None:
    for one in rows:
        found = groups(one, rows)
        told = Counter((group.part, group.is_overlay, each) for group in found for each in group.packages)
        wanted = [
            *((part.name, False, each) for part in one.environments for each in part.packages),
            *((part.name, True, each) for part in one.overlays for each in part.packages),
        ]
        assert told == Counter(wanted)
        assert len(found) + OTHERS <= MOST


@seed(2)
@settings(deadline=None, max_examples=100)
@given(rows=LOCKS, order=st.integers(0, 1 << 30))
def test_the_same_locks_in_another_order_give_the_same_layers(rows: list[Lock], order: int) -> None:
    mixing = random.Random(order)  # noqa: S311 - a shuffle
    mixed = [shuffled(one, mixing) for one in mixing.sample(rows, len(rows))]
    for one in rows:
        again = next(other for other in mixed if other.row == one.row)
        assert groups(again, mixed) == groups(one, rows)


@seed(3)
@settings(deadline=None, max_examples=100)
@given(rows=LOCKS)
def test_a_layer_that_two_rows_could_share_is_the_same_in_both(rows: list[Lock]) -> None:
    layers = {one.row: {(group.part, group.packages) for group in groups(one, rows)} for one in rows}
    for one in rows:
        for group in groups(one, rows):
            for row in group.rows:
                assert (group.part, group.packages) in layers[row]
