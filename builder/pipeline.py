"""The stages, in order: each takes what the one before it made, and nothing reaches back.

    matrix.yaml ─▶ Row ─▶ Lock ─▶ Facts ─▶ Verdict ─▶ Plan ─▶ files ─▶ Image ─▶ Evidence ─▶ registry
                rows    lock   facts    prove    plan   render   build    test            push
                                                              assemble   load

`rows`, `prove`, `plan` and `render` are pure but for reading and writing the project's files; `lock` and
`facts` ask the package index; `build` uses the Docker engine, and `assemble` makes the same image without
one, which `load` brings into an engine and `push` to a registry; `test` uses either. What only some of them
need is imported in them: `list` and `render` must not wait for an HTTP client and a Docker SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder import matrix
from builder.errors import BadInputError, CheckFailedError, Fault, NothingSelectedError
from builder.lock import record
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import Plan, image_tag
from builder.plan import plan as plan_image
from builder.project import Project, differing, write

if TYPE_CHECKING:
    from builder.abi.library import Library
    from builder.engines.container import Engine, Image
    from builder.engines.direct.difference import Difference
    from builder.engines.direct.engine import DirectEngine
    from builder.engines.direct.image import Compression, OciImage
    from builder.engines.direct.load import Loaded
    from builder.engines.direct.rows import DirectRows
    from builder.engines.docker import DockerEngine
    from builder.matrix import Base
    from builder.publish.layers import Sent
    from builder.publish.push import Pushed
    from builder.survey.files import SurveyFiles
    from builder.verdict.hosts import Host
    from builder.verdict.record import Verdict
    from builder.verify.evidence import Evidence
    from builder.wheels.pieces import Piece

Say = Callable[[str], None]
PACKAGE = Path(__file__).resolve().parent


def rows(project: Project, ids: Sequence[str]) -> tuple[Row, ...]:
    """matrix.yaml ─▶ rows: those asked for, or all."""
    return matrix.load(project.matrix).select(ids)


def base(project: Project, name: str) -> Base:
    """matrix.yaml ─▶ the base of that name.

    Raises:
        NothingSelectedError: There is none.
    """
    found = {one.id: one for one in matrix.load(project.matrix).bases}
    if name not in found:
        fault = Fault(place=name, cause="no base has that name", fix=f"Take one of {', '.join(found)}")
        raise NothingSelectedError(fault)
    return found[name]


def unlocked(project: Project, row: Row) -> str:
    """Why a row has no lock and is none the worse for it; "" for all others."""
    from builder.verdict import refusal

    if refusal.is_known(row):
        return "no lock, since the resolver is known to refuse it"
    if row.status == "untested" and not (project.image(row.id) / record.FILE).is_file():
        return "no lock yet: nobody has made one who can reach its index"
    return ""


def refusal(row: Row) -> str:
    """Row ─▶ the resolver's refusal, for a row that is known to be refused; returns its words.

    Raises:
        CheckFailedError: It resolves, or is refused in other words.
    """
    from builder.lock.resolve import resolve
    from builder.verdict.refusal import refused

    return refused(row, resolve)


def lock(project: Project, row: Row, say: Say, *, again: bool = False) -> Lock:
    """Row ─▶ lock: the present one if the row has not moved on, else a new one, written with its files."""
    present = _present_lock(project, row)
    if present and not again and present.fingerprint == row.fingerprint():
        return present
    from builder.lock.resolve import resolve

    say(f"{row.id}: resolving as of {row.as_of}")
    fresh = resolve(row, present)
    if present and present.digest == fresh.digest:
        fresh = replace(fresh, image=present.image)  # what it makes is the same too
    _write_all(project.image(row.id), _lock_files(row, fresh))
    return fresh


def check_lock(project: Project, row: Row) -> None:
    """Row ─▶ lock, without doing it: see that nothing would change.

    Raises:
        CheckFailedError: The matrix has moved on since the lock, or its files were edited.
    """
    present = record.read(project.image(row.id) / record.FILE)
    if present.fingerprint != row.fingerprint():
        _refuse(project, row, (record.FILE,), "the matrix has moved on since it was locked", "lock")
    names = _differing(project, row, _lock_files(row, present))
    _refuse(project, row, names, "it is not what `cuvee lock` writes", "lock")


def facts(project: Project, row: Row, say: Say) -> tuple[str, ...]:
    """Lock ─▶ facts: record what is not recorded yet of the row's wheels; returns their file names."""
    from builder.abi.library import complete
    from builder.verdict.setting import to_account

    locked = record.read(project.image(row.id) / record.FILE)
    library = project_library(project)
    lacking = [one for one in to_account(locked) if not complete(library, one.file, one.sha256)]
    if lacking:
        from builder.report.gathering import gather_all

        gather_all(lacking, project.facts, say)
    return tuple(package.file for package in lacking)


