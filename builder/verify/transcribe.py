"""Transcribing a recording of the user's in the image of a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder.engines.container import Engine
from builder.errors import BadInputError, CuveeError, EngineOrNetworkError, Fault
from builder.matrix import MAIN, Row
from builder.places import HOME
from builder.plan import image_tag
from builder.shell import Finished

PROBE = Path(__file__).parents[1] / "probe"
LAUNCHER = f"{HOME}/bin/transcribe"
INSIDE_MODEL, INSIDE_SPEAKERS = "/model", "/speakers"


def transcribe(  # noqa: PLR0913 - what, with what, and where
    engine: Engine,
    row: Row,
    audio: Path,
    model: Path,
    *,
    gpus: bool = False,
    language: str | None = None,
    speakers: Path | None = None,
    form: str = "text",
) -> tuple[str, CuveeError | None]:
    """A recording through the image's own command `transcribe`.

    Args:
        engine: Has the row's image; on this machine, because audio and models are mounted, not copied.
        row: The row.
        audio: The recording, in any format that the row's FFmpeg reads.
        model: A folder with a Whisper model in CTranslate2's format.
        gpus: Use the GPU, and fail where there is none.
        language: What is spoken; detected when None.
        speakers: A folder with a pipeline of pyannote.audio, to tell speakers apart.
        form: The format: `text`, `srt`, `vtt`, `tsv` or `json`.

    Returns:
        What it wrote, and what went wrong, if anything did: a transcript may only lack its speakers.

    Raises:
        EngineOrNetworkError: There is no such image.
    """
    heard = f"/audio/{audio.name}"
    binds = {audio.resolve(): heard, model.resolve(): INSIDE_MODEL}
    words = [LAUNCHER, heard, "--model", INSIDE_MODEL, "--offline", "--quiet", "--format", form]
    words += ["--device", "cuda" if gpus else "cpu", *(["--language", language] if language else [])]
    if speakers:
        binds[speakers.resolve()] = INSIDE_SPEAKERS
        words += ["--speakers", INSIDE_SPEAKERS]
    with engine.container(image_tag(row.id), gpus=gpus, binds=binds) as container:
        done = container.run(words)
    return done.out, None if done.ok else _trouble(row, done)


def _trouble(row: Row, done: Finished) -> CuveeError:
    said = "; ".join(line for line in done.err.splitlines() if line.strip()) or f"it ended with {done.code}"
    place, cause = image_tag(row.id), f"the transcription failed: {said.rstrip('.')}"
    if done.code == BadInputError.exit_code:
        return BadInputError(Fault(place=place, cause=cause, fix="Mend that, and run it again"))
    return EngineOrNetworkError(Fault(place=place, cause=cause, fix=_fix(row)))


def _fix(row: Row) -> str:
    return f"Run `cuvee test {row.id}` to see whether the image is sound"


def transcribe_with(  # noqa: PLR0913 - what, with what, and where
    engine: Engine,
    row: Row,
    audio: Path,
    model: Path,
    *,
    tool: str,
    gpus: bool = False,
    language: str | None = None,
) -> str:
    """The text of a recording, by another tool than the image's own command takes.

    Args:
        engine: Has the row's image; on this machine, because audio and model are mounted, not copied.
        row: The row.
        audio: The recording, in any format that the row's FFmpeg reads.
        model: A folder with a Whisper model in CTranslate2's format.
        tool: `faster-whisper` or `whisperx`.
        gpus: Use the GPU, and fail where there is none.
        language: What is spoken; detected when None.

    Raises:
        EngineOrNetworkError: There is no such image, or the transcription failed, with its last words.
    """
    heard = f"/audio/{audio.name}"
    binds = {audio.resolve(): heard, model.resolve(): INSIDE_MODEL}
    hearing = next((name for name, part in row.stacks() if part.ctranslate2), MAIN)
    words = [f"{HOME}/{hearing}/bin/python", "-I", "/tmp/probe", "transcribe", heard]  # noqa: S108
    words += ["--model", INSIDE_MODEL]
    words += ["--with", tool, *(["--language", language] if language else [])]
    words += ["--device", "cuda" if gpus else "cpu"]
    with engine.container(image_tag(row.id), gpus=gpus, binds=binds) as container:
        container.copy_in(PROBE, "/tmp")  # noqa: S108 - inside the container
        done = container.run(words)
    answer = _answer(done.out)
    if answer.get("outcome") != "passed":
        raise EngineOrNetworkError(
            Fault(
                place=image_tag(row.id),
                cause=f"the transcription failed: {answer.get('reason') or _last_words(done.err)}",
                fix=_fix(row),
            )
        )
    return "\n".join(answer["texts"])


def _answer(output: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(output or "{}")
    except ValueError:
        return {"reason": output}
    return answer


def _last_words(output: str) -> str:
    """What a process said before it was aborted: cuDNN's complaint takes two lines."""
    lines = [line for line in output.splitlines() if line.strip()]
    return "; ".join(lines[-2:]) or "it said nothing"
