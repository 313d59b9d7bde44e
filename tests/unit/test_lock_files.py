from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from itertools import pairwise

import packaging.tags
import pytest

from builder.lock.files import best_wheel
from builder.lock.uv import Candidate, Resolved

PLAIN = "x-1-py3-none-any.whl"


def best(*files: str, python: str = "3.11", glibc: str = "2.36") -> str | None:
    wheels = tuple(
        Candidate(file=file, url=f"https://files.test/{file}", sha256="0" * 64, size=1) for file in files
    )
    found = best_wheel(Resolved(name="x", version="1", wheels=wheels, source=None), python, glibc)
    assert best_of(list(reversed(wheels)), python, glibc) == found, "the index's order decided"
    return found.file if found else None


def best_of(wheels: Sequence[Candidate], python: str, glibc: str) -> Candidate | None:
    return best_wheel(Resolved(name="x", version="1", wheels=tuple(wheels), source=None), python, glibc)


def native(python: str, platform_tag: str) -> str:
    return f"x-1-{python}-{python}-{platform_tag}.whl"


# Each line: what is taken, and what is there besides.
@pytest.mark.parametrize(
    ("taken", "others"),
    [
        # A wheel for this very Python is better than one for any.
        (native("cp311", "manylinux_2_17_x86_64"), [PLAIN, native("cp310", "manylinux_2_17_x86_64")]),
        # The newest glibc that the base still has, by either of manylinux's names.
        (
            native("cp311", "manylinux_2_28_x86_64"),
            [
                native("cp311", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
                native("cp311", "manylinux1_x86_64"),
            ],
        ),
        (native("cp311", "manylinux2014_x86_64"), [native("cp311", "manylinux2010_x86_64")]),
        (native("cp311", "manylinux2010_x86_64"), [native("cp311", "manylinux1_x86_64")]),
        (native("cp311", "manylinux_2_5_x86_64.manylinux1_x86_64"), [PLAIN]),
        # Built on some machine itself, as on PyTorch's index.
        (native("cp311", "linux_x86_64"), [PLAIN]),
        # The stable ABI of an older Python, but not of a newer one; the newest of them.
        ("x-1-cp38-abi3-manylinux_2_17_x86_64.whl", [PLAIN]),
        ("x-1-cp38-abi3-manylinux_2_17_x86_64.whl", ["x-1-cp37-abi3-manylinux_2_28_x86_64.whl"]),
        ("x-1-cp38-abi3-manylinux_2_17_x86_64.whl", ["x-1-cp312-abi3-manylinux_2_17_x86_64.whl"]),
        (native("cp311", "manylinux_2_17_x86_64"), ["x-1-cp311-abi3-manylinux_2_17_x86_64.whl"]),
        # No Python ABI, but binaries: NVIDIA's and triton's.
        ("x-1-py3-none-manylinux_2_17_x86_64.whl", [PLAIN]),
        ("x-1-cp311-none-any.whl", [PLAIN]),
        ("x-1-py2.py3-none-any.whl", ["x-1-py2-none-any.whl"]),
        # Of wheels that fit alike, the one built last; numbers are numbers.
        ("x-1-2-py3-none-any.whl", [PLAIN, "x-1-1-py3-none-any.whl"]),
        ("x-1-10-py3-none-any.whl", ["x-1-9-py3-none-any.whl", "x-1-9b-py3-none-any.whl"]),
    ],
)
def test_the_wheel_that_pip_would_take_is_taken(taken: str, others: list[str]) -> None:
    assert best(taken, *others) == taken


@pytest.mark.parametrize(
    "file",
    [
        native("cp311", "musllinux_1_2_x86_64"),
        native("cp311", "manylinux_2_17_aarch64.manylinux2014_aarch64"),
        native("cp311", "manylinux_2_17_i686"),
        native("cp311", "macosx_11_0_x86_64"),
        native("cp311", "win_amd64"),
        native("cp311", "manylinux_2_37_x86_64"),
        native("cp310", "manylinux_2_17_x86_64"),
        native("cp312", "manylinux_2_17_x86_64"),
        "x-1-cp311-cp311d-manylinux_2_17_x86_64.whl",
        "x-1-cp313-cp313t-manylinux_2_17_x86_64.whl",
        "x-1-cp312-abi3-manylinux_2_17_x86_64.whl",
        "x-1-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl",
        "x-1-py2-none-any.whl",
    ],
)
def test_a_wheel_for_something_else_is_none(file: str) -> None:
    assert best(file) is None
    assert best(file, PLAIN) == PLAIN


def test_a_package_without_wheels_has_none() -> None:
    assert best() is None


def test_a_newer_base_takes_newer_wheels() -> None:
    files = [native("cp313", "manylinux_2_17_x86_64"), native("cp313", "manylinux_2_39_x86_64")]
    assert best(*files, python="3.13", glibc="2.41") == files[1]
    assert best(*files, python="3.13", glibc="2.36") == files[0]


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="compares with this machine's own tags"
)
def test_wheels_rank_as_on_a_machine_with_that_python_and_glibc() -> None:
    """What `packaging`, which pip uses, says of the machine that runs this."""
    glibc = platform.libc_ver()[1]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    # Releases of packaging do not agree on where plain linux_x86_64 ranks; no index has it beside manylinux.
    tags = [tag for tag in packaging.tags.sys_tags() if tag.platform != "linux_x86_64"]
    assert len(tags) > 500
    for better, worse in pairwise(tags):
        taken = best(f"x-1-{worse}.whl", f"x-1-{better}.whl", python=python, glibc=glibc)
        assert taken == f"x-1-{better}.whl"
