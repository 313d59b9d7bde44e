"""How `transcribe` is held against faster-whisper alone: the recording, the pairs, the record, the README."""

from __future__ import annotations

import io
import json
import struct
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from builder.errors import CheckFailedError, EngineOrNetworkError
from builder.render.readme import Told, readme
from builder.report import bench
from builder.report.bench import Compared, LauncherBench
from builder.shell import Finished
from tests.bench.launcher import (
    ALONE,
    LIMIT,
    TRANSCRIBE,
    Image,
    Spent,
    compared,
    in_turn,
    same_words,
)
from tests.bench.recording import ROUND_S, recording

PAGE = "# How fast\n<!-- bench-launcher:begin -->\nold\n<!-- bench-launcher:end -->\nThe end.\n"


def clip(*samples: float) -> bytes:
    """A sound file as the sample voices are: 16 kHz, one channel, floats."""
    sound = struct.pack(f"<{len(samples)}f", *samples)
    form = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def frames(sound: bytes) -> bytes:
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        found: bytes = file.readframes(file.getnframes())
        return found


# The recording


def test_the_recording_takes_ten_minutes_to_the_sample() -> None:
    assert len(frames(recording([clip(0.5), clip(-0.5)]))) == 10 * 60 * 16_000 * 2


def test_each_round_has_all_sentences_in_another_order_than_the_one_before() -> None:
    sound = frames(recording([clip(0.5, 0.5), clip(-0.5), clip(0.5)], 6 * ROUND_S))
    size = ROUND_S * 16_000 * 2
    rounds = [sound[start : start + size] for start in range(0, len(sound), size)]
    assert len(set(rounds)) == len(rounds) == 6
    assert len({sum(byte != 0 for byte in one) for one in rounds}) == 1


def test_sentences_that_take_longer_than_a_round_are_refused() -> None:
    with pytest.raises(ValueError, match="longer than 15 s"):
        recording([clip(*[0.5] * 16_000 * ROUND_S)])


# The pairs


@dataclass
class Machine:
    """A container in which each way takes what it is told to, and hears what it is told to."""

    alone: Sequence[Mapping[str, Any]] = ()
    launched: Sequence[Mapping[str, Any]] = ()
    temperature: float = 0.0
    code: int = 0
    ran: list[str] = field(default_factory=list)
    variables: list[Mapping[str, str]] = field(default_factory=list)

    name = "cuvee:blend"
    labels: Mapping[str, str] = field(default_factory=dict)
    size = 0

    def run(
        self, words: Sequence[str], *, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> Finished:
        del user
        argv = tuple(words)
        if argv[0] == "cat":
            heard = self.alone if argv[1] == ALONE else self.launched
            told = {"segments": [{"temperature": self.temperature, "words": list(heard)}]}
            return Finished(argv=argv, code=0, out=json.dumps(told), err="")
        self.ran.append("launched" if TRANSCRIBE in argv else "alone")
        self.variables.append(env or {})
        return Finished(argv=argv, code=self.code, out='noise\n{"wall": 2.0, "cpu": 3.5}\n', err="it broke")

    def copy_in(self, source: Path, folder: str) -> None:
        raise AssertionError((source, folder))


def word(text: str, start: float, end: float) -> dict[str, Any]:
    return {"text": text, "start": start, "end": end}


HEARD = (word(" One", 0.1, 0.4), word(" two", 0.4, 0.7))


def image(machine: Machine) -> Image:
    return Image(container=machine, python="/python", threads=2)


def test_both_run_once_unmeasured_and_then_in_turn_with_the_first_place_changing() -> None:
    machine = Machine(alone=HEARD, launched=HEARD)
    assert list(in_turn(image(machine), 3)) == [(Spent(wall=2.0, cpu=3.5), Spent(wall=2.0, cpu=3.5))] * 3
    both = ["alone", "launched"]
    assert machine.ran == [*both, *both, *reversed(both), *both]


def test_both_get_as_many_threads() -> None:
    machine = Machine(alone=HEARD, launched=HEARD)
    list(in_turn(image(machine), 1))
    assert [one["OMP_NUM_THREADS"] for one in machine.variables] == ["2"] * len(machine.ran)


def test_a_run_that_fails_says_why() -> None:
    with pytest.raises(EngineOrNetworkError, match="it ended with 7: it broke"):
        list(in_turn(image(Machine(code=7)), 1))


def test_words_are_the_same_whatever_blanks_are_about_them_and_times_within_what_is_rounded() -> None:
    machine = Machine(alone=HEARD, launched=(word("One", 0.1004, 0.4), word("two", 0.4, 0.6996)))
    assert same_words(image(machine)) == ["One", "two"]


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (Machine(alone=HEARD, launched=HEARD[:1]), "one heard 2 words, the other 1"),
        (Machine(), "one heard 0 words"),
        (Machine(alone=HEARD, launched=(HEARD[0], word("too", 0.4, 0.7))), "'two'.*'too'"),
        (Machine(alone=HEARD, launched=(HEARD[0], word("two", 0.4, 0.8))), "0.8"),
        (Machine(alone=HEARD, launched=HEARD, temperature=0.2), "drawn lots"),
    ],
    ids=["fewer", "none", "other", "other times", "lots"],
)
def test_a_comparison_of_what_is_not_the_same_is_void(machine: Machine, why: str) -> None:
    with pytest.raises(CheckFailedError, match=f"void: .*{why}"):
        list(in_turn(image(machine), 1))


