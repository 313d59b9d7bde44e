"""What is in the image is what the lock says, and nothing of the machine that built it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from builder.engines.container import Container
from builder.lock.record import Lock
from builder.matrix import Row

SMALL = 2.0e9  # bytes on disk
EXPECTED = "/tmp/expected.json"


def expect(container: Container, folder: Path, expectation: dict[str, Any]) -> str:
    file = folder / "expected.json"
    file.write_text(json.dumps(expectation), encoding="utf-8")
    container.copy_in(file, "/tmp")
    return EXPECTED


@pytest.mark.any_row
def test_the_versions_inside_are_the_locks(
    probe: Any, container: Container, expectation: dict[str, Any], tmp_path: Path
) -> None:
    found = probe.check("versions", "--expect", expect(container, tmp_path, expectation))
    assert found["outcome"] == "passed", found["reason"]


@pytest.mark.any_row
def test_another_version_and_a_missing_package_are_reported(
    probe: Any, container: Container, expectation: dict[str, Any], tmp_path: Path
) -> None:
    altered = copy.deepcopy(expectation)
    altered["environments"]["main"]["packages"] |= {"ctranslate2": "0.0.1", "no-such-package": "1"}
    found = probe.check("versions", "--expect", expect(container, tmp_path, altered))
    assert found["outcome"] == "failed"
    assert "ctranslate2" in found["reason"]
    assert "no-such-package" in found["reason"]


@pytest.mark.any_row
def test_the_base_is_what_the_row_says(probe: Any, row: Row) -> None:
    surroundings = probe.surroundings()
    assert surroundings["python"].startswith(f"{row.python}.")
    assert surroundings["glibc"] == row.base.glibc


@pytest.mark.any_row
def test_the_labels_tell_what_is_inside(container: Container, row: Row, lock: Lock) -> None:
    labels = container.labels
    assert labels["cuvee.row"] == row.id
    assert labels["cuvee.lock"] == lock.digest
    assert labels["cuvee.cuda"] == row.cuda
    assert labels["cuvee.driver.minimum"]


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


def test_an_image_without_torch_is_small(container: Container, row: Row) -> None:
    if row.torch:
        pytest.skip("the row has torch")
    assert container.size < SMALL


def test_ffmpeg_is_there_as_the_row_says(host: Any, row: Row) -> None:
    done = host.run("env -i /opt/cuvee/main/bin/ffmpeg -version")
    assert (done.rc == 0) == (row.ffmpeg == "static")
    if row.ffmpeg == "static":
        assert done.stdout.startswith("ffmpeg version")


def test_an_image_can_be_built_on_with_pip(host: Any) -> None:
    assert "No broken requirements" in host.check_output("env -i /opt/cuvee/main/bin/python -I -m pip check")


@pytest.mark.any_row
def test_the_network_is_off_for_these_checks(host: Any) -> None:
    interfaces = host.check_output("ls /sys/class/net").split()
    assert interfaces == ["lo"]
