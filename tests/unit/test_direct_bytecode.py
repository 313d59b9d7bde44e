from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from builder.engines.direct.bytecode import SCRIPT, Compiled, Job, bytecode_path, compile_wheels
from builder.engines.direct.interpreter import Interpreter
from builder.errors import EngineOrNetworkError
from builder.shell import Finished
from builder.wheels.members import opened_wheel

SITE = PurePosixPath("/opt/cuvee/main/lib/python3.11/site-packages")
TOLD = {"version": "3.11.2", "tag": "cpython-311", "magic": "a70d0d0a"}


class FakeShell:
    """A Python that compiles a file to `bytecode of <path>`, and templates to nothing.

    Attributes:
        says: What it says of a wheel instead of that it is done, by the wheel's name.
        code: What it ends with.
    """

    def __init__(self, says: Mapping[str, str] | None = None, code: int = 0) -> None:
        self.says, self.code = says or {}, code
        self.jobs: list[dict[str, Any]] = []
        self.arguments: list[str] = []

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
        del env, cwd, timeout
        if str(SCRIPT) not in argv:
            return Finished(argv=tuple(argv), code=0, out=json.dumps(TOLD), err="")
        assert stdin
        assert on_line
        self.arguments = list(argv[argv.index(str(SCRIPT)) + 1 :])
        self.jobs = [json.loads(line) for line in stdin.splitlines()]
        for job in self.jobs:
            on_line(self._compile(job))
        return Finished(argv=tuple(argv), code=self.code, out="out of memory", err="")

    def _compile(self, job: dict[str, Any]) -> str:
        made = [b"" if "template" in path else f"bytecode of {path}".encode() for _, path in job["files"]]
        Path(job["raw"]).write_bytes(b"".join(made))
        sizes = [f"{len(one) if one else -1}\n" for one in made]
        Path(job["raw"] + ".sizes").write_text("".join(sizes))
        return self.says.get(Path(job["wheel"]).name, str(job["number"]))

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))


def interpreter(shell: FakeShell) -> Interpreter:
    return Interpreter(root=Path("/root"), python="3.11", shell=shell)


def job(folder: Path, name: str, *files: str) -> Job:
    return Job(
        wheel=folder / f"{name}.whl",
        target=folder / f"{name}.zip",
        site=SITE,
        files={f"w/{file}": file for file in files},
    )


def contents(path: Path) -> dict[str, str]:
    with opened_wheel(path) as archive:
        return {one.path: archive.read(one, 1000).decode() for one in archive.members}


def test_bytecode_is_named_by_where_it_lies_and_compiled_for_there(tmp_path: Path) -> None:
    [made] = compile_wheels([job(tmp_path, "a", "a/z.py", "a/b/c.py", "d.py")], interpreter(FakeShell()))
    assert made == Compiled(target=tmp_path / "a.zip", count=3, skipped=())
    found = contents(made.target)
    assert list(found.items()) == [
        ("__pycache__/d.cpython-311.pyc", f"bytecode of {SITE}/d.py"),
        ("a/__pycache__/z.cpython-311.pyc", f"bytecode of {SITE}/a/z.py"),
        ("a/b/__pycache__/c.cpython-311.pyc", f"bytecode of {SITE}/a/b/c.py"),
    ]
    assert list(found) == sorted(found)


def test_files_are_compiled_in_the_order_of_their_paths(tmp_path: Path) -> None:
    shell = FakeShell()
    compile_wheels([job(tmp_path, "a", "z.py", "a.py", "m.py")], interpreter(shell))
    assert [path for _, path in shell.jobs[0]["files"]] == [f"{SITE}/{name}.py" for name in "amz"]


def test_what_does_not_compile_is_told_and_left_out(tmp_path: Path) -> None:
    [made] = compile_wheels([job(tmp_path, "a", "a.py", "template.py")], interpreter(FakeShell()))
    assert made.skipped == ("template.py",)
    assert list(contents(made.target)) == ["__pycache__/a.cpython-311.pyc"]


def test_nothing_to_compile_gives_an_empty_file_and_starts_nothing(tmp_path: Path) -> None:
    shell = FakeShell()
    [made] = compile_wheels([job(tmp_path, "a")], interpreter(shell))
    assert (made.count, made.target.read_bytes()) == (0, b"")
    assert not shell.jobs
    assert compile_wheels([], interpreter(shell)) == ()


def test_where_no_file_compiles_the_file_is_empty_too(tmp_path: Path) -> None:
    [made] = compile_wheels([job(tmp_path, "a", "template.py")], interpreter(FakeShell()))
    assert (made.count, made.target.read_bytes()) == (0, b"")


def test_the_largest_begin_and_answers_come_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    shell = FakeShell()
    jobs = [job(tmp_path, "a", "1.py"), job(tmp_path, "b"), job(tmp_path, "c", "1.py", "2.py")]
    made = compile_wheels(jobs, interpreter(shell), side_by_side=3)
    assert [Path(one["wheel"]).name for one in shell.jobs] == ["c.whl", "a.whl"]
    assert [one.target.name for one in made] == ["a.zip", "b.zip", "c.zip"]
    assert shell.arguments == ["3"]


def test_what_was_written_on_the_way_is_deleted(tmp_path: Path) -> None:
    shell = FakeShell()
    compile_wheels([job(tmp_path, "a", "a.py")], interpreter(shell))
    assert not Path(shell.jobs[0]["raw"]).parent.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_wheel_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    shell = FakeShell({"b.whl": "1 BadZipFile: File is not a zip file"}, code=1)
    jobs = [job(tmp_path, "a", "1.py"), job(tmp_path, "b", "1.py")]
    with pytest.raises(EngineOrNetworkError) as caught:
        compile_wheels(jobs, interpreter(shell))
    [fault] = caught.value.faults
    assert fault.place == "b.whl"
    assert fault.cause == "its Python cannot be compiled: BadZipFile: File is not a zip file"
    assert not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize(
    ("shell", "cause"),
    [
        (FakeShell({"a.whl": "a warning"}), "it left out a.whl"),
        (FakeShell({"a.whl": "77"}), "it left out a.whl"),
        (FakeShell(code=1), "it ended with 1: out of memory"),
    ],
    ids=["silent", "another-number", "failed"],
)
def test_a_python_that_does_not_do_its_part_is_told(tmp_path: Path, shell: FakeShell, cause: str) -> None:
    with pytest.raises(EngineOrNetworkError) as caught:
        compile_wheels([job(tmp_path, "a", "a.py")], interpreter(shell))
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == ("python3.11 of the base", cause)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("a.py", "__pycache__/a.cpython-311.pyc"),
        ("a/b-c.d.py", "a/__pycache__/b-c.d.cpython-311.pyc"),
        ("a/.py", "a/__pycache__/.cpython-311.pyc"),
    ],
)
def test_bytecode_lies_where_python_looks_for_it(path: str, where: str) -> None:
    assert bytecode_path(path, "cpython-311") == where
