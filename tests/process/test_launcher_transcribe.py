"""`transcribe` from end to end, with engines of a few lines in two real environments.

What is in a recording tells the engines what to do: `say` some sentences of ten seconds, three in a window,
and at one of them die, hang, or fail. A file `cured` beside it makes them behave.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.launcher import running

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0

WHISPER = """
import json, os, signal, sys, time
from types import SimpleNamespace

LOG = os.environ["TEST_LOG"]

def log(*words):
    with open(LOG, "a") as stream:
        stream.write(" ".join(map(str, words)) + "\\n")

log("start", "asr", os.getpid(), os.path.basename(sys.prefix), os.environ.get("LD_LIBRARY_PATH", ""))

class Word(SimpleNamespace):
    pass

class Segment:
    words = None
    temperature = 0.0
    def __init__(self, number, words):
        self.seek = number // 3 * 3000
        self.start, self.end = number * 10.0, number * 10.0 + 9.5
        self.text, self.tokens = " Sentence {}.".format(number), [number]
        if words:
            self.words = [
                Word(start=self.start, end=self.start + 4, word=" Sentence", probability=0.9),
                Word(start=self.start + 5, end=self.end, word=" {}.".format(number), probability=0.8),
            ]

class WhisperModel:
    def __init__(self, name, device="auto", compute_type="default", local_files_only=False):
        print("whisper prints to standard output")
        url = "https://a.example/nobody/gated/resolve/x"
        if name == "gated":
            raise RuntimeError("Cannot access gated repo for url {}.".format(url))
        if device == "cuda":
            raise RuntimeError("CUDA failed with error out of memory")
        self.model = SimpleNamespace(device="cpu", compute_type="int8")

    def encode(self, features):
        return features

    def transcribe(
        self, audio, language=None, beam_size=5, word_timestamps=False, initial_prompt=None,
        clip_timestamps="0"
    ):
        if isinstance(audio, str):
            from faster_whisper.audio import decode_audio
            audio = decode_audio(audio, 16000)
        log("transcribe", clip_timestamps, language, initial_prompt)
        return self.segments(audio.script, float(clip_timestamps), word_timestamps), SimpleNamespace(
            language=language or "en", language_probability=1.0)

    def segments(self, script, begin, words):
        for number in range(int(begin / 10), script["say"]):
            if number == script.get("at") and not os.path.exists(script["cured"]):
                act(script["do"], script["cured"])
            yield Segment(number, words)

def act(do, cured):
    while do == "wait":
        if os.path.exists(cured):
            return
        time.sleep(0.05)
    if do == "abort":
        os.write(2, b"Library libcublas.so.12 is not found or cannot be loaded\\n")
        os.kill(os.getpid(), signal.SIGABRT)
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "raise":
        raise RuntimeError("CUDA failed with error out of memory")
    time.sleep(60)
"""
AUDIO = """
import json
class Samples(bytes):
    def __len__(self):
        return self.script.get("samples", self.script["say"] * 10 * 16000)
    def tofile(self, path):
        with open(path, "wb") as stream:
            stream.write(bytes(self))
def decode_audio(path, sampling_rate):
    with open(path, "rb") as stream:
        data = stream.read()
    if not data.startswith(b"{"):
        raise ValueError("Invalid data found when processing input")
    samples = Samples(data)
    samples.script = json.loads(data)
    return samples
"""
PYANNOTE = """
import json, os, signal, sys, time
from types import SimpleNamespace
with open(os.environ["TEST_LOG"], "a") as stream:
    stream.write("start diarize {} {} {}\\n".format(
        os.getpid(), os.path.basename(sys.prefix), os.environ.get("LD_LIBRARY_PATH", "")))

class Annotation:
    def __init__(self, turns):
        self.turns = turns
    def itertracks(self, yield_label):
        return ((SimpleNamespace(start=start, end=end), "_", who) for start, end, who in self.turns)

class Pipeline:
    @classmethod
    def from_pretrained(cls, checkpoint, token=None):
        return cls()
    def to(self, device):
        pass
    def __call__(self, file, hook=None, **limits):
        script = json.loads(open(file).read() if isinstance(file, str) else file["waveform"])
        if hook:
            hook("segmentation", None, total=2, completed=1)
        if script.get("speakers") and not os.path.exists(script["cured"]):
            if script["speakers"] == "hang":
                time.sleep(60)
            os.write(2, b"CUDA out of memory\\n")
            os.kill(os.getpid(), getattr(signal, script["speakers"]))
        turns = [(10.0 * n, 10.0 * n + 10, "SPEAKER_{:02d}".format(n % 2)) for n in range(script["say"])]
        found = Annotation(turns)
        return SimpleNamespace(speaker_diarization=found, exclusive_speaker_diarization=found)
