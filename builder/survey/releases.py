"""Which releases there are, and what comes with each: asked of the index once, then kept in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from builder.errors import BadInputError, CannotResolveError, Fault
from builder.lock.files import best_wheel
from builder.lock.record import Package
from builder.lock.uv import Question, Refusal, Resolved, ask
from builder.wheels.network import session
from builder.wheels.store import file_names

FORMAT = 1
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of a package, with what it needs.

    Attributes:
        version: Its version.
        wheels: Its own wheel and those that it demands, as far as they are made for a platform.
    """

    version: str
    wheels: tuple[Package, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """What a survey is about.

    Attributes:
        as_of: The last day of the index that counts, YYYY-MM-DD.
        python: The Python that the wheels are for.
        glibc: The newest C library that a wheel may ask for.
        ctranslate2: From old to new.
        torch: Likewise, each with the CUDA libraries that it demands.
        added: Libraries that are laid beside an environment that lacks them, by name: see `data/survey.yaml`.
        without_wheel: Releases that have no wheel for this Python, `torch 1.12.1`.
    """

    as_of: str
    python: str
    glibc: str
    ctranslate2: tuple[Release, ...]
    torch: tuple[Release, ...]
    added: tuple[tuple[str, tuple[Package, ...]], ...]
    without_wheel: tuple[str, ...]

    def wheels(self) -> tuple[Package, ...]:
        """Every wheel, each once."""
        releases = (*self.ctranslate2, *self.torch)
        all_of = (
            *(wheel for one in releases for wheel in one.wheels),
            *(w for _, ws in self.added for w in ws),
        )
        return tuple({wheel.sha256: wheel for wheel in all_of}.values())

    def text(self) -> str:
        """The text of the file that keeps it."""
        return json.dumps({"format": FORMAT, **_plain(self)}, indent=1) + "\n"


def named_in(folder: Path) -> frozenset[str]:
    """The names of all wheels that the files of releases in a folder tell of."""
    return frozenset(one.file for path in folder.glob("releases-py*.json") for one in read(path).wheels())


def read(path: Path, update: str = "cuvee survey --update") -> Releases:
    """The releases that a file keeps; `update` is the command that makes it.

    Raises:
        BadInputError: There is none, or it is of another format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _from_plain(data)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadInputError(
            Fault(
                place=str(path),
                cause=f"it holds no releases to survey: {error}" if path.exists() else "it was not made yet",
                fix=f"Run `{update}`",
            )
        ) from error


def resolve(as_of: date, python: str, glibc: str, added: dict[str, list[str]], say: Say) -> Releases:
    """Ask the index for every release with a wheel for this Python, and for what each demands.

    Raises:
        EngineOrNetworkError: The index cannot be reached.
        CannotResolveError: A library that would be added cannot be had.
    """
    blank = Question(requirements=(), as_of=as_of, python=python, glibc=glibc)
    found = {
        name: _all_releases(name, blank, alone=name == "ctranslate2") for name in ("ctranslate2", "torch")
    }
    for name, (releases, without) in found.items():
        say(f"{name}: {len(releases)} releases, {len(without)} without a wheel for Python {python}")
    return Releases(
        as_of=as_of.isoformat(),
        python=python,
        glibc=glibc,
        ctranslate2=found["ctranslate2"][0],
        torch=found["torch"][0],
        added=tuple((title, _added(title, wanted, blank)) for title, wanted in added.items()),
        without_wheel=tuple(f"{name} {version}" for name in found for version in found[name][1]),
    )


def _all_releases(name: str, blank: Question, *, alone: bool) -> tuple[tuple[Release, ...], tuple[str, ...]]:
    """The releases of a package from old to new, and the versions that have no wheel for our Python."""
    with session() as network:
        versions = sorted(set(_versions(file_names(network, name))))
    with ThreadPoolExecutor(4) as pool:  # uv waits for the network
        releases = list(pool.map(lambda version: _release(name, str(version), blank, alone=alone), versions))
    known = zip(versions, releases, strict=True)
    return tuple(one for one in releases if one), tuple(str(version) for version, one in known if not one)


def _versions(files: Iterable[str]) -> Iterator[Version]:
    """The final versions that have some wheel for Linux on x86-64."""
    for file in files:
        try:
            _, version, _, tags = parse_wheel_filename(file)
        except InvalidWheelFilename:
            continue  # a source archive
        ours = any("linux" in tag.platform and tag.platform.endswith("x86_64") for tag in tags)
        if ours and not version.is_prerelease and not version.local:
            yield version


def _release(name: str, version: str, blank: Question, *, alone: bool) -> Release | None:
    question = replace(blank, requirements=(f"{name}=={version}",), alone=alone)
    try:
        answer = ask(question, f"survey of {name} {version}")
    except CannotResolveError:
        return None  # yanked
    if isinstance(answer, Refusal):
        return None
    wheels = tuple(package for one in answer for package in _platform_wheel(one, blank))
    return Release(version=version, wheels=wheels) if any(one.name == name for one in wheels) else None


def _platform_wheel(resolved: Resolved, blank: Question) -> Iterator[Package]:
    wheel = best_wheel(resolved, blank.python, blank.glibc)
    if wheel and wheel.size is not None and not wheel.file.endswith("-any.whl"):  # PyPI tells every size
        yield Package(
            name=resolved.name,
            version=resolved.version,
            file=wheel.file,
            sha256=wheel.sha256,
            size=wheel.size,
        )


def _added(title: str, wanted: Sequence[str], blank: Question) -> tuple[Package, ...]:
    answer = ask(replace(blank, requirements=tuple(wanted), alone=True), title)
    if isinstance(answer, Refusal):
        raise CannotResolveError(
            Fault(
                place=f"data/survey.yaml {title}",
                cause="the index has no such wheel",
                fix="Correct its bound",
            )
        )
    return tuple(package for one in answer for package in _platform_wheel(one, blank))


def _plain(releases: Releases) -> dict[str, Any]:
    """Without facts: these packages have none of the lock's."""
    plain = asdict(releases)
    for release in (*plain["ctranslate2"], *plain["torch"]):
        release["wheels"] = [_plain_package(wheel) for wheel in release["wheels"]]
    plain["added"] = {title: [_plain_package(wheel) for wheel in wheels] for title, wheels in plain["added"]}
    return plain


def _plain_package(package: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in package.items() if name != "facts"}


def _from_plain(data: dict[str, Any]) -> Releases:
    if data["format"] != FORMAT:
        raise ValueError(f"its format is {data['format']!r}, this cuvee reads {FORMAT}")
    return Releases(
        as_of=data["as_of"],
        python=data["python"],
        glibc=data["glibc"],
        ctranslate2=tuple(_from_release(one) for one in data["ctranslate2"]),
        torch=tuple(_from_release(one) for one in data["torch"]),
        added=tuple((title, _packages(wheels)) for title, wheels in data["added"].items()),
        without_wheel=tuple(data["without_wheel"]),
    )


def _from_release(data: dict[str, Any]) -> Release:
    return Release(version=data["version"], wheels=_packages(data["wheels"]))


def _packages(data: list[dict[str, Any]]) -> tuple[Package, ...]:
    return tuple(Package(**one) for one in data)