def check_facts(project: Project) -> None:
    """Facts, without harvesting: those of all locked wheels and their bases are recorded, and no others.

    Raises:
        CheckFailedError: It is not so.
        BadInputError: A wheel's record cannot be read.
    """
    from builder.report import facts as kept

    kept.check(project, rows(project, ()), project_library(project))


def forget_facts(project: Project) -> tuple[str, ...]:
    """Delete the facts of wheels that no lock names any more; returns their files' names."""
    from builder.report import facts as kept

    return kept.forget(project, rows(project, ()))


def base_facts(project: Project, base: Base, say: Say) -> None:
    """Base ─▶ facts: record the libraries it has, alone and, where that is locked, with Debian's FFmpeg.

    They are read from the layer that its lock names; it is made where the store does not have it.

    Raises:
        BadInputError: It has no lock.
        CheckFailedError: Its layer is damaged.
        EngineOrNetworkError: It is nowhere, and cannot be made here.
    """
    from builder.abi.base import read_base
    from builder.abi.library import base_file, text
    from builder.engines.direct import base as bases
    from builder.engines.direct import baselock
    from builder.engines.direct.store import default_store
    from builder.shell import SYSTEM

    store = default_store()
    for name, also in ((base.id, ()), (f"{base.id}+ffmpeg", base.ffmpeg_packages)):
        if also and not baselock.file(project.bases, base, also).is_file():
            say(f"base {name}: it has no lock, so nothing is recorded")
            continue
        with store.in_use():
            layer = bases.provide(project.bases, base, also, store.root, SYSTEM, say)
            with bases.reading(layer) as stream:
                facts = read_base(name, base.image, stream)
        write(project.facts / base_file(name), text(facts))
        say(f"base {name}: {len(facts.binaries)} libraries read")


def prove(project: Project, row: Row, host: Host | None = None) -> Verdict:
    """Facts ─▶ verdict: hold the lock against the loader's rules, without network, wheels or engine."""
    from builder.verdict import refusal
    from builder.verdict.prove import prove as prove_row

    if refusal.is_known(row):
        return refusal.predicted(row)
    locked = record.read(project.image(row.id) / record.FILE)
    return prove_row(row, locked, project_library(project), host)


def signatures(project: Project) -> dict[str, frozenset[str]]:
    """By good row, the kinds of failure that it is proven to give; rows without facts are left out."""
    return {verdict.row: verdict.signatures for _, verdict in _proven(project)}


def require_verdict(row: Row, verdict: Verdict, *, briefly: bool = False) -> None:
    """See that a good row holds, and that a known-bad one is predicted to fail as it says.

    Args:
        row: The row.
        verdict: The verdict on it.
        briefly: Tell of a good row only how many findings there are: they were shown already.

    Raises:
        CheckFailedError: It is not so.
    """
    from builder.verdict.expect import brief, faults

    found = faults(row, verdict)
    if found and briefly and row.status == "good":
        found = (brief(verdict),)
    if found:
        raise CheckFailedError(*found)


