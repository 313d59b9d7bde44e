"""What a small matrix and its locks render to, byte for byte.

After a change that is meant, write the files again and read the diff before you commit it:

    UPDATE_GOLDEN=1 .venv/bin/pytest tests/golden
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from builder import matrix
from builder.lock import record
from builder.matrix import Row
from builder.plan import Plan, plan
from builder.project import Project
from builder.render.dockerfile import TEMPLATES, dockerfile
from builder.render.launcher import FOLDER
from builder.render.requirements import requirements

GOLDEN = Project(Path(__file__).parent)
ROWS = matrix.load(GOLDEN.matrix).rows
VERSION = re.compile(r"\d+(?:\.\d+)+")
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)


def planned(row: Row) -> Plan:
    return plan(row, record.read(GOLDEN.image(row.id) / record.FILE))


def rendered(row: Row) -> dict[str, bytes]:
    """All files of a row, by the code of today, from the lock that lies there; the launcher's own aside."""
    lock = record.read(GOLDEN.image(row.id) / record.FILE)
    lock = dataclasses.replace(lock, fingerprint=row.fingerprint())
    intended = plan(row, lock)
    texts = {record.FILE: lock.text(), **requirements(lock, intended), **dockerfile(intended)}
    return {name: text.encode() for name, text in texts.items() if not name.startswith(f"{FOLDER}/")}


def dockerfile_of(row: Row) -> str:
    return (GOLDEN.image(row.id) / "Dockerfile").read_text(encoding="utf-8")


def instructions(text: str, keyword: str) -> list[str]:
    """The instructions of that kind, each on one line; here-documents and comments are none."""
    text = re.sub(r'<<"EOF"[^\n]*\n.*?\nEOF\n', "\n", text, flags=re.DOTALL)
    lines = re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [line for line in lines if line.startswith(f"{keyword} ")]


@every_row
def test_a_row_renders_to_exactly_these_files(row: Row) -> None:
    folder, texts = GOLDEN.image(row.id), rendered(row)
    if os.environ.get("UPDATE_GOLDEN"):
        for path in folder.iterdir():
            path.unlink()
        for name, content in texts.items():
            (folder / name).write_bytes(content)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == texts


def test_the_rows_between_them_have_all_that_is_rendered_differently() -> None:
    blend, small, split = (planned(row) for row in ROWS)
    kinds = [[(layer.kind, layer.is_overlay) for layer in row.layers] for row in (blend, small)]
    chained, beside, overlaid = ("chain", False), ("beside", False), ("beside", True)
    assert {chained, beside, overlaid} == {*kinds[0]}
    assert {chained, beside} == {*kinds[1]}
    assert [len(one.environments) for one in (blend, small, split)] == [1, 1, 2]
    assert (bool(blend.links), bool(blend.system_packages)) == (True, False)
    assert (bool(small.links), bool(small.system_packages)) == (False, True)


@every_row
def test_every_version_in_a_dockerfile_comes_from_the_plan(row: Row) -> None:
    known = planned(row)
    sizes = {f"{layer.size / 1e6:.1f}" for layer in known.layers}
    from_plan = {*VERSION.findall(str(dataclasses.replace(known, layers=(), tools=()))), *sizes}
    assert set(VERSION.findall(dockerfile_of(row))) <= from_plan


def test_the_templates_have_no_version_of_their_own() -> None:
    for template in TEMPLATES.iterdir():
        outside = re.sub(r"\{[{%].*?[%}]\}", "", template.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not VERSION.findall(outside), template.name


@every_row
def test_no_stage_stands_on_a_cuda_image_whose_tag_can_vanish(row: Row) -> None:
    text = dockerfile_of(row)
    stages = instructions(text, "FROM")
    assert stages[0] == "FROM ${BASE} AS base"
    assert instructions(text, "ARG") == [f"ARG BASE={row.base.image}"]
    own = {stage.rpartition(" AS ")[2] for stage in stages}
    assert {stage.split()[1] for stage in stages[1:]} <= own
    assert not any(
        "nvidia/cuda" in line for kind in ("FROM", "ARG", "COPY") for line in instructions(text, kind)
    )


@every_row
def test_the_hosts_secrets_are_lent_to_a_step_and_copied_into_no_image(row: Row) -> None:
    text = dockerfile_of(row)
    lent = [line for line in instructions(text, "RUN") if "id=ca" in line]
    assert lent
    for line in lent:
        assert line.count("--mount=type=secret,id=ca ") == line.count("id=ca")
        assert line.count("--mount=type=secret,id=index ") == line.count("id=index")
    assert not instructions(text, "ADD")
    for line in instructions(text, "COPY"):
        from_a_stage = re.fullmatch(r"COPY --link --from=(\S+) (\S+) \2", line)
        assert from_a_stage or line == "COPY --chmod=755 ", "else it is a here-document"


@every_row
def test_packages_are_installed_by_their_hash_and_bring_nothing_else(row: Row) -> None:
    for name, content in rendered(row).items():
        if name.startswith("requirements"):
            pins = [line for line in content.decode().splitlines() if not line.startswith("#")]
            assert pins
            assert all(re.fullmatch(r"[a-z0-9-]+==\S+ --hash=sha256:[0-9a-f]{64}", pin) for pin in pins)
    installs = dockerfile_of(row).count("--require-hashes --requirement")
    assert installs == dockerfile_of(row).count("--no-deps") == 2


@every_row
def test_an_image_keeps_no_setting_of_its_build(row: Row) -> None:
    text = dockerfile_of(row)
    [environment] = instructions(text, "ENV")
    assert text.index("\nENV ") > text.rindex("\nFROM ")
    names = re.findall(r"(\w+)=\"", environment)
    assert names == ["PATH", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_REQUIRE_CUDA"]


def test_packages_of_a_further_suite_come_from_where_the_image_gets_its_own() -> None:
    plain, further = (
        dockerfile(dataclasses.replace(planned(ROWS[0]), suite="new", suites=suites))["Dockerfile"]
        for suites in ((), ("old",))
    )
    [line] = set(further.splitlines()) - set(plain.splitlines())
    sources = "/etc/apt/sources.list.d"
    assert line.strip() == f"sed 's/new/old/g' {sources}/debian.sources >{sources}/old.sources && \\"
    assert further.index(line) < further.index("apt-get update")


def test_a_text_of_the_matrix_is_a_label_and_no_instruction_whatever_it_holds() -> None:
    row = ROWS[0]
    nasty = 'say "hi" for $5\\\nRUN touch /bad'
    text = dockerfile(
        dataclasses.replace(planned(row), summary=nasty, labels=(("one", nasty), ("two", "x")))
    )["Dockerfile"]
    assert not any("touch" in line for line in instructions(text, "RUN"))
    assert instructions(text, "LABEL") == [
        r'LABEL one="say \"hi\" for \$5\\ RUN touch /bad" two="x"',
    ]
