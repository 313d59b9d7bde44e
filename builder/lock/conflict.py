"""Why a row cannot be resolved, told as the demands that clash.

A resolver's trace says how it searched. A person wants to know which of *their* lines cannot stand together:
the smallest set of demands that is unsatisfiable, found by leaving out one after the other.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def explain(demands: Sequence[Demand], like: Question, trace: str, ask: Ask) -> tuple[Fault, ...]:
    """The faults that say why these demands have no solution.

    Args:
        demands: All demands of the row.
        like: The question that was refused.
        trace: What uv said to it.
        ask: Puts a question to uv.
    """
    core = clash(demands, like, ask)
    if len(core) == 1:
        return (_impossible(core[0], like, trace, ask),)
    sides = " and ".join(_told(demand) for demand in core[1:])
    return (
        Fault(
            place=core[0].place,
            cause=f"{core[0].requirement} clashes with {sides} (as of {like.as_of})",
            fix=f"Change one of them{_ways_out(core, like, ask)}",
        ),
    )


def _told(demand: Demand) -> str:
    reason = f", because {demand.reason}" if demand.reason else ""
    return f"{demand.requirement} ({demand.place}{reason})"


def _ways_out(core: Sequence[Demand], like: Question, ask: Ask) -> str:
    """What each package of the clash would resolve to, if its own demand were dropped."""
    ways = []
    for demand in core:
        name = canonicalize_name(Requirement(demand.requirement).name)
        others = [other for other in core if other is not demand]
        loose = dataclasses.replace(demand, requirement=name, kind="requirement")
        answer = ask(question_for([*others, loose], like))
        if not isinstance(answer, Refusal):
            ways += [f"{name} {found.version}" for found in answer if found.name == name]
    return f"; the others would go with {' or '.join(ways)}" if ways else ""


def _impossible(demand: Demand, like: Question, trace: str, ask: Ask) -> Fault:
    """The fault of a demand that nothing satisfies, whatever else is demanded."""
    name = canonicalize_name(Requirement(demand.requirement).name)
    nearest = _nearest(demand, like, ask)
    fix = f"Nearest: {nearest}" if nearest else f"Check the name {name!r}"
    if "matching Python" in trace:
        cause = f"{demand.requirement} has no wheel for Python {like.python}"
    elif nearest:
        cause = f"{demand.requirement} does not exist as of {like.as_of}"
    elif "was not found" in trace:
        cause = f"the index has no package {name!r}"
    else:
        cause = f"{demand.requirement} cannot be satisfied as of {like.as_of}: {_sentence(trace)}"
    return Fault(place=demand.place, cause=cause, fix=fix)


def _nearest(demand: Demand, like: Question, ask: Ask) -> str | None:
    """The newest version up to the one demanded, or else the newest of all, that has a file for us."""
    wanted = Requirement(demand.requirement)
    version = next((part.version.removesuffix(".*") for part in wanted.specifier), None)
    for text in (f"{wanted.name}<={version}", wanted.name) if version else (wanted.name,):
        question = dataclasses.replace(like, requirements=(text,), constraints=(), overrides=(), alone=True)
        answer = ask(question)
        if not isinstance(answer, Refusal) and answer:
            return answer[0].version
    return None


def _sentence(trace: str) -> str:
    found = re.search(r"Because .+?(?:\.\n|\.$|\Z)", trace, re.DOTALL)
    return re.sub(r"\s+", " ", found[0]).rstrip(". ") if found else "uv found no solution"
