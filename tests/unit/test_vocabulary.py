"""What `cuvee check` predicts, `cuvee explain` knows: each message leads to the signature it came with."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from builder.abi.loader import Cause
from builder.explain.explaining import explain
from builder.explain.signatures import load
from builder.known import data
from builder.verdict import tables
from builder.verdict.tables import Opener

VERDICT = Path(tables.__file__).parent

LOADER = {
    Cause.MISSING: "{name}: cannot open shared object file: No such file or directory",
    Cause.WRONG_CLASS: "{name}: wrong ELF class: ELFCLASS32",
    Cause.VERSION: "/usr/lib/libc.so.6: version `GLIBC_2.38' not found (required by /env/lib/{name})",
    Cause.EXECUTABLE_STACK: (
        "{name}: cannot enable executable stack as shared object requires: Invalid argument"
    ),
    Cause.INCONSISTENT: (
        "Inconsistency detected by ld.so: dl-version.c: 204: _dl_check_map_versions: "
        "Assertion `needed != NULL' failed!"
    ),
}
"""The loader's words, as programs have printed them; not taken from the code that predicts them."""

NAMES = (
    "libavutil.so.59",
    "libswresample.so.5",
    "libpython3.12.so.1.0",
    "libcudart.so.13",
    "libnvrtc.so.12",
    "libsndfile.so.1",
    "libgomp.so.1",
    "libctranslate2.so.4",
    "libcublas.so.12",
    "libcublasLt.so.12",
    "libcudnn.so.9",
    "libcufft.so.11",
    "libnccl.so.2",
)
"""Names that have been missing; an entry's own patterns choose among them."""

NEARER = {
    "libcublas.so.12": "cublas-not-found",
    "libcublasLt.so.12": "cublaslt-not-found",
    "libcudnn.so.9": "cudnn9-not-found",
}
"""Of these, `library-not-found` says less than `explain` knows: they have signatures of their own."""

BARE = {
    "libavutil.so.59": "programs try FFmpeg's releases in turn: one that is missing is no failure",
    "libswresample.so.5": "the same",
}
"""Names of which the loader's bare words are not claimed, and why."""

COMPLETED = {
    "undefined symbol": "OSError: /env/torchaudio/lib/libtorchaudio.so: undefined symbol: _ZN3c105ErrorC1Ev",
}
"""A rule has but the words that all of them have in common; a log has the library and its symbol too."""

ONLY_TOLD = {"outside-its-pins", "cudnn-slow"}
"""Signatures of rules without a message: nothing is printed, so that there is nothing to explain."""

FILLED = {
    "package.file": "ctranslate2-4.4.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "demand.requirement": "ctranslate2==4.4.0",
    "python": "3.13",
}
"""What stands for expressions in the messages that are written in `builder/verdict/*.py`."""

FROM_DATA = {"_message(first, opener)", "one.message"}
"""Messages that come from `openers.yaml` and `combinations.yaml`."""


class Predicted(NamedTuple):
    """A message that may be predicted, and with which signature."""

    signature: str
    message: str


def known(one: Predicted) -> bool:
    """Whether the message is told as its signature, or as one that merely follows from it."""
    allowed = {one.signature, *load().signatures[one.signature].echoes}
    return bool(allowed & set(explain(one.message).ids))


# Libraries that do not load


ENDINGS = {"libcudnn_*_infer": ".so.8", "libcudnn_*_train": ".so.8", "libcudnn_*": ".so.9.1.0", "*": ".so.12"}
"""What follows the stems in an entry's `order`; the first that fits."""


def missed(opener: Opener) -> list[str]:
    """Names that an entry may be about: its own in their order, or those that its patterns fit."""
    if opener.order:
        return [
            stem + next(end for pattern, end in ENDINGS.items() if fnmatchcase(stem, pattern))
            for stem in opener.order
        ]
    return [name for name in NAMES if any(fnmatchcase(name, pattern) for pattern in opener.names)]


def causes(opener: Opener) -> Iterator[Cause]:
    """The loader's causes that an entry may have: of what fits any file, those that no other entry takes."""
    taken = {one.why for one in tables.openers() if one.files == "*"} if opener.files == "*" else set()
    return (cause for cause in Cause if opener.why == cause or (not opener.why and cause not in taken))


