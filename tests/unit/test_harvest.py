from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.abi.content import Content, Part
from builder.abi.demands import torch_demanded
from builder.abi.elf import Elf
from builder.abi.facts import Binary, WheelFacts
from builder.abi.harvest import harvest, installed
from builder.abi.torch import cuda_release, listed_architectures
from builder.errors import BadInputError
from builder.wheels import members
from builder.wheels.directory import Member
from builder.wheels.filename import wheel_name

ELF = Path(__file__).parents[1] / "elf"
ENGINE = "libctranslate2-d3638643.so.4.4.0"
SHIM_8 = "libcudnn-463fd6d5.so.8.9.7"
SHIM_9 = "libcudnn-74a4c495.so.9.1.0"
TORCH = "libtorch_python.so"
PROGRAM = "program"

WHEEL = "vat-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
TORCH_WHEEL = "torch-2.4.1-cp311-cp311-manylinux1_x86_64.whl"
HASH = "0" * 64


def binary(name: str) -> bytes:
    return (ELF / name).read_bytes()


def wheel(folder: Path, filename: str, files: dict[str, bytes]) -> Path:
    path = folder / filename
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def facts_of(
    folder: Path, files: dict[str, bytes], filename: str = WHEEL, most: int | None = None
) -> WheelFacts:
    return harvest(filename, HASH, wheel(folder, filename, files), most=most)


def paths(facts: WheelFacts) -> list[str]:
    return [one.path for one in facts.binaries]


def test_everything_that_a_binary_says_is_harvested(tmp_path: Path) -> None:
    files = {
        f"ctranslate2.libs/{ENGINE}": binary(ENGINE),
        f"ctranslate2.libs/{SHIM_8}": binary(SHIM_8),
        "bin/tool": binary(PROGRAM),
    }

    assert facts_of(tmp_path, files) == WheelFacts(
        file=WHEEL,
        sha256=HASH,
        binaries=(
            Binary(
                path="bin/tool",
                soname=PROGRAM,
                needed=("libsystem.so.6",),
                runpath=("$ORIGIN/../lib", "/opt/lib"),
                requires={"libsystem.so.6": ("CXXABI_FLOAT128", "GLIBC_2.17", "GLIBC_ABI_DT_RELR")},
                executable_stack=True,
                interpreter="/lib64/ld-linux-x86-64.so.2",
            ),
            Binary(
                path=f"ctranslate2.libs/{ENGINE}",
                soname=ENGINE,
                needed=(SHIM_8,),
                rpath=("ctranslate2.libs",),
                requires={SHIM_8: ("libcudnn.so.8",)},
                opens=(("libcublas.so.12",), ("libcuda.so.1",), ("libmemkind.so",)),
                gpu=("sm_53", "sm_86", "compute_86"),
                gpu_cuda="12.2",
            ),
            Binary(
                path=f"ctranslate2.libs/{SHIM_8}",
                soname=SHIM_8,
                provides=("libcudnn.so.8",),
                opens=(("libcudnn_cnn_infer.so.8",), ("libcudnn_ops_infer.so.8",)),
            ),
        ),
    )


def test_binaries_are_known_by_their_first_bytes_and_not_by_their_names(tmp_path: Path) -> None:
    files = {
        "a/no_ending": binary(SHIM_8),
        "a/lib.so.script": b"INPUT(-lz)" * 20,
        "a/empty.so": b"",
        "a/magic_alone.so": b"\x7fELF",
        "a/data.bin": bytes(1000),
    }
    assert paths(facts_of(tmp_path, files)) == ["a/no_ending"]


def test_files_that_are_texts_by_name_are_not_even_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = wheel(
        tmp_path, WHEEL, {f"a/{i}.{end}": b"x" * 99 for i in range(9) for end in ("py", "h", "JSON")}
    )

    def forbidden(_: members.Archive, member: Member) -> Iterator[bytes]:
        raise AssertionError(member.path)

    monkeypatch.setattr(members.Archive, "pieces", forbidden)
    assert harvest(WHEEL, HASH, path).binaries == ()


def test_paths_are_those_after_installation() -> None:
    assert installed("vat-1.0.data/purelib/a/b.so") == "a/b.so"
    assert installed("vat-1.0.data/platlib/b.so") == "b.so"
    assert installed("vat-1.0.data/data/lib/b.so") == "../../../lib/b.so"
    assert installed("vat-1.0.data/scripts/tool") == "../../../bin/tool"
    assert installed("vat/data/lib/b.so") == "vat/data/lib/b.so"
    assert installed("vat.data/b.so") == "vat.data/b.so"


def test_a_binary_of_another_kind_is_told_unread(tmp_path: Path) -> None:
    other = bytearray(binary(SHIM_8))
    other[4] = 1

    assert facts_of(tmp_path, {"a/lib32.so": bytes(other)}).binaries == (
        Binary(path="a/lib32.so", machine="62", unread="not 64 bits, little-endian"),
    )


def test_nvidias_own_cudnn_gets_its_release_and_its_cuda_from_the_wheels_name(tmp_path: Path) -> None:
    front = binary(SHIM_9).replace(SHIM_9.encode(), b"libcudnn.so.9\0".ljust(len(SHIM_9), b"\0"))
    name = "nvidia_cudnn_cu12-9.10.2.21-py3-none-manylinux_2_27_x86_64.whl"
    facts = facts_of(tmp_path, {"nvidia/cudnn/lib/libcudnn.so.9": front}, name)

    assert facts.binaries[0].soname == "libcudnn.so.9"
    assert facts.binaries[0].opens[1][:2] == ("libcudnn_ops.so.9.10.2", "libcudnn_ops.so.9.10")
    assert wheel_name(name).cuda == "12"
    assert wheel_name(WHEEL).cuda == ""


