"""Which Python environments there are, what each does, and where its own libraries lie."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .faults import Fault, LauncherError, bad_input

VARIABLE = "CUVEE_ENVIRONMENTS"
FILE = "environments.json"
FORMAT = 1
TASKS = {"transcribe": "faster_whisper", "speakers": "pyannote.audio"}
"""What an environment may do, and the module that does it."""

PATH = "LD_LIBRARY_PATH"
_DRIVER = ("libcuda.so.1", "libnvidia-ml.so.1")
_CUDA = ("libcudnn*.so*", "libcublas*.so*", "libcudart*.so*", "libnvrtc*.so*", "libcufft*.so*")


class Environment(NamedTuple):
    """One Python environment.

    Attributes:
        name: As scripts ask for it: `main`, or `asr` and `diarize`.
        python: Its interpreter.
        libraries: Folders that go first on its library path; None leaves the path as it is inherited.
        does: Of `TASKS`.
    """

    name: str
    python: str
    libraries: Optional[Tuple[str, ...]]
    does: Tuple[str, ...]


def load(variables: Mapping[str, str] = os.environ) -> Tuple[Environment, ...]:
    """The environments of this image, or this Python alone where nothing describes them.

    Raises:
        LauncherError: The file that describes them cannot be read.
    """
    named = variables.get(VARIABLE)
    path = Path(named) if named else Path(__file__).resolve().parents[2] / FILE
    if not named and not path.is_file():
        return (Environment("main", sys.executable, None, installed()),)
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = "the environments cannot be read from it ({!r})".format(error)
        fix = "Build the image again" + (", or unset {}".format(VARIABLE) if named else "")
        raise LauncherError(Fault(str(path), cause, fix)) from error


def read(written: Any) -> Tuple[Environment, ...]:
    """What the file says; ValueError, KeyError or TypeError where it is not as it should be."""
    if written["format"] != FORMAT:
        raise ValueError("format {!r}".format(written["format"]))
    return tuple(
        Environment(str(one["name"]), str(one["python"]), tuple(one["libraries"]), tuple(one["does"]))
        for one in written["environments"]
    )


def installed(find: Callable[[str], object] = importlib.util.find_spec) -> Tuple[str, ...]:
    """What this Python can do, by the modules that it would find; none is imported."""

    def there(module: str) -> bool:
        try:
            return find(module) is not None
        except ModuleNotFoundError:  # the package above it is missing
            return False

    return tuple(task for task, module in TASKS.items() if there(module))


def named(name: str, environments: Tuple[Environment, ...]) -> Environment:
    """The environment of a name; `main` stands for the only one.

    Raises:
        BadInputError: There is none.
    """
    for one in environments:
        if one.name == name or (len(environments) == 1 and name == "main"):
            return one
    names = ", ".join(one.name for one in environments)
    raise bad_input(name, "no environment has that name", "Take one of {}".format(names))


def doing(task: str, environments: Tuple[Environment, ...]) -> Optional[Environment]:
    """The first environment that can do a task."""
    return next((one for one in environments if task in one.does), None)


def variables_for(
    libraries: Optional[Tuple[str, ...]], inherited: Mapping[str, str], more: Mapping[str, str]
) -> Dict[str, str]:
    """The variables that a process begins with.

    Args:
        libraries: Its own folders of libraries, which go first; None leaves the path as it is inherited.
        inherited: Our variables.
        more: Laid over them.
    """
    result = {**inherited, **more}
    if libraries is not None:
        path = [*libraries, *(one for one in _folders(inherited.get(PATH, "")) if _may_stay(one))]
        result.pop(PATH, None)
        if path:
            result[PATH] = os.pathsep.join(path)
    return result


def _folders(path: str) -> List[str]:
    # An empty entry means the current directory to the loader: nobody wants that.
    return [one for one in path.split(os.pathsep) if one]


def _may_stay(folder: str) -> bool:
    """Whether an inherited folder may follow a side's own.

    The driver's libraries often are nowhere else (Colab, WSL). Another CUDA or cuDNN is what a side of its
    own is there to keep away: cuDNN opens its parts by name, and would take them from that folder.
    """
    place = Path(folder)
    if any((place / name).exists() for name in _DRIVER):
        return True
    try:
        return not any(next(place.glob(pattern), None) for pattern in _CUDA)
    except OSError:
        return False
