"""Check `opened`: what CTranslate2 opens by name while it runs, a plain process can open too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from . import elf, processes, rules
from .child import merged
from .finding import Finding, judged, skipped
from .place import Place, matches
from .processes import Manner

BINARIES = ("ctranslate2/*.so*", "ctranslate2.libs/*.so*")
TIMEOUT = 120.0


class Attempt(NamedTuple):
    """One name, opened in a process of its own.

    Attributes:
        name: The library's name.
        opened: CUDA's files that came with it.
        error: The loader's words when it could not be opened, else "".
    """

    name: str
    opened: List[str]
    error: str


def check(place: Place) -> Finding:
    """Harvest the names from CTranslate2's binaries, then open each."""
    binaries = [path for pattern in BINARIES for path in place.matching(pattern)]
    if not binaries:
        return skipped("CTranslate2 is not installed")
    said = [found for found in map(elf.read, binaries) if found]
    held = [name for path in binaries for name in elf.names_held(path)]
    names = harvest(held, said)
    attempts = processes.side_by_side(lambda name: _attempt(place, name), names)
    return judge(attempts)


def harvest(held: Sequence[str], said: Sequence[elf.Elf]) -> List[str]:
    """Of the names that CTranslate2's data holds, those that it opens itself.

    The loader has what it is linked with, and the host brings the driver.
    """
    linked = {name for elf_ in said for name in (*elf_.needed, elf_.soname)}
    return [name for name in dict.fromkeys(held) if name not in linked and name not in rules.DRIVER_LIBRARIES]


def families(names: Sequence[str]) -> Dict[str, List[str]]:
    """The spellings of each library: cuDNN 9 is tried as `.so.9.1.0`, `.so.9.1`, `.so.9` and `.so`."""
    spellings = {}  # type: Dict[str, List[str]]
    for name in names:
        spellings.setdefault(name.split(".so")[0], []).append(name)
    return spellings


def optional(name: str) -> str:
    """Why `name` may be missing, or ""."""
    fitting = [reason for pattern, reason in rules.OPTIONAL.items() if matches(name, pattern)]
    return "".join(fitting[:1])


def judge(attempts: Sequence[Attempt]) -> Finding:
    """One spelling of each library has to open, unless it is optional."""
    known = {attempt.name: attempt for attempt in attempts}
    groups = families(list(known))
    missing = [group for group in groups.values() if all(known[name].error for name in group)]
    needed = [group for group in missing if not optional(group[0])]
    return judged(
        "; ".join(known[group[0]].error for group in needed),
        "{} of {} libraries open".format(len(groups) - len(missing), len(groups)),
        opened={name: attempt.opened for name, attempt in known.items() if not attempt.error},
        failed={name: known[name].error for group in needed for name in group},
        optional={name: optional(name) for group in missing for name in group if optional(name)},
    )


def _attempt(place: Place, name: str) -> Attempt:
    done = processes.child(Manner(TIMEOUT, place.hide_cache), "open", name)
    said = merged(done.out)
    error = str(said.get("error") or ("" if "opened" in said else done.complaint))
    brought = [path for path in said.get("opened", []) if re.fullmatch(rules.CUDA_LIBRARY, Path(path).name)]
    return Attempt(name, brought, error)
