"""The lock of a base: what it was made of, and the one digest that it has everywhere.

One file a base, `bases/<id>.json`, or with further packages of Debian `bases/<id>+<package>….json`;
machine-written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from builder.engines.direct.gz import COMPRESSOR
from builder.errors import BadInputError, Fault
from builder.matrix import Base

FORMAT: Final = 1

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_VERSION: Final = re.compile(r"[A-Za-z0-9.+~:-]+")
_TRACE: Final = re.compile(r"(?:[A-Za-z0-9+/]{2})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package of Debian.

    Attributes:
        name: Its name.
        version: Its version.
        sha256: The hash of its .deb file, in hex.
    """

    name: str
    version: str
    sha256: str

    def __post_init__(self) -> None:
        for value, form in ((self.name, _NAME), (self.version, _VERSION), (self.sha256, _HEX)):
            _require(value, form)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLock:
    """What a base is.

    Attributes:
        id: The base's id in the matrix, and `+` with what lies on top of it: `bookworm+ffmpeg`.
        suite: The Debian suite.
        suites: Further suites that packages may come from.
        include: The packages that were asked for, beyond those that every Debian has.
        packages: All of its packages, sorted by name.
        python: The full version of its interpreter's package.
        digest: The SHA-256 of its layer's blob, as `sha256:…`.
        size: The bytes of that blob.
        diff_id: The SHA-256 of its layer's tar archive, as `sha256:…`.
        files: How many files, folders and links it has.
        compressor: What compressed the blob: another one gives another digest for the same files.
        trace: Of each entry in order, two characters that tell it from others (`trace.mark`).
    """

    id: str
    suite: str
    suites: tuple[str, ...] = ()
    include: tuple[str, ...]
    packages: tuple[Package, ...] = field(repr=False)
    python: str
    digest: str
    size: int
    diff_id: str
    files: int
    compressor: str = COMPRESSOR
    trace: str = field(repr=False)

    def __post_init__(self) -> None:
        for value, form in (
            (self.digest, _DIGEST),
            (self.diff_id, _DIGEST),
            (self.suite, _NAME),
            (self.trace, _TRACE),
            *((name, _NAME) for name in (*self.suites, *self.include)),
        ):
            _require(value, form)
        for number in (self.size, self.files):
            if not isinstance(number, int) or number < 0:
                raise ValueError(f"{number!r} is not a number of bytes or files")

    @property
    def hex(self) -> str:
        """The hex part of the blob's digest."""
        return self.digest.removeprefix("sha256:")

    def text(self) -> str:
        """The text of its file."""
        layer = {name: getattr(self, name) for name in ("digest", "size", "diff_id", "files", "compressor")}
        facts = {
            "format": FORMAT,
            "id": self.id,
            "suite": self.suite,
            **({"suites": list(self.suites)} if self.suites else {}),
            "include": list(self.include),
            "python": self.python,
            "layer": layer,
            "packages": [asdict(package) for package in self.packages],
            "trace": self.trace,
        }
        return json.dumps(facts, indent=1) + "\n"


def name(base: Base, also: Sequence[str]) -> str:
    """The id of a base with further packages of Debian: `bookworm+ffmpeg`."""
    return "+".join((base.id, *also))


def file(folder: Path, base: Base, also: Sequence[str]) -> Path:
    """Where its lock is, or would be."""
    return folder / f"{name(base, also)}.json"


def include(base: Base, also: Sequence[str]) -> tuple[str, ...]:
    """The packages that are asked for: each once, sorted."""
    return tuple(sorted({*base.packages, *also}))


def read(folder: Path, base: Base, also: Sequence[str]) -> BaseLock:
    """The lock of a base.

    Raises:
        BadInputError: It is missing, is no lock, or is not of what the matrix asks for.
    """
    path = file(folder, base, also)
    try:
        lock = _from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BadInputError(_fault(path, base, "it does not exist")) from error
    except OSError as error:
        raise BadInputError(_fault(path, base, f"it cannot be read: {error.strerror}")) from error
    except KeyError as error:
        cause = f"it is not the lock of a base: the key {error} is missing"
        raise BadInputError(_fault(path, base, cause)) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInputError(_fault(path, base, f"it is not the lock of a base: {error}")) from error
    wanted = (name(base, also), base.suite, base.suites, include(base, also))
    if (lock.id, lock.suite, lock.suites, lock.include) != wanted:
        raise BadInputError(_fault(path, base, "it is of another base than the matrix asks for"))
    return lock


def _fault(path: Path, base: Base, cause: str) -> Fault:
    return Fault(
        place=f"{path.parent.name}/{path.name}", cause=cause, fix=f"Run `cuvee base --update {base.id}`"
    )


def _from_json(facts: dict[str, Any]) -> BaseLock:
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']!r}, where {FORMAT} belongs")
    return BaseLock(
        id=facts["id"],
        suite=facts["suite"],
        suites=tuple(facts.get("suites", ())),
        include=tuple(facts["include"]),
        python=facts["python"],
        packages=tuple(Package(**package) for package in facts["packages"]),
        trace=facts["trace"],
        **facts["layer"],
    )


def _require(value: object, form: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"{value!r} where {form.pattern} belongs")


def differing(locked: BaseLock, offered: Sequence[Package]) -> tuple[str, ...]:
    """The packages of which Debian offers another version or other bytes than the lock says.

    Each as `openssl 3.0.16 -> 3.0.17`.
    """
    ours = {package.name: package for package in locked.packages}
    theirs = {package.name: package for package in offered}
    return tuple(
        f"{package} {_version(ours, theirs, package)} -> {_version(theirs, ours, package)}"
        for package in sorted(ours.keys() | theirs.keys())
        if ours.get(package) != theirs.get(package)
    )


def _version(side: dict[str, Package], other: dict[str, Package], name: str) -> str:
    """What one side has of a package; where only the files differ, their hashes tell."""
    found, rival = side.get(name), other.get(name)
    if found is None:
        return "none"
    same = rival is not None and rival.version == found.version
    return f"{found.version} ({found.sha256[:12]})" if same else found.version