"""
TORCH = """
from types import SimpleNamespace
matmul = SimpleNamespace(allow_tf32=False)
backends = SimpleNamespace(cuda=SimpleNamespace(matmul=matmul), cudnn=SimpleNamespace())
cuda = SimpleNamespace(is_available=lambda: False)
def device(name): return name
def from_numpy(array): return array
"""
NUMPY = """
float32 = "f4"
class Array(bytes):
    def copy(self): return self
    def __getitem__(self, index): return self if index is None else bytes.__getitem__(self, index)
def fromfile(path, dtype):
    with open(path, "rb") as stream:
        return Array(stream.read())
"""


def environment(folder: Path, modules: dict[str, str]) -> str:
    """A real virtual environment with these modules; its interpreter."""
    venv.EnvBuilder(symlinks=True).create(folder)
    [packages] = folder.glob("lib/python3.*/site-packages")
    for name, source in modules.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(source, encoding="utf-8")
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that describes two environments, neither of which has what the other one has."""
    root = tmp_path_factory.mktemp("image")
    asr = environment(root / "asr", {"faster_whisper/__init__.py": WHISPER, "faster_whisper/audio.py": AUDIO})
    pyannote = {"pyannote/__init__.py": "", "pyannote/audio/__init__.py": PYANNOTE}
    diarize = environment(root / "diarize", {**pyannote, "torch.py": TORCH, "numpy.py": NUMPY})
    environments = [
        {"name": "asr", "python": asr, "libraries": ["/own/cudnn8"], "does": ["transcribe"]},
        {"name": "diarize", "python": diarize, "libraries": [], "does": ["speakers"]},
    ]
    file = root / "environments.json"
    file.write_text(
        json.dumps({"format": 1, "row": "isolated", "environments": environments}), encoding="utf-8"
    )
    return file


