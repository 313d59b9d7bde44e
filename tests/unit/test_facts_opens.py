from __future__ import annotations

import io
from pathlib import Path

import pytest

from builder.abi import content, opens
from builder.abi.content import Content, Part
from builder.abi.elf import Elf, read_elf
from builder.abi.opens import LONGEST, opened
from builder.errors import BadInputError

ELF = Path(__file__).parents[1] / "elf"
ENGINE = "libctranslate2-d3638643.so.4.4.0"
SHIM_8 = "libcudnn-463fd6d5.so.8.9.7"
SHIM_9 = "libcudnn-74a4c495.so.9.1.0"

TEMPLATES = b"%s.%d.%d.%d\0%s.%d.%d\0%s.%d\0"


def opened_by(name: str) -> tuple[tuple[str, ...], ...]:
    data = (ELF / name).read_bytes()
    library = Content(file=io.BytesIO(data), size=len(data))
    return opened(library, read_elf(library, name), name, name)


def opened_in(
    constants: bytes,
    *,
    soname: str = "libx.so.1",
    needed: tuple[str, ...] = (),
    file: str = "libx.so.1",
    version: str = "",
    cuda: str = "",
) -> tuple[tuple[str, ...], ...]:
    elf = Elf(
        machine="x86_64",
        soname=soname,
        needed=needed,
        constants=(Part(offset=0, size=len(constants)),),
    )
    library = Content(file=io.BytesIO(constants), size=len(constants))
    return opened(library, elf, f"w.whl lib/{file}", file, version, cuda)


def test_whole_names_among_the_constants_are_opened_and_paths_and_messages_are_not() -> None:
    assert opened_by(ENGINE) == (("libcublas.so.12",), ("libcuda.so.1",), ("libmemkind.so",))


def test_the_name_of_a_symbol_version_is_not_opened() -> None:
    assert b"libcudnn.so.8\0" in (ELF / SHIM_8).read_bytes()
    assert opened_by(SHIM_8) == (("libcudnn_cnn_infer.so.8",), ("libcudnn_ops_infer.so.8",))


def test_cudnn_9_tries_its_own_release_and_then_less_and_less_of_it() -> None:
    assert opened_by(SHIM_9) == (
        (
            *("libcudnn_graph.so.9.1.0", "libcudnn_graph.so.9.1", "libcudnn_graph.so.9"),
            "libcudnn_graph.so",
        ),
        ("libcudnn_ops.so.9.1.0", "libcudnn_ops.so.9.1", "libcudnn_ops.so.9", "libcudnn_ops.so"),
    )


def test_nvidias_own_cudnn_9_has_its_release_from_the_wheels_version() -> None:
    constants = TEMPLATES + b"libcudnn_cnn.so\0"
    front = "libcudnn.so.9"

    assert opened_in(constants, soname=front, file=front, version="9.10.2.21") == (
        ("libcudnn_cnn.so.9.10.2", "libcudnn_cnn.so.9.10", "libcudnn_cnn.so.9", "libcudnn_cnn.so"),
    )


def test_only_cudnns_names_are_made_by_its_templates_and_only_where_they_stand() -> None:
    both = b"libcudnn_cnn.so\0libcuda.so\0"

    assert opened_in(TEMPLATES + both, version="9.1.0.70")[0] == ("libcuda.so",)
    assert opened_in(both, version="9.1.0.70") == (("libcuda.so",), ("libcudnn_cnn.so",))


def test_a_template_for_the_major_version_gets_that_of_the_wheels_cuda() -> None:
    constants = b"libnvrtc.so.%d\0libnvrtc.so\0libother.so.%d\0"

    assert opened_in(constants, cuda="12") == (("libnvrtc.so.12", "libnvrtc.so"), ("libother.so.12",))
    assert opened_in(constants) == (("libnvrtc.so",),)


def test_a_librarys_own_names_and_what_is_linked_are_not_opened() -> None:
    constants = b"libx-0123abcd.so.1.2\0libx.so.1.2\0libx.so.1\0libx.so\0libx_more.so\0liby.so.3\0libz.so\0"
    own = "libx-0123abcd.so.1.2"

    found = opened_in(constants, soname=own, file=own, needed=("liby.so.3",))
    assert found == (("libx_more.so",), ("libz.so",))


def test_without_a_soname_the_files_name_is_its_own() -> None:
    assert opened_in(b"libx.so\0libz.so\0", soname="", file="libx.so") == (("libz.so",),)


@pytest.mark.parametrize(
    "constant",
    [
        *(b"libx.dll\0", b"libx.dylib\0", b"cudnn64_9.dll\0", b"/opt/libz.so\0", b"no libz.so\0"),
        *(b"libz.so", b"libz.so.1.txt\0", b"libz.so.\0", b"lib.so\0", b"libz.so.1%d\0", b"lib%s.so\0"),
    ],
)
def test_what_is_no_name_of_a_library_here_is_not_opened(constant: bytes) -> None:
    assert opened_in(b"\0" + constant + b"\1") == ()


def test_a_name_across_two_pieces_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "PIECE", 2000)
    names = b"liba.so\0"
    for before in range(2000 - len(names), 2002):
        assert opened_in(bytes(before) + names + bytes(LONGEST)) == (("liba.so",),)


def test_constants_full_of_names_are_an_error_and_no_endless_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opens, "MOST_ENDINGS", 100)
    assert opened_in(b".so\0" * 100) == ()
    with pytest.raises(BadInputError, match="its constants cannot be read: they hold more than 100 names"):
        opened_in(b".so\0" * 1000)


def test_constants_outside_the_file_are_an_error_that_names_it() -> None:
    elf = Elf(machine="x86_64", constants=(Part(offset=1, size=9),))
    with pytest.raises(BadInputError, match=r"w\.whl x\.so: its constants cannot be read: it ends at byte 3"):
        opened(Content(file=io.BytesIO(b"abc"), size=3), elf, "w.whl x.so", "x.so")
