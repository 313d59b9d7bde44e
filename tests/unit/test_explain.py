"""Logs and what they mean: each in `logs/<signature>/` tells of that failure, save those named `not-...`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.explain.explaining import Explanation, explain, explain_parts, rows_without
from builder.explain.signatures import PLACEHOLDER, PLACES, Book, Telling, book, load

LOGS = Path(__file__).parent / "logs"
POSITIVE = sorted(path for path in LOGS.glob("*-*/*.txt") if not path.stem.startswith("not-"))
NEGATIVE = sorted(LOGS.glob("*-*/not-*.txt"))
HEALTHY = sorted(LOGS.glob("healthy/*.txt"))
SEVERAL = {
    "colab-cell-and-its-echoes": [
        "cudnn9-mixed",
        "cudnn-version-incompatible",
        "cudnn-sublibrary-mismatch",
        "cudnn9-not-found",
    ],
    "no-gpu-in-the-container": ["libcuda-not-found", "driver-too-old-or-absent", "float16-unsupported"],
    "torchcodec-of-another-torch": ["torch-extension-mismatch", "torchcodec-not-loaded"],
    "torchcodec-and-cuda-13": ["torchcodec-not-loaded", "library-not-found"],
    "a-day-of-trying": [
        "cublas-not-found",
        "cublaslt-not-found",
        "torchaudio-api-removed",
        "use-auth-token",
    ],
    "old-glibc": ["glibc-too-old", "library-not-found"],
    "numpy-2-twice": ["numpy-2-binary", "numpy-nan-removed"],
}
VOCABULARY = {
    "cudnn8-not-found",
    "cudnn9-not-found",
    "cublas-not-found",
    "cublaslt-not-found",
    "cudnn9-mixed",
    "cudnn-sublibrary-mismatch",
    "cudnn-version-incompatible",
    "cudnn8-mixed",
    "executable-stack",
    "cublas-int8-blackwell",
    "no-kernel-image",
    "ptx-too-new",
    "weights-only-load",
    "torchaudio-api-removed",
    "use-auth-token",
    "numpy-nan-removed",
    "torchcodec-not-loaded",
    "float16-unsupported",
    "driver-too-old-or-absent",
    "require-cuda-unsatisfied",
    "ctranslate2-without-cuda",
    "torch-without-cuda",
    "torchvision-nms",
    "gated-model",
    "libcuda-not-found",
    "glibc-too-old",
    "library-not-found",
    "torch-extension-mismatch",
    "no-wheel",
}
CUDNN_8 = (
    "Could not load library libcudnn_ops_infer.so.8. Error: libcudnn_ops_infer.so.8: "
    "cannot open shared object file: No such file or directory\n"
)


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def read(name: str) -> Explanation:
    return explain((LOGS / f"{name}.txt").read_text(encoding="utf-8"))


# Each signature


def test_verdicts_explanations_and_the_doctor_share_a_vocabulary() -> None:
    assert load().signatures.keys() >= VOCABULARY


def test_each_signature_has_logs_for_and_against_it() -> None:
    ids = set(load().signatures)
    assert {path.parent.name for path in POSITIVE} == ids
    assert {path.parent.name for path in NEGATIVE} == ids


@pytest.mark.parametrize("path", POSITIVE, ids=named)
def test_a_log_is_told_by_its_signature(path: Path) -> None:
    explanation = explain(path.read_text(encoding="utf-8"))
    cause, *echoes = explanation.findings
    assert cause.id == path.parent.name
    assert all(echo.echo_of for echo in echoes)
    assert explanation.outcome == "explained"


@pytest.mark.parametrize("path", NEGATIVE, ids=named)
def test_a_log_that_is_near_is_not_claimed(path: Path) -> None:
    assert explain(path.read_text(encoding="utf-8")).findings == ()


@pytest.mark.parametrize("path", HEALTHY, ids=named)
def test_nothing_is_claimed_of_a_healthy_log(path: Path) -> None:
    explanation = explain(path.read_text(encoding="utf-8"))
    assert (explanation.outcome, explanation.ids, explanation.suspects) == ("healthy", (), ())


def test_there_are_enough_healthy_logs() -> None:
    assert len(HEALTHY) >= 12


def tellings(known: Book) -> Iterator[tuple[str, Telling]]:
    for id_, signature in known.signatures.items():
        yield id_, signature.telling
        yield from ((id_, case.telling) for case in signature.cases)


def test_each_thing_that_can_be_told_is_told_by_some_log() -> None:
    logs = [*POSITIVE, *LOGS.glob("several/*.txt")]
    told = [finding for path in logs for finding in explain(path.read_text(encoding="utf-8")).findings]
    for id_, telling in tellings(load()):
        texts = PLACEHOLDER.split(telling.cause)[::2]
        pattern = re.compile(".+".join(map(re.escape, texts)), re.DOTALL)
        assert any(one.id == id_ and pattern.fullmatch(one.cause) for one in told), (id_, telling.cause)


def test_a_told_text_has_no_gaps() -> None:
    for path in POSITIVE:
        for finding in explain(path.read_text(encoding="utf-8")).findings:
            steps = [step for place in PLACES for step in finding.fixes[place]]
            texts = [finding.title, finding.cause, *(f"{step.do} {step.paste}" for step in steps)]
            assert not any("{{" in text for text in texts), path


# What the message has decides what helps


@pytest.mark.parametrize(
    ("name", "group", "value"),
    [
        ("cudnn8-not-found/whisperx-colab", "library", "libcudnn_ops_infer.so.8"),
        ("cudnn9-not-found/cnn", "library", "libcudnn_cnn.so.9"),
        ("cublas-not-found/cuda-11", "library", "libcublas.so.11"),
        ("cudnn-version-incompatible/whisperx", "found", "(9, 2, 1)"),
        ("require-cuda-unsatisfied/compose-up", "condition", "cuda>=12.8"),
        ("require-cuda-unsatisfied/json-escaped", "condition", "cuda>=12.6"),
        ("no-kernel-image/blackwell", "gpu", "NVIDIA GeForce RTX 5090"),
        ("no-kernel-image/pascal", "capability", "6.1"),
        ("no-wheel/pip", "package", "ctranslate2"),
        ("glibc-too-old/curly", "version", "GLIBC_2.27"),
        ("weights-only-load/whisperx", "global", "omegaconf.listconfig.ListConfig"),
        ("torchaudio-api-removed/backends", "name", "list_audio_backends"),
        ("gated-model/restricted", "model", "pyannote/segmentation-3.0"),
        ("torchcodec-not-loaded/pyannote-warning", "missing", "libavutil.so.60"),
        ("driver-too-old-or-absent/with-nvidia-smi", "driver", "470.223.02"),
    ],
)
def test_a_finding_speaks_of_what_the_user_has(name: str, group: str, value: str) -> None:
    [finding, *_] = read(name).findings
    assert finding.values[group] == value


def commands(name: str, place: str = "venv") -> str:
    [finding, *_] = read(name).findings
    return "\n".join(step.paste for at in PLACES if at == place for step in finding.fixes[at])


def test_cublas_of_cuda_11_needs_another_fix_than_that_of_cuda_12() -> None:
    assert "pip install nvidia-cublas-cu12" in commands("cublas-not-found/faster-whisper")
    assert "faster-whisper>=1.0" in commands("cublas-not-found/cuda-11")
    assert "pip freeze | grep '^torch=='" in commands("cublas-not-found/torch-13")


def test_windows_needs_its_path_and_linux_does_not() -> None:
    for name in ("cudnn8-not-found", "cudnn9-not-found", "cublas-not-found", "cublaslt-not-found"):
        assert "$env:PATH" in commands(f"{name}/windows")
    assert "$env:PATH" not in commands("cudnn9-not-found/runpod")


def test_an_old_gpu_and_a_new_one_need_different_torches() -> None:
    assert "torch<2.8" in commands("no-kernel-image/pascal")
    assert "torch<2.8" not in commands("no-kernel-image/blackwell")
    assert "torch>=2.8" in commands("no-kernel-image/blackwell")


def test_the_rest_of_the_log_tells_an_old_driver_from_none() -> None:
    assert read("driver-too-old-or-absent/faster-whisper").findings[0].sure == "likely"
    absent = read("driver-too-old-or-absent/banner-says-absent").findings[0]
    old = read("driver-too-old-or-absent/with-nvidia-smi").findings[0]
    assert (absent.sure, old.sure) == ("certain", "certain")
    assert "there is none where this ran" in absent.cause
    assert "470.223.02" in old.cause


def test_torch_of_cuda_13_is_named_where_the_log_shows_it() -> None:
    assert "brings CUDA 13" in read("cublas-not-found/cuda-13").findings[0].cause
    assert "brings CUDA 13" not in read("cublas-not-found/faster-whisper").findings[0].cause


def test_what_goes_into_a_command_is_a_plain_name() -> None:
    said = "cannot open shared object file"
    [finding] = explain(f"OSError: lib$(rm -rf ~).so.1: {said}\nlibx.so.1: {said}").findings
    assert "rm -rf" not in str(finding.fixes)
    assert 'find / -name "libx.so.1*"' in str(finding.fixes)
    hostile = load().signatures["library-not-found"].telling.filled({"library": "x; reboot"})
    assert "reboot" not in "".join(step.paste for step in hostile.fixes["venv"])


def test_installing_in_docker_is_a_run() -> None:
    assert 'RUN pip install "torch<2.8"' in commands("no-kernel-image/pascal", "docker")
    assert commands("torch-without-cuda/whisperx", "docker").endswith(
        'RUN pip uninstall -y torch torchaudio torchvision \\\n && pip install "torch<2.11" "torchaudio<2.11"'
    )


def test_no_fix_sets_the_path_of_libraries_inside_python() -> None:
    for _, telling in tellings(load()):
        for steps in telling.fixes.values():
            assert not re.search(r"environ\W+LD_LIBRARY_PATH", "\n".join(step.paste for step in steps))


# Several faults


@pytest.mark.parametrize("name", SEVERAL)
def test_the_cause_comes_first_and_its_echoes_after_it(name: str) -> None:
    assert list(read(f"several/{name}").ids) == SEVERAL[name]


def test_all_logs_with_several_faults_have_an_expected_order() -> None:
    assert {path.stem for path in LOGS.glob("several/*.txt")} == SEVERAL.keys()


def test_an_echo_says_what_it_follows_from() -> None:
    echoes = {one.id: one.echo_of for one in read("several/a-day-of-trying").findings}
    assert echoes == {
        "cublas-not-found": None,
        "cublaslt-not-found": "cublas-not-found",
        "torchaudio-api-removed": None,
        "use-auth-token": None,
    }


def test_an_echo_without_its_cause_stands_for_itself() -> None:
    [finding] = read("cublaslt-not-found/cuda-12").findings
    assert finding.echo_of is None


def test_a_general_signature_leaves_lines_to_particular_ones() -> None:
    both = f"{CUDNN_8}OSError: libsndfile.so.1: cannot open shared object file\n"
    assert explain(CUDNN_8).ids == ("cudnn8-not-found",)
    found = {one.id: one.quote.line for one in explain(both).findings}
    assert found == {"cudnn8-not-found": 1, "library-not-found": 2}


# Lines


def test_a_finding_has_its_line_in_the_log_as_it_was_given() -> None:
    explanation = explain(f"\r\nfirst\r\n\x1b[31m{CUDNN_8}\x1b[0mlast")
    [finding] = explanation.findings
    assert (finding.quote.line, explanation.lines) == (3, 4)
    assert finding.quote.text == CUDNN_8.strip()


def test_a_message_that_repeats_is_told_once() -> None:
    [finding] = explain(CUDNN_8 * 7).findings
    assert (finding.times, finding.also) == (7, ())


def test_further_lines_are_told_if_they_say_something_else() -> None:
    [finding] = explain(CUDNN_8 + CUDNN_8.replace("ops", "cnn")).findings
    assert [quote.line for quote in finding.also] == [2]


def test_a_long_line_is_cut_around_its_message() -> None:
    [finding] = explain("x" * 100_000 + " " + CUDNN_8.strip() + " " + "y" * 100_000).findings
    assert len(finding.quote.text) <= 300
    assert "Could not load library libcudnn_ops_infer.so.8" in finding.quote.text


def test_a_message_on_the_edge_of_two_windows_is_found_once() -> None:
    for filling in range((1 << 20) - 200, (1 << 20) + 9000, 2041):
        text = "x" * 79 + "\n"
        log = text * (filling // 80) + CUDNN_8 + text * 500
        [finding] = explain(log).findings
        assert (finding.quote.line, finding.times) == (filling // 80 + 1, 1)


def test_a_log_in_small_parts_is_the_same_log() -> None:
    log = (LOGS / "several/a-day-of-trying.txt").read_text(encoding="utf-8")
    assert explain_parts(log[start : start + 7] for start in range(0, len(log), 7)) == explain(log)


# Places and versions


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('File "/content/asr.py", line 3', "colab"),
        ("from google.colab import files", "colab"),
        ('File "/kaggle/working/asr.py", line 3', "colab"),
        ('File "/usr/local/lib/python3.12/dist-packages/torch/_ops.py"', "colab"),
        ('File "/opt/cuvee/env/lib/python3.11/site-packages/torch/_ops.py"', "docker"),
        ('File "/app/main.py", line 3', "docker"),
        ("whisper-1  | INFO: started", "docker"),
        ("2025-01-27T10:11:12.123456789Z started", "docker"),
        ('File "/usr/local/lib/python3.11/site-packages/torch/_ops.py"', "docker"),
        ("nvidia-container-cli: initialization error", "docker"),
        ('File "/home/ana/env/lib/python3.11/site-packages/torch/_ops.py"', "venv"),
        ('File "C:\\env\\Lib\\site-packages\\torch\\_ops.py"', "venv"),
        ("nothing of the kind", None),
    ],
)
def test_a_log_shows_its_place(text: str, place: str | None) -> None:
    explanation = explain(f"first line\n{text}\n{CUDNN_8}")
    assert explanation.place == place
    assert bool(explanation.hint) == bool(place)


def test_the_surer_hint_counts() -> None:
    assert explain('"/usr/local/lib/python3.12/dist-packages/x.py"\nwhisper-1  | started').place == "docker"
    assert explain("/content/audio.wav\n/home/ana/env/lib/python3.12/site-packages/x.py").place == "colab"


def test_versions_are_read_from_lists_programs_and_tables() -> None:
    assert read("healthy/pip-freeze").versions["ctranslate2"] == "4.4.0"
    assert read("healthy/pip-list").versions["torchcodec"] == "0.7.0"
    assert read("healthy/whisperx").versions["torch"] == "2.4.1+cu121"
    assert read("healthy/whisperx").versions["pyannote.audio"] == "3.3.2"
    assert read("healthy/nvidia-smi").versions == {
        "driver": "580.82.07",
        "driver's CUDA": "13.0",
        "GPU": "NVIDIA GeForce RTX 4090",
    }
    assert read("healthy/collect-env").versions["torch"] == "2.8.0+cu128"
    assert read("executable-stack/whisperx").versions["ctranslate2"] == "4.4.0"
    assert read("cudnn8-not-found/whisperx-colab").versions["Python"] == "3.11"


def test_the_last_word_on_a_package_counts() -> None:
    assert read("healthy/pip-install").versions["ctranslate2"] == "4.6.0"


def test_what_a_package_asks_for_is_no_version_of_it() -> None:
    assert explain("Collecting ctranslate2<5,>=4.0 (from faster-whisper)\ntorch 2 is nice").versions == {}


# Unknown and healthy


def test_an_unknown_failure_is_told_as_unknown_with_what_to_gather() -> None:
    log = 'started\nTraceback (most recent call last):\n  File "a.py", line 1\nKeyError: "speakers"\nbye\n'
    explanation = explain(log)
    assert explanation.outcome == "unknown"
    assert [quote.line for quote in explanation.suspects] == [2, 4]
    gathered = " ".join(step.paste for step in explanation.collect)
    for command in ("cuvee doctor", "pip freeze", "nvidia-smi", "LD_DEBUG=libs", "CUDNN_LOGLEVEL_DBG"):
        assert command in gathered


def test_what_only_chooses_a_case_hides_no_unknown_failure() -> None:
    table = (LOGS / "healthy/nvidia-smi.txt").read_text(encoding="utf-8")
    assert explain(table).outcome == "healthy"
    assert explain(f"{table}ValueError: no such speaker\n").outcome == "unknown"


@pytest.mark.parametrize(
    "line",
    [
        "ValueError: no such speaker",
        "whisperx.errors.AlignmentError: no words",
        "Segmentation fault (core dumped)",
        "Aborted",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "python: symbol lookup error: /env/libfoo.so: undefined symbol: foo",
        "2025-01-27 10:11:12,123 - app - ERROR - it broke",
        "whisper-1 exited with code 139",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "Your session crashed for an unknown reason.",
    ],
)
def test_a_line_that_looks_like_a_failure_is_not_healthy(line: str) -> None:
    explanation = explain(f"one\n{line}\nthree\n")
    assert explanation.outcome == "unknown"
    assert explanation.suspects[0].line == 2


@pytest.mark.parametrize(
    "line", ["0 errors, 0 warnings", "the word error rate is 0.03", "exited with code 0", "error_rate=0.1"]
)
def test_the_word_error_alone_is_no_failure(line: str) -> None:
    assert explain(line).outcome == "healthy"


def test_the_lines_nearest_to_the_end_are_kept_of_many() -> None:
    log = "".join(f"ValueError: number {number}\n" for number in range(100))
    assert [quote.line for quote in explain(log).suspects] == [96, 97, 98, 99, 100]


def test_an_empty_text_is_healthy_and_has_no_lines() -> None:
    explanation = explain("")
    assert (explanation.outcome, explanation.lines) == ("healthy", 0)


@given(st.text(max_size=400) | st.binary(max_size=400).map(lambda raw: raw.decode("utf-8", "replace")))
@settings(max_examples=150, deadline=None)
def test_any_text_gets_an_answer(text: str) -> None:
    explanation = explain(text)
    assert explanation.outcome in {"explained", "unknown", "healthy"}
    assert bool(explanation.findings) == (explanation.outcome == "explained")


@given(
    st.text(st.characters(codec="utf-8"), max_size=120), st.text(st.characters(codec="utf-8"), max_size=120)
)
@settings(max_examples=100, deadline=None)
def test_whatever_stands_around_a_message_it_is_found(before: str, after: str) -> None:
    assert "cudnn8-not-found" in explain(f"{before}\n{CUDNN_8}{after}").ids


# Rows


def test_rows_without_a_failure_are_those_that_are_not_known_to_give_it() -> None:
    verdicts = {
        "bad": frozenset({"cudnn8-not-found"}),
        "half": frozenset({"numpy-nan-removed"}),
        "good": frozenset[str](),
    }
    assert rows_without(["cudnn8-not-found"], verdicts) == ("good", "half")
    assert rows_without(["cudnn8-not-found", "numpy-nan-removed"], verdicts) == ("good",)
    assert rows_without([], verdicts) == ("good", "bad", "half")
    assert rows_without(["cudnn8-not-found"], {}) == ()


def test_other_signatures_can_be_used() -> None:
    known = book(
        """
places: [{place: venv, pattern: 'site-packages'}]
collect: [{do: Look}]
harmless: []
signatures:
  sour-wine:
    title: The wine is sour
    patterns: ['the wine is (?P<how>sour|off)']
    sure: certain
    cause: It was open. It is {{how}}.
    fixes:
      docker: [{do: Pour, paste: pour}]
      colab: [{do: Pour, paste: '!pour'}]
      venv: [{do: Pour, paste: pour}]
    threads: []
    source: taste
"""
    )
    [finding] = explain("alas, the wine\n   is sour", known).findings
    assert (finding.cause, finding.quote.line) == ("It was open. It is sour.", 1)