def require_budget(project: Project, row: Row) -> None:
    """Lock ─▶ budget: see that a pull of the recorded image is within it.

    Raises:
        CheckFailedError: It is more than 2 % over.
    """
    from builder.report import budgets

    found = tuple(budgets.pull_faults(row, record.read(project.image(row.id) / record.FILE)))
    if found:
        raise CheckFailedError(*found)


def project_library(project: Project) -> Library:
    """The facts that are recorded: those of locked wheels, then those of the survey."""
    from builder.abi.library import Library

    return Library(folders=(project.facts, project.survey / "facts"))


def survey_files(project: Project, base_name: str, python: str | None) -> SurveyFiles:
    """Every CTranslate2 with every torch: the survey of a base and a Python."""
    from builder.survey.files import SurveyFiles

    chosen = base(project, base_name)
    return SurveyFiles(
        project=project, base=chosen, python=python or chosen.python, library=project_library(project)
    )


def plan(project: Project, row: Row) -> Plan:
    """Lock ─▶ plan: the layers of the row's image, before anything is built."""
    return plan_image(row, record.read(project.image(row.id) / record.FILE))


def intended(project: Project, row: Row) -> Plan:
    """Lock ─▶ plan for a dry run.

    Raises:
        CheckFailedError: The lock is not the row's present one, so that a build would make another first.
    """
    check_lock(project, row)
    return plan(project, row)


def render(project: Project, row: Row) -> tuple[str, ...]:
    """Plan ─▶ files: write the row's build context; returns the names of what changed."""
    return _write_all(project.image(row.id), _rendered(project, row))


def check_render(project: Project, row: Row) -> None:
    """Plan ─▶ files, without writing.

    Raises:
        CheckFailedError: A file differs from what `cuvee render` writes.
    """
    names = _differing(project, row, _rendered(project, row))
    _refuse(project, row, names, "it is not what `cuvee render` writes", "render")


def render_shared(project: Project) -> tuple[str, ...]:
    """Rows and evidence ─▶ the files that belong to no single row; returns the names of what changed."""
    return tuple(path.name for path, text in _shared(project).items() if write(path, text))


def check_shared(project: Project) -> None:
    """The same without writing.

    Raises:
        CheckFailedError: The JSON Schema or the README's tables are not what `cuvee render` writes.
    """
    faults = [
        Fault(
            place=path.name,
            cause="it is not what `cuvee render` writes",
            fix="Run `cuvee render` and commit it",
        )
        for path, text in _shared(project).items()
        if differing(path.parent, {path.name: text})
    ]
    if faults:
        raise CheckFailedError(*faults)


def build(project: Project, row: Row, engine: DockerEngine, say: Say, *, verbose: bool = False) -> Image:
    """Files ─▶ image; `verbose` says all that BuildKit does."""
    from builder.engines import base, buildkit

    intended = plan(project, row)
    labels = dict(intended.labels)
    present = engine.image_id(intended.tag)
    if not present or engine.image(intended.tag).labels.get("cuvee.lock") != labels["cuvee.lock"]:
        room = buildkit.room_needed(intended, engine) / 1e9
        say(f"{row.id}: needs up to {room:.0f} GB of the engine's disk")
        buildkit.require_room(intended, engine)
    on = base.provide(row.base, engine, say, locks=project.bases)
    say(f"{row.id}: building on {on.origin}")
    built = buildkit.build(intended, project.image(row.id), on, engine, say, verbose=verbose)
    _name_too(row, engine, say)
    return built


def direct(project: Project, say: Say) -> DirectRows:
    """The rows of a project as the direct engine takes them."""
    from builder.engines.direct.rows import DirectRows
    from builder.engines.direct.store import default_store
    from builder.shell import SYSTEM

    return DirectRows(
        project=project,
        rows=rows(project, ()),
        library=project_library(project),
        store=default_store(),
        shell=SYSTEM,
        say=say,
    )


