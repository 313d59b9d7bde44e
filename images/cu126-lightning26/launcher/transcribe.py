"""The command `transcribe`: audio in; text, subtitles, a table or JSON out, with words and speakers."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import arguments, environments, journal, memory, writing
from .arguments import Options
from .conducting import SPEAKERS, TRANSCRIBE, Conductor
from .environments import Environment
from .faults import BAD_INPUT, DONE, INTERRUPTED, Fault, LauncherError, bad_input
from .job import Job, segment
from .journal import NOTHING, Journal
from .progress import Progress
from .writing import ReaderGoneError, Writer

LACKING = {
    TRANSCRIBE: ("nothing here has faster-whisper", "Install it, or take an image that has it"),
    SPEAKERS: ("nothing here has pyannote.audio", "Take an image that has it, or leave --speakers out"),
}


def main(words: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code.

    Args:
        words: Its arguments; the process's own when None.
    """
    try:
        options = arguments.parse(sys.argv[1:] if words is None else words)
    except SystemExit as error:  # argparse has told
        return int(error.code or DONE)
    except LauncherError as error:
        return _told(Progress(), error.faults)
    shown = Progress(as_json=options.json_progress, quiet=options.quiet)
    _end_orderly_when_told()
    try:
        return _run(options, shown)
    except LauncherError as error:
        return _told(shown, error.faults)
    except ReaderGoneError:
        writing.nobody_reads()
        return DONE
    except KeyboardInterrupt:
        shown.say("interrupted; run it again with --resume to go on from there")
        return INTERRUPTED


def _told(shown: Progress, faults: Sequence[Fault]) -> int:
    for fault in faults:
        shown.say(str(fault))
    return code(faults)


def code(faults: Sequence[Fault]) -> int:
    """The exit code for some faults."""
    return max((fault.code for fault in faults), default=DONE)


def _end_orderly_when_told() -> None:
    """Let SIGTERM (docker stop) end both sides as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    try:
        signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        return  # not in the main thread: somebody else's program


def _run(options: Options, shown: Progress) -> int:
    known = _environments(options)
    writer = Writer(options)
    jobs = _jobs(options, shown)
    faults: List[Fault] = []
    finished = False

    def told(job: Job, said: Optional[Dict[str, Any]]) -> None:
        shown.clear()
        if said is not None:
            writer.segment(segment(said))
        elif job.transcribed:
            faults.extend(one for one in [writer.finish(job)] if one)

    try:
        _conduct(options, jobs, known, shown, writer, told)
        faults += [fault for job in jobs for fault in job.faults]
        finished = not faults
    except ReaderGoneError:
        finished = True
        raise
    finally:
        shown.clear()
        for job in jobs:
            job.journal.close(forget=finished)
    return _summed_up(jobs, faults, shown)


def _conduct(  # noqa: PLR0913, PLR0917 - what, how, where, and whom to tell
    options: Options,
    jobs: List[Job],
    known: Tuple[Environment, ...],
    shown: Progress,
    writer: Writer,
    told: Any,
) -> None:
    begun: List[Job] = []

    def told_in_order(job: Job, said: Optional[Dict[str, Any]]) -> None:
        if job not in begun:
            begun.append(job)
            shown.clear()
            kept = job.heard if said is None else job.heard[:-1]
            writer.begin([segment(one) for one in kept])
        told(job, said)

    together = options.together
    if together is None:
        together = bool(options.speakers) and memory.together(options.model, options.device)
    Conductor(
        options, jobs, known, shown, together=together, variables=_variables(options), told=told_in_order
    ).run()


def _variables(options: Options) -> Dict[str, str]:
    return {**os.environ, **({"HF_HUB_OFFLINE": "1"} if options.offline else {})}


def _environments(options: Options) -> Tuple[Environment, ...]:
    known = environments.load()
    for task in [TRANSCRIBE, *([SPEAKERS] if options.speakers else [])]:
        if environments.doing(task, known) is None:
            raise bad_input("transcribe" if task == TRANSCRIBE else "--speakers", *LACKING[task])
    return known


def _jobs(options: Options, shown: Progress) -> List[Job]:
    jobs: List[Job] = []
    try:
        for audio in dict.fromkeys(options.audio):
            opened = _journal(options, audio, shown)
            kept = opened.heard() if options.resume else NOTHING
            opened.begin(kept)
            jobs.append(Job(audio, options, opened, kept))
    except BaseException:
        for job in jobs:
            job.journal.close(forget=False)
        raise
    return jobs


def _journal(options: Options, audio: Path, shown: Progress) -> Journal:
    """The journal of a recording; where there is no place for one, nothing is kept."""
    model = (options.model, *_changed(Path(options.model) / "model.bin"))
    # Neither the device nor its arithmetic: what a GPU had no memory for, a CPU may go on with.
    name = journal.key(journal.fingerprint(audio), model, options.beam_size, options.language, options.words)
    speakers = journal.key(options.speakers, options.limits, options.tf32)
    try:
        return Journal(options.work / name, speakers)
    except OSError as error:
        if options.work != journal.default_folder():
            raise bad_input(
                "--work", "{} ({})".format(options.work, error.strerror), "Name another folder"
            ) from error
        shown.say("finished work is not kept: {} ({})".format(options.work, error.strerror))
        return Journal(Path(tempfile.mkdtemp(prefix="transcribe-")), speakers)


def _changed(file: Path) -> Tuple[int, ...]:
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns


def _summed_up(jobs: List[Job], faults: List[Fault], shown: Progress) -> int:
    """Say once more what to do when something is left, and return the exit code."""
    for fault in faults:
        if not any(fault in job.faults for job in jobs):  # those were told when they happened
            shown.say(str(fault))
    for broken in dict.fromkeys(job.journal.broken for job in jobs if job.journal.broken):
        shown.say("finished work could not be kept: {}".format(broken))
    if any(fault.code != BAD_INPUT for fault in faults) and not all(job.journal.broken for job in jobs):
        without = [job.name for job in jobs if job.transcribed and job.faults]
        if without:
            shown.say("{}: written without speakers".format(", ".join(without)))
        if any(job.heard or job.speakers for job in jobs):
            shown.say("what was finished is kept: run it again with --resume")
    return code(faults)
