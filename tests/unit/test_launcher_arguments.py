"""The command line of `transcribe`: what is understood, and all that is wrong at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.launcher import arguments
from builder.launcher.arguments import Options, outputs, parse
from builder.launcher.faults import BadInputError


@pytest.fixture
def audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("a.wav").write_bytes(b"RIFF")
    return "a.wav"


def parsed(audio: str, *more: str) -> Options:
    return parse([audio, "--model", "tiny", *more])


def test_text_on_standard_output_is_what_one_gets(audio: str) -> None:
    options = parsed(audio)
    assert (options.formats, options.output, outputs(options, Path(audio))) == (("text",), "-", {})


def test_a_files_ending_means_its_format(audio: str) -> None:
    options = parsed(audio, "--output", "b.srt")
    assert outputs(options, Path(audio)) == {"srt": Path("b.srt")}


def test_several_formats_go_to_a_folder(audio: str) -> None:
    options = parsed(audio, "--format", "srt, json", "--output", "out")
    assert outputs(options, Path(audio)) == {"srt": Path("out/a.srt"), "json": Path("out/a.json")}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), False),
        (("--format", "json"), True),
        (("--speakers", "pyannote/x"), True),
        (("--speakers", "pyannote/x", "--no-words"), False),
        (("--words",), True),
    ],
)
def test_words_have_times_where_something_is_made_of_them(
    audio: str, more: tuple[str, ...], words: bool
) -> None:
    assert parsed(audio, *more).words is words


def test_what_is_decided_later_is_not_decided_here(audio: str) -> None:
    options = parsed(audio)
    assert (options.together, options.tf32) == (None, None)
    assert parsed(audio, "--in-turn").together is False
    assert parsed(audio, "--tf32").tf32 is True
    assert parsed(audio, "--no-tf32").tf32 is False


def test_models_that_are_here_are_named_from_the_root(audio: str, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.bin").touch()
    assert parse([audio, "--model", "m"]).model == str(tmp_path / "m")
    assert parse([audio, "--model", "Systran/faster-whisper-tiny"]).model == "Systran/faster-whisper-tiny"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--format", "srt,pdf"), "pdf is no format"),
        (("--format", ","), "nothing is no format"),
        (("--format", "srt,json"), "takes one format"),
        (("--min-speakers", "2"), "no speakers are asked for"),
        (("--speakers", "p", "--min-speakers", "3", "--max-speakers", "2"), "more than --max-speakers"),
        (("--output", "a.wav"), r"overwrite a\.wav"),
        (("--speakers", "./absent"), "absent is not there"),
    ],
)
def test_what_contradicts_itself_is_refused(audio: str, more: tuple[str, ...], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        parsed(audio, *more)


def test_several_subtitles_do_not_follow_each_other_on_standard_output(audio: str) -> None:
    Path("b.wav").write_bytes(b"RIFF")
    with pytest.raises(BadInputError, match="follow each other"):
        parse([audio, "b.wav", "--model", "tiny", "--format", "srt"])
    assert len(parse([audio, "b.wav", "--model", "tiny"]).audio) == 2


def test_two_recordings_of_one_name_would_overwrite_each_other(audio: str) -> None:
    Path("d").mkdir()
    Path("d/a.wav").write_bytes(b"RIFF")
    with pytest.raises(BadInputError, match=r"several recordings would be written to out/a\.txt"):
        parse([audio, "d/a.wav", "--model", "tiny", "--output", "out"])


def test_all_faults_are_told_at_once(audio: str, tmp_path: Path) -> None:
    Path("empty.wav").touch()
    (tmp_path / "m").mkdir()
    with pytest.raises(BadInputError) as told:
        parse([audio, "absent.wav", "empty.wav", str(tmp_path), "--model", "m", "--format", "srt,vtt"])
    text = str(told.value)
    assert len(told.value.faults) == 5
    for words in (
        "absent.wav: it cannot be read",
        "empty.wav: it is empty",
        "Is a directory",
        "lacks model.bin",
    ):
        assert words in text
    assert {fault.code for fault in told.value.faults} == {2}


@pytest.mark.parametrize("words", [[], ["a.wav"], ["a.wav", "--model", "m", "--beam-size", "0"]])
def test_what_argparse_refuses_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2
    assert "usage: transcribe" in capsys.readouterr().err


def test_help_explains_exit_codes_and_tf32() -> None:
    text = arguments.parser().format_help()
    assert "130 interrupted" in text
    assert "pyannote" in text
    assert "--no-tf32" in text


@pytest.mark.parametrize("seconds", ["-5", "nan", "inf", "1e8"])
def test_a_time_to_be_idle_is_one_that_can_be_waited_for(
    audio: str, seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(audio, f"--timeout-idle={seconds}")
    assert "must be between 0 (never) and 1000000" in capsys.readouterr().err
