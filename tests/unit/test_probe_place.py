from __future__ import annotations

from pathlib import Path

import pytest

from builder.probe import place as places
from builder.probe.place import Place

SHIM = (Path(__file__).parents[1] / "elf" / "libcudnn-463fd6d5.so.8.9.7").read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    files = ("site/torch/lib/libtorch.so", "site/torch/fake.py", "overlay/libcudnn.so.8", "bin/tool")
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SHIM)
    return Place(tmp_path, (tmp_path / "site",), (tmp_path / "overlay",))


def names(place: Place) -> list[str]:
    return [path.name for path in places.elf_files(place)]


def test_elf_files_of_packages_and_overlays_are_found_by_their_content(place: Place) -> None:
    assert names(place) == ["libcudnn.so.8", "libtorch.so"]


def test_programs_count_in_a_virtual_environment_only(place: Place) -> None:
    (place.prefix / "pyvenv.cfg").touch()
    assert "tool" in names(place)


def test_a_single_file_can_be_added(place: Place, tmp_path: Path) -> None:
    copied = tmp_path / "copied.so"
    copied.write_bytes(SHIM)
    assert "copied.so" in names(place._replace(also=(copied,)))


def test_a_file_named_twice_is_checked_once(place: Place, tmp_path: Path) -> None:
    assert names(place._replace(also=(tmp_path / "overlay",))) == names(place)


def test_rules_see_paths_relative_to_the_packages(place: Place, tmp_path: Path) -> None:
    assert place.relative(tmp_path / "site" / "torch" / "lib" / "x.so") == "torch/lib/x.so"
    assert place.relative(tmp_path / "elsewhere.so") == str(tmp_path / "elsewhere.so")


def test_the_probe_looks_at_the_environment_of_its_own_python() -> None:
    here = places.here(hide_cache=True)
    assert here.hide_cache
    assert any(path.name == "site-packages" for path in here.packages)
