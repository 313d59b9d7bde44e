from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from builder.abi.facts import Binary, Summary, WheelFacts
from builder.abi.summary import summarise
from builder.errors import BadInputError

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


# What a lock repeats


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

    assert summarise(CT2_WHEEL, path) == Summary(
        opens=(
            *("libcublas.so.12", "libcuda.so.1", "libcudnn_cnn_infer.so.8", "libcudnn_ops_infer.so.8"),
            "libmemkind.so",
        ),
        architectures=("sm_53", "sm_86", "compute_86"),
    )


def test_of_the_names_that_cudnn_9_tries_a_lock_repeats_the_one_with_the_major_version(
    tmp_path: Path,
) -> None:
    path = wheel(tmp_path, CT2_WHEEL, {f"ctranslate2.libs/{SHIM_9}": binary(SHIM_9)})

    assert summarise(CT2_WHEEL, path) == Summary(opens=("libcudnn_graph.so.9", "libcudnn_ops.so.9"))


def test_torch_tells_its_architectures_even_where_another_constant_touches_the_list(tmp_path: Path) -> None:
    assert b"ipc_hsm_70" in binary(TORCH)
    path = wheel(
        tmp_path, TORCH_WHEEL, {f"torch/lib/{TORCH}": binary(TORCH), "torch/lib/libtorch_cuda.so": b"?"}
    )

    assert summarise(TORCH_WHEEL, path).architectures == ("sm_70", "sm_75", "sm_90a", "compute_120")


def test_torch_for_cpus_has_no_architectures(tmp_path: Path) -> None:
    without_list = wheel(tmp_path, TORCH_WHEEL, {f"torch/lib/{TORCH}": binary(SHIM_8)})
    assert summarise(TORCH_WHEEL, without_list) == Summary()
    windows = "torch-2.4.1-cp311-cp311-win_amd64.whl"
    assert summarise(windows, wheel(tmp_path, windows, {"torch/lib/torch_python.dll": b""})) == Summary()


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
    assert summarise(name, path) == Summary(libraries=libraries)


def test_pyav_lists_ffmpegs_libraries_in_the_order_of_its_wheel_as_locks_have_them(tmp_path: Path) -> None:
    name = "av-14.1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    inside = ("libswscale-1.so.8", "libavcodec-2.so.61", "libx264-3.so.165", "libswresample-4.so.5")
    path = wheel(tmp_path, name, {f"av.libs/{library}": b"not read" for library in inside})
    expected = ("libswscale-1.so.8", "libavcodec-2.so.61", "libswresample-4.so.5")
    assert summarise(name, path).libraries == tuple(f"av.libs/{library}" for library in expected)


def test_imageio_ffmpeg_tells_where_its_program_is(tmp_path: Path) -> None:
    name = "imageio_ffmpeg-0.5.1-py3-none-manylinux2010_x86_64.whl"
    program = "imageio_ffmpeg/binaries/ffmpeg-linux64-v4.2.2"
    path = wheel(tmp_path, name, {"imageio_ffmpeg/binaries/README.md": b"", program: b"not read"})

    assert summarise(name, path) == Summary(binaries=(program,))


@pytest.mark.parametrize(
    "filename", ["numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.whl", "julius-0.2.7.tar.gz"]
)
def test_of_other_distributions_nothing_is_read(filename: str) -> None:
    assert summarise(filename, Path("absent")) == Summary()


def test_a_library_cut_short_is_one_error_that_names_it(tmp_path: Path) -> None:
    member = f"ctranslate2.libs/{ENGINE}"
    path = wheel(tmp_path, CT2_WHEEL, {member: binary(ENGINE)[:3000]})

    with pytest.raises(BadInputError) as caught:
        summarise(CT2_WHEEL, path)

    (fault,) = caught.value.faults
    assert fault.place == f"{CT2_WHEEL} {member}"
    assert "cannot be read as an ELF file" in fault.cause
    assert "Fetch the wheel again" in fault.fix


def test_a_name_that_is_no_wheels_name_is_one_error() -> None:
    with pytest.raises(
        BadInputError, match=r"torch\.whl: is not the name of a wheel: .*Give the file the name"
    ):
        summarise("torch.whl", Path("absent"))


# Records


def test_a_summary_survives_json_and_empty_fields_are_left_out() -> None:
    facts = Summary(opens=("libcuda.so.1",), architectures=("sm_86",))

    assert facts.to_json() == {"opens": ["libcuda.so.1"], "architectures": ["sm_86"]}
    assert Summary.from_json(facts.to_json()) == facts


def test_the_facts_of_a_wheel_survive_json_and_defaults_are_left_out() -> None:
    library = Binary(
        path="a/liba.so",
        needed=("libc.so.6",),
        requires={"libc.so.6": ("GLIBC_2.17",)},
        opens=(("libb.so.1", "libb.so"), ("libc.so",)),
        executable_stack=True,
    )
    facts = WheelFacts(
        file=CT2_WHEEL, sha256="0" * 64, binaries=(library, Binary(path="b")), cuda="12.1", gpu=("sm_86",)
    )

    text = json.dumps(facts.to_json())
    assert WheelFacts.from_json(json.loads(text)) == facts
    assert json.loads(text)["binaries"][0]["opens"] == [["libb.so.1", "libb.so"], "libc.so"]
    assert json.loads(text)["binaries"][1] == {"path": "b"}


def test_facts_of_another_format_or_with_an_unknown_field_are_refused() -> None:
    plain = WheelFacts(file=CT2_WHEEL, sha256="0" * 64).to_json()

    with pytest.raises(ValueError, match="its format is 99"):
        WheelFacts.from_json({**plain, "format": 99})
    with pytest.raises(TypeError, match="colour"):
        WheelFacts.from_json({**plain, "colour": "red"})
    with pytest.raises(TypeError, match="colour"):
        WheelFacts.from_json({**plain, "binaries": [{"path": "a", "colour": "red"}]})
