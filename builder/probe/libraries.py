"""Check `libraries`: the real loader finds everything that every ELF file is linked with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Set, Tuple

from . import elf, loader, processes, rules
from .finding import Finding, judged, skipped
from .loader import Trace
from .place import Place, elf_files, matches

Traces = Dict[Path, Trace]


class Verdict(NamedTuple):
    """What is to be said of one file that lacks something when it is loaded on its own.

    Attributes:
        lacks: What it lacks and needs.
        waived: What it lacks and works without, by name, with the reason.
    """

    lacks: Tuple[str, ...]
    waived: Dict[str, str]


def check(place: Place) -> Finding:
    """Trace every file; explain those that are incomplete on their own; report the rest."""
    traced = linked_files(elf_files(place))
    if not traced:
        return skipped("no ELF file here is linked with anything")
    alone = dict(zip(traced, processes.side_by_side(lambda path: _trace(place, path), traced)))
    incomplete = {path: answer for path, answer in alone.items() if lacks(answer)}
    carried = carried_by(list(alone.values()))
    orphans = [path for path in incomplete if os.path.realpath(str(path)) not in carried]
    later = _after_imports(place, orphans)
    verdicts = {place.relative(path): judge(place.relative(path), answer) for path, answer in later.items()}
    return _finding(
        verdicts, files=len(traced), loaded_by_others=len(incomplete) - len(later), loaded_later=len(later)
    )


def linked_files(files: Sequence[Path]) -> List[Path]:
    """Those the loader is asked about: for this machine, and linked with something, or damaged."""
    own = elf.read(Path(sys.executable).resolve())
    facts = ((path, elf.read(path)) for path in files)
    return [
        path
        for path, said in facts
        if said is None or (said.needed and own is not None and said.machine == own.machine)
    ]


def lacks(answer: Trace) -> Tuple[str, ...]:
    """What a trace says is wrong; the driver's libraries are the host's business."""
    return tuple(name for name in answer.missing if name not in rules.DRIVER_LIBRARIES) + answer.complaints


def carried_by(answers: Sequence[Trace]) -> Set[str]:
    """Every library that some complete file loads, by its real path.

    auditwheel gives RPATH to extension modules only; the libraries beside them are found through the module
    that needs them (DT_RPATH is inherited), so those are judged in that company and not alone.
    """
    paths = {path for answer in answers if not lacks(answer) for path in answer.found.values()}
    return {os.path.realpath(path) for path in paths}


def judge(file: str, answer: Trace, waivers: Sequence[rules.Waiver] = rules.UNRESOLVED) -> Verdict:
    """Sort what `file` lacks into what is needed and what is waived."""
    reasons = {name: _reason(file, name, waivers) for name in lacks(answer)}
    waived = {name: reason for name, reason in reasons.items() if reason}
    return Verdict(tuple(name for name in reasons if name not in waived), waived)


def by_reason(verdicts: Dict[str, Verdict]) -> Dict[str, Dict[str, List[str]]]:
    """What was waived: for each reason the files, and for each file the names."""
    waived = {}  # type: Dict[str, Dict[str, List[str]]]
    for file, verdict in verdicts.items():
        for name, reason in verdict.waived.items():
            waived.setdefault(reason, {}).setdefault(file, []).append(name)
    return waived


def _reason(file: str, name: str, waivers: Sequence[rules.Waiver]) -> str:
    fitting = [rule for rule in waivers if matches(file, rule.files) and matches(name, rule.libraries)]
    return fitting[0].reason if fitting else ""


def _trace(place: Place, path: Path, first: Sequence[str] = ()) -> Trace:
    return loader.trace(path, first=first, hide_cache=place.hide_cache)


def _after_imports(place: Place, files: Sequence[Path]) -> Traces:
    """Trace `files` again with what Python loads before them, where a rule says that it does."""
    ready = {rule: _closure(place, rule.seed) for rule in rules.AFTER}

    def again(path: Path) -> Trace:
        fitting = [ready[rule] for rule in rules.AFTER if matches(place.relative(path), rule.files)]
        first = [library for libraries in fitting for library in (*libraries, *_beside(path))]
        return _trace(place, path, first)

    return dict(zip(files, processes.side_by_side(again, files)))


def _closure(place: Place, seed: str) -> List[str]:
    """The seed and all it loads; the empty list where it is not installed.

    All have to be named: the loader looks for a file's own needs before it comes to those of its preloads.
    """
    libraries = []  # type: List[str]
    for path in place.matching(seed):
        libraries += [os.path.realpath(found) for found in _trace(place, path).found.values()]
        libraries.append(str(path))
    return libraries


def _beside(path: Path) -> List[str]:
    """The libraries that `path` needs and that lie in its own folder."""
    said = elf.read(path)
    names = said.needed if said else ()
    return [str(path.with_name(name)) for name in names if path.with_name(name).is_file()]


def _finding(
    verdicts: Dict[str, Verdict], *, files: int, loaded_by_others: int, loaded_later: int
) -> Finding:
    unresolved = {file: list(verdict.lacks) for file, verdict in verdicts.items() if verdict.lacks}
    fault = "; ".join("{} lacks {}".format(file, ", ".join(names)) for file, names in unresolved.items())
    return judged(
        fault,
        "{} files find all their libraries".format(files),
        files=files,
        loaded_by_others=loaded_by_others,
        loaded_later=loaded_later,
        unresolved=unresolved,
        waived=by_reason(verdicts),
    )
