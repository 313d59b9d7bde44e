"""What an examination finds: plain facts, without any judgement."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

_NONE: Mapping[str, Any] = MappingProxyType({})


class Place(NamedTuple):
    """Where the doctor runs.

    Attributes:
        kind: `colab`, `kaggle`, `runpod`, `container`, `wsl`, `machine`, or `windows`, `macos`, `other`,
            which are not examined any further. The first that fits: RunPod is a container too.
        container: What made the container: `docker`, `podman`, `kubernetes`, `container` if unknown, "" for
            none.
        ci: Whether it is a CI machine.
        system: Name and version of the operating system.
        kernel: Release of the kernel.
        machine: `x86_64`, `aarch64`.
        glibc: Version of the C library, "" where it is another one.
        variables: Environment variables that count, as they are now.
    """

    kind: str = "machine"
    container: str = ""
    ci: bool = False
    system: str = ""
    kernel: str = ""
    machine: str = "x86_64"
    glibc: str = ""
    variables: Mapping[str, str] = _NONE


class Gpu(NamedTuple):
    """One GPU.

    Attributes:
        name: As its maker calls it.
        capability: Its compute capability, `8.6`.
        memory_mib: Its memory.
    """

    name: str
    capability: str
    memory_mib: int = 0


class Driver(NamedTuple):
    """NVIDIA's driver, as far as it can be seen from here.

    Attributes:
        version: `550.54.15`, or "" where none is visible.
        cuda: The newest CUDA that it serves, `12.4`, or "".
        gpus: The GPUs that it shows.
        smi: Why nvidia-smi did not answer, or "".
        libcuda: Why libcuda.so.1 did not answer, or "".
        devices: The device files: /dev/nvidia0, or WSL's /dev/dxg.
        card: Whether the PCI bus has a device of NVIDIA's, driver or not.
    """

    version: str = ""
    cuda: str = ""
    gpus: tuple[Gpu, ...] = ()
    smi: str = ""
    libcuda: str = ""
    devices: tuple[str, ...] = ()
    card: bool = False


class Interpreter(NamedTuple):
    """The Python that runs the doctor.

    Attributes:
        version: `3.11.7`.
        executable: Its path; "" where it is inside another program.
        prefix: Its environment's root.
        venv: Whether that is a virtual environment.
        conda: Whether that is a conda environment.
        shared: Whether there is a libpython as a shared library.
        folders: The folders that it imports packages from, in their order.
    """

    version: str = ""
    executable: str = ""
    prefix: str = ""
    venv: bool = False
    conda: bool = False
    shared: bool = False
    folders: tuple[str, ...] = ()


class Package(NamedTuple):
    """An installed distribution.

    Attributes:
        name: Its normalised name.
        version: Its version, "" where its metadata do not say.
        folder: The folder of packages it lies in.
    """

    name: str
    version: str
    folder: str = ""


class Torch(NamedTuple):
    """What torch says of itself in text; it was not imported for this.

    Attributes:
        version: `2.5.1+cu124`.
        cuda: `12.4`, or "" for a build without CUDA.
        cudnn: The cuDNN that its metadata demand, or "".
        architectures: Its GPU code, `sm_90` and `compute_90` (PTX).
        libraries: Path of each CUDA library that it is linked with, as its RPATH finds them.
        glibc: The newest glibc that its libraries ask for.
    """

    version: str = ""
    cuda: str = ""
    cudnn: str = ""
    architectures: tuple[str, ...] = ()
    libraries: Mapping[str, str] = _NONE
    glibc: str = ""


class CTranslate2(NamedTuple):
    """What CTranslate2's own binaries say.

    Attributes:
        library: The path of libctranslate2.
        cuda: Whether it was compiled with CUDA.
        executable_stack: Libraries of its own that ask for an executable stack.
        opens: What it opens by name: for each library the names that it tries, in order.
        front: The path of the cuDNN front that it brings, or "".
        architectures: Its GPU code, `sm_86` and `compute_86` (PTX).
        ptx: The version of the PTX language that its PTX is written in, `8.7`, or "".
        glibc: The newest glibc that its libraries ask for.
    """

    library: str = ""
    cuda: bool = False
    executable_stack: tuple[str, ...] = ()
    opens: tuple[tuple[str, ...], ...] = ()
    front: str = ""
    architectures: tuple[str, ...] = ()
    ptx: str = ""
    glibc: str = ""

    @property
    def cudnn(self) -> str:
        """The major version of the cuDNN that it opens, by its front's file name; "" where it opens none."""
        return self.front.partition(".so.")[2].split(".")[0]


class Opened(NamedTuple):
    """What the loader answered when a library was opened by its name.

    Attributes:
        path: The file that it took, or "".
        error: Its words when there was none, or "".
    """

    path: str = ""
    error: str = ""


class Copy(NamedTuple):
    """A library of CUDA on disk.

    Attributes:
        name: Its soname.
        path: Where it really is.
        version: Its version, or "".
    """

    name: str
    path: str
    version: str = ""


class Trial(NamedTuple):
    """cuDNN, used in a child process as far as it goes without a GPU.

    Attributes:
        order: Whose front libraries were used, in order: `ctranslate2`, `torch`.
        code: The child's exit code; 134 is an abort.
        words: The child's last words.
        version: What cudnnGetVersion returned through the last front, as `9.10.2`, or "".
        files: The cuDNN files that were loaded in the end.
        asked: The call that was made last; the one it died in where it died.
    """

    order: tuple[str, ...]
    code: int = 0
    words: str = ""
    version: str = ""
    files: tuple[str, ...] = ()
    asked: str = ""


