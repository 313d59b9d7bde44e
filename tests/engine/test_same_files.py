"""Both engines make the same files of a row: what differs is listed in `differences.yaml`, with reasons.

CUVEE_ROWS names other rows than the small one, such as `cu121`, whose images take some tens of gigabytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder import direct, pipeline
from builder.engines import buildkit
from builder.engines.base import BaseImage
from builder.engines.direct import base as bases
from builder.engines.direct import baselock
from builder.engines.direct.store import default_store
from builder.engines.docker import DockerEngine, connect, reachable
from builder.matrix import Row
from builder.project import Project, find
from tests.engine import same
from tests.engine.same import Argument, Root

ROWS = os.environ.get("CUVEE_ROWS", "asr-cu12").split(",")
MANY = 1000  # files


@pytest.fixture(scope="module")
def project() -> Project:
    return find(Path.cwd())


@pytest.fixture(scope="module", params=ROWS)
def row(project: Project, request: pytest.FixtureRequest) -> Row:
    return pipeline.rows(project, [request.param])[0]


@pytest.fixture(scope="module")
def argued(row: Row) -> tuple[Argument, ...]:
    return same.arguments(row.id)


@pytest.fixture(scope="module")
def here(project: Project, row: Row, argued: tuple[Argument, ...]) -> Root:
    """The direct engine's, layer over layer."""
    root: Root = {}
    with direct.rows(project, print).known(row) as image:
        for layer in image.layers:
            same.lay(layer.tar(), root, same.keeps(argued))
    return root


@pytest.fixture(scope="module")
def engine(project: Project) -> Iterator[DockerEngine]:
    if reachable(project.engine) is None:
        pytest.skip("no Docker engine answers: run `make engine`")
    connected = connect(project.engine)
    yield connected
    connected.close()


def same_base(project: Project, row: Row, engine: DockerEngine) -> BaseImage:
    """The base that the direct image lies on, whatever else the engine calls by its name."""
    lock = baselock.read(project.bases, row.base, ())
    name = f"cuvee-base:{row.base.id}-{lock.hex[:12]}"
    if engine.image_id(name) is None:
        search = engine.environment.get("PATH")
        layer = bases.provide(
            project.bases, row.base, (), default_store().root, engine.shell, print, search=search
        )
        engine.import_archive(layer.path, name)
    return BaseImage(reference=name, id=engine.image_id(name) or "", origin="the locked base")


@pytest.fixture(scope="module")
def there(project: Project, row: Row, argued: tuple[Argument, ...], engine: DockerEngine) -> Root:
    """Docker's, made by the row's Dockerfile, which takes a second where nothing has changed."""
    plan = pipeline.plan(project, row)
    base = same_base(project, row, engine)
    built = buildkit.build(plan, project.image(row.id), base, engine, print)
    assert built.labels["cuvee.lock"] == dict(plan.labels)["cuvee.lock"]
    root: Root = {}
    container: Any = engine.client.containers.create(plan.tag, ["true"], network_mode="none")
    try:
        same.lay(container.export(chunk_size=1024 * 1024), root, same.keeps(argued))
    finally:
        container.remove()
    return root


def test_the_base_is_the_same_layer(project: Project, row: Row, engine: DockerEngine, there: Root) -> None:
    assert there
    image = engine.client.images.get(pipeline.plan(project, row).tag)
    lock = baselock.read(project.bases, row.base, ())
    assert image.attrs["RootFS"]["Layers"][0] == lock.diff_id


def test_every_difference_is_argued(here: Root, there: Root, argued: tuple[Argument, ...]) -> None:
    assert len(here.keys() & there.keys()) > MANY
    assert [str(one) for one in same.unargued(argued, here, there)] == []


def test_every_argument_is_needed(here: Root, there: Root, argued: tuple[Argument, ...]) -> None:
    assert same.unneeded(argued, here, there) == []


def test_nearly_all_is_the_same_to_the_last_bit(here: Root, there: Root) -> None:
    """What is argued is little: nothing but installers' own notes, and folders."""
    differing = {one.path for one in same.differences(here, there) if one.what != "only there"}
    notes = (".dist-info/INSTALLER", ".dist-info/RECORD", ".pyc")
    assert {path for path in differing if not path.endswith(notes) and "/bin/" not in path} == set()
    code = {path for path in here if path.endswith(".pyc")}
    assert len(code & differing) <= 1
