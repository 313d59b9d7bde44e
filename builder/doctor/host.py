"""The host's side: runs `doctor.py` somewhere else, and reads what it says.

It goes in through standard input, so that nothing is written where it looks.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.doctor.patient.report import Report, from_json
from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.shell import SYSTEM, Finished, Shell

if TYPE_CHECKING:
    from builder.engines.docker import DockerEngine

DOCTOR = Path(__file__).with_name("doctor.py")
SECONDS = 600.0
"""How long an examination may take: on a cold disk, importing torch alone may take minutes."""

IN_IMAGES = ("python3", "python", "/opt/conda/bin/python", "/usr/bin/python3", "/usr/local/bin/python3")
"""Where images have their Python. The first that starts is examined."""

_NOT_STARTED = (126, 127)
"""What `docker run` ends with where the program cannot be run, or is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consultation:
    """What came back.

    Attributes:
        report: What the doctor found, as records.
        data: The same as the JSON that it printed.
    """

    report: Report
    data: Mapping[str, Any]


def examine_here(shell: Shell = SYSTEM, *, for_gpu: bool = False) -> Consultation:
    """Examine this machine, with the Python that `python3` means in this shell; else our own.

    An activated environment is then examined, and not the one that cuvee is installed in.

    Args:
        shell: What starts it.
        for_gpu: Whether it is judged as if a GPU were here.

    Raises:
        EngineOrNetworkError: It did not answer.
    """
    return examine_python(Path(shutil.which("python3") or sys.executable), shell, for_gpu=for_gpu)


def examine_python(python: Path, shell: Shell = SYSTEM, *, for_gpu: bool = False) -> Consultation:
    """Examine the environment of a Python.

    Args:
        python: Its executable, or the root of its environment; a relative path begins at the working folder.
        shell: What starts it.
        for_gpu: Whether it is judged as if a GPU were here.

    Raises:
        BadInputError: There is no such Python.
        EngineOrNetworkError: It did not answer.
    """
    # It is started at "/". A virtual environment's Python is a link, and knows its environment by where that
    # lies: so the path is made absolute, and the link is not followed.
    program = (python / "bin" / "python" if python.is_dir() else python).absolute()
    try:
        done = _run(shell, [str(program), *_asked(for_gpu=for_gpu)], place=str(python))
    except (FileNotFoundError, PermissionError) as error:
        fix = "Give the path of a Python, or of the root of a virtual environment"
        raise BadInputError(Fault(place=str(python), cause="there is no Python to run", fix=fix)) from error
    return _understood(done, str(python))


def examine_image(engine: DockerEngine, reference: str, *, gpus: bool = False) -> Consultation:
    """Examine the Python in an image, without a network and without its entry point.

    Args:
        engine: Has the image.
        reference: Its name, or its id.
        gpus: Whether it sees the host's GPUs. Without them it is judged as if there were one.

    Raises:
        BadInputError: The engine has no such image, or it has no Python.
        EngineOrNetworkError: The container did not start, or did not answer.
    """
    _require_image(engine, reference)
    for python in IN_IMAGES:
        done = _run_in_image(engine, reference, python, gpus=gpus)
        if done.code not in _NOT_STARTED:
            return _understood(done, reference)
    fix = "Examine it with a Python of your own laid over it, or take an image that has one"
    raise BadInputError(Fault(place=reference, cause="the image has no Python that starts", fix=fix))


def _run_in_image(engine: DockerEngine, reference: str, python: str, *, gpus: bool) -> Finished:
    name = f"cuvee-doctor-{secrets.token_hex(4)}"
    options = ["--rm", "--interactive", "--network", "none", "--name", name, "--label", "cuvee.test=1"]
    devices = ["--gpus", "all"] if gpus else ["--env", "NVIDIA_VISIBLE_DEVICES=void"]
    argv = ["docker", "run", *options, *devices, "--entrypoint", python, reference, *_asked(for_gpu=not gpus)]
    try:
        done = _run(engine.shell, argv, place=reference, env=engine.environment)
    except FileNotFoundError as error:
        fix = "Install Docker's command line client"
        fault = Fault(place="docker", cause="there is no `docker` client to start containers with", fix=fix)
        raise EngineOrNetworkError(fault) from error
    except EngineOrNetworkError:
        # The client is dead, and its container lives on.
        engine.shell.run(["docker", "rm", "--force", name], env=engine.environment)
        raise
    return done


def _asked(*, for_gpu: bool) -> list[str]:
    """The doctor's command line, read from standard input."""
    return ["-", "--json", *(["--for-gpu"] if for_gpu else [])]


def _require_image(engine: DockerEngine, reference: str) -> None:
    if engine.image_id(reference) is None:
        fix = f"Run `docker pull {reference}`, or `cuvee build` for a row's image"
        raise BadInputError(Fault(place=reference, cause="the engine has no such image", fix=fix))


def _run(shell: Shell, argv: Sequence[str], *, place: str, env: Mapping[str, str] | None = None) -> Finished:
    try:
        return shell.run(
            argv, env=env, stdin=DOCTOR.read_text(encoding="utf-8"), timeout=SECONDS, cwd=Path("/")
        )
    except Exception as error:
        # subprocess.TimeoutExpired, by its name: shell.py alone imports that module.
        if type(error).__name__ != "TimeoutExpired":
            raise
        cause = f"the examination did not end within {SECONDS:.0f} s"
        fix = "See whether its disk or its driver hangs, and run builder/doctor/doctor.py there by hand"
        raise EngineOrNetworkError(Fault(place=place, cause=cause, fix=fix)) from error


def _understood(done: Finished, place: str) -> Consultation:
    """What the doctor said in its JSON.

    Raises:
        EngineOrNetworkError: It is none of ours.
    """
    try:
        data = json.loads(done.out)
        return Consultation(report=from_json(data), data=data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        last = " ".join((done.err or done.out).split())[-300:] or "it said nothing"
        cause = f"the doctor gave no answer there, exit code {done.code}: {last}"
        fix = "Run builder/doctor/doctor.py there by hand, with Python 3.8 or later"
        raise EngineOrNetworkError(Fault(place=place, cause=cause, fix=fix)) from error
