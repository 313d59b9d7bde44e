"""Resolving a row: uv's answer, its files chosen, checked against the row, with the facts that plans need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from builder.abi.summary import summarise
from builder.errors import CannotResolveError, Fault
from builder.lock.conflict import Ask, explain, question_for
from builder.lock.files import best_wheel
from builder.lock.record import Environment, Lock, Package
from builder.lock.uv import Candidate, Question, Refusal, Resolved, ask
from builder.matrix import Demand, Isolated, Row
from builder.shell import SYSTEM, Shell
from builder.wheels.index import extra_index
from builder.wheels.network import session
from builder.wheels.sizes import size_of
from builder.wheels.store import WheelStore, default_folder

TOOLS = ("uv", "setuptools", "wheel")
"""What an image is built with: uv installs, setuptools builds the source archives that have no wheel."""

_NAMES_OF_CUDA = ("nvidia-cuda-runtime", "nvidia-cublas")
_NAMES_OF_CUDNN = ("nvidia-cudnn",)


def resolve(row: Row, previous: Lock | None = None, shell: Shell = SYSTEM) -> Lock:
    """Resolve a row against the index as it was on the row's day.

    Args:
        row: The row.
        previous: The row's present lock: a file in both must have kept its hash.
        shell: Starts uv.

    Raises:
        CannotResolveError: No solution, a yanked version, no wheel for the Python, a file whose hash has
            changed, or a CUDA or cuDNN that is not the one that the row says.
        EngineOrNetworkError: The index cannot be reached.
    """
    blank = _blank(row)
    parts = {name: _solve(row.demands(name), blank, row, shell) for name, _ in row.stacks()}
    overlays = {
        name: _solve(_overlay_demands(row, name), _alone(blank), row, shell) for name in sorted(row.overlays)
    }
    tools = _solve(_tool_demands(row), _alone(blank), row, shell)
    lock = Lock(
        row=row.id,
        fingerprint=row.fingerprint(),
        as_of=row.as_of.isoformat(),
        base=row.base.id,
        python=row.python,
        environments=tuple(
            Environment(name=name, packages=_packages(part, row)) for name, part in parts.items()
        ),
        overlays=tuple(
            Environment(name=name, packages=_packages(part, row)) for name, part in overlays.items()
        ),
        tools=_packages(tools, row),
    )
    _check(lock, row, previous)
    return lock


def _blank(row: Row) -> Question:
    index = extra_index(row.index, row.place("index")) if row.index else None
    return Question(requirements=(), as_of=row.as_of, python=row.python, glibc=row.base.glibc, index=index)


def _alone(question: Question) -> Question:
    """The same question for packages that are taken without what they require."""
    return Question(
        requirements=(), as_of=question.as_of, python=question.python, glibc=question.glibc, alone=True
    )


def _overlay_demands(row: Row, name: str) -> tuple[Demand, ...]:
    place = row.place("overlays", name)
    return tuple(
        Demand(requirement=text, kind="requirement", reason=None, place=place)
        for text in row.overlays[name].requirements
    )


def _tool_demands(row: Row) -> tuple[Demand, ...]:
    place = row.place("as_of")
    return tuple(Demand(requirement=name, kind="requirement", reason=None, place=place) for name in TOOLS)


def _solve(demands: Sequence[Demand], blank: Question, row: Row, shell: Shell) -> tuple[Resolved, ...]:
    place = f"row {row.id}"
    put: Ask = lambda question: ask(question, place, shell)  # noqa: E731 - a name for one partial call
    question = question_for(demands, blank)
    answer = put(question)
    if isinstance(answer, Refusal):
        raise CannotResolveError(*explain(demands, question, put))
    return answer


def _packages(resolved: Iterable[Resolved], row: Row) -> tuple[Package, ...]:
    chosen = [(package, _file(package, row)) for package in resolved]
    faults = [_no_file(package, row) for package, file in chosen if file is None]
    if faults:
        raise CannotResolveError(*faults)
    with ThreadPoolExecutor(max_workers=8) as pool:  # harvesting waits for the network
        return tuple(pool.map(lambda pair: _package(*pair), ((p, f) for p, f in chosen if f is not None)))


def _file(package: Resolved, row: Row) -> Candidate | None:
    wheel = best_wheel(package, row.python, row.base.glibc)
    return wheel or (package.source if package.name in row.source_archives else None)


def _package(resolved: Resolved, file: Candidate) -> Package:
    with session() as network:  # one each: sessions are not made for several threads
        store = WheelStore(folder=default_folder(), session=network)
        size = size_of(network, file.file, file.url) if file.size is None else file.size
        facts = summarise(file.file, store.open(file.file, file.sha256, size, file.url))
    return Package(
        name=resolved.name,
        version=resolved.version,
        file=file.file,
        sha256=file.sha256,
        size=size,
        facts=facts,
    )


def _no_file(package: Resolved, row: Row) -> Fault:
    title = f"{package.name} {package.version}"
    if package.source is None:
        cause, fix = (
            f"{title} has no wheel for Python {row.python} on glibc {row.base.glibc}",
            "Demand another version",
        )
    else:
        cause = f"{title} exists only as a source archive for Python {row.python}"
        fix = (
            "Demand a version with a wheel (a constraint or an override), or, if it builds without a "
            f"compiler, add {package.name} to source_archives with the reason"
        )
    return Fault(place=row.place("source_archives"), cause=cause, fix=fix)


def _check(lock: Lock, row: Row, previous: Lock | None) -> None:
    faults = [
        *(fault for name, part in row.stacks() for fault in _stack_faults(lock, row, name, part)),
        *(_changed_files(lock, previous) if previous else ()),
    ]
    if faults:
        raise CannotResolveError(*faults)


def _stack_faults(lock: Lock, row: Row, name: str, part: Row | Isolated) -> Iterable[Fault]:
    """What a row says of an environment's CUDA and cuDNN must be what its wheels are."""
    packages = next(one.packages for one in lock.environments if one.name == name)
    place = partial(row.place, "environments", name) if row.environments else row.place
    for key, said, names in (
        ("cuda", part.cuda, _NAMES_OF_CUDA),
        ("cudnn", part.cudnn, _NAMES_OF_CUDNN),
    ):
        found = _first_version(packages, names)
        if found != said:
            yield Fault(
                place=place(key),
                cause=f"the row says {said or 'none'}, its wheels bring {found or 'none'}",
                fix=f"Write {key}: {found or 'null'}, or demand other versions",
            )


def _first_version(packages: Sequence[Package], names: Sequence[str]) -> str | None:
    for name in names:
        for package in packages:
            if package.name == name or package.name.startswith(f"{name}-cu"):
                return ".".join(package.version.split(".")[:2])
    return None


def _changed_files(lock: Lock, previous: Lock) -> Iterable[Fault]:
    """Files never change on an honest index: another hash means an attack or a broken mirror."""
    known = {package.file: package.sha256 for package in (*previous.packages(), *previous.tools)}
    for package in (*lock.packages(), *lock.tools):
        before = known.get(package.file, package.sha256)
        if before != package.sha256:
            yield Fault(
                place=package.file,
                cause=f"its sha256 was {before} when row {lock.row} was locked and is {package.sha256} now",
                fix="Do not install it; compare with another mirror, and tell the package's authors",
            )
