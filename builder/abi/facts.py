"""The few facts of a wheel that the lock records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFacts:
    """What a wheel carries and asks for.

    Attributes:
        libraries: Paths in the wheel of the shared libraries that NVIDIA's wheels offer to others.
        opens: Names that its own libraries open at run time, as they give them to the loader. Those of the
            driver and of optional libraries are among them: which must be found is for rules to say.
        architectures: The GPU code it carries: `sm_86` is machine code, `compute_86` is PTX.
        binaries: Paths in the wheel of programs that others start.
    """

    libraries: tuple[str, ...] = ()
    opens: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    binaries: tuple[str, ...] = ()

    def to_json(self) -> dict[str, list[str]]:
        """A plain dict for the lock, without the empty fields."""
        return {name: list(values) for name, values in asdict(self).items() if values}

    @classmethod
    def from_json(cls, data: Mapping[str, Sequence[str]]) -> WheelFacts:
        """The record that `to_json` gave.

        Raises:
            TypeError: There is a field that this version does not know.
        """
        return cls(**{name: tuple(values) for name, values in data.items()})
