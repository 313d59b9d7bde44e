"""What torch says of itself besides what every binary says."""

from __future__ import annotations

import re

from builder.abi.content import Content, reading
from builder.abi.elf import Elf

TORCH_PYTHON = "torch/lib/libtorch_python.so"
"""The smallest of torch's big libraries."""

ALWAYS = re.compile(r"torch/lib/libtorch_(python|cuda|cuda_cu|cuda_cpp)\.so")
"""Members that are read however large they are: the first says what torch was compiled for, the others (one
library, in two parts before torch 2) which CUDA libraries `import torch` loads.
"""

TORCH_VERSION = "torch/version.py"

# The beginnings of runs only, and possessive: damaged constants must not cost more than a look at each byte.
_WORDS = re.compile(rb"(?<![\w ])[\w ]++(?=\0)")
_ARCHITECTURE = re.compile(rb"(?:sm|compute)_\d+[a-z]?$")

_CUDA = re.compile(rb"^cuda[ \t]*(?::[^=\n]*)?=[ \t]*['\"](\d+\.\d+)", re.MULTILINE)
LONGEST_LIST = 2048


def listed_architectures(content: Content, elf: Elf, place: str) -> tuple[str, ...]:
    """The list that `torch.cuda.get_arch_list()` returns, from `TORCH_PYTHON`; empty in builds for CPUs.

    The fat binaries would say less: 2.4.1's linear algebra has no sm_75 code, because sm_70's runs there.

    Raises:
        BadInputError: The constants are not where the file says.
    """
    with reading(place, "its constants cannot be read"):
        lists = [
            _list_at_end(words)
            for part in elf.constants
            for data in content.pieces(part, LONGEST_LIST)
            if b"sm_" in data
            for words in _WORDS.findall(data)
            if b"sm_" in words
        ]
    return max(lists, key=len, default=())


def _list_at_end(words: bytes) -> tuple[str, ...]:
    """The architectures at a text's end; in torch 2.8.0 a piece of another constant touches the first."""
    found: list[str] = []
    for word in reversed(words[-LONGEST_LIST:].split(b" ")):
        last = _ARCHITECTURE.search(word)
        if not last:
            break
        found.append(last[0].decode())
        if last.start():
            break
    return tuple(reversed(found))


def cuda_release(version_py: bytes) -> str:
    """The CUDA that torch was built for by its own word, as `12.1`, or "" for a build without CUDA."""
    found = _CUDA.search(version_py)
    return found[1].decode() if found else ""
