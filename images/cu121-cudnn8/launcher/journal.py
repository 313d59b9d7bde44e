"""What is finished of a recording, kept so that `--resume` need not do it again.

A folder per recording and options holds `segments.jsonl`, written line by line, and `speakers.json`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Tuple

from .faults import bad_input

FORMAT = 1
TRIES = 100
SEGMENTS, SPEAKERS, SAMPLES, LOCK = "segments.jsonl", "speakers.json", "samples.f32", "lock"


class Heard(NamedTuple):
    """What is known of a recording.

    Attributes:
        segments: Finished ones, as `asr.plain` makes them.
        at: Seconds at which a later run goes on after these segments; None if it must begin anew.
        language: What is spoken, or None if that is not known yet.
        duration: In seconds, 0 if it is not known yet.
        done: Whether nothing is left to be transcribed.
    """

    segments: List[Dict[str, Any]]
    at: Optional[float]
    language: Optional[str]
    duration: float
    done: bool


NOTHING = Heard([], None, None, 0.0, done=False)


def fingerprint(path: Path) -> str:
    """The hash of a recording's bytes.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for part in iter(lambda: stream.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


def key(*parts: Any) -> str:
    """A name for a recording with the options that its result depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def default_folder() -> Path:
    """Where work is kept when nothing else is said."""
    # Not Path.home(), which raises where a user has none.
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - see above
    return Path(cache) / "cuvee" / "transcribe"


class Journal:
    """The finished work of one recording.

    A disk that does not take it is no reason to stop: `broken` then says why nothing is kept.
    """

    def __init__(self, folder: Path, speakers_key: str, *, temporary: bool = False) -> None:
        """Open the journal, which no other process may have open.

        Args:
            folder: Where it is.
            speakers_key: What the result for the speakers depends on, beside the recording.
            temporary: Whether no later run will find it, so that it goes in any case.

        Raises:
            BadInputError: Another one has it.
            OSError: The folder cannot be made.
        """
        self.folder = folder
        self.broken = ""
        self.temporary = temporary
        self._speakers_key = speakers_key
        self._lock = _locked(folder)
        self._stream: Optional[BinaryIO] = None

    @property
    def samples(self) -> Path:
        """Where the decoded samples go."""
        return self.folder / SAMPLES

    def heard(self) -> Heard:
        """What an earlier run finished."""
        try:
            data = (self.folder / SEGMENTS).read_bytes()
        except OSError:
            return NOTHING
        return read(data.decode("utf-8", "replace").split("\n"))  # the last letter may be cut in two

    def begin(self, kept: Heard) -> None:
        """Write anew what is kept of an earlier run, and go on from there."""
        self._close_stream()
        with self._guarded():
            self._stream = (self.folder / SEGMENTS).open("wb")
        if kept.at is None and not kept.done:
            kept = NOTHING
        self.note({"format": FORMAT})
        if kept.language:
            self.note({"info": {"language": kept.language}})
            self.note({"decoded": kept.duration})
        for segment in kept.segments:
            self.note({"segment": segment})
        if kept.at is not None:
            self.note({"settled": kept.at})
        if kept.done:
            self.note({"done": True})

    def note(self, event: Dict[str, Any]) -> None:
        """Add a line."""
        if self._stream and not self.broken:
            with self._guarded():
                self._stream.write((json.dumps(event, ensure_ascii=False) + "\n").encode())
                self._stream.flush()

    def speakers(self) -> Optional[Dict[str, Any]]:
        """What an earlier run found of the speakers, with the same options."""
        try:
            found: Dict[str, Any] = json.loads((self.folder / SPEAKERS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found["result"] if found.get("key") == self._speakers_key else None

    def keep_speakers(self, result: Dict[str, Any]) -> None:
        """Keep what was found of the speakers."""
        part = self.folder / (SPEAKERS + ".part")
        with self._guarded():
            part.write_text(json.dumps({"key": self._speakers_key, "result": result}), encoding="utf-8")
            part.replace(self.folder / SPEAKERS)

    def drop_samples(self) -> None:
        """Delete the decoded samples: an hour of them takes 230 MB."""
        for name in (SAMPLES, SAMPLES + ".part"):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()

    def close(self, *, forget: bool) -> None:
        """Leave it; the samples go, and with `forget` all of it: it is somebody's words."""
        forget = forget or self.temporary
        self.drop_samples()
        self._close_stream()
        if forget:
            self._forget()
        self._lock.close()

    def _forget(self) -> None:
        """Delete all of it, the lock last: from then on another one may write here."""
        with contextlib.suppress(OSError):
            for path in sorted(self.folder.iterdir(), key=lambda path: path.name == LOCK):
                with contextlib.suppress(OSError):
                    path.unlink()
            self.folder.rmdir()

    def _close_stream(self) -> None:
        if self._stream:
            with contextlib.suppress(OSError):
                self._stream.close()

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        try:
            yield
        except OSError as error:
            self.broken = self.broken or "{}: {}".format(self.folder, error.strerror or error)


def _locked(folder: Path) -> BinaryIO:
    """The lock of a folder, which is made where it is not there, or was forgotten at that moment."""
    for _ in range(TRIES):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = (folder / LOCK).open("wb")
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            fix = "Wait for it, or name another folder with --work"
            raise bad_input(str(folder), "another transcribe is at work on this recording", fix) from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat((folder / LOCK).stat(), os.fstat(lock.fileno())):
                return lock
        lock.close()
    raise OSError(errno.EAGAIN, "its lock goes away again and again", str(folder))


def read(lines: List[str]) -> Heard:
    """What a journal's lines say; one that was cut short, and all after it, is left out."""
    segments: List[Dict[str, Any]] = []
    settled: Tuple[int, Optional[float]] = (0, None)
    language, duration = None, 0.0
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            break
        if event.get("format", FORMAT) != FORMAT:
            return NOTHING
        if "segment" in event:
            segments.append(event["segment"])
        elif "settled" in event:
            settled = (len(segments), event["settled"])
        elif "info" in event:
            language = event["info"]["language"]
        elif "decoded" in event:
            duration = event["decoded"]
        elif "done" in event:
            return Heard(segments, None, language, duration, done=True)
    return Heard(segments[: settled[0]], settled[1], language, duration, done=False)
