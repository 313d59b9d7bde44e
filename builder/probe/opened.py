"""Check `opened`: what CTranslate2 opens by name while it runs, a plain process can open too.

Last, CTranslate2 itself opens cuBLAS, as it does when it first computes on a GPU: without one, cuBLAS has
nothing to say, but a missing cuBLAS is told in the words that users know.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from . import elf, maps, processes, rules
from .child import merged
from .finding import Finding, judged, several, skipped
from .place import Place, matches
from .processes import Manner

BINARIES = ("ctranslate2/*.so*", "ctranslate2.libs/*.so*")
ENGINE = "ctranslate2.libs/libctranslate2*.so*"
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
    held = [
        spelled
        for path in binaries
        for name in elf.names_held(path)
        for spelled in spellings(path.name, name)
    ]
    attempts = processes.side_by_side(lambda name: _attempt(place, name), harvest(held, said))
    return judge(list(attempts.values()), _last_words(place))


def spellings(holder: str, name: str) -> List[str]:
    """The names under which the file called `holder` opens `name`.

    cuDNN 9's front holds bare names and tries its own version first: `.so.9.1.0`, `.so.9.1`, `.so.9`, `.so`.
    """
    if not (maps.FRONT.fullmatch(holder) and name.endswith(".so")):
        return [name]
    numbers = holder.split(".so.")[1].split(".")
    return [".".join([name, *numbers[:count]]) for count in range(len(numbers), -1, -1)]


def harvest(held: Sequence[str], said: Sequence[elf.Elf]) -> List[str]:
    """Of the names that CTranslate2's data holds, those that it opens itself.

    The loader has what it is linked with, and the host brings the driver.
    """
    linked = {name for elf_ in said for name in (*elf_.needed, elf_.soname)}
    return [name for name in dict.fromkeys(held) if name not in linked and name not in rules.DRIVER_LIBRARIES]


def families(names: Sequence[str]) -> Dict[str, List[str]]:
    """The names of each library, however many there are."""
    named: Dict[str, List[str]] = {}
    for name in names:
        named.setdefault(name.split(".so")[0], []).append(name)
    return named


def optional(name: str) -> str:
    """Why `name` may be missing, or ""."""
    fitting = [reason for pattern, reason in rules.OPTIONAL.items() if matches(name, pattern)]
    return "".join(fitting[:1])


def judge(attempts: Sequence[Attempt], last_words: str = "") -> Finding:
    """One spelling of each library has to open, unless it is optional; and CTranslate2 has to live."""
    known = {attempt.name: attempt for attempt in attempts}
    groups = families(list(known))
    missing = [group for group in groups.values() if all(known[name].error for name in group)]
    needed = [group for group in missing if not optional(group[0])]
    return judged(
        several([last_words] * bool(last_words) + [known[group[0]].error for group in needed]),
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


def _last_words(place: Place) -> str:
    """What CTranslate2 dies of when it opens cuBLAS, or ""."""
    extension, engine = place.matching("ctranslate2/_ext*.so"), place.matching(ENGINE)
    if not (extension and engine):
        return ""
    done = processes.child(Manner(TIMEOUT, place.hide_cache), "cublas", str(extension[0]), str(engine[0]))
    return done.complaint if done.code else ""
