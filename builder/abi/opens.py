"""The names of libraries that a binary opens at run time, read from its constants.

A name counts that is a whole string of its own, and not the end of a path or of a message. Names that a
program puts together from pieces are not found, but for two templates:

- Libraries of cuDNN 9 hold bare names, such as `libcudnn_ops.so`, and `%s.%d.%d.%d`, `%s.%d.%d` and `%s.%d`.
  They try their own release, and then less and less of it: `.so.9.1.0`, `.so.9.1`, `.so.9`, `.so`. So does
  the front library, `libcudnn.so.9`, and so does `libcudnn_graph.so.9` (seen in 9.1.0.70 by LD_DEBUG).
- cuDNN 8 and 9 hold `libnvrtc.so.%d` and `libnvrtc.so`, and try CUDA's major version first (likewise).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.abi.content import Content, reading
from builder.abi.elf import Elf

LONGEST = 255
"""The longest name that counts, in bytes: no file's name is longer."""

MOST_ENDINGS = 100_000
"""Times that `.so` may stand among the constants of one binary; the most seen are 60, in libtorch_cpu.so."""

CUDNN = re.compile(r"libcudnn\w*\.so")
CUDNN_TEMPLATE = b"%s.%d.%d.%d\0"
MAJOR = ".%d"
RELEASE = 3

_ENDING = re.compile(rb"\.so(?:\.\d{1,20}){0,9}(?:\.%d)?(?=\0)")
_NAME = re.compile(rb"lib[\w+.-]+?" + _ENDING.pattern.removesuffix(rb"(?=\0)"))
_UNPRINTABLE = re.compile(rb"[^\x20-\x7e]")
_HASH = re.compile(r"-[0-9a-f]{8}(?=\.so)")


def opened(  # noqa: PLR0913, PLR0917 - each says something else of the binary
    content: Content, elf: Elf, place: str, file: str, version: str = "", cuda: str = ""
) -> tuple[tuple[str, ...], ...]:
    """The names that a binary opens, sorted; each with those that it tries instead, in their order.

    Names that the loader has already are not among them: the file's own and those of DT_NEEDED.

    Args:
        content: The binary.
        elf: What was read of it.
        place: What an error calls it.
        file: The file's name.
        version: The version of its wheel: the release of a library whose soname has the major version only.
        cuda: The major version of CUDA that the wheel is for.

    Raises:
        BadInputError: The constants are not where the file says, or are full of names.
    """
    with reading(place, "its constants cannot be read"):
        names, template = _names_and_template(content, elf)
    release = _release(elf.soname or file, version) if template else ()
    own = _HASH.sub("", elf.soname or file) + "."  # auditwheel puts a hash into the name of what it bundles
    known = {file, elf.soname, *elf.needed, *(name for name in names if own.startswith(f"{name}."))}
    groups = (_tried(name, names, release, cuda) for name in names - known)
    return tuple(sorted(group for group in groups if group))


def _names_and_template(content: Content, elf: Elf) -> tuple[set[str], bool]:
    """The names among the constants, and whether the template of cuDNN 9 stands there."""
    names: set[str] = set()
    template, left = False, MOST_ENDINGS
    for part in elf.constants:
        for data in content.pieces(part, 2 * LONGEST):
            left -= data.count(b".so")
            if left < 0:
                raise ValueError(f"they hold more than {MOST_ENDINGS} names of libraries")
            names |= set(_names(data))
            template = template or CUDNN_TEMPLATE in data
    return names, template


def _names(data: bytes) -> Iterator[str]:
    for ending in _ENDING.finditer(data):
        whole = _UNPRINTABLE.split(data[max(0, ending.end() - LONGEST) : ending.end()])[-1]
        if _NAME.fullmatch(whole):
            yield whole.decode()


def _release(own_name: str, version: str) -> tuple[str, ...]:
    """The three numbers of a library's release: from its own name, else from its wheel's version."""
    own = own_name.partition(".so.")[2].split(".")
    return tuple(own if len(own) == RELEASE else version.split(".")[:RELEASE])


def _tried(name: str, names: set[str], release: tuple[str, ...], cuda: str) -> tuple[str, ...]:
    """What is tried for a name, in the order of trying; () where another name stands for it."""
    if name.endswith(MAJOR):
        bare = name.removesuffix(MAJOR)
        return ((f"{bare}.{cuda}",) if cuda else ()) + ((bare,) if bare in names else ())
    if name + MAJOR in names:
        return ()
    if CUDNN.fullmatch(name):
        return tuple(".".join((name, *release[:count])) for count in range(len(release), -1, -1))
    return (name,)
