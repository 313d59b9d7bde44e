"""`builder/data/optional.yaml` against all recorded facts: nothing is unaccounted, idle or hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

from builder.abi.facts import BaseFacts, Binary, WheelFacts
from builder.probe import rules
from builder.probe.place import matches
from builder.verdict.setting import DRIVER
from builder.verdict.tables import Waiver, waivers

Opened: TypeAlias = tuple[str, tuple[str, ...]]
"""A file's path in its wheel, and the names that it tries in order until one opens."""

ROOT = Path(__file__).resolve().parents[2]

FAMILIES = ("cublas", "cublasLt", "cudnn", "cudart", "nvJitLink", "cusparse", "nccl")
COMPUTES = re.compile(r"lib(cublas(Lt)?|cudnn(_\w+)?|cudart|nvJitLink|cusparse(Lt)?|nccl)(-[0-9a-f]+)?\.so.*")
"""What computing on a GPU needs, by whatever version."""

EXCEPTIONS = {
    ("ctranslate2.libs/libctranslate2*", "libnccl.so.2"),
    ("nvidia/nvshmem/lib/libnvshmem_host.so*", "libnccl.so.2"),
    ("nvidia/*/libcufft.so*", "libnvJitLink.so.12"),
    ("nvidia/*/libcusparse.so*", "libnvJitLink.so"),
    ("nvidia/*/libcupti.so*", "libcudart.so"),
    ("triton/_C/libtriton.so", "libcublas.so"),
    ("triton/backends/nvidia/lib/cupti*/libcupti.so*", "libcudart.so"),
}
"""For several GPUs, loaded by torch before, or for profiles and benchmarks: no others do without."""


@cache
def wheels() -> tuple[WheelFacts, ...]:
    return tuple(
        WheelFacts.from_json(json.loads(path.read_text(encoding="utf-8")))
        for folder in (ROOT / "facts", ROOT / "survey" / "facts")
        for path in sorted(folder.glob("*.whl.json"))
    )


@cache
def bases() -> tuple[BaseFacts, ...]:
    files = sorted((ROOT / "facts").glob("base-*.json"))
    return tuple(BaseFacts.from_json(json.loads(path.read_text(encoding="utf-8"))) for path in files)


def binaries() -> Iterator[Binary]:
    return (binary for wheel in wheels() for binary in wheel.binaries if binary.machine == "x86_64")


@cache
def opened() -> frozenset[Opened]:
    """Every name that a recorded file opens; one that several releases share stands once."""
    return frozenset((binary.path, names) for binary in binaries() for names in binary.opens)


@cache
def provided() -> frozenset[str]:
    """Every name under which a recorded wheel or base has a library."""
    files = [*binaries(), *(binary for base in bases() for binary in base.binaries)]
    links = {link.rpartition("/")[2] for base in bases() for link in base.links}
    return frozenset(links.union(*({binary.file, binary.soname} for binary in files)) - {""})


@cache
def computing() -> frozenset[str]:
    """Every recorded name of a library that computing needs: of files, and as others ask for it."""
    asked = {name for _, names in opened() for name in names}
    needed = {name for binary in binaries() for name in binary.needed}
    return frozenset(filter(COMPUTES.fullmatch, asked | needed | provided()))


def fits(waiver: Waiver, file: str, name: str) -> bool:
    return matches(file, waiver.files) and any(matches(name, pattern) for pattern in waiver.names)


def unaccounted(asked: Iterable[Opened], there: Collection[str]) -> list[str]:
    """What is neither there nor the driver's nor listed; a verdict looks its first name up."""
    return sorted(
        f"{file} opens {names[0]}"
        for file, names in asked
        if not any(name in there or name in DRIVER for name in names)
        and not any(fits(waiver, file, names[0]) for waiver in waivers())
    )


def idle(listed: Iterable[Waiver]) -> list[str]:
    """The patterns that fit nothing that a recorded file opens."""
    return [
        f"{waiver.files}: {pattern}"
        for waiver in listed
        for pattern in waiver.names
        if not any(
            matches(file, waiver.files) and matches(name, pattern)
            for file, names in opened()
            for name in names
        )
    ]


def hidden(listed: Iterable[Waiver]) -> set[tuple[str, str]]:
    """What computing needs and a waiver would hide: the waiver's files, and the name."""
    return {
        (waiver.files, name)
        for waiver in listed
        for name in computing()
        if any(matches(name, pattern) for pattern in waiver.names)
    }


def linked(listed: Iterable[Waiver]) -> set[tuple[str, str]]:
    """What a recorded file is linked with and a waiver would fit: the file, and the name."""
    return {
        (binary.path, name)
        for binary in binaries()
        for name in binary.needed
        if any(fits(waiver, binary.path, name) for waiver in listed)
    }


def test_every_name_that_a_recorded_file_opens_is_there_or_listed() -> None:
    assert unaccounted(opened(), provided()) == []


def test_a_name_that_is_neither_there_nor_listed_is_told_with_its_file() -> None:
    made_up = ("torch/lib/libtorch_cuda.so", ("libmade_up.so.1", "libmade_up.so"))
    assert unaccounted([made_up], provided()) == ["torch/lib/libtorch_cuda.so opens libmade_up.so.1"]


def test_every_pattern_fits_a_name_that_a_recorded_file_opens() -> None:
    assert idle(waivers()) == []


@pytest.mark.parametrize(
    ("files", "pattern"), [("nowhere/*", "lib*"), ("nvidia/*/libcufile.so*", "libmade_up*")]
)
def test_a_pattern_that_fits_nothing_is_idle(files: str, pattern: str) -> None:
    assert idle([Waiver(files=files, names=(pattern,), reason="a test")]) == [f"{files}: {pattern}"]


def test_no_waiver_hides_what_computing_needs() -> None:
    assert hidden(waivers()) == EXCEPTIONS


@pytest.mark.parametrize("family", FAMILIES)
def test_a_waiver_for_what_computing_needs_is_seen(family: str) -> None:
    broad = Waiver(files="nvidia/*", names=(f"lib{family}.so*",), reason="a test")
    assert hidden([broad])


@pytest.mark.parametrize(
    "name",
    ["libcublas.so.11", "libcublas.so.12", "libcudnn_ops_infer.so.8", "libcudnn_ops.so.9", "libnccl.so.2"],
)
def test_names_that_have_broken_environments_are_among_those(name: str) -> None:
    assert name in computing()


def test_cudnn_needs_nvrtc_and_cublaslt_does_without() -> None:
    def excused(file: str) -> bool:
        return any(fits(waiver, file, "libnvrtc.so.12") for waiver in waivers())

    assert not excused("nvidia/cudnn/lib/libcudnn_graph.so.9")
    assert not excused("nvidia/cudnn/lib/libcudnn_ops_infer.so.8")
    assert excused("nvidia/cublas/lib/libcublasLt.so.12")


def test_what_a_file_is_linked_with_is_left_to_the_probes_rules() -> None:
    assert linked(waivers()) == set()


def test_the_probes_waivers_would_be_seen_among_these() -> None:
    theirs = [Waiver(files=one.files, names=(one.libraries,), reason=one.reason) for one in rules.UNRESOLVED]
    assert ("nvidia/nvshmem/lib/nvshmem_bootstrap_mpi.so.3", "libmpi.so.40") in linked(theirs)


def test_every_waiver_has_a_reason_and_no_two_are_alike() -> None:
    listed = [(waiver.files, name) for waiver in waivers() for name in waiver.names]
    assert all(waiver.reason for waiver in waivers())
    assert len(listed) == len(set(listed))
