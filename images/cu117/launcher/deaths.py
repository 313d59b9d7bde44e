"""How a process ended that should not have: its signal, the memory it was killed for, its last words."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple, Optional

from . import causes
from .causes import Cause

_EVENTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_SHOWN = 2


class Death(NamedTuple):
    """The end of a process.

    Attributes:
        code: Its exit status as a shell has it: 128 + signal when a signal ended it.
        hung: For how many seconds it had done nothing when we ended it; 0 if we did not.
        out_of_memory: Whether the kernel says that it killed for memory meanwhile.
        words: The end of what it printed.
        cause: What is known of its last words.
    """

    code: int
    hung: float
    out_of_memory: bool
    words: str
    cause: Optional[Cause]

    @property
    def signal(self) -> str:
        """The name of the signal that ended it, or an empty text."""
        if self.code <= 128:  # noqa: PLR2004 - a shell's convention
            return ""
        try:
            return signal.Signals(self.code - 128).name
        except ValueError:
            return "signal {}".format(self.code - 128)

    def told(self) -> str:
        """One sentence, without a full stop."""
        if self.hung:
            return "it did nothing for {:.0f} s and was ended".format(self.hung)
        if self.out_of_memory:
            return "the kernel killed it, because memory ran out"
        if self.signal == "SIGKILL":
            return "it was killed (SIGKILL), which the kernel does when memory runs out"
        if self.signal:
            return "it died of {} (exit code {})".format(self.signal, self.code)
        return "it ended in mid-work with exit code {}".format(self.code)

    def why(self) -> str:
        """The known cause of its last words, or these themselves."""
        if self.cause:
            return self.cause.cause
        lines = [line.strip() for line in self.words.splitlines() if line.strip()]
        return "its last words: " + "; ".join(lines[-_SHOWN:]) if lines else "it said nothing"

    def fix(self) -> str:
        """What to do next, without a full stop."""
        if self.hung:
            return "See whether the GPU still answers (nvidia-smi), and allow more with --timeout-idle"
        if self.cause:
            return self.cause.fix
        if self.out_of_memory or self.signal == "SIGKILL":
            return "Give the container more memory, take a smaller model, or run both sides --in-turn"
        return "Run `cuvee explain` on its last words, or `cuvee doctor` where it died"


def died(returncode: int, words: str, *, hung: float, kills_before: int) -> Death:
    """What to say of a process that has ended.

    Args:
        returncode: As `subprocess` has it.
        words: The end of what it printed.
        hung: Seconds without any sign of work after which we ended it; 0 if we did not.
        kills_before: What `memory_kills` said when it began.
    """
    code = 128 - returncode if returncode < 0 else returncode
    killed = returncode == -signal.SIGKILL and not hung
    return Death(code, hung, killed and memory_kills() > kills_before, words, causes.find(words))


def memory_kills() -> int:
    """How often the kernel killed in our control group for memory; 0 where it does not say."""
    for name in _EVENTS:
        try:
            lines = Path(name).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, count = line.partition(" ")
            if key == "oom_kill":
                return int(count)
    return 0
