from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from builder.engines.direct.interpreter import INSIDE, LOADER, Interpreter, Version, needed, searched
from builder.errors import BadInputError, EngineOrNetworkError
from builder.shell import Finished

ROOT = Path("/store/root")
TOLD = {"version": "3.11.2 (main) [GCC 12.2.0]", "tag": "cpython-311", "magic": "a70d0d0a"}


class FakeShell:
    """A Python that says one thing, and remembers how it was started."""

    def __init__(self, out: str = "", code: int = 0, err: str = "") -> None:
        self.out, self.code, self.err = out, code, err
        self.started: list[list[str]] = []
        self.stdin: str | None = None

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        del env, cwd, timeout, on_line
        self.started.append(list(argv))
        self.stdin = stdin
        if self.code == 127:
            raise FileNotFoundError(argv[0])
        return Finished(argv=tuple(argv), code=self.code, out=self.out, err=self.err)

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))


def interpreter(shell: FakeShell, root: Path = ROOT) -> Interpreter:
    return Interpreter(root=root, python="3.11", shell=shell)


def test_the_bases_loader_runs_the_bases_python_with_nothing_of_the_host() -> None:
    shell = FakeShell()
    interpreter(shell).run(Path("/x/script.py"), ["one", "two"], stdin="text")
    [argv] = shell.started
    assert argv[:2] == ["env", "-i"]
    at = argv.index(str(ROOT / LOADER))
    assert all("=" in setting for setting in argv[2:at])
    assert {f"PYTHONHOME={ROOT}/usr", "PYTHONHASHSEED=0", "LC_ALL=C", "PATH=/nonexistent"} < set(argv[2:at])
    assert argv[at + 1 : at + 5] == [
        "--inhibit-cache",
        "--library-path",
        f"{ROOT}/lib/x86_64-linux-gnu:{ROOT}/usr/lib/x86_64-linux-gnu",
        f"{ROOT}/usr/bin/python3.11",
    ]
    assert argv[at + 5 : at + 8] == ["-S", "-s", "-B"]
    assert argv[-3:] == ["/x/script.py", "one", "two"]
    assert shell.stdin == "text"


def test_the_loader_is_the_file_itself_since_a_link_may_lead_to_the_hosts() -> None:
    assert not LOADER.startswith("lib64/")


def test_it_says_which_python_it_is_and_is_asked_once() -> None:
    shell = FakeShell(json.dumps(TOLD))
    found = interpreter(shell)
    assert found.version == Version(full="3.11.2 (main) [GCC 12.2.0]", tag="cpython-311", magic="a70d0d0a")
    assert found.identity == "cpython-311 a70d0d0a 3.11.2 (main) [GCC 12.2.0]"
    assert [argv[-1] for argv in shell.started] == [str(INSIDE / "describe.py")]


@pytest.mark.parametrize(
    ("shell", "cause"),
    [
        (FakeShell("nonsense"), "it does not say which Python it is"),
        (FakeShell("{}"), "it does not say which Python it is"),
        (FakeShell(code=1, err="a\nb\n\nOSError: no\n"), "it ended with 1: a / b / OSError: no"),
        (FakeShell(code=-9), "it ended with -9: it said nothing"),
        (FakeShell(code=127), "the program `env` is not on the path"),
    ],
    ids=["nonsense", "empty", "failed", "killed", "no-env"],
)
def test_a_python_that_does_not_run_is_told_with_its_last_words(shell: FakeShell, cause: str) -> None:
    with pytest.raises(EngineOrNetworkError) as caught:
        _ = interpreter(shell).version
    [fault] = caught.value.faults
    assert fault.place == "python3.11 of the base"
    assert fault.cause == cause
    assert str(ROOT) in fault.fix


@pytest.mark.parametrize("root", ["/a:b", "/a;b", "/a$ORIGIN"])
def test_a_path_that_the_loader_would_take_apart_is_refused(root: str) -> None:
    shell = FakeShell()
    with pytest.raises(BadInputError) as caught:
        interpreter(shell, Path(root)).run(Path("script.py"))
    [fault] = caught.value.faults
    assert (fault.place, fault.fix) == (root, "Set CUVEE_CACHE to another folder")
    assert not shell.started


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/python3.11",
        "./usr/bin/python3.11",
        "/usr/bin/python3",
        "usr/lib/python3.11/os.py",
        "usr/lib/python3.11/lib-dynload/_ctypes.cpython-311-x86_64-linux-gnu.so",
        "usr/lib/python3.11/venv/scripts/common/activate",
        "usr/sbin/ldconfig",
        "sbin/ldconfig",
    ],
)
def test_python_and_ldconfig_are_needed(path: str) -> None:
    assert needed(path)
    assert not searched(path)


@pytest.mark.parametrize(
    "path",
    [
        "lib",
        "lib64/",
        "etc/ld.so.conf",
        "etc/ld.so.conf.d/libc.conf",
        "usr/lib/x86_64-linux-gnu/libc.so.6",
        "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "usr/lib64/ld-linux-x86-64.so.2",
        "usr/lib/x86_64-linux-gnu/blas/libblas.so.3",
        "usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v3/libx.so.1",
        "usr/local/lib/libmine.so",
    ],
)
def test_what_ldconfig_looks_at_is_needed(path: str) -> None:
    assert searched(path)
    assert needed(path)


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/perl",
        "usr/bin/python3-config",
        "usr/lib/python3.11/__pycache__/os.cpython-311.pyc",
        "usr/lib/python3.11/ensurepip/__init__.py",
        "usr/lib/python3/dist-packages/x.py",
        "usr/share/doc/libc6/copyright",
        "usr/share/gdb/auto-load/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30-gdb.py",
        "usr/libexec/coreutils/libstdbuf.so",
        "etc/passwd",
        "etc/ld.so.cache",
        "var/lib/dpkg/status",
        ".",
    ],
)
def test_the_rest_of_a_base_is_not_needed(path: str) -> None:
    assert not needed(path)