def direct_engine(project: Project, say: Say) -> DirectEngine:
    """The engine that needs none: images of the project's rows, unpacked when they are tested or run."""
    from builder.engines.direct.engine import DirectEngine

    found = direct(project, say)
    return DirectEngine(
        find=lambda tag: found.known(rows(project, [tag.partition(":")[2]])[0]),
        store=found.store,
        tools=project.engine.home,
        shell=found.shell,
        say=say,
    )


def assemble(
    project: Project,
    row: Row,
    say: Say,
    *,
    output: Path | None = None,
    compression: Compression = "passthrough",
) -> OciImage:
    """Plan ─▶ image, without an engine: held against the lock's record of it, which is written if new.

    Args:
        project: Where the row's lock is.
        row: The row.
        say: Told what takes long.
        output: An OCI image layout to put it into.
        compression: How the layers are compressed there.
    """
    from builder.engines.direct import layout
    from builder.engines.direct.compression import compressed

    found = direct(project, say)
    with found.built(row) as built:
        image = compressed(built, compression, found.store)
        if compression == "zstd":
            found.record_zstd(row, image)
        if output:
            count, size = layout.write(image, output)
            say(f"{output}: {count} blobs written, {size / 1e6:.0f} MB")
    return image


def load(project: Project, row: Row, engine: DockerEngine, say: Say) -> Loaded:
    """Image ─▶ engine: send it the layers that it lacks."""
    from builder.engines.direct.compression import compressed
    from builder.engines.direct.load import load as load_into

    found = direct(project, say)
    with found.known(row) as image:
        loaded = load_into(image, engine, say, plain=lambda part: compressed(part, "none", found.store))
    _name_too(row, engine, say)
    return loaded


def _name_too(row: Row, engine: DockerEngine, say: Say) -> None:
    """Let an engine's image of a row answer to the row's other names as well."""
    for alias in row.aliases:
        engine.name_too(image_tag(row.id), image_tag(alias))
        say(f"{row.id}: it is {image_tag(alias)} too")
    if row.aliases:
        engine.remove_replaced_images()  # one that had only such a name left


def push(  # noqa: PLR0913 - what, where to, and how
    project: Project,
    row: Row,
    reference: str,
    say: Say,
    *,
    compression: Compression = "passthrough",
    mount_from: Sequence[str] = (),
) -> Pushed:
    """Image ─▶ registry: send it the layers that it lacks; of the others not even the wheels are needed."""
    from builder.engines.direct.compression import compressed
    from builder.publish.push import push as push_to
    from builder.publish.reference import Reference

    target = Reference.parse(reference)
    found = direct(project, say)
    with found.known(row) as known:
        image = compressed(known, compression, found.store)
        return push_to(image, target, say=say, mount_from=mount_from, memory=found.store.state)


def push_layers(project: Project, row: Row, reference: str, digests: Sequence[str], say: Say) -> Sent:
    """Layers ─▶ registry: send some of an image's, which other images have too; no image is published."""
    from builder.publish.layers import push_layers as send
    from builder.publish.reference import Reference

    target = Reference.parse(reference)
    with direct(project, say).known(row) as image:
        return send(image, target, digests, say=say)


def repro(project: Project, row: Row, say: Say, *, anew: bool) -> str:
    """Plan ─▶ image, twice from scratch: see that both are one, and the recorded one; returns its digest.

    Raises:
        CheckFailedError: They differ; the first file that does is named.
    """
    from builder.engines.direct.repro import reproduce

    return reproduce(direct(project, say), row, anew=anew).manifest


def diff(project: Project, one: str, other: str, say: Say) -> Difference:
    """Two images ─▶ what a pull of the other costs who has the one."""
    from builder.engines.direct.difference import difference
    from builder.report.images import described

    return difference(described(project, one, say), described(project, other, say))


def check_image(project: Project, row: Row, say: Say) -> None:
    """See that the lock's record of the row's image, if there is one, is of its present recipe.

    Raises:
        CheckFailedError: It is of another one.
    """
    direct(project, say).check(row)


