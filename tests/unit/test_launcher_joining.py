"""Words and speakers are joined by the time that they share."""

from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some

from builder.launcher.joining import Segment, Turn, Turns, Word, join

ANNA_THEN_BEN = [Turn(0.0, 2.0, "ANNA"), Turn(2.0, 4.0, "BEN")]


def said(*words: tuple[float, float, str]) -> Segment:
    made = tuple(Word(start, end, text, 1.0) for start, end, text in words)
    return Segment(made[0].start, made[-1].end, "".join(word.text for word in made), made)


def test_a_word_is_of_who_speaks_most_of_its_time() -> None:
    assert Turns(ANNA_THEN_BEN).speaker(1.7, 2.2, None) == "ANNA"
    assert Turns(ANNA_THEN_BEN).speaker(1.9, 2.4, None) == "BEN"


def test_of_two_who_speak_as_long_the_one_who_spoke_before_goes_on() -> None:
    assert Turns(ANNA_THEN_BEN).speaker(1.5, 2.5, "BEN") == "BEN"
    assert Turns(ANNA_THEN_BEN).speaker(1.5, 2.5, "ANNA") == "ANNA"


def test_of_two_who_speak_as_long_and_did_not_before_it_is_whose_turn_began_first() -> None:
    both = [Turn(1.0, 5.0, "BEN"), Turn(0.0, 5.0, "ANNA")]
    assert Turns(both).speaker(2.0, 3.0, None) == "ANNA"
    assert Turns(both).speaker(2.0, 3.0, "CARA") == "ANNA"


def test_several_turns_of_one_speaker_count_together() -> None:
    turns = [Turn(0.0, 0.4, "ANNA"), Turn(0.4, 1.0, "BEN"), Turn(1.0, 1.4, "ANNA")]
    assert Turns(turns).speaker(0.0, 1.4, None) == "ANNA"


def test_a_word_without_length_is_of_who_speaks_then() -> None:
    assert Turns(ANNA_THEN_BEN).speaker(3.0, 3.0, "ANNA") == "BEN"


def test_a_word_that_no_turn_covers_is_of_the_nearest() -> None:
    turns = [Turn(0.0, 1.0, "ANNA"), Turn(3.0, 4.0, "BEN")]
    assert Turns(turns).speaker(1.1, 1.4, None) == "ANNA"
    assert Turns(turns).speaker(2.5, 2.9, "ANNA") == "BEN"


def test_a_word_far_from_any_turn_is_of_nobody() -> None:
    assert Turns([Turn(0.0, 1.0, "ANNA")]).speaker(5.0, 6.0, "ANNA") is None
    assert Turns([]).speaker(0.0, 1.0, None) is None


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    whole = said((0.0, 1.0, " Is"), (1.0, 1.9, " it?"), (2.1, 3.0, " It"), (3.0, 4.0, " is."))
    first, second = join([whole], ANNA_THEN_BEN)
    assert (first.speaker, first.text, first.start, first.end) == ("ANNA", " Is it?", 0.0, 1.9)
    assert (second.speaker, second.text, second.start, second.end) == ("BEN", " It is.", 2.1, 4.0)
    assert {word.speaker for word in second.words or ()} == {"BEN"}


def test_a_segment_without_words_stays_whole() -> None:
    [one] = join([Segment(0.5, 3.0, " Yes.", None)], ANNA_THEN_BEN)
    assert (one.speaker, one.text) == ("ANNA", " Yes.")


def test_without_turns_there_are_no_speakers() -> None:
    whole = said((0.0, 1.0, " Yes."))
    assert join([whole], []) == [whole]


def test_ten_hours_are_joined_in_seconds() -> None:
    turns = [Turn(i * 3.0, i * 3.0 + 2.9, f"SPEAKER_{i % 7:02d}") for i in range(12_000)]
    segments = [
        said(*((i * 3 + j / 4, i * 3 + j / 4 + 0.2, " word") for j in range(8))) for i in range(12_000)
    ]
    began = time.process_time()
    joined = join(segments, turns)
    assert len(joined) == 12_000
    assert time.process_time() - began < 10


times = some.floats(0, 30, allow_nan=False)
spans = some.tuples(times, some.floats(0, 5, allow_nan=False))


@given(some.lists(some.tuples(spans, some.sampled_from("AB"))), some.lists(spans, min_size=1, max_size=12))
def test_no_word_is_lost_and_their_order_stays(
    turns: list[tuple[tuple[float, float], str]], words: list[tuple[float, float]]
) -> None:
    whole = said(*((start, start + length, f" {n}") for n, (start, length) in enumerate(sorted(words))))
    joined = join([whole], [Turn(start, start + length, who) for (start, length), who in turns])
    assert "".join(piece.text for piece in joined) == whole.text
    for one, other in pairwise(joined):
        assert one.speaker != other.speaker
