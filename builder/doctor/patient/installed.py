"""What is installed, by the names of folders and the text of files: nothing is imported."""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

from builder.doctor.patient.facts import Interpreter, Package

WANTED = re.compile(
    r"torch|torchaudio|torchvision|torchcodec|ctranslate2|faster-whisper|whisperx|pyannote-[a-z]+|numpy|speechbrain"
    r"|huggingface-hub|lightning|pytorch-lightning|transformers|av|onnxruntime(?:-gpu)?|nvidia-.+|triton|pip"
)
"""The distributions that matter here."""

_METADATA = re.compile(r"(?P<name>.+?)(?:-(?P<version>\d[^-]*)(?:-py[\d.]+)?)?\.(?:dist|egg)-info")


def interpreter() -> Interpreter:
    """The Python that runs this."""
    folders = tuple(folder for folder in sys.path if folder and Path(folder).is_dir())
    return Interpreter(
        version=".".join(str(part) for part in sys.version_info[:3]),
        executable=sys.executable or "",
        prefix=sys.prefix,
        venv=sys.prefix != sys.base_prefix,
        conda=(Path(sys.prefix) / "conda-meta").is_dir(),
        shared=bool(sysconfig.get_config_var("Py_ENABLE_SHARED")),
        folders=folders,
    )


def packages(folders: tuple[str, ...]) -> tuple[Package, ...]:
    """The distributions that matter, in the order in which Python would find them.

    They are found as importlib.metadata finds them, by the names of their folders of metadata. Those are not
    opened: it would take a second where hundreds are installed, and they may be damaged.
    """
    found = [package for folder in folders for package in packages_in(folder)]
    return tuple(sorted(found, key=lambda package: package.name))


def packages_in(folder: str) -> list[Package]:
    """Those of one folder."""
    try:
        names = sorted(entry.name for entry in Path(folder).iterdir())
    except OSError:
        return []
    parts = [match for match in map(_METADATA.fullmatch, names) if match]
    named = [Package(normal(part["name"]), part["version"] or "", folder) for part in parts]
    return [package for package in named if WANTED.fullmatch(package.name)]


def normal(name: str) -> str:
    """A distribution's name as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package_folder(folders: tuple[str, ...], name: str) -> Path | None:
    """The folder of an importable package, the first on the path, or None."""
    for folder in folders:
        if (Path(folder) / name / "__init__.py").is_file():
            return Path(folder) / name
    return None
