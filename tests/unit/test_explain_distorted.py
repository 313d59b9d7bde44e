"""A log is recognised whatever a terminal, a logger, a container or a web page did to it, or a part of it."""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Callable
from functools import cache, reduce
from pathlib import Path

import pytest

from builder.explain.explaining import Explanation, explain
from builder.explain.signatures import SURE, load

LOGS = Path(__file__).parent / "logs"
ALL = sorted(LOGS.glob("*/*.txt"))
POSITIVE = [path for path in ALL if "-" in path.parent.name and not path.stem.startswith("not-")]

Distortion = Callable[[str], str]
ISO = "2025-01-27T10:11:12.123456789Z "


def by_line(change: Distortion) -> Distortion:
    return lambda text: "\n".join(map(change, text.split("\n")))


def prefixed(prefix: str) -> Distortion:
    return by_line(lambda line: prefix + line)


def cut_into(width: int) -> Distortion:
    """As a terminal does: in the middle of a word."""
    return by_line(lambda line: "\n".join(line[at : at + width] for at in range(0, len(line), width)) or line)


def wrapped_at(width: int) -> Distortion:
    """As rich and mail programs do: between words."""
    return by_line(
        lambda line: "\n".join(
            textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [line]
        )
    )


def coloured(text: str) -> str:
    change = by_line(
        lambda line: (
            "\x1b[1;31m" + line.replace(" lib", " \x1b[32mlib").replace(": ", ":\x1b[0m ") + "\x1b[0m\x1b[K"
        )
    )
    return change(text)


def chain(*changes: Distortion) -> Distortion:
    return lambda text: reduce(lambda so_far, change: change(so_far), changes, text)


DISTORTIONS: dict[str, Distortion] = {
    "colours": coloured,
    "colours without escape characters": lambda text: coloured(text).replace("\x1b", ""),
    "colours in a notebook's file": lambda text: coloured(text).replace("\x1b", "\\u001b"),
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "a progress bar": prefixed("  0%|          | 0/10 [00:00<?, ?it/s]\r 10%|#         | 1/10\r"),
    "docker logs -t": prefixed(ISO),
    "syslog": prefixed("Jan 27 10:11:12 host whisper[4711]: "),
    "logging": prefixed("2025-01-27 10:11:12,123 - whisperx.asr - ERROR - "),
    "kubectl": prefixed("[pod/whisper-7f9c/asr] "),
    "containerd": prefixed("2025-01-27T10:11:12.123456789+00:00 stderr F "),
    "compose": prefixed("whisper-1  | "),
    "compose in colour": prefixed("\x1b[36mwhisper-1  |\x1b[0m "),
    "compose -t": prefixed(f"whisper-1  | {ISO}"),
    "GitHub Actions": prefixed("2025-01-27T10:11:12.1234567Z "),
    "gh run view": prefixed("build\tRun tests\t2025-01-27T10:11:12.1234567Z "),
    "BuildKit": prefixed("#12 34.56 "),
    "time": prefixed("[10:11:12] "),
    "dmesg": prefixed("[  123.456789] "),
    "pytest": prefixed("E       "),
    "a quote": prefixed("> "),
    "a quote of a quote": prefixed("> > "),
    "a frame": by_line(lambda line: f"│ {line:<100} │"),
    "an indent": prefixed("    "),
    "HTML": html.escape,
    "HTML with tags": lambda text: f'<pre><span class="ansi-red-fg">{html.escape(text)}</span></pre>',
    "Markdown": lambda text: text.replace("_", "\\_"),
    "hard blanks": lambda text: text.replace(" ", "\u00a0"),
    "NUL bytes": "\0".join,
    "invalid UTF-8": lambda text: text.encode().replace(b"\n", b"\xff\xfe\n").decode("utf-8", "replace"),
    "cut at 80": cut_into(80),
    "cut at 40": cut_into(40),
    "wrapped at 80": wrapped_at(80),
    "wrapped at 40": wrapped_at(40),
    "compose, cut at 80": chain(prefixed("whisper-1  | "), cut_into(80)),
    "cut at 80, compose": chain(cut_into(80), prefixed("whisper-1  | ")),
    "cut at 40, docker logs -t": chain(cut_into(40), prefixed(ISO)),
    "wrapped at 40, compose": chain(wrapped_at(40), prefixed("whisper-1  | ")),
    "cut at 80, quoted": chain(cut_into(80), prefixed("> ")),
    "cut at 40, quoted": chain(cut_into(40), prefixed("> ")),
    "docker logs -t, cut at 80, quoted": chain(prefixed(ISO), cut_into(80), prefixed("> ")),
    "cut at 40, colours": chain(cut_into(40), coloured),
    "cut at 80, indented": chain(cut_into(80), prefixed("    ")),
    "a log driver's JSON": by_line(lambda line: json.dumps({"log": f"{line}\n", "stream": "stderr"})),
    "other lines between": by_line(lambda line: f"INFO: request 1 done\n{line}"),
}


