"""The diarization error rate, held against cases that are reckoned by hand."""

from __future__ import annotations

import pytest

from builder.verify.diarization import Turn, error_rate


def turns(*given: tuple[float, float, str]) -> list[Turn]:
    return [Turn(start=start, end=end, speaker=speaker) for start, end, speaker in given]


TWO = turns((0, 10, "anna"), (10, 20, "bert"))


def test_names_do_not_matter() -> None:
    assert error_rate(TWO, turns((0, 10, "1"), (10, 20, "0"))) == 0


def test_the_order_of_turns_does_not_matter() -> None:
    assert error_rate(TWO[::-1], turns((10, 20, "0"), (0, 10, "1"))) == 0


def test_missed_speech_counts() -> None:
    assert error_rate(TWO, turns((0, 10, "a"), (10, 15, "b"))) == pytest.approx(5 / 20)


def test_speech_that_nobody_said_counts() -> None:
    assert error_rate(TWO, turns((0, 10, "a"), (10, 26, "b"))) == pytest.approx(6 / 20)


def test_speech_of_somebody_else_counts() -> None:
    assert error_rate(TWO, turns((0, 14, "a"), (14, 20, "b"))) == pytest.approx(4 / 20)


def test_all_in_one_mouth_is_wrong_for_all_but_the_one_who_speaks_most() -> None:
    reference = turns((0, 12, "anna"), (12, 20, "bert"))
    assert error_rate(reference, turns((0, 20, "a"))) == pytest.approx(8 / 20)


def test_a_third_voice_is_wrong_however_much_it_says() -> None:
    assert error_rate(TWO, turns((0, 10, "a"), (10, 17, "b"), (17, 20, "c"))) == pytest.approx(3 / 20)


def test_turns_in_each_others_mouths_are_wrong() -> None:
    reference = turns((0, 10, "anna"), (10, 20, "bert"), (20, 24, "anna"), (24, 28, "bert"))
    answer = turns((0, 10, "a"), (10, 20, "b"), (20, 24, "b"), (24, 28, "a"))
    assert error_rate(reference, answer) == pytest.approx(8 / 28)


def test_the_matching_is_the_best_one_and_not_the_first_that_seems_good() -> None:
    # "a" has most in common with anna (5 s), but then "b" is nobody's: 5 s in all. Better, if less at first
    # sight, is anna with "b" and bert with "a": 4 s and 4 s, of 13.
    reference = turns((0, 5, "anna"), (5, 9, "anna"), (9, 13, "bert"))
    answer = turns((0, 5, "a"), (5, 9, "b"), (9, 13, "a"))
    assert error_rate(reference, answer) == pytest.approx(5 / 13)


def test_two_at_once_count_twice() -> None:
    both = turns((0, 10, "anna"), (5, 10, "bert"))
    assert error_rate(both, turns((0, 10, "a"))) == pytest.approx(5 / 15)
    assert error_rate(both, turns((0, 10, "a"), (5, 10, "b"))) == 0


def test_an_answer_may_be_worse_than_none() -> None:
    assert error_rate(TWO, []) == 1
    assert error_rate(turns((0, 10, "anna")), turns((10, 30, "a"))) == pytest.approx(3)


class TestCollar:
    def test_what_is_near_a_boundary_does_not_count(self) -> None:
        answer = turns((0.2, 9.8, "a"), (10.2, 20.2, "b"))
        assert error_rate(TWO, answer) == pytest.approx(0.8 / 20)
        assert error_rate(TWO, answer, collar=0.25) == 0

    def test_the_rest_counts_by_the_rest(self) -> None:
        # 9 s are left of each turn; 10 to 13 is said to be "a": 2 s of them after the collar.
        answer = turns((0, 13, "a"), (13, 20, "b"))
        assert error_rate(TWO, answer, collar=0.5) == pytest.approx(2.5 / 18)

    def test_one_who_goes_on_has_no_boundary(self) -> None:
        reference = turns((0, 5, "anna"), (5, 8, "anna"), (7, 10, "anna"))
        assert error_rate(reference, turns((0, 4.8, "a"), (5.2, 10, "a")), collar=0.5) == pytest.approx(
            0.4 / 9
        )

    def test_a_wrong_answer_stays_wrong(self) -> None:
        assert error_rate(TWO, turns((0, 20, "a")), collar=0.25) == pytest.approx(0.5)

    def test_boundaries_of_the_answer_have_none(self) -> None:
        answer = turns((0, 4, "a"), (4, 5, "b"), (5, 10, "a"), (10, 20, "b"))
        assert error_rate(TWO, answer, collar=0.25) == pytest.approx(1 / 19)


def test_nothing_can_be_said_of_a_silent_reference() -> None:
    with pytest.raises(ValueError, match="nobody speaks"):
        error_rate([], turns((0, 1, "a")))
    with pytest.raises(ValueError, match="nobody speaks"):
        error_rate(turns((0, 0.4, "anna")), [], collar=0.25)