class Import(NamedTuple):
    """A module, imported in a child process.

    Attributes:
        module: Its name.
        error: Type and text of what was raised, or the last words before it died; "" where all went well.
        code: The child's exit code.
    """

    module: str
    error: str = ""
    code: int = 0


class SearchPath(NamedTuple):
    """LD_LIBRARY_PATH and its kin.

    Attributes:
        started: What the process was started with: this counts.
        now: What os.environ holds now.
        missing: Entries of `started` that do not exist.
        stubs: Entries of `started` that hold the toolkit's stub libraries.
        late: Names that could not be opened and could be, had `now` been there from the start.
        preload: What LD_PRELOAD was at the start.
        lost: Files that `preload` names by path and that do not exist.
    """

    started: str = ""
    now: str = ""
    missing: tuple[str, ...] = ()
    stubs: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    preload: str = ""
    lost: tuple[str, ...] = ()


class Ffmpeg(NamedTuple):
    """FFmpeg: its program and its shared libraries are two things.

    Attributes:
        program: Path of `ffmpeg`, or "".
        version: What it says of itself, or "".
        libraries: Major versions of FFmpeg whose libavutil the loader finds.
        builds: Major versions of FFmpeg that the installed torchcodec has a library for.
    """

    program: str = ""
    version: str = ""
    libraries: tuple[int, ...] = ()
    builds: tuple[int, ...] = ()


class Examination(NamedTuple):
    """All that was seen.

    Attributes:
        place: Where.
        driver: NVIDIA's driver and GPUs.
        python: The interpreter.
        packages: The distributions that matter; one name twice where two are installed.
        torch: What torch says, or None where it is not installed.
        ctranslate2: What CTranslate2 says, or None.
        loader: The loader's answer for each name that somebody opens.
        copies: CUDA's libraries on disk, each file once.
        trials: cuDNN in use.
        imports: Modules that were imported, each in a process of its own.
        imported: The loader's answers in a process that has imported CTranslate2, which may have imported
            torch, for the names that CTranslate2 opens.
        path: LD_LIBRARY_PATH.
        ffmpeg: FFmpeg.
        troubles: What could not be looked at, and why.
        seconds: How long it took.
    """

    place: Place = Place()
    driver: Driver = Driver()
    python: Interpreter = Interpreter()
    packages: tuple[Package, ...] = ()
    torch: Torch | None = None
    ctranslate2: CTranslate2 | None = None
    loader: Mapping[str, Opened] = _NONE
    copies: tuple[Copy, ...] = ()
    trials: tuple[Trial, ...] = ()
    imports: tuple[Import, ...] = ()
    imported: Mapping[str, Opened] = _NONE
    path: SearchPath = SearchPath()
    ffmpeg: Ffmpeg = Ffmpeg()
    troubles: tuple[str, ...] = ()
    seconds: float = 0.0

    def version(self, name: str) -> str:
        """The version of an installed distribution, the first where there are two; "" where it is missing."""
        return next((package.version for package in self.packages if package.name == name), "")

    def found(self, name: str) -> str:
        """The file that the loader takes for a name, or ""."""
        return self.loader.get(name, Opened()).path


def plain(value: Any) -> Any:
    """A record as JSON has it: records are dicts, tuples are lists."""
    if hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (tuple, list)) else value


def examination(data: Mapping[str, Any]) -> Examination:
    """The record that `plain` made JSON of. What is not there has its default.

    Raises:
        TypeError: There is a field that this version does not know.
    """
    return Examination(**{name: _DECODERS.get(name, _as_it_is)(value) for name, value in data.items()})


def _as_it_is(value: Any) -> Any:
    return value


def _driver(data: Mapping[str, Any]) -> Driver:
    gpus = tuple(Gpu(**one) for one in data.get("gpus", ()))
    return Driver(**{**_tuples(data), "gpus": gpus})


def _ctranslate2(data: Mapping[str, Any] | None) -> CTranslate2 | None:
    if data is None:
        return None
    return CTranslate2(**{**_tuples(data), "opens": tuple(tuple(names) for names in data.get("opens", ()))})


def _answers(data: Mapping[str, Any]) -> dict[str, Opened]:
    return {name: Opened(**one) for name, one in data.items()}


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


_DECODERS: dict[str, Any] = {
    "place": lambda data: Place(**data),
    "driver": _driver,
    "python": lambda data: Interpreter(**_tuples(data)),
    "packages": lambda data: tuple(Package(**one) for one in data),
    "torch": lambda data: None if data is None else Torch(**_tuples(data)),
    "ctranslate2": _ctranslate2,
    "loader": _answers,
    "imported": _answers,
    "copies": lambda data: tuple(Copy(**one) for one in data),
    "trials": lambda data: tuple(Trial(**_tuples(one)) for one in data),
    "imports": lambda data: tuple(Import(**one) for one in data),
    "path": lambda data: SearchPath(**_tuples(data)),
    "ffmpeg": lambda data: Ffmpeg(**_tuples(data)),
    "troubles": tuple,
}
"""How each part of an examination is read back."""
