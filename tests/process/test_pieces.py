"""A row's wheels travel in pieces, and are installed where they arrive, with nothing but Python there."""

from __future__ import annotations

import ensurepip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from builder.lock.record import Environment, Lock, Package
from builder.wheels.pieces import write_pieces
from tests.wheelmaker import NAME, whole, zipped

OWN = "{}.{}".format(*sys.version_info[:2])
LIBRARY = b"\x7fELF not really"

BACKEND = """
import os, zipfile
def build_wheel(folder, settings=None, metadata=None):
    name = "press-3.0-py3-none-any.whl"
    info = "press-3.0.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as file:
        file.writestr("press.py", "import backend_tool\\n")
        file.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: press\\nVersion: 3.0\\n")
        file.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr(info + "RECORD", "")
    return name
"""


class Store:
    """A wheel store with a few small files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, version: str, file: str, content: bytes) -> Package:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / digest).mkdir(parents=True)
        (self.folder / digest / file).write_bytes(content)
        return Package(name=name, version=version, file=file, sha256=digest, size=len(content))

    def wheel(self, scratch: Path, name: str, version: str, files: dict[str, bytes]) -> Package:
        info = f"{name}-{version}.dist-info"
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        file = f"{name}-{version}-py3-none-any.whl"
        path = zipped(scratch / file, whole({**files, f"{info}/METADATA": about}, info))
        return self.add(name, version, file, path.read_bytes())


def source_archive() -> bytes:
    """A package that must be built, with a backend that the row's tools bring."""
    project = b'[build-system]\nrequires = ["backend"]\nbuild-backend = "backend_tool"\n'
    about = b"Metadata-Version: 2.1\nName: press\nVersion: 3.0\n"
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, content in (("pyproject.toml", project), ("PKG-INFO", about)):
            member = tarfile.TarInfo(f"press-3.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    store = Store(tmp_path / "wheels")
    [bundled] = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    pip = store.add("pip", bundled.name.split("-")[1], bundled.name, bundled.read_bytes())
    vat = store.wheel(tmp_path, "vat", "1.0", {"vat.py": b"TASTE = 'dry'\n"})
    tool = store.wheel(tmp_path, "backend", "1.0", {"backend_tool.py": BACKEND.encode()})
    cudnn = store.wheel(tmp_path, "cudnn", "8.9", {"nvidia/cudnn/lib/libcudnn.so.8": LIBRARY})
    press = store.add("press", "3.0", "press-3.0.tar.gz", source_archive())
    return Lock(
        row="blend",
        fingerprint="f",
        as_of="2025-01-20",
        base="bookworm",
        python=OWN,
        environments=(Environment(name="main", packages=(pip, press, vat)),),
        overlays=(Environment(name="cudnn8", packages=(cudnn,)),),
        tools=(tool,),
    )


def cut(lock: Lock, tmp_path: Path, size: int = 300_000) -> list[Path]:
    libraries = {"main": [PurePosixPath("overlays/cudnn8/nvidia/cudnn/lib")]}
    write_pieces(lock, libraries, tmp_path / "wheels", tmp_path / "out", size, fetch=lambda _: None)
    return sorted((tmp_path / "out").glob("piece-*"))


def arrive(lock: Lock, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Cut a row's files and join them."""
    assert len(cut(lock, tmp_path)) > 5
    return call(tmp_path)


def call(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Join what has arrived with the Python of this machine, told of no index."""
    command = [sys.executable, "-I", str(tmp_path / "out" / "join.py"), str(tmp_path / "new")]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})


def test_the_row_is_installed_from_its_pieces_alone(lock: Lock, tmp_path: Path) -> None:
    done = arrive(lock, tmp_path)
    assert done.returncode == 0, done.stderr
    python = tmp_path / "new" / "main" / "bin" / "python"
    code = "import vat, importlib.metadata as m; print(vat.TASTE, *sorted(d.name for d in m.distributions()))"
    told = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["dry", "pip", "press", "vat"]
    library = tmp_path / "new" / "overlays" / "cudnn8" / "nvidia" / "cudnn" / "lib"
    assert (library / "libcudnn.so.8").read_bytes() == LIBRARY
    assert f"LD_LIBRARY_PATH={library} {python} -I {tmp_path / 'new' / 'probe'} check" in done.stdout
    assert f"cuvee test blend --python {python} --gpus" in done.stdout


def test_it_is_joined_in_two_calls_and_a_damaged_piece_is_refused(lock: Lock, tmp_path: Path) -> None:
    first, second, *others = cut(lock, tmp_path)
    first.rename(tmp_path / first.name)
    sound = second.read_bytes()
    second.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    done = call(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{first.name}: it is missing: bring it",
        f"{second.name}: it is damaged: bring it again",
    ]
    assert not (tmp_path / "new" / "main").exists()
    assert not [piece for piece in others if piece.exists()]
    (tmp_path / first.name).rename(first)
    second.write_bytes(sound)
    done = call(tmp_path)
    assert done.returncode == 0, done.stderr
    python = tmp_path / "new" / "main" / "bin" / "python"
    told = subprocess.run(
        [python, "-I", "-c", "import vat; print(vat.TASTE)"], capture_output=True, text=True, check=True
    )
    assert told.stdout == "dry\n"


def test_the_probe_that_travelled_looks_at_what_was_installed(lock: Lock, tmp_path: Path) -> None:
    assert arrive(lock, tmp_path).returncode == 0
    new = tmp_path / "new"
    command = [str(new / "main" / "bin" / "python"), "-I", str(new / "probe"), "check", "libraries"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=os.sep)
    assert json.loads(done.stdout)["prefix"] == str(new / "main")


def test_a_wheel_with_another_hash_is_not_installed(lock: Lock, tmp_path: Path) -> None:
    [vat] = (one for one in lock.packages() if one.name == "vat")
    file = tmp_path / "wheels" / vat.sha256 / NAME
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    done = arrive(lock, tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"{NAME}: it is not the file that the lock names\n"
    assert not (tmp_path / "new" / "main").exists()
