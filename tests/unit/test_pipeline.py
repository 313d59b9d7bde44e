from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder import bases, matrix, pipeline, rowfiles
from builder.errors import (
    BadInputError,
    CheckFailedError,
    CuveeError,
    EngineOrNetworkError,
    NothingSelectedError,
)
from builder.lock import record
from builder.lock.record import Environment, Lock
from builder.lock.resolve import resolve
from builder.matrix import Row
from builder.project import Project
from builder.render.launcher import FOLDER, launcher_files
from builder.report.facts import _accounted as facts_accounted
from builder.shell import Finished

ROOT = Path(__file__).parents[2]
SAID = Path(__file__).with_name("uv_says")
ALL = matrix.load(ROOT / "matrix.yaml").rows
REAL = tuple(row for row in ALL if not rowfiles.unlocked(Project(ROOT), row))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of the golden project, which is locked and rendered."""
    shutil.copytree(ROOT / "tests" / "golden", tmp_path, dirs_exist_ok=True)
    for folder in (tmp_path / "images").iterdir():  # the launcher's files are kept but once
        (folder / FOLDER).mkdir()
        for name, text in launcher_files().items():
            (folder / FOLDER / name).write_text(text, encoding="utf-8")
    return Project(tmp_path)


@pytest.fixture
def row(project: Project) -> Row:
    return pipeline.rows(project, ["blend"])[0]


class Resolver:
    """Stands in for the resolver: it gives one answer, and remembers what it was asked."""

    def __init__(self, answer: Lock) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Lock | None]] = []

    def __call__(self, row: Row, previous: Lock | None) -> Lock:
        self.asked.append((row.id, previous))
        return dataclasses.replace(self.answer, fingerprint=row.fingerprint())


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch, project: Project) -> Resolver:
    """Answers with the present lock of `blend`, less its overlay."""
    present = record.read(project.image("blend") / record.FILE)
    fewer = dataclasses.replace(present, overlays=())
    stands_in = Resolver(fewer)
    monkeypatch.setattr("builder.lock.resolve.resolve", stands_in)
    return stands_in


class UnreachableUv:
    """A uv without a network."""

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
        words = (SAID / "unreachable.txt").read_text(encoding="utf-8")
        return Finished(argv=tuple(argv), code=2, out="", err=words)

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))


def everything(project: Project) -> dict[str, bytes]:
    files = (path for path in project.root.rglob("*") if path.is_file())
    return {str(path.relative_to(project.root)): path.read_bytes() for path in files}


def moved_on(project: Project) -> Row:
    """The row after someone has changed the matrix."""
    text = project.matrix.read_text(encoding="utf-8")
    assert text.count("as_of: 2025-01-20") == 1
    project.matrix.write_text(text.replace("as_of: 2025-01-20", "as_of: 2025-01-21"), encoding="utf-8")
    return pipeline.rows(project, ["blend"])[0]


def told(check: Callable[[Project, Row], object], project: Project, row: Row) -> list[tuple[str, str, str]]:
    with pytest.raises(CheckFailedError) as caught:
        check(project, row)
    assert caught.value.exit_code == 1
    return [(fault.place, fault.cause, fault.fix) for fault in caught.value.faults]


# rows


def test_rows_are_those_asked_for_or_all(project: Project) -> None:
    assert [row.id for row in pipeline.rows(project, [])] == ["blend", "small", "split"]
    assert [row.id for row in pipeline.rows(project, ["small"])] == ["small"]
    with pytest.raises(NothingSelectedError) as caught:
        pipeline.rows(project, ["smal"])
    [fault] = caught.value.faults
    assert (fault.place, fault.fix) == ("row smal", "Nearest: small")


# lock


def test_the_present_lock_is_kept_without_asking_anyone_while_the_matrix_has_not_moved_on(
    project: Project, row: Row, resolver: Resolver
) -> None:
    before, talk = everything(project), list[str]()
    assert pipeline.lock(project, row, talk.append) == record.read(project.image("blend") / record.FILE)
    assert (resolver.asked, talk) == ([], [])
    assert everything(project) == before


def test_a_row_that_has_moved_on_is_resolved_again_with_the_present_lock_to_compare(
    project: Project, resolver: Resolver
) -> None:
    present, row, talk = record.read(project.image("blend") / record.FILE), moved_on(project), list[str]()
    fresh = pipeline.lock(project, row, talk.append)
    assert resolver.asked == [("blend", present)]
    assert talk == ["blend: resolving as of 2025-01-21"]
    assert record.read(project.image("blend") / record.FILE) == fresh
    assert fresh.fingerprint == row.fingerprint()
    pipeline.check_lock(project, row)


def test_locking_again_asks_though_the_lock_is_present(
    project: Project, row: Row, resolver: Resolver
) -> None:
    pipeline.lock(project, row, print, again=True)
    assert [asked for asked, _ in resolver.asked] == ["blend"]


@pytest.mark.parametrize("broken", [b"", b"{}", b"<<<<<<< HEAD\n", None])
def test_a_broken_or_missing_lock_is_replaced(
    project: Project, row: Row, resolver: Resolver, broken: bytes | None
) -> None:
    path = project.image("blend") / record.FILE
    path.unlink() if broken is None else path.write_bytes(broken)
    fresh = pipeline.lock(project, row, print)
    assert resolver.asked == [("blend", None)]
    assert record.read(path) == fresh


def test_locking_writes_the_lock_and_its_requirements_and_removes_those_of_layers_that_are_gone(
    project: Project, row: Row, resolver: Resolver
) -> None:
    folder = project.image("blend")
    assert (folder / "requirements-overlay-cudnn8.txt").is_file()
    (folder / "requirements-old.txt").write_text("stale", encoding="utf-8")
    rendered_too = ("Dockerfile", "loader.conf", "environments.json", "transcribe")
    kept = {name: (folder / name).read_bytes() for name in rendered_too}
    pipeline.lock(project, row, print, again=True)
    assert resolver.asked
    assert {path.name for path in folder.iterdir()} == {
        record.FILE,
        "requirements.txt",
        "requirements-tools.txt",
        "requirements-cuda.txt",
        "requirements-cudnn.txt",
        "requirements-torch.txt",
        "requirements-libraries.txt",
        "requirements-speech.txt",
        FOLDER,
        *kept,
    }
    assert {name: (folder / name).read_bytes() for name in kept} == kept


def test_locking_one_row_touches_no_other(project: Project, row: Row, resolver: Resolver) -> None:
    before = everything(project)
    pipeline.lock(project, row, print, again=True)
    assert resolver.asked
    after = everything(project)
    assert {name for name in before if before[name] != after.get(name)} == {
        "images/blend/lock.json",
        "images/blend/requirements-overlay-cudnn8.txt",
    }


@pytest.mark.parametrize("locked", [True, False])
def test_where_the_index_cannot_be_reached_nothing_is_written(
    project: Project, monkeypatch: pytest.MonkeyPatch, *, locked: bool
) -> None:
    monkeypatch.setattr("builder.lock.resolve.resolve", partial(resolve, shell=UnreachableUv()))
    row = moved_on(project)
    if not locked:
        shutil.rmtree(project.root / "images")
    before = everything(project)
    with pytest.raises(EngineOrNetworkError) as caught:
        pipeline.lock(project, row, print)
    [fault] = caught.value.faults
    assert caught.value.exit_code == 5
    assert fault.place == "row blend"
    assert fault.cause.endswith("; nothing was changed")
    assert fault.fix.startswith("Check the network")
    assert everything(project) == before
    assert (project.root / "images").exists() == locked


# lock --check


def test_a_lock_that_is_the_matrixs_passes(project: Project) -> None:
    for row in pipeline.rows(project, []):
        pipeline.check_lock(project, row)


def test_a_matrix_that_has_moved_on_fails_the_check_with_the_command_to_run(project: Project) -> None:
    assert told(pipeline.check_lock, project, moved_on(project)) == [
        (
            "images/blend/lock.json",
            "the matrix has moved on since it was locked",
            "Run `cuvee lock blend` and commit the result",
        )
    ]


def test_what_the_matrix_has_moved_on_from_is_neither_tested_nor_sent(project: Project) -> None:
    stale = [
        (
            "images/blend/lock.json",
            "the matrix has moved on since it was locked",
            "Run `cuvee lock blend` and commit the result",
        )
    ]
    row = moved_on(project)
    engine: Any = None  # nobody asks it
    to = "registry.example/cuvee"
    stages: list[Callable[[Project, Row], object]] = [
        lambda where, one: pipeline.test(where, one, engine, print, gpus=False),
        lambda where, one: pipeline.push(where, one, to, print),
        lambda where, one: pipeline.push_layers(where, one, to, [], print),
        lambda where, one: pipeline.load(where, one, engine, print),
    ]
    assert [told(stage, project, row) for stage in stages] == [stale] * len(stages)


def test_files_of_the_lock_that_were_edited_or_deleted_fail_the_check_all_at_once(
    project: Project, row: Row
) -> None:
    folder = project.image("blend")
    (folder / record.FILE).write_bytes((folder / record.FILE).read_bytes() + b"\n")
    (folder / "requirements.txt").write_text("torch==1.0\n", encoding="utf-8")
    (folder / "requirements-speech.txt").unlink()
    names = ("lock.json", "requirements.txt", "requirements-speech.txt")
    assert told(pipeline.check_lock, project, row) == [
        (
            f"images/blend/{name}",
            "it is not what `cuvee lock` writes",
            "Run `cuvee lock blend` and commit the result",
        )
        for name in names
    ]


def test_a_check_changes_nothing_and_asks_no_one(project: Project, resolver: Resolver) -> None:
    row = moved_on(project)
    (project.image("blend") / "Dockerfile").unlink()
    before = everything(project)
    for check in (pipeline.check_lock, pipeline.check_render):
        told(check, project, row)
    assert everything(project) == before
    assert resolver.asked == []


@pytest.mark.parametrize(
    "stage", [pipeline.check_lock, pipeline.check_render, pipeline.plan, pipeline.render]
)
def test_a_row_that_was_never_locked_is_told_with_the_command_to_run(
    project: Project, row: Row, stage: Callable[[Project, Row], object]
) -> None:
    (project.image("blend") / record.FILE).unlink()
    with pytest.raises(BadInputError) as caught:
        stage(project, row)
    [fault] = caught.value.faults
    assert fault.place.endswith("images/blend/lock.json")
    assert (fault.cause, fault.fix) == ("it does not exist", "Run `cuvee lock blend`")


def test_no_package_of_a_lock_can_be_edited_by_hand_unseen(project: Project, row: Row) -> None:
    path = project.image("blend") / record.FILE
    locked = record.read(path)
    for number, package in enumerate(locked.main.packages):
        changes = ({"version": "9"}, {"sha256": "f" * 64}, {"file": "x.whl"}, {"size": 1})
        for change in changes:
            packages = list(locked.main.packages)
            packages[number] = dataclasses.replace(package, **change)
            edited = dataclasses.replace(
                locked, environments=(Environment(name="main", packages=tuple(packages)),)
            )
            path.write_text(edited.text(), encoding="utf-8")
            with pytest.raises(CuveeError):  # noqa: PT012 - one of the two sees it
                pipeline.check_lock(project, row)
                pipeline.check_render(project, row)


# plan, render and render --check


def test_a_plan_for_a_dry_run_is_refused_while_a_build_would_lock_first(project: Project, row: Row) -> None:
    assert pipeline.intended(project, row) == pipeline.plan(project, row)
    [(place, _, fix)] = told(pipeline.intended, project, moved_on(project))
    assert (place, fix) == ("images/blend/lock.json", "Run `cuvee lock blend` and commit the result")


def test_rendering_writes_what_is_not_right_and_names_it(project: Project, row: Row) -> None:
    before = everything(project)
    assert pipeline.render(project, row) == ()
    (project.image("blend") / "Dockerfile").write_text("FROM nvidia/cuda\n", encoding="utf-8")
    (project.image("blend") / "loader.conf").unlink()
    assert pipeline.render(project, row) == ("Dockerfile", "loader.conf")
    assert everything(project) == before


@pytest.mark.parametrize("name", ["Dockerfile", "loader.conf"])
@pytest.mark.parametrize("edit", [b"# edited\n", b"\r\n", None])
def test_a_rendered_file_that_was_edited_fails_the_check_with_the_command_to_run(
    project: Project, row: Row, name: str, edit: bytes | None
) -> None:
    pipeline.check_render(project, row)
    path = project.image("blend") / name
    path.unlink() if edit is None else path.write_bytes(path.read_bytes() + edit)
    assert told(pipeline.check_render, project, row) == [
        (
            f"images/blend/{name}",
            "it is not what `cuvee render` writes",
            "Run `cuvee render blend` and commit the result",
        )
    ]


def test_a_dockerfile_with_other_line_endings_is_another_dockerfile(project: Project, row: Row) -> None:
    path = project.image("blend") / "Dockerfile"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    [(place, _, _)] = told(pipeline.check_render, project, row)
    assert place == "images/blend/Dockerfile"


# The real repository


@pytest.mark.parametrize("real", REAL, ids=lambda row: row.id)
def test_the_committed_lock_is_the_matrixs(real: Row) -> None:
    pipeline.check_lock(Project(ROOT), real)


@pytest.mark.parametrize("real", REAL, ids=lambda row: row.id)
def test_the_committed_dockerfile_is_rendered_from_the_committed_lock(real: Row) -> None:
    pipeline.check_render(Project(ROOT), real)


def test_every_committed_image_is_a_row_and_has_no_file_that_nothing_writes() -> None:
    assert {path.name for path in (ROOT / "images").iterdir()} == {row.id for row in REAL}
    for row in REAL:
        folder = ROOT / "images" / row.id
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert files == {record.FILE, *rowfiles.rendered(Project(ROOT), row)}, row.id


class TestFacts:
    def test_the_records_of_this_project_are_those_of_its_locks(self) -> None:
        pipeline.check_facts(Project(ROOT))

    def test_a_missing_record_and_one_that_no_lock_names_are_both_told(self, project: Project) -> None:
        project.facts.mkdir()
        (project.facts / "stranger-1.0-cp311-cp311-linux_x86_64.whl.json").write_text("{}")

        with pytest.raises(CheckFailedError) as error:
            pipeline.check_facts(project)

        causes = {fault.cause for fault in error.value.faults}
        assert causes == {
            "a lock names this wheel, and its facts are not recorded, or not whole",
            "no lock names this wheel any more",
            "the libraries it has are not recorded",
        }

    def test_a_record_of_another_hash_is_not_the_wheels(self, project: Project) -> None:
        project.facts.mkdir()
        for file in facts_accounted(project, pipeline.rows(project, ())):
            (project.facts / f"{file}.json").write_text(f'{{"format": 1, "file": "{file}", "sha256": "00"}}')

        with pytest.raises(CheckFailedError, match="not recorded, or not whole"):
            pipeline.check_facts(project)

    def test_records_that_the_survey_still_tells_of_are_kept_for_it(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = "surveyed-1.0-cp311-cp311-linux_x86_64.whl"
        project.facts.mkdir()
        (project.facts / f"{name}.json").write_text("{}")
        monkeypatch.setattr("builder.report.facts.named_in", lambda _: frozenset({name}))

        pipeline.forget_facts(project)

        assert (project.survey / "facts" / f"{name}.json").exists()

    def test_records_that_no_lock_names_are_deleted_and_bases_are_kept(self, project: Project) -> None:
        project.facts.mkdir()
        stranger = project.facts / "stranger-1.0-cp311-cp311-linux_x86_64.whl.json"
        base = project.facts / "base-bookworm.json"
        for path in (stranger, base):
            path.write_text("{}")

        assert pipeline.forget_facts(project) == (stranger.name,)
        assert not stranger.exists()
        assert base.exists()

    def test_nothing_is_fetched_where_all_is_recorded(self) -> None:
        [row] = pipeline.rows(Project(ROOT), ["asr-cu12"])

        assert pipeline.facts(Project(ROOT), row, lambda _: None) == ()


class TestProof:
    def test_a_row_without_facts_cannot_be_proven(self, project: Project, row: Row) -> None:
        with pytest.raises(BadInputError, match="cuvee facts blend"):
            pipeline.prove(project, row)

    def test_every_row_of_this_project_is_what_it_says(self) -> None:
        here = Project(ROOT)
        refused = [row for row in ALL if row.status == "known-bad" and row not in REAL]
        assert refused
        for row in (*REAL, *refused):
            pipeline.require_verdict(row, pipeline.prove(here, row))

    def test_rows_to_recommend_give_no_known_failure(self) -> None:
        found = pipeline.signatures(Project(ROOT))

        assert set(found) == {row.id for row in REAL if row.status == "good"}
        assert set().union(*found.values()) == set()

    def test_an_unknown_base_is_told_with_those_there_are(self, project: Project) -> None:
        with pytest.raises(NothingSelectedError, match="Take one of"):
            bases.named(project, "nosuch")


class TestShared:
    def test_a_project_need_not_have_a_readme(self, project: Project) -> None:
        (project.root / "README.md").unlink(missing_ok=True)
        assert pipeline.render_shared(project) == ()
        pipeline.check_shared(project)

    def test_what_the_tool_carries_is_written_in_its_own_project_alone(self, project: Project) -> None:
        (project.root / "README.md").write_text("# Another\n", encoding="utf-8")

        assert set(pipeline._shared(project)) == {project.root / "README.md"}
        names = {path.name for path in pipeline._shared(Project(ROOT))}
        assert names > {"README.md", "doctor.py", "matrix.schema.json", "check.schema.json"}


def test_an_engines_image_answers_to_the_rows_other_names_too() -> None:
    named: list[tuple[str, ...]] = []
    engine: Any = SimpleNamespace(
        name_too=lambda *names: named.append(names), remove_replaced_images=lambda: named.append(("removed",))
    )
    said: list[str] = []
    for row in (
        SimpleNamespace(id="white", aliases=()),
        SimpleNamespace(id="red", aliases=("latest", "new")),
    ):
        known: Any = row
        pipeline._name_too(known, engine, said.append)
    assert named == [("cuvee:red", "cuvee:latest"), ("cuvee:red", "cuvee:new"), ("removed",)]
    assert said == ["red: it is cuvee:latest too", "red: it is cuvee:new too"]
