"""Holding the survey against the real loader: a sample of its pairs, unpacked and loaded in containers."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from builder.abi.facts import BaseFacts
from builder.abi.library import Library
from builder.engines.docker import DockerEngine
from builder.errors import Fault
from builder.known import data
from builder.lock.record import Package
from builder.probe.cudnn import wants_driver
from builder.survey.combination import (
    BESIDE,
    SITE,
    Trial,
    Wheels,
    engine_files,
    imports_torch,
    of_its_cuda,
    offering,
    trial,
)
from builder.survey.releases import Release, Releases
from builder.verdict.mixing import FRONT
from builder.verdict.names import optional
from builder.verdict.setting import DRIVER
from builder.verdict.tables import first_use, stem
from builder.wheels.network import session
from builder.wheels.store import WheelStore, default_folder, find

PROBE = Path(__file__).resolve().parents[1] / "probe"
Say = Callable[[str], None]

ENGINE_FOLDERS = ("ctranslate2", "ctranslate2.libs")
_BEHIND = re.compile(r"libcudnn_\w+?(?=\.so)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a process does, or is predicted to do, that loads torch and CTranslate2 and lets them compute.

    Attributes:
        failed: The loader's words where CTranslate2 cannot be imported at all, or "".
        missing: The names that CTranslate2 opens in vain, sorted.
        front: The first library that its front of cuDNN misses, where it dies of that, or "".
    """

    failed: str = ""
    missing: tuple[str, ...] = ()
    front: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One trial, predicted and seen.

    Attributes:
        ctranslate2: Its version.
        torch: Its version.
        added: What lay beside, or "".
        folders: What was in the loader's cache.
        predicted: What the facts say.
        seen: What the real loader did.
    """

    ctranslate2: str
    torch: str
    added: str
    folders: tuple[str, ...]
    predicted: Behaviour
    seen: Behaviour

    @property
    def agree(self) -> bool:
        """Whether both are the same."""
        return self.predicted == self.seen

    @property
    def title(self) -> str:
        """What was tried and how it went, for people."""
        how = (
            f"with {self.added} added"
            if self.added
            else "with its own folders"
            if self.folders
            else "as it is"
        )
        return f"{how}, {'as predicted' if self.agree else 'NOT as predicted'}"

    def fault(self) -> Fault:
        """The disagreement, as a bug of the proof."""
        return Fault(
            place=f"CTranslate2 {self.ctranslate2} with torch {self.torch}, {self.title}",
            cause=f"the facts say {self.predicted}, the loader did {self.seen}",
            fix="Find out which fact or rule is wrong (builder/abi, builder/data)",
        )


def predicted(trial: Trial) -> Behaviour:
    """What a trial's facts say."""
    failed = next((ask.failed.text for ask in trial.asks if ask.how == "needed" and ask.failed), "")
    fronts = set(_fronts(trial))
    opened = [ask for ask in trial.asks if ask.how == "opened"]
    behind = [ask for ask in opened if ask.by in fronts]
    return Behaviour(
        failed=failed,
        missing=tuple(sorted(ask.name for ask in opened if ask.by not in fronts)),
        front=min((first_use(ask.name), stem(ask.name)) for ask in behind)[1] if behind else "",
    )


def seen(trial: Trial, image: str, engine: DockerEngine, binds: Mapping[Path, str]) -> Behaviour:
    """What the real loader does with a trial, in a container of the base."""
    wanted = {"load": trial.loads, "open": _opened(trial), "front": next(_fronts(trial), "")}
    lines = "".join(f"{folder}\\n" for folder in trial.folders)
    with engine.container(image, binds=binds) as container:
        container.copy_in(PROBE, "/opt")
        container.run(["sh", "-c", f"printf '{lines}' > /etc/ld.so.conf.d/00-survey.conf && ldconfig"])
        done = container.run(["python3", "-I", "/opt/probe", "child", "survey", json.dumps(wanted)])
    return read(done.code, done.out, done.err)


def read(code: int, out: str, err: str) -> Behaviour:
    """What a child's exit code and words say."""
    facts = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    failed = next((fact["failed"] for fact in facts if "failed" in fact), "")
    missing = sorted(fact["name"] for fact in facts if fact.get("opens") is False)
    died = code and not failed and not wants_driver(err)
    named = _BEHIND.search(err)
    front = (named[0] if named else f"exit code {code}: {err[-200:]}") if died else ""
    return Behaviour(failed=failed, missing=tuple(missing), front=front)


def _fronts(trial: Trial) -> Iterator[str]:
    """CTranslate2's bundled front of cuDNN, where it has one."""
    return (path for path in engine_files(trial.setting) if FRONT.fullmatch(path.rpartition("/")[2]))


