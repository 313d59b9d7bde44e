"""`cuvee explain`: what it reads, what it prints, and how it ends."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import TypeAdapter

from builder.errors import BadInputError, CheckFailedError, Fault
from builder.explain.command import explain
from builder.explain.explaining import Explanation
from builder.explain.explaining import explain as explained
from builder.explain.page import WIDTH, page, to_json

LOGS = Path(__file__).parent / "logs"
ROOT = Path(__file__).parents[2]
CUDNN_8 = (LOGS / "cudnn8-not-found/compose.txt").read_text(encoding="utf-8")
UNKNOWN = "Traceback (most recent call last):\nKeyError: 'speakers'\n"


class Project:
    """What the command line's context has."""

    def verdicts(self) -> Mapping[str, frozenset[str]]:
        return {"cu121": frozenset(), "asr": frozenset(), "bad": frozenset({"cudnn8-not-found"})}


class NoProject:
    def verdicts(self) -> NoReturn:
        raise BadInputError(Fault(place=".", cause="there is no matrix.yaml", fix="Go where one is"))


def run(*arguments: str, text: str | bytes | None = None, project: object = None) -> Result:
    return CliRunner().invoke(explain, arguments, input=text, obj=project)


def raised(result: Result) -> Any:
    assert result.exception
    return result.exception


# Reading


def test_it_is_a_command_to_be_mounted() -> None:
    group = click.Group("cuvee", commands=[explain])
    result = CliRunner().invoke(group, ["explain"], input=CUDNN_8)
    assert result.exit_code == 0
    assert "cudnn8-not-found" in result.stdout


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_it_reads_standard_input(arguments: list[str]) -> None:
    assert "cudnn8-not-found" in run(*arguments, text=CUDNN_8).stdout


def test_it_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_bytes(b"\xff\xfe" + CUDNN_8.encode("utf-16-le"))
    assert "line 3:" in run(str(file)).stdout


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_a_file_that_cannot_be_read_is_bad_input(name: str, tmp_path: Path) -> None:
    error = raised(run(str(tmp_path / name)))
    assert isinstance(error, BadInputError)
    [fault] = error.faults
    assert fault.place == str(tmp_path / name)
    assert "cannot be read" in fault.cause
    assert "name" in fault.fix


def test_nothing_to_read_is_bad_input() -> None:
    [fault] = raised(run(text="")).faults
    assert (fault.place, fault.cause) == ("standard input", "there is no text in it")
    assert "2>&1" in fault.fix


