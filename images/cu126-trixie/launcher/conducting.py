"""Both sides at their work: in turn or together, and on when one of them dies."""

from __future__ import annotations

import queue
import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from . import orders, progress, telling, threads
from .arguments import Options
from .attempts import Attempts
from .environments import Environment, doing
from .faults import FAILED, Fault, LauncherError
from .isolation import Side
from .job import Job, segment
from .orders import SPEAKERS, TRANSCRIBE, Order
from .progress import Progress

REPORT = "Please report it: this is a mistake of the launcher"


class Heard(NamedTuple):
    """What a side has to say.

    Attributes:
        lane: `transcribe` or `speakers`.
        job: Which recording it is about; None at the side's end.
        item: What it reported.
        error: Why it does not go on with the recording.
        done: Whether it is through with it.
        result: What came of it.
    """

    lane: str
    job: Optional[Job]
    item: Any = None
    error: Optional[LauncherError] = None
    done: bool = False
    result: Any = None


class Conductor:
    """Takes recordings through both sides."""

    def __init__(  # noqa: PLR0913 - what, how, where, and whom to tell
        self,
        options: Options,
        jobs: List[Job],
        environments: Tuple[Environment, ...],
        shown: Progress,
        *,
        together: bool,
        variables: Dict[str, str],
        told: Callable[[Job, Optional[Dict[str, Any]]], None],
    ) -> None:
        """Prepare; `run` does it.

        Args:
            options: What was asked for.
            jobs: The recordings.
            environments: Those of this image.
            shown: Where progress is shown.
            together: Whether both sides run at a time.
            variables: Of our environment.
            told: Called with each new segment of a recording, and with None when one is complete.
        """
        self._options, self._jobs, self._environments = options, jobs, environments
        self._shown, self._together, self._variables, self._told = shown, together, variables, told
        self._said: "queue.Queue[Heard]" = queue.Queue()
        self._sides: Dict[str, Side] = {}
        self._attempts = {TRANSCRIBE: Attempts(), SPEAKERS: Attempts()}
        self._completed: List[Job] = []

    def run(self) -> None:
        """Do all that is left to be done; each fault goes to its recording."""
        try:
            self._complete()
            if any(job.needs_decoding for job in self._jobs):
                self._begin(TRANSCRIBE)
            if self._together:
                self._begin_speakers()
            while self._sides:
                self._hear(self._said.get())
        finally:
            for side in self._sides.values():
                side.close()

    def _begin_speakers(self) -> None:
        if any(not job.diarized for job in self._jobs):
            self._begin(SPEAKERS)

    def _begin(self, lane: str) -> None:
        """Start a side and a thread that waits for its answers; a process belongs to the main thread."""
        environment = doing(lane, self._environments)
        if environment is None:  # the command line has seen to it
            raise LookupError(lane)
        side = Side(
            environment.name,
            python=environment.python,
            libraries=environment.libraries,
            path=(),
            variables=self._laid_over(lane),
            idle=self._options.idle or None,
        )
        self._sides[lane] = side
        self._attempts[lane].begin()
        try:
            side.start()
        except LauncherError as error:
            self._said.put(Heard(lane, self._jobs[0], error=error))
            self._said.put(Heard(lane, None))
            return
        threading.Thread(target=self._drive, args=(lane, side), daemon=True).start()

    def _laid_over(self, lane: str) -> Dict[str, str]:
        """What a side's variables have beyond ours."""
        offline = {"HF_HUB_OFFLINE": "1"} if self._options.offline else {}
        both = any(not job.transcribed for job in self._jobs) and any(not job.diarized for job in self._jobs)
        if not (self._together and both):
            return offline
        return {**offline, **threads.variables(lane, self._options.device, self._variables)}

    def _drive(self, lane: str, side: Side) -> None:
        order = orders.to_transcribe if lane == TRANSCRIBE else orders.for_speakers
        try:
            for job in self._jobs:
                ordered = order(self._options, job)
                if ordered and not self._carry_out(lane, side, job, ordered):
                    break
        except Exception as error:  # noqa: BLE001 - a thread's error would be seen by nobody
            fault = Fault("side {}".format(side.name), "{}: {}".format(type(error).__name__, error), REPORT)
            self._said.put(Heard(lane, self._jobs[0], error=LauncherError(fault)))
        finally:
            self._said.put(Heard(lane, None))

    def _carry_out(self, lane: str, side: Side, job: Job, ordered: Order) -> bool:
        """Have a side do something, passing on what it says; whether it can go on with another recording."""
        target, arguments = ordered
        try:
            items = side.iterate(target, **arguments)
            while True:
                try:
                    self._said.put(Heard(lane, job, item=next(items)))
                except StopIteration as end:
                    self._said.put(Heard(lane, job, done=True, result=end.value))
                    return True
        except LauncherError as error:
            self._said.put(Heard(lane, job, error=error))
            return telling.is_audio(error)

    # What the sides say

    def _hear(self, heard: Heard) -> None:
        if heard.job is None:
            self._end(heard.lane)
        elif heard.error:
            self._fail(heard.lane, heard.job, heard.error)
        elif heard.done:
            self._finish(heard.lane, heard.job, heard.result)
        elif heard.lane == TRANSCRIBE:
            self._hear_transcription(heard.job, progress.event(heard.item))
        else:
            event = progress.event(heard.item)
            if "share" in event:
                self._attempts[SPEAKERS].loaded = True
            self._shown.show(heard.job.name, SPEAKERS, event.get("stage", ""), event.get("share"))
        self._complete()

    def _hear_transcription(self, job: Job, event: Dict[str, Any]) -> None:
        if "decoded" in event:
            job.duration = event["decoded"]
            job.has_samples = not job.diarized and not event["lacking"]
            if event["lacking"]:
                cause = "the samples cannot be kept for the other side ({})".format(event["lacking"])
                self._blame(
                    job,
                    Fault(str(job.journal.samples), cause, "Make room, or name another folder with --work"),
                )
                job.diarized = True
            job.decoded.set()
        if "loaded" in event:
            self._attempts[TRANSCRIBE].loaded = True
        if "info" in event:
            job.language = event["info"]["language"]
        if "segment" in event:
            self._attempts[TRANSCRIBE].worked = True
            job.heard.append(event["segment"])
            self._told(job, event["segment"])
        if "stage" in event:
            self._shown.show(job.name, TRANSCRIBE, event["stage"], None)
        if {"info", "segment", "settled", "decoded"} & set(event):
            job.journal.note(event)
        if {"info", "segment"} & set(event):
            at = segment(job.heard[-1]).end if job.heard else 0.0
            share = at / job.duration if job.duration else None
            self._shown.show(
                job.name, TRANSCRIBE, "transcribing", share, progress.position(at, job.duration, job.began)
            )

    def _finish(self, lane: str, job: Job, result: Any) -> None:
        self._attempts[lane].worked = True
        if lane == TRANSCRIBE:
            if not job.transcribed:
                job.journal.note({"done": True})
            job.transcribed = True
        else:
            job.speakers, job.diarized = result, True
            job.journal.keep_speakers(result)
            job.journal.drop_samples()

    def _fail(self, lane: str, job: Job, error: LauncherError) -> None:
        model = self._options.model if lane == TRANSCRIBE else self._options.speakers or ""
        self._blame(job, telling.fault(error, job.name, model, self._variables))
        if lane == SPEAKERS:
            job.diarized = True
            job.journal.drop_samples()
        else:
            job.unheard = True
            if not job.has_samples:
                job.diarized = True
            job.decoded.set()

    def _blame(self, job: Job, fault: Fault) -> None:
        job.faults.append(fault)
        self._shown.say(str(fault))

    def _end(self, lane: str) -> None:
        """A side is through; what it did not come to is a fault of those recordings.

        One that one recording has brought down is started again for the others.
        """
        self._sides.pop(lane).close()
        if self._attempts[lane].another() and any(map(orders.LEFT[lane], self._jobs)):
            self._begin(lane)
            return
        if lane == TRANSCRIBE:
            self._give_up_the_rest()
            if not self._together:
                self._begin_speakers()
        if SPEAKERS not in self._sides and (lane == SPEAKERS or not self._sides):
            self._forgo_speakers()

    def _give_up_the_rest(self) -> None:
        for job in self._jobs:
            if not job.transcribed and not job.unheard:
                job.unheard = True
                job.faults.append(
                    Fault(job.name, "the side that transcribes ended before", "See above", FAILED)
                )
            job.decoded.set()

    def _forgo_speakers(self) -> None:
        for job in self._jobs:
            if not job.diarized:
                job.diarized = True
                if not job.faults:
                    job.faults.append(
                        Fault(
                            job.name, "the side that tells speakers apart ended before", "See above", FAILED
                        )
                    )

    def _complete(self) -> None:
        """Tell of the recordings that are complete, in their order."""
        for job in self._jobs[len(self._completed) :]:
            if not job.complete:
                return
            self._completed.append(job)
            self._told(job, None)
