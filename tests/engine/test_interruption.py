"""A build that is stopped leaves nothing that a second run trips over. CI runs this after a build."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.engines.docker import DockerEngine, connect
from builder.project import find

ROW = "asr-cu12"
CUVEE = Path(sys.executable).with_name("cuvee")
BUILD = [str(CUVEE), "build", ROW, "--no-test"]
PATIENCE = 600


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    found = connect(find(Path.cwd()).engine)
    yield found
    found.close()


@pytest.fixture
def from_nothing(engine: DockerEngine) -> None:
    """No image and no cached layer of it, so that the build has something to do."""
    if not engine.environment:
        pytest.skip("this would delete the build cache of an engine that is not ours: run `make engine`")
    engine.remove_image(f"cuvee:{ROW}")
    engine.prune_cache()


@contextmanager
def started(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command in a group of its own, as a terminal starts it; its pipe is closed at the end."""
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        yield process


def wait_for_work(build: subprocess.Popen[str]) -> None:
    assert build.stdout
    for line in build.stdout:
        if line.startswith("tools"):
            return
    raise AssertionError(f"the build ended before it worked: {build.wait()}")


def finish() -> None:
    done = subprocess.run(BUILD, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("from_nothing")
def test_ctrl_c_ends_the_build_and_the_next_one_works(engine: DockerEngine) -> None:
    with started(BUILD) as build:
        wait_for_work(build)
        os.killpg(build.pid, signal.SIGINT)  # what a terminal does
        assert build.wait(timeout=60) == 130
    assert engine.image_id(f"cuvee:{ROW}") is None
    finish()
    assert engine.image_id(f"cuvee:{ROW}")


@pytest.mark.usefixtures("from_nothing")
def test_kill_ends_the_build_and_leaves_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with started(BUILD) as build:
        wait_for_work(build)
        os.kill(build.pid, signal.SIGTERM)  # the command alone, not its group
        assert build.wait(timeout=60) == 130
    assert not list(tmp_path.glob("cuvee-*"))


@pytest.mark.usefixtures("from_nothing")
def test_kill_9_ends_the_build_and_the_next_one_works(engine: DockerEngine) -> None:
    with started(BUILD) as build:
        wait_for_work(build)
        os.killpg(build.pid, signal.SIGKILL)
    finish()
    assert engine.image_id(f"cuvee:{ROW}")


def test_two_builds_of_one_row_at_a_time_both_work() -> None:
    with started(BUILD) as one, started(BUILD) as other:
        for build in (one, other):
            said, _ = build.communicate(timeout=PATIENCE)
            assert build.returncode == 0, said


def test_a_killed_test_leaves_a_container_that_clean_removes(engine: DockerEngine) -> None:
    with started([str(CUVEE), "test", ROW]) as test:
        deadline = time.monotonic() + PATIENCE
        while not engine.test_containers() and time.monotonic() < deadline:
            time.sleep(0.2)
        os.killpg(test.pid, signal.SIGKILL)
    assert engine.test_containers()
    assert engine.remove_test_containers() >= 1
    assert not engine.test_containers()
