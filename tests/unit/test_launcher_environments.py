"""Which environments there are, and the path of libraries that each begins with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from builder.launcher.environments import Environment, doing, installed, load, named, read, variables_for
from builder.launcher.faults import BadInputError, LauncherError

WRITTEN = {
    "format": 1,
    "row": "isolated",
    "environments": [
        {"name": "asr", "python": "/a/python", "libraries": ["/a/lib"], "does": ["transcribe"]},
        {"name": "diarize", "python": "/d/python", "libraries": [], "does": ["speakers"]},
    ],
}


def test_an_image_says_what_its_environments_do(tmp_path: Path) -> None:
    file = tmp_path / "environments.json"
    file.write_text(json.dumps(WRITTEN), encoding="utf-8")
    known = load({"CUVEE_ENVIRONMENTS": str(file)})
    assert doing("transcribe", known) == Environment("asr", "/a/python", ("/a/lib",), ("transcribe",))
    assert doing("speakers", known) == named("diarize", known)


def test_elsewhere_there_is_this_python_with_its_path_as_it_is() -> None:
    [one] = load({})
    assert (one.name, one.python, one.libraries) == ("main", sys.executable, None)


def test_what_a_python_does_is_what_it_would_find() -> None:
    assert installed(lambda name: name == "faster_whisper" or None) == ("transcribe",)
    assert installed(lambda _: True) == ("transcribe", "speakers")


def test_a_package_whose_parent_is_missing_is_missing() -> None:
    def find(name: str) -> object:
        raise ModuleNotFoundError(name)

    assert installed(find) == ()


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": 2}', '{"format": 1}', '{"format": 1, "environments": [1]}']
)
def test_a_file_that_cannot_be_understood_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "environments.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LauncherError, match=r"environments\.json.*unset CUVEE_ENVIRONMENTS"):
        load({"CUVEE_ENVIRONMENTS": str(file)})


def test_a_name_that_no_environment_has_lists_those_there_are() -> None:
    with pytest.raises(BadInputError, match="asr, diarize"):
        named("main", read(WRITTEN))


def test_main_is_the_only_one_whatever_it_is_called() -> None:
    assert named("main", (Environment("asr", "p", (), ()),)).name == "asr"


# The library path


def test_a_sides_own_libraries_go_first_and_the_drivers_stay(tmp_path: Path) -> None:
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "libcuda.so.1").touch()
    (driver / "libcudnn.so.9").touch()
    found = variables_for(("/own",), {"LD_LIBRARY_PATH": str(driver)}, {})
    assert found["LD_LIBRARY_PATH"] == f"/own:{driver}"


@pytest.mark.parametrize("file", ["libcudnn_ops.so.9.1.0", "libcublas.so.12", "libcudart.so.12"])
def test_another_cuda_is_kept_from_a_side(tmp_path: Path, file: str) -> None:
    (tmp_path / file).touch()
    assert variables_for(("/own",), {"LD_LIBRARY_PATH": str(tmp_path)}, {})["LD_LIBRARY_PATH"] == "/own"
    assert "LD_LIBRARY_PATH" not in variables_for((), {"LD_LIBRARY_PATH": str(tmp_path)}, {})


def test_what_has_nothing_to_do_with_cuda_stays(tmp_path: Path) -> None:
    (tmp_path / "libavcodec.so.61").touch()
    assert (
        variables_for(("/own",), {"LD_LIBRARY_PATH": str(tmp_path)}, {})["LD_LIBRARY_PATH"]
        == f"/own:{tmp_path}"
    )


def test_the_current_directory_is_no_place_for_libraries() -> None:
    assert variables_for(("/own",), {"LD_LIBRARY_PATH": ":/else:"}, {})["LD_LIBRARY_PATH"] == "/own:/else"


def test_a_path_that_is_the_users_own_business_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "libcudnn.so.9").touch()
    assert variables_for(None, {"LD_LIBRARY_PATH": str(tmp_path)}, {})["LD_LIBRARY_PATH"] == str(tmp_path)


def test_further_variables_are_laid_over_ours() -> None:
    assert variables_for(None, {"A": "1", "B": "1"}, {"B": "2"}) == {"A": "1", "B": "2"}
