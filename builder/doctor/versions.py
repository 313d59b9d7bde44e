"""Versions and comparisons of PEP 440, for programs that have the standard library alone.

Tests hold it against the `packaging` library.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

_VERSION = re.compile(
    r"""v?
    (?:(?P<epoch>\d+)!)?
    (?P<release>\d+(?:\.\d+)*)
    (?:[-_.]?(?P<pre>alpha|beta|preview|pre|rc|a|b|c)[-_.]?(?P<pre_number>\d*))?
    (?P<post>-(?P<post_bare>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>\d*))?
    (?P<dev>[-_.]?dev[-_.]?(?P<dev_number>\d*))?
    (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_LETTERS = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
_COMPARISON = re.compile(r"(?P<operator>[<>]=?|[!=]=)\s*(?P<version>[^\s*]+?)(?P<any>\.\*)?")

if TYPE_CHECKING:
    Key = tuple[object, ...]


class Version(NamedTuple):
    """A version, in parts that compare as PEP 440 has it.

    Attributes:
        epoch: Usually 0.
        release: The numbers, without zeros at their end.
        pre: (0, "a" | "b" | "rc", number) of a pre-release; (1,) of none; (-1,) of a mere development
            release, which comes before all of them.
        post: The number of a post-release, -1 of none.
        dev: (0, number) of a development release, (1,) of none.
        local: What stands after the plus: numbers as (1, number, ""), words as (0, 0, word).
    """

    epoch: int
    release: tuple[int, ...]
    pre: Key
    post: int
    dev: Key
    local: Key

    @property
    def public(self) -> Version:
        """The same without its local part."""
        return self._replace(local=())

    @property
    def base(self) -> tuple[int, tuple[int, ...]]:
        """Its epoch and numbers alone."""
        return self.epoch, self.release

    @property
    def early(self) -> bool:
        """Whether it is a pre-release or a development release."""
        return self.pre[0] == 0 or self.dev[0] == 0


class NoVersionError(ValueError):
    """A text is no version, or no comparison with one."""


def parse(text: str) -> Version:
    """The version that a text is.

    Raises:
        NoVersionError: It is none.
    """
    found = _VERSION.fullmatch(text.strip())
    if not found:
        raise NoVersionError(f"{text!r} is no version")
    release = tuple(int(number) for number in found["release"].split("."))
    while len(release) > 1 and not release[-1]:
        release = release[:-1]
    dev: Key = (0, int(found["dev_number"] or 0)) if found["dev"] else (1,)
    post = int(found["post_bare"] or found["post_number"] or 0) if found["post"] else -1
    return Version(int(found["epoch"] or 0), release, _pre(found, post), post, dev, _local(found["local"]))


def holds(text: str, comparisons: str) -> bool:
    """Whether a version meets comparisons with others, such as `>=1.2,<2` or `==1.2.*`.

    What is no version meets none.

    Raises:
        NoVersionError: A comparison is none.
    """
    wanted = [_comparison(part) for part in comparisons.split(",")]
    try:
        version = parse(text)
    except NoVersionError:
        return False
    return all(_meets(version, operator, bound, any_) for operator, bound, any_ in wanted)


def minor(text: str) -> str:
    """The first two numbers of a version, `2.8` of `2.8.0+cu126`, or "" where it is none."""
    try:
        release = parse(text).release
    except NoVersionError:
        return ""
    return ".".join(str(number) for number in (*release, 0)[:2])


def _pre(found: re.Match[str], post: int) -> Key:
    if found["pre"]:
        letter = found["pre"].lower()
        return (0, _LETTERS.get(letter, letter), int(found["pre_number"] or 0))
    return (-1,) if found["dev"] and post < 0 else (1,)


def _local(text: str | None) -> Key:
    parts = re.split("[-_.]", (text or "").lower())
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts if part)


def _comparison(text: str) -> tuple[str, str, bool]:
    found = _COMPARISON.fullmatch(text.strip())
    bare = found and re.fullmatch(r"v?(?:\d+!)?[\d.]+", found["version"])
    if not found or (found["any"] and not (bare and found["operator"] in {"==", "!="})):
        raise NoVersionError(f"{text!r} is no comparison with a version")
    parse(found["version"])
    return found["operator"], found["version"], bool(found["any"])


def _meets(version: Version, operator: str, text: str, any_: bool) -> bool:
    bound = parse(text)
    if operator in {"==", "!="}:
        equal = _begins(version, text) if any_ else (version if bound.local else version.public) == bound
        return equal == (operator == "==")
    if operator in {"<=", ">="}:
        return version.public <= bound if operator == "<=" else version.public >= bound
    if operator == "<":
        mere = bound.early or bound.post >= 0  # only a final release has no pre-releases below it
        return version < bound and not (version.early and not mere and version.base == bound.base)
    # What merely extends the bound, as 1.0.post1 and 1.0+cu126 do, is not greater than it.
    of_it = version.base == bound.base and version.pre == bound.pre
    extended = of_it and ((version.post >= 0 > bound.post) or bool(version.local))
    return version > bound and not extended


def _begins(version: Version, text: str) -> bool:
    """Whether a version begins with the numbers of `text`, zeros at its end included."""
    start = [int(number) for number in re.sub(r"^v?(?:\d+!)?", "", text).split(".")]
    padded = [*version.release, *[0] * len(start)]
    return version.epoch == parse(text).epoch and padded[: len(start)] == start
