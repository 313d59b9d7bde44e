"""The lock: frozen records, their JSON, and their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.abi.facts import Summary
from builder.errors import BadInputError, Fault
from builder.lock.image import ImageRecord

FORMAT = 1
FILE = "lock.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One file of the package index.

    Attributes:
        name: The distribution's normalised name.
        version: Its version.
        file: The file's name on the index; never an address, so that a mirror serves as well.
        sha256: The file's hash, in hex.
        size: The file's size in bytes.
        facts: What the wheel says of itself, as far as plans need it.
    """

    name: str
    version: str
    file: str
    sha256: str
    size: int
    facts: Summary = field(default_factory=Summary)

    @property
    def is_source(self) -> bool:
        """Whether it is a source archive, which must be built."""
        return not self.file.endswith(".whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A set of packages that are installed under one prefix.

    Attributes:
        name: `main` for a row's ordinary environment; an overlay has its name in the matrix.
        packages: Sorted by name.
    """

    name: str
    packages: tuple[Package, ...]

    def package(self, name: str) -> Package | None:
        """The package of that normalised name, if it is here."""
        return next((package for package in self.packages if package.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What a row resolved to. A row and its lock are an environment; images are views of it.

    Attributes:
        row: The row's id.
        fingerprint: `Row.fingerprint()` at the time of resolving.
        as_of: The day whose index it was resolved against, YYYY-MM-DD.
        base: The base's id.
        python: The Python the wheels are for, `3.11`.
        environments: One, named `main`, unless the row is isolated.
        overlays: Libraries laid beside the environments.
        tools: What builds source archives and installs wheels; never in the image.
        image: What the direct engine makes of it, or None where that was never recorded. It follows from the
            rest, so the digest leaves it out.
    """

    row: str
    fingerprint: str
    as_of: str
    base: str
    python: str
    environments: tuple[Environment, ...]
    overlays: tuple[Environment, ...]
    tools: tuple[Package, ...]
    image: ImageRecord | None = None

    @property
    def main(self) -> Environment:
        """The environment that `python` is in."""
        return self.environments[0]

    @property
    def digest(self) -> str:
        """The SHA-256 of the lock's canonical JSON, as `sha256:…`: it names the environment."""
        canonical = json.dumps(_to_json(self), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"

    def packages(self) -> Iterator[Package]:
        """Every package that ends up in the image."""
        for environment in (*self.environments, *self.overlays):
            yield from environment.packages

    def text(self) -> str:
        """The text of `lock.json`."""
        image = {"image": self.image.to_json()} if self.image else {}
        return json.dumps({**_to_json(self), **image}, indent=1) + "\n"


def read(path: Path) -> Lock:
    """The lock in a file.

    Raises:
        BadInputError: The file is missing, is no lock, or is of another format.
    """
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BadInputError(_fault(path, "it does not exist")) from error
    except OSError as error:
        raise BadInputError(_fault(path, f"it cannot be read: {error.strerror}")) from error
    except KeyError as error:
        raise BadInputError(_fault(path, f"it is not a lock: the key {error} is missing")) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInputError(_fault(path, f"it is not a lock: {error}")) from error


def _fault(path: Path, cause: str) -> Fault:
    return Fault(place=str(path), cause=cause, fix=f"Run `cuvee lock {path.parent.name}`")


def _to_json(lock: Lock) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "row": lock.row,
        "fingerprint": lock.fingerprint,
        "as_of": lock.as_of,
        "base": lock.base,
        "python": lock.python,
        "environments": {part.name: _packages_to_json(part.packages) for part in lock.environments},
        "overlays": {part.name: _packages_to_json(part.packages) for part in lock.overlays},
        "tools": _packages_to_json(lock.tools),
    }


def _packages_to_json(packages: Iterable[Package]) -> list[dict[str, Any]]:
    return [_package_to_json(package) for package in packages]


def _package_to_json(package: Package) -> dict[str, Any]:
    plain = {
        "name": package.name,
        "version": package.version,
        "file": package.file,
        "sha256": package.sha256,
        "size": package.size,
    }
    facts = package.facts.to_json()
    return {**plain, "facts": facts} if facts else plain


def _from_json(data: dict[str, Any]) -> Lock:
    if data.get("format") != FORMAT:
        raise ValueError(f"its format is {data.get('format')!r}, this cuvee reads {FORMAT}")
    if not data["environments"]:
        raise ValueError("it has no environment")
    return Lock(
        row=data["row"],
        fingerprint=data["fingerprint"],
        as_of=data["as_of"],
        base=data["base"],
        python=data["python"],
        environments=_environments_from_json(data["environments"]),
        overlays=_environments_from_json(data["overlays"]),
        tools=_packages_from_json(data["tools"]),
        image=ImageRecord.from_json(data["image"]) if "image" in data else None,
    )


def _environments_from_json(data: dict[str, Any]) -> tuple[Environment, ...]:
    return tuple(
        Environment(name=name, packages=_packages_from_json(packages)) for name, packages in data.items()
    )


def _packages_from_json(data: list[dict[str, Any]]) -> tuple[Package, ...]:
    return tuple(Package(**{**entry, "facts": Summary.from_json(entry.get("facts", {}))}) for entry in data)