class Terminal(io.TextIOWrapper):
    """A standard input where a person sits."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_told_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(CUDNN_8.encode())))
    explain.main([], standalone_mode=False)
    printed = capsys.readouterr()
    assert "Ctrl-D" in printed.err
    assert "Ctrl-D" not in printed.out


def test_a_pipe_is_not_asked_to_paste() -> None:
    assert run(text=CUDNN_8).stderr == ""


# Ending


def test_it_ends_well_when_something_is_explained_or_all_is_well() -> None:
    assert run(text=CUDNN_8).exit_code == 0
    assert run(text="INFO: started\n").exit_code == 0


def test_an_unknown_failure_is_told_and_ends_with_1() -> None:
    result = run(text=UNKNOWN)
    error = raised(result)
    assert isinstance(error, CheckFailedError)
    assert error.exit_code == 1
    assert "Nothing that is known here fits" in result.stdout
    assert "KeyError: 'speakers'" in result.stdout
    assert "cuvee doctor" in result.stdout


def test_json_is_printed_for_an_unknown_failure_too() -> None:
    assert json.loads(run("--json", text=UNKNOWN).stdout)["outcome"] == "unknown"


# Rows


def test_rows_without_the_failure_are_told() -> None:
    assert "Rows that do not have this failure: cu121, asr." in run(text=CUDNN_8, project=Project()).stdout


@pytest.mark.parametrize("project", [None, NoProject(), object()])
def test_without_a_project_no_rows_are_told(project: object) -> None:
    result = run(text=CUDNN_8, project=project)
    assert result.exit_code == 0
    assert "Rows" not in result.stdout


def test_rows_are_in_the_json() -> None:
    assert json.loads(run("--json", text=CUDNN_8, project=Project()).stdout)["rows"] == ["cu121", "asr"]


# The page


def test_the_page_of_the_log_s_place_has_its_fix_and_names_the_others() -> None:
    printed = run(text=CUDNN_8).stdout
    assert "What helps in Docker:" in printed
    assert "What helps in Colab:" not in printed
    assert "--place colab or --place venv" in printed


def test_another_place_can_be_asked_for() -> None:
    printed = run("--place", "colab", text=CUDNN_8).stdout
    assert "What helps in Colab:" in printed
    assert "What helps in Docker:" not in printed


def test_all_places_are_told_when_none_shows() -> None:
    printed = run(text="Library libcublas.so.12 is not found or cannot be loaded").stdout
    assert printed.count("What helps in") == 3
    assert "--place" not in printed


def test_a_page_fits_a_terminal_save_for_what_is_pasted() -> None:
    for path in LOGS.glob("*/*.txt"):
        told = explained(path.read_text(encoding="utf-8"))
        pasted = {line for finding in told.findings for steps in finding.fixes.values() for step in steps
                  for line in step.paste.splitlines()}  # fmt: skip
        pasted |= {line for step in told.collect for line in step.paste.splitlines()}
        for line in click.unstyle(page(told)).splitlines():
            assert len(line) <= WIDTH or line.strip() in {one.strip() for one in pasted}, path


def test_what_is_pasted_is_never_broken() -> None:
    told = explained(CUDNN_8)
    for step in told.findings[0].fixes["docker"]:
        assert re.sub(r"^ +", "", step.paste, flags=re.MULTILINE) in re.sub(
            r"^ +", "", page(told), flags=re.MULTILINE
        )


def test_an_echo_is_told_in_short() -> None:
    told = explained((LOGS / "several/a-day-of-trying.txt").read_text(encoding="utf-8"))
    text = click.unstyle(page(told))
    assert "It follows from cublas-not-found" in " ".join(text.split())
    assert text.count("Upstream:") == 3


def test_certainty_versions_and_the_reason_for_the_place_are_told() -> None:
    text = " ".join(page(explained((LOGS / "cudnn9-not-found/runpod.txt").read_text("utf-8"))).split())
    assert "(The cause is likely.)" in text
    told = explained((LOGS / "cudnn8-not-found/whisperx-colab.txt").read_text("utf-8"))
    text = " ".join(page(told).split())
    assert "The log tells of torch 2.5.1+cu124" in text
    assert 'in Colab: it has "/usr/local/lib/python3.11/dist-packages"' in text


def test_a_healthy_log_is_told_so_with_how_to_capture_more() -> None:
    text = " ".join(page(explained("fine\n")).split())
    assert "no sign of a failure in this log (1 line)" in text
    assert "docker logs NAME 2>&1" in text


def test_several_rows_and_lines_are_counted_in_words() -> None:
    told = replace(explained(CUDNN_8 * 3), rows=("a", "b"))
    assert "and on 2 more lines" in page(told)
    assert "Rows that do not have this failure: a, b." in page(told)


# JSON


def without_format(text: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(text)
    assert data.pop("format") == 1
    return data


@pytest.mark.parametrize("name", ["no-kernel-image/blackwell", "several/a-day-of-trying", "healthy/server"])
def test_json_is_what_the_schema_describes(name: str) -> None:
    told = explained((LOGS / f"{name}.txt").read_text(encoding="utf-8"))
    data = without_format(to_json(told))
    records = TypeAdapter(Explanation)  # the schema is made from it
    assert records.validate_python(data) == told
    described = json.loads((ROOT / "builder/explain.schema.json").read_text(encoding="utf-8"))
    assert set(described["required"]) == {*data, "format"}
    for finding in data["findings"]:
        assert set(described["$defs"]["Finding"]["required"]) == set(finding)
        assert set(described["$defs"]["Step"]["required"]) == set(finding["fixes"]["venv"][0])


def test_json_has_no_colours() -> None:
    assert "\x1b" not in run("--json", text=CUDNN_8).stdout


# Starting


def imported(name: str) -> set[str]:
    """The modules that a module of `builder.explain` imports when it is imported."""
    tree = ast.parse((ROOT / "builder/explain" / f"{name}.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names]
    return {*names, *(node.module or "" for node in imports if isinstance(node, ast.ImportFrom))}


def test_the_command_is_there_before_what_explains_is_loaded() -> None:
    ours = {name for name in imported("command") if name.startswith("builder")}
    assert ours == {"builder.errors"}


@pytest.mark.parametrize(
    "name", ["explaining", "matching", "normalise", "page", "reading", "signatures", "suspects", "versions"]
)
def test_explaining_loads_nothing_heavy(name: str) -> None:
    roots = {module.split(".")[0] for module in imported(name)} - sys.stdlib_module_names
    assert roots <= {"builder", "click", "yaml"}
    assert all(one.startswith("builder.explain") for one in imported(name) if one.startswith("builder"))
