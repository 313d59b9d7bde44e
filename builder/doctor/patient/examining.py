"""The examination, part by part: each builds on those before it, and one that breaks leaves its default."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

from builder.doctor.patient import disk, driving, installed, placing, reading, searching, trying
from builder.doctor.patient.facts import Examination, Ffmpeg
from builder.doctor.patient.trying import AVUTIL

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.doctor.patient.running import Runner
    from builder.doctor.patient.sight import Sight

IMPORTED = (("torch", "torchvision", "torchaudio", "torchcodec"), ("ctranslate2",))
"""What is imported: torch, and each after it what was built against it; and CTranslate2."""

FOREIGN = ("windows", "macos", "other")
FFMPEG_TIMEOUT = 10.0


class Scene(NamedTuple):
    """What the parts look at and with.

    Attributes:
        sight: The file system and the variables.
        runner: Starts children with the variables that this process was started with.
    """

    sight: Sight
    runner: Runner


def examine(scene: Scene, tell: Callable[[str], None]) -> Examination:
    """Everything there is to see; `tell` hears what is being looked at, since it takes seconds."""
    started = time.monotonic()
    seen = _seen(Examination(), scene, "the place", _place)
    for what, look in () if seen.place.kind in FOREIGN else PARTS:
        tell(what)
        seen = _seen(seen, scene, what, look)
    return seen._replace(seconds=round(time.monotonic() - started, 1))


def _seen(
    seen: Examination, scene: Scene, what: str, look: Callable[[Examination, Scene], Examination]
) -> Examination:
    try:
        return look(seen, scene)
    except Exception as error:  # noqa: BLE001 - whatever is broken here, the other parts can still be seen
        trouble = f"{what} could not be looked at: {type(error).__name__}: {error}"
        return seen._replace(troubles=(*seen.troubles, trouble))


def _place(seen: Examination, scene: Scene) -> Examination:
    return seen._replace(place=placing.place(scene.sight))


def _driver(seen: Examination, scene: Scene) -> Examination:
    return seen._replace(driver=driving.driver(scene.sight, scene.runner))


def _packages(seen: Examination, _: Scene) -> Examination:
    python = installed.interpreter()
    return seen._replace(python=python, packages=installed.packages(python.folders))


def _texts(seen: Examination, _: Scene) -> Examination:
    folders = seen.python.folders
    return seen._replace(torch=reading.torch(folders), ctranslate2=reading.ctranslate2(folders))


def _copies(seen: Examination, scene: Scene) -> Examination:
    path = searching.search_path(scene.sight)
    files = disk.candidates(scene.sight, scene.runner, seen.python.folders, path)
    return seen._replace(path=path, copies=disk.copies(scene.runner, files, seen.packages))


def _loader(seen: Examination, scene: Scene) -> Examination:
    names = trying.names_to_open(seen.ctranslate2, [copy.name for copy in seen.copies])
    return seen._replace(loader=trying.loader_answers(scene.runner, names))


def _too_late(seen: Examination, scene: Scene) -> Examination:
    """What LD_LIBRARY_PATH would change, had it been set before this process started."""
    if seen.path.now == seen.path.started:
        return seen
    failed = [name for name, answer in seen.loader.items() if answer.error]
    again = trying.loader_answers(scene.runner.with_variables(LD_LIBRARY_PATH=seen.path.now), failed)
    helped = tuple(name for name, answer in again.items() if answer.path)
    return seen._replace(path=seen.path._replace(late=helped))


def _trials(seen: Examination, scene: Scene) -> Examination:
    return seen._replace(trials=trying.trials(scene.runner, seen.ctranslate2, seen.torch))


def _imports(seen: Examination, scene: Scene) -> Examination:
    there = [
        [name for name in group if installed.package_folder(seen.python.folders, name)] for group in IMPORTED
    ]
    groups = [group for group in there if group]
    names = [name for tried in (seen.ctranslate2.opens if seen.ctranslate2 else ()) for name in tried]
    imports, imported = trying.imports(scene.runner, seen.python, groups, names)
    return seen._replace(imports=imports, imported=imported)


def _ffmpeg(seen: Examination, scene: Scene) -> Examination:
    program = shutil.which("ffmpeg") or ""
    said = scene.runner.run([program, "-version"], FFMPEG_TIMEOUT).out if program else ""
    version = re.match(r"ffmpeg version (\S+)", said)
    found = [major for major, number in AVUTIL.items() if seen.found(f"libavutil.so.{number}")]
    builds = reading.codec_builds(seen.python.folders)
    return seen._replace(ffmpeg=Ffmpeg(program, version[1] if version else "", tuple(found), builds))


PARTS = (
    ("the driver and the GPUs", _driver),
    ("what is installed", _packages),
    ("what torch and CTranslate2 say of themselves", _texts),
    ("CUDA's libraries on disk", _copies),
    ("what the loader takes", _loader),
    ("LD_LIBRARY_PATH", _too_late),
    ("cuDNN in use", _trials),
    ("imports", _imports),
    ("FFmpeg", _ffmpeg),
)
"""In their order: each part builds on those before it."""
