"""What a file lacks, sorted into what it needs and what it does without, by the rules."""

from __future__ import annotations

import re
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple

from . import rules
from .place import matches


class Verdict(NamedTuple):
    """What is to be said of what one file lacks.

    Attributes:
        lacks: What it lacks and needs.
        waived: What it lacks and works without, by name, with the reason.
    """

    lacks: Tuple[str, ...]
    waived: Dict[str, str]


def judge(file: str, lacks: Sequence[str], waivers: Sequence[rules.Waiver] = rules.UNRESOLVED) -> Verdict:
    """Sort what `file` lacks. A waiver has to fit both the file and the name."""
    reasons = {name: _reason(file, name, waivers) for name in lacks}
    waived = {name: reason for name, reason in reasons.items() if reason}
    return Verdict(tuple(name for name in reasons if name not in waived), waived)


def one_is_enough(
    verdicts: Mapping[str, Verdict], alternatives: Sequence[rules.Alternatives] = rules.ALTERNATIVES
) -> Dict[str, Verdict]:
    """Waive what the builds of one thing lack if one build of it lacks nothing."""
    excused = dict(verdicts)
    for rule in alternatives:
        matched = {file: re.fullmatch(rule.files, file) for file in verdicts}
        builds = {file: found.group(1) for file, found in matched.items() if found}
        broken = {build for file, build in builds.items() if verdicts[file].lacks}
        if broken < set(builds.values()):
            excused.update({file: _excused(verdicts[file], rule.reason) for file in builds})
    return excused


def by_reason(verdicts: Mapping[str, Verdict]) -> Dict[str, Dict[str, List[str]]]:
    """What was waived: for each reason the files, and for each file the names."""
    waived: Dict[str, Dict[str, List[str]]] = {}
    for file, verdict in verdicts.items():
        for name, reason in verdict.waived.items():
            waived.setdefault(reason, {}).setdefault(file, []).append(name)
    return waived


def _reason(file: str, name: str, waivers: Sequence[rules.Waiver]) -> str:
    fitting = [rule for rule in waivers if matches(file, rule.files) and matches(name, rule.libraries)]
    return fitting[0].reason if fitting else ""


def _excused(verdict: Verdict, reason: str) -> Verdict:
    return Verdict((), {**verdict.waived, **dict.fromkeys(verdict.lacks, reason)})
