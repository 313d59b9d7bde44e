"""The stages, in order: each takes what the one before it made, and nothing reaches back.

    matrix.yaml ─▶ Row ─▶ Lock ─▶ Facts ─▶ Verdict ─▶ Plan ─▶ files ─▶ Image ─▶ Evidence ─▶ registry
                rows    lock   facts    prove    plan   render   build    test            push
                                                              assemble   load

`rows`, `prove`, `plan` and `render` are pure but for reading and writing the project's files; `lock` and
`facts` ask the package index; `build` uses the Docker engine, and `assemble` makes the same image without
one, which `load` brings into an engine and `push` to a registry; `test` uses either. What only some of them
need is imported in them: `list` and `render` must not wait for an HTTP client and a Docker SDK.

What is no stage lies beside this: `rowfiles` has a row's files, `bases` what rows lie on, `direct` what else
can be asked of images made without an engine, and `elsewhere` rows where no image can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder import matrix, rowfiles
from builder.errors import BadInputError, CheckFailedError, Fault
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import Plan, image_tag
from builder.plan import plan as plan_image
from builder.project import Project, differing, write

if TYPE_CHECKING:
    from builder.engines.container import Engine, Image
    from builder.engines.direct.image import Compression, OciImage
    from builder.engines.direct.load import Loaded
    from builder.engines.docker import DockerEngine
    from builder.publish.layers import Sent
    from builder.publish.push import Pushed
    from builder.verdict.hosts import Host
    from builder.verdict.record import Verdict
    from builder.verify.evidence import Evidence

Say = Callable[[str], None]
PACKAGE = Path(__file__).resolve().parent


def rows(project: Project, ids: Sequence[str]) -> tuple[Row, ...]:
    """matrix.yaml ─▶ rows: those asked for, or all."""
    return matrix.load(project.matrix).select(ids)


def lock(project: Project, row: Row, say: Say, *, again: bool = False) -> Lock:
    """Row ─▶ lock: the present one if the row has not moved on, else a new one, written with its files."""
    present = rowfiles.present_lock(project, row)
    if present and not again and present.fingerprint == row.fingerprint():
        return present
    from builder.engines.direct.store import default_store
    from builder.lock.resolve import resolve

    say(f"{row.id}: resolving as of {row.as_of}")
    with default_store().in_use():  # sources are downloaded
        fresh = resolve(row, present)
    if present and present.digest == fresh.digest:
        fresh = replace(fresh, image=present.image)  # what it makes is the same too
    rowfiles.write_all(project, row, rowfiles.of_lock(row, fresh))
    return fresh


def check_lock(project: Project, row: Row) -> None:
    """Row ─▶ lock, without doing it: see that nothing would change.

    Raises:
        CheckFailedError: The matrix has moved on since the lock, or its files were edited.
    """
    present = rowfiles.valid_lock(project, row)
    rowfiles.require(project, row, rowfiles.of_lock(row, present), "lock")


def refusal(row: Row) -> str:
    """Row ─▶ the resolver's refusal, for a row that is known to be refused; returns its words.

    Raises:
        CheckFailedError: It resolves, or is refused in other words.
    """
    from builder.lock.resolve import resolve
    from builder.verdict.refusal import refused

    return refused(row, resolve)


def facts(project: Project, row: Row, say: Say) -> tuple[str, ...]:
    """Lock ─▶ facts: record what is not recorded yet of the row's wheels; returns their file names."""
    from builder.abi.library import complete
    from builder.verdict.setting import to_account

    locked = rowfiles.read_lock(project, row)
    library = project.library
    lacking = [one for one in to_account(locked) if not complete(library, one.file, one.sha256)]
    if lacking:
        from builder.engines.direct.store import default_store
        from builder.report.gathering import gather_all

        with default_store().in_use():
            gather_all(lacking, project.facts, say)
    return tuple(package.file for package in lacking)


def check_facts(project: Project) -> None:
    """Facts, without harvesting: those of all locked wheels and their bases are recorded, and no others.

    Raises:
        CheckFailedError: It is not so.
        BadInputError: A wheel's record cannot be read.
    """
    from builder.report import facts as kept

    kept.check(project, rows(project, ()), project.library)


def forget_facts(project: Project) -> tuple[str, ...]:
    """Delete the facts of wheels that no lock names any more; returns their files' names."""
    from builder.report import facts as kept

    return kept.forget(project, rows(project, ()))


def prove(project: Project, row: Row, host: Host | None = None) -> Verdict:
    """Facts ─▶ verdict: hold the lock against the loader's rules, without network, wheels or engine."""
    from builder.verdict import refusal
    from builder.verdict.prove import prove as prove_row

    if refusal.is_known(row):
        return refusal.predicted(row)
    locked = rowfiles.read_lock(project, row)
    return prove_row(row, locked, project.library, host)


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