class Desk:
    """Where `transcribe` is run."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.work = folder / "cache" / "cuvee" / "transcribe"
        self.variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "CUVEE_ENVIRONMENTS": str(image),
            "TEST_LOG": str(self.log),
        }

    def recording(self, say: int = 7, name: str = "a.wav", **script: Any) -> str:
        script = {"say": say, "cured": str(self.folder / "cured"), **script}
        (self.folder / name).write_text(json.dumps(script), encoding="utf-8")
        return name

    def cure(self) -> None:
        (self.folder / "cured").touch()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-I", str(running.FOLDER), "--model", "tiny", *words]

    def start(self, *words: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(*words), cwd=self.folder, env=self.variables, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    def logged(self, word: str) -> list[list[str]]:
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [line.split() for line in lines if line.startswith(word)]


@pytest.fixture
def desk(tmp_path: Path, image: Path) -> Desk:
    return Desk(tmp_path, image)


def sentences(most: int) -> str:
    return "".join(f"Sentence {number}.\n" for number in range(most))


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# When all is well


def test_words_and_speakers_come_together_from_two_environments(desk: Desk) -> None:
    code, out, err = desk.run(desk.recording(4), "--speakers", "some/pipeline", "--format", "json")
    assert code == 0, err
    told = json.loads(out)
    assert told["speakers"] == ["SPEAKER_00", "SPEAKER_01"]
    assert [one["speaker"] for one in told["segments"]] == ["SPEAKER_00", "SPEAKER_01"] * 2
    assert told["segments"][1]["words"][1] == {
        "start": 15.0,
        "end": 19.5,
        "text": "1.",
        "probability": 0.8,
        "speaker": "SPEAKER_01",
    }
    [[*_, asr_home, asr_path], [*_, diarize_home]] = sorted(desk.logged("start"))
    assert (asr_home, asr_path, diarize_home) == ("asr", "/own/cudnn8", "diarize")


def test_nothing_is_left_when_all_is_done(desk: Desk) -> None:
    desk.run(desk.recording(4), "--speakers", "some/pipeline")
    assert list(desk.work.iterdir()) == []


def test_samples_do_not_wait_for_the_last_recording(desk: Desk) -> None:
    names = [desk.recording(2, "a.wav"), desk.recording(3, "b.wav", at=1, do="wait")]
    with desk.start(*names, "--speakers", "some/pipeline", "--together", "--output", "out/") as process:
        wait_for((desk.folder / "out" / "a.txt").exists)
        assert len(list(desk.work.glob("*/samples.f32"))) <= 1
        desk.cure()
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


def test_all_formats_go_to_a_folder(desk: Desk) -> None:
    code, out, err = desk.run(desk.recording(2), "--format", "text,srt,vtt,tsv,json", "--output", "out/")
    assert (code, out) == (0, ""), err
    assert sorted(path.name for path in (desk.folder / "out").iterdir()) == [
        "a.json",
        "a.srt",
        "a.tsv",
        "a.txt",
        "a.vtt",
    ]
    assert (desk.folder / "out" / "a.txt").read_text() == sentences(2)


def test_segments_are_there_as_soon_as_they_are_heard(desk: Desk) -> None:
    with desk.start(desk.recording(3, at=1, do="hang")) as process:
        assert process.stdout
        assert process.stdout.readline() == "Sentence 0.\n"
        process.terminate()
        assert process.wait(PATIENCE_S) == 130
        process.stdout.read()


def test_one_side_ends_before_the_other_begins(desk: Desk) -> None:
    desk.recording(2)
    desk.run("a.wav", "--speakers", "some/pipeline", "--in-turn")
    assert [line[1] for line in desk.logged("start")] == ["asr", "diarize"]


def test_or_both_run_at_a_time(desk: Desk) -> None:
    """The side that hears goes on for ever, and the speakers are known all the same."""
    with desk.start(
        desk.recording(3, at=1, do="hang"), "--speakers", "some/pipeline", "--together"
    ) as process:
        wait_for(lambda: list(desk.work.glob("*/speakers.json")))
        process.terminate()
        assert process.wait(PATIENCE_S) == 130
        process.communicate()


def test_several_recordings_share_a_process(desk: Desk) -> None:
    desk.recording(1, name="a.wav")
    desk.recording(2, name="b.wav")
    code, out, _ = desk.run("a.wav", "b.wav")
    assert (code, out) == (0, sentences(1) + sentences(2))
    assert len(desk.logged("start")) == 1


def test_silence_is_a_transcript(desk: Desk) -> None:
    (desk.folder / "a.wav").write_text('{"say": 0, "samples": 5}')
    code, out, err = desk.run("a.wav", "--format", "vtt")
    assert (code, out) == (0, "WEBVTT\n\n"), err


def test_it_runs_as_a_module_of_a_checkout(desk: Desk) -> None:
    desk.recording(1)
    done = subprocess.run(
        [sys.executable, "-m", "builder.launcher", str(desk.folder / "a.wav"), "--model", "tiny"],
        cwd=ROOT,
        env=desk.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout == sentences(1)


# When a side dies


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("abort", "it died of SIGABRT (exit code 134); CTranslate2 does not find libcublas.so.12"),
        ("kill", "SIGKILL"),
        ("raise", "The GPU's memory is full"),
    ],
)
def test_the_death_of_who_hears_is_told_and_what_was_heard_is_kept(desk: Desk, do: str, words: str) -> None:
    code, out, err = desk.run(desk.recording(10, at=7, do=do))
    assert code == 5
    assert words in err
    assert "--resume" in err
    assert out == sentences(7)
    desk.cure()
    code, out, err = desk.run("a.wav", "--resume")
    assert (code, out) == (0, sentences(10)), err
    begins = [line[1:] for line in desk.logged("transcribe")]
    assert begins == [["0", "None", "None"], ["60.00", "en", "[0,", "1,", "2,", "3,", "4,", "5]"]]
    assert list(desk.work.iterdir()) == []


def test_without_resume_it_begins_anew(desk: Desk) -> None:
    desk.run(desk.recording(10, at=7, do="abort"))
    desk.cure()
    assert desk.run("a.wav")[1] == sentences(10)
    assert desk.logged("transcribe")[-1][1] == "0"


def test_work_with_other_options_is_not_taken_up(desk: Desk) -> None:
    desk.run(desk.recording(10, at=7, do="abort"))
    desk.cure()
    desk.run("a.wav", "--resume", "--beam-size", "1")
    assert desk.logged("transcribe")[-1][1] == "0"


def test_a_hang_is_ended(desk: Desk) -> None:
    code, _, err = desk.run(desk.recording(4, at=3, do="hang"), "--timeout-idle", "1")
    assert code == 5
    assert "it did nothing for 1 s and was ended" in err


@pytest.mark.parametrize("order", ["--in-turn", "--together"])
@pytest.mark.parametrize("how", ["SIGABRT", "SIGKILL", "hang"])
def test_a_transcript_does_not_need_its_speakers(desk: Desk, order: str, how: str) -> None:
    words = ("--speakers", "some/pipeline", "--output", "a.txt", order, "--timeout-idle", "2")
    code, _, err = desk.run(desk.recording(4, speakers=how), *words)
    assert code == 5
    assert "side diarize" in err
    assert "written without speakers" in err
    assert (desk.folder / "a.txt").read_text() == sentences(4)
    desk.cure()
    code, _, err = desk.run("a.wav", "--resume", *words)
    assert code == 0, err
    assert (
        (desk.folder / "a.txt").read_text().startswith("SPEAKER_00: Sentence 0.\nSPEAKER_01: Sentence 1.\n")
    )
    assert len(desk.logged("transcribe")) == 1


def test_a_transcript_that_takes_longer_than_its_speakers_live_is_whole(desk: Desk) -> None:
    words = ("--speakers", "some/pipeline", "--output", "a.txt", "--together")
    with desk.start(desk.recording(4, at=2, do="wait", speakers="SIGABRT"), *words) as process:
        assert process.stderr
        for line in process.stderr:
            if "side diarize" in line:
                break
        desk.cure()
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 5
    assert (desk.folder / "a.txt").read_text() == sentences(4)


def test_speakers_are_kept_when_the_other_side_dies(desk: Desk) -> None:
    words = ("--speakers", "some/pipeline", "--together")
    code, out, _ = desk.run(desk.recording(4, at=3, do="hang"), *words, "--timeout-idle", "2")
    assert (code, out) == (5, "")
    desk.cure()
    code, out, err = desk.run("a.wav", "--resume", *words)
    assert code == 0, err
    assert out.startswith("SPEAKER_00: Sentence 0.")
    assert len([line for line in desk.logged("start") if line[1] == "diarize"]) == 1


def test_a_full_gpu_is_told_with_its_remedies(desk: Desk) -> None:
    code, _, err = desk.run(desk.recording(), "--device", "cuda")
    assert code == 5
    assert "--compute-type int8" in err


def test_a_gated_model_gives_the_steps_to_take(desk: Desk) -> None:
    code, _, err = desk.run(desk.recording(), "--model", "gated")
    assert code == 5
    assert "nobody/gated: the model is gated, and no token was given" in err
    assert "accept the terms" in err


def test_the_example_hears_in_one_process_and_tells_apart_in_another(desk: Desk) -> None:
    library = desk.folder / "lib"
    shutil.copytree(running.FOLDER, library / "cuvee", ignore=shutil.ignore_patterns("__pycache__"))
    desk.recording(2, name="a.wav")
    shutil.copy(running.FOLDER / "example.py", desk.folder)
    done = subprocess.run(
        [sys.executable, "example.py", "a.wav", "tiny", "some/pipeline"],
        cwd=desk.folder,
        env={**desk.variables, "PYTHONPATH": str(library)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "    0.00     9.50  Sentence 0.",
        "   10.00    19.50  Sentence 1.",
        "    0.00    10.00 SPEAKER_00",
        "   10.00    20.00 SPEAKER_01",
    ]
    assert [line[1] for line in desk.logged("start")] == ["asr", "diarize"]


# When one recording is to blame, the others are not


def test_a_recording_that_brings_its_side_down_does_not_keep_the_others(desk: Desk) -> None:
    names = [
        desk.recording(3, "a.wav", at=0, do="abort"),
        desk.recording(2, "b.wav"),
        desk.recording(1, "c.wav"),
    ]
    code, _, err = desk.run(*names, "--output", "out/")
    assert code == 5
    assert "a.wav, side asr: it died of SIGABRT" in err
    assert sorted(path.name for path in (desk.folder / "out").iterdir()) == ["b.txt", "c.txt"]
    assert len(desk.logged("start")) == 2
    code, _, err = desk.run(*names, "--output", "out/", "--resume")
    assert code == 5
    assert len(desk.logged("transcribe")) == 4  # a.wav again, and nothing else


def test_a_side_that_comes_to_nothing_twice_is_left_alone(desk: Desk) -> None:
    names = [desk.recording(3, f"{number}.wav", at=0, do="abort") for number in range(5)]
    code, _, err = desk.run(*names, "--output", "out/")
    assert code == 5
    assert len(desk.logged("start")) == 2
    assert "not transcribed: 0.wav, 1.wav, 2.wav, 3.wav, 4.wav" in err


def test_a_model_that_cannot_be_had_is_not_tried_for_each_recording(desk: Desk) -> None:
    names = [desk.recording(1, f"{number}.wav") for number in range(3)]
    code, _, err = desk.run(*names, "--model", "gated", "--output", "out/")
    assert code == 5
    assert err.count("the model is gated") == 1
    assert len(desk.logged("start")) == 1


@pytest.mark.parametrize("order", ["--in-turn", "--together"])
def test_speakers_of_one_recording_that_cannot_be_told_do_not_keep_the_others(desk: Desk, order: str) -> None:
    names = [desk.recording(2, "a.wav", speakers="SIGKILL"), desk.recording(2, "b.wav")]
    code, _, err = desk.run(*names, "--speakers", "some/pipeline", "--output", "out/", order)
    assert code == 5, err
    assert (desk.folder / "out" / "a.txt").read_text() == sentences(2)
    assert (desk.folder / "out" / "b.txt").read_text().startswith("SPEAKER_00: Sentence 0.")


def test_two_recordings_of_the_same_bytes_are_two(desk: Desk) -> None:
    shutil.copy(desk.folder / desk.recording(2), desk.folder / "b.wav")
    code, _, err = desk.run("a.wav", "b.wav", "--output", "out/")
    assert code == 0, err
    assert [path.read_text() for path in (desk.folder / "out").iterdir()] == [sentences(2)] * 2


def test_there_may_be_more_recordings_than_files_may_be_open(desk: Desk) -> None:
    names = [desk.recording(1, f"{number}.wav") for number in range(40)]
    limited = ["sh", "-c", 'ulimit -Sn 40 && exec "$@"', "sh", *desk.command(*names, "--output", "out/")]
    done = subprocess.run(
        limited, cwd=desk.folder, env=desk.variables, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list((desk.folder / "out").iterdir())) == 40


# When people interfere


def test_an_interruption_ends_both_and_keeps_what_is_finished(desk: Desk) -> None:
    with desk.start(desk.recording(10, at=7, do="hang")) as process:
        wait_for(
            lambda: '"settled": 60' in "".join(one.read_text() for one in desk.work.glob("*/segments.jsonl"))
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "--resume" in err
    [start] = desk.logged("start")
    assert not runs(int(start[2]))
    desk.cure()
    assert desk.run("a.wav", "--resume")[1] == sentences(10)


def test_a_side_does_not_outlive_a_launcher_that_is_killed(desk: Desk) -> None:
    with desk.start(desk.recording(3, at=1, do="hang")) as process:
        wait_for(lambda: desk.logged("transcribe"))
        process.kill()
        process.communicate()
    wait_for(lambda: not runs(int(desk.logged("start")[0][2])))


def test_who_reads_the_head_has_enough(desk: Desk) -> None:
    with desk.start(desk.recording(20_000)) as process:
        assert process.stdout
        assert process.stdout.readline() == "Sentence 0.\n"
        process.stdout.close()
        assert process.stderr
        err = process.stderr.read()
        assert process.wait(PATIENCE_S) == 0
    assert "Traceback" not in err
    assert "Broken" not in err


def test_who_reads_the_head_of_what_was_resumed_throws_no_work_away(desk: Desk) -> None:
    desk.run(desk.recording(10, at=7, do="abort"))
    with desk.start("a.wav", "--resume") as process:
        assert process.stdout
        process.stdout.close()
        process.wait(PATIENCE_S)
    desk.cure()
    assert desk.run("a.wav", "--resume")[1] == sentences(10)
    assert desk.logged("transcribe")[-1][1] == "60.00"


def test_a_line_that_was_cut_within_a_letter_is_done_again(desk: Desk) -> None:
    desk.run(desk.recording(10, at=7, do="abort"))
    [kept] = desk.work.glob("*/segments.jsonl")
    with kept.open("ab") as stream:
        stream.write('{"segment": {"text": "Gr\u00fc'.encode()[:-1])
    desk.cure()
    assert desk.run("a.wav", "--resume")[:2] == (0, sentences(10))


# When what is given is wrong


def test_a_pipe_is_refused_because_it_can_be_read_only_once(desk: Desk) -> None:
    os.mkfifo(desk.folder / "pipe")
    code, _, err = desk.run("pipe")
    assert code == 2
    assert "pipe: it is a pipe or a device" in err


def test_a_recording_on_standard_input_is_a_file_like_others(desk: Desk) -> None:
    desk.recording(2)
    command = " ".join([*desk.command("/dev/stdin"), "< a.wav"])
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=desk.folder,
        env=desk.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, sentences(2)), done.stderr


def test_one_recording_that_is_none_does_not_keep_the_others(desk: Desk) -> None:
    (desk.folder / "b.wav").write_text("not a recording")
    desk.recording(1)
    code, out, err = desk.run("b.wav", "a.wav", "--speakers", "some/pipeline")
    assert code == 2
    assert out == "SPEAKER_00: Sentence 0.\n"
    assert "b.wav: it is no recording that FFmpeg can read" in err


def test_what_is_not_there_is_told_before_anything_starts(desk: Desk) -> None:
    code, _, err = desk.run("absent.wav", "--output", "/proc/out.txt")
    assert code == 2
    assert "absent.wav: it cannot be read" in err
    assert not desk.logged("start")


def test_a_place_that_cannot_be_written_to_is_told_before_anything_starts(desk: Desk) -> None:
    code, _, err = desk.run(desk.recording(), "--output", "/proc/out.txt")
    assert code == 2
    assert "/proc: nothing can be written there" in err
    assert not desk.logged("start")


def test_a_full_disk_is_told_and_nothing_is_lost(desk: Desk) -> None:
    code, _, err = desk.run(desk.recording(4), "--output", "/dev/full")
    assert code == 5
    assert "/dev/full: it cannot be written (No space left on device)" in err
    code, out, _ = desk.run("a.wav", "--resume")
    assert (code, out) == (0, sentences(4))
    assert len(desk.logged("transcribe")) == 1


def test_a_full_standard_output_is_told_and_nothing_is_lost(desk: Desk) -> None:
    desk.recording(4)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            desk.command("a.wav"),
            cwd=desk.folder,
            env=desk.variables,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 5
    assert "standard output: it cannot be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr
    assert desk.run("a.wav", "--resume")[:2] == (0, sentences(4))


def test_a_closed_standard_output_is_told_before_anything_starts(desk: Desk) -> None:
    command = " ".join([*desk.command(desk.recording()), ">&-"])
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=desk.folder,
        env=desk.variables,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "standard output: it is closed" in done.stderr
    assert not desk.logged("start")


def test_two_at_a_time_do_not_spoil_each_others_work(desk: Desk) -> None:
    with desk.start(desk.recording(3, at=1, do="hang")) as process:
        wait_for(lambda: desk.logged("transcribe"))
        code, _, err = desk.run("a.wav")
        assert code == 2
        assert "another transcribe is at work" in err
        process.terminate()
        process.communicate()


def test_an_image_without_speakers_says_so(desk: Desk, image: Path) -> None:
    written = json.loads(image.read_text())
    file = desk.folder / "environments.json"
    file.write_text(json.dumps({**written, "environments": written["environments"][:1]}))
    desk.variables["CUVEE_ENVIRONMENTS"] = str(file)
    code, _, err = desk.run(desk.recording(), "--speakers", "some/pipeline")
    assert code == 2
    assert "--speakers: nothing here has pyannote.audio" in err


def test_a_cache_that_cannot_be_written_to_is_no_reason_to_fail(desk: Desk) -> None:
    desk.variables["XDG_CACHE_HOME"] = "/proc/none"
    code, out, err = desk.run(desk.recording(2))
    assert (code, out) == (0, sentences(2))
    assert "finished work is not kept" in err


def test_where_nothing_is_kept_nothing_is_promised_and_nothing_stays(desk: Desk) -> None:
    desk.variables["XDG_CACHE_HOME"] = "/proc/none"
    desk.variables["TMPDIR"] = str(desk.folder / "scratch")
    (desk.folder / "scratch").mkdir()
    code, _, err = desk.run(desk.recording(4, at=3, do="abort"))
    assert code == 5
    assert "what was finished is kept" not in err
    assert list((desk.folder / "scratch").iterdir()) == []
