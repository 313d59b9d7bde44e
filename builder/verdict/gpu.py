"""Which GPUs a library's code runs on.

Machine code runs on its own major version from its own minor version on: sm_86 on 8.6 and 8.9, not on 8.0 or
9.0. PTX is compiled by the driver for every GPU from there on. `sm_90a` is for that GPU alone, `sm_100f` for
its family. Source: "CUDA C++ Programming Guide", "Binary Compatibility" and "PTX Compatibility".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from builder.verdict.record import GpuDriver, GpuRange
from builder.verdict.tables import gpus, is_used, numbers, toolkit_driver

_CODE = re.compile(r"(?P<kind>sm|compute)_(?P<number>\d+)(?P<suffix>[af]?)")
Code = tuple[str, int, str]


def parsed(code: Sequence[str]) -> tuple[Code, ...]:
    """Kind, number and suffix of each: `sm_90a` is `("sm", 90, "a")`; what is neither is left out."""
    found = (_CODE.fullmatch(one) for one in code)
    return tuple((match["kind"], int(match["number"]), match["suffix"]) for match in found if match)


def native(code: Iterable[Code], gpu: int) -> bool:
    """Whether a GPU runs machine code that is there."""
    return any(kind == "sm" and _fits(number, suffix, gpu) for kind, number, suffix in code)


def compiled(code: Iterable[Code], gpu: int) -> bool:
    """Whether the driver can compile PTX that is there for a GPU."""
    return any(
        kind == "compute" and (_fits(number, suffix, gpu) if suffix else number <= gpu)
        for kind, number, suffix in code
    )


def _fits(number: int, suffix: str, gpu: int) -> bool:
    if suffix == "a":
        return number == gpu
    return number // 10 == gpu // 10 and number <= gpu


def gpu_range(library: str, code: Sequence[str], cuda: str = "") -> GpuRange | None:
    """The range of a library, or None for one without GPU code.

    Args:
        library: What it is called.
        code: Its machine code and PTX, as `sm_86` and `compute_86`.
        cuda: The toolkit that made its PTX, `12.4`, or "" where that is not known.
    """
    known, table = parsed(code), tuple(gpus())
    here = [gpu for gpu in table if native(known, gpu) or compiled(known, gpu)]
    if not here:
        return None
    newest = [number for kind, number, suffix in known if kind == "compute" and not suffix]
    return GpuRange(
        library=library,
        code=tuple(code),
        low=here[0],
        high=None if newest else here[-1],
        native_high=max((gpu for gpu in here if native(known, gpu)), default=0),
        gaps=tuple(gpu for gpu in table if here[0] < gpu < here[-1] and gpu not in here),
        jit_driver=toolkit_driver(cuda) if newest and cuda else "",
    )


def common(ranges: Sequence[GpuRange]) -> tuple[int | None, int | None]:
    """The lowest and highest compute capability that all of some libraries serve; no highest is None."""
    lows = (next(gpu for gpu in gpus() if serves(one, gpu)) for one in ranges)
    highs = [one.high for one in ranges if one.high is not None]
    return max(lows, default=None), min(highs, default=None)


def serves(one: GpuRange, gpu: int) -> bool:
    """Whether nothing fails on a GPU for a library's sake: it runs there, or nothing is asked of it."""
    code = parsed(one.code)
    return native(code, gpu) or compiled(code, gpu) or not is_used(_package(one), gpu)


def drivers(ranges: Sequence[GpuRange], oldest: str) -> tuple[GpuDriver, ...]:
    """The oldest driver for each GPU that all libraries serve: some have only PTX for it.

    Args:
        ranges: The libraries' ranges.
        oldest: The driver below which nothing runs.
    """
    low, high = common(ranges)
    return tuple(
        GpuDriver(gpu=gpu, driver=max((oldest, *_compilers(ranges, gpu)), key=numbers))
        for gpu in gpus()
        if low is not None and low <= gpu <= (high or gpu) and all(serves(one, gpu) for one in ranges)
    )


def _compilers(ranges: Sequence[GpuRange], gpu: int) -> Iterator[str]:
    return (one.jit_driver for one in ranges if one.jit_driver and to_compile(one, gpu))


def to_compile(one: GpuRange, gpu: int) -> bool:
    """Whether the driver has to compile a library for a GPU: it is used there, and has PTX alone."""
    code = parsed(one.code)
    return compiled(code, gpu) and not native(code, gpu) and is_used(_package(one), gpu)


def _package(one: GpuRange) -> str:
    return one.library.partition(" ")[0]


def steps(found: Sequence[GpuDriver]) -> str:
    """The drivers for people, where they change: `525.60.13; from 9.0 (Hopper) on 535.54.03`."""
    told: list[str] = []
    last = ""
    for one in found:
        if one.driver != last:
            told.append(one.driver if not told else f"from {named(one.gpu)} on {one.driver}")
            last = one.driver
    return "; ".join(told)


def named(gpu: int | None) -> str:
    """A compute capability for people: `8.6 (Ampere)`."""
    if gpu is None:
        return "any newer"
    generation = gpus().get(gpu, "unknown")
    return f"{gpu // 10}.{gpu % 10} ({generation})"
