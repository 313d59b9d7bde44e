from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.shell import Finished, SystemShell, _stop

PATIENCE_S = 20

SAYS_ITS_PID_AND_SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
TIDIES_UP_WHEN_ASKED_TO_END = """
import pathlib, signal, sys, time
def tidy(*_):
    time.sleep(0.6)  # longer than the quarter of a second that subprocess.run would wait
    pathlib.Path("tidy").touch()
    sys.exit(3)
signal.signal(signal.SIGTERM, tidy)
pathlib.Path("ready").touch()
print("ready", flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
SAYS_BOTH_AND_SLEEPS = """
import sys, time
print("out", flush=True)
print("err", file=sys.stderr, flush=True)
time.sleep(60)
"""


OnLine = Callable[[str], None] | None


def ignore(line: str) -> None:
    del line


whole_and_streamed = pytest.mark.parametrize("on_line", [None, ignore], ids=["whole", "streamed"])


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    """Whether a process is there; one that has ended and was not waited for yet counts too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


@pytest.fixture
def shell() -> SystemShell:
    return SystemShell()


def test_a_process_is_told_by_its_status_and_both_its_outputs(shell: SystemShell) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    done = shell.run(python(code))
    assert done == Finished(argv=tuple(python(code)), code=7, out="out\n", err="err\n")
    assert not done.ok


def test_a_process_ended_by_a_signal_has_its_number_as_a_negative_status(shell: SystemShell) -> None:
    assert shell.run(python("import os; os.kill(os.getpid(), 9)")).code == -signal.SIGKILL


def test_no_shell_parses_the_arguments(shell: SystemShell) -> None:
    words = ["$HOME", "`id`", "a b", "*", "';"]
    assert shell.run([*python("import sys; print(sys.argv[1:])"), *words]).out == f"{words}\n"


def test_variables_are_laid_over_our_own(shell: SystemShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    monkeypatch.setenv("BOTH", "ours")
    code = "import os; print(os.environ['OURS'], os.environ['BOTH'])"
    assert shell.run(python(code), env={"BOTH": "theirs"}).out == "1 theirs\n"


def test_a_program_is_looked_for_on_the_path_that_it_is_given(shell: SystemShell, tmp_path: Path) -> None:
    program = tmp_path / "only-here"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    assert shell.run(["only-here"], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}).out == "found\n"


@whole_and_streamed
def test_a_process_reads_the_text_it_is_given_and_else_nothing(shell: SystemShell, on_line: OnLine) -> None:
    code = "import sys; print(repr(sys.stdin.read()))"
    assert shell.run(python(code), stdin="grapes\nand must", on_line=on_line).out == "'grapes\\nand must'\n"
    assert shell.run(python(code), on_line=on_line).out == "''\n"


def test_a_process_runs_in_the_folder_it_is_given(shell: SystemShell, tmp_path: Path) -> None:
    assert shell.run(python("import os; print(os.getcwd())"), cwd=tmp_path).out == f"{tmp_path}\n"


def test_lines_come_while_the_process_still_runs(shell: SystemShell, tmp_path: Path) -> None:
    # The process says its second line only after it has seen that we heard the first.
    heard = tmp_path / "heard"
    code = f"""
import pathlib, sys, time
print("first", flush=True)
deadline = time.monotonic() + {PATIENCE_S}
while not pathlib.Path({str(heard)!r}).exists():
    if time.monotonic() > deadline:
        sys.exit("nobody heard the first line")
    time.sleep(0.01)
print("second", flush=True)
"""
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        heard.touch()

    done = shell.run(python(code), on_line=on_line)
    assert done.ok, done.out
    assert lines == ["first", "second"]
    assert done.out == "first\nsecond\n"


def test_streamed_lines_are_of_both_outputs_in_their_order(shell: SystemShell) -> None:
    code = (
        "import sys; print('1', flush=True); print('2', file=sys.stderr, flush=True); print('3', flush=True)"
    )
    lines: list[str] = []
    assert shell.run(python(code), on_line=lines.append).err == ""
    assert lines == ["1", "2", "3"]


