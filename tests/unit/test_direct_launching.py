"""The layers of an image that are its environments and its launcher."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from builder.engines.direct.assemble import Assembly
from builder.engines.direct.base import LAYOUT
from builder.plan import PlannedEnvironment
from builder.render.launcher import ImageFile, image_files
from tests.directworld import World, world

CACHED = "opt/cuvee/lib/cuvee/__pycache__/transcribe.cpython-311.pyc"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = world(tmp_path / "project", {"vat": {"vat/__init__.py": b"x = 1\n"}})
    monkeypatch.setenv(LAYOUT, str(found.layout))
    return found


def layer(assembly: Assembly, title: str) -> dict[str, tuple[int, bytes]]:
    """The files of a layer: mode and content by path."""
    image, _ = assembly.assemble()
    [found] = [one for one in image.layers if one.title == title]
    with tarfile.open(fileobj=io.BytesIO(b"".join(found.tar()))) as tar:
        return {
            member.name: (member.mode, file.read() if (file := tar.extractfile(member)) else b"")
            for member in tar
            if member.isfile()
        }


def test_the_last_layer_is_the_launcher_with_its_bytecode(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, made = assembly.assemble()
        files = layer(assembly, "launcher")
        wanted = image_files(assembly.order.plan)
    assert made.layers[-1].title == "launcher"
    own = {str(one.path)[1:]: (one.mode, one.text.encode()) for one in wanted}
    assert own.items() <= files.items()
    compiled = files.keys() - own.keys()
    assert len(compiled) == sum(one.path.suffix == ".py" for one in wanted)
    assert CACHED in compiled
    assert files[CACHED] == (0o644, b"bytecode of /opt/cuvee/lib/cuvee/transcribe.py")


def test_another_launcher_is_another_recipe_and_changes_no_other_layer(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, before = assembly.assemble()
        more = ImageFile(path=PurePosixPath("/opt/cuvee/lib/cuvee/more.py"), text="x = 1\n")
        order = replace(assembly.order, launcher=(*assembly.order.launcher, more))
        _, after = Assembly(order, assembly.pantry).assemble()
    assert before.recipe != after.recipe
    assert before.layers[:-1] == after.layers[:-1]
    assert before.layers[-1].digest != after.layers[-1].digest


def test_a_launcher_whose_mode_changed_is_another_recipe(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        order = assembly.order
        first, *rest = order.launcher
        changed = replace(order, launcher=(replace(first, mode=0o700), *rest))
    assert changed.recipe != order.recipe


def test_every_environment_is_made_and_decides_the_recipe(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        plan = assembly.order.plan
        [main] = plan.environments
        other = PlannedEnvironment(
            name="other",
            prefix=PurePosixPath("/opt/cuvee/other"),
            site=PurePosixPath("/opt/cuvee/other/lib/python3.11/site-packages"),
            libraries=(),
            does=(),
        )
        two = replace(assembly.order, plan=replace(plan, environments=(main, other)))
        assert two.recipe != assembly.order.recipe
        small.shell.asked.clear()
        Assembly(two, assembly.pantry).assemble()
    assert small.shell.asked.count("environment") >= len(two.plan.environments)
