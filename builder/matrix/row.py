"""The entries of `matrix.yaml`: bases, defaults and rows.

Editors show the docstrings below beside the keys (see `matrix.schema`): they address whoever edits the file.
"""

# Not `from __future__ import annotations`: pydantic reads the annotations of these classes as they are made.

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.config import JsonDict

from builder.matrix.faults import choice, kind, lacking, wrong
from builder.matrix.values import (
    CheckName,
    DebianPackage,
    Exact,
    ExactOrPrefix,
    FfmpegChoice,
    Gigabytes,
    IndexName,
    Name,
    OverlayRequirements,
    Package,
    PastDay,
    Reason,
    RequirementText,
    RowRequirements,
    SitePath,
    StatusChoice,
    Text,
    TwoNumbers,
)
from builder.matrix.yamlfile import Document, KeyPath

ONLY_NAMES: JsonDict = {"additionalProperties": False}
"""For editors: a key that cannot be a name is wrong."""

MAIN = "main"
"""The environment of an ordinary row."""

LIBPYTHON, FFMPEG = "+libpython", "+ffmpeg"
"""What may lie on top of a base."""

_NO_EFFECT = {"summary", "status", "fails_with", "aliases", "budget", "leave_out"}  # on what is resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a row asks of the resolver.

    Attributes:
        requirement: As PEP 508 writes it.
        kind: A requirement is installed; a constraint limits a package that something else brings; an
            override replaces what other packages ask of it.
        reason: Why, for constraints and overrides.
        place: Where it is asked: `matrix.yaml:31 rows.cu121.ctranslate2`.
    """

    requirement: str
    kind: Literal["requirement", "constraint", "override"]
    reason: str | None
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an entry stands in its document, and the bases it may name: the context of its validation."""

    document: Document
    path: KeyPath
    bases: "Mapping[str, Base]"

    def place(self, keys: KeyPath) -> str:
        """The place of one of the entry's keys, which may be inherited from the defaults."""
        lines = self.document.lines
        inherited = (*self.path, *keys[:1]) not in lines and ("defaults", *keys[:1]) in lines
        return self.document.place(("defaults", *keys) if inherited else (*self.path, *keys))


class Record(BaseModel):
    """A mapping that people write; it has no other keys than its fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        field_title_generator=lambda name, _: name,  # pydantic's own would show "Cudnn"
    )


class _Entry(Record):
    """A record that knows its id and where it stands, from the `Origin` it is validated with."""

    _origin: Origin = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        self._origin = context

    @property
    def id(self) -> str:
        """The key that it stands under."""
        return str(self._origin.path[-1])


class Base(_Entry):
    """The system that rows are built on: a small Debian with Python."""

    image: Text
    """The image that `docker build` starts from, by name and tag."""
    suite: Name
    """The Debian suite that mmdebstrap makes the base from where no container registry can be reached."""
    python: TwoNumbers
    """The Python that the suite has, such as "3.11"."""
    glibc: TwoNumbers
    """The C library that the suite has; wheels that need a newer one cannot be taken."""
    packages: tuple[DebianPackage, ...]
    """The Debian packages that the base must have."""
    suites: tuple[Name, ...] = ()
    """Other Debian suites that packages may come from, such as an older one that still has another Python."""

    @property
    def variants(self) -> Mapping[str, tuple[str, ...]]:
        """What rows stand on, by name, with Debian's packages that it has beyond the base's own.

        torchcodec needs Python's own shared library, and FFmpeg's: Debian's, or those inside PyAV.
        """
        python = f"libpython{self.python}"
        return {self.id: (), f"{self.id}{LIBPYTHON}": (python,), f"{self.id}{FFMPEG}": ("ffmpeg", python)}


def _base(value: object, info: ValidationInfo) -> Base:
    origin: Any = info.context
    bases: Mapping[str, Base] = origin.bases
    if isinstance(value, str) and value in bases:
        return bases[value]
    fix = choice(value, tuple(bases)) if bases else 'Add it under "bases"'
    raise wrong(f"{kind(value)} where the name of a base belongs", fix)


def _python_of_base(value: str, info: ValidationInfo) -> str:
    base = info.data.get("base")
    if isinstance(base, Base) and base.python != value:
        raise wrong(f"base {base.id} has Python {base.python}, not {value}", f'Write "{base.python}"')
    return value


BaseName: TypeAlias = Annotated[Base, BeforeValidator(_base), WithJsonSchema({"type": "string"})]
RowPython: TypeAlias = Annotated[TwoNumbers, AfterValidator(_python_of_base)]


class Defaults(Record):
    """Values for rows that do not have their own."""

    base: BaseName | None = None
    """The base of rows, by its key under "bases"."""
    python: RowPython | None = None
    """The Python of rows; the base's."""
    ffmpeg: FfmpegChoice | None = None
    """Where FFmpeg comes from in rows."""
    source_archives: Mapping[Package, Reason] = {}
    """Packages that exist only as source archives and may be built, each with the reason."""
    leave_out: Mapping[SitePath, Reason] = {}
    """What images leave out of wheels: paths below site-packages, * for any name, each with the reason."""


