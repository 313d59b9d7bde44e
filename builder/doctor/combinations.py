"""Packages that do not go together, by rules that are data (`builder/data/combinations.yaml`).

The rules come in as plain lists and dicts, since this module is bundled into `doctor.py`, which reads no
YAML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from builder.doctor.versions import holds, minor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Combination(NamedTuple):
    """Packages that are installed together and do not belong together.

    Attributes:
        id: The rule's name.
        signature: The kind of failure, one of the signature ids.
        severity: `will-fail`, `risk` or `note`.
        packages: What the rule looked at, with the versions found: `(("torch", "2.8.0"), …)`.
        message: What users see, word for word; "" where nothing is printed.
        cause: Why, in one sentence.
        fix: What to do, in one sentence.
        install: Requirements for pip that are the fix; empty where it takes more.
        source: Where it was seen.
    """

    id: str
    signature: str
    severity: str
    packages: tuple[tuple[str, str], ...]
    message: str
    cause: str
    fix: str
    install: tuple[str, ...]
    source: tuple[str, ...]


def fitting(rules: Mapping[str, Any], versions: Mapping[str, str]) -> list[Combination]:
    """The rules that fit a set of packages, in the order of the file.

    Args:
        rules: What `builder/data/combinations.yaml` holds: `rules` and `belonging`.
        versions: Versions by normalised name. `python`, `glibc` and `compute-capability` may be among them:
            rules speak of them as of packages.
    """
    return [*_clashing(rules["rules"], versions), *_strangers(rules["belonging"], versions)]


def _clashing(rules: list[Mapping[str, Any]], versions: Mapping[str, str]) -> Iterator[Combination]:
    for rule in rules:
        if all(name in versions and holds(versions[name], want) for name, want in rule["when"].items()):
            yield _combination(rule, {name: versions[name] for name in rule["when"]}, {})


def _strangers(table: Mapping[str, Any], versions: Mapping[str, str]) -> Iterator[Combination]:
    """Packages that were built for another torch than the one that is there."""
    belonging = table["torch"].get(minor(versions.get("torch", "")), {})
    for name, rule in table["rules"].items():
        wanted = belonging.get(name)
        if wanted and name in versions and not holds(versions[name], wanted):
            concerned = {"torch": versions["torch"], name: versions[name]}
            yield _combination({"id": f"{name}-of-another-torch", **rule}, concerned, {"wanted": wanted})


def _combination(
    rule: Mapping[str, Any], packages: Mapping[str, str], words: Mapping[str, str]
) -> Combination:
    def filled(text: str) -> str:
        for name, value in words.items():
            text = text.replace("{" + name + "}", value)
        return text.strip()

    return Combination(
        id=rule["id"],
        signature=rule["signature"],
        severity=rule.get("severity", "will-fail"),
        packages=tuple(packages.items()),
        message=filled(rule.get("message", "")),
        cause=filled(rule["cause"]),
        fix=filled(rule["fix"]),
        install=tuple(filled(line) for line in rule.get("install", ())),
        source=tuple(rule["source"]),
    )
