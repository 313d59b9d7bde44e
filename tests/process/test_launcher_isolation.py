"""Sides: functions in processes of their own, whose deaths are told and survived."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.launcher import running
from builder.launcher.faults import LauncherError
from builder.launcher.isolation import RemoteError, Side, SideDiedError

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0

WORK = """
import ctypes, os, signal, subprocess, sys, time
from cuvee.isolation import report

def add(one, other=1):
    print("a library prints this to standard output")
    os.write(1, b"and C code this\\n")
    return one + other

def count(most):
    for number in range(most):
        yield number
    return "that was all"

def tell():
    report({"half": True})
    return [sys.executable, os.environ.get("LD_LIBRARY_PATH"), os.getcwd(), os.environ.get("OWN")]

def fail():
    print("before it failed")
    raise ValueError("no such grape")

def leave():
    sys.exit(7)

def die(number):
    os.write(2, b"Could not load library libcudnn_ops_infer.so.8. Error: libcudnn_ops_infer.so.8: "
                b"cannot open shared object file: No such file or directory\\n")
    os.kill(os.getpid(), number)
    time.sleep(60)

def end(code):
    os._exit(code)

def sleep(file=None):
    if file:
        child = subprocess.Popen(["sleep", "60"])
        with open(file + ".part", "w") as stream:
            stream.write("{} {}".format(os.getpid(), child.pid))
        os.rename(file + ".part", file)
    time.sleep(60)

def load(seconds, file):
    "Like a model that is being loaded: it reads."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(file, "rb") as stream:
            stream.read()
        time.sleep(0.05)
    return "loaded"

def call(folder, name):
    return ctypes.CDLL(os.path.join(folder, name)).work()
"""


@pytest.fixture
def work(tmp_path: Path) -> str:
    """A folder with the module `work`."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "work.py").write_text(WORK, encoding="utf-8")
    return str(folder)


@pytest.fixture
def side(work: str) -> Iterator[Side]:
    with Side("cellar", python=sys.executable, path=[work]) as made:
        yield made


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process lives; one that is dead and not yet buried does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


# Calls


def test_a_function_answers_whatever_its_libraries_print(side: Side) -> None:
    assert side.call("work:add", 2, other=3) == 5
    assert side.call("work:add", 2) == 3


def test_what_it_yields_comes_one_by_one_and_then_its_result(side: Side) -> None:
    items = side.iterate("work:count", 3)
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(StopIteration) as end:
        next(items)
    assert end.value.value == "that was all"


def test_items_that_nobody_wanted_are_not_taken_for_those_of_the_next_call(side: Side) -> None:
    items = side.iterate("work:count", 1000)
    next(items)
    del items
    assert side.call("work:add", 1) == 2


def test_it_has_its_own_python_path_and_variables(work: str, tmp_path: Path) -> None:
    mine = Side("mine", python=sys.executable, libraries=[str(tmp_path)], path=[work], variables={"OWN": "1"})
    with mine as made:
        items = made.iterate("work:tell")
        assert next(items) == {"half": True}
        with pytest.raises(StopIteration) as end:
            next(items)
    assert end.value.value == [sys.executable, str(tmp_path), str(Path.cwd()), "1"]


def test_an_exception_is_told_and_the_side_lives_on(side: Side) -> None:
    with pytest.raises(RemoteError, match="ValueError: no such grape") as told:
        side.call("work:fail")
    assert told.value.type == "ValueError"
    assert "in fail" in told.value.trace
    assert "before it failed" in told.value.words
    assert side.call("work:add", 1) == 2


