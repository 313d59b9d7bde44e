"""What the loader can meet: the files, the links between them, and how the loader is set up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from builder.abi.facts import Binary

DEBIAN_FOLDERS = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib")
"""The default folders of Debian's and Ubuntu's loader, in order.

Source: `ld.so --help` of Debian 12's libc6. No `lib64` is among them. ldconfig adds the same four, in the
same order, after those of ld.so.conf, as its `-v` shows.
"""

DEBIAN_LIB = "lib/x86_64-linux-gnu"
"""What `$LIB` stands for there: DL_DST_LIB, `lib64` in Red Hat's builds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that decides where a name leads.

    Attributes:
        files: The facts of each file by its absolute path.
        links: Symbolic links of files and of whole folders: absolute path to what it points at, which is
            absolute, or relative to the link's folder.
        library_path: LD_LIBRARY_PATH as it stood when the program started, split at `:` and `;`.
        cache: What ldconfig wrote to /etc/ld.so.cache, name to path; see `builder.abi.ldconfig`.
        defaults: The folders that are searched last.
        glibc: The release of the C library, `(2, 36)`.
        absent: Names that come from the host's driver, such as `libcuda.so.1`; `*`, `?` and `[...]` stand for
            what they do in file patterns. NVIDIA's container runtime puts those files into a default folder
            and runs ldconfig: so what RPATH, LD_LIBRARY_PATH, RUNPATH or the cache leads to comes first.
        machine: The machine of the running programs; files of others are passed over.
        lib: What `$LIB` stands for.
        platform: What `$PLATFORM` stands for. glibc before 2.37 says `haswell` on many of Intel's processors.
        hwcaps: The levels of the processor, best first: `("x86-64-v3", "x86-64-v2")`. In each search folder
            `glibc-hwcaps/LEVEL` comes first, from glibc 2.33 on. Without levels, what every processor runs.
    """

    files: Mapping[str, Binary]
    links: Mapping[str, str] = field(default_factory=dict)
    library_path: tuple[str, ...] = ()
    cache: Mapping[str, str] = field(default_factory=dict)
    defaults: tuple[str, ...] = DEBIAN_FOLDERS
    glibc: tuple[int, int]
    absent: Collection[str] = frozenset()
    machine: str = "x86_64"
    lib: str = DEBIAN_LIB
    platform: str = "x86_64"
    hwcaps: tuple[str, ...] = ()
