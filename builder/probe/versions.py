"""Check `versions`: what is installed is what the lock says, no more and no less."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from .finding import Finding, judged, several, skipped
from .place import Place

Versions = Dict[str, str]


class Difference(NamedTuple):
    """How the distributions of one prefix differ from what is expected; empty where they do not.

    Attributes:
        missing: Expected and not installed, with the expected version.
        extra: Installed and not expected, with the installed version.
        different: Installed in another version: expected, then installed.
    """

    missing: Versions
    extra: Versions
    different: Dict[str, Tuple[str, str]]

    def sentences(self) -> Iterator[str]:
        """The difference in words."""
        yield from ("{} {} is missing".format(name, version) for name, version in self.missing.items())
        yield from ("{} {} is not expected".format(name, version) for name, version in self.extra.items())
        yield from (
            "{} is {}, not {}".format(name, got, want) for name, (want, got) in self.different.items()
        )


def check(place: Place, expectation: Optional[Path]) -> Finding:
    """Compare every environment and overlay that the file names with what lies there."""
    if expectation is None:
        return skipped("no --expect FILE was given")
    expected = json.loads(expectation.read_text(encoding="utf-8"))
    environments, overlays = expected.get("environments", {}), expected.get("overlays", {})
    found = {
        **{entry["prefix"]: _difference(entry, _site_packages(entry)) for entry in environments.values()},
        **{entry["prefix"]: _difference(entry, [entry["prefix"]]) for entry in overlays.values()},
    }
    return judge(found, own_prefix(place, environments))


def judge(found: Mapping[str, Difference], stranger: str) -> Finding:
    """Nothing may differ; `stranger` says so if this environment is not among the expected ones."""
    words = ["{}: {}".format(prefix, line) for prefix, one in found.items() for line in one.sentences()]
    return judged(
        several([stranger] * bool(stranger) + words),
        "{} prefixes hold what is expected".format(len(found)),
        prefixes={prefix: one._asdict() for prefix, one in found.items()},
    )


def own_prefix(place: Place, environments: Mapping[str, Any]) -> str:
    """A fault if the expectation forgets the very environment that is checked."""
    prefixes = {Path(entry["prefix"]).resolve() for entry in environments.values()}
    here = place.prefix.resolve() in prefixes
    return "" if here else "no environment with the prefix {} is expected".format(place.prefix)


def compare(expected: Mapping[str, str], installed: Mapping[str, str]) -> Difference:
    """Hold two sets of distributions against each other, however their names and versions are spelled."""
    want = {normal_name(name): version for name, version in expected.items()}
    got = {normal_name(name): version for name, version in installed.items()}
    return Difference(
        missing={name: want[name] for name in sorted(set(want) - set(got))},
        extra={name: got[name] for name in sorted(set(got) - set(want))},
        different={
            name: (want[name], got[name])
            for name in sorted(set(want) & set(got))
            if normal_version(want[name]) != normal_version(got[name])
        },
    )


def normal_name(name: str) -> str:
    """A distribution's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def normal_version(version: str) -> str:
    """A version without the spellings that files and metadata use differently: 2024.02.01 is 2024.2.1."""
    return re.sub(r"(?<![0-9a-z])0+(?=[0-9])", "", version.strip().lower().replace("_", "-"))


def _difference(entry: Mapping[str, Any], folders: List[str]) -> Difference:
    """What differs in `folders`; a distribution with broken metadata counts as nameless and so as extra."""
    installed = {
        str(found.metadata["Name"]): str(found.metadata["Version"])
        for found in metadata.distributions(path=folders)
    }
    return compare(entry["packages"], installed)


def _site_packages(entry: Mapping[str, Any]) -> List[str]:
    return [str(path) for path in sorted(Path(entry["prefix"]).glob("lib/python3*/site-packages"))]
