from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import docker
import pytest

from builder import elsewhere, pipeline
from builder.cli import INTERRUPTED, cli, main
from builder.cli.common import Context
from builder.errors import CannotResolveError, CuveeError, EngineOrNetworkError, Fault
from builder.lock.record import FILE, Environment, Lock, Package, read
from builder.matrix import Row, parse
from builder.plan import plan
from builder.project import Project
from builder.render.requirements import requirements
from builder.shell import SYSTEM
from builder.verify.evidence import Check, Evidence

ROOT = Path(__file__).parents[2]

MATRIX = """\
bases:
  bookworm:
    image: debian:bookworm-slim
    suite: bookworm
    python: 3.11
    glibc: 2.36
    packages: [python3]
defaults:
  base: bookworm
  python: 3.11
  ffmpeg: none
rows:
  red:
    summary: A red blend
    as_of: 2025-01-20
    cuda: 12.1
    cudnn: 9.1
    torch: 2.4.1
    ctranslate2: 4.4.0
    requirements:
      - whisperx==3.3.1
  white:
    summary: A white blend
    as_of: 2025-01-20
    cuda: 12.1
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code.
        out: What it wrote on standard output.
        err: What it wrote on standard error.
    """

    code: int
    out: str
    err: str


Cuvee = Callable[..., Ended]


@pytest.fixture
def cuvee(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], project: Project
) -> Iterator[Cuvee]:
    """Run `cuvee …` in the project, as the console script does."""

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["cuvee", *words])
        capsys.readouterr()
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return Ended(code=code, out=said.out, err=said.err)

    monkeypatch.chdir(project.root)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    SYSTEM.echo = False
    for number, handler in handlers.items():
        signal.signal(number, handler)


