"""What is made of findings: the row to use, the cell, the text, the JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.doctor import schema
from builder.doctor.patient.advising import advice, cell_for, limit_of
from builder.doctor.patient.case import Case, Finding, Knowledge
from builder.doctor.patient.facts import Driver, Examination, Gpu, Package, Place, Torch, examination
from builder.doctor.patient.report import Report, as_json, from_json, reported
from builder.doctor.patient.telling import WIDTH, told, verdict

DATA = Path(__file__).parents[2] / "builder" / "data"
PATIENTS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "patients").glob("*.json"))
}


def row(name: str, cuda: str, **more: Any) -> dict[str, Any]:
    plain = {
        "id": name, "summary": f"the row {name}", "status": "good", "cuda": cuda, "driver": "525.60.13",
        "low": 53, "high": 99, "torch": "9.9.9", "ctranslate2": "9.9", "python": "3.11",
    }  # fmt: skip
    return {**plain, **more}


OLD, NEW = row("old", "12.1"), row("new", "12.8", low=75, high=None)
CU13 = row("cu13", "13.0", driver="580.65.06", low=75, high=None)
BARE = row("bare", "12.10", torch=None)
BAD = row("bad", "12.9", status="known-bad")
COMBINATIONS = yaml.safe_load((DATA / "combinations.yaml").read_text(encoding="utf-8"))


def knows(*rows: dict[str, Any]) -> Knowledge:
    return Knowledge(rows, COMBINATIONS, {"12": "525.60.13"}, {}, {})


def case(
    *rows: dict[str, Any], driver: str = "550.54.15", gpus: tuple[str, ...] = ("8.9",), **seen: Any
) -> Case:
    found = Driver(version=driver, gpus=tuple(Gpu(f"GPU of {one}", one) for one in gpus))
    packages = seen.pop("packages", (Package("torch", "2.8.0"),))
    return Case(Examination(driver=found, packages=packages, **seen), knows(*rows))


def report(name: str) -> Report:
    patient = PATIENTS[name]
    cuda = yaml.safe_load((DATA / "cuda.yaml").read_text(encoding="utf-8"))
    ptx = yaml.safe_load((DATA / "ptx.yaml").read_text(encoding="utf-8"))["cuda_of_ptx"]
    known = Knowledge((OLD, NEW), COMBINATIONS, cuda["minimum_driver"], cuda["toolkit_driver"], ptx)
    return reported(Case(examination(patient["examination"]), known, patient["for_gpu"]))


# The row to use


def test_the_row_with_the_newest_cuda_that_driver_and_gpus_allow_is_named() -> None:
    best = advice(case(OLD, NEW, CU13, BAD), ())
    assert best.row == "new"
    assert best.limits == ("cu13: it takes driver 580.65.06, and this is 550.54.15",)
    assert "the newest CUDA (12.8)" in best.why


def test_every_gpu_has_to_be_served_from_below_and_from_above() -> None:
    assert advice(case(OLD, NEW, gpus=("8.9", "6.1")), ()).row == "old"
    assert advice(case(OLD, NEW, gpus=("12.0",)), ()).row == "new"
    assert (
        limit_of(case(gpus=("5.2",)), OLD)
        == "it has code from compute capability 5.3 on, and the GPU of 5.2 (5.2) is too old"
    )
    assert limit_of(case(gpus=("12.0",)), OLD).endswith(
        "up to compute capability 9.9, and the GPU of 12.0 (12.0) is too new"
    )
    assert limit_of(case(gpus=("5.3",)), OLD) == limit_of(case(gpus=("9.0",)), OLD) == ""


def test_where_no_row_fits_it_is_said_what_each_does_not_meet() -> None:
    none = advice(case(OLD, NEW, driver="470.256.02"), ())
    assert (none.row, len(none.limits)) == ("", 2)
    assert none.why == "no row fits this driver and these GPUs"
    assert advice(case(), ()).why == "this doctor was made without rows"
    assert advice(case(BAD), ()).row == ""


def test_a_row_with_torch_is_for_those_who_have_it_and_a_bare_one_for_the_others() -> None:
    assert advice(case(OLD, BARE), ()).row == "old"
    bare = (Package("ctranslate2", "4.8.5"),)
    assert advice(case(OLD, BARE, packages=bare), ()).row == "bare"


def test_without_a_driver_nothing_is_held_against_a_row() -> None:
    unseen = advice(case(OLD, CU13, driver="", gpus=()), ())
    assert unseen.row == "cu13"
    assert "from driver 580.65.06 on" in unseen.why


def test_a_container_gets_an_image_a_machine_a_requirements_file_and_a_notebook_an_environment() -> None:
    image = advice(case(OLD, place=Place("container", container="docker")), ()).how
    machine = advice(case(OLD), ()).how
    notebook = advice(case(OLD, place=Place("colab", container="docker")), ()).how
    assert image[0] == "cuvee build old"
    assert machine[-1].endswith("-r images/old/requirements.txt")
    assert notebook[1:] == machine


# The cell

GRAVE = Finding(
    "cublas-not-found", "will-fail", "x", commands=('%pip install "nvidia-cublas-cu12"',),
    install=("nvidia-cublas-cu12",), preload=("nvidia/cublas/lib/libcublas.so.12",),
)  # fmt: skip
COLAB = Place("colab", container="docker")


def test_a_notebook_gets_one_cell_that_installs_all_and_loads_all() -> None:
    other = Finding("use-auth-token", "will-fail", "y", install=("huggingface-hub<1",))
    beside = Finding("cudnn8-not-found", "will-fail", "z", commands=('%pip install --target /c "w"',))
    cell = cell_for(case(place=COLAB), (GRAVE, other, beside))
    assert cell.splitlines()[0] == '%pip install "nvidia-cublas-cu12" "huggingface-hub<1"'
    assert '%pip install --target /c "w"' in cell
    assert cell.count("%pip") == 2
    compile("\n".join(line for line in cell.splitlines() if not line.startswith("%")), "cell", "exec")
    assert "('nvidia/cublas/lib/libcublas.so.12',)" in cell


def test_there_is_no_cell_outside_of_notebooks_nor_for_mere_notes() -> None:
    assert cell_for(case(), (GRAVE,)) == ""
    assert cell_for(case(place=COLAB), (GRAVE._replace(severity="note"),)) == ""


# The text


@pytest.mark.parametrize("name", PATIENTS)
def test_a_report_can_be_read_at_80_columns(name: str) -> None:
    """Longer are only those lines that are there to be copied: messages, commands, single paths."""
    told_report = report(name)
    verbatim = {line for one in told_report.findings for line in (*one.message.splitlines(), *one.commands)}
    verbatim |= {line.strip() for line in (*told_report.advice.how, *told_report.advice.cell.splitlines())}
    for line in told(told_report).splitlines():
        bare = line.strip()
        assert len(line) <= WIDTH or bare in verbatim or " " not in bare, line


@pytest.mark.parametrize("name", PATIENTS)
def test_the_verdict_comes_first_and_names_the_worst(name: str) -> None:
    made = report(name)
    first = verdict(made)
    serious = [one.id for one in made.findings if one.severity in {"broken", "will-fail"}]
    assert told(made).replace("\n", " ").startswith(first)
    assert (
        (f"the first is {serious[0]}" in first)
        if serious
        else first.startswith(("Nothing", "There is nothing"))
    )


def test_a_report_has_each_finding_with_its_words_whole() -> None:
    text = told(report("colab-2025-01-27"))
    assert "WILL FAIL  cudnn8-not-found" in text
    assert f"    {report('colab-2025-01-27').findings[0].message}\n" in text
    assert "\nA cell that mends it:\n" in text
    assert "\nRow to use: new (" in text
    assert "GPU         Tesla T4, compute capability 7.5, 15360 MiB" in text


def test_what_could_not_be_looked_at_is_told() -> None:
    seen = Examination(troubles=("the driver could not be looked at: OSError: x",), torch=Torch("2.8.0"))
    assert "trouble     the driver could not be looked at: OSError: x" in told(reported(Case(seen, knows())))


# The JSON


@pytest.mark.parametrize("name", PATIENTS)
def test_a_report_survives_json(name: str) -> None:
    made = report(name)
    data = json.loads(json.dumps(as_json(made)))
    assert from_json(data) == made
    assert data["healthy"] == (not made.serious)


def test_a_report_of_another_format_is_refused() -> None:
    data = as_json(report("windows"))
    with pytest.raises(ValueError, match="its format is 2"):
        from_json({**data, "format": 2})
    with pytest.raises(TypeError):
        from_json({**data, "advice": {"weather": "rain"}})


def faults(value: Any, by: dict[str, Any], place: str = "$") -> list[str]:
    """What is wrong with a value, by the part of JSON Schema that ours uses."""
    kinds: dict[str, Any] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    if "anyOf" in by:
        return min((faults(value, one, place) for one in by["anyOf"]), key=len)
    if "const" in by or "enum" in by:
        return [] if value in by.get("enum", [by.get("const")]) else [f"{place}: {value!r}"]
    if by["type"] == "array":
        inner = [
            fault
            for index, one in enumerate(value)
            for fault in faults(one, by["items"], f"{place}[{index}]")
        ]
        return inner if isinstance(value, list) else [place]
    if by["type"] != "object":
        return [] if isinstance(value, kinds[by["type"]]) else [f"{place}: {value!r}"]
    if not isinstance(value, dict):
        return [place]
    known, rest = by.get("properties", {}), by["additionalProperties"]
    wrong = [f"{place}: {name} is missing" for name in by.get("required", []) if name not in value]
    for name, one in value.items():
        if name not in known and rest is False:
            wrong.append(f"{place}: {name} is not known")
        else:
            wrong += faults(one, known.get(name, rest), f"{place}.{name}")
    return wrong


SCHEMA: dict[str, Any] = json.loads(schema.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PATIENTS)
def test_every_report_is_what_the_schema_says(name: str) -> None:
    assert faults(json.loads(json.dumps(as_json(report(name)))), SCHEMA) == []


def test_what_the_schema_does_not_say_is_no_report() -> None:
    data = json.loads(json.dumps(as_json(report("pip-today"))))
    changes: tuple[dict[str, Any], ...] = (
        {"healthy": "yes"},
        {"more": 1},
        {"findings": [{**data["findings"][0], "severity": "bad"}]},
        {"examination": {**data["examination"], "torch": {"version": 2}}},
        {"advice": {}},
    )
    for change in changes:
        assert faults({**data, **change}, SCHEMA) != []


def test_the_committed_schema_is_that_of_the_records() -> None:
    assert schema.FILE.read_text(encoding="utf-8") == schema.schema()
