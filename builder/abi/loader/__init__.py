"""glibc's dynamic loader, worked out on paper: which file a name leads to, or the words in which it fails.

Nothing here reads a disk or starts a process. A `World` says which files there are and what they say of
themselves, a `Process` opens names in it by the rules of glibc's `elf/dl-load.c`, `dl-deps.c`, `dl-open.c`
and `dl-version.c`, as they stand in the releases from 2.27 to 2.42.
`tests/process/test_loader_agrees.py` holds it against the real loader.

What is left out, on purpose:

- symbols: a library that lacks a symbol is loaded here, and fails there;
- `LD_PRELOAD`, auditing, `dlmopen`, set-user-ID programs, DT_AUXILIARY, DT_FILTER and DF_1_NODEFLIB;
- the folders `tls`, `haswell`, `x86_64` and the like in search folders, which glibc before 2.37 tries too: no
  wheel and no Debian package of the last ten years puts a file there. `glibc-hwcaps` is modelled;
- the current folder: it is not known, so that relative folders and relative paths lead to no file;
- files that are not ELF: a world has `Binary` records only. The real loader would not pass over such a file
  but fail with `invalid ELF header`.
"""

from builder.abi.loader.outcome import Cause, Failed, Loaded, Need, explain
from builder.abi.loader.places import DRIVER, Found, Place, Rule
from builder.abi.loader.process import Process
from builder.abi.loader.world import DEBIAN_FOLDERS, DEBIAN_LIB, World

__all__ = [
    "DEBIAN_FOLDERS",
    "DEBIAN_LIB",
    "DRIVER",
    "Cause",
    "Failed",
    "Found",
    "Loaded",
    "Need",
    "Place",
    "Process",
    "Rule",
    "World",
    "explain",
]
