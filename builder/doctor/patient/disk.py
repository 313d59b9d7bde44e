"""Every copy of CUDA's libraries on disk, each file once however many names it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from builder.doctor.patient.facts import Copy
from builder.doctor.patient.reading import CUDA_LIBRARY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.doctor.patient.facts import Package, SearchPath
    from builder.doctor.patient.running import Runner
    from builder.doctor.patient.sight import Sight

TIMEOUT = 60.0
DEFAULT_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
"""Where the loader looks last, besides the folder named after the machine."""

IN_PACKAGES = ("nvidia/*/lib", "torch/lib", "ctranslate2.libs", "tensorrt_libs")
_LDCONFIG = ("ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig")
_CACHED = re.compile(r"^\s+(?P<name>\S+) \((?P<kind>[^)]*)\) => (?P<path>/.*)$", re.MULTILINE)
_WHEELS = {
    "libcudnn": "nvidia-cudnn-",
    "libcublas": "nvidia-cublas-",
    "libcudart": "nvidia-cuda-runtime-",
    "libnccl": "nvidia-nccl-",
}
_SAYING_THEIR_VERSION = re.compile(r"lib(?:cudnn|cublas|cublasLt|cudart|nccl)\.so[.\d]*")


def copies(runner: Runner, paths: Iterable[Path], packages: tuple[Package, ...]) -> tuple[Copy, ...]:
    """The CUDA libraries among `paths`, by name; cuDNN's parts have the version of the front beside them."""
    real: dict[str, str] = {}
    for path in paths:
        if CUDA_LIBRARY.fullmatch(path.name) and ".so." in path.name:
            real.setdefault(str(path.resolve()), soname(path.name))
    versions = {path: version_by_name(path, packages) for path in real}
    asked = [path for path in real if not versions[path] and _SAYING_THEIR_VERSION.fullmatch(Path(path).name)]
    if asked:
        _, said = runner.child("versions", asked, TIMEOUT)
        versions.update({fact["path"]: fact["version"] for fact in said if "version" in fact})
    return tuple(
        Copy(name, path, versions[path] or _of_front(path, versions))
        for path, name in sorted(real.items(), key=lambda item: (item[1], item[0]))
    )


def candidates(sight: Sight, runner: Runner, folders: tuple[str, ...], path: SearchPath) -> list[Path]:
    """Files in all the folders where such libraries use to be."""
    entries = [*path.started.split(":"), *path.now.split(":")]
    listed = [*(entry for entry in dict.fromkeys(entries) if entry), *places(sight)]
    return [*_in_packages(folders), *cached(sight, runner), *_in_folders(sight, listed)]


def soname(name: str) -> str:
    """A library's name with one number: `libcudnn.so.9.8.0` is asked for as `libcudnn.so.9`."""
    return re.sub(r"(\.so\.\d+)[.\d]*$", r"\1", name)


def version_by_name(path: str, packages: Iterable[Package]) -> str:
    """The version that a file's name or the wheel it came in tells, or "".

    A wheel's name counts only for a library of its own CUDA: `nvidia-cudnn-cu12` 9.10 has no libcudnn.so.8.
    """
    numbers = Path(path).name.partition(".so.")[2]
    if numbers.count(".") > 1:
        return numbers
    stem = re.match(r"lib[a-z]+?(?=Lt|_|\.|$)", Path(path).name)
    prefix = _WHEELS.get(stem[0] if stem else "", "-")
    versions = [one.version for one in packages if one.name.startswith(prefix) and f"{one.folder}/" in path]
    return versions[0] if len(versions) == 1 else ""


def cached(sight: Sight, runner: Runner) -> list[Path]:
    """The CUDA libraries in the loader's cache; where no ldconfig reads it, those in the default folders."""
    for program in _LDCONFIG:
        done = runner.run([program, "-p"], TIMEOUT)
        if not done.code:
            return [Path(found["path"]) for found in _CACHED.finditer(done.out) if "libc6" in found["kind"]]
    multiarch = [f"/usr/lib/{name}" for name in sight.names("/usr/lib") if name.endswith("-linux-gnu")]
    return _in_folders(sight, [*multiarch, *DEFAULT_FOLDERS])


def places(sight: Sight) -> list[str]:
    """Folders of CUDA toolkits, and of the conda environment."""
    toolkits = [name for name in sight.names("/usr/local") if name.startswith("cuda")]
    parts = ("lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib")
    conda = sight.variables.get("CONDA_PREFIX")
    return [
        *[f"/usr/local/{name}/{part}" for name in toolkits for part in parts],
        *([f"{conda}/lib"] if conda else []),
    ]


def _in_folders(sight: Sight, folders: Iterable[str]) -> list[Path]:
    return [sight.at(folder) / name for folder in folders for name in sight.names(folder)]


def _in_packages(folders: tuple[str, ...]) -> list[Path]:
    return [
        path
        for folder in folders
        for pattern in IN_PACKAGES
        for path in sorted(Path(folder).glob(f"{pattern}/lib*.so.*"))
    ]


def _of_front(path: str, versions: dict[str, str]) -> str:
    """The version of the cuDNN front in the same folder: cuDNN's parts do not tell theirs."""
    name = Path(path).name
    if not name.startswith("libcudnn_"):
        return ""
    wanted = f"{Path(path).parent}/libcudnn.so.{soname(name).rpartition('.')[2]}"
    return next((version for front, version in versions.items() if front.startswith(wanted)), "")
