"""In a child: use pyannote.audio as people do, as far as that goes without a network."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from .child import Say

RATE = 16000
MODEL = "pyannote/speaker-diarization-3.1"
TOKEN = "hf_none"  # noqa: S105 - it shall open nothing
OFFLINE = {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}
"""What huggingface_hub raises at the end of a call that is right, where it may not ask the network."""


class NotReadError(Exception):
    """A file was read, and not as it is."""


def act(arguments: List[str], say: Say) -> None:
    """Say each step before it is taken, since the process may end in it; `arguments` are as in `speakers`.

    The first is a folder to write into; a checkpoint may follow.
    """
    scratch, *checkpoints = arguments
    say({"step": "import"})
    audio = importlib.import_module("pyannote.audio")
    say({"step": "read"})
    _read(audio, Path(scratch) / "silence.wav")
    for checkpoint in checkpoints:
        say({"step": "load"})
        audio.Model.from_pretrained(checkpoint)
    say({"step": "ask"})
    _ask(audio)


def _read(audio: Any, path: Path) -> None:
    """A second of silence, from a file.

    pyannote.audio 4 only warns while it is imported that torchcodec does not load, and a file then ends in a
    name that is not defined: torchcodec itself says why.
    """
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(2 * RATE))
    if importlib.util.find_spec("torchcodec"):
        importlib.import_module("torchcodec")
    waveform, rate = audio.Audio()(str(path))
    if (tuple(waveform.shape), rate) != ((1, RATE), RATE):
        raise NotReadError("{} samples at {} Hz".format(tuple(waveform.shape), rate))


def _ask(audio: Any) -> None:
    """Load a pipeline by its name, with a token: `use_auth_token` in pyannote.audio 3, `token` in 4."""
    load = audio.Pipeline.from_pretrained
    argument = "token" if "token" in inspect.signature(load).parameters else "use_auth_token"
    try:
        load(MODEL, **{argument: TOKEN})
    except Exception as error:
        if not OFFLINE.intersection(kind.__name__ for kind in type(error).__mro__):
            raise
