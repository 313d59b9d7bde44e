"""Files of wheels that images do not have: what a row's `leave_out` names.

Pure. A pattern is a path below site-packages whose parts may hold `*`, as a shell reads it; of a folder all
is left out. That the rest still loads is for the proof to say, which does not see these files either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field


def _as_regex(pattern: str) -> str:
    """A pattern as a regular expression; as in a shell, `*` passes over neither `/` nor a first dot."""
    parts = (re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("/"))
    return "/".join(f"(?!\\.){part}" if part.startswith("[^/]") else part for part in parts)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is left out.

    Attributes:
        patterns: Such as `pandas/tests` and `nvidia/*/lib/libcusolverMg.so.*`, sorted.
    """

    patterns: tuple[str, ...] = ()
    _form: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        form = "|".join(map(_as_regex, self.patterns))
        object.__setattr__(self, "_form", re.compile(rf"(?:{form})(?:/|$)" if form else r"(?!)"))

    @classmethod
    def of(cls, patterns: Iterable[str]) -> LeftOut:
        """What patterns name, in whatever order they come."""
        return cls(tuple(sorted(patterns)))

    def holds(self, path: str) -> bool:
        """Whether a file is left out, by its path below site-packages."""
        return self._form.match(path) is not None


NOTHING = LeftOut()
