"""One CTranslate2 with one torch: does everything load, and if not, what helps?

Both lie in one environment, as pip leaves them. The process imports torch (most CTranslate2 releases do so
themselves, see `data/survey.yaml`), then CTranslate2, then opens what CTranslate2 opens by name. Tried in
turn, until one works: the environment as it is; with its own CUDA libraries in the loader's cache; with a
library added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from builder.abi.facts import BaseFacts, Binary, WheelFacts
from builder.abi.loader import Failed, Process
from builder.doctor.versions import holds
from builder.known import data
from builder.lock.record import Package
from builder.verdict import loading, mixing
from builder.verdict.names import Ask, optional
from builder.verdict.record import Finding
from builder.verdict.setting import Part, Setting, lay_out

Status: TypeAlias = Literal["works", "first", "path", "added", "fails"]
Wheels: TypeAlias = tuple[tuple[Package, WheelFacts], ...]

SITE = PurePosixPath("/opt/survey/lib/site-packages")
BESIDE = PurePosixPath("/opt/survey/added")
IMPORT_TORCH = ("torch/lib/libtorch_global_deps.so", "torch/lib/libtorch_python.so")
"""What `import torch` opens: `torch/__init__.py` loads the first by path, its extension module the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one combination.

    Attributes:
        ctranslate2: Its version.
        torch: Its version.
        status: `works` as pip leaves it, works if the program imports torch `first`, with its own libraries
            on the loader's `path`, with `added` ones, or `fails`.
        added: What was added.
        folders: What the loader's cache must have for it, relative to site-packages or to what is added.
        signature: The kind of failure, of the environment as pip leaves it; "" where that works.
        message: Its message.
    """

    ctranslate2: str
    torch: str
    status: Status
    added: str = ""
    folders: tuple[str, ...] = ()
    signature: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A pair in one setting: what is added, what the loader's cache has.

    Attributes:
        setting: What lies where.
        folders: What the loader's cache has beyond the base's.
        loads: The files that Python imports, in order.
        asks: What a process asks for in vain that imports torch, then CTranslate2, and lets that compute.
    """

    setting: Setting
    folders: tuple[PurePosixPath, ...]
    loads: tuple[str, ...]
    asks: tuple[Ask, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What does not hold; two cuDNN are looked for where the loader was given folders of its own."""
        mixed = mixing.findings(self.setting) if self.folders else ()
        return (*loading.findings(self.setting, self.asks), *mixed)


def prove(
    ctranslate2: tuple[str, Wheels],
    torch: tuple[str, Wheels],
    added: Sequence[tuple[str, Wheels]],
    base: BaseFacts,
) -> Result:
    """The result for one CTranslate2 and one torch, each with its version and its wheels' facts."""
    wheels = (*torch[1], *ctranslate2[1])
    result = Result(ctranslate2=ctranslate2[0], torch=torch[0], status="works")
    plain = trial(wheels, (), base, (), torch=imports_torch(ctranslate2[0]))
    if not plain.findings:
        return result
    said = plain.findings[0]
    failed = replace(result, status="fails", signature=said.signature, message=said.message)
    if not imports_torch(ctranslate2[0]) and not trial(wheels, (), base, ()).findings:
        return replace(failed, status="first", folders=_told(offering(wheels, ())))
    for title, more in (("", ()), *of_its_cuda(added, ctranslate2[1])):
        folders = offering(wheels, more)
        if _may_help(plain.asks, wheels, more) and _holds(ctranslate2[0], wheels, more, base, folders):
            return replace(failed, status="added" if title else "path", added=title, folders=_told(folders))
    return failed


def of_its_cuda(added: Sequence[tuple[str, Wheels]], engine: Wheels) -> Iterator[tuple[str, Wheels]]:
    """Those of the libraries to add that are made for the CUDA that CTranslate2 was built with.

    NVIDIA's wheels say theirs in their names: `nvidia-cudnn-cu12`.
    """
    majors = {binary.gpu_cuda.partition(".")[0] for _, facts in engine for binary in facts.binaries} - {""}
    for title, more in added:
        if not majors or all(
            package.name.endswith(tuple(f"-cu{one}" for one in majors)) for package, _ in more
        ):
            yield title, more


def _holds(
    ctranslate2: str, wheels: Wheels, more: Wheels, base: BaseFacts, folders: Sequence[PurePosixPath]
) -> bool:
    """Whether a trial holds, whether or not the program imports torch where that is left to it."""
    ways = (True,) if imports_torch(ctranslate2) else (True, False)
    return not any(trial(wheels, more, base, folders, torch=torch).findings for torch in ways)


def imports_torch(ctranslate2: str) -> bool:
    """Whether a CTranslate2 imports torch by itself where that is installed."""
    return holds(ctranslate2, data("survey.yaml")["imports_torch"])


def trial(
    wheels: Wheels, more: Wheels, base: BaseFacts, folders: Sequence[PurePosixPath], *, torch: bool = True
) -> Trial:
    """Try a pair's wheels with `more` beside them and `folders` in the loader's cache.

    Args:
        wheels: Of both, with what torch demands.
        more: What lies beside them.
        base: The system below.
        folders: What the loader's cache has beyond the base's.
        torch: Whether torch is imported, before CTranslate2.
    """
    parts = [Part(name="main", root=SITE, packages=wheels)]
    if more:
        parts.append(Part(name="added", root=BESIDE, packages=more))
    setting = lay_out(parts, base, [str(folder) for folder in folders])
    files = _loads(setting, torch=torch)
    return Trial(setting=setting, folders=tuple(folders), loads=files, asks=tuple(_asks(setting, files)))


def _loads(setting: Setting, *, torch: bool) -> tuple[str, ...]:
    """The files that `import torch`, if it is imported, and then `import ctranslate2` open, in order."""
    first = [path for file in IMPORT_TORCH if (path := f"{SITE}/{file}") in setting.owners] if torch else []
    return (*first, *(path for path in engine_files(setting) if loading.EXTENSION in path))


def engine_files(setting: Setting) -> tuple[str, ...]:
    """CTranslate2's own binaries."""
    return tuple(path for path in sorted(setting.owners) if setting.owners[path].name == "ctranslate2")


def _asks(setting: Setting, files: Sequence[str]) -> Iterator[Ask]:
    process = setting.process()
    for path in files:
        outcome = process.open(path)
        if isinstance(outcome, Failed):
            yield Ask(name=outcome.name, by=path, how="needed", failed=outcome)
            return
    there = set(process.loaded)
    for path in (path for path in engine_files(setting) if path in there):
        yield from _opened(setting, process, path, setting.world.files[path])


def _opened(setting: Setting, process: Process, path: str, binary: Binary) -> Iterator[Ask]:
    for names in binary.opens:
        tries = [process.open(name, path) for name in names]
        if all(isinstance(one, Failed) for one in tries) and not optional(setting, path, names[0]):
            failed = next(one for one in tries if isinstance(one, Failed))
            yield Ask(name=names[0], by=path, how="opened", tried=names, failed=failed)


def _may_help(asks: Sequence[Ask], wheels: Wheels, more: Wheels) -> bool:
    """Whether every missing name is the name of a file that is there: else a trial is not worth its time."""
    files = {binary.file for _, facts in (*wheels, *more) for binary in facts.binaries}
    return all(ask.how == "opened" and files.intersection(ask.tried) for ask in asks)


def offering(wheels: Wheels, more: Wheels) -> tuple[PurePosixPath, ...]:
    """The folders with libraries that CTranslate2 opens by name; what is added wins."""
    wanted = {
        name
        for package, facts in wheels
        if package.name == "ctranslate2"
        for binary in facts.binaries
        for names in binary.opens
        for name in names
    }
    found: dict[str, PurePosixPath] = {}
    for root, group in ((BESIDE, more), (SITE, wheels)):
        for package, facts in group:
            if package.name.startswith("nvidia-"):
                for binary in facts.binaries:
                    found.setdefault(binary.file, (root / binary.path).parent)
    return tuple(sorted({folder for name, folder in found.items() if name in wanted}))


def _told(folders: Sequence[PurePosixPath]) -> tuple[str, ...]:
    return tuple(_relative(folder) for folder in folders)


def _relative(folder: PurePosixPath) -> str:
    root = SITE if folder.is_relative_to(SITE) else BESIDE
    return str(folder.relative_to(root))
