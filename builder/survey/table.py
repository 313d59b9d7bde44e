"""The survey's table: every combination, as data and as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from builder.abi.facts import BaseFacts
from builder.abi.library import Library
from builder.errors import BadInputError, Fault
from builder.lock.record import Package
from builder.survey.combination import Result, Status, Wheels, prove
from builder.survey.releases import Release, Releases

FORMAT = 1
WORDS: dict[Status, str] = {
    "works": "works",
    "first": "torch first",
    "path": "path",
    "added": "add",
    "fails": "fails",
}
_BUNDLED = re.compile(r"-[0-9a-f]{8}\.so[\d.]*")
LEGEND = (
    ("works", "everything is found as pip leaves it, torch imported first"),
    (
        "path",
        "everything is there, and found once the loader looks into the folders of torch's CUDA libraries",
    ),
    ("add …", "it works with that library added, on the loader's path"),
    ("fails", "nothing that was tried helps"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All results for one base and one Python.

    Attributes:
        base: The base's id.
        releases: What was surveyed.
        results: One for each pair, torch by torch, CTranslate2 by CTranslate2, from old to new.
    """

    base: str
    releases: Releases
    results: tuple[Result, ...]

    def counts(self) -> dict[Status, int]:
        """How many pairs have each status."""
        return {word: sum(one.status == word for one in self.results) for word in WORDS}

    def data(self) -> str:
        """The text of the data file."""
        results = [_sparse(one) for one in self.results]
        head: dict[str, Any] = {
            "format": FORMAT,
            "base": self.base,
            "python": self.releases.python,
            "as_of": self.releases.as_of,
            "counts": self.counts(),
        }
        lines = ",\n".join(f"  {json.dumps(one)}" for one in results)
        return f'{json.dumps(head, indent=1)[:-2]},\n "results": [\n{lines}\n ]\n}}\n'

    def page(self) -> str:
        """The page: a line a torch, a column for each run of CTranslate2 releases that are alike."""
        return "\n".join(_page(self)) + "\n"


def survey(releases: Releases, library: Library, base: BaseFacts) -> Survey:
    """Prove every pair, from recorded facts alone.

    Raises:
        BadInputError: Facts of a wheel are not recorded.
    """
    _require_facts(releases, library)
    facts = {one.sha256: library.wheel(one.file, one.sha256) for one in releases.wheels()}

    def wheels(packages: Sequence[Package]) -> Wheels:
        return tuple((one, found) for one in packages if (found := facts[one.sha256]))

    def ready(of: Sequence[Release]) -> list[tuple[str, Wheels]]:
        return [(one.version, wheels(one.wheels)) for one in of]

    added = [(title, wheels(packages)) for title, packages in releases.added]
    engines = ready(releases.ctranslate2)
    return Survey(
        base=base.id,
        releases=releases,
        results=tuple(
            prove(engine, torch, added, base) for torch in ready(releases.torch) for engine in engines
        ),
    )


def counts(folder: Path) -> dict[str, dict[str, int]]:
    """By table in a folder, `bookworm-py3.11`, how many pairs have each status."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted(folder.glob("*-py*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if "results" in data:
            found[path.stem] = data["counts"]
    return found


def _require_facts(releases: Releases, library: Library) -> None:
    lacking = [one.file for one in releases.wheels() if not library.wheel(one.file, one.sha256)]
    if lacking:
        raise BadInputError(
            *(
                Fault(
                    place=file,
                    cause="what its binaries say is not recorded",
                    fix="Run `cuvee survey --update`",
                )
                for file in lacking
            )
        )


def _sparse(result: Result) -> dict[str, Any]:
    return {name: value for name, value in asdict(result).items() if value}


def _page(survey: Survey) -> Iterator[str]:
    releases = survey.releases
    yield f"# CTranslate2 with torch, on {survey.base} with Python {releases.python}"
    yield ""
    yield "<!-- Written by `cuvee survey`; do not edit. -->"
    yield ""
    yield (
        f"Every CTranslate2 against every torch on PyPI on {releases.as_of} for this Python, "
        f"{len(survey.results)} pairs, by what their binaries say and what the loader does with it. It "
        "proves that libraries are found and loaded, not that kernels run on your GPU."
    )
    yield ""
    yield from (f"- **{word}**: {meaning}" for word, meaning in LEGEND)
    yield ""
    yield from _table(survey)
    yield ""
    yield from _failures(survey)
    yield ""
    yield from _added(survey)
    yield f"No wheel for Python {releases.python}: {', '.join(releases.without_wheel)}."


def _table(survey: Survey) -> Iterator[str]:
    columns = _columns(survey)
    yield f"| torch | {' | '.join(title for title, _ in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for torch in survey.releases.torch:
        cells = (_cell(found[torch.version]) for _, found in columns)
        yield f"| {torch.version} | {' | '.join(cells)} |"


def _columns(survey: Survey) -> list[tuple[str, dict[str, Result]]]:
    """Runs of CTranslate2 releases with the same cells: their title, and a result for each torch."""
    by_engine: dict[str, dict[str, Result]] = {}
    for one in survey.results:
        by_engine.setdefault(one.ctranslate2, {})[one.torch] = one

    def alike(version: str) -> tuple[str, ...]:
        return tuple(_cell(result) for result in by_engine[version].values())

    runs = [list(group) for _, group in groupby(by_engine, key=alike)]
    return [(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}", by_engine[run[0]]) for run in runs]


def _cell(result: Result) -> str:
    return f"add {result.added}" if result.status == "added" else WORDS[result.status]


def _failures(survey: Survey) -> Iterator[str]:
    """What each kind of failure prints, as pip leaves the environment, and where."""
    kinds: dict[tuple[str, str], list[Result]] = {}
    for one in survey.results:
        if one.signature:
            kinds.setdefault((one.signature, _without_hashes(one.message)), []).append(one)
    yield "What happens without help:"
    yield ""
    for (signature, message), results in kinds.items():
        engines = list(dict.fromkeys(one.ctranslate2 for one in results))
        span = engines[0] if len(engines) == 1 else f"{engines[0]} to {engines[-1]}"
        text = " / ".join(message.splitlines())
        yield f"- `{text}` ({signature}): CTranslate2 {span}, {len(results)} pairs"


def _added(survey: Survey) -> Iterator[str]:
    """The wheels behind what the table says to add."""
    used = {one.added for one in survey.results}
    yield "What to add:"
    yield ""
    for title, packages in survey.releases.added:
        if title in used:
            yield f"- {title}: {', '.join(f'`{one.name}=={one.version}`' for one in packages)}"
    yield ""


def _without_hashes(message: str) -> str:
    """A message without what differs from release to release: the hashes of bundled libraries."""
    return _BUNDLED.sub("-….so", message)
