"""Transcribing a recording of the user's in the image of a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from builder.engines.container import Engine
from builder.errors import EngineOrNetworkError, Fault
from builder.matrix import MAIN, Row
from builder.plan import HOME, image_tag

PROBE = Path(__file__).parents[1] / "probe"


def transcribe(  # noqa: PLR0913 - what, with what, and where
    engine: Engine,
    row: Row,
    audio: Path,
    model: Path,
    *,
    gpus: bool = False,
    tool: str = "faster-whisper",
    language: str | None = None,
) -> str:
    """The text of a recording.

    Args:
        engine: Has the row's image; on this machine, because audio and model are mounted, not copied.
        row: The row.
        audio: The recording, in any format that the row's FFmpeg reads.
        model: A folder with a Whisper model in CTranslate2's format.
        gpus: Use the GPU, and fail where there is none.
        tool: `faster-whisper` or `whisperx`.
        language: What is spoken; detected when None.

    Raises:
        EngineOrNetworkError: There is no such image, or the transcription failed, with its last words.
    """
    heard, inside = f"/audio/{audio.name}", "/model"
    binds = {audio.resolve(): heard, model.resolve(): inside}
    hearing = next((name for name, part in row.stacks() if part.ctranslate2), MAIN)
    words = [f"{HOME}/{hearing}/bin/python", "-I", "/tmp/probe", "transcribe", heard, "--model", inside]  # noqa: S108
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
                fix=f"Run `cuvee test {row.id}` to see whether the image is sound",
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
