"""The program of a child process: it acts, prints facts as lines of JSON, and may die of it.

It is run as `python -I -c PROGRAM VERB ARGUMENT…`. A verb that tries several things makes a fork for each, so
that none of them sees what another has loaded, and none dies of another.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

from builder.probe.maps import cudnn_files, own
from builder.probe.rules import CUDNN_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable

_DEVICE_NAME = 256
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_MIB = 1 << 20
_REPORT = {"to": 1}
"""The descriptor that facts are printed to; what libraries print goes to standard error."""

_VERSIONS = {
    "libcudnn": "cudnnGetVersion",
    "libcublas": "cublasGetProperty",
    "libcublasLt": "cublasLtGetProperty",
    "libcudart": "cudaRuntimeGetVersion",
    "libnccl": "ncclGetVersion",
}
_FIRST_CUDNN_9 = 90000
_PARTS = (0, 1, 2)  # of a version, as libraryPropertyType_t counts them


def say(**fact: Any) -> None:
    """Print one fact."""
    os.write(_REPORT["to"], (json.dumps(fact) + "\n").encode())


def open_each(names: list[str]) -> None:
    """Open each library by its name, as CTranslate2 does; say which file the loader took, or its words."""
    for name in names:
        forked(partial(opened, name), name=name)


def opened(name: str) -> None:
    """Open one library, and say which file that is."""
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        say(name=name, error=str(error))
        return
    # A handle is glibc's link_map; its second field is the path that the loader found.
    link_map = ctypes.cast(library._handle, ctypes.POINTER(ctypes.c_void_p))  # noqa: SLF001 - no public name
    say(name=name, path=ctypes.string_at(link_map[1] or 0).decode())


def use_cudnn(paths: list[str]) -> None:
    """Use cuDNN through each of its fronts, in order, and say what is mapped in the end.

    What comes after a plus sign is only loaded; of a front after a tilde only the first call is made.
    """
    for path in paths:
        library = ctypes.CDLL(path.lstrip("+~"))
        if not path.startswith("+"):
            use(library, CUDNN_CALLS[:1] if path.startswith("~") else CUDNN_CALLS)
    say(files=cudnn_files(own()))
    version(paths[-1])


def use(front: ctypes.CDLL, calls: tuple[Any, ...]) -> None:
    """Make the calls that a front offers; each is said before it is made, since it may be the last."""
    for call in calls:
        if hasattr(front, call.function):
            say(asked=call.function)
            descriptor = ctypes.byref(ctypes.c_void_p())
            status = getattr(front, call.function)(*([descriptor] if call.makes else []))
            if status:
                say(failed=f"{call.function} returned {status}")


def versions(paths: list[str]) -> None:
    """Say which version each library is, as far as it tells."""
    for path in paths:
        forked(partial(version, path), path=path)


def version(path: str) -> None:
    """Say which version a library is, if it tells."""
    try:
        say(path=path, version=_version(path))
    except (AttributeError, KeyError, OSError) as error:
        sys.stderr.write(f"{path}: {error}\n")


def _version(path: str) -> str:
    """The version of cuDNN, cuBLAS, the CUDA runtime or NCCL."""
    function = _VERSIONS[os.path.basename(path).split(".so")[0].split("-")[0]]  # noqa: PTH119
    library = ctypes.CDLL(path)
    ask = getattr(library, function)
    if function.endswith("Property"):
        return ".".join(str(_property(ask, part)) for part in _PARTS)
    if function == "cudnnGetVersion":
        ask.restype = ctypes.c_size_t
        return _of_cudnn(ask())
    number = ctypes.c_int()
    ask(ctypes.byref(number))
    if function == "ncclGetVersion":
        return f"{number.value // 10000}.{number.value // 100 % 100}.{number.value % 100}"
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _property(ask: Any, part: int) -> int:
    value = ctypes.c_int()
    ask(part, ctypes.byref(value))
    return value.value


def _of_cudnn(number: int) -> str:
    """8907 is 8.9.7 and 91002 is 9.10.2: the formula changed with cuDNN 9."""
    big = 1000 if number < _FIRST_CUDNN_9 else 10000
    return f"{number // big}.{number % big // 100}.{number % 100}"


def driver(_: list[str]) -> None:
    """Say which CUDA the driver serves, and its GPUs."""
    cuda = ctypes.CDLL("libcuda.so.1")
    number = ctypes.c_int()
    if not cuda.cuDriverGetVersion(ctypes.byref(number)):
        say(cuda=f"{number.value // 1000}.{number.value % 1000 // 10}")
    status = cuda.cuInit(0)
    if status:
        words = ctypes.c_char_p()
        cuda.cuGetErrorString(status, ctypes.byref(words))
        say(error="cuInit returned {} ({})".format(status, (words.value or b"no description").decode()))
        return
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    for index in range(count.value):
        say(**_gpu(cuda, index))


def _gpu(cuda: ctypes.CDLL, index: int) -> dict[str, Any]:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(_DEVICE_NAME), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, _DEVICE_NAME, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    capability = f"{major.value}.{minor.value}"
    text = name.value.decode(errors="replace")
    return {"gpu": text, "capability": capability, "memory_mib": memory.value // _MIB}


def import_each(arguments: list[str]) -> None:
    """Import modules from the folders in `arguments[0]`: the first one, then each other in a fork of its own.

    After the first, the libraries in `arguments[1]` are opened by name, each in a fork too: a module may have
    brought some of them already.
    """
    folders, names, first, *others = arguments
    sys.path[:] = json.loads(folders)
    if imported(first):
        open_each(json.loads(names))
        for name in others:
            forked(partial(imported, name), module=name)


def imported(name: str) -> bool:
    """Import one module, say how that went, and return whether it went well."""
    say(started=name)
    try:
        module = importlib.import_module(name)
        if name == "torch":
            module.backends.cudnn.version()  # here torch compares its cuDNN with the one that was loaded
    except BaseException as error:  # noqa: BLE001 - whatever it was, the parent shall hear of it
        say(module=name, error=f"{type(error).__name__}: {error}"[:4000])
        return False
    say(module=name, error="")
    return True


def forked(action: Callable[[], Any], **about: Any) -> None:
    """Run `action` in a fork; if that dies, say `about` what."""
    process = os.fork()
    if not process:
        os._exit(_survived(action))
    status = os.waitpid(process, 0)[1]
    if status:
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        say(code=code, error=f"it died with exit code {code}", **about)


def _survived(action: Callable[[], Any]) -> int:
    try:
        action()
    except BaseException:  # noqa: BLE001 - a fork must not run on into its parent's code
        traceback.print_exc()
        return 1
    return 0


VERBS = {
    "open": open_each,
    "cudnn": use_cudnn,
    "versions": versions,
    "driver": driver,
    "import": import_each,
}


def main() -> None:
    """Run the verb that the command line names. Whatever else is printed goes to standard error."""
    _REPORT["to"] = os.dup(1)
    os.dup2(2, 1)
    say(alive=True)
    VERBS[sys.argv[1]](sys.argv[2:])


if __name__ == "__main__":
    main()
