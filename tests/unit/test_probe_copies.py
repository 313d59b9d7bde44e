from __future__ import annotations

from pathlib import Path

import pytest

from builder.probe import copies
from builder.probe.place import Place

ELF = Path(__file__).parents[1] / "elf"
SHIM_8 = (ELF / "libcudnn-463fd6d5.so.8.9.7").read_bytes()
SHIM_9 = (ELF / "libcudnn-74a4c495.so.9.1.0").read_bytes()


def check(tmp_path: Path, files: dict[str, bytes], *also: Path) -> tuple[str, str]:
    for name, content in files.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    finding = copies.check(Place(tmp_path, (tmp_path / "site",), (), also))
    return finding.outcome, finding.reason


def test_different_libraries_are_no_copies(tmp_path: Path) -> None:
    found = check(tmp_path, {"a/libcudnn.so.8": SHIM_8, "b/libcudnn.so.9": SHIM_9})
    assert found == ("passed", "2 CUDA libraries, each once")


def test_one_soname_in_two_places_fails(tmp_path: Path) -> None:
    outcome, reason = check(tmp_path, {"a/libcudnn.so.8": SHIM_8, "b/libcudnn.so.8": SHIM_8 + b"\0"})
    assert outcome == "failed"
    assert reason.startswith("libcudnn-463fd6d5.so.8.9.7 is in ")


def test_a_copy_under_another_name_fails(tmp_path: Path) -> None:
    _, reason = check(tmp_path, {"a/libcudnn.so.8": SHIM_8, "b/libcudnn-0123abcd.so.8": SHIM_8})
    assert "the same file is in" in reason


def test_a_second_copy_elsewhere_is_found_when_it_is_named(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "libcudnn.so.8").write_bytes(SHIM_8)
    assert check(tmp_path, {"a/libcudnn.so.8": SHIM_8})[0] == "passed"
    assert check(tmp_path, {"a/libcudnn.so.8": SHIM_8}, elsewhere)[0] == "failed"


def test_a_link_is_no_copy(tmp_path: Path) -> None:
    check(tmp_path, {"a/libcudnn.so.8": SHIM_8})
    (tmp_path / "site" / "libcudnn.so.8").symlink_to("a/libcudnn.so.8")
    assert check(tmp_path, {})[0] == "passed"


def test_the_copy_that_tritons_profiler_brings_is_known(tmp_path: Path) -> None:
    files = {
        "nvidia/cuda_cupti/lib/libcupti.so.12": SHIM_8,
        "triton/backends/nvidia/lib/cupti/libcupti.so": SHIM_8,
    }
    assert check(tmp_path, files)[0] == "passed"


def test_an_environment_without_cuda_is_skipped(tmp_path: Path) -> None:
    assert check(tmp_path, {"a/libcurl.so.4": SHIM_8})[0] == "skipped"


@pytest.mark.parametrize(
    ("name", "is_cuda"),
    [
        ("libcudnn_ops_infer.so.8", True),
        ("libcublasLt.so.12", True),
        ("libnvrtc-builtins.so.12.1", True),
        ("libnccl.so.2", True),
        ("libnvperf_host.so", True),
        ("libcurl-0123abcd.so.4", False),
        ("libtorch_cuda.so", False),
        ("libcudnn_notes.txt", False),
    ],
)
def test_cuda_libraries_are_told_by_their_names(name: str, is_cuda: bool) -> None:
    assert bool(copies.cuda_libraries([Path("/x") / name])) is is_cuda