def lock_of(row: Row) -> Lock:
    package = Package(
        name="grape", version="1", file="grape-1-py3-none-any.whl", sha256="0" * 64, size=3_000_000
    )
    return Lock(
        row=row.id,
        fingerprint=row.fingerprint(),
        as_of="2025-01-20",
        base="bookworm",
        python="3.11",
        environments=(Environment(name="main", packages=(package,)),),
        overlays=(),
        tools=(package,),
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two rows, locked and rendered, and nothing out of date."""
    found = Project(tmp_path / "project")
    found.root.mkdir()
    found.matrix.write_text(MATRIX, encoding="utf-8")
    (found.root / "README.md").write_text("# A blend\n", encoding="utf-8")
    for row in parse(MATRIX).rows:
        locked = lock_of(row)
        texts = {"lock.json": locked.text(), **requirements(locked, plan(row, locked))}
        found.image(row.id).mkdir(parents=True)
        for name, text in texts.items():
            (found.image(row.id) / name).write_text(text, encoding="utf-8")
        pipeline.render(found, row)
    pipeline.render_shared(found)
    return found


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which no Docker engine answers, and no `docker` is installed."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(docker, "from_env", refuse)


def content(project: Project) -> dict[str, tuple[int, bytes]]:
    """Every file with its time of change."""
    files = (path for path in project.root.parent.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def edit_dockerfile(project: Project, _: pytest.MonkeyPatch) -> None:
    edit(project.image("red") / "Dockerfile", 'CMD ["python"]', 'CMD ["sh"]')


def break_matrix(project: Project, _: pytest.MonkeyPatch) -> None:
    edit(project.matrix, "torch: 2.4.1", "torch: latest")


def no_solution(_: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(row: Row, *_: Any) -> NoReturn:
        raise CannotResolveError(
            Fault(place=row.place("torch"), cause="the two do not agree", fix="Change one")
        )

    monkeypatch.setattr("builder.lock.resolve.resolve", resolve)


def ctrl_c(_: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("builder.lock.resolve.resolve", resolve)


def nothing(*_: Any) -> None: ...


class TestExitCodes:
    @pytest.mark.parametrize(
        ("code", "words", "prepare", "said"),
        [
            (0, ["list"], nothing, None),
            (0, ["--help"], nothing, None),
            (0, ["--version"], nothing, None),
            (0, ["lock", "--check"], nothing, None),
            (0, ["render", "--check"], nothing, None),
            (1, ["render", "--check"], edit_dockerfile, "images/red/Dockerfile: it is not what"),
            (2, ["list"], break_matrix, "matrix.yaml:18 rows.red.torch: "),
            (2, ["list", "--no-such-option"], nothing, "No such option"),
            (2, ["build"], nothing, "Missing argument"),
            (3, ["list", "rde"], nothing, "row rde: matrix.yaml has no such row. Nearest: red."),
            (
                4,
                ["lock", "red"],
                no_solution,
                "matrix.yaml:18 rows.red.torch: the two do not agree. Change one.",
            ),
            (
                5,
                ["test", "red", "--engine", "docker"],
                nothing,
                "Docker engine: none answers at its default socket. Start Docker",
            ),
            (130, ["lock", "red"], ctrl_c, "interrupted"),
        ],
        ids=lambda value: str(value) if isinstance(value, int) else None,
    )
    def test_the_exit_code_says_what_kind_of_trouble_it_was(
        self,
        cuvee: Cuvee,
        project: Project,
        monkeypatch: pytest.MonkeyPatch,
        code: int,
        words: Sequence[str],
        prepare: Callable[[Project, pytest.MonkeyPatch], None],
        said: str | None,
    ) -> None:
        prepare(project, monkeypatch)
        ended = cuvee(*words)
        assert ended.code == code, ended.err
        if said:
            assert said in ended.err
            assert ended.out == ""

    @pytest.mark.parametrize("command", ["list", "lock", "render", "build", "test", "clean"])
    def test_every_command_refuses_an_unknown_row_before_it_looks_for_an_engine(
        self, cuvee: Cuvee, command: str
    ) -> None:
        nearest = "row rde: matrix.yaml has no such row. Nearest: red.\n"
        assert cuvee(command, "rde") == Ended(code=3, out="", err=nearest)

    def test_each_kind_of_error_has_a_code_of_its_own(self) -> None:
        codes = [kind.exit_code for kind in CuveeError.__subclasses__()]
        assert sorted(codes) == [1, 2, 3, 4, 5]

    def test_the_readmes_table_lists_them_all_and_no_other(self) -> None:
        lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        [start] = (number for number, line in enumerate(lines) if re.match(r"\|.*exit code.*\|", line))
        codes = []
        for line in lines[start + 2 :]:
            if not line.startswith("|"):
                break
            number, meaning = (cell.strip() for cell in line.strip("|").split("|"))
            assert meaning
            codes.append(int(number))
        kinds = {kind.exit_code for kind in CuveeError.__subclasses__()}
        assert codes == sorted({0, *kinds, INTERRUPTED})


class TestStreams:
    def test_all_mistakes_in_a_file_are_told_at_once_on_standard_error(
        self, cuvee: Cuvee, project: Project
    ) -> None:
        edit(project.matrix, "torch: 2.4.1", "torch: latest")
        edit(project.matrix, "cudnn: 9.1", "cudnn: nine")
        edit(project.matrix, "summary: A white blend", "sumary: A white blend")
        ended = cuvee("list", "--json")
        assert ended.out == ""
        places = [line.partition(": ")[0] for line in ended.err.splitlines()]
        assert places == [
            "matrix.yaml:17 rows.red.cudnn",
            "matrix.yaml:18 rows.red.torch",
            "matrix.yaml:23 rows.white.sumary",
        ]

    def test_all_rows_out_of_date_are_told_at_once(self, cuvee: Cuvee, project: Project) -> None:
        for row in ("red", "white"):
            edit(project.image(row) / "Dockerfile", 'CMD ["python"]', 'CMD ["sh"]')
        ended = cuvee("render", "--check")
        assert ended.err.splitlines() == [
            f"images/{row}/Dockerfile: it is not what `cuvee render` writes. "
            f"Run `cuvee render {row}` and commit the result."
            for row in ("red", "white")
        ]

    def test_files_of_rows_and_of_all_rows_are_told_at_once(
        self, cuvee: Cuvee, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        edit_dockerfile(project, monkeypatch)
        page = "# A blend\n<!-- rows:begin -->\n<!-- rows:end -->\n"
        (project.root / "README.md").write_text(page, encoding="utf-8")
        ended = cuvee("render", "--check")
        places = [line.partition(": ")[0] for line in ended.err.splitlines()]
        assert places == ["images/red/Dockerfile", "README.md"]

    def test_the_worst_of_several_kinds_of_trouble_gives_the_exit_code(
        self, cuvee: Cuvee, project: Project
    ) -> None:
        (project.image("red") / "lock.json").write_text("{}", encoding="utf-8")
        edit(project.image("white") / "Dockerfile", 'CMD ["python"]', 'CMD ["sh"]')
        ended = cuvee("render", "--check")
        assert ended.code == 2
        places = [line.partition(": ")[0] for line in ended.err.splitlines()]
        assert places == ["images/red/lock.json", "images/white/Dockerfile"]

    def test_places_below_the_present_folder_are_told_from_there(
        self, cuvee: Cuvee, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        break_matrix(project, monkeypatch)
        assert cuvee("list").err.startswith("matrix.yaml:18 ")
        monkeypatch.chdir(project.image("red"))
        assert cuvee("list").err.startswith(f"{project.matrix}:18 ")

    def test_every_unknown_row_is_told(self, cuvee: Cuvee) -> None:
        assert cuvee("list", "rde", "red", "rose").err.splitlines() == [
            "row rde: matrix.yaml has no such row. Nearest: red.",
            "row rose: matrix.yaml has no such row. The rows are red, white.",
        ]

    def test_json_is_all_there_is_on_standard_output(self, cuvee: Cuvee) -> None:
        ended = cuvee("list", "--json")
        rows = json.loads(ended.out)
        assert [row["id"] for row in rows] == ["red", "white"]
        assert ended.err == ""

    def test_json_has_the_documented_keys(self, cuvee: Cuvee, project: Project) -> None:
        [red] = json.loads(cuvee("list", "--json", "red").out)
        assert red == {
            "id": "red",
            "status": "good",
            "summary": "A red blend",
            "aliases": [],
            "cuda": "12.1",
            "cudnn": "9.1",
            "torch": "2.4.1",
            "ctranslate2": "4.4.0",
            "lock": lock_of(parse(MATRIX).rows[0]).digest,
            "image": None,
            "level": None,
            "proven": None,
            "evidence": "none",
            "image_zstd": None,
            "pull": None,
            "pull_zstd": None,
            "disk": None,
            "first_words": None,
        }
        edit(project.matrix, "torch: 2.4.1", "torch: 2.4.0")
        [red] = json.loads(cuvee("list", "--json", "red").out)
        assert red["lock"] is None

    def test_people_get_a_table(self, cuvee: Cuvee) -> None:
        ended = cuvee("list")
        assert re.search(r"^ *red .*12\.1.*2\.4\.1.*4\.4\.0", ended.out, re.MULTILINE)
        assert ended.err == ""

    def test_what_is_done_is_told_on_standard_error(self, cuvee: Cuvee, project: Project) -> None:
        (project.image("red") / "Dockerfile").unlink()
        ended = cuvee("render")
        assert ended.err.splitlines() == ["images/red/Dockerfile written"]
        assert ended.out == ""


class TestDryRun:
    @pytest.fixture(autouse=True)
    def _no_engine_may_be_asked(self, monkeypatch: pytest.MonkeyPatch, _no_engine: None) -> None:
        def asked(*_: Any, **__: Any) -> NoReturn:
            raise AssertionError("an engine was looked for")

        monkeypatch.setattr(docker, "from_env", asked)
        monkeypatch.setattr(socket.socket, "connect", asked)

    def test_it_prints_the_plan_and_touches_neither_engine_nor_files(
        self, cuvee: Cuvee, project: Project
    ) -> None:
        before = content(project)
        ended = cuvee("build", "--dry-run", "red", "white")
        assert ended.code == 0
        assert "cuvee:red, on debian:bookworm-slim" in ended.out
        assert "cuvee:white, on debian:bookworm-slim" in ended.out
        assert re.search(r"^ *all +1 +3\.0", ended.out, re.MULTILINE)  # packages, MB
        assert ended.err == ""
        assert content(project) == before

    def test_it_does_not_make_a_lock_that_is_missing(self, cuvee: Cuvee, project: Project) -> None:
        (project.image("red") / "lock.json").unlink()
        before = content(project)
        ended = cuvee("build", "--dry-run", "red")
        assert ended.code == 2
        assert ended.err == "images/red/lock.json: it does not exist. Run `cuvee lock red`.\n"
        assert content(project) == before

    def test_it_does_not_renew_a_lock_that_is_stale(self, cuvee: Cuvee, project: Project) -> None:
        edit(project.matrix, "torch: 2.4.1", "torch: 2.4.0")
        before = content(project)
        ended = cuvee("build", "--dry-run", "red")
        assert ended.code == 1
        assert ended.err == (
            "images/red/lock.json: the matrix has moved on since it was locked. "
            "Run `cuvee lock red` and commit the result.\n"
        )
        assert content(project) == before

    def test_it_refuses_an_unknown_row_first(self, cuvee: Cuvee) -> None:
        ended = cuvee("build", "--dry-run", "red", "rde")
        assert (ended.code, ended.out) == (3, "")


class TestInterruption:
    def test_ctrl_c_is_told_in_a_sentence_and_not_by_a_traceback(
        self, cuvee: Cuvee, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ctrl_c(project, monkeypatch)
        before = content(project)
        ended = cuvee("lock", "red")
        assert ended.code == 130 == INTERRUPTED
        assert ended.err.splitlines()[-1] == "interrupted; nothing half-made is left behind"
        assert "Traceback" not in ended.err
        assert content(project) == before

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_stays_one_where_what_tidies_up_fails(
        self, cuvee: Cuvee, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
    ) -> None:
        def build(*_: Any, **__: Any) -> NoReturn:
            try:
                signal.raise_signal(number)
                raise AssertionError("it goes on")
            finally:
                raise EngineOrNetworkError(Fault(place="docker", cause="it ended with 130", fix="Again"))

        monkeypatch.setattr(pipeline, "lock", build)
        ended = cuvee("lock", "red")
        assert ended.code == INTERRUPTED
        assert ended.err.splitlines()[-1] == "interrupted; nothing half-made is left behind"

    def test_one_that_is_ignored_stays_ignored(self, cuvee: Cuvee) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup cuvee … &` has it
        cuvee("list")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


class TestHelp:
    STAGES = (
        *("list", "lock", "facts", "check", "survey", "render", "base", "build", "test", "repro"),
        *("load", "push", "wheels", "diff", "run", "ci", "drift", "clean"),
        *("explain", "doctor", "engine"),
    )

    def test_commands_are_listed_in_the_order_of_the_stages(self, cuvee: Cuvee) -> None:
        _, _, commands = cuvee("--help").out.partition("Commands:\n")
        listed = tuple(line.split()[0] for line in commands.splitlines() if re.match(r"  \w", line))
        assert listed == self.STAGES

    @pytest.mark.parametrize("command", STAGES)
    def test_each_command_says_what_it_does(self, cuvee: Cuvee, command: str) -> None:
        ended = cuvee(command, "--help")
        assert ended.code == 0
        assert ended.out.startswith(f"Usage: cuvee {command} ")
        assert cli.commands[command].help

    def test_the_help_needs_no_project(
        self, cuvee: Cuvee, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert cuvee("build", "--help").code == 0

    def test_its_exit_codes_are_the_errors_own(self, cuvee: Cuvee) -> None:
        text = " ".join(cuvee("--help").out.split())
        told = {int(code) for code in re.findall(r"[:,] (\d) [a-z]", text)}
        assert told == {0, *(kind.exit_code for kind in CuveeError.__subclasses__())}


class TestVerbose:
    @pytest.fixture
    def _docker_program(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        class Process:
            """`docker context inspect`, which says where the engine would be."""

            returncode = 0

            def __init__(self, argv: Sequence[str], **_: Any) -> None:
                assert argv[:2] == ["docker", "context"]

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None: ...

            def communicate(self) -> tuple[str, str]:
                return "unix:///gone.sock\n", ""

        (tmp_path / "docker").touch(mode=0o755)
        monkeypatch.setattr(subprocess, "Popen", Process)

    @pytest.mark.usefixtures("_docker_program")
    def test_commands_and_what_they_say_are_echoed_to_standard_error(self, cuvee: Cuvee) -> None:
        ended = cuvee("-v", "test", "red")
        assert ended.err.startswith("+ docker context inspect --format")
        assert "\nunix:///gone.sock\n" in ended.err
        assert ended.out == ""

    @pytest.mark.usefixtures("_docker_program")
    def test_they_are_not_unless_asked_for(self, cuvee: Cuvee) -> None:
        cuvee("-v", "test", "red", "--engine", "docker")
        ended = cuvee("test", "red", "--engine", "docker")
        assert ended.err.startswith("Docker engine: none answers at unix:///gone.sock. ")

    def test_what_locking_starts_is_echoed_too(self, cuvee: Cuvee, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(argv: Sequence[str], **_: Any) -> NoReturn:
            assert Path(argv[0]).name == "uv"
            raise KeyboardInterrupt

        monkeypatch.setattr(subprocess, "Popen", stop)
        ended = cuvee("-v", "lock", "red")
        assert re.search(r"^\+ \S*uv pip compile ", ended.err, re.MULTILINE)


class TestBrokenMatrix:
    @pytest.mark.parametrize(
        ("old", "new", "place", "cause", "fix"),
        [
            (
                "    torch: 2.4.1",
                "    torhc: 2.4.1",
                "matrix.yaml:18 rows.red.torhc",
                '"torhc" is not a key that belongs here',
                "Write torch, the nearest",
            ),
            (
                "    torch: 2.4.1",
                "    torch: ==2.4.1",
                "matrix.yaml:18 rows.red.torch",
                '"==2.4.1" is not an exact version',
                'Write "2.4.1", the nearest',
            ),
            (
                "  base: bookworm",
                "  base: bokworm",
                "matrix.yaml:9 defaults.base",
                'there is the text "bokworm" where the name of a base belongs',
                "Write bookworm, the nearest",
            ),
            (
                "      - whisperx==3.3.1",
                "      - whisperx=3.3.1",
                "matrix.yaml:21 rows.red.requirements[0]",
                '"whisperx=3.3.1" is not a requirement',
                'Write "whisperx==3.3.1", the nearest',
            ),
            (
                "    as_of: 2025-01-20\n    cuda: 12.1\n    cudnn",
                "    as_of: 2025-02-30\n    cuda: 12.1\n    cudnn",
                "matrix.yaml:15 rows.red.as_of",
                'there is no day "2025-02-30"',
                "Write it as YYYY-MM-DD; the nearest real date is 2025-02-28",
            ),
            (
                "  ffmpeg: none",
                "  ffmpeg: static\n  ffmpeg: shared",
                "matrix.yaml:12 defaults.ffmpeg",
                '"ffmpeg" is written twice, first on line 11',
                "Keep one of the two",
            ),
            (
                "  white:",
                "  White Wine:",
                "matrix.yaml:22 rows.White Wine",
                '"White Wine" cannot be a name: small letters, digits and dashes can',
                "Write white-wine, the nearest",
            ),
        ],
        ids=["key", "version", "base", "requirement", "date", "twice", "name"],
    )
    @pytest.mark.parametrize("command", [["list"], ["lock", "--check"], ["build", "--dry-run", "red"]])
    def test_a_mistake_is_told_with_line_cause_and_nearest_value(
        self,
        cuvee: Cuvee,
        project: Project,
        command: Sequence[str],
        old: str,
        new: str,
        place: str,
        cause: str,
        fix: str,
    ) -> None:
        edit(project.matrix, old, new)
        assert cuvee(*command) == Ended(code=2, out="", err=f"{place}: {cause}. {fix}.\n")

    def test_a_folder_without_a_matrix_is_told(
        self, cuvee: Cuvee, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        ended = cuvee("list")
        assert ended.code == 2
        assert ended.err == ".: there is no matrix.yaml here or above. Run cuvee in a checkout of it.\n"

    def test_a_folder_below_is_in_the_project_too(
        self, cuvee: Cuvee, monkeypatch: pytest.MonkeyPatch, project: Project
    ) -> None:
        monkeypatch.chdir(project.image("red"))
        assert cuvee("list").code == 0

    def test_a_project_elsewhere_is_named_by_an_option(
        self, cuvee: Cuvee, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: Project
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert len(json.loads(cuvee("-C", str(project.root), "list", "--json").out)) == 2


class FakeEngine:
    """What the command line hands on and never looks into."""


def proof(row: str, *checks: Check) -> Evidence:
    return Evidence(
        row=row,
        status="good",
        lock="sha256:l",
        image={"tag": f"cuvee:{row}", "id": "sha256:i", "bytes": 2_500_000_000, "layers": 3},
        host={},
        gpu=None,
        command=f"cuvee test {row}",
        date="2026-11-22T10:00:00+00:00",
        checks=checks,
    )


PASSED = Check(name="test_a_claim", outcome="passed", seconds=1.0)
SKIPPED = Check(name="test_a_gpu", outcome="skipped", seconds=0.0, reason="needs a GPU")
FAILED = Check(name="test_speech", outcome="failed", seconds=1.0, reason="it heard nothing")


class TestProof:
    @pytest.fixture
    def prove(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        def prove(**checks: tuple[Check, ...]) -> None:
            monkeypatch.setattr(Context, "engine", lambda _: FakeEngine())
            monkeypatch.setattr(pipeline, "test", lambda _, row, *__, **___: proof(row.id, *checks[row.id]))

        return prove

    def test_a_proof_ends_well_when_all_that_ran_passed(
        self, cuvee: Cuvee, prove: Callable[..., None]
    ) -> None:
        prove(red=(PASSED, SKIPPED), white=(PASSED,))
        ended = cuvee("test")
        assert ended.code == 0, ended.err
        assert "cuvee:red" in ended.out
        assert "2.50 GB" in ended.out

    def test_all_checks_of_all_rows_that_failed_are_told(
        self, cuvee: Cuvee, prove: Callable[..., None]
    ) -> None:
        prove(red=(PASSED, FAILED), white=(FAILED,))
        ended = cuvee("test")
        assert ended.code == 1
        assert ended.err.splitlines() == [
            f"evidence/{row}.json: test_speech failed: it heard nothing. "
            f"Run `cuvee test {row}` after mending it."
            for row in ("red", "white")
        ]

    def test_what_lies_elsewhere_is_proven_there(
        self, cuvee: Cuvee, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        asked: list[tuple[str, str, bool]] = []

        def record(kind: str) -> Callable[..., Evidence]:
            def prove(_: Project, row: Row, place: Path, __: object, *, gpus: bool) -> Evidence:
                asked.append((f"{kind} {row.id}", str(place), gpus))
                return proof(row.id, PASSED)

            return prove

        monkeypatch.setattr(elsewhere, "test_root", record("root"))
        monkeypatch.setattr(elsewhere, "test_environment", record("environment"))
        python = tmp_path / "python"
        python.touch()
        assert cuvee("test", "red", "--root", str(tmp_path)).code == 0
        assert cuvee("test", "red", "--python", str(python), "--gpus").code == 0
        assert asked == [("root red", str(tmp_path), False), ("environment red", str(python), True)]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("red", "--root", ".", "--python", "README.md"), "are two places: give one of both"),
            (("--root", "."), "are of one row: name it"),
            (("red", "white", "--python", "README.md"), "are of one row: name it"),
            (("--all", "--root", "."), "leave out --root and --python"),
        ],
    )
    def test_a_place_is_of_one_row(self, cuvee: Cuvee, words: tuple[str, ...], said: str) -> None:
        ended = cuvee("test", *words)
        assert ended.code == 2
        assert said in " ".join(ended.err.split())

    def test_skips_alone_prove_nothing(self, cuvee: Cuvee, prove: Callable[..., None]) -> None:
        prove(red=(SKIPPED, SKIPPED))
        ended = cuvee("test", "red")
        assert ended.code == 1
        assert ended.err == (
            "evidence/red.json: nothing passed, and a skip is not a pass. "
            "Run `cuvee test red` where its checks can run.\n"
        )

    def test_an_image_that_is_over_its_budget_fails(
        self, cuvee: Cuvee, project: Project, prove: Callable[..., None]
    ) -> None:
        edit(project.matrix, "    torch: 2.4.1", "    budget: {pull: 9, disk: 0.001}\n    torch: 2.4.1")
        prove(red=(PASSED,))
        ended = cuvee("test", "red")
        assert ended.code == 1
        assert "rows.red.budget.disk: its image on disk is" in ended.err


class TestEngine:
    def test_a_machine_that_cannot_have_a_private_engine_is_told_all_reasons(
        self, cuvee: Cuvee, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("platform.system", lambda: "Darwin")
        monkeypatch.setattr("platform.machine", lambda: "arm64")
        monkeypatch.setattr("os.geteuid", lambda: 501)
        ended = cuvee("engine", "start")
        assert ended.code == 5
        told = [line for line in ended.err.splitlines() if line.startswith("private engine: ")]
        assert len(told) == 2
        assert all("Install Docker Engine" in line for line in told)

    def test_stopping_none_is_no_error(self, cuvee: Cuvee) -> None:
        ended = cuvee("engine", "stop")
        assert (ended.code, ended.err) == (0, "engine: no private engine was running\n")

    def test_a_dead_docker_host_is_not_replaced_by_a_private_engine(
        self, cuvee: Cuvee, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", "unix:///gone.sock")
        ended = cuvee("engine", "start")
        assert ended.code == 5
        assert ended.err == (
            "DOCKER_HOST: no engine answers at unix:///gone.sock. "
            "Start that engine, or unset DOCKER_HOST to use one of this machine.\n"
        )


class TestCheck:
    def test_a_row_without_facts_is_told_with_what_to_run(self, cuvee: Cuvee) -> None:
        ended = cuvee("check", "red")
        assert ended.code == 2
        assert "cuvee facts" in ended.err

    @pytest.mark.parametrize("words", [("--gpu", "x"), ("--gpu", "8"), ("--driver", "new")])
    def test_a_host_is_written_as_nvidia_smi_does(self, cuvee: Cuvee, words: tuple[str, str]) -> None:
        ended = cuvee("check", *words)
        assert ended.code == 2
        assert "write it as nvidia-smi does" in ended.err

    def test_every_verdict_is_json(self, cuvee: Cuvee) -> None:
        ended = cuvee("-C", str(ROOT), "check", "--json", "asr-cu12", "cu121-no-cudnn8")
        assert ended.code == 0
        assert [one["outcome"] for one in json.loads(ended.out)] == ["holds", "fails"]

    def test_what_does_not_fit_a_host_is_shown_once_and_ends_with_1(self, cuvee: Cuvee) -> None:
        ended = cuvee("-C", str(ROOT), "check", "asr-cu12", "--driver", "450.80.02")
        assert ended.code == 1
        assert ended.out.count("driver version is insufficient") == 1
        assert len(ended.err.splitlines()) == 1
        assert ended.err.startswith("row asr-cu12: it will fail by 1 finding, the first is driver-too-old")

    def test_a_row_that_can_be_judged_is_shown_beside_one_that_cannot(
        self, cuvee: Cuvee, tmp_path: Path
    ) -> None:
        copy = tmp_path / "copy"
        for name in ("images", "facts"):
            shutil.copytree(ROOT / name, copy / name)
        shutil.copy(ROOT / "matrix.yaml", copy)
        torch = read(copy / "images" / "cu121" / FILE).main.package("torch")
        assert torch
        (copy / "facts" / f"{torch.file}.json").unlink()
        ended = cuvee("-C", str(copy), "check", "asr-cu12", "cu121", "cu121-cudnn8")
        assert ended.code == 2
        assert "asr-cu12" in ended.out
        assert "what its binaries say is not recorded" in ended.err


class TestSurvey:
    def test_a_survey_that_was_not_made_yet_is_told_with_its_command(self, cuvee: Cuvee) -> None:
        ended = cuvee("survey", "--python", "3.12")
        assert ended.code == 2
        assert "was not made yet. Run `cuvee survey --base bookworm --python 3.12 --update`" in ended.err

    def test_an_unknown_base_is_told_with_those_there_are(self, cuvee: Cuvee) -> None:
        ended = cuvee("survey", "--base", "nosuch")
        assert ended.code == 3
        assert "Take one of bookworm" in ended.err
