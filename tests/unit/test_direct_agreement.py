from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.engines.direct.agreement import recorded_image, require_same
from builder.engines.direct.assemble import Assembly
from builder.engines.direct.base import LAYOUT
from builder.errors import CheckFailedError, Fault
from builder.lock.image import ImageRecord
from tests.directworld import BasePrograms, World, world

PLACE = "images/vat/lock.json"
SITE = "/opt/cuvee/main/lib/python3.11/site-packages"
WHEELS = {
    "vat": {
        "vat/__init__.py": b"x = 1\n",
        "vat-1.0.data/scripts/run": b"#!python\nprint(1)\n",
        "vat-1.0.dist-info/entry_points.txt": b"[console_scripts]\nvat = vat:main\n",
    },
    "wine": {"wine/a.py": b"y = 2\n", "wine/b.py": b"z = 3\n"},
}
OTHER = "sha256:" + "5" * 64


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = world(tmp_path / "project", WHEELS)
    monkeypatch.setenv(LAYOUT, str(found.layout))
    return found


def edited(of: ImageRecord, number: int, **changes: Any) -> ImageRecord:
    layers = list(of.layers)
    layers[number] = replace(layers[number], **changes)
    return replace(of, layers=tuple(layers))


def fault(assembly: Assembly, recorded: ImageRecord, made: ImageRecord) -> Fault:
    with pytest.raises(CheckFailedError) as caught:
        require_same(PLACE, assembly, recorded, made)
    [found] = caught.value.faults
    return found


def test_the_same_image_agrees(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        image, made = assembly.assemble()
        require_same(PLACE, assembly, made, made)
        assert recorded_image(PLACE, assembly, made).digest == image.digest == made.manifest


def test_every_file_that_is_made_here_can_be_named(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, made = assembly.assemble()
        for number, layer in enumerate(made.layers):
            assert len(layer.trace) == 2 * len(assembly.made_files(number)), layer.title


def wrong(trace: str, at: int) -> str:
    """A trace that tells of another file at a place."""
    return f"{trace[: 2 * at]}{'AA' if trace[2 * at : 2 * at + 2] != 'AA' else 'BB'}{trace[2 * at + 2 :]}"


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_the_first_file_that_differs_is_named_whichever_it_is(layer: int, small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, made = assembly.assemble()
        for at, path in enumerate(assembly.made_files(layer)):
            trace = wrong(made.layers[layer].trace, at)
            recorded = edited(made, layer, digest=OTHER, trace=trace)
            told = fault(assembly, recorded, made)
            assert told.place == f"{PLACE} image.layers[{layer}] ({made.layers[layer].title})"
            assert told.cause == (
                f"the record says {OTHER}, and this build gave {made.layers[layer].digest}; "
                f"the first differing file is /{path}"
            )
            assert "cuvee repro" in told.fix


def test_the_files_that_are_made_here_are_programs_records_and_bytecode(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        assembly.assemble()
        assert [f"/{path}" for path in assembly.made_files(2)] == [
            "/opt/cuvee/main/bin/run",
            "/opt/cuvee/main/bin/vat",
            f"{SITE}/vat-1.0.dist-info/INSTALLER",
            f"{SITE}/vat-1.0.dist-info/RECORD",
            f"{SITE}/vat/__pycache__/__init__.cpython-311.pyc",
            f"{SITE}/wine-1.0.dist-info/INSTALLER",
            f"{SITE}/wine-1.0.dist-info/RECORD",
            f"{SITE}/wine/__pycache__/a.cpython-311.pyc",
            f"{SITE}/wine/__pycache__/b.cpython-311.pyc",
        ]
        assert assembly.made_files(0) == []


def test_a_file_that_this_build_lacks_is_told_so(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, made = assembly.assemble()
        recorded = edited(made, 2, digest=OTHER, trace=f"{made.layers[2].trace}AA")
        assert fault(assembly, recorded, made).cause.endswith("is the last one, which this build lacks")


def test_the_first_layer_that_differs_is_told_and_no_other(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, made = assembly.assemble()
        recorded = edited(made, 3, digest=OTHER)
        recorded = edited(recorded, 1, digest=OTHER)
        assert fault(assembly, recorded, made).place == f"{PLACE} image.layers[1] (environment)"


def test_a_base_that_differs_has_no_file_to_name_here(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, made = assembly.assemble()
        recorded = edited(made, 0, digest=OTHER)
        assert "no file that is made here differs" in fault(assembly, recorded, made).cause


def test_another_compiler_on_another_machine_is_found_by_its_first_file(small: World, tmp_path: Path) -> None:
    with small.rows.built(small.row):
        pass
    there = small.elsewhere(tmp_path / "there", BasePrograms(compiler="otherwise"))
    with (
        pytest.raises(CheckFailedError, match=r"vat/__pycache__/__init__\.cpython-311\.pyc"),
        there.rows.built(there.row),
    ):
        pass


def test_another_manifest_of_the_same_layers_is_an_edited_record(small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, made = assembly.assemble()
        told = fault(assembly, replace(made, manifest=OTHER), made)
        assert told.place == f"{PLACE} image.manifest"
        assert told.cause == f"the record says {OTHER}, and its own layers make {made.manifest}"
        assert "delete `image` from the lock" in told.fix


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_record_with_fewer_layers_is_an_edited_record(count: int, small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, made = assembly.assemble()
        fewer = replace(made, layers=made.layers[:count])
        told = fault(assembly, fewer, made)
        assert (told.place, told.cause) == (
            f"{PLACE} image.layers",
            f"the record has {count} layers, and this build gave 5",
        )
        with pytest.raises(CheckFailedError, match=f"the record has {count} layers, and the row has 5"):
            recorded_image(PLACE, assembly, fewer)


@pytest.mark.parametrize(
    "change", [{"size": 7}, {"title": "x"}, {"digest": OTHER}, {"diff_id": OTHER}, {"packages": ("a 1",)}]
)
def test_a_record_in_which_a_layer_is_edited_makes_no_image(change: dict[str, Any], small: World) -> None:
    with small.rows.assembly(small.row) as assembly:
        _, made = assembly.assemble()
        with pytest.raises(CheckFailedError, match="its own layers make sha256:"):
            recorded_image(PLACE, assembly, edited(made, 2, **change))
