"""How far the contents of a file agree, where two installers write it each in its own way. Pure."""

from __future__ import annotations

import csv
import importlib.util
import io
import marshal
import re
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, Final


def _installer(here: bytes, there: bytes) -> bool:
    return (here, there) == (b"cuvee\n", b"uv")


WINDOWS: Final = b"""\
    if sys.argv[0].endswith("-script.pyw"):
        sys.argv[0] = sys.argv[0][:-11]
    elif sys.argv[0].endswith(".exe"):
        sys.argv[0] = sys.argv[0][:-4]
"""
_PYTHON: Final = re.compile(rb"\A#!(/\S+)/bin/python3?\n")


def _program(here: bytes, there: bytes) -> bool:
    """The same but for four lines that only Windows needs, and for Python's other name."""
    plain = _PYTHON.sub(rb"#!\1/bin/python\n", there.replace(WINDOWS, b""))
    return here == plain and there.count(WINDOWS) == 1


_OWN_LINE: Final = re.compile(
    r"(?:\.\./)+bin/[^/]+|[^/]+\.dist-info/(?:INSTALLER|REQUESTED)|.+\.pyc", re.DOTALL
)
"""Files that the installers write themselves, and so list each as they are."""


def _record(here: bytes, there: bytes) -> bool:
    """The same lines in any order, but for those of files that each installer writes itself."""
    one, other = ([tuple(line) for line in csv.reader(io.StringIO(text.decode()))] for text in (here, there))
    common = [sorted(line for line in lines if not _OWN_LINE.fullmatch(line[0])) for lines in (one, other)]
    return common[0] == common[1] and all(len(set(lines)) == len(lines) for lines in (one, other))


def _bytecode(here: bytes, there: bytes) -> bool:
    """The same code of the same source, judged by a Python that has the same bytecode.

    Bytes alone would be too strict. marshal marks an object to which there are several references (FLAG_REF),
    lest it writes it twice; whether a constant has a second one hangs on what else the process holds when it
    compiles, and not on the source (CPython's issue 129724).
    """
    if here[:16] != there[:16] or here[:4] != importlib.util.MAGIC_NUMBER:
        return False
    one, other = (_told(marshal.loads(code[16:])) for code in (here, there))  # noqa: S302 - our own images'
    return bool(one == other)


def _told(value: Any) -> Any:
    """Code as plain tuples. Python's own comparison of code leaves out names of files, and 1 == True."""
    if isinstance(value, CodeType):
        # co_lnotab is made from co_linetable, and on its way out of Python.
        names = [name for name in dir(value) if name.startswith("co_") and name != "co_lnotab"]
        fields = ((name, getattr(value, name)) for name in names)
        return [(name, _told(content)) for name, content in fields if not callable(content)]
    if isinstance(value, tuple):
        return ["tuple", *map(_told, value)]
    if isinstance(value, frozenset):
        return ["frozenset", *sorted(str(_told(one)) for one in value)]
    return type(value).__name__, repr(value)


def _nothing(here: bytes, there: bytes) -> bool:
    return here == there == b""


AGREE: Final[Mapping[str, Callable[[bytes, bytes], bool]]] = {
    "installer": _installer,
    "program": _program,
    "record": _record,
    "bytecode": _bytecode,
    "both empty": _nothing,
}
