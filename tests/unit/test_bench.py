"""What `make bench` writes down of the direct engine, how the README tells it, what BuildKit is served."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.project import Project
from builder.render.readme import Told, figure_cells, readme
from builder.report import bench, shared
from builder.report.bench import Amount, DirectBench, Figure
from tests.bench.servers import metadata, pages, wanted

ROOT = Path(__file__).parents[2]
PAGE = "# How fast\n<!-- bench-direct:begin -->\nold\n<!-- bench-direct:end -->\nThe end.\n"

PUSHED = Figure(
    name="from nothing to a registry",
    ours=Amount.whole(build=40.13, push=11.87),
    theirs=Amount.whole("BuildKit, containerd", build=420.0, push=80.0),
    limit=0.25,
)
CHANGED = Figure(name="another CTranslate2", ours=Amount.whole(build=1.2, push=0.5), limit=1.8)
STORE = Figure(
    name="the store",
    ours=Amount(unit="MB", value=6300),
    theirs=Amount(of="their distinct wheels", unit="MB", value=6000),
    limit=1.05,
)
MEMORY = Figure(name="memory", ours=Amount(unit="MB", value=162.3), limit=300)
BEST = Figure(
    name="`cuvee build`",
    ours=Amount(value=40),
    theirs=Amount.whole("reading and inflating", read=1.0, inflate=9.0),
)


def record(*figures: Figure) -> DirectBench:
    return DirectBench(
        row="blend",
        host="2 processors, 25 GB of memory",
        command="make bench blend",
        date="2026-11-25T22:00:00+00:00",
        tools={"Docker": "26.1.5", "isal": "1.8.0"},
        figures=figures,
    )


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    wrote = record(PUSHED, CHANGED, STORE, MEMORY, BEST)
    (tmp_path / bench.DIRECT).write_text(wrote.text(), encoding="utf-8")
    assert bench.read_direct(tmp_path / bench.DIRECT) == wrote


def test_the_record_has_all_that_another_program_needs() -> None:
    told = json.loads(record(PUSHED).text())
    assert told["command"] == "make bench blend"
    assert told["date"] == "2026-11-25T22:00:00+00:00"
    [figure] = told["figures"]
    assert figure["ours"]["parts"] == {"build": 40.13, "push": 11.87}
    assert (figure["ours"]["value"], figure["theirs"]["value"], figure["limit"]) == (52.0, 500.0, 0.25)


def test_a_benchmark_that_never_ran_is_none(tmp_path: Path) -> None:
    assert bench.read_direct(tmp_path / bench.DIRECT) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "limit", "holds"),
    [
        (25.0, 100.0, 0.25, True),
        (25.1, 100.0, 0.25, False),
        (1.8, None, 1.8, True),
        (1.81, None, 1.8, False),
        (400.0, 100.0, None, True),
    ],
)
def test_a_limit_is_of_the_ratio_or_of_the_figure_itself(
    ours: float, theirs: float | None, limit: float | None, holds: bool
) -> None:
    other = None if theirs is None else Amount(value=theirs)
    figure = Figure(name="", ours=Amount(value=ours), theirs=other, limit=limit)
    assert figure.holds is holds


@pytest.mark.parametrize(
    ("figure", "cells"),
    [
        (
            PUSHED,
            (
                "52 s (build 40 s, push 12 s)",
                "BuildKit, containerd: 500 s (build 420 s, push 80 s)",
                "0.104",
                "0.25",
            ),
        ),
        (CHANGED, ("1.70 s (build 1.20 s, push 0.50 s)", "", "", "1.80 s")),
        (STORE, ("6.30 GB", "their distinct wheels: 6.00 GB", "1.050", "1.05")),
        (MEMORY, ("162 MB", "", "", "300 MB")),
        (BEST, ("40 s", "reading and inflating: 10 s (read 1.00 s, inflate 9.00 s)", "4.000", "")),
    ],
    ids=lambda value: value.name if isinstance(value, Figure) else "",
)
def test_a_figure_stands_beside_what_it_is_held_against_and_its_limit(
    figure: Figure, cells: tuple[str, ...]
) -> None:
    assert figure_cells(figure) == (figure.name, *cells)


def test_the_readme_has_the_table_and_says_where_it_is_from() -> None:
    told = Told(rows=(), evidence={}, shown="", direct=record(CHANGED, MEMORY))
    assert readme(PAGE, told).splitlines() == [
        "# How fast",
        "<!-- bench-direct:begin -->",
        "Row `blend`, 2 processors, 25 GB of memory, written by `make bench blend` on 2026-11-25:",
        "",
        "| | cuvee | held against | ratio | limit |",
        "|---|---|---|---|---|",
        "| another CTranslate2 | 1.70 s (build 1.20 s, push 0.50 s) |  |  | 1.80 s |",
        "| memory | 162 MB |  |  | 300 MB |",
        "",
        "With Docker 26.1.5, isal 1.8.0.",
        "<!-- bench-direct:end -->",
        "The end.",
    ]


def test_the_readme_stays_as_it_is_where_nothing_was_measured() -> None:
    assert readme(PAGE, Told(rows=(), evidence={}, shown="")) == PAGE


def test_the_project_s_evidence_gets_into_its_readme(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "golden", tmp_path, dirs_exist_ok=True)
    project = Project(tmp_path)
    (tmp_path / "evidence").mkdir()
    (tmp_path / "survey").mkdir()
    (tmp_path / "README.md").write_text(PAGE, encoding="utf-8")
    project.bench.with_name(bench.DIRECT).write_text(record(MEMORY).text(), encoding="utf-8")
    [text] = shared.readme_page(project, ()).values()
    assert "| memory | 162 MB |  |  | 300 MB |" in text


# The index that BuildKit is served from


@dataclass(frozen=True)
class File:
    name: str
    file: str
    sha256: str = "0" * 64


def test_the_index_has_a_page_for_each_project_with_the_hash_of_each_file() -> None:
    found = pages(
        [File("Zope.Interface", "zope_interface-7-py3-none-any.whl"), File("docopt", "docopt-1.tar.gz")]
    )
    assert sorted(found) == ["docopt", "zope-interface"]
    wheel = f'href="/files/{"0" * 64}/zope_interface-7-py3-none-any.whl#sha256={"0" * 64}"'
    assert wheel in found["zope-interface"]
    assert 'data-core-metadata="true"' in found["zope-interface"]
    assert "metadata" not in found["docopt"]


def test_the_metadata_of_a_wheel_is_that_of_its_own_dist_info(tmp_path: Path) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a/_vendor/b-2.dist-info/METADATA", "Name: b\n")
        archive.writestr("a-1.dist-info/METADATA", "Name: a\n")
    assert metadata(wheel) == b"Name: a\n"


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, (0, 100)),
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-400", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-400", (0, 100)),
        ("bytes=0-1,5-6", (0, 100)),
        ("nonsense", (0, 100)),
    ],
)
def test_a_range_is_what_the_request_wants(header: str | None, part: tuple[int, int]) -> None:
    assert wanted(header, 100) == part
