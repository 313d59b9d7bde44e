from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.abi.elf import read_elf
from builder.abi.facts import Summary
from builder.abi.fatbin import architectures
from builder.abi.harvest import harvest, opened
from builder.errors import BadInputError, CuveeError

ELF = Path(__file__).parents[1] / "elf"
ENGINE = "libctranslate2-d3638643.so.4.4.0"
SHIM_8 = "libcudnn-463fd6d5.so.8.9.7"
SHIM_9 = "libcudnn-74a4c495.so.9.1.0"
TORCH = "libtorch_python.so"

CT2_WHEEL = "ctranslate2-4.4.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
TORCH_WHEEL = "torch-2.4.1-cp311-cp311-manylinux1_x86_64.whl"


def wheel(folder: Path, filename: str, files: dict[str, bytes]) -> Path:
    path = folder / filename
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def binary(name: str) -> bytes:
    return (ELF / name).read_bytes()


def opened_by(name: str) -> set[str]:
    return set(opened(read_elf(binary(name), name)))


def test_an_elf_file_tells_its_own_name_and_whom_it_needs() -> None:
    facts = read_elf(binary(ENGINE), ENGINE)

    assert facts.soname == ENGINE
    assert facts.needed == (SHIM_8,)


def test_whole_names_among_the_constants_are_opened_and_paths_and_messages_are_not() -> None:
    assert opened_by(ENGINE) == {"libcublas.so.12", "libcuda.so.1", "libmemkind.so"}


def test_the_name_of_a_symbol_version_is_not_opened() -> None:
    assert b"libcudnn.so.8\0" in binary(SHIM_8)
    assert opened_by(SHIM_8) == {"libcudnn_ops_infer.so.8", "libcudnn_cnn_infer.so.8"}


def test_names_made_by_templates_get_the_librarys_own_major_version() -> None:
    assert opened_by(SHIM_9) == {"libcudnn_graph.so.9", "libcudnn_ops.so.9"}


def test_ctranslate2_tells_what_it_opens_and_its_gpu_code(tmp_path: Path) -> None:
    path = wheel(
        tmp_path,
        CT2_WHEEL,
        {
            "ctranslate2/_ext.cpython-311-x86_64-linux-gnu.so": b"not read",
            f"ctranslate2.libs/{ENGINE}": binary(ENGINE),
            f"ctranslate2.libs/{SHIM_8}": binary(SHIM_8),
        },
    )

    assert harvest(CT2_WHEEL, path) == Summary(
        opens=(
            *("libcublas.so.12", "libcuda.so.1", "libcudnn_cnn_infer.so.8", "libcudnn_ops_infer.so.8"),
            "libmemkind.so",
        ),
        architectures=("sm_53", "sm_86", "compute_86"),
    )


def test_torch_tells_its_architectures_even_where_another_constant_touches_the_list(tmp_path: Path) -> None:
    assert b"ipc_hsm_70" in binary(TORCH)
    path = wheel(
        tmp_path, TORCH_WHEEL, {f"torch/lib/{TORCH}": binary(TORCH), "torch/lib/libtorch_cuda.so": b"?"}
    )

    assert harvest(TORCH_WHEEL, path).architectures == ("sm_70", "sm_75", "sm_90a", "compute_120")


def test_torch_for_cpus_has_no_architectures(tmp_path: Path) -> None:
    without_list = wheel(tmp_path, TORCH_WHEEL, {f"torch/lib/{TORCH}": binary(SHIM_8)})
    assert harvest(TORCH_WHEEL, without_list) == Summary()
    windows = "torch-2.4.1-cp311-cp311-win_amd64.whl"
    assert harvest(windows, wheel(tmp_path, windows, {"torch/lib/torch_python.dll": b""})) == Summary()


def test_nvidia_wheels_list_their_libraries_unread(tmp_path: Path) -> None:
    name = "nvidia_cudnn_cu12-8.9.2.26-py3-none-manylinux1_x86_64.whl"
    path = wheel(
        tmp_path,
        name,
        {
            "nvidia/cudnn/lib/libcudnn.so.8": b"not read",
            "nvidia/cudnn/lib/libcudnn_ops_infer.so.8": b"not read",
            "nvidia/cudnn/lib/__init__.py": b"",
            "nvidia/cudnn/include/libcudnn.h": b"",
            "nvidia_cudnn_cu12.libs/libother.so": b"",
        },
    )

    libraries = ("nvidia/cudnn/lib/libcudnn.so.8", "nvidia/cudnn/lib/libcudnn_ops_infer.so.8")
    assert harvest(name, path) == Summary(libraries=libraries)


