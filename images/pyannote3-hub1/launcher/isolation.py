"""Run functions in a process of their own, with its own Python and its own path of libraries.

Libraries that cannot share a process (two cuDNNs, two CUDAs, two torches) each get a side:

    from cuvee.isolation import Side

    with Side("asr") as asr, Side("diarize") as diarize:
        segments = list(asr.iterate("my_module:transcribe", "meeting.wav"))
        turns = diarize.call("my_module:speakers", "meeting.wav", most=4)

`"module:function"` is imported in the side, where the folder of your script is on `sys.path`. Arguments and
results travel as JSON: plain data, with tuples as lists; hand over arrays as files. `iterate` yields what the
function yields or hands to `report`. What a side prints is kept, for the case that it dies: then the call
raises `SideDiedError`, with the signal, the last words and what is known of them, and your own process lives.
A side is started anew, never forked, because a fork would have all that is loaded here. It ends with the
`with` block, and with your process.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any, Generator, List, Mapping, Optional, Sequence

from . import environments
from .deaths import Death
from .faults import Fault, LauncherError
from .running import Running, started
from .serving import report

__all__ = ["RemoteError", "Side", "SideDiedError", "report"]

GRACE_S = 5.0


class SideDiedError(LauncherError):
    """A side is gone.

    Attributes:
        side: Its name.
        death: The signal or exit code, its last words, and their cause if it is known.
    """

    def __init__(self, side: str, death: Death) -> None:
        fault = Fault(side, "{}; {}".format(death.told(), death.why()), death.fix())
        super().__init__(fault)
        self.side = side
        self.death = death


class RemoteError(LauncherError):
    """A function raised an exception in a side, which lives on.

    Attributes:
        side: The side's name.
        type: The exception's name, with its module unless it is built in.
        text: What it says.
        trace: The traceback there.
        words: The end of what the side has printed so far.
    """

    def __init__(self, side: str, told: Mapping[str, str], words: str) -> None:
        self.side, self.words = side, words
        self.type, self.text, self.trace = told["type"], told["text"], told["trace"]
        super().__init__(Fault(side, "{}: {}".format(self.type, self.text), "Read the traceback there"))


class Side:
    """A process with one environment's Python and libraries, which calls functions for us.

    One call at a time; a thread that comes while another one's call is under way waits for it.
    """

    def __init__(  # noqa: PLR0913 - where it runs, with what, and how long it may do nothing
        self,
        name: str = "main",
        *,
        python: Optional[str] = None,
        libraries: Optional[Sequence[str]] = None,
        path: Optional[Sequence[str]] = None,
        variables: Optional[Mapping[str, str]] = None,
        idle: Optional[float] = None,
    ) -> None:
        """Describe a side; `with` or `start` starts it.

        Args:
            name: An environment of the image (`asr`, `diarize`, `main`), or, with `python`, any name.
            python: Another interpreter than that environment's.
            libraries: Folders for its own library path, instead of the environment's. Where there are any,
                what else is inherited on that path stays behind them, less other copies of CUDA.
            path: Folders for its `sys.path`; the folder of the running script when not given.
            variables: Laid over ours.
            idle: Seconds without any sign of work after which it counts as hung and is killed; None waits.

        Raises:
            LauncherError: There is no such environment.
        """
        own = None if python else environments.named(name, environments.load())
        self.name = name
        self.idle = idle
        self._python = python or (own.python if own else sys.executable)
        given = tuple(libraries) if libraries is not None else None
        self._libraries = given if given is not None or not own else own.libraries
        self._path = list(path) if path is not None else _scripts_folder()
        self._variables = dict(variables or {})
        self._lock = threading.Lock()
        self._running: Optional[Running] = None
        self._order = 0

    def __enter__(self) -> Side:  # noqa: PYI034 - typing.Self is newer than Python 3.9
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The number of its process, 0 when it does not run."""
        return self._running.process.pid if self._running else 0

    def start(self) -> None:
        """Start the process, unless it runs.

        Raises:
            LauncherError: Its interpreter cannot be started.
        """
        if self._running is None:
            variables = environments.variables_for(self._libraries, os.environ, self._variables)
            try:
                self._running = started(self._python, self._path, variables)
            except OSError as error:
                cause = "its Python cannot be started ({})".format(error)
                raise LauncherError(
                    Fault(self.name, cause, "See that {} is there".format(self._python))
                ) from error

    def close(self) -> None:
        """End the process: at once if it works, and orderly if it does not."""
        running, self._running = self._running, None
        if running:
            running.end(0 if self._lock.locked() else GRACE_S)

    def call(self, target: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function in the side.

        Args:
            target: `module:function`.
            args: Its arguments, plain data.
            kwargs: Its arguments by name.

        Raises:
            SideDiedError: The process died, or hung.
            RemoteError: The function raised an exception.
        """
        items = self.iterate(target, *args, **kwargs)
        while True:
            try:
                next(items)
            except StopIteration as end:
                return end.value

    def iterate(self, target: str, *args: Any, **kwargs: Any) -> Generator[Any, None, Any]:
        """The same, yielding what the function yields or reports, as it comes; returns its result."""
        with self._lock:
            running = self._running
            if running is None:
                raise LauncherError(Fault(self.name, "the side does not run", "Use it within `with`"))
            self._order = order = self._order + 1
            running.send({"order": order, "target": target, "args": args, "kwargs": kwargs})
            while True:
                answer = running.answer(self.idle)
                if answer is None:
                    raise SideDiedError(self.name, self._post_mortem(running))
                if answer["order"] != order:
                    continue  # of a call whose items nobody wanted to the end
                if "error" in answer:
                    raise RemoteError(self.name, answer["error"], running.words())
                if "done" in answer:
                    return answer["done"]
                yield answer["item"]

    def _post_mortem(self, running: Running) -> Death:
        if self._running is running:
            self._running = None
        return running.end(GRACE_S / 5)


def _scripts_folder() -> List[str]:
    """Where the running script looks for its own modules."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return [str(Path(script).resolve().parent)] if script else [str(Path.cwd())]
