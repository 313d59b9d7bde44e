from __future__ import annotations

from typing import TYPE_CHECKING

from builder.probe import elf, opened, processes
from builder.probe.elf import Elf
from builder.probe.opened import Attempt
from builder.probe.place import Place
from builder.probe.processes import Done, Manner

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FRONT_9 = "libcudnn-74a4c495.so.9.1.0"


def opens(name: str) -> Attempt:
    return Attempt(name, ["/somewhere/" + name], "")


def fails(name: str) -> Attempt:
    return Attempt(name, [], name + ": cannot open shared object file: No such file or directory")


def test_what_it_is_linked_with_and_its_own_name_are_not_opened() -> None:
    said = [Elf(62, "", "libctranslate2.so.4", ("libcudnn-463fd6d5.so.8.9.7",))]
    held = ["libctranslate2.so.4", "libcudnn-463fd6d5.so.8.9.7", "libcublas.so.12", "libcublas.so.12"]
    assert opened.harvest(held, said) == ["libcublas.so.12"]


def test_the_driver_is_not_asked_for() -> None:
    assert opened.harvest(["libcuda.so.1"], []) == []


def test_the_front_of_cudnn_9_tries_its_own_version_first() -> None:
    assert opened.spellings(FRONT_9, "libcudnn_ops.so") == [
        "libcudnn_ops.so.9.1.0",
        "libcudnn_ops.so.9.1",
        "libcudnn_ops.so.9",
        "libcudnn_ops.so",
    ]


def test_a_whole_name_and_other_files_names_are_taken_as_they_stand() -> None:
    assert opened.spellings(FRONT_9, "libnccl.so.2") == ["libnccl.so.2"]
    assert opened.spellings("libctranslate2-d3638643.so.4.5.0", "libmemkind.so") == ["libmemkind.so"]


def test_one_spelling_that_opens_is_enough() -> None:
    assert opened.judge([fails("libcudnn_ops.so.9.1"), opens("libcudnn_ops.so.9")]).outcome == "passed"


def test_an_open_sub_library_does_not_stand_for_another() -> None:
    finding = opened.judge([opens("libcudnn_ops.so.9"), fails("libcudnn_cnn.so.9")])
    assert finding.outcome == "failed"
    assert list(finding.details["failed"]) == ["libcudnn_cnn.so.9"]


def test_a_missing_library_fails_with_the_loaders_own_words() -> None:
    finding = opened.judge([fails("libcublas.so.12")])
    assert finding.reason == "libcublas.so.12: cannot open shared object file: No such file or directory"


def test_what_is_optional_is_reported_and_does_not_fail() -> None:
    finding = opened.judge([fails("libnccl.so.2"), fails("libmkl_avx2.so.2"), opens("libcublas.so.12")])
    assert finding.outcome == "passed"
    assert list(finding.details["optional"]) == ["libnccl.so.2", "libmkl_avx2.so.2"]
    assert finding.reason == "1 of 3 libraries open"


def test_an_optional_library_of_another_version_is_not_excused() -> None:
    assert opened.judge([fails("libnccl.so.3")]).outcome == "failed"


def test_what_ctranslate2_itself_dies_of_is_told_before_the_loaders_words() -> None:
    words = "terminate called …;   what():  Library libcublas.so.12 is not found or cannot be loaded"
    finding = opened.judge([fails("libcublas.so.12")], words)
    assert finding.reason.startswith(words)
    assert "libcublas.so.12: cannot open shared object file" in finding.reason


def test_a_ctranslate2_that_dies_fails_though_all_names_open() -> None:
    assert opened.judge([opens("libcublas.so.12")], "Aborted").outcome == "failed"
    assert opened.judge([opens("libcublas.so.12")], "").outcome == "passed"


def binaries(folder: Path) -> Place:
    for file in (
        "ctranslate2/_ext.cpython-311-x86_64-linux-gnu.so",
        "ctranslate2.libs/libctranslate2-d3.so.4",
    ):
        (folder / file).parent.mkdir()
        (folder / file).touch()
    return Place(folder, (folder,), ())


def test_ctranslate2_is_made_to_open_cublas_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def child(_manner: Manner, *words: str) -> Done:
        asked.append(words)
        return Done(134, "", "terminate called\n  what():  Library x is not found\n")

    monkeypatch.setattr(processes, "child", child)
    monkeypatch.setattr(elf, "names_held", lambda _path: [])
    finding = opened.check(binaries(tmp_path))
    [(verb, extension, engine)] = [words for words in asked if words[0] == "cublas"]
    assert verb == "cublas"
    assert extension.endswith("_ext.cpython-311-x86_64-linux-gnu.so")
    assert engine.endswith("libctranslate2-d3.so.4")
    assert "what():  Library x is not found" in finding.reason