class Overlay(Record):
    """Libraries that are laid beside the environment, for what opens them by name."""

    requirements: OverlayRequirements
    """What is laid there, as PEP 508 writes it."""
    because: Reason
    """What needs these libraries, and why the environment itself cannot have them."""


class Isolated(Record):
    """One of the environments of a row whose environments never share a process."""

    cuda: TwoNumbers | None
    """The CUDA that its wheels are built for; null where it has none."""
    cudnn: TwoNumbers | None = None
    """Its cuDNN; null where nothing needs one."""
    torch: Exact | None = None
    """The exact version of torch; null if absent."""
    ctranslate2: ExactOrPrefix | None = None
    """The exact version of CTranslate2, or its first numbers and a star; null if absent."""
    requirements: RowRequirements = ()
    """What else is installed, as PEP 508 writes it."""
    constraints: Mapping[RequirementText, Reason] = {}
    """Limits on packages that others bring, each with the reason."""
    overrides: Mapping[RequirementText, Reason] = {}
    """What is taken instead of what other packages ask for, each with the reason."""


class Budget(Record):
    """What a row may weigh; its image fails when it is more than 2 % over."""

    pull: Gigabytes
    """Gigabytes (10^9 bytes) of its layers as a registry sends them."""
    disk: Gigabytes
    """Gigabytes of its files once they are unpacked."""


_OF_ONE_ENVIRONMENT = ("torch", "ctranslate2", "requirements", "constraints", "overrides")


def _alone(value: Mapping[str, Isolated], info: ValidationInfo) -> Mapping[str, Isolated]:
    doubled = [key for key in _OF_ONE_ENVIRONMENT if info.data.get(key)]
    if value and doubled:
        raise wrong(
            f"the row has environments and, beside them, {', '.join(doubled)}",
            "Move these into the environment that they belong to",
        )
    if MAIN in value or len(value) == 1:
        raise wrong("a row of one environment needs no environments", "Write its keys in the row itself")
    return value


class FailsWith(Record):
    """How a known-bad row fails."""

    check: CheckName
    """The check of `cuvee test` that must fail."""
    message: Text
    """A part of what it must say."""
    also: tuple[Text, ...] = ()
    """Parts of what else is wrong with it, which is met only when the first is mended."""


def _as_status_says(value: FailsWith | None, info: ValidationInfo) -> FailsWith | None:
    match info.data.get("status"):
        case "known-bad" if value is None:
            raise lacking(
                "a known-bad row does not say how it fails", 'Add "check" and "message" below "fails_with"'
            )
        case "good" | "untested" as status if value is not None:
            raise wrong(
                f"a row that is {status} cannot say how it fails", 'Remove it, or write "status: known-bad"'
            )
    return value


def _let_defaults_stand_in(schema: dict[str, Any]) -> None:
    schema["required"] = [key for key in schema["required"] if key not in Defaults.model_fields]


