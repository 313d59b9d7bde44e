"""What torch, CTranslate2 and torchcodec say of themselves in their files."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import TYPE_CHECKING

from builder.doctor.patient import binaries, installed
from builder.doctor.patient.facts import CTranslate2, Torch
from builder.probe.elf import names_held
from builder.probe.opened import spellings
from builder.probe.rules import DRIVER_LIBRARIES, OPTIONAL

if TYPE_CHECKING:
    from collections.abc import Iterable

CUDA_LIBRARY = re.compile(r"lib(?:cudnn|cublas|cublasLt|cudart|nccl)(?:_[a-z_]+)?\.so(?:\.\d+)*")
"""Names of the libraries that fail here: cuDNN, cuBLAS, the CUDA runtime, NCCL."""

_ARCHITECTURES = re.compile(rb"(?:sm|compute)_\d+[a-z]?(?: (?:sm|compute)_\d+[a-z]?)*(?=\0)")
_CUDNN_PIN = re.compile(r"^Requires-Dist: nvidia-cudnn-cu\d+[ (]*==\s*([\d.]+)", re.MULTILINE)


def torch(folders: tuple[str, ...]) -> Torch | None:
    """What the installed torch says, or None."""
    folder = installed.package_folder(folders, "torch")
    if not folder:
        return None
    told = _text(folder / "version.py")
    main = folder / "lib" / "libtorch_cuda.so"
    return Torch(
        version=_assigned(told, "__version__"),
        cuda=_assigned(told, "cuda"),
        cudnn=_cudnn_pin(folder.parent),
        architectures=architectures(folder / "lib" / "libtorch_python.so"),
        libraries=linked(main),
        glibc=_glibc([main, folder / "lib" / "libtorch_cpu.so", folder / "lib" / "libc10.so"]),
    )


def architectures(path: Path) -> tuple[str, ...]:
    """The list that torch.cuda.get_arch_list() returns, among the constants of libtorch_python.

    A piece of another constant may touch its beginning, hence the longest match up to a string's end.
    """
    try:
        listed = _ARCHITECTURES.findall(binaries.section(path, ".rodata"))
    except binaries.DAMAGED:
        return ()
    return tuple(max(listed, key=len, default=b"").decode().split())


def linked(path: Path) -> dict[str, str]:
    """Where the file's own search path finds the CUDA libraries that it is linked with."""
    try:
        said = binaries.read(path)
    except binaries.DAMAGED:
        return {}
    found = {}
    for name in filter(CUDA_LIBRARY.fullmatch, said.needed):
        hits = [Path(folder) / name for folder in said.search if (Path(folder) / name).exists()]
        if hits:
            found[name] = str(hits[0].resolve())
    return found


def ctranslate2(folders: tuple[str, ...]) -> CTranslate2 | None:
    """What the binaries of the installed CTranslate2 say, or None."""
    folder = installed.package_folder(folders, "ctranslate2")
    if not folder:
        return None
    bundled = folder.parent / "ctranslate2.libs"
    files = [*sorted(bundled.glob("*.so*")), *sorted(folder.glob("*.so*"))]
    library = next((path for path in files if path.name.startswith("libctranslate2")), None)
    fronts = [path for path in files if path.name.startswith("libcudnn")]
    code = _gpu_code(library) if library else binaries.GpuCode((), None)
    return CTranslate2(
        library=str(library or ""),
        cuda=bool(code.architectures),
        executable_stack=tuple(path.name for path in files if _executable_stack(path)),
        opens=opened_by(files),
        front=str(fronts[0]) if fronts else "",
        architectures=code.architectures,
        ptx="{}.{}".format(*code.isa) if code.isa else "",
        glibc=_glibc(files),
    )


def opened_by(files: Iterable[Path]) -> tuple[tuple[str, ...], ...]:
    """What these files open by name, for each library the names in the order in which they try them.

    What they are linked with, the driver's libraries and those that need not be there are left out.
    """
    names: list[tuple[str, ...]] = []
    linked_with: set[str] = set()
    for path in files:
        try:
            linked_with.update([path.name, *binaries.read(path).needed])
            names += [tuple(spellings(path.name, name)) for name in names_held(path)]
        except binaries.DAMAGED:
            continue
    wanted = dict.fromkeys(tried for tried in names if not _optional(tried[-1]))
    return tuple(tried for tried in wanted if tried[0] not in linked_with)


def codec_builds(folders: tuple[str, ...]) -> tuple[int, ...]:
    """The major versions of FFmpeg that the installed torchcodec has a library for."""
    folder = installed.package_folder(folders, "torchcodec")
    names = [path.name for path in folder.glob("libtorchcodec_*.so")] if folder else []
    found = [re.fullmatch(r"libtorchcodec_(?:core|decoder)(\d+)\.so", name) for name in names]
    return tuple(sorted({int(match[1]) for match in found if match}))


def _optional(name: str) -> bool:
    return name in DRIVER_LIBRARIES or any(fnmatch.fnmatchcase(name, pattern) for pattern in OPTIONAL)


def _gpu_code(path: Path) -> binaries.GpuCode:
    try:
        return binaries.gpu_code(path)
    except binaries.DAMAGED:
        return binaries.GpuCode((), None)


def _executable_stack(path: Path) -> bool:
    try:
        return binaries.read(path).executable_stack
    except binaries.DAMAGED:
        return False


def _glibc(paths: Iterable[Path]) -> str:
    """The newest glibc that any of these asks for."""
    asked = []
    for path in paths:
        try:
            asked.append(binaries.read(path).glibc)
        except binaries.DAMAGED:
            continue
    return max(asked, key=lambda text: [int(part) for part in text.split(".") if part], default="")


def _cudnn_pin(folder: Path) -> str:
    metadata = [path for path in sorted(folder.glob("torch-*.dist-info")) if (path / "METADATA").is_file()]
    found = _CUDNN_PIN.search(_text(metadata[0] / "METADATA")) if metadata else None
    return found[1] if found else ""


def _assigned(source: str, name: str) -> str:
    """The text that a name is set to in Python source, or ""."""
    found = re.search(rf"""^{name}\b[^=\n]*=\s*["']([^"']*)["']""", source, re.MULTILINE)
    return found[1] if found else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
