from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder.probe import versions
from builder.probe.place import Place
from builder.probe.versions import Difference, compare


def install(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    prefix = tmp_path / "main"
    packages = prefix / "lib" / "python3.11" / "site-packages"
    install(packages, "torch", "2.4.1")
    install(packages, "antlr4_python3_runtime", "4.9.3")
    install(tmp_path / "overlays" / "cudnn8", "nvidia_cudnn_cu12", "8.9.7.29")
    return Place(prefix, (packages,), ())


def expectation(place: Place, **changes: str) -> dict[str, Any]:
    packages = {"torch": "2.4.1", "antlr4-python3-runtime": "4.9.3", **changes}
    overlay = place.prefix.parent / "overlays" / "cudnn8"
    return {
        "environments": {"main": {"prefix": str(place.prefix), "packages": packages}},
        "overlays": {"cudnn8": {"prefix": str(overlay), "packages": {"nvidia-cudnn-cu12": "8.9.7.29"}}},
    }


def check(place: Place, expected: dict[str, Any]) -> tuple[str, str]:
    file = place.prefix.parent / "expected.json"
    file.write_text(json.dumps(expected))
    finding = versions.check(place, file)
    return finding.outcome, finding.reason


def test_what_is_expected_and_installed_passes(place: Place) -> None:
    assert check(place, expectation(place)) == ("passed", "2 prefixes hold what is expected")


def test_another_version_is_named_with_both(place: Place) -> None:
    outcome, reason = check(place, expectation(place, torch="2.4.0"))
    assert outcome == "failed"
    assert reason == f"{place.prefix}: torch is 2.4.1, not 2.4.0"


def test_an_overlay_is_checked_like_an_environment(place: Place) -> None:
    expected = expectation(place)
    expected["overlays"]["cudnn8"]["packages"] = {}
    assert check(place, expected)[1].endswith("cudnn8: nvidia-cudnn-cu12 8.9.7.29 is not expected")


def test_an_expectation_that_forgets_this_environment_fails(place: Place) -> None:
    assert (
        check(place, {"environments": {}})[1] == f"no environment with the prefix {place.prefix} is expected"
    )


def test_without_an_expectation_there_is_nothing_to_check(place: Place) -> None:
    assert versions.check(place, None).outcome == "skipped"


def test_missing_extra_and_different_are_told_apart() -> None:
    assert compare({"a": "1", "b": "1"}, {"b": "2", "c": "3"}) == Difference(
        missing={"a": "1"}, extra={"c": "3"}, different={"b": ("1", "2")}
    )


@pytest.mark.parametrize(
    ("expected", "installed"),
    [
        ({"nvidia-cudnn-cu12": "8.9.7.29"}, {"nvidia_cudnn.CU12": "8.9.7.29"}),
        ({"tzdata": "2024.2"}, {"tzdata": "2024.02"}),
        ({"certifi": "2023.7.22"}, {"certifi": "2023.07.22"}),
        ({"torch": "2.5.1+cu121"}, {"torch": "2.5.1+CU121"}),
    ],
)
def test_spelling_is_no_difference(expected: dict[str, str], installed: dict[str, str]) -> None:
    assert compare(expected, installed) == Difference({}, {}, {})


@pytest.mark.parametrize(("one", "other"), [("2.0", "2.10"), ("1.0", "1.0.post0"), ("10", "1"), ("0", "1")])
def test_different_versions_stay_different(one: str, other: str) -> None:
    assert compare({"x": one}, {"x": other}).different == {"x": (one, other)}
