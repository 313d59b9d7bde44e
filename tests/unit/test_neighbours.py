from __future__ import annotations

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from builder.cli.neighbours import Queue, in_order, peak, to_unpack

BIG, SMALL = {"torch": 900, "python": 50}, {"whisper": 200, "python": 50}


def test_rows_that_share_the_most_come_one_after_the_other() -> None:
    rows = {"a": BIG, "b": SMALL, "c": {**BIG, "x": 1}, "d": {**SMALL, "y": 1}}
    assert in_order(rows) == ("c", "a", "b", "d")
    assert to_unpack(rows, ("c", "a", "b", "d")) == 900 + 50 + 1 + 200 + 1


def test_where_nothing_is_shared_the_order_stays() -> None:
    assert in_order({"a": {"x": 1}, "b": {"y": 5}, "c": {}}) == ("a", "b", "c")
    assert in_order({}) == ()


def test_a_row_without_an_image_costs_nothing_wherever_it_stands() -> None:
    rows = {"a": BIG, "none": {}, "b": BIG}
    assert to_unpack(rows, in_order(rows)) == 950


def test_what_lay_there_too_long_ago_is_unpacked_again() -> None:
    rows = {"a": {"x": 7}, "b": {"1": 1}, "c": {"2": 1}, "d": {"x": 7}}
    assert to_unpack(rows, ("a", "b", "c", "d")) == 16
    assert to_unpack(rows, ("a", "b", "d", "c")) == 9


def test_a_large_row_that_shares_nothing_stands_where_the_disk_is_empty() -> None:
    rows = {
        "cu1": {"torch": 90, "1": 1},
        "cu2": {"torch": 90, "2": 1},
        "alone": {"x": 95},
        "cu3": {"torch": 90, "3": 1},
        "small": {"y": 1},
        "least": {"z": 1},
    }
    order = in_order(rows)
    assert peak(rows, order) == 97  # beside two of the small ones, not beside torch
    assert to_unpack(rows, order) == 90 + 3 + 95 + 2


def test_a_smaller_peak_may_not_cost_much() -> None:
    small = {str(number): {str(number): 1} for number in range(3)}
    rows = {"a": {"torch": 90, "x": 30}, "b": {"torch": 90, "y": 30}, **small}
    order = in_order(rows)
    assert peak(rows, ("a", *small, "b")) == 122 < peak(rows, order)
    assert to_unpack(rows, order) == 153  # torch once


@seed(1)
@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.dictionaries(st.sampled_from("uvwxyz"), st.integers(0, 9)).map(
            lambda layers: {layer: ord(layer) for layer in layers}
        ),
    )
)
def test_each_row_is_taken_once_and_no_layer_more_often_than_it_is_used(
    rows: dict[str, dict[str, int]],
) -> None:
    order = in_order(rows)
    assert sorted(order) == sorted(rows)
    once = sum({layer: size for layers in rows.values() for layer, size in layers.items()}.values())
    assert once <= to_unpack(rows, order) <= sum(sum(layers.values()) for layers in rows.values())
    assert max((sum(layers.values()) for layers in rows.values()), default=0) <= peak(rows, order) <= once


def test_a_queue_keeps_what_runs_and_the_next_ones_have() -> None:
    rows = {"a": {"1": 1}, "b": {"2": 1}, "c": {"3": 1}, "d": {"4": 1}, "e": {"5": 1}}
    queue = Queue(rows, 2)
    assert queue.order == ("a", "b", "c", "d", "e")
    queue.start("a")
    queue.start("b")
    queue.end("a")
    assert queue.wanted() == {"2", "3", "4"}
    queue.start("c")
    assert queue.wanted() == {"2", "3", "4", "5"}
    for row in ("d", "e"):
        queue.start(row)
    for row in ("b", "c", "d", "e"):
        queue.end(row)
    assert queue.wanted() == frozenset()
