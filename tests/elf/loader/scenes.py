"""Random worlds for the loader, small and full of what is rare: two files of one name, links, odd folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from builder.abi.facts import Binary
from builder.abi.loader import World

PROGRAM = "/opt/opener"
LIBC = "libc.so.6"
LOADER = "ld-linux-x86-64.so.2"
INTERPRETER = f"/lib64/{LOADER}"
SYSTEM = "/usr/lib/x86_64-linux-gnu"

LINKS = {
    "/lib": "/usr/lib",
    "/lib64": "/usr/lib64",
    f"/usr/lib64/{LOADER}": f"/lib/x86_64-linux-gnu/{LOADER}",
    "/e": "/b",
}
NAMES = ("liba.so", "libb.so", "libc1.so", "libd.so.1", "libd.so.1.2", "libd.so.1.10")
LEVEL = "glibc-hwcaps/x86-64-v2"
OWN = ("/a", "/a/sub", "/b", "/c/d", "/a/$LIBS")
FOLDERS = (*OWN, *OWN, f"/a/{LEVEL}", "/usr/lib", SYSTEM, f"{SYSTEM}/{LEVEL}")
SEARCHED = (
    *("$ORIGIN", "$ORIGIN/sub", "$ORIGIN/../b", "${ORIGIN}/../c/d", "/a", "/b/", "//c//d", "/e", "/e/../a"),
    *("", "relative", "/usr/$LIB", "/$PLATFORM", "/missing/../a", "/a/sub/../../b", "/"),
)
OPENED = (
    *NAMES,
    *(f"{folder}/{name}" for folder in ("/a", "/b", "/e", "/b/../a", "/missing/../a") for name in NAMES[:3]),
    *("$ORIGIN/liba.so", "$ORIGIN/../b/libb.so", "${LIB}.so", "relative/liba.so", "libnone.so", LIBC),
)
NEEDED = ("liba.so", "$ORIGIN/libb.so", "/b/libb.so", "libnone.so")
VERSIONS = ("V_1", "V_2")


@dataclass(frozen=True)
class Scene:
    """A world, and what is opened in it.

    Attributes:
        world: The world before ldconfig ran.
        conf: The folders of ld.so.conf.
        makes_links: Whether ldconfig makes links too.
        opens: By whom, as the number of a loaded library or None for the program, and which name.
    """

    world: World
    conf: tuple[str, ...]
    makes_links: bool
    opens: tuple[tuple[int | None, str], ...]

    def __repr__(self) -> str:
        """What decides, and no more: a failure is read by people."""
        files = [one.to_json() for one in self.world.files.values() if one.file not in {LIBC, LOADER}]
        links = {path: target for path, target in self.world.links.items() if path not in LINKS}
        conf = f"conf {self.conf}, {'with' if self.makes_links else 'without'} links"
        lines = [f"links {links}", f"library path {self.world.library_path}", conf, f"opens {self.opens}"]
        return "\n".join(["", *map(str, files), *lines])


def scene(seed: int, glibc: tuple[int, int], hwcaps: tuple[str, ...]) -> Scene:
    """A world of up to eight libraries and a program, and up to eight names to open."""
    dice = Random(seed)  # noqa: S311 - worlds, not secrets
    names = [dice.choice(NAMES) for _ in range(dice.randint(3, 8))]
    paths = list(dict.fromkeys(f"{dice.choice(FOLDERS)}/{name}" for name in names))
    files = [*(_library(dice, path, names) for path in paths), _program(dice, names), *base(glibc)]
    opened = [*names * 2, *paths * 4, *OPENED]
    return Scene(
        world=World(
            files={binary.path: binary for binary in files},
            links=LINKS | _links(dice, paths),
            library_path=_several(dice, (*FOLDERS, *SEARCHED), dice.choice([0, 0, 5])),
            glibc=glibc,
            hwcaps=hwcaps,
        ),
        conf=_several(dice, ("/a", "/b", "/c/d", "/e", "/missing"), 3),
        makes_links=dice.random() < 0.5,
        opens=tuple(
            (dice.choice([None, dice.randrange(10)]), dice.choice(opened)) for _ in range(dice.randint(1, 8))
        ),
    )


def base(glibc: tuple[int, int], folder: str = SYSTEM) -> tuple[Binary, Binary]:
    """The C library and its loader."""
    libc = Binary(
        path=f"{folder}/{LIBC}",
        soname=LIBC,
        needed=(LOADER,),
        requires={LOADER: ("GLIBC_2.3", "GLIBC_PRIVATE")},
        provides=("GLIBC_{}.{}".format(*glibc), "GLIBC_PRIVATE"),
        interpreter=INTERPRETER,
    )
    loader = Binary(path=f"{folder}/{LOADER}", soname=LOADER, provides=("GLIBC_2.35", "GLIBC_PRIVATE"))
    return libc, loader


def moved(found: Scene, prefix: str, libc: Binary) -> Scene:
    """The same libraries below another folder, beside the C library of this machine."""
    put = _putter(prefix)
    ours = [one for one in found.world.files.values() if one.file not in {LIBC, LOADER, "opener"}]
    libraries = [_moved(binary, put) for binary in ours]
    world = World(
        files={binary.path: binary for binary in (*libraries, libc)},
        links={put(path): put(target) for path, target in found.world.links.items() if LOADER not in path},
        library_path=tuple(map(put, found.world.library_path)),
        cache={LIBC: libc.path},
        glibc=found.world.glibc,
        hwcaps=found.world.hwcaps,
    )
    return replace(found, world=world, opens=tuple((None, put(name)) for _, name in found.opens))


def _putter(prefix: str) -> Callable[[str], str]:
    return lambda path: prefix + path if path.startswith("/") else path


def _moved(binary: Binary, put: Callable[[str], str]) -> Binary:
    return replace(
        binary,
        path=put(binary.path),
        needed=tuple(map(put, binary.needed)),
        rpath=tuple(map(put, binary.rpath)),
        runpath=tuple(map(put, binary.runpath)),
        requires={put(name): versions for name, versions in binary.requires.items()},
    )


def _several(dice: Random, pool: Iterable[str], most: int) -> tuple[str, ...]:
    return tuple(dice.choices(list(pool), k=dice.randint(0, most)))


def _library(dice: Random, path: str, names: list[str]) -> Binary:
    name = path.rpartition("/")[2]
    needed = _several(dice, [*names * 5, *NEEDED], 2)
    wanted = [("V_1",), ("V_2",), VERSIONS]
    requires = {name: dice.choice(wanted) for name in needed if dice.random() < 0.15}
    if dice.random() < 0.3:
        needed = (*needed, LIBC)
        requires[LIBC] = ("GLIBC_2.17", *dice.choices(["GLIBC_2.36", "GLIBC_2.99"], [9, 1]))
    rpath, runpath = _search_path(dice)
    return Binary(
        path=path,
        machine=dice.choices(["x86_64", "aarch64", "3"], [30, 1, 1])[0],
        soname=dice.choice([name, name, name, "", *NAMES]),
        needed=needed,
        rpath=rpath,
        runpath=runpath,
        requires=requires,
        provides=dice.choices([(), VERSIONS, ("V_1",)], [8, 4, 1])[0],
        executable_stack=dice.random() < 0.1,
    )


def _program(dice: Random, names: Sequence[str]) -> Binary:
    needed = (*_several(dice, names, dice.choice([0, 0, 2])), LIBC)
    rpath, runpath = _search_path(dice) if dice.random() < 0.5 else ((), ())
    requires = {LIBC: ("GLIBC_2.34",)}
    return Binary(
        path=PROGRAM,
        needed=needed,
        rpath=rpath,
        runpath=runpath,
        requires=requires,
        interpreter=INTERPRETER,
    )


def _search_path(dice: Random) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A DT_RPATH and a DT_RUNPATH."""
    rpath, runpath = dice.choice([(0, 0), (4, 0), (4, 0), (4, 0), (0, 4), (4, 4)])
    pool = (*OWN * 4, *SEARCHED)
    return _several(dice, pool, rpath), _several(dice, pool, runpath)


def _links(dice: Random, paths: Sequence[str]) -> dict[str, str]:
    """Links of files: to libraries here and there, and to nothing."""
    places = [f"{dice.choice(FOLDERS)}/{dice.choice([*NAMES, 'libd.so'])}" for _ in range(dice.randint(0, 3))]
    return {place: dice.choice([*paths, "/missing/liba.so"]) for place in places if place not in paths}
