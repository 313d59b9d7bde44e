"""What is finished is kept, and only what is surely finished is taken up again."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from builder.launcher.faults import BadInputError
from builder.launcher.journal import NOTHING, Journal, fingerprint, key, read


def said(number: int) -> dict[str, Any]:
    return {
        "start": number,
        "end": number + 1,
        "text": f" {number}",
        "words": None,
        "tokens": [number],
        "reset": False,
    }


def lines(*events: dict[str, Any]) -> list[str]:
    return [json.dumps(event) for event in ({"format": 1}, *events)]


INFO = {"info": {"language": "en", "probability": 1.0}}


def test_segments_after_the_last_settled_window_are_done_again() -> None:
    heard = read(
        lines({"decoded": 90.0}, INFO, {"segment": said(0)}, {"settled": 28.5}, {"segment": said(29)})
    )
    assert [one["start"] for one in heard.segments] == [0]
    assert (heard.at, heard.language, heard.duration, heard.done) == (28.5, "en", 90.0, False)


def test_what_is_done_needs_no_beginning() -> None:
    heard = read(lines(INFO, {"segment": said(0)}, {"done": True}))
    assert (len(heard.segments), heard.done) == (1, True)


def test_a_line_that_was_cut_short_ends_it() -> None:
    written = lines(INFO, {"segment": said(0)}, {"settled": 28.5})
    assert read([*written, '{"segment": {"sta']).at == 28.5
    assert read([*written[:-1], written[-1][:7]]).at is None


def test_a_journal_of_another_format_counts_for_nothing() -> None:
    assert read(['{"format": 2}', *lines(INFO, {"done": True})[1:]]) == NOTHING


def test_the_same_comes_back_after_it_was_begun_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "k", "s")
    journal.begin(NOTHING)
    for event in ({"decoded": 90.0}, INFO, {"segment": said(0)}, {"settled": 28.5}):
        journal.note(event)
    kept = journal.heard()
    journal.begin(kept)
    assert journal.heard() == kept
    journal.note({"segment": said(29)})
    journal.note({"done": True})
    assert journal.heard().done
    journal.begin(journal.heard())
    assert len(journal.heard().segments) == 2
    journal.close(forget=False)


def test_speakers_are_kept_for_the_same_options_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "k", "two speakers")
    journal.keep_speakers({"turns": []})
    assert journal.speakers() == {"turns": []}
    journal.close(forget=False)
    other = Journal(tmp_path / "k", "three speakers")
    assert other.speakers() is None
    other.close(forget=False)


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "k", "s")
    with pytest.raises(BadInputError, match="another transcribe is at work"):
        Journal(tmp_path / "k", "s")
    journal.close(forget=False)
    Journal(tmp_path / "k", "s").close(forget=False)


def test_a_folder_that_is_forgotten_while_it_is_opened_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, times = fcntl.flock, []

    def flock(file: Any, how: int) -> None:
        times.append(how)
        if len(times) == 1:
            shutil.rmtree(tmp_path / "k")
        plain(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    journal = Journal(tmp_path / "k", "s")
    assert len(times) == 2
    with pytest.raises(BadInputError, match="another transcribe is at work"):
        Journal(tmp_path / "k", "s")
    journal.begin(NOTHING)
    assert (journal.broken, journal.heard()) == ("", NOTHING)
    journal.close(forget=True)
    assert not (tmp_path / "k").exists()


def test_a_lock_that_can_never_be_had_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "lock").symlink_to(tmp_path / "absent" / "lock")
    with pytest.raises(OSError, match="its lock goes away again and again"):
        Journal(tmp_path / "k", "s")


def test_who_comes_while_all_is_forgotten_keeps_what_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Journal(tmp_path / "k", "s")
    first.begin(NOTHING)
    plain, second = Path.unlink, []

    def unlink(self: Path, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        if self.name == "lock":
            second.append(Journal(tmp_path / "k", "s"))
            second[0].begin(NOTHING)

    monkeypatch.setattr(Path, "unlink", unlink)
    first.close(forget=True)
    assert (tmp_path / "k" / "segments.jsonl").is_file()
    monkeypatch.undo()
    second[0].close(forget=True)
    assert not (tmp_path / "k").exists()


def test_somebodys_words_are_theirs_alone_and_go_when_all_is_done(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "work" / "k", "s")
    journal.begin(NOTHING)
    assert journal.folder.stat().st_mode & 0o077 == 0
    journal.close(forget=True)
    assert not journal.folder.exists()


def test_samples_never_stay(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "k", "s")
    journal.samples.write_bytes(b"1234")
    journal.close(forget=False)
    assert not journal.samples.exists()


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "k", "s")
    (tmp_path / "k" / "segments.jsonl").symlink_to("/dev/full")
    journal.begin(NOTHING)
    journal.note({"segment": said(0)})
    assert "No space left" in journal.broken
    journal.close(forget=True)


def test_a_key_is_of_content_and_options(tmp_path: Path) -> None:
    one, other = tmp_path / "a.wav", tmp_path / "b.wav"
    one.write_bytes(b"same")
    other.write_bytes(b"same")
    assert fingerprint(one) == fingerprint(other)
    assert key(fingerprint(one), "tiny", 5) != key(fingerprint(one), "tiny", 4)