def printed(opener: Opener, name: str, cause: Cause) -> str:
    """The message of an entry, as `builder/verdict/loading.py` fills it."""
    stem = name.partition(".so")[0]
    return opener.message.format(
        name=name,
        names=", ".join(f"{stem}.so{end}" for end in (".9.1.0", ".9.1", ".9", "")),
        function=opener.functions.get(stem, ""),
        text=LOADER[cause].format(name=name),
    )


OPENERS = [
    pytest.param(opener, name, cause, id=f"{number}-{opener.signature}-{name}-{cause}")
    for number, opener in enumerate(tables.openers())
    for name in missed(opener) or [""]
    for cause in causes(opener)
]


@pytest.mark.parametrize(("opener", "name", "cause"), OPENERS)
def test_what_is_predicted_of_a_library_that_does_not_load_is_explained(
    opener: Opener, name: str, cause: Cause
) -> None:
    assert name, f"{opener.names} fit no name in NAMES: add one that has been missing"
    one = Predicted(opener.signature, printed(opener, name, cause))
    found = explain(one.message).ids
    alone = one == Predicted("library-not-found", LOADER[Cause.MISSING].format(name=name))
    if alone and name in BARE:
        assert found == (), "it is claimed after all: take it out of BARE"
        assert known(Predicted(one.signature, f"ImportError: {one.message}"))
    elif alone and name in NEARER:
        assert found == (NEARER[name],)
    else:
        assert known(one), (one, found)


# Packages that do not go together


def ruled() -> Iterator[Predicted]:
    combinations = data("combinations.yaml")
    for rule in [*combinations["rules"], *combinations["belonging"]["rules"].values()]:
        message = rule.get("message", "")
        yield Predicted(rule["signature"], COMPLETED.get(message, message))


RULED = [one for one in dict.fromkeys(ruled()) if one.message]


@pytest.mark.parametrize("one", RULED, ids=lambda one: one.signature)
def test_what_is_predicted_of_packages_is_explained(one: Predicted) -> None:
    assert known(one), explain(one.message).ids


def test_a_rule_without_a_message_is_of_what_prints_none() -> None:
    assert {one.signature for one in ruled() if not one.message} == ONLY_TOLD
    assert ONLY_TOLD.isdisjoint(load().signatures)


# What the code itself predicts


def written() -> Iterator[tuple[str, Predicted]]:
    """Every message of a `Finding` in `builder/verdict`, and the file that it is in."""
    for file in sorted(VERDICT.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                if ast.unparse(given["message"]) not in FROM_DATA:
                    for signature, message in pairs(given["signature"], given["message"]):
                        yield file.name, Predicted(signature, message)


def pairs(signature: ast.expr, message: ast.expr) -> Iterator[tuple[str, str]]:
    """Signature and message, each of which may depend on the same condition."""
    ids, messages = options(signature), options(message)
    assert len({len(ids), len(messages)} - {1}) <= 1
    return zip_longest(ids, messages, fillvalue=messages[0] if len(messages) == 1 else ids[0])


def options(node: ast.expr) -> list[str]:
    """The texts that an expression may be; `FILLED` says what stands for its parts."""
    if isinstance(node, ast.IfExp):
        return [*options(node.body), *options(node.orelse)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(map(part, node.values))]
    return [part(node)]


def part(node: Any) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return FILLED[ast.unparse(node.value if isinstance(node, ast.FormattedValue) else node)]


WRITTEN = [
    pytest.param(one, id=f"{file}-{number}-{one.signature}") for number, (file, one) in enumerate(written())
]


@pytest.mark.parametrize("one", WRITTEN)
def test_what_the_code_predicts_is_explained(one: Predicted) -> None:
    assert known(one), explain(one.message).ids


def test_the_messages_in_the_code_are_seen() -> None:
    files = {file for file, _ in written()}
    assert files >= {"mixing.py", "refusal.py", "wheels.py"}
    assert len(WRITTEN) >= 6


def test_a_message_that_is_not_known_would_be_noticed() -> None:
    assert not known(Predicted("no-wheel", "the wine is sour"))
    assert not known(Predicted("no-wheel", LOADER[Cause.MISSING].format(name="libcublas.so.12")))
