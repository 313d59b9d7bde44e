"""What the direct engine is held against: BuildKit, in an engine of its own with nothing in it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from builder.engines import base, buildkit
from builder.engines.docker import DockerEngine
from builder.errors import EngineOrNetworkError, Fault
from builder.lock.record import Package
from builder.plan import Plan
from builder.project import Project
from builder.report.bench import Amount
from tests.bench.common import quiet, require_room, say, settle
from tests.bench.servers import index, registry
from tests.bench.setting import Setting, provide, read_once, stored
from tests.engine.conftest import Daemon

ROOM = {"overlay2": buildkit.ROOM["overlay2"], "containerd": buildkit.ROOM["default"]}
"""Bytes of the engine's disk for each byte of wheels, by kind of image store."""

IN_REGISTRY = 1.2
"""Bytes of a registry's disk for each byte of wheels: BuildKit's layers are packed a little worse."""

_API_SECONDS = 600


def room(kind: str, plan: Plan) -> float:
    """The bytes of disk that BuildKit takes, its registry's included."""
    return plan.download * (ROOM[kind] + IN_REGISTRY)


@contextmanager
def engine(kind: str, programs: Project, scratch: Path) -> Iterator[DockerEngine]:
    """A dockerd with an image store of that kind, and no image; its data is deleted at the end.

    Args:
        kind: `overlay2` or `containerd`.
        programs: The project whose private engine has the programs.
        scratch: Where its data lie.

    Raises:
        EngineOrNetworkError: There is none, or it cannot be started here.
    """
    _require_able(programs)
    home = scratch / kind
    home.mkdir()
    (home / "data").mkdir()
    daemon = Daemon(home, kind)
    try:
        daemon.start().close()
        address = f"unix://{home / 'sock'}"
        client = docker.DockerClient(base_url=address, timeout=_API_SECONDS)
        yield DockerEngine(client, {**programs.engine.environment, "DOCKER_HOST": address}, "host")
        client.close()
    finally:
        daemon.end()
        shutil.rmtree(home, ignore_errors=True)


def build_and_push(setting: Setting, kind: str) -> Amount:
    """The seconds in which BuildKit makes a row's image, and the engine pushes it to a registry.

    The base is there, and an index on loopback has all wheels: nothing is downloaded.
    """
    plan = setting.plan
    require_room(setting.scratch, room(kind, plan), f"BuildKit with {plan.tag} on {kind}")
    files = [*setting.lock.packages(), *setting.lock.tools]
    provide(setting.project, setting.row, files)
    with (
        engine(kind, setting.project, setting.scratch) as one,
        index(files, stored(files[0]).parents[1]) as address,
        registry(setting.scratch / f"registry-{kind}") as target,
    ):
        on = base.provide(setting.row.base, one, quiet, locks=setting.project.bases)
        build = _build(setting, on.reference, one, address, files)
        push = _push(plan.tag, f"{target}/cuvee", setting.row.id, one)
    return Amount.whole(f"BuildKit, {kind}", build=build, push=push)


def _build(
    setting: Setting, base_name: str, engine: DockerEngine, address: str, files: list[Package]
) -> float:
    say(f"bench: docker buildx build, {engine.describe()['storage']}")
    plan, folder = setting.plan, setting.project.image(setting.row.id)
    with _pointed_to(address, plan), buildkit.secrets(plan) as lent:
        words = buildkit.arguments(plan, folder, base_name, engine, lent)
        read_once(map(stored, files))
        settle()
        began = time.monotonic()
        done = engine.buildx(words, quiet)
        seconds = time.monotonic() - began
    if not done.ok:
        raise EngineOrNetworkError(_failed("docker buildx build", done.out))
    return round(seconds, 2)


def _push(tag: str, repository: str, version: str, engine: DockerEngine) -> float:
    say("bench: docker push")
    engine.client.images.get(tag).tag(repository, version)
    settle()
    began = time.monotonic()
    done = engine.shell.run(
        ["docker", "push", "--quiet", f"{repository}:{version}"], env=engine.environment, on_line=quiet
    )
    if not done.ok:
        raise EngineOrNetworkError(_failed("docker push", done.out))
    return round(time.monotonic() - began, 2)


@contextmanager
def _pointed_to(address: str, plan: Plan) -> Iterator[None]:
    """Have this process's environment name an index: `buildkit.secrets` lends it to the build."""
    extra = f"CUVEE_INDEX_{plan.index.upper().replace('-', '_')}" if plan.index else None
    changed = {name: address for name in ("UV_DEFAULT_INDEX", extra) if name}
    direct = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    before = dict(os.environ)
    os.environ.update({**changed, **direct})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _require_able(programs: Project) -> None:
    if os.geteuid() == 0 and (programs.engine.root / "usr/sbin/dockerd").is_file():
        return
    raise EngineOrNetworkError(
        Fault(
            place="dockerd",
            cause="engines of the benchmark's own need root, and the private engine's programs",
            fix="Run `.venv/bin/cuvee engine start` once, as root, on Debian",
        )
    )


def _failed(place: str, said: str) -> Fault:
    last = "\n".join(said.splitlines()[-12:])
    return Fault(place=place, cause=f"it failed: {last}", fix="Make that work, and measure again")
