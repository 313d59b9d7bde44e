from __future__ import annotations

import sys
from pathlib import Path

import pytest

from builder.probe import elf

ELF = Path(__file__).parents[1] / "elf"
ENGINE = ELF / "libctranslate2-d3638643.so.4.4.0"
SHIM = ELF / "libcudnn-463fd6d5.so.8.9.7"


def test_a_library_tells_its_soname_and_what_it_needs() -> None:
    said = elf.read(ENGINE)
    assert said == elf.Elf(
        machine=62,
        interpreter="",
        soname="libctranslate2-d3638643.so.4.4.0",
        needed=("libcudnn-463fd6d5.so.8.9.7",),
    )


def test_a_program_names_its_loader() -> None:
    said = elf.read(Path(sys.executable).resolve())
    assert said is not None
    assert said.interpreter.startswith("/lib")


def test_a_python_file_is_no_elf_file() -> None:
    assert not elf.is_elf(Path(__file__))
    assert elf.is_elf(SHIM)


def test_a_missing_file_is_no_elf_file(tmp_path: Path) -> None:
    assert not elf.is_elf(tmp_path / "nothing")


@pytest.mark.parametrize("length", [6, 40, 64, 200, 600])
def test_a_file_cut_short_is_damaged_and_not_a_library_without_needs(tmp_path: Path, length: int) -> None:
    cut = tmp_path / "cut.so"
    cut.write_bytes(ENGINE.read_bytes()[:length])
    assert elf.is_elf(cut)
    assert elf.read(cut) is None


def test_a_dynamic_section_that_points_outside_the_file_is_damage() -> None:
    with pytest.raises(ValueError, match="points outside the file"):
        elf._offset([elf._Segment(1, 0, 0x1000, 0x100)], 0x1100)


def test_names_to_open_come_from_constants_and_not_from_the_dynamic_strings() -> None:
    assert elf.names_held(SHIM) == ["libcudnn_ops_infer.so.8", "libcudnn_cnn_infer.so.8"]


def test_a_name_counts_only_as_a_whole_string() -> None:
    data = b"\0/opt/libpath.so.1\0cannot open libmessage.so.1\0libsuffix.so.1.txt\0libcublas.so.12\0"
    assert elf.names_in(data) == ["libcublas.so.12"]


def test_names_keep_their_order_and_stand_once() -> None:
    data = b"\x01libnccl.so.2\0libcudnn_ops.so\0libnccl.so.2\0lib.so\0libc++.so.1\0"
    assert elf.names_in(data) == ["libnccl.so.2", "libcudnn_ops.so", "libc++.so.1"]
