from __future__ import annotations

from typing import Any

import pytest

from builder.probe.gpu import MIB, Driver, GpuError
from builder.probe.transcribing import NotOnGpuError, proven

NO_DEVICE = 100


class FakeCuda:
    """A driver with one GPU, in memory; `contexts` counts who holds the primary context."""

    def __init__(self, *, status: int = 0, free_mib: int = 8000, contexts: int = 0) -> None:
        self.status = status
        self.free_mib = free_mib
        self.contexts = contexts

    def __getattr__(self, name: str) -> Any:
        del name
        return lambda *_: 0

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's name
        del flags
        return self.status

    def cuGetErrorString(self, status: int, text: Any) -> None:  # noqa: N802
        del status
        text._obj.value = b"no CUDA-capable device is detected"

    def cuDevicePrimaryCtxGetState(self, device: Any, flags: Any, active: Any) -> int:  # noqa: N802
        del device, flags
        active._obj.value = int(self.contexts > 0)
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:  # noqa: N802
        del context, device
        self.contexts += 1
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:  # noqa: N802
        del device
        self.contexts -= 1
        return 0

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:  # noqa: N802
        del total
        free._obj.value = self.free_mib * MIB
        return 0


def test_without_a_device_the_drivers_own_words_are_told() -> None:
    with pytest.raises(GpuError, match=r"cuInit returned 100 \(no CUDA-capable device is detected\)"):
        Driver(FakeCuda(status=NO_DEVICE))


def test_asking_for_free_memory_leaves_no_context_behind() -> None:
    driver = Driver(FakeCuda())
    assert driver.free_mib() == 8000
    assert not driver.in_use()


def test_a_model_on_the_gpu_is_proven_by_its_context_and_its_memory() -> None:
    assert proven(Driver(FakeCuda(free_mib=7900, contexts=1)), 8000, "cuda") == 100


def test_a_process_without_a_context_did_not_use_the_gpu() -> None:
    with pytest.raises(NotOnGpuError, match="no context on the GPU"):
        proven(Driver(FakeCuda(free_mib=7000)), 8000, "cuda")


def test_a_context_without_a_model_in_memory_is_no_proof() -> None:
    with pytest.raises(NotOnGpuError, match="fell by 10 MiB only"):
        proven(Driver(FakeCuda(free_mib=7990, contexts=1)), 8000, "cuda")


def test_memory_that_others_took_does_not_prove_that_ctranslate2_ran_there() -> None:
    with pytest.raises(NotOnGpuError, match="CTranslate2 ran on 'cpu'"):
        proven(Driver(FakeCuda(free_mib=1000, contexts=1)), 8000, "cpu")
