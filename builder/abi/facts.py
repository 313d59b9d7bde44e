"""Facts: what binaries say of themselves, before anything judges them.

`Binary` is one ELF file, `WheelFacts` all of a wheel, `BaseFacts` the libraries of a base, `Summary` what
locks repeat of a wheel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

FORMAT = 1
"""To be raised when records change, or when harvesting sees more or other things in the same wheel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """One ELF file: a library, an extension module or a program.

    Attributes:
        path: Where it lies once installed, relative to site-packages: `torch/lib/libc10.so`. What a wheel
            puts beside site-packages begins with `../../../`, the environment's prefix. In a base, absolute.
        machine: `x86_64`, `aarch64`, or `e_machine` as a number for any other.
        soname: DT_SONAME, or "" where it has none.
        needed: DT_NEEDED, in the file's order.
        rpath: DT_RPATH, split at its colons, with `$ORIGIN` as it stands. Empty entries are kept: they mean
            the current directory.
        runpath: DT_RUNPATH likewise. Where there is one, the loader ignores `rpath`.
        requires: The symbol versions it needs of each library: `{"libc.so.6": ("GLIBC_2.17",)}`. Of families
            that only grow (GLIBC, GLIBCXX, CXXABI, GCC) only the highest stands here.
        provides: The symbol versions it defines, likewise.
        executable_stack: Whether PT_GNU_STACK asks for one, or is missing.
        opens: What it opens by name at run time. Each entry is the names that it tries in order until one
            opens: a single name, or cuDNN 9's `.so.9.1.0`, `.so.9.1`, `.so.9`, `.so`.
        gpu: The GPU code in it: `sm_86` is machine code, `compute_86` is PTX; machine code first.
        gpu_cuda: The release of the CUDA compiler that made the newest of that code, machine code or PTX,
            `12.4`; "" where there is none, or it does not say.
        interpreter: The loader that a program asks for, or "" for a library.
        unread: Why the file was not read, or "": then nothing but `path` is known.
    """

    path: str
    machine: str = "x86_64"
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    requires: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provides: tuple[str, ...] = ()
    executable_stack: bool = False
    opens: tuple[tuple[str, ...], ...] = ()
    gpu: tuple[str, ...] = ()
    gpu_cuda: str = ""
    interpreter: str = ""
    unread: str = ""

    @property
    def file(self) -> str:
        """The name of the file, without its folder."""
        return self.path.rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        """A plain dict without the fields that have their default."""
        return _sparse(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Binary:
        """The record that `to_json` gave.

        Raises:
            TypeError: There is a field that this version does not know, or `path` is missing.
        """
        return cls(**{name: _DECODERS.get(name, _plain)(value) for name, value in data.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFacts:
    """What all binaries of one wheel say.

    Attributes:
        file: The wheel's file name.
        sha256: Its hash, in hex: facts are known by it.
        binaries: Every ELF file, sorted by path.
        gpu: What the wheel says as a whole of its GPU code: torch's `torch.cuda.get_arch_list()`.
        cuda: The CUDA it was built for, as far as it says so: torch's `torch.version.cuda`, `12.1`.
        torch: The torch that its own metadata demands, as a PEP 440 specifier such as `==2.4.1`, or "".
    """

    file: str
    sha256: str
    binaries: tuple[Binary, ...] = ()
    gpu: tuple[str, ...] = ()
    cuda: str = ""
    torch: str = ""

    @property
    def complete(self) -> bool:
        """Whether all of its binaries for our machine were read."""
        return not any(binary.unread and binary.machine == "x86_64" for binary in self.binaries)

    def to_json(self) -> dict[str, Any]:
        """A plain dict without the fields that have their default."""
        plain = _sparse(self)
        if self.binaries:
            plain["binaries"] = [binary.to_json() for binary in self.binaries]
        return {"format": FORMAT, **plain}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WheelFacts:
        """The record that `to_json` gave.

        Raises:
            ValueError: It is of another format.
            TypeError: There is a field that this version does not know, or one is missing.
        """
        if data.get("format") != FORMAT:
            raise ValueError(f"its format is {data.get('format')!r}, this cuvee reads {FORMAT}")
        plain = {name: value for name, value in data.items() if name != "format"}
        binaries = tuple(Binary.from_json(one) for one in plain.pop("binaries", ()))
        return cls(**{**plain, "binaries": binaries, "gpu": tuple(plain.get("gpu", ()))})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseFacts:
    """The libraries of a base; each record is itself alone, so that what is worked out of it can be kept.

    Attributes:
        id: The base's id in the matrix, with what is laid on top: a key of `Base.variants`.
        image: What was read, for people.
        binaries: The libraries, with absolute paths, sorted.
        links: Symbolic links among the loader's folders, from absolute path to absolute path.
    """

    id: str
    image: str
    binaries: tuple[Binary, ...]
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def glibc(self) -> tuple[int, int]:
        """The C library's version: the newest that it provides."""
        libc = next((one for one in self.binaries if one.soname == "libc.so.6"), None)
        versions = [name for name in (libc.provides if libc else ()) if name.startswith("GLIBC_2.")]
        return max(((2, int(name.split(".")[1])) for name in versions), default=(0, 0))

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        binaries = [binary.to_json() for binary in self.binaries]
        return {
            "format": FORMAT,
            "id": self.id,
            "image": self.image,
            "binaries": binaries,
            "links": self.links,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BaseFacts:
        """The record that `to_json` gave.

        Raises:
            ValueError: It is of another format.
            KeyError: A field is missing.
        """
        if data.get("format") != FORMAT:
            raise ValueError(f"its format is {data.get('format')!r}, this cuvee reads {FORMAT}")
        binaries = tuple(Binary.from_json(one) for one in data["binaries"])
        return cls(id=data["id"], image=data["image"], binaries=binaries, links=data["links"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The little of a wheel's facts that its lock repeats, because plans need it.

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
    def from_json(cls, data: Mapping[str, Sequence[str]]) -> Summary:
        """The record that `to_json` gave.

        Raises:
            TypeError: There is a field that this version does not know.
        """
        return cls(**{name: tuple(values) for name, values in data.items()})


def _plain(value: Any) -> Any:
    return value


def _strings(value: Sequence[str]) -> tuple[str, ...]:
    return tuple(value)


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("needed", "rpath", "runpath", "provides", "gpu"), _strings),
    "requires": lambda value: {name: tuple(versions) for name, versions in value.items()},
    # One name is the usual case: it stands without a list of its own.
    "opens": lambda value: tuple((names,) if isinstance(names, str) else tuple(names) for names in value),
}


def _sparse(record: Binary | WheelFacts) -> dict[str, Any]:
    """The record's fields as JSON has them, without those that have their default."""
    plain: dict[str, Any] = {}
    for one in fields(record):
        value = getattr(record, one.name)
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        if value != default:
            plain[one.name] = [_name_or_names(names) for names in value] if one.name == "opens" else value
    return plain


def _name_or_names(names: tuple[str, ...]) -> str | tuple[str, ...]:
    return names[0] if len(names) == 1 else names
