"""Puts a row's wheels together again, and installs them, on a machine without a network.

    python3.11 join.py FOLDER

The pieces and `manifest.json` lie beside this file. They may come in several calls and in any order: each is
taken into FOLDER and deleted, and what is missing is told. When all are in, FOLDER gets an environment for
each of the row's, their overlays, the samples of the checks, and the probe. Every piece and every wheel is
held against its SHA-256. Exit codes: 0 done, 1 a piece is missing or damaged, 2 this is the wrong Python, a
wheel is not the lock's, or pip failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

FORMAT = 1
CHUNK = 1024 * 1024
ASSETS = "wheels"
TOOLS = "tools"
TAKEN = "taken.json"
PROBE = "probe"


class JoinError(Exception):
    """It cannot be done; the message says what to do."""


def main(words: List[str]) -> int:
    """Join, verify, install, and say how to go on."""
    parser = argparse.ArgumentParser(description="Puts a row's wheels together again, and installs them.")
    parser.add_argument("folder", type=Path, help="where the environment goes")
    parser.add_argument(
        "--only-join", action="store_true", help="put the files together, and install nothing"
    )
    parser.add_argument("--keep", action="store_true", help="do not delete the pieces that were taken in")
    options = parser.parse_args(words)
    here, folder = Path(__file__).resolve().parent, options.folder.resolve()
    manifest = json.loads((here / "manifest.json").read_text(encoding="utf-8"))
    try:
        require_format(manifest)
        if not options.only_join:
            require_python(manifest)
        faults = list(take(here, folder, manifest, keep=options.keep))
        if not faults:
            finish(here, folder, manifest)
            if not options.only_join:
                install(folder, manifest)
                print("\n".join(next_step(folder, manifest)))
    except JoinError as error:
        print(error, file=sys.stderr)
        return 2
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def require_format(manifest: Dict[str, Any]) -> None:
    """See that the manifest is of our format."""
    if manifest["format"] != FORMAT:
        raise JoinError("manifest.json: it is of another format than join.py: take both from one place.")


def require_python(manifest: Dict[str, Any]) -> None:
    """See that the wheels are for this Python."""
    own = "{}.{}".format(*sys.version_info[:2])
    if own != manifest["python"]:
        raise JoinError(
            "The wheels are for Python {0}, and this is {1}: start join.py with python{0}.".format(
                manifest["python"], own
            )
        )


def take(here: Path, folder: Path, manifest: Dict[str, Any], *, keep: bool) -> Iterator[str]:
    """Take in what has arrived; what is wrong with the pieces, all of it."""
    taken, start = already(folder, manifest), 0
    for piece in manifest["pieces"]:
        path, known = here / piece["name"], "{name} {sha256}".format(**piece)
        if known not in taken:
            if not path.is_file():
                yield "{}: it is missing: bring it".format(path.name)
            elif hashed(path) != piece["sha256"]:
                yield "{}: it is damaged: bring it again".format(path.name)
            else:
                lay(path, start, folder / ASSETS, manifest)
                taken.add(known)
                note(folder, manifest, taken)
        if known in taken and path.is_file() and not keep:
            path.unlink()
        start += piece["size"]


def already(folder: Path, manifest: Dict[str, Any]) -> Set[str]:
    """The names and hashes of the pieces that were taken in by an earlier call."""
    file = folder / TAKEN
    if not file.is_file():
        return set()
    told = json.loads(file.read_text(encoding="utf-8"))
    if told["lock"] != manifest["lock"]:
        raise JoinError("{}: it has pieces of another lock: name an empty folder.".format(folder))
    return set(told["pieces"])


def note(folder: Path, manifest: Dict[str, Any], taken: Set[str]) -> None:
    """Write down what is in, whole or not at all: a piece is deleted only when it is noted."""
    new = folder / (TAKEN + ".new")
    new.write_text(json.dumps({"lock": manifest["lock"], "pieces": sorted(taken)}), encoding="utf-8")
    new.replace(folder / TAKEN)


def lay(piece: Path, start: int, target: Path, manifest: Dict[str, Any]) -> None:
    """Write the bytes of a piece to their places in the files; `start` is its place in all of them."""
    target.mkdir(parents=True, exist_ok=True)
    end, at = start + piece.stat().st_size, 0
    with piece.open("rb") as source:
        for one in manifest["files"]:
            first, last = max(start, at), min(end, at + one["size"])
            if first < last:
                source.seek(first - start)
                written(target / one["file"], first - at, last - first, source)
            at += one["size"]


def written(path: Path, offset: int, count: int, source: Any) -> None:
    """Copy `count` bytes to a place of a file, which may have none of those before it yet."""
    path.touch()
    with path.open("r+b") as file:
        file.seek(offset)
        while count:
            count -= file.write(source.read(min(count, CHUNK)))


def hashed(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def finish(here: Path, folder: Path, manifest: Dict[str, Any]) -> None:
    """See that each file is what the lock names, and lay out the samples and the probe."""
    target = folder / ASSETS
    for one in manifest["files"]:
        (target / one["file"]).touch()  # one without bytes was in no piece
        if hashed(target / one["file"]) != one["sha256"]:
            (folder / TAKEN).unlink()
            raise JoinError("{}: it is not the file that the lock names".format(one["file"]))
    for one in manifest["samples"]:
        place = folder / "store" / "wheels" / one["sha256"]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(target / one["file"]), str(place))
        if manifest["speech"]:
            with zipfile.ZipFile(str(target / one["file"])) as wheel:
                wheel.extractall(str(folder / "samples"))
    if (folder / PROBE).is_dir():
        shutil.rmtree(str(folder / PROBE))
    shutil.copytree(str(here / PROBE), str(folder / PROBE))


def install(folder: Path, manifest: Dict[str, Any]) -> None:
    """Make the environments and overlays, with the pip that the row itself locks."""
    pip = Pip(folder, next(one["file"] for one in packages(manifest) if one["name"] == "pip"))
    pip.install(sys.executable, TOOLS, manifest["tools"], "--target", str(folder / TOOLS))
    for name, environment in manifest["environments"].items():
        print("installing {} packages into {}".format(len(environment["packages"]), folder / name))
        run([sys.executable, "-m", "venv", "--without-pip", str(folder / name)])
        pip.install(str(folder / name / "bin" / "python"), name, environment["packages"])
    for name, overlay in manifest["overlays"].items():
        place = folder / "overlays" / name
        pip.install(sys.executable, "overlay-" + name, overlay["packages"], "--target", str(place))


def packages(manifest: Dict[str, Any]) -> Iterator[Dict[str, Any]]:
    """The packages of all environments."""
    for environment in manifest["environments"].values():
        yield from environment["packages"]


class Pip:
    """The pip that the row itself locks, run from its wheel: the machine's own may be any, or none."""

    def __init__(self, folder: Path, file: str) -> None:
        wheels = folder / ASSETS
        self._folder = folder
        self._start = [str(wheels / file / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        self._start += ["--no-index", "--no-deps", "--require-hashes", "--find-links", str(wheels)]

    def install(self, python: str, name: str, chosen: List[Dict[str, Any]], *there: str) -> None:
        """Install packages with a Python: first wheels, then what must be built, with the row's tools."""
        built = [one for one in chosen if not one["file"].endswith(".whl")]
        self._some(python, name, [one for one in chosen if one not in built], *there)
        self._some(python, name + "-built", built, "--no-build-isolation", *there)

    def _some(self, python: str, name: str, chosen: List[Dict[str, Any]], *options: str) -> None:
        if not chosen:
            return
        listed = self._folder / "requirements-{}.txt".format(name)
        lines = ("{name}=={version} --hash=sha256:{sha256}\n".format(**one) for one in chosen)
        listed.write_text("".join(lines), encoding="utf-8")
        run([python, *self._start, *options, "-r", str(listed)], PYTHONPATH=str(self._folder / TOOLS))


def run(command: List[str], **variables: str) -> None:
    """Run a command to its end; what is set for other Pythons is not handed on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    if subprocess.call(command, env={**kept, "PIP_ROOT_USER_ACTION": "ignore", **variables}):
        raise JoinError("{} failed: read what it said above".format(" ".join(command[:3])))


def next_step(folder: Path, manifest: Dict[str, Any]) -> Iterator[str]:
    """How to start the environment, and how to prove it."""
    for name, environment in manifest["environments"].items():
        python = folder / name / "bin" / "python"
        paths = ":".join(str(folder / path) for path in environment["libraries"])
        path = "LD_LIBRARY_PATH={} ".format(paths) if paths else ""
        yield "# The environment {}:".format(name)
        yield "{}{}".format(path, python)
        yield "# Its checks without cuvee, as JSON; with --device cpu where there is no GPU:"
        probe = "{}{} -I {}".format(path, python, folder / PROBE)
        yield probe + " check"
        if manifest["speech"]:
            audio, model = (folder / "samples" / manifest["speech"][name] for name in ("audio", "model"))
            yield "{} transcribe {} --model {} --device cuda".format(probe, audio, model)
        yield "# Its checks, where cuvee is installed; leave out --gpus without a GPU:"
        yield "CUVEE_CACHE={} cuvee test {} --python {} --gpus".format(
            folder / "store", manifest["row"], python
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
