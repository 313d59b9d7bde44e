"""Check `libraries`: the real loader finds everything that every ELF file is linked with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Dict, Iterable, List, Sequence, Set, Tuple

from . import elf, excuses, loader, processes, rules
from .excuses import Verdict
from .finding import Finding, judged, several, skipped
from .loader import Trace
from .place import Place, elf_files, matches


def check(place: Place) -> Finding:
    """Trace every file; explain those that are incomplete on their own; report the rest."""
    traced = linked_files(elf_files(place))
    if not traced:
        return skipped("no ELF file here is linked with anything")
    alone = processes.side_by_side(lambda path: _trace(place, path), traced)
    incomplete = [path for path, answer in alone.items() if lacks(answer)]
    carried = carried_by(alone.values())
    orphans = [path for path in incomplete if os.path.realpath(str(path)) not in carried]
    later = {place.relative(path): lacks(answer) for path, answer in _after_imports(place, orphans).items()}
    verdicts = excuses.one_is_enough({file: excuses.judge(file, names) for file, names in later.items()})
    return _finding(verdicts, len(traced), len(incomplete) - len(orphans))


def linked_files(files: Sequence[Path]) -> List[Path]:
    """Those the loader is asked about: for this machine, and linked with something, or damaged."""
    own = elf.read(Path(sys.executable).resolve())
    machine = own.machine if own else 0
    facts = ((path, elf.read(path)) for path in files)
    return [path for path, said in facts if said is None or (said.needed and said.machine == machine)]


def lacks(answer: Trace) -> Tuple[str, ...]:
    """What a trace says is wrong; the driver's libraries are the host's business."""
    return tuple(name for name in answer.missing if name not in rules.DRIVER_LIBRARIES) + answer.complaints


def carried_by(answers: Iterable[Trace]) -> Set[str]:
    """Every library that some complete file loads, by its real path.

    auditwheel gives RPATH to extension modules only; the libraries beside them are found through the module
    that needs them (DT_RPATH is inherited), so those are judged in that company and not alone.
    """
    paths = {path for answer in answers if not lacks(answer) for path in answer.found.values()}
    return {os.path.realpath(path) for path in paths}


def _trace(place: Place, path: Path, first: Sequence[str] = ()) -> Trace:
    return loader.trace(path, first=first, hide_cache=place.hide_cache)


def _after_imports(place: Place, files: Sequence[Path]) -> Dict[Path, Trace]:
    """Trace `files` again with what Python loads before them, where a rule says that it does."""
    ready = {rule: _closure(place, rule.seed) for rule in rules.AFTER}

    def again(path: Path) -> Trace:
        fitting = [ready[rule] for rule in rules.AFTER if matches(place.relative(path), rule.files)]
        first = [library for libraries in fitting for library in (*libraries, *_beside(path))]
        return _trace(place, path, first)

    return processes.side_by_side(again, files)


def _closure(place: Place, seed: str) -> List[str]:
    """All that the seed loads, and the seed; nothing where it is not installed.

    All have to be named: the loader looks for a file's own needs before it comes to those of its preloads.
    """
    libraries: List[str] = []
    for path in place.matching(seed):
        libraries += [os.path.realpath(found) for found in _trace(place, path).found.values()]
        libraries.append(str(path))
    return [library for library in libraries if not Path(library).name.startswith("ld-")]


def _beside(path: Path) -> List[str]:
    """The libraries that `path` needs and that lie in its own folder."""
    said = elf.read(path)
    names = said.needed if said else ()
    return [str(path.with_name(name)) for name in names if path.with_name(name).is_file()]


def _finding(verdicts: Dict[str, Verdict], files: int, by_others: int) -> Finding:
    unresolved = {file: list(verdict.lacks) for file, verdict in verdicts.items() if verdict.lacks}
    named = ["{}: {}".format(file, ", ".join(names)) for file, names in unresolved.items()]
    return judged(
        several(named),
        "{} files find all their libraries".format(files),
        files=files,
        loaded_by_others=by_others,
        loaded_later=len(verdicts),
        unresolved=unresolved,
        waived=excuses.by_reason(verdicts),
    )