def base_names(project: Project) -> tuple[str, ...]:
    """The bases of the matrix."""
    return tuple(one.id for one in matrix.load(project.matrix).bases)


def provide_base(project: Project, base: Base, also: Sequence[str], say: Say) -> str:
    """Base ─▶ its layer, which its lock names: from the store, or made; returns the layer's digest."""
    from builder.engines.direct import base as bases
    from builder.engines.direct.store import default_store
    from builder.shell import SYSTEM

    store = default_store()
    with store.in_use():
        return bases.provide(project.bases, base, also, store.root, SYSTEM, say).lock.digest


def fetch_base(project: Project, base: Base, also: Sequence[str], reference: str, say: Say) -> str:
    """Registry ─▶ base: take its layer, by the locked digest, from any repository with an image on it."""
    from builder.engines.direct import base as bases
    from builder.engines.direct import baselock
    from builder.engines.direct.store import default_store
    from builder.publish.pull import fetch_blob
    from builder.publish.reference import Reference

    locked, store = baselock.read(project.bases, base, also), default_store()
    with store.in_use():
        say(f"base {locked.id}: taking it from {reference}")
        fetch_blob(Reference.parse(reference), locked.digest, locked.size, bases.blob_path(store, locked))
    return locked.digest


def update_base(project: Project, base: Base, also: Sequence[str], say: Say) -> str:
    """Base ─▶ its lock: make it of what Debian has today; returns its layer's digest."""
    from builder.engines.direct import base as bases
    from builder.engines.direct.store import default_store
    from builder.shell import SYSTEM

    store = default_store()
    with store.in_use():
        return bases.update(project.bases, base, also, store.root, SYSTEM, say).lock.digest


def test(project: Project, row: Row, engine: Engine, say: Say, *, gpus: bool) -> Evidence:
    """Image ─▶ evidence: run the row's checks and write down what they found."""
    from builder.engines.direct.store import default_store
    from builder.verdict import refusal as refusals
    from builder.verify.suite import of_refusal, prove

    if refusals.is_known(row):
        found = of_refusal(row, refusal)
        write(project.evidence(row.id), found.text())
        return found
    locked = record.read(project.image(row.id) / record.FILE)
    with default_store().in_use():  # the checks are a process of their own, and need what is unpacked
        found = prove(project, row, locked, engine, say, gpus=gpus)
    write(project.evidence(row.id, gpu=bool(found.gpu)), found.text())
    return found


def test_root(project: Project, row: Row, root: Path, say: Say, *, gpus: bool) -> Evidence:
    """Unpacked root file system ─▶ evidence: as `test`, of an image that somebody else unpacked.

    Raises:
        BadInputError: It is none of this row.
        CheckFailedError: It is of another lock.
    """
    from builder.engines.installed import unpacked_root
    from builder.verify.suite import prove

    locked = record.read(project.image(row.id) / record.FILE)
    with unpacked_root(root, plan_image(row, locked), project.engine.home) as engine:
        found = prove(project, row, locked, engine, say, gpus=gpus, where="root")
    return _kept(project, found, say)


def test_environment(project: Project, row: Row, python: Path, say: Say, *, gpus: bool) -> Evidence:
    """Installed environment ─▶ evidence: the checks that do not ask for an image.

    Raises:
        BadInputError: The interpreter is of no environment that can be the row's.
        CheckFailedError: What is installed is not the row's lock.
    """
    from builder.engines.installed import installed_environment
    from builder.verify.suite import prove

    locked = record.read(project.image(row.id) / record.FILE)
    engine = installed_environment(python, plan_image(row, locked))
    found = prove(project, row, locked, engine, say, gpus=gpus, where="environment")
    return _kept(project, found, say)


