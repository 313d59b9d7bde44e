"""Runs a command, and prints as JSON what it took: `measured.py COMMAND…`.

`cpu` counts the processes that the command started too, because it waits for them.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(words: list[str]) -> int:
    """Run it; the exit code is the command's own."""
    began = time.monotonic()
    pid = os.posix_spawn(words[0], words, dict(os.environ))
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - began
    told = {"wall": round(wall, 3), "cpu": round(usage.ru_utime + usage.ru_stime, 3)}
    sys.stdout.write(json.dumps(told) + "\n")
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
