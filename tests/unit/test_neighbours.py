from __future__ import annotations

import random
import threading

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
    assert (queue.take(), queue.take()) == ("a", "b")
    queue.end("a")
    assert queue.wanted() == {"2", "3", "4"}
    assert queue.take() == "c"
    assert queue.wanted() == {"2", "3", "4", "5"}
    queue.gone("a", queue.wanted())
    assert queue.take() == "d"
    for row in ("b", "c", "d"):
        queue.end(row)
        queue.gone(row, queue.wanted())
    assert queue.take() == "e"
    queue.end("e")
    assert queue.wanted() == frozenset()
    assert queue.take() is None


def test_a_row_that_does_not_fit_lets_one_that_does_go_first_and_waits() -> None:
    rows = {"large": {"torch": 90}, "small": {"a": 1}, "least": {"b": 1}, "alone": {"x": 95}}
    queue = Queue(rows, 2)
    assert queue.order[-1] == "alone"
    assert queue.most == 97
    assert queue.take() == "large"
    assert queue.take() == "small"
    queue.end("small")
    queue.gone("small", queue.wanted())
    assert queue.take() == "least"
    taken: list[str | None] = []
    waiting = threading.Thread(target=lambda: taken.append(queue.take()))
    waiting.start()
    queue.end("large")
    waiting.join(0.1)
    assert taken == []  # it lies there still
    queue.gone("large", queue.wanted())
    waiting.join(5)
    assert taken == ["alone"]


def test_what_fits_nowhere_goes_by_itself() -> None:
    queue = Queue({"a": {"x": 9}, "b": {"y": 9}}, 2)
    queue.most = 5
    assert queue.take() == "a"
    queue.end("a")
    queue.gone("a", ())
    assert queue.take() == "b"


def test_a_closed_queue_has_no_row_for_those_who_wait() -> None:
    queue = Queue({"a": {"x": 9}, "b": {"y": 9}}, 2)
    queue.most = 9
    assert queue.take() == "a"
    taken: list[str | None] = []
    waiting = threading.Thread(target=lambda: taken.append(queue.take()))
    waiting.start()
    queue.close()
    waiting.join(5)
    assert taken == [None]


@seed(1)
@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.sets(st.sampled_from("uvwxyz")).map(lambda layers: {layer: ord(layer) for layer in layers}),
    ),
    st.randoms(use_true_random=False),
)
def test_all_rows_come_and_no_more_lies_there_than_is_meant_to(
    rows: dict[str, dict[str, int]], chance: random.Random
) -> None:
    queue = Queue(rows, 2)
    running, ended, come = list[str](), list[str](), list[str]()
    there = dict[str, int]()
    while len(come) < len(rows) or running or ended:
        if len(running) < 2 and len(come) < len(rows) and (chance.random() < 0.5 or not (running or ended)):
            if queue._next() is not None:
                row = queue.take()
                assert row
                running.append(row)
                come.append(row)
                there |= rows[row]
                assert sum(there.values()) <= queue.most
        elif running and (chance.random() < 0.5 or not ended):
            ended.append(running.pop(chance.randrange(len(running))))
            queue.end(ended[-1])
        elif ended:
            kept = queue.wanted()
            row = ended.pop(0)
            queue.gone(row, kept)
            stay = {*kept, *(layer for one in (*running, *ended) for layer in rows[one])}
            there = {layer: size for layer, size in there.items() if layer in stay}
    assert sorted(come) == sorted(rows)
