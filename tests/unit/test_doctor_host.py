"""Running the doctor somewhere else, and the command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builder.doctor import command, host
from builder.doctor.patient.case import Case, Finding, Knowledge
from builder.doctor.patient.facts import Examination, Place
from builder.doctor.patient.report import as_json, from_json, reported
from builder.errors import BadInputError, EngineOrNetworkError
from builder.shell import Finished

KNOWS = Knowledge((), {"rules": [], "belonging": {"rules": {}, "torch": {}}}, {}, {}, {})
HEALTHY = as_json(reported(Case(Examination(place=Place(glibc="2.36")), KNOWS)))


class Recorder:
    """A shell that starts nothing, and answers as it is told."""

    def __init__(self, *answers: Finished | Exception) -> None:
        self.answers = list(answers)
        self.commands: list[list[str]] = []
        self.stdin: list[str] = []

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
        self.commands.append(list(argv))
        self.stdin.append(stdin or "")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))


def ended(code: int = 0, out: str = "", err: str = "") -> Finished:
    return Finished(argv=(), code=code, out=out, err=err)


def said(data: Mapping[str, Any]) -> Finished:
    return ended(out=json.dumps(data))


def engine(shell: Recorder, *, has: bool = True) -> Any:
    return SimpleNamespace(
        shell=shell, environment={"DOCKER_HOST": "unix:///x"}, image_id=lambda _: "sha256:1" if has else None
    )


def test_the_doctor_goes_in_through_standard_input_and_its_json_comes_back(tmp_path: Path) -> None:
    shell = Recorder(said(HEALTHY))
    found = host.examine_python(tmp_path / "python", shell)
    assert found.data == HEALTHY
    assert not found.report.serious
    assert shell.commands == [[str(tmp_path / "python"), "-", "--json"]]
    assert shell.stdin[0] == host.DOCTOR.read_text(encoding="utf-8")


def test_the_root_of_an_environment_stands_for_its_python(tmp_path: Path) -> None:
    shell = Recorder(said(HEALTHY))
    host.examine_python(tmp_path, shell)
    assert shell.commands[0][0] == str(tmp_path / "bin" / "python")


def test_a_relative_path_begins_at_the_working_folder_and_its_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/nowhere/python3")
    monkeypatch.chdir(tmp_path)
    shell = Recorder(said(HEALTHY), said(HEALTHY))
    host.examine_python(Path("bin/python"), shell)
    host.examine_python(Path(), shell)
    assert [command[0] for command in shell.commands] == [str(tmp_path / "bin" / "python")] * 2


def test_a_gpu_may_be_thought_where_there_is_none(tmp_path: Path) -> None:
    shell = Recorder(said(HEALTHY))
    host.examine_python(tmp_path / "python", shell, for_gpu=True)
    assert shell.commands[0][1:] == ["-", "--json", "--for-gpu"]


def test_here_is_the_python_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/activated/bin/{name}")
    shell = Recorder(said(HEALTHY))
    host.examine_here(shell)
    assert shell.commands[0][0] == "/activated/bin/python3"


@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError()])
def test_where_there_is_no_python_the_path_is_wrong(error: Exception) -> None:
    with pytest.raises(BadInputError) as caught:
        host.examine_python(Path("/nowhere"), Recorder(error))
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == ("/nowhere", "there is no Python to run")
    assert fault.fix


@pytest.mark.parametrize(
    "answer",
    [
        ended(out="Python 2.7"),
        ended(out="[]"),
        ended(out='{"format": 9}'),
        ended(1, err="SyntaxError: future feature annotations is not defined"),
        said({**HEALTHY, "examination": {"weather": "rain"}}),
        ended(),
    ],
)
def test_what_is_no_report_is_an_error_with_the_last_words(answer: Finished) -> None:
    with pytest.raises(EngineOrNetworkError) as caught:
        host.examine_python(Path("/p"), Recorder(answer))
    [fault] = caught.value.faults
    assert "gave no answer there" in fault.cause
    assert (answer.err or answer.out[-20:] or "it said nothing") in fault.cause
    assert fault.fix.startswith("Run builder/doctor/doctor.py")


def test_an_examination_that_does_not_end_is_an_error() -> None:
    with pytest.raises(EngineOrNetworkError, match="did not end within 600 s"):
        host.examine_python(Path("/p"), Recorder(subprocess.TimeoutExpired("python", 600)))


def test_other_errors_of_the_shell_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        host.examine_python(Path("/p"), Recorder(ZeroDivisionError()))


def test_an_image_is_examined_without_network_and_entry_point_and_judged_for_a_gpu() -> None:
    shell = Recorder(said(HEALTHY))
    host.examine_image(engine(shell), "an/image:1")
    [command_line] = shell.commands
    assert command_line[:2] == ["docker", "run"]
    assert command_line[-6:] == ["--entrypoint", "python3", "an/image:1", "-", "--json", "--for-gpu"]
    assert {"--rm", "--interactive", "none", "cuvee.test=1", "NVIDIA_VISIBLE_DEVICES=void"} <= set(
        command_line
    )
    assert "--gpus" not in command_line


def test_with_gpus_the_image_sees_them_and_is_judged_by_them() -> None:
    shell = Recorder(said(HEALTHY))
    host.examine_image(engine(shell), "an/image:1", gpus=True)
    assert shell.commands[0][-2:] == ["-", "--json"]
    assert shell.commands[0][shell.commands[0].index("--gpus") + 1] == "all"


def test_an_images_python_is_looked_for_where_images_have_it() -> None:
    shell = Recorder(ended(127, err="exec: python3: not found"), ended(127), said(HEALTHY))
    host.examine_image(engine(shell), "conda:1")
    assert [command[command.index("--entrypoint") + 1] for command in shell.commands] == list(
        host.IN_IMAGES[:3]
    )


def test_an_image_without_python_is_told_as_such() -> None:
    shell = Recorder(*[ended(127)] * len(host.IN_IMAGES))
    with pytest.raises(BadInputError, match="the image has no Python that starts"):
        host.examine_image(engine(shell), "scratch:1")


def test_an_image_that_the_engine_has_not_is_to_be_pulled() -> None:
    shell = Recorder()
    with pytest.raises(BadInputError, match=r"no such image\. Run `docker pull gone:1`"):
        host.examine_image(engine(shell, has=False), "gone:1")
    assert shell.commands == []


def test_a_container_that_does_not_start_says_why() -> None:
    shell = Recorder(ended(125, err="could not select device driver with capabilities: [[gpu]]"))
    with pytest.raises(EngineOrNetworkError, match="could not select device driver"):
        host.examine_image(engine(shell), "an/image:1", gpus=True)


def test_a_container_that_hangs_is_removed() -> None:
    shell = Recorder(subprocess.TimeoutExpired("docker", 600), ended())
    with pytest.raises(EngineOrNetworkError, match="did not end"):
        host.examine_image(engine(shell), "an/image:1")
    name = shell.commands[0][shell.commands[0].index("--name") + 1]
    assert shell.commands[1] == ["docker", "rm", "--force", name]


def test_without_a_docker_client_nothing_can_be_examined() -> None:
    with pytest.raises(EngineOrNetworkError, match="there is no `docker` client"):
        host.examine_image(engine(Recorder(FileNotFoundError())), "an/image:1")


# The command

BROKEN = Finding("cublas-not-found", "will-fail", "It is gone", fix="Bring it", sure="seen")
SICK = as_json(reported(Case(Examination(place=Place(glibc="2.36")), KNOWS))._replace(findings=(BROKEN,)))


def run(
    monkeypatch: pytest.MonkeyPatch, data: Mapping[str, Any], *arguments: str
) -> tuple[Result, list[Any]]:
    asked: list[Any] = []

    def examined(*words: Any, **more: Any) -> host.Consultation:
        asked.append((words, more))
        return host.Consultation(report=from_json(json.loads(json.dumps(data))), data=data)

    for name in ("examine_here", "examine_python", "examine_image"):
        monkeypatch.setattr(host, name, examined)
    context = SimpleNamespace(engine=lambda: "the engine")
    return CliRunner().invoke(command.doctor, arguments, obj=context), asked


def test_a_healthy_patient_ends_with_0_and_a_sick_one_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, HEALTHY)[0].exit_code == 0
    result, asked = run(monkeypatch, SICK)
    assert result.exit_code == 1
    assert "WILL FAIL  cublas-not-found" in result.output
    assert asked == [((), {"for_gpu": False})]


def test_json_is_what_the_doctor_said(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = run(monkeypatch, SICK, "--json")
    assert json.loads(result.stdout) == json.loads(json.dumps(SICK))
    assert result.exit_code == 1


def test_an_image_and_an_environment_are_examined_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(monkeypatch, HEALTHY, "--image", "a:1", "--gpus")[1] == [
        (("the engine", "a:1"), {"gpus": True})
    ]
    assert run(monkeypatch, HEALTHY, "--python", str(tmp_path))[1] == [((tmp_path,), {"for_gpu": False})]
    assert run(monkeypatch, HEALTHY, "--for-gpu")[1] == [((), {"for_gpu": True})]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--image", "a:1", "--python", "/"), "two patients"),
        (("--gpus",), "goes with --image"),
        (("--image", "a:1", "--gpus", "--for-gpu"), "give one"),
        (("--python", "/nowhere/at/all"), "does not exist"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    result, asked = run(monkeypatch, HEALTHY, *arguments)
    assert (result.exit_code, asked) == (2, [])
    assert words in result.output
