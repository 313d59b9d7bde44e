"""What is in the image is what the lock says, and nothing of the machine that built it."""

from __future__ import annotations

import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from builder.engines.container import Container
from builder.left_out import LeftOut
from builder.lock.record import Lock
from builder.matrix import Row
from builder.places import HOME, site_packages

COMPLAINTS = (
    r"has requirement (?P<name>[\w.-]+)",
    r"requires (?P<name>[\w.-]+), which is not installed",
)
"""What `pip check` says of packages that are there in another version than was asked for, or not at all."""

EXPECTED = "/tmp/expected.json"

MANY = 1000  # files


def expect(container: Container, folder: Path, expectation: dict[str, Any]) -> str:
    file = folder / "expected.json"
    file.write_text(json.dumps(expectation), encoding="utf-8")
    container.copy_in(file, "/tmp")
    return EXPECTED


@pytest.mark.anywhere
@pytest.mark.any_row
def test_the_versions_inside_are_the_locks(
    probe: Any, container: Container, expectation: dict[str, Any], tmp_path: Path
) -> None:
    found = probe.check("versions", "--expect", expect(container, tmp_path, expectation))
    assert found["outcome"] == "passed", found["reason"]


@pytest.mark.anywhere
@pytest.mark.any_row
def test_another_version_and_a_missing_package_are_reported(
    probe: Any, container: Container, expectation: dict[str, Any], tmp_path: Path, environment: str
) -> None:
    altered = copy.deepcopy(expectation)
    altered["environments"][environment]["packages"] |= {"numpy": "0.0.1", "no-such-package": "1"}
    found = probe.check("versions", "--expect", expect(container, tmp_path, altered))
    assert found["outcome"] == "failed"
    assert "numpy" in found["reason"]
    assert "no-such-package" in found["reason"]


@pytest.mark.any_row
def test_the_base_is_what_the_row_says(probe: Any, row: Row) -> None:
    surroundings = probe.surroundings()
    assert surroundings["python"].startswith(f"{row.python}.")
    assert surroundings["glibc"] == row.base.glibc


@pytest.mark.any_row
def test_the_labels_tell_what_is_inside(container: Container, row: Row, lock: Lock) -> None:
    labels = container.labels
    if not labels:  # an image of ours without labels is refused before the checks begin
        pytest.skip("a root file system alone has no labels")
    assert labels["cuvee.row"] == row.id
    assert labels["cuvee.lock"] == lock.digest
    assert labels["cuvee.cuda"] == (row.cuda or "none")
    assert bool(labels.get("cuvee.driver.minimum")) == bool(row.cuda)


@pytest.mark.any_row
def test_nothing_of_the_building_host_is_left(root: Any) -> None:
    for path in (
        "/run/secrets",
        "/opt/tools",
        "/root/.cache/uv",
        "/root/.cache/pip",
        "/var/cache/ldconfig/aux-cache",
    ):
        assert not root.file(path).exists, path
    assert root.check_output("ls -A /run/requirements.txt 2>/dev/null || true") == ""


def test_ffmpeg_is_there_as_the_row_says(host: Any, row: Row) -> None:
    first, *_ = (name for name, _ in row.stacks())
    places = {"static": f"{HOME}/{first}/bin/ffmpeg", "shared": "/usr/bin/ffmpeg"}
    there = {kind for kind, path in places.items() if host.run(f"env -i {path} -version").rc == 0}
    assert there == {"static" if row.ffmpeg == "pyav" else row.ffmpeg} - {"none"}


ONE_FFMPEG = """
import {first}, {second}
print(*sorted({{line.split()[-1] for line in open("/proc/self/maps") if "/libavcodec" in line}}), sep="\\n")
"""


@pytest.mark.parametrize("order", [("av", "torchcodec"), ("torchcodec", "av")])
def test_torchcodec_and_pyav_share_one_ffmpeg(host: Any, row: Row, lock: Lock, order: tuple[str, str]) -> None:
    parts = [one.name for one in lock.environments if all(map(one.package, order))]
    if row.ffmpeg != "pyav" or not parts:
        pytest.skip("no environment has both, or the row takes FFmpeg from elsewhere")
    python = f"{HOME}/{parts[0]}/bin/python"
    script = ONE_FFMPEG.format(first=order[0], second=order[1])
    loaded = host.check_output(f"env -i {python} -I -c {shlex.quote(script)}").split()
    assert len(loaded) == 1
    assert f"{HOME}/{parts[0]}/" in loaded[0]
    assert "/av.libs/" in loaded[0]


@pytest.mark.any_row
def test_what_the_row_leaves_out_is_not_there(root: Any, row: Row, environment: str) -> None:
    site = site_packages(HOME / environment, row.python)
    here = root.check_output(f"cd {site} && find . -type f -o -type l").splitlines()
    left_out = LeftOut.of(row.leave_out)
    assert len(here) > MANY
    assert [path for path in here if left_out.holds(path.removeprefix("./"))] == []


def test_an_image_can_be_built_on_with_pip(host: Any, row: Row, environment: str) -> None:
    """What an override put in the place of others' demands, pip still complains of, and of nothing else."""
    done = host.run(f"env -i {HOME}/{environment}/bin/python -I -m pip check")
    replaced = {
        canonicalize_name(Requirement(text).name) for text in dict(row.stacks())[environment].overrides
    }
    complaints = [line for line in done.stdout.splitlines() if "No broken requirements" not in line]
    assert [line for line in complaints if complained_of(line) not in replaced] == []
    assert done.rc == 0 or complaints


def complained_of(line: str) -> str | None:
    """The package that a line of `pip check` complains of."""
    found = next(filter(None, (re.search(pattern, line) for pattern in COMPLAINTS)), None)
    return canonicalize_name(re.split(r"[=<>!~;\[ ]", found["name"])[0]) if found else None


def test_a_requirement_that_nobody_has_is_not_excused() -> None:
    assert complained_of("faster-whisper 0.10.1 has requirement av==10.*, but you have av 12.1.0.") == "av"
    assert complained_of("torch 2.8.0 requires triton, which is not installed.") == "triton"
    assert complained_of("something else went wrong") is None


@pytest.mark.any_row
def test_the_network_is_off_for_these_checks(host: Any) -> None:
    interfaces = host.check_output("ls /sys/class/net").split()
    assert interfaces == ["lo"]
