from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pytest

from builder.engines.direct.entry import Entry
from builder.engines.direct.environment import environment_files
from builder.engines.direct.interpreter import Interpreter
from builder.engines.direct.tar import Node
from builder.errors import BadInputError, EngineOrNetworkError
from builder.shell import Finished

PREFIX = PurePosixPath("/opt/cuvee/main")
TOLD = [
    {"path": "/opt/cuvee/main", "kind": "directory", "mode": 0o755},
    {"path": "/opt/cuvee/main/bin/python", "kind": "link", "mode": 0o755, "target": "python3.11"},
    {"path": "/opt/cuvee/main/pyvenv.cfg", "kind": "file", "mode": 0o644, "text": "home = /usr/bin\n"},
]


class FakeShell:
    """A Python that says what it has made, and remembers what it was asked."""

    def __init__(self, out: str) -> None:
        self.out, self.arguments = out, list[str]()

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
        self.arguments = list(argv[-3:])
        assert Path(self.arguments[0]).is_dir()
        return Finished(argv=tuple(argv), code=0, out=self.out, err="")

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))


def interpreter(out: str, root: Path = Path("/root")) -> Interpreter:
    return Interpreter(root=root, python="3.11", shell=FakeShell(out))


def test_folders_links_and_files_become_entries() -> None:
    assert environment_files(interpreter(json.dumps(TOLD)), PREFIX) == (
        Entry(Node("opt/cuvee/main", "directory", 0o755)),
        Entry(Node("opt/cuvee/main/bin/python", "link", 0o777, "python3.11")),
        Entry(Node("opt/cuvee/main/pyvenv.cfg", "file", 0o644), b"home = /usr/bin\n"),
    )


def test_it_is_made_in_a_folder_of_its_own_for_the_program_of_the_image() -> None:
    found = interpreter("[]")
    environment_files(found, PREFIX)
    assert isinstance(found.shell, FakeShell)
    scratch, prefix, program = found.shell.arguments
    assert (prefix, program) == ("/opt/cuvee/main", "/usr/bin/python3.11")
    assert not Path(scratch).exists()


@pytest.mark.parametrize("out", ["", "nonsense", "{}x", '[{"path": 1}]', "[1]"])
def test_an_answer_that_is_none_is_an_error(out: str) -> None:
    with pytest.raises(EngineOrNetworkError, match="does not say what is in a new environment"):
        environment_files(interpreter(out), PREFIX)


def test_a_python_that_is_a_link_is_refused_since_the_image_would_name_another(tmp_path: Path) -> None:
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "python3.11").symlink_to("/opt/python")
    with pytest.raises(BadInputError) as caught:
        environment_files(interpreter("[]", tmp_path), PREFIX)
    [fault] = caught.value.faults
    assert fault.place == "python3.11 of the base"
    assert fault.fix == "Use a base with Debian's own Python"
