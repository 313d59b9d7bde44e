"""Logs are read whatever their size and encoding, made readable, and searched in linear time."""

from __future__ import annotations

import codecs
import io
import re
import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.explain.explaining import explain, explain_parts
from builder.explain.matching import Pattern, Sieve, View, needle
from builder.explain.normalise import OVERLAP, SIZE, Window, readable, windows
from builder.explain.reading import parts
from builder.explain.signatures import load

CUBLAS = "RuntimeError: Library libcublas.so.12 is not found or cannot be loaded"
PATTERNS = sorted({pattern.source for pattern in load().sieve.patterns})


def seen(text: str) -> View:
    return View(Window(first=1, raw=text, text=readable(text)))


# What is taken off a line


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b(Btext\x1b[?25l\x1b[2K", "text"),
        ("[0;31mred[0m", "red"),
        ("\\u001b[0;31mred\\u001b[0m", "red"),
        ("cuda\\u003e=12.8", "cuda>=12.8"),
        ("&#39;a&#39; &lt;b&gt; &quot;c&quot; &amp; d", "'a' <b> \"c\" & d"),
        ("libcudnn\\_ops\\_infer", "libcudnn_ops_infer"),
        ("\u2018GLIBC\u2019\u00a0\u200bx", "'GLIBC' x"),
        ("a\x07b\x00c\x7f", "abc"),
        ("whisper-1  | text", "text"),
        ("2025-01-27T10:11:12.123456789Z text", "text"),
        ("2025-01-27 10:11:12,123 - app - text", "- app - text"),
        ("[2025-01-27 10:11:12] text", "text"),
        ("Jan 27 10:11:12 host app[12]: text", "text"),
        ("[pod/a/b] 2025-01-27T10:11:12Z text", "text"),
        ("> > text", "text"),
        ("#12 3.456 text", "text"),
        ("│ text │", "text"),
        ("    indented", "    indented"),
        ("      4711:\tfind library=libcudnn.so.9 [0]; searching", ""),
    ],
)
def test_what_was_added_to_a_line_is_taken_off(raw: str, read: str) -> None:
    assert readable(f"{raw}\n") == f"{read}\n"


@pytest.mark.parametrize(
    "line",
    [
        "|   0  Tesla T4                       Off |   00000000:00:04.0 Off |",
        'File "C:\\env\\x1b\\users\\u\\e.py", line 3',
        ">>> import torch",
        "numpy==1.26.4",
        "[1]    67900 IOT instruction (core dumped)  python app.py",
        "Found GPU0 NVIDIA GB10 which is of cuda capability 12.1.",
        "https://hf.co/a?b=1&c=2&lt=3",
    ],
)
def test_a_line_without_additions_stays_as_it_is(line: str) -> None:
    assert readable(line) == line


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_line_is_lost_or_added(text: str) -> None:
    assert readable(text).count("\n") == text.count("\n")


# Windows


def test_windows_cover_a_log_and_know_their_lines() -> None:
    log = "".join(f"line {number}\n" for number in range(1, 300_000))
    found = list(windows([log]))
    assert len(found) > 2
    for window in found:
        assert window.raw.startswith(f"line {window.first}\n")
        assert len(window.raw) <= SIZE + OVERLAP
    assert found[-1].raw.endswith("line 299999\n")
    assert all(a.first + a.raw.count("\n") >= b.first for a, b in pairwise(found))


def test_a_line_without_an_end_is_cut() -> None:
    found = list(windows(["x" * (3 * SIZE)]))
    assert {window.first for window in found} == {1}
    assert max(len(window.raw) for window in found) <= SIZE + OVERLAP


def test_an_empty_log_is_one_empty_window() -> None:
    assert [(window.first, window.raw) for window in windows([])] == [(1, "")]


# Patterns


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("Torch not compiled", "Torchnotcompiled"),
        (r"A library (?P<name>lib[\w.]{1,9}) is found", "Alibrarylib"),
        (r"(?P<a>undefined symbol): (?P<b>\w{2,9})", "undefinedsymbol:"),
        (r"one (?:two|three) four", "four"),
        (r"one (?:two)? four", "four"),
        (r"one (?!two)four", "onefour"),
        (r"(?<!one)four", "four"),
        (r"colou?r of wine", "rofwine"),
        (r"\{libcudnn\.so\.9", "{libcudnn.so.9"),
        (r"ab{2,3}cdef", "cdef"),
        (r"[abc] def", "def"),
        (r"(?:ab c){1,3}", "abc"),
    ],
)
def test_the_word_that_a_pattern_always_needs(source: str, word: str) -> None:
    assert needle(source) == word


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_each_match_of_a_pattern_has_its_word(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(PATTERNS))
    if source.endswith("\u2026"):
        return
    text = data.draw(st.from_regex(re.compile(source, re.ASCII), fullmatch=True))
    assert needle(source) in "".join(text.split())