# The limit


def pairs(*ours: float) -> list[tuple[Spent, Spent]]:
    return [(Spent(wall=10.0, cpu=20.0), Spent(wall=one, cpu=2 * one)) for one in ours]


def test_what_counts_is_the_median_of_the_ratios_of_pairs() -> None:
    slow_minute = (Spent(wall=100.0, cpu=20.0), Spent(wall=101.0, cpu=20.2))
    wall, cpu = compared([*pairs(10.1, 19.0), slow_minute])
    assert (wall.ratios, wall.ratio) == ((1.01, 1.9, 1.01), 1.01)
    assert (cpu.name, cpu.ratios, cpu.limit) == ("cpu", (1.01, 1.9, 1.01), LIMIT)


@pytest.mark.parametrize(("ours", "holds"), [(10.5, True), (10.51, False)])
def test_five_percent_more_are_promised_and_not_a_bit_above(ours: float, holds: bool) -> None:
    assert [one.holds for one in compared(pairs(ours, ours, ours))] == [holds, holds]


# The record and the README


def record() -> LauncherBench:
    return LauncherBench(
        row="blend",
        host="2 processors, 25 GB of memory",
        command="make bench blend",
        date="2026-11-26T05:00:00+00:00",
        tools={"ctranslate2": "4.8.1", "faster-whisper": "1.2.1"},
        minutes=10,
        words=840,
        threads=2,
        compared=(
            Compared.of("wall", [30.0, 31.0, 29.0], [30.3, 32.55, 29.0], 1.05),
            Compared.of("cpu", [55.0, 56.0, 54.0], [55.0, 56.0, 54.0], 1.05),
        ),
    )


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    (tmp_path / bench.LAUNCHER).write_text(record().text(), encoding="utf-8")
    assert bench.read_launcher(tmp_path / bench.LAUNCHER) == record()
    assert bench.read_launcher(tmp_path / "another.json") is None


def test_the_record_has_the_ratio_of_every_pair() -> None:
    told = json.loads(record().text())
    assert told["compared"][0]["ratios"] == [1.01, 1.05, 1.0]
    assert (told["command"], told["words"], told["threads"]) == ("make bench blend", 840, 2)


def test_the_readme_tells_medians_the_range_of_ratios_and_the_limit() -> None:
    told = Told(rows=(), evidence={}, shown="", launcher=record())
    assert readme(PAGE, told).splitlines() == [
        "# How fast",
        "<!-- bench-launcher:begin -->",
        "Row `blend`, 2 processors, 25 GB of memory, written by `make bench blend` on 2026-11-26:",
        "",
        "| | faster-whisper alone | `transcribe` | ratio | of all pairs | limit |",
        "|---|---|---|---|---|---|",
        "| seconds that pass | 30.0 s | 30.3 s | 1.010 | 1.000 to 1.050 | 1.05 |",
        "| seconds of processors | 55.0 s | 55.0 s | 1.000 | 1.000 to 1.000 | 1.05 |",
        "",
        "Medians of 3 pairs of runs, in turn, of 2 threads each, on",
        "10 minutes in which both heard the same 840 words.",
        "With ctranslate2 4.8.1, faster-whisper 1.2.1.",
        "<!-- bench-launcher:end -->",
        "The end.",
    ]
