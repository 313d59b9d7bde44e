"""Every name accounted for: it leads to a file, comes with the driver, may be missing, or fails.

The order of things is the probe's (`builder/probe/libraries.py`), which asks the real loader in an image:
every file alone; what a complete file carries along, through that file; the rest after what Python imports
before.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from builder.abi.facts import Binary
from builder.abi.loader import Failed, Found, Loaded, Process
from builder.probe import rules
from builder.probe.place import matches
from builder.verdict.record import Name
from builder.verdict.setting import Setting
from builder.verdict.tables import waivers


class Start(NamedTuple):
    """A process in which a file is loaded, or the reason why it cannot be."""

    process: Process
    outcome: Loaded | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One file asks for one name, and what came of it.

    Attributes:
        name: What it asks for.
        by: Its path.
        how: `needed` (DT_NEEDED) or `opened` (at run time).
        leads_to: The file it leads to, `driver`, or "".
        rule: Why that file was taken.
        brings: The files that were loaded with it.
        waived: Why the name may be missing, or "".
        tried: All names that were tried, where the file tries several.
        failed: What the loader said, where the name leads nowhere.
    """

    name: str
    by: str
    how: str
    leads_to: str = ""
    rule: str = ""
    brings: tuple[str, ...] = ()
    waived: str = ""
    tried: tuple[str, ...] = ()
    failed: Failed | None = None

    @property
    def lacks(self) -> bool:
        """Whether it leads nowhere and should not."""
        return not self.leads_to and not self.waived


