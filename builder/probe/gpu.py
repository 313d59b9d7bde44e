"""The GPU, asked through the driver's own libraries: what it is, and who uses its memory."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Dict, List, Optional

if TYPE_CHECKING:
    from .child import Say

MIB = 1 << 20
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NAME_LENGTH = 256


class GpuError(Exception):
    """There is no GPU, or its driver refuses."""


def act(_arguments: List[str], say: Say) -> None:
    """Say what GPU there is, or why there is none."""
    try:
        say({"gpu": Driver().describe()})
    except GpuError as error:
        say({"gpu": None, "gpu_reason": str(error)})


class Driver:
    """The first GPU, as libcuda sees it. Creating one raises GpuError where there is none."""

    def __init__(self, library: Any = None) -> None:
        self._cuda = library or _library("libcuda.so.1")
        self._call("cuInit", 0)
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)

    def describe(self) -> Dict[str, Any]:
        """Name, compute capability, memory in MiB, the driver's version and the newest CUDA it serves."""
        name = ctypes.create_string_buffer(_NAME_LENGTH)
        self._call("cuDeviceGetName", name, _NAME_LENGTH, self._device)
        memory = ctypes.c_size_t()
        self._call("cuDeviceTotalMem_v2", ctypes.byref(memory), self._device)
        cuda = self._number("cuDriverGetVersion")
        return {
            "name": name.value.decode(),
            "compute_capability": "{}.{}".format(self._attribute(_MAJOR), self._attribute(_MINOR)),
            "memory_mib": memory.value // MIB,
            "driver": driver_version(),
            "cuda": "{}.{}".format(cuda // 1000, cuda % 1000 // 10),
        }

    def in_use(self) -> bool:
        """Whether this process computes on the GPU: the CUDA runtime then holds the primary context."""
        flags, active = ctypes.c_uint(), ctypes.c_int()
        state = (ctypes.byref(flags), ctypes.byref(active))
        self._call("cuDevicePrimaryCtxGetState", self._device, *state)
        return bool(active.value)

    def free_mib(self) -> int:
        """Free memory of the GPU in MiB. The context needed to ask is given back at once."""
        context, old = ctypes.c_void_p(), ctypes.c_void_p()
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        try:
            self._call("cuCtxPushCurrent_v2", context)
            self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
            self._call("cuCtxPopCurrent_v2", ctypes.byref(old))
        finally:
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)
        return free.value // MIB

    def _attribute(self, attribute: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device)
        return value.value

    def _number(self, function: str) -> int:
        value = ctypes.c_int()
        self._call(function, ctypes.byref(value))
        return value.value

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._cuda, function)(*arguments)
        if status:
            raise GpuError("{} returned {} ({})".format(function, status, self._words(status)))

    def _words(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._cuda.cuGetErrorString(status, ctypes.byref(text))
        return (text.value or b"no description").decode()


def driver_version() -> Optional[str]:
    """The driver's version as people know it, 550.54.15, or None where NVML is missing."""
    try:
        nvml = _library("libnvidia-ml.so.1")
    except GpuError:
        return None
    text = ctypes.create_string_buffer(_NAME_LENGTH)
    if nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, _NAME_LENGTH):
        return None
    return text.value.decode()


def _library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise GpuError(str(error)) from error
