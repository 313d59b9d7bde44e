"""What a wheel's own metadata demands of torch."""

from __future__ import annotations

from collections.abc import Iterator
from email.parser import BytesHeaderParser

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ANY_PYTHON = "3.12"
"""The Python for which a wheel for every Python is asked."""

LINUX = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "extra": "",
}


def torch_demanded(metadata: bytes, python: str) -> str:
    """The bounds that a wheel puts on torch, on Linux and without extras.

    Args:
        metadata: The wheel's METADATA.
        python: The Python that the wheel is for, as `3.11`, or "" for every one.

    Returns:
        A PEP 440 specifier such as `==2.4.1`, or "" where there is no bound.
    """
    lines = BytesHeaderParser().parsebytes(metadata).get_all("Requires-Dist", [])
    place = {
        **LINUX,
        "python_version": python or ANY_PYTHON,
        "python_full_version": f"{python or ANY_PYTHON}.0",
    }
    bounds = {str(demand.specifier) for line in lines for demand in _demands_of_torch(str(line), place)}
    return ",".join(sorted(bounds - {""}))


def _demands_of_torch(line: str, place: dict[str, str]) -> Iterator[Requirement]:
    """The demand in a line, if it is of torch and holds in that place."""
    try:
        demand = Requirement(line)
        is_torch = canonicalize_name(demand.name) == "torch"
        if is_torch and (demand.marker is None or demand.marker.evaluate(place)):
            yield demand
    except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName, RecursionError):
        return  # lines that no installer can read have no effect