# Members that are too large


def test_larger_members_are_told_unread_but_for_those_of_torch_that_are_always_read(tmp_path: Path) -> None:
    files = {
        f"torch/lib/{TORCH}": binary(TORCH),
        "torch/lib/libtorch_cpu.so": binary(ENGINE),
        "torch/lib/libtorch_cuda.so": binary(ENGINE),
        "torch/lib/libnot_even_elf.so.1": bytes(range(256)) * 40,
        "torch/bin/protoc": binary(PROGRAM),
        "torch/bin/data": bytes(range(256)) * 40,
    }
    facts = facts_of(tmp_path, files, TORCH_WHEEL, most=100)

    unread = {one.path: one.unread for one in facts.binaries}
    larger = "larger than 100 bytes"
    assert unread == {
        "torch/bin/protoc": larger,
        "torch/lib/libnot_even_elf.so.1": larger,
        "torch/lib/libtorch_cpu.so": larger,
        "torch/lib/libtorch_cuda.so": "",
        f"torch/lib/{TORCH}": "",
    }
    assert facts.gpu == ("sm_70", "sm_75", "sm_90a", "compute_120")
    assert not facts.complete
    assert facts_of(tmp_path, files, TORCH_WHEEL, most=100_000).complete


def test_a_binary_that_lies_in_a_temporary_file_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"a/{name}": binary(name) for name in (ENGINE, SHIM_8, SHIM_9, TORCH, PROGRAM)}
    in_memory = facts_of(tmp_path, files)
    monkeypatch.setattr(members, "IN_MEMORY", 1)

    assert facts_of(tmp_path, files) == in_memory


# What wheels say of torch


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("cuda: Optional[str] = '12.1'\n", "12.1"),
        ("__version__ = '2.15.0'\ncuda = \"13.2\"\nhip = None\n", "13.2"),
        ("cuda: Optional[str] = None\n", ""),
        ("not_cuda = '12.1'\n", ""),
    ],
)
def test_torch_tells_its_cuda_in_version_py(text: str, cuda: str, tmp_path: Path) -> None:
    assert cuda_release(text.encode()) == cuda
    assert facts_of(tmp_path, {"torch/version.py": text.encode()}, TORCH_WHEEL).cuda == cuda


@pytest.mark.parametrize(
    ("constants", "listed"),
    [
        (b"\0sm_50 sm_90a\0", ("sm_50", "sm_90a")),
        (b"ipc_hsm_70 compute_120\0", ("sm_70", "compute_120")),
        (b"\0sm_50 is old\0sm_70\0sm_80 sm_86\0", ("sm_80", "sm_86")),
        (b"\0for sm_70 sm_75\0", ("sm_70", "sm_75")),
        (b"sm_50 sm_60", ()),
        (b"sm_ \0sm_x\0compute\0", ()),
    ],
)
def test_the_list_of_architectures_is_the_longest_that_ends_a_text(
    constants: bytes, listed: tuple[str, ...]
) -> None:
    content = Content(file=io.BytesIO(constants), size=len(constants))
    elf = Elf(machine="x86_64", constants=(Part(offset=0, size=len(constants)),))
    assert listed_architectures(content, elf, "x.so") == listed


@pytest.mark.parametrize(
    ("lines", "bound"),
    [
        (["torch (==2.4.1)"], "==2.4.1"),
        (["torch~=2.8.0", "torchaudio==2.8.0"], "~=2.8.0"),
        (["Torch >=2.0 ; python_version >= '3.9'", "torch <3"], "<3,>=2.0"),
        (["torch"], ""),
        (["torch >=1.10 ; extra == 'torch'"], ""),
        (["torch ==1.0 ; sys_platform == 'win32'", "torch ==2.0 ; python_version < '3.8'"], ""),
        (["torch ==2.0 ; python_version == '3.11'"], "==2.0"),
        (["torch >=x", "torch ; " + "(" * 5000, "torch ; extra ~= 'x'"], ""),
        ([], ""),
    ],
)
def test_the_bounds_that_hold_here_are_the_demand_of_torch(lines: list[str], bound: str) -> None:
    metadata = "\n".join(["Name: vat", *(f"Requires-Dist: {line}" for line in lines), "", "torch==9.9"])
    assert torch_demanded(metadata.encode(), "3.11") == bound


def test_the_demand_is_read_from_the_wheels_metadata_and_no_other_file(tmp_path: Path) -> None:
    files = {
        "vat-1.0.dist-info/METADATA": b"Requires-Dist: torch==2.4.1\n",
        "vat/vendored-2.0.dist-info/METADATA": b"Requires-Dist: torch==9.9\n",
    }
    assert facts_of(tmp_path, files).torch == "==2.4.1"


def test_the_python_of_a_wheel_is_the_oldest_that_it_is_for() -> None:
    assert wheel_name(WHEEL).python == "3.11"
    assert wheel_name("vat-1.0-cp38-abi3-manylinux_2_17_x86_64.whl").python == "3.8"
    assert wheel_name("vat-1.0-py3-none-any.whl").python == ""


def test_a_name_that_is_no_wheels_name_is_one_error() -> None:
    with pytest.raises(BadInputError, match=r"vat\.whl: is not the name of a wheel"):
        harvest("vat.whl", HASH, Path("absent"))
