from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder.engines.direct.interpreter import Interpreter
from builder.engines.direct.sources import LEGACY, build_wheel
from builder.errors import BadInputError, CannotResolveError, EngineOrNetworkError, Fault
from builder.lock.record import Package
from builder.shell import Finished
from builder.wheels.members import opened_wheel

FILES = {
    "my_x/__init__.py": "pass\n",
    "my_x-1.0.data/scripts/run": "#!python\n",
    "my_x-1.0.dist-info/METADATA": "Name: My.X\n",
    "my_x-1.0.dist-info/RECORD": "what the backend wrote",
    "my_x-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\n",
    "zz,top.py": "pass\n",
}
SOURCE = "My.X-1.0.tar.gz"
PACKAGE = Package(name="my-x", version="1.0", file=SOURCE, sha256="a" * 64, size=1)


@dataclass
class FakeShell:
    """A backend that makes one wheel, in the order and at the time that suit it.

    Attributes:
        wheel: The wheel's name.
        files: What is in it.
        answer: What it answers instead.
        err: What it says besides.
        time: The year that its files are of.
    """

    wheel: str = "my_x-1.0-py3-none-any.whl"
    files: Mapping[str, str] = field(default_factory=lambda: FILES)
    answer: str = ""
    err: str = ""
    time: int = 2020
    arguments: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)

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
        del env, cwd, stdin, timeout, on_line
        self.arguments = list(argv[-5:])
        self.tools = sorted(path.name for path in Path(self.arguments[1]).iterdir())
        assert (Path(self.arguments[0]) / "setup.py").read_text() == "setup()"
        with zipfile.ZipFile(Path(self.arguments[-1]) / self.wheel, "w") as made:
            for name, text in self.files.items():
                info = zipfile.ZipInfo(name, (self.time, 1, 1, 0, 0, 0))
                info.external_attr = (0o100775 if "scripts" in name else 0o100600) << 16
                made.writestr(info, text)
        out = self.answer or json.dumps({"wheel": self.wheel})
        return Finished(argv=tuple(argv), code=0, out=out, err=self.err)

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))


def tool(folder: Path, name: str) -> Path:
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{name}/__init__.py", "")
    return path