class Row(_Entry):
    """A combination of versions that works, is known not to, or could not be tried yet."""

    model_config = ConfigDict(json_schema_extra=_let_defaults_stand_in)

    summary: Text
    """What the row is for, in one line."""
    as_of: PastDay
    """The day whose package index the row is resolved against, as YYYY-MM-DD."""
    base: BaseName
    """The base, by its key under "bases"."""
    python: RowPython
    """The base's Python, such as "3.11"."""
    cuda: TwoNumbers | None
    """The CUDA that the wheels are built for, such as "12.4"; of several the highest; null for processors."""
    cudnn: TwoNumbers | None = None
    """The cuDNN of the environment, such as "9.5"; null where nothing needs one."""
    torch: Exact | None = None
    """The exact version of torch; null for a row without it."""
    ctranslate2: ExactOrPrefix | None = None
    """The exact version of CTranslate2, or its first numbers and a star (1.2.*); null if absent."""
    requirements: RowRequirements = ()
    """What else is installed, as PEP 508 writes it."""
    constraints: Mapping[RequirementText, Reason] = {}
    """Limits on packages that others bring, each with the reason."""
    overrides: Mapping[RequirementText, Reason] = {}
    """What is taken instead of what other packages ask for, each with the reason."""
    environments: Annotated[Mapping[Name, Isolated], AfterValidator(_alone)] = Field(
        default={}, json_schema_extra=ONLY_NAMES
    )
    """Environments that never share a process, each under its name; `python` is the first's."""
    index: IndexName | None = None
    """The name of an index to look in besides PyPI; a name, never an address."""
    overlays: Mapping[Name, Overlay] = Field(default={}, json_schema_extra=ONLY_NAMES)
    """Libraries that are laid beside the environment, each set under a name."""
    ffmpeg: FfmpegChoice
    """Where FFmpeg comes from: a static program from a wheel; that and PyAV's libraries; Debian; or none."""
    source_archives: Mapping[Package, Reason] = {}
    """Packages that exist only as source archives and may be built, instead of the defaults' ones."""
    leave_out: Mapping[SitePath, Reason] = {}
    """What the image does not take from wheels, instead of what the defaults name."""
    aliases: tuple[Name, ...] = ()
    """Other names that the row answers to, such as "latest"; its image gets them as tags too."""
    budget: Budget | None = None
    """What its image may weigh."""
    status: StatusChoice = "good"
    """Whether the row works. A known-bad row shows how it fails; an untested one has no lock yet."""
    fails_with: Annotated[FailsWith | None, AfterValidator(_as_status_says)] = Field(
        default=None, validate_default=True
    )
    """How a known-bad row fails; its test fails if it starts to work."""

    def place(self, *keys: str | int) -> str:
        """Where a key of the row is written: `matrix.yaml:31 rows.cu121.ctranslate2`.

        Further keys lead to an item: `place("requirements", 0)`, `place("constraints", "numpy<2")`. A key
        that comes from an anchor or a default has its line there; a key that is nowhere has the row's.
        """
        return self._origin.place(keys)

    def stacks(self) -> "tuple[tuple[str, Row | Isolated], ...]":
        """The row's environments by name: itself, named `main`, unless it is isolated."""
        return tuple(self.environments.items()) or ((MAIN, self),)

    @property
    def system_packages(self) -> tuple[str, ...]:
        """Debian's packages beyond the base's, which what opens FFmpeg's libraries needs."""
        return self.base.variants[self.base_variant]

    @property
    def base_variant(self) -> str:
        """What of `Base.variants` the row stands on."""
        return self.base.id + {"shared": FFMPEG, "pyav": LIBPYTHON}.get(self.ffmpeg, "")

    def every(self, key: Literal["cuda", "cudnn", "torch", "ctranslate2"]) -> tuple[str, ...]:
        """What the environments have of a key, each value once: `("8.9", "9.10")`."""
        return tuple(dict.fromkeys(value for _, part in self.stacks() if (value := getattr(part, key))))

    def demands(self, environment: str | None = None) -> tuple[Demand, ...]:
        """What an environment asks of the resolver, the first unless another is named.

        Overlays are resolved apart, from `Overlay.requirements`.
        """
        first, *_ = names = [name for name, _ in self.stacks()]
        name = environment or first
        keys = ("environments", name) if self.environments else ()
        return tuple(self._demands(dict(self.stacks())[name], keys, is_first=name == names[0]))

    def _demands(self, part: "Row | Isolated", keys: KeyPath, *, is_first: bool) -> Iterator[Demand]:
        for name, version in (("torch", part.torch), ("ctranslate2", part.ctranslate2)):
            if version:
                yield self._requirement(f"{name}=={version}", *keys, name)
        for position, requirement in enumerate(part.requirements):
            yield self._requirement(requirement, *keys, "requirements", position)
        yield self._requirement("pip")  # so that an image can be built on
        if self.ffmpeg in {"static", "pyav"} and is_first:
            yield self._requirement("imageio-ffmpeg", "ffmpeg")
        for text, reason in part.constraints.items():
            place = self.place(*keys, "constraints", text)
            yield Demand(requirement=text, kind="constraint", reason=reason, place=place)
        for text, reason in part.overrides.items():
            place = self.place(*keys, "overrides", text)
            yield Demand(requirement=text, kind="override", reason=reason, place=place)

    def _requirement(self, requirement: str, *keys: str | int) -> Demand:
        return Demand(requirement=requirement, kind="requirement", reason=None, place=self.place(*keys))

    def fingerprint(self) -> str:
        """The SHA-256 of what decides the row's packages and image; reasons, summary and status do not.

        Order does not count, nor do keys at their default, so that a new optional key leaves old locks valid.
        """
        facts = self.model_dump(mode="json", exclude=_NO_EFFECT, exclude_defaults=True)
        facts["requirements"] = sorted(self.requirements)
        for part in facts.get("environments", {}).values():
            for key in ("requirements", "constraints", "overrides"):
                part[key] = sorted(part.get(key, ()))
        for key in ("constraints", "overrides", "source_archives"):
            facts[key] = sorted(facts.get(key, ()))
        facts["overlays"] = {name: sorted(overlay.requirements) for name, overlay in self.overlays.items()}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