def test_a_sieve_lets_through_what_may_match_and_nothing_else() -> None:
    red, white, none = Pattern("the red wine"), Pattern("white (?:wine|horse)"), Pattern("a glass of beer")
    sieve = Sieve([red, white, none, red])
    assert set(sieve.candidates(seen("the\nred wi\nne, a white cat"))) == {red, white}
    assert list(sieve.candidates(seen("nothing"))) == []


def test_every_pattern_passes_the_sieve_with_its_own_word() -> None:
    for pattern in load().sieve.patterns:
        assert pattern in set(load().sieve.candidates(seen(pattern.needle))), pattern


def test_a_message_is_found_across_a_broken_word_and_put_together_again() -> None:
    [sighting] = Pattern(r"Library (?P<library>libcublas\.so\.\d{1,2}) is not found").sightings(
        seen("first\nRuntimeError: Library libcub\nlas.so.12 is not fou\nnd or so\nlast")
    )
    assert (sighting.line, sighting.last) == (2, 4)
    assert sighting.text == "RuntimeError: Library libcublas.so.12 is not found or so"
    assert sighting.values == {"library": "libcublas.so.12"}


def test_a_blank_stands_for_any_blanks_and_line_breaks_but_not_for_none() -> None:
    pattern = Pattern("not found")
    assert [one.line for one in pattern.sightings(seen("not\n     found\nnot \t found"))] == [1, 3]
    assert not list(pattern.sightings(seen("cannotbe found")))


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_log_is_read_in_any_encoding(encoding: str) -> None:
    raw = f"d\u00e9but\r\n{CUBLAS}\r\n".encode(encoding)
    assert explain_parts(parts(io.BytesIO(raw))).ids == ("cublas-not-found",)


def test_a_letter_between_two_parts_of_a_file_is_whole() -> None:
    raw = b"x" * ((1 << 20) - 1) + "\u00e9".encode() + b"y"
    assert "".join(parts(io.BytesIO(raw))) == raw.decode()


def test_bytes_that_are_no_text_are_replaced() -> None:
    raw = bytes(range(256)) * 40 + CUBLAS.encode() + b"\xff\xfe\x80"
    assert explain_parts(parts(io.BytesIO(raw))).ids == ("cublas-not-found",)


def test_an_odd_end_of_utf_16_is_no_error() -> None:
    assert "".join(parts(io.BytesIO(codecs.BOM_UTF16_LE + b"a\0b"))) == "a\ufffd"


# Size and time

ADVERSARIAL = {
    "one character": "x",
    "blanks": " ",
    "line breaks": "\n",
    "open brackets": "[",
    "escape characters": "\x1b[",
    "entities": "&#39;",
    "quotes": "> > > > > >\n",
    "tabs": "\t\n",
    "dots": "." * 99 + "\n",
    "a word that many patterns need": "cannot open shared object file lib",
    "beginnings of messages": "Could not load library libcud",
    "beginnings of names": "lib" * 40 + ".so ",
    "names": "a-b_c.d" * 10 + " ",
    "gpus": "A" * 60 + " with CUDA capability sm_120 is not ",
    "errors": "Error: lib.so: undefined symbol: ",
    "versions": "torch-1." * 5 + " ",
    "a failure of torio": "Failed to load FFmpeg5 extension.\n",
    "progress": "\r 10%|#   | 1/10",
    "paths": "/usr/local/lib/python3.12/dist-packages/torch/nn/modules/module.py\n",
    "all characters": "".join(map(chr, range(1, 300))),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_no_text_takes_long(name: str) -> None:
    text = ADVERSARIAL[name] * (300_000 // len(ADVERSARIAL[name]))
    before = time.process_time()
    explain(f"{text}\n{CUBLAS}\n")
    # Linear search takes a tenth of a second for this much; a quadratic one would take hours.
    assert time.process_time() - before < 3


def test_a_large_log_is_never_held_whole() -> None:
    line = "2025-01-27 10:11:12,123 - whisperx.asr - INFO - segment 55 from 12.3 to 14.5 is transcribed\n"
    block = line * 10_000
    tracemalloc.start()
    explanation = explain_parts(block for _ in range(12))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert explanation.lines == 120_000
    assert peak < 12_000_000 < 12 * len(block) + 2_000_000