def built(
    folder: Path, shell: FakeShell, pyproject: str = "", tools: Sequence[str] = ("setuptools",)
) -> Path:
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / SOURCE, "w:gz") as tar:
        for name, text in (("setup.py", "setup()"), *([("pyproject.toml", pyproject)] if pyproject else [])):
            info = tarfile.TarInfo(f"My.X-1.0/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    python = Interpreter(root=Path("/root"), python="3.11", shell=shell)
    made = [tool(folder, name) for name in tools]
    return build_wheel(PACKAGE, folder / SOURCE, made, python, folder / "built")


def refusal(folder: Path, shell: FakeShell, pyproject: str = "") -> Fault:
    with pytest.raises(CannotResolveError) as caught:
        built(folder, shell, pyproject)
    assert not (folder / "built").exists()
    [fault] = caught.value.faults
    assert fault.place == SOURCE
    assert fault.fix == (
        "Choose a version that has a wheel, or build a wheel of it and offer that on your index"
    )
    return fault


def test_a_wheel_is_sorted_and_its_record_stands_last(tmp_path: Path) -> None:
    path = built(tmp_path, FakeShell())
    assert path == tmp_path / "built" / "my_x-1.0-py3-none-any.whl"
    with opened_wheel(path) as archive:
        names = [one.path for one in archive.members]
        modes = {one.path: one.mode for one in archive.members}
    assert names == [*sorted(set(FILES) - {names[-1]}), "my_x-1.0.dist-info/RECORD"]
    assert {path for path, mode in modes.items() if mode == 0o755} == {"my_x-1.0.data/scripts/run"}
    assert set(modes.values()) == {0o644, 0o755}


def test_its_record_is_of_what_is_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(built(tmp_path, FakeShell())) as wheel:
        record = wheel.read("my_x-1.0.dist-info/RECORD").decode()
        lines = []
        for name in wheel.namelist()[:-1]:
            content = wheel.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            shown = f'"{name}"' if "," in name else name
            lines.append(f"{shown},sha256={digest},{len(content)}\n")
    assert record == "".join(lines) + "my_x-1.0.dist-info/RECORD,,\n"


def test_order_and_time_of_the_backend_leave_no_trace(tmp_path: Path) -> None:
    other = FakeShell(files=dict(reversed(FILES.items())), time=1999)
    first, second = built(tmp_path / "a", FakeShell()), built(tmp_path / "b", other)
    assert first.read_bytes() == second.read_bytes()


def test_a_wheel_for_python_2_too_is_named_for_the_one_that_it_is_for(tmp_path: Path) -> None:
    path = built(tmp_path, FakeShell("my_x-1.0-py2.py3-none-any.whl"))
    assert path.name == "my_x-1.0-py3-none-any.whl"


def test_without_pyproject_setuptools_builds_as_it_always_did(tmp_path: Path) -> None:
    shell = FakeShell()
    built(tmp_path, shell)
    assert shell.arguments[2:4] == [LEGACY, ""]
    assert shell.tools == ["setuptools"]
    assert not Path(shell.arguments[0]).exists()


def test_what_pyproject_says_is_told_to_the_builder(tmp_path: Path) -> None:
    shell = FakeShell()
    text = '[build-system]\nrequires = ["Setup_Tools>=1", "wheel", "gone; python_version < \'3\'"]\n'
    built(tmp_path, shell, f'{text}build-backend = "a.b"\nbackend-path = ["c"]\n', ["setup_tools"])
    assert shell.arguments[2:4] == ["a.b", "c"]


def test_a_tool_that_the_lock_has_not_is_named(tmp_path: Path) -> None:
    text = '[build-system]\nrequires = ["setuptools", "Flit_Core", "cython"]\n'
    assert refusal(tmp_path, FakeShell(), text).cause == (
        "is built with cython, flit-core, and the lock's tools have no such package"
    )


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[build-system]\nrequires = 1",
        "[build-system]\nx = 1",
        "build-system = 1",
        '[build-system]\nrequires = ["=="]',
        '[build-system]\nrequires = []\nbackend-path = ["../x"]',
    ],
)
def test_a_pyproject_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        built(tmp_path, FakeShell(), text)
    [fault] = caught.value.faults
    assert fault.place == f"{SOURCE} pyproject.toml"
    assert fault.cause.startswith("cannot be read: ")


@pytest.mark.parametrize(
    ("shell", "cause"),
    [
        (
            FakeShell(answer='{"error": "CompileError: command \'gcc\' failed"}'),
            "needs a compiler, which a base has not (CompileError: command 'gcc' failed)",
        ),
        (
            FakeShell("my_x-1.0-cp311-cp311-linux_x86_64.whl"),
            "needs a compiler, which a base has not (it becomes my_x-1.0-cp311-cp311-linux_x86_64.whl)",
        ),
        (FakeShell(answer='{"error": "ValueError: no"}'), "cannot be built: ValueError: no"),
        (FakeShell("my_x-2.0-py3-none-any.whl"), "becomes my-x 2.0, and not my-x 1.0"),
        (FakeShell("unknown-1.0-py3-none-any.whl"), "becomes unknown 1.0, and not my-x 1.0"),
    ],
    ids=["compiler", "platform", "error", "version", "name"],
)
def test_what_cannot_become_a_wheel_for_all_is_told(tmp_path: Path, shell: FakeShell, cause: str) -> None:
    assert refusal(tmp_path, shell).cause == cause


def test_an_answer_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineOrNetworkError, match="does not say what became of"):
        built(tmp_path, FakeShell(answer="nonsense"))