class Account:
    """All that the binaries of a setting ask for.

    Args:
        setting: The environment.
        gpus: Whether it is for GPUs; if not, what only computing on one opens may be missing.
    """

    def __init__(self, setting: Setting, *, gpus: bool = True) -> None:
        self._setting = setting
        self._gpus = gpus
        files = setting.world.files
        self._ours = {path: files[path] for path in sorted(setting.owners) if files[path].machine == "x86_64"}

    @property
    def binaries(self) -> int:
        """How many files were accounted for."""
        return len(self._ours)

    @cached_property
    def asks(self) -> tuple[Ask, ...]:
        """Every request of every file, with the builds excused of which another one works."""
        found = [ask for path, binary in self._ours.items() for ask in self._of_file(path, binary)]
        return self._one_is_enough(found)

    def names(self) -> tuple[Name, ...]:
        """The same by name: one entry for each place that a name leads to."""
        groups: dict[tuple[str, str, str], list[Ask]] = {}
        for ask in self.asks:
            groups.setdefault((ask.name, ask.leads_to, ask.waived), []).append(ask)
        return tuple(self._name(groups[key]) for key in sorted(groups))

    def _name(self, asks: list[Ask]) -> Name:
        first = asks[0]
        return Name(
            name=first.name,
            by=tuple(sorted({self._setting.relative(ask.by) for ask in asks})),
            how="+".join(sorted({ask.how for ask in asks})),
            leads_to=self._setting.relative(first.leads_to),
            rule=next((ask.rule for ask in asks if ask.rule), ""),
            brings=next((ask.brings for ask in asks if ask.brings), ()),
            waived=first.waived,
        )

    # Loading

    @cached_property
    def _starts(self) -> Mapping[str, Start]:
        """How each file is loaded: alone, carried by another, or after what Python imports before it."""
        alone = {path: self._start(path) for path in self._ours}
        carriers = {
            found.path: path
            for path, start in alone.items()
            if isinstance(start.outcome, Loaded)
            for found in start.outcome.new
        }
        return {path: self._best(path, start, alone, carriers) for path, start in alone.items()}

    def _start(self, path: str) -> Start:
        process = self._setting.process()
        return Start(process, process.open(path))

    def _best(
        self, path: str, start: Start, alone: Mapping[str, Start], carriers: Mapping[str, str]
    ) -> Start:
        if isinstance(start.outcome, Loaded):
            return start
        if path in carriers:
            return alone[carriers[path]]
        fitting = [rule for rule in rules.AFTER if matches(self._setting.relative(path), rule.files)]
        return self._after_imports(path, fitting) if fitting else start

    def _after_imports(self, path: str, fitting: Iterable[rules.After]) -> Start:
        """A file after what Python loads before it: the rules' seeds, and what lies beside the file."""
        process = self._setting.process()
        for rule in fitting:
            for seed in self._matching(rule.seed):
                process.open(seed)
        folder = posixpath.dirname(path)
        for name in self._ours[path].needed:
            if f"{folder}/{name}" in self._ours:
                outcome = process.open(f"{folder}/{name}")
                if isinstance(outcome, Failed):
                    return Start(process, outcome)  # the file needs it, and this says what that lacks
        return Start(process, process.open(path))

    def _matching(self, pattern: str) -> Iterator[str]:
        return (path for path in self._ours if matches(self._setting.relative(path), pattern))

    # Requests

    def _of_file(self, path: str, binary: Binary) -> Iterator[Ask]:
        start = self._starts[path]
        if isinstance(start.outcome, Failed):
            yield self._failed(path, start.outcome)
            return
        found = {one.name: one for one in start.outcome.new}
        for name in binary.needed:
            yield self._needed(name, path, found, start.process)
        for names in binary.opens:
            yield self._opened(names, path, start.process)

    def _needed(self, name: str, path: str, found: Mapping[str, Found], process: Process) -> Ask:
        one = found.get(name)
        if one:
            return Ask(name=name, by=path, how="needed", leads_to=one.path, rule=str(one.place.rule))
        again = process.fork().open(name, path)  # there already, under another name
        if isinstance(again, Failed):  # cannot be: the file was loaded, and so was all that it needs
            return Ask(name=name, by=path, how="needed", failed=again)
        return Ask(name=name, by=path, how="needed", leads_to=again.path, rule="loaded before")

    def _opened(self, names: tuple[str, ...], path: str, process: Process) -> Ask:
        tries = [process.fork().open(name, path) for name in names]
        loaded = next((one for one in tries if isinstance(one, Loaded)), None)
        if loaded:
            brings = tuple(found.path.rpartition("/")[2] for found in loaded.new[1:])
            return Ask(
                name=loaded.name,
                by=path,
                how="opened",
                leads_to=loaded.path,
                rule=str(loaded.rule),
                brings=brings,
            )
        failed = next(one for one in tries if isinstance(one, Failed))
        waived = optional(self._setting, path, names[0]) or ("" if self._gpus else _for_gpus(names[0]))
        return Ask(name=names[0], by=path, how="opened", waived=waived, tried=names, failed=failed)

    def _failed(self, path: str, failed: Failed) -> Ask:
        """What a file that cannot be loaded lacks; the file that asks may be one that it needs in turn."""
        asker = failed.by or path
        files = {self._setting.relative(asker), self._setting.relative(path)}
        reasons = (
            rule.reason
            for rule in rules.UNRESOLVED
            if any(matches(file, rule.files) for file in files) and matches(failed.name, rule.libraries)
        )
        return Ask(name=failed.name, by=path, how="needed", waived=next(reasons, ""), failed=failed)

    def _one_is_enough(self, asks: list[Ask]) -> tuple[Ask, ...]:
        """Excuse the builds of one thing where another build of it lacks nothing."""
        reasons = self._excused_builds({ask.by for ask in asks if ask.lacks})
        return tuple(
            replace(ask, waived=reasons[ask.by]) if ask.lacks and ask.by in reasons else ask for ask in asks
        )

    def _excused_builds(self, lacking: set[str]) -> dict[str, str]:
        excused: dict[str, str] = {}
        for rule in rules.ALTERNATIVES:
            found = {path: re.fullmatch(rule.files, self._setting.relative(path)) for path in self._ours}
            builds = {path: match[1] for path, match in found.items() if match}
            broken = {build for path, build in builds.items() if path in lacking}
            if broken < set(builds.values()):
                excused.update(dict.fromkeys(builds, rule.reason))
        return excused


def _for_gpus(name: str) -> str:
    """Why an environment for processors does without a name, or ""."""
    return "opened when something is computed on a GPU" if re.match(r"lib(cublas|cudnn)", name) else ""


def optional(setting: Setting, path: str, name: str) -> str:
    """Why the file at `path` does without a name that it opens, or ""."""
    relative = setting.relative(path)
    fitting = (
        waiver.reason
        for waiver in waivers()
        if matches(relative, waiver.files) and any(matches(name, pattern) for pattern in waiver.names)
    )
    return next(fitting, "")