def plan(project: Project, row: Row) -> Plan:
    """Lock ─▶ plan: the layers of the row's image, before anything is built."""
    return plan_image(row, rowfiles.read_lock(project, row))


def intended(project: Project, row: Row) -> Plan:
    """Lock ─▶ plan for a dry run.

    Raises:
        CheckFailedError: The lock is not the row's present one, so that a build would make another first.
    """
    check_lock(project, row)
    return plan(project, row)


def render(project: Project, row: Row) -> tuple[str, ...]:
    """Plan ─▶ files: write the row's build context; returns the names of what changed."""
    return rowfiles.write_all(project, row, rowfiles.rendered(project, row))


def check_render(project: Project, row: Row) -> None:
    """Plan ─▶ files, without writing.

    Raises:
        CheckFailedError: A file differs from what `cuvee render` writes.
    """
    rowfiles.require(project, row, rowfiles.rendered(project, row), "render")


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
    from builder import direct
    from builder.engines.direct import layout

    found = direct.rows(project, say)
    with found.built(row) as built:
        image = found.compressed(row, built, compression)
        if compression == "zstd":
            found.record_zstd(row, image)
        if output:
            count, size = layout.write(image, output)
            say(f"{output}: {count} blobs written, {size / 1e6:.0f} MB")
    return image


def require_budget(project: Project, row: Row) -> None:
    """Lock ─▶ budget: see that a pull of the recorded image is within it.

    Raises:
        CheckFailedError: It is more than 2 % over.
    """
    from builder.report import budgets

    found = tuple(budgets.pull_faults(row, rowfiles.read_lock(project, row)))
    if found:
        raise CheckFailedError(*found)


def load(project: Project, row: Row, engine: DockerEngine, say: Say) -> Loaded:
    """Image ─▶ engine: send it the layers that it lacks."""
    from builder import direct
    from builder.engines.direct.compression import compressed
    from builder.engines.direct.load import load as load_into

    rowfiles.valid_lock(project, row)
    found = direct.rows(project, say)
    with found.known(row) as image:
        loaded = load_into(image, engine, say, plain=lambda part: compressed(part, "none", found.store))
    _name_too(row, engine, say)
    return loaded


def test(project: Project, row: Row, engine: Engine, say: Say, *, gpus: bool) -> Evidence:
    """Image ─▶ evidence: run the row's checks and write down what they found."""
    from builder.engines.direct import unpacked
    from builder.engines.direct.store import default_store
    from builder.verdict import refusal as refusals
    from builder.verify.keeping import keep
    from builder.verify.suite import of_refusal, prove

    if refusals.is_known(row):
        found = of_refusal(row, refusal)
        write(project.evidence(row.id), found.text())
        return found
    locked = rowfiles.valid_lock(project, row)
    store = default_store()
    # The checks are a process of their own, and need what is unpacked.
    with store.in_use(), unpacked.used(store, image_tag(row.id)):
        found = prove(project, row, locked, engine, say, gpus=gpus)
    return keep(project, found, say, gpus=gpus)


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
    from builder import direct
    from builder.publish.push import push as push_to
    from builder.publish.reference import Reference

    target = Reference.parse(reference)
    rowfiles.valid_lock(project, row)
    found = direct.rows(project, say)
    with found.known(row) as known:
        image = found.compressed(row, known, compression, recorded=True)
        return push_to(image, target, say=say, mount_from=mount_from, memory=found.store.state)


def push_layers(  # noqa: PLR0913 - what, where to, and how
    project: Project,
    row: Row,
    reference: str,
    digests: Sequence[str],
    say: Say,
    *,
    compression: Compression = "passthrough",
) -> Sent:
    """Layers ─▶ registry: send some of an image's, which other images have too; no image is published."""
    from builder import direct
    from builder.publish.layers import push_layers as send
    from builder.publish.reference import Reference

    target = Reference.parse(reference)
    rowfiles.valid_lock(project, row)
    found = direct.rows(project, say)
    with found.known(row) as known:
        own = {layer.digest for layer in known.layers}
        how = "passthrough" if own.issuperset(digests) else compression  # the base is in both
        return send(found.compressed(row, known, how, recorded=True), target, digests, say=say)


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


def _name_too(row: Row, engine: DockerEngine, say: Say) -> None:
    """Let an engine's image of a row answer to the row's other names as well."""
    for alias in row.aliases:
        engine.name_too(image_tag(row.id), image_tag(alias))
        say(f"{row.id}: it is {image_tag(alias)} too")
    if row.aliases:
        engine.remove_replaced_images()  # one that had only such a name left
