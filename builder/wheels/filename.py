"""What a wheel's file name says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from builder.errors import BadInputError, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelName:
    """A wheel's file name, taken apart.

    Attributes:
        distribution: The distribution's normalised name.
        version: Its version.
        python: The oldest CPython that it is for, as `3.11`, or "" where it is for every one.
    """

    distribution: str
    version: str
    python: str

    @property
    def cuda(self) -> str:
        """The major version of CUDA that it is for, if the distribution's name says it: `12`, or ""."""
        found = re.search(r"-cu(\d+)$", self.distribution)
        return found[1] if found else ""


def wheel_name(filename: str) -> WheelName:
    """Take a wheel's file name apart.

    Raises:
        BadInputError: It is no wheel's name.
    """
    try:
        name, version, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise BadInputError(
            Fault(
                place=filename,
                cause=f"is not the name of a wheel: {error}",
                fix="Give the file the name that the index lists it under",
            )
        ) from error
    pythons = sorted(
        (int(found[1]), int(found[2]))
        for tag in tags
        if (found := re.fullmatch(r"cp(\d)(\d+)", tag.interpreter))
    )
    python = ".".join(map(str, pythons[0])) if pythons else ""
    return WheelName(distribution=name, version=str(version), python=python)