@cache
def plain(path: Path) -> Explanation:
    return explain(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_distorted_log_tells_the_same(name: str) -> None:
    distort = DISTORTIONS[name]
    assert len(ALL) > 150
    for path in ALL:
        found = explain(distort(path.read_text(encoding="utf-8"))).ids
        assert found == plain(path).ids, path.relative_to(LOGS)


def test_the_distortions_do_distort() -> None:
    text = (LOGS / "cudnn8-not-found/whisperx-colab.txt").read_text(encoding="utf-8")
    assert len({text, *(distort(text) for distort in DISTORTIONS.values())}) == len(DISTORTIONS) + 1


# Lines that were cut

ENDS = ("", "...", "\u2026", " ...")
PLENTY = 66  # characters of a message; whoever shortens lines leaves that much
NEEDS_MORE = {
    "cudnn8-mixed": "what tells it from a missing library stands behind a path",
    "no-kernel-image": "the name of the GPU comes first",
    "torchcodec-not-loaded": "its warning is one long sentence; the next line is short",
    "cudnn9-mixed": "the name of the library comes last",
    "no-wheel/pip-file": "the name of the wheel comes first",
    "no-wheel/uv-sync": "where the wheel should come from comes first",
    "torch-extension-mismatch/flash-attention": "the library has a long name, which comes first",
}
"""Signatures or logs, and why their messages tell less at their start."""


def message_line(path: Path) -> tuple[str, int, int]:
    """The line with the first message of a log, and where the message begins and ends in it."""
    text = path.read_text(encoding="utf-8")
    line = text.split("\n")[plain(path).findings[0].quote.line - 1]
    signature = load().signatures[path.parent.name]
    matches = (pattern.expression.search(line) for pattern in signature.patterns if not pattern.cut)
    spans = [match.span() for match in matches if match]
    return (line, *min(spans)) if spans else (line, 0, 0)


def recognised(path: Path, line: str) -> bool:
    return path.parent.name in explain(f"{line}\nnext line\n").ids or path.parent.name in explain(line).ids


ON_ONE_LINE = [path for path in POSITIVE if message_line(path)[2]]


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", ON_ONE_LINE, ids=named)
def test_a_line_that_was_cut_is_recognised_where_enough_is_left(path: Path) -> None:
    line, start, end = message_line(path)
    enough = min(end, start + PLENTY)
    if {path.parent.name, named(path)} & NEEDS_MORE.keys():
        enough = end
    for length in range(enough, end + 1):
        for mark in ENDS:
            assert recognised(path, line[:length] + mark), line[:length] + mark


def test_where_it_needs_more_it_really_does() -> None:
    for name in NEEDS_MORE:
        id_ = name.partition("/")[0]
        lines = [message_line(path) for path in POSITIVE if name in {path.parent.name, named(path)}]
        cut = [line[: start + PLENTY] + "..." for line, start, end in lines if end > start + PLENTY]
        assert any(id_ not in explain(one).ids for one in cut), name


def test_a_cut_line_makes_the_cause_less_sure() -> None:
    [whole] = explain("RuntimeError: Library libcublas.so.12 is not found or cannot be loaded").findings
    [cut] = explain("RuntimeError: Library libcublas.so.12 is not fou...").findings
    assert (whole.sure, cut.sure) == ("certain", "likely")
    assert SURE.index(cut.sure) == SURE.index(whole.sure) + 1


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: Library libcublas.so.12 is fine",
        "Library libcublas.so.12 was loaded",
        "TypeError: hf_hub_download() got an unexpected keyword argument 'local_dir_use_symlinks'",
        "Could not load library libcudnn_cnn_infer.so.8. Error: /opt/libnvrtc.so: undefined symbol: nvrtcGet",
        "requires version GLIBC_2.28 or later",
        "unsatisfied condition: brand=tesla, but it goes on",
        "Could not load library...",
        "Could not load library libcu...",
    ],
)
def test_a_line_that_goes_on_otherwise_is_not_taken_for_a_cut_one(line: str) -> None:
    found = set(explain(f"{line}\nnext line\n").ids)
    assert found <= {"require-cuda-unsatisfied"} if "unsatisfied" in line else not found


def test_a_whole_message_outweighs_a_cut_one() -> None:
    log = (
        "Could not load library libcudnn_cnn_infer.so.8. Error: /usr/lib/libcudnn_cnn_infer.so.8: undefined "
        "symbol: _ZN5cudnn14cublasSaxpy_v2, version libcudnn_ops_infer.so.8\n"
    )
    assert explain(log).ids == ("cudnn8-mixed",)