def _kept(project: Project, found: Evidence, say: Say) -> Evidence:
    """Write evidence, unless an image has shown as much of the same lock."""
    from builder.verify import evidence

    file = project.evidence(found.row, gpu=bool(found.gpu))
    if evidence.outdone(found, evidence.read(file)):
        say(f"{file.name} stays as it is: it tells of an image, which shows more")
    else:
        write(file, found.text())
    return found


def pieces(project: Project, row: Row, folder: Path, size: int, say: Say) -> tuple[Piece, ...]:
    """Lock ─▶ pieces: the row's wheels for a machine that only small files reach.

    Args:
        project: Where the row's lock is.
        row: The row.
        folder: Where the pieces go.
        size: The bytes of a piece at most.
        say: Told what is fetched.
    """
    from functools import partial

    from builder.engines.direct.store import default_store
    from builder.plan import HOME
    from builder.wheels import pieces as cutting
    from builder.wheels.index import extra_index

    locked = record.read(project.image(row.id) / record.FILE)
    planned = plan_image(row, locked)
    libraries = {one.name: [path.relative_to(HOME) for path in one.libraries] for one in planned.environments}
    extra = partial(extra_index, row.index, row.place("index")) if row.index else None
    store = default_store()
    with store.in_use():
        return cutting.write_pieces(
            locked,
            libraries,
            store.wheels,
            folder,
            size,
            samples=cutting.sample_files(),
            speech=cutting.sample_speech(),
            fetch=cutting.fetching(store.wheels, say, extra),
        )


def _shared(project: Project) -> dict[Path, str]:
    """The README's tables; in the project that the tool itself is, also what it carries for others."""
    from builder.report import shared

    proven = list(_proven(project))
    own = shared.carried(proven, PACKAGE) if PACKAGE.parent == project.root.resolve() else {}
    return {**shared.readme_page(project, [verdict for _, verdict in proven]), **own}


def _proven(project: Project) -> Iterator[tuple[Row, Verdict]]:
    """The good rows whose facts are recorded, with their verdicts."""
    for row in rows(project, ()):
        if row.status != "known-bad":
            with suppress(BadInputError):
                yield row, prove(project, row)


def _present_lock(project: Project, row: Row) -> Lock | None:
    path = project.image(row.id) / record.FILE
    if not path.is_file():
        return None
    try:
        return record.read(path)
    except BadInputError:
        return None  # a broken lock is replaced


def _write_all(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Write a row's files, and delete those that were generated for what it no longer has."""
    for stale in _stale(folder, texts):
        (folder / stale).unlink()
    return tuple(name for name, text in texts.items() if write(folder / name, text))


def _stale(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Requirements of other layers; files of the launcher, where the launcher is among what is written."""
    known = [path.name for path in folder.glob("requirements*.txt")]
    if any(name.startswith("launcher/") for name in texts):
        known += [f"launcher/{path.name}" for path in (folder / "launcher").glob("*.*")]
    return tuple(sorted(name for name in known if name not in texts))


def _rendered(project: Project, row: Row) -> dict[str, str]:
    from builder.render.dockerfile import dockerfile
    from builder.render.requirements import requirements

    locked = record.read(project.image(row.id) / record.FILE)
    drawn = plan_image(row, locked)
    return {**requirements(locked, drawn), **dockerfile(drawn)}


def _lock_files(row: Row, locked: Lock) -> dict[str, str]:
    from builder.render.requirements import requirements

    return {record.FILE: locked.text(), **requirements(locked, plan_image(row, locked))}


def _differing(project: Project, row: Row, texts: dict[str, str]) -> tuple[str, ...]:
    folder = project.image(row.id)
    return (*differing(folder, texts), *_stale(folder, texts))


def _refuse(project: Project, row: Row, names: Sequence[str], cause: str, command: str) -> None:
    folder = project.image(row.id).relative_to(project.root)
    faults = [
        Fault(
            place=f"{folder}/{name}", cause=cause, fix=f"Run `cuvee {command} {row.id}` and commit the result"
        )
        for name in names
    ]
    if faults:
        raise CheckFailedError(*faults)
