from __future__ import annotations

import threading
import time

from builder.cli.disk import Disk


def test_a_run_stands_on_what_the_store_held_and_on_what_has_come_since() -> None:
    used = iter([500, 530, 510])
    disk = Disk(used=lambda: next(used), held=100)
    disk.look()
    disk.look()
    assert disk.most() == 130


def test_before_anything_was_seen_it_is_what_the_store_held() -> None:
    assert Disk(used=lambda: 500, held=100).most() == 100


def test_who_deletes_what_was_there_before_does_not_make_it_less() -> None:
    used = iter([500, 300])
    disk = Disk(used=lambda: next(used), held=100)
    disk.look()
    assert disk.most() == 100


def test_the_most_of_a_while_is_of_that_while() -> None:
    used = iter([500, 900, 510])
    disk = Disk(used=lambda: next(used), held=0)
    disk.look()
    began = time.monotonic()
    disk.look()
    assert (disk.most(began), disk.most()) == (10, 400)


def test_a_peak_between_two_checks_is_seen_by_the_watch_which_ends() -> None:
    seen, used, before = threading.Event(), [500], threading.active_count()

    def look() -> int:
        now = used[0]
        if now == 900:
            seen.set()
        return now

    disk = Disk(used=look, held=0)
    with disk.watched(every_s=0.001):
        used[0] = 900
        assert seen.wait(10)
        used[0] = 500
    assert disk.most() == 400
    assert threading.active_count() == before