def test_bytes_that_are_no_text_do_not_stop_the_stream(shell: SystemShell) -> None:
    lines: list[str] = []
    shell.run(python(r"import os; os.write(1, b'before\n\xff\nafter\n')"), on_line=lines.append)
    assert lines == ["before", "�", "after"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_while_streaming_ends_the_process_and_goes_on(
    shell: SystemShell, error: type[BaseException]
) -> None:
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise error

    began = time.monotonic()
    with pytest.raises(error):
        shell.run(python(SAYS_ITS_PID_AND_SLEEPS), on_line=on_line)
    assert not alive(pids[0])
    assert time.monotonic() - began < PATIENCE_S


@whole_and_streamed
def test_ctrl_c_lets_the_process_tidy_up_before_it_goes_on(
    shell: SystemShell, tmp_path: Path, on_line: OnLine
) -> None:
    def press() -> None:
        wait_for(tmp_path / "ready")
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        shell.run(python(TIDIES_UP_WHEN_ASKED_TO_END), cwd=tmp_path, on_line=on_line)
    finger.join()
    assert (tmp_path / "tidy").exists()


def test_a_process_that_will_not_end_is_killed() -> None:
    with subprocess.Popen(python(DEAF), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "deaf\n"
        _stop(process, grace=0.1)
        assert process.returncode == -signal.SIGKILL
    assert not alive(process.pid)


@whole_and_streamed
def test_a_process_is_killed_when_its_time_is_over(shell: SystemShell, on_line: OnLine) -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        shell.run(python("import time; time.sleep(60)"), timeout=0.2, on_line=on_line)
    assert time.monotonic() - began < PATIENCE_S


def test_a_process_that_ends_in_time_is_no_timeout(shell: SystemShell) -> None:
    assert shell.run(python("print('done')"), timeout=60).out == "done\n"


@whole_and_streamed
def test_a_missing_program_is_a_file_that_is_not_found(shell: SystemShell, on_line: OnLine) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        shell.run(["no-such-program"], on_line=on_line)


def test_a_missing_daemon_is_a_file_that_is_not_found(shell: SystemShell, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-daemon"):
        shell.spawn(["no-such-daemon"], log=tmp_path / "log")


class TestDaemon:
    @pytest.fixture
    def daemon(self, shell: SystemShell, tmp_path: Path) -> Iterator[int]:
        pid = shell.spawn(python(SAYS_BOTH_AND_SLEEPS), log=tmp_path / "log")
        yield pid
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def test_it_has_a_session_of_its_own_so_that_our_ctrl_c_does_not_reach_it(self, daemon: int) -> None:
        assert os.getsid(daemon) == daemon != os.getsid(0)
        assert os.getpgid(daemon) == daemon != os.getpgid(0)

    def test_it_goes_on_after_we_have_returned_and_says_all_to_its_log(
        self, daemon: int, tmp_path: Path
    ) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (tmp_path / "log").read_text() != "out\nerr\n":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert alive(daemon)

    def test_its_log_is_added_to(self, shell: SystemShell, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("before\n")
        os.waitpid(shell.spawn(python("print('after')"), log=tmp_path / "log"), 0)
        assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_an_echoing_shell_shows_commands_and_what_they_say_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = SystemShell(echo=True)
    shell.run([*python("print('said')"), "a b"])
    os.waitpid(shell.spawn(["true", "daemon"], log=tmp_path / "log"), 0)
    shown = capsys.readouterr()
    assert "-c 'print('\"'\"'said'\"'\"')' 'a b'\nsaid\n+ true daemon\n" in shown.err
    assert shown.out == ""


def test_a_quiet_shell_shows_nothing(shell: SystemShell, capfd: pytest.CaptureFixture[str]) -> None:
    shell.run(python("import sys; print('out'); print('err', file=sys.stderr)"))
    assert capfd.readouterr() == ("", "")


def test_an_echoing_shell_shows_no_passwords_of_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    address = "https://user:word@index.test/simple"
    SystemShell(echo=True).run([*python("import sys; print(sys.argv[1])"), address])
    shown = capsys.readouterr().err
    assert shown.count("https://index.test/simple") == 2
    assert "word" not in shown
