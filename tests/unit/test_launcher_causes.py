"""Images know cuvee's signatures as plain JSON."""

from __future__ import annotations

import json
import re

import pytest

from builder.explain.signatures import load
from builder.launcher import causes
from builder.launcher.deaths import died
from builder.render.causes import causes as rendered

ABORTED = (
    "Could not load library libcudnn_ops_infer.so.8. Error: libcudnn_ops_infer.so.8: cannot open shared "
    "object file: No such file or directory"
)


def test_the_committed_file_is_what_is_rendered() -> None:
    assert causes.FILE.read_text(encoding="utf-8") == rendered()


def test_every_signature_is_in_it_the_general_ones_last() -> None:
    ids = [one["id"] for one in json.loads(rendered())["causes"]]
    assert sorted(ids) == sorted(load().signatures)
    assert load().signatures[ids[-1]].general


def test_its_patterns_are_of_python_3_9() -> None:
    for one in json.loads(rendered())["causes"]:
        for pattern in one["patterns"]:
            re.compile(pattern)
            # Possessive quantifiers and atomic groups came with 3.11.
            outside = re.sub(r"\\.|\[[^\]]*\]", "x", pattern)
            assert not re.search(r"[?*+}]\+|\(\?>", outside), pattern


def test_a_cause_names_the_library_of_the_message() -> None:
    found = causes.find(ABORTED)
    assert found
    assert found.id == "cudnn8-not-found"
    assert "libcudnn_ops_infer.so.8" in found.cause
    assert found.fix


def test_a_message_that_was_wrapped_is_known_too() -> None:
    found = causes.find(ABORTED.replace(" Error: ", "\nError: "))
    assert found
    assert found.id == "cudnn8-not-found"


def test_a_full_gpu_has_the_launchers_own_remedies() -> None:
    found = causes.find("RuntimeError: CUDA failed with error out of memory")
    assert found
    assert "--in-turn" in found.fix
    assert "--resume" in found.fix


def test_what_is_not_known_has_no_cause() -> None:
    assert causes.find("the wine is sour") is None
    assert causes.find("") is None


def test_without_the_file_nothing_is_known_and_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "FILE", causes.FILE.with_name("absent.json"))
    causes._book.cache_clear()
    try:
        assert causes.find(ABORTED) is None
    finally:
        causes._book.cache_clear()


# Deaths


def test_an_abort_is_told_with_the_cause_of_its_last_words() -> None:
    death = died(-6, f"loading\n{ABORTED}\n", hung=0.0, kills_before=0)
    assert (death.code, death.signal) == (134, "SIGABRT")
    assert "SIGABRT (exit code 134)" in death.told()
    assert "cuDNN 8" in death.why()


def test_an_unknown_death_has_its_last_words() -> None:
    death = died(-11, "one\ntwo\nthree\n", hung=0.0, kills_before=0)
    assert death.why() == "its last words: two; three"
    assert died(3, "", hung=0.0, kills_before=0).told() == "it ended in mid-work with exit code 3"


def test_a_kill_is_the_kernels_only_where_the_kernel_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.launcher.deaths.memory_kills", lambda: 4)
    assert died(-9, "", hung=0.0, kills_before=3).told() == "the kernel killed it, because memory ran out"
    assert "which the kernel does" in died(-9, "", hung=0.0, kills_before=4).told()


def test_a_hang_that_we_ended_is_no_kill() -> None:
    death = died(-9, "", hung=600.0, kills_before=-1)
    assert death.told() == "it did nothing for 600 s and was ended"
    assert not death.out_of_memory
    assert "--timeout-idle" in death.fix()