def test_imageio_ffmpeg_tells_where_its_program_is(tmp_path: Path) -> None:
    name = "imageio_ffmpeg-0.5.1-py3-none-manylinux2010_x86_64.whl"
    program = "imageio_ffmpeg/binaries/ffmpeg-linux64-v4.2.2"
    path = wheel(tmp_path, name, {"imageio_ffmpeg/binaries/README.md": b"", program: b"not read"})

    assert harvest(name, path) == Summary(binaries=(program,))


@pytest.mark.parametrize(
    "filename", ["numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.whl", "julius-0.2.7.tar.gz"]
)
def test_of_other_distributions_nothing_is_read(filename: str) -> None:
    assert harvest(filename, Path("absent")) == Summary()


def test_facts_survive_json_and_empty_ones_are_left_out() -> None:
    facts = Summary(opens=("libcuda.so.1",), architectures=("sm_86",))

    assert facts.to_json() == {"opens": ["libcuda.so.1"], "architectures": ["sm_86"]}
    assert Summary.from_json(facts.to_json()) == facts


def test_a_library_cut_short_is_one_error_that_names_it(tmp_path: Path) -> None:
    member = f"ctranslate2.libs/{ENGINE}"
    path = wheel(tmp_path, CT2_WHEEL, {member: binary(ENGINE)[:3000]})

    with pytest.raises(BadInputError) as caught:
        harvest(CT2_WHEEL, path)

    (fault,) = caught.value.faults
    assert fault.place == f"{CT2_WHEEL} {member}"
    assert "cannot be read as an ELF file" in fault.cause
    assert "Fetch the wheel again" in fault.fix


def test_a_name_that_is_no_wheels_name_is_one_error() -> None:
    with pytest.raises(
        BadInputError, match=r"torch\.whl: is not the name of a wheel: .*Give the file the name"
    ):
        harvest("torch.whl", Path("absent"))


@pytest.mark.parametrize("name", [ENGINE, SHIM_8, SHIM_9, TORCH])
def test_no_truncation_of_a_library_is_a_traceback(name: str) -> None:
    whole = binary(name)
    for keep in range(0, len(whole), 31):
        _facts_or_one_error(whole[:keep])


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=40))
def test_no_damage_to_a_library_is_a_traceback(damage: list[tuple[int, int]]) -> None:
    content = bytearray(binary(ENGINE))
    for place, value in damage:
        content[place % len(content)] = value
    _facts_or_one_error(bytes(content))


def _facts_or_one_error(data: bytes) -> None:
    try:
        library = read_elf(data, "x.so")
        opened(library)
        architectures(library.gpu_code, "x.so")
    except CuveeError as error:
        assert len(error.faults) == 1  # noqa: PT017 - some damage hits what nothing reads


def test_machine_code_comes_before_ptx_and_each_architecture_once() -> None:
    code = read_elf(binary(ENGINE), ENGINE).gpu_code

    assert architectures(code, ENGINE) == ("sm_53", "sm_86", "compute_86")
    assert architectures(code + code, ENGINE) == ("sm_53", "sm_86", "compute_86")
    assert architectures(b"", ENGINE) == ()


@pytest.mark.parametrize(
    "section",
    [
        b"12345678" * 4,
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 999),
        struct.pack("<IHHQ", 0xBA55ED50, 1, 0, 0),
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 16) + struct.pack("<HHIQ", 2, 0x101, 0, 0),
        b"\x50\xed\x55\xba",
    ],
    ids=["no magic", "past its end", "no header", "an entry without an end", "cut in its header"],
)
def test_gpu_code_of_another_form_is_one_error(section: bytes) -> None:
    with pytest.raises(BadInputError, match=r"x\.so: its GPU code cannot be read: .*newer than this reader"):
        architectures(section, "x.so")
