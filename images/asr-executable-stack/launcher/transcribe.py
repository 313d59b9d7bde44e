"""The command `transcribe`: audio in; text, subtitles, a table or JSON out, with words and speakers."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import arguments, environments, journal, memory, speakers, writing
from .arguments import Options
from .conducting import Conductor
from .environments import Environment
from .faults import BAD_INPUT, DONE, INTERRUPTED, Fault, LauncherError, bad_input
from .job import Job, segment
from .journal import NOTHING, Journal
from .orders import SPEAKERS, TRANSCRIBE
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
    _allow_many_files()
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
        # Who reads the head has enough; but an earlier run's work is not thrown away for it.
        finished = not any(job.kept.segments or job.kept.done for job in jobs)
        raise
    finally:
        shown.clear()
        for job in jobs:
            job.journal.close(forget=finished)
    return _summed_up(jobs, faults, shown)


def _allow_many_files() -> None:
    """As many as we may have: there are two for each recording, whose journals stay open and locked."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
    names: Counter[str] = Counter()
    try:
        for audio in dict.fromkeys(options.audio):
            name = _name(options, audio)
            names[name] += 1  # several may be of the same bytes
            opened = _journal(options, name if names[name] == 1 else "{}-{}".format(name, names[name]), shown)
            kept = opened.heard() if options.resume else NOTHING
            opened.begin(kept)
            jobs.append(Job(audio, options, opened, kept))
    except BaseException:
        for job in jobs:
            job.journal.close(forget=False)
        raise
    return jobs


def _name(options: Options, audio: Path) -> str:
    """What the journal of a recording is called.

    Raises:
        BadInputError: The recording cannot be read.
    """
    model = (options.model, *_changed(Path(options.model) / "model.bin"))
    try:
        heard = journal.fingerprint(audio)
    except OSError as error:
        cause = "it cannot be read ({})".format(error.strerror)
        raise bad_input(str(audio), cause, "Give a file that can") from error
    # Neither the device nor its arithmetic: what a GPU had no memory for, a CPU may go on with.
    return journal.key(heard, model, options.beam_size, options.language, options.words)


def _journal(options: Options, name: str, shown: Progress) -> Journal:
    """A journal of that name; where there is no place for one, nothing is kept."""
    pipeline = (options.speakers, *_changed(*_configurations(options.speakers or "")))
    pipeline_key = journal.key(pipeline, options.limits, options.tf32)
    try:
        return Journal(options.work / name, pipeline_key)
    except OSError as error:
        if options.work != journal.default_folder():
            raise bad_input(
                "--work", "{} ({})".format(options.work, error.strerror), "Name another folder"
            ) from error
        shown.say("finished work is not kept: {} ({})".format(options.work, error.strerror))
        return Journal(_scratch(), pipeline_key, temporary=True)


def _scratch() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="transcribe-"))
    except OSError as error:
        cause = "no folder can be written to ({})".format(error.strerror)
        raise bad_input("--work", cause, "Name one that can") from error


def _configurations(pipeline: str) -> Tuple[Path, ...]:
    """The files that may describe a pipeline that is here."""
    return (Path(pipeline), Path(pipeline) / speakers.CONFIG) if pipeline else ()


def _changed(*files: Path) -> Tuple[int, ...]:
    """What changes with these files, of those that are there."""
    found: List[int] = []
    for file in files:
        with contextlib.suppress(OSError):
            status = file.stat()
            found += [status.st_size, status.st_mtime_ns] if file.is_file() else []
    return tuple(found)


def _summed_up(jobs: List[Job], faults: List[Fault], shown: Progress) -> int:
    """Say once more what to do when something is left, and return the exit code."""
    for fault in faults:
        if not any(fault in job.faults for job in jobs):  # those were told when they happened
            shown.say(str(fault))
    for broken in dict.fromkeys(job.journal.broken for job in jobs if job.journal.broken):
        shown.say("finished work could not be kept: {}".format(broken))
    unheard = [job.name for job in jobs if job.unheard]
    if unheard and len(jobs) > 1:
        shown.say("not transcribed: {}".format(", ".join(unheard)))
    if any(fault.code != BAD_INPUT for fault in faults):
        without = [job.name for job in jobs if job.transcribed and job.faults]
        if without:
            shown.say("{}: written without speakers".format(", ".join(without)))
        kept = [job for job in jobs if not (job.journal.broken or job.journal.temporary)]
        if any(job.heard or job.speakers for job in kept):
            shown.say("what was finished is kept: run it again with --resume")
    return code(faults)
