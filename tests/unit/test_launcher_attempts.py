from __future__ import annotations

from builder.launcher.attempts import MOST_IN_VAIN, Attempts


def process(attempts: Attempts, *, loaded: bool = True, worked: bool = False) -> bool:
    attempts.begin()
    attempts.loaded, attempts.worked = loaded, worked
    return attempts.another()


def test_a_side_that_worked_is_started_again_as_often_as_it_must() -> None:
    attempts = Attempts()
    assert all(process(attempts, worked=True) for _ in range(9))


def test_one_without_its_model_is_not() -> None:
    assert not process(Attempts(), loaded=False)


def test_one_that_comes_to_nothing_is_not_for_ever() -> None:
    attempts = Attempts()
    assert [process(attempts) for _ in range(MOST_IN_VAIN)] == [True, False]


def test_one_that_works_in_between_has_a_new_chance() -> None:
    attempts = Attempts()
    assert process(attempts)
    assert process(attempts, worked=True)
    assert process(attempts)
    assert not process(attempts)
