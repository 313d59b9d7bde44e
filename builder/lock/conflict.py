"""Why a row cannot be resolved, told as the demands that clash.

A resolver's trace says how it searched. A person wants to know which of *their* lines cannot stand together:
the smallest sets of demands that are unsatisfiable, found by leaving out one after the other.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from builder.errors import Fault
from builder.lock.uv import Question, Refusal, Resolved
from builder.matrix import Demand

Ask = Callable[[Question], tuple[Resolved, ...] | Refusal]


def question_for(demands: Iterable[Demand], like: Question) -> Question:
    """The same question with these demands only."""
    demands = tuple(demands)

    def of(kind: str) -> tuple[str, ...]:
        return tuple(demand.requirement for demand in demands if demand.kind == kind)

    return dataclasses.replace(
        like, requirements=of("requirement"), constraints=of("constraint"), overrides=of("override")
    )


def clash(demands: Sequence[Demand], like: Question, ask: Ask) -> tuple[Demand, ...]:
    """A smallest set of demands that has no solution: leaving out any one of them gives one.

    One question for each demand; uv has the index cached by then, so each takes well under a second.
    """
    core = list(demands)
    for demand in demands:
        without = [other for other in core if other is not demand]
        if isinstance(ask(question_for(without, like)), Refusal):
            core = without
    return tuple(core)


def explain(demands: Sequence[Demand], like: Question, ask: Ask) -> tuple[Fault, ...]:
    """The faults that say why these demands have no solution: one for each set of them that clashes.

    Args:
        demands: All demands of the row.
        like: The question that was refused.
        ask: Puts a question to uv.
    """
    cores = sorted(_clashes(demands, like, ask), key=lambda core: demands.index(core[0]))
    return tuple(
        _impossible(core[0], like, ask) if len(core) == 1 else _clashing(core, demands, like, ask)
        for core in cores
    )


def _clashes(demands: Sequence[Demand], like: Question, ask: Ask) -> Iterator[tuple[Demand, ...]]:
    """Smallest sets without a solution, no demand in two of them, until what is left has one."""
    left = tuple(demands)
    while left and isinstance(ask(question_for(left, like)), Refusal):
        core = clash(left, like, ask)
        yield core
        left = tuple(demand for demand in left if demand not in core)


def _clashing(core: Sequence[Demand], demands: Sequence[Demand], like: Question, ask: Ask) -> Fault:
    sides = " and ".join(_told(demand) for demand in core[1:])
    return Fault(
        place=core[0].place,
        cause=f"{core[0].requirement} clashes with {sides} (as of {like.as_of})",
        fix=f"Change one of them{_ways_out(core, demands, like, ask)}",
    )


def _told(demand: Demand) -> str:
    reason = f", because {demand.reason}" if demand.reason else ""
    return f"{demand.requirement} ({demand.place}{reason})"


def _ways_out(core: Sequence[Demand], demands: Sequence[Demand], like: Question, ask: Ask) -> str:
    """What each package of the clash would resolve to, if its own demand were dropped."""
    ways = (
        # With all that the row demands; or, where another clash forbids that, with this clash alone.
        _loosened(demand, demands, like, ask) or _loosened(demand, core, like, ask)
        for demand in core
    )
    found = " or ".join(filter(None, ways))
    return f"; the others would go with {found}" if found else ""


def _loosened(demand: Demand, among: Sequence[Demand], like: Question, ask: Ask) -> str | None:
    name = _name(demand)
    others = [other for other in among if other is not demand]
    loose = dataclasses.replace(demand, requirement=name, kind="requirement")
    answer = ask(question_for([*others, loose], like))
    if isinstance(answer, Refusal):
        return None
    return next((f"{name} {found.version}" for found in answer if found.name == name), None)


def _impossible(demand: Demand, like: Question, ask: Ask) -> Fault:
    """The fault of a demand that nothing satisfies, whatever else is demanded."""
    text, name, trace = demand.requirement, _name(demand), _trace(demand, like, ask)
    nearest = _nearest(demand, like, ask)
    fix = f"Nearest: {nearest}" if nearest else f"Demand another version of {name}"
    if nearest and Requirement(text).specifier.contains(nearest, prereleases=True):
        cause = f"{text} cannot be installed as of {like.as_of}, because {_because(trace)}"
        fix = f"Demand another version of {name}, or override what it asks for"
    elif "matching Python" in trace:
        cause = f"{text} has no wheel for Python {like.python}"
    elif "matching platform" in trace:
        cause = f"{text} has no wheel for glibc {like.glibc} on x86-64"
    elif "was not found" in trace:
        cause, fix = f"the index has no package {name!r}", f"Check the name {name!r}"
    else:
        cause = f"{text} does not exist as of {like.as_of}"
    return Fault(place=demand.place, cause=cause, fix=fix)


def _trace(demand: Demand, like: Question, ask: Ask) -> str:
    """What uv says to this demand alone, on one line: to all together it may speak of another."""
    answer = ask(question_for((demand,), like))
    return " ".join(answer.trace.split()) if isinstance(answer, Refusal) else ""


def _nearest(demand: Demand, like: Question, ask: Ask) -> str | None:
    """The newest version up to the one demanded, or else the newest of all, that has a file for us."""
    name = _name(demand)
    for text in (*(f"{name}<={version}" for version in _highest(demand)), name):
        question = dataclasses.replace(like, requirements=(text,), constraints=(), overrides=(), alone=True)
        answer = ask(question)
        if not isinstance(answer, Refusal) and answer:
            return answer[0].version
    return None


def _highest(demand: Demand) -> tuple[str, ...]:
    """The highest version that a demand names, if any; without a local part, which has no order."""
    versions = []
    for part in Requirement(demand.requirement).specifier:
        try:
            versions.append(Version(part.version.removesuffix(".*")))
        except InvalidVersion:  # "===" compares texts, whatever they are
            continue
    return (max(versions).public,) if versions else ()


def _name(demand: Demand) -> str:
    return canonicalize_name(Requirement(demand.requirement).name)


def _because(trace: str) -> str:
    found = re.search(r"Because (.+?), we can conclude", trace)
    return found[1] if found else "uv finds no solution for it"
