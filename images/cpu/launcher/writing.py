"""Where transcripts go: to files, whole or not at all, or to standard output, piece by piece if possible."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, Iterable, List, Optional

from . import arguments, formats
from .arguments import STDOUT, Options
from .faults import FAILED, Fault, LauncherError, bad_input
from .job import Job
from .joining import Segment

_IMMOVABLE = frozenset({errno.EBUSY, errno.EROFS, errno.EACCES, errno.EPERM})
"""What the kernel says where a file cannot be replaced: a container has that file alone from outside, or its
folder is not ours."""


class ReaderGoneError(Exception):
    """Nobody reads our standard output any more (`| head`)."""


class Writer:
    """Writes what jobs have come to."""

    def __init__(self, options: Options, out: Optional[IO[str]] = None) -> None:
        """Make the folder that is written to.

        Raises:
            BadInputError: It cannot be written to.
        """
        if out is None and sys.stdout is None and options.output == STDOUT:
            raise bad_input("standard output", "it is closed", "Name a file with --output")
        self._options = options
        self._out = out or sys.stdout
        self._count = 0
        # With speakers, who said a sentence is known only at the end; JSON has a single end.
        self._streams = (
            options.output == STDOUT and not options.speakers and options.formats[0] in formats.FORMS
        )
        if options.output != STDOUT:
            _require_folder(options)

    def begin(self, kept: Iterable[Segment]) -> None:
        """Write the head of a recording, and what is kept of an earlier run."""
        if self._streams:
            self._count = 0
            self._print(formats.FORMS[self._options.formats[0]].head)
            for one in kept:
                self.segment(one)

    def segment(self, segment: Segment) -> None:
        """Write a segment that has just been heard."""
        if self._streams:
            self._count += 1
            self._print(formats.FORMS[self._options.formats[0]].piece(self._count, segment))

    def finish(self, job: Job) -> Optional[Fault]:
        """Write all of a job, unless it was written already; a fault if that did not work."""
        if self._streams:
            return None
        transcript = job.transcript()
        if self._options.output == STDOUT:
            self._print(formats.whole(self._options.formats[0], transcript))
            return None
        for name, path in arguments.outputs(self._options, job.audio).items():
            try:
                write(path, formats.whole(name, transcript))
            except OSError as error:
                fix = "Make room, or name another place with --output; then run again with --resume"
                return Fault(str(path), "it cannot be written ({})".format(error.strerror), fix, FAILED)
        return None

    def _print(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except OSError as error:
            nobody_reads()  # what is still to be written cannot be, either
            cause = "it cannot be written ({})".format(error.strerror)
            fix = "Make room, then run it again with --resume"
            raise LauncherError(Fault("standard output", cause, fix, FAILED)) from error


def write(path: Path, text: str) -> None:
    """Write a file whole, or leave what was there; OSError if it cannot be.

    A link stays one. What nothing can be put in the place of is written into.
    """
    if _is_open(path):
        path.write_text(text, encoding="utf-8")
        return
    try:
        _replace(path.resolve(), text)
    except OSError as error:
        if error.errno not in _IMMOVABLE or not path.is_file():
            raise
        path.write_text(text, encoding="utf-8")


def _is_open(path: Path) -> bool:
    """Whether it stands for something that somebody has open: /dev/stdout and the like."""
    return path.exists() and (not path.is_file() or str(path).startswith(("/dev/", "/proc/")))


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix="." + path.name[:40], dir=str(path.parent))
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        part.chmod(0o666 & ~_mask())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _require_folder(options: Options) -> None:
    paths: List[Path] = [
        path for audio in options.audio for path in arguments.outputs(options, audio).values()
    ]
    in_place = [
        path for path in paths if _is_open(path) or (path.is_file() and os.access(str(path), os.W_OK))
    ]
    for folder in dict.fromkeys(path.parent for path in paths if path not in in_place):
        try:
            if arguments.is_folder(options):
                folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=str(folder)).close()
        except OSError as error:
            cause = "nothing can be written there ({})".format(error.strerror)
            raise bad_input(str(folder), cause, "Name another place with --output") from error


def nobody_reads() -> None:
    """Let Python close its standard output in peace."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