def _opened(trial: Trial) -> list[str]:
    """What CTranslate2 itself opens and cannot do without; the driver's libraries are the host's business."""
    setting, fronts = trial.setting, set(_fronts(trial))
    names = {
        group[0]
        for path in engine_files(setting)
        if path not in fronts
        for group in setting.world.files[path].opens
        if not optional(setting, path, group[0])
    }
    return sorted(names - DRIVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Laboratory:
    """Where trials are run.

    Attributes:
        engine: The engine.
        image: The base's image in it.
        base: The base's facts.
        library: The facts of wheels.
        folder: Where wheels are unpacked; deleted by whoever made it.
        say: Told what takes long.
    """

    engine: DockerEngine
    image: str
    base: BaseFacts
    library: Library
    folder: Path
    say: Say

    def facts(self, packages: Sequence[Package]) -> Wheels:
        """Wheels with their facts."""
        found = ((one, self.library.wheel(one.file, one.sha256)) for one in packages)
        return tuple((one, facts) for one, facts in found if facts)

    def unpacked(self, title: str, packages: Sequence[Package]) -> Path:
        """The libraries of wheels as pip leaves them, in a folder that is made once."""
        site = self.folder / title.replace(" ", "-")
        site.mkdir(exist_ok=True)
        for package in packages:
            if not (site / f".{package.sha256}").exists():
                self.say(f"unpacking {package.file}")
                _unpack(package, site)
                (site / f".{package.sha256}").touch()
        for name in ENGINE_FOLDERS:
            (site / name).mkdir(exist_ok=True)
        return site


def confirm(releases: Releases, laboratory: Laboratory) -> Iterator[Comparison]:
    """Run the sample: each pair as pip leaves it, and with what helps it."""
    engines = {one.version: one for one in releases.ctranslate2}
    torches = {one.version: one for one in releases.torch}
    for torch in family_heads("torch", tuple(torches)):
        site = laboratory.unpacked(f"torch {torch}", torches[torch].wheels)
        for engine in family_heads("ctranslate2", tuple(engines)):
            yield from _pair(releases, laboratory, engines[engine], torches[torch], site)
        shutil.rmtree(site)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One way to make a pair work: nothing, its own folders in the loader's cache, or something added."""

    title: str = ""
    packages: tuple[Package, ...] = ()
    own_folders: bool = True


def _pair(
    releases: Releases, laboratory: Laboratory, engine: Release, torch: Release, site: Path
) -> Iterator[Comparison]:
    """A pair as pip leaves it, with its own folders in the cache, and with the first addition that helps."""
    own = laboratory.facts(engine.wheels)
    wheels = (*laboratory.facts(torch.wheels), *own)
    added = ((title, laboratory.facts(packages)) for title, packages in releases.added)
    helpful = {title for title, _ in of_its_cuda(tuple(added), own)}
    additions = (_Attempt(title=title, packages=some) for title, some in releases.added if title in helpful)
    for attempt in (_Attempt(own_folders=False), _Attempt(), *additions):
        more = laboratory.facts(attempt.packages)
        folders = offering(wheels, more) if attempt.own_folders else ()
        alone = not attempt.own_folders and not imports_torch(engine.version)
        tried = trial(wheels, more, laboratory.base, folders, torch=not alone)
        if attempt.packages and tried.findings:
            continue  # it would not help, and nothing says that it would
        binds = {site: str(SITE)}
        unpacked = laboratory.unpacked(f"ctranslate2 {engine.version}", engine.wheels)
        binds |= {unpacked / name: f"{SITE}/{name}" for name in ENGINE_FOLDERS}
        if attempt.packages:
            binds[laboratory.unpacked(attempt.title, attempt.packages)] = str(BESIDE)
        yield Comparison(
            ctranslate2=engine.version,
            torch=torch.version,
            added=attempt.title,
            folders=tuple(str(folder) for folder in folders),
            predicted=predicted(tried),
            seen=seen(tried, laboratory.image, laboratory.engine, binds),
        )
        if attempt.own_folders and not tried.findings:
            return


def _unpack(wheel: Package, site: Path) -> None:
    """Only libraries: the rest does not matter to the loader."""
    with tempfile.TemporaryDirectory(dir=site.parent) as scratch, session() as network:
        kept = WheelStore(folder=default_folder(), session=network)
        if kept.holds(wheel.file, wheel.sha256, wheel.size):
            path = kept.path(wheel.file, wheel.sha256)
        else:  # a passing copy: a sample of torch releases would fill the store
            url = find(network, wheel.name, wheel.version, wheel.file, wheel.sha256)
            passing = WheelStore(folder=Path(scratch), session=network)
            path = passing.fetch(wheel.file, wheel.sha256, wheel.size, url)
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if ".so" in PurePosixPath(member.filename).name:
                    archive.extract(member, site)


def to_json(comparisons: Sequence[Comparison]) -> str:
    """The text of the evidence file."""
    lines = ",\n".join(f"  {json.dumps(asdict(one))}" for one in comparisons)
    counts = {"agree": sum(one.agree for one in comparisons), "of": len(comparisons)}
    head = json.dumps({"command": "cuvee survey --confirm", "counts": counts}, indent=1)
    return f'{head[:-2]},\n "trials": [\n{lines}\n ]\n}}\n'


def family_heads(name: str, versions: Sequence[str]) -> tuple[str, ...]:
    """The newest release of each family of a package that is among some versions, see `data/survey.yaml`."""
    bounds = data("survey.yaml")["families"][name]
    heads = (max(SpecifierSet(bound).filter(versions), key=Version, default="") for bound in bounds)
    return tuple(head for head in heads if head)