def test_its_last_words_are_there_though_nobody_had_time_to_listen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a busy machine the answer comes before the thread that hears the words had its turn."""
    monkeypatch.setattr(running.Running, "_listen", lambda _: None)
    (tmp_path / "wordy.py").write_text(
        "def fail():\n    print('x' * 60_000, 'the very last')\n    raise ValueError('no')\n"
    )
    with Side("wordy", python=sys.executable, path=[str(tmp_path)]) as wordy:
        with pytest.raises(RemoteError) as told:
            wordy.call("wordy:fail")
        assert told.value.words.endswith("the very last\n")
        assert len(told.value.words) == running.KEPT_BYTES


@pytest.mark.parametrize("target", ["absent:f", "work:absent", "work", "work:leave"])
def test_so_is_a_function_that_is_not_there_or_wants_to_leave(side: Side, target: str) -> None:
    with pytest.raises(RemoteError):
        side.call(target)
    assert side.call("work:add", 1) == 2


def test_a_python_that_is_not_there_is_told() -> None:
    with (
        pytest.raises(LauncherError, match="its Python cannot be started"),
        Side("x", python="/absent/python"),
    ):
        pass


def test_a_side_that_was_not_started_says_so() -> None:
    with pytest.raises(LauncherError, match="Use it within `with`"):
        Side("x", python=sys.executable).call("work:add", 1)


def test_two_threads_take_turns(side: Side) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(side.call("work:add", n))) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(answers) == list(range(1, 21))


def test_no_pipe_stays_open(work: str) -> None:
    def pipes() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = pipes()
    for number in (signal.SIGABRT, 0):
        with Side("x", python=sys.executable, path=[work]) as made:
            if number:
                with pytest.raises(SideDiedError):
                    made.call("work:die", int(number))
            else:
                made.call("work:add", 1)
    assert pipes() == before


# Deaths


def test_an_abort_is_survived_and_its_cause_is_told(side: Side) -> None:
    with pytest.raises(SideDiedError) as told:
        side.call("work:die", int(signal.SIGABRT))
    death = told.value.death
    assert (death.signal, death.code) == ("SIGABRT", 134)
    assert death.cause
    assert death.cause.id == "cudnn8-not-found"
    assert str(told.value).startswith("cellar: it died of SIGABRT (exit code 134); CTranslate2 wants cuDNN 8")
    assert side.pid == 0


def test_after_a_death_it_can_be_started_again(side: Side) -> None:
    with pytest.raises(SideDiedError):
        side.call("work:die", int(signal.SIGSEGV))
    side.start()
    assert side.call("work:add", 1) == 2


def test_an_exit_in_mid_work_is_a_death(side: Side) -> None:
    with pytest.raises(SideDiedError, match="it ended in mid-work with exit code 3"):
        side.call("work:end", 3)


def test_a_kill_from_outside_is_a_death(side: Side) -> None:
    threading.Timer(0.5, os.kill, (side.pid, signal.SIGKILL)).start()
    with pytest.raises(SideDiedError, match="SIGKILL"):
        side.call("work:sleep")


def test_a_side_without_a_sign_of_work_is_ended(work: str) -> None:
    with (
        Side("cellar", python=sys.executable, path=[work], idle=1.0) as made,
        pytest.raises(SideDiedError, match="it did nothing for 1 s and was ended"),
    ):
        made.call("work:sleep")


def test_a_stopped_side_is_ended_too(work: str) -> None:
    with Side("cellar", python=sys.executable, path=[work], idle=1.0) as made:
        made.call("work:add", 1)
        pid = made.pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(SideDiedError, match="did nothing"):
            made.call("work:add", 1)
    assert not runs(pid)


def test_a_side_that_loads_a_model_is_not_idle(work: str, tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(b"\0" * (1 << 20))
    with Side("cellar", python=sys.executable, path=[work], idle=0.5) as made:
        assert made.call("work:load", 2, str(model)) == "loaded"


def test_leaving_the_block_ends_it_with_its_children_even_in_mid_work(work: str, tmp_path: Path) -> None:
    file = tmp_path / "pids"

    def sleep() -> None:
        with pytest.raises(SideDiedError):
            made.call("work:sleep", str(file))

    with Side("cellar", python=sys.executable, path=[work]) as made:
        threading.Thread(target=sleep).start()
        wait_for(file.exists)
    wait_for(lambda: not any(runs(int(pid)) for pid in file.read_text().split()))


@pytest.mark.parametrize("thread", [False, True])
def test_it_does_not_outlive_who_started_it(work: str, tmp_path: Path, thread: bool) -> None:
    """In the main thread the kernel sees to it, in another one the end of the pipe."""
    file = tmp_path / "pids"
    script = f"""
import sys, threading
sys.path.insert(0, {str(ROOT)!r})
from builder.launcher.isolation import Side
def go():
    with Side("x", python=sys.executable, path=[{work!r}]) as side:
        side.call("work:sleep", {str(file)!r})
if {thread}:
    threading.Thread(target=go).start()
else:
    go()
"""
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        wait_for(file.exists)
        parent.kill()
    side, child = map(int, file.read_text().split())
    wait_for(lambda: not runs(side))
    os.kill(child, signal.SIGKILL)  # what a side leaves behind when its parent is killed is not ours to find


# What it is for: libraries that cannot share a process

VINTAGE = """
#include <stdio.h>
#include <stdlib.h>
int vintage(int wanted) {
    if (wanted != OWN) {
        fprintf(stderr, "wanted vintage %d, and libvintage.so.1 is of %d\\n", wanted, OWN);
        abort();
    }
    return OWN;
}
"""
ENGINE = "int vintage(int); int work(void) { return vintage(OWN); }"


@pytest.fixture
def engines(tmp_path: Path) -> tuple[str, str]:
    """Two folders, each with an `engine.so` and the `libvintage.so.1` that it needs."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to make libraries with")
    folders = []
    for own in (8, 9):
        folder = tmp_path / f"v{own}"
        folder.mkdir()
        folders.append(str(folder))
        for name, source, more in (
            ("libvintage.so.1", VINTAGE, ["-Wl,-soname,libvintage.so.1"]),
            (f"engine{own}.so", ENGINE, [str(folder / "libvintage.so.1")]),
        ):
            (folder / "source.c").write_text(source, encoding="utf-8")
            command = [
                "gcc",
                "-shared",
                "-fPIC",
                f"-DOWN={own}",
                "-o",
                str(folder / name),
                str(folder / "source.c"),
            ]
            subprocess.run([*command, *more], check=True)
    return folders[0], folders[1]


def test_two_engines_die_in_one_process(work: str, engines: tuple[str, str]) -> None:
    eight, nine = engines
    with Side("both", python=sys.executable, libraries=[eight, nine], path=[work]) as both:
        assert both.call("work:call", eight, "engine8.so") == 8
        with pytest.raises(SideDiedError, match=r"SIGABRT.*wanted vintage 9, and libvintage\.so\.1 is of 8"):
            both.call("work:call", nine, "engine9.so")


def test_and_work_in_two(work: str, engines: tuple[str, str]) -> None:
    eight, nine = engines
    with (
        Side("eight", python=sys.executable, libraries=[eight], path=[work]) as one,
        Side("nine", python=sys.executable, libraries=[nine], path=[work]) as other,
    ):
        assert one.call("work:call", eight, "engine8.so") == 8
        assert other.call("work:call", nine, "engine9.so") == 9
        assert one.call("work:call", eight, "engine8.so") == 8


def test_the_folder_works_wherever_it_is_copied_to(tmp_path: Path, work: str) -> None:
    shutil.copytree(running.FOLDER, tmp_path / "lib" / "cuvee", ignore=shutil.ignore_patterns("__pycache__"))
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path / "lib")!r})
from cuvee.isolation import Side
with Side(path=[{work!r}]) as side:
    print(side.call("work:add", 1))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "2\n"
