"""The loader and ldconfig worked out on paper against the real ones, on random worlds of small libraries.

Each world is written as real ELF files to a root of its own. There, in a chroot, `tests/elf/loader/opener`
opens names one after the other and tells each outcome and all that is loaded then. The simulation must say
the same, in the same order and in the same words.

To try more worlds than the suite does, or another release of glibc:

    CUVEE_WORLDS=20000 CUVEE_LOADER=/elsewhere/ld-linux-x86-64.so.2 pytest tests/process/test_loader_agrees.py
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from builder.abi import ldconfig
from builder.abi.facts import Binary
from builder.abi.loader import Cause, Failed, Found, Loaded, Process, Rule, World
from builder.probe import loader as probe
from tests.elf.loader import scenes, write
from tests.elf.loader.scenes import LIBC, PROGRAM, SYSTEM, Scene

OPENER = Path(__file__).parents[1] / "elf" / "loader" / "opener"
LOADER = Path(os.environ.get("CUVEE_LOADER", scenes.INTERPRETER))
FIRST, WORLDS = int(os.environ.get("CUVEE_FIRST", "0")), int(os.environ.get("CUVEE_WORLDS", "150"))

PREFIX = re.compile(f"^{PROGRAM}: (error while loading shared libraries: )?")
WARNING = "no version information available"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or not LOADER.exists(),
    reason="there is no x86-64 loader of glibc here",
)
in_chroot = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("chroot") or not shutil.which("ldconfig"),
    reason="a root of its own takes root's rights, chroot and ldconfig",
)

of_this_machine = pytest.mark.skipif(
    Path(scenes.INTERPRETER) != LOADER, reason="another loader was asked for than that of this machine"
)

SEEN: Counter[str] = Counter()
"""How often worlds came to which outcome: nothing is shown by worlds in which nothing is found."""


@cache
def glibc() -> tuple[int, int]:
    told = subprocess.run([LOADER, "--version"], capture_output=True, text=True, check=True).stdout
    [(major, minor)] = re.findall(r"version (\d+)\.(\d+)\.$", told, re.MULTILINE)
    return int(major), int(minor)


@cache
def hwcaps() -> tuple[str, ...]:
    """The levels of this machine's processor, best first."""
    told = subprocess.run([LOADER, "--help"], capture_output=True, text=True, check=True).stdout
    return tuple(re.findall(r"^  (x86-64-v\d) \(supported, searched\)", told, re.MULTILINE))


def scene(seed: int) -> Scene:
    return scenes.scene(seed, glibc(), hwcaps())


# What the real ones say


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the root of a world goes; the C library and its loader lie beside it."""
    folder = tmp_path_factory.mktemp("loader")
    for name in (LIBC, scenes.LOADER):
        shutil.copy(LOADER.resolve().parent / name, folder / name)
    return folder / "root"


def lay(root: Path, found: Scene) -> None:
    """Make a world, with what its ldconfig makes of it, as a root."""
    shutil.rmtree(root, ignore_errors=True)
    write_files(root, found.world)
    (root / SYSTEM[1:]).mkdir(parents=True, exist_ok=True)
    for name in (LIBC, scenes.LOADER):
        os.link(root.parent / name, root / SYSTEM[1:] / name)
    put(root, PROGRAM, write.program(OPENER.read_bytes(), found.world.files[PROGRAM]))
    (root / PROGRAM[1:]).chmod(0o755)
    put(root, "/etc/ld.so.conf", "".join(f"{folder}\n" for folder in found.conf).encode())
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/exe").symlink_to(PROGRAM)  # from there a program knows its $ORIGIN
    flags = [] if found.makes_links else ["-X"]
    subprocess.run(["ldconfig", "-r", root, *flags], capture_output=True, check=True)


def write_files(root: Path, world: World) -> None:
    (root / "usr/lib64").mkdir(parents=True, exist_ok=True)
    for path, binary in world.files.items():
        if binary.file not in {LIBC, scenes.LOADER}:
            put(root, path, write.library(binary))
    for path, target in world.links.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).symlink_to(target)


def put(root: Path, path: str, data: bytes) -> None:
    (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
    (root / path[1:]).write_bytes(data)


def real(root: Path, found: Scene, opens: Iterable[tuple[str, str]]) -> list[str]:
    """What the opener says of all that it is told to open."""
    done = subprocess.run(
        ["chroot", root, PROGRAM, *(f"{by}|{name}" if by else name for by, name in opens)],
        capture_output=True,
        text=True,
        check=False,
        env={"LD_LIBRARY_PATH": ":".join(found.world.library_path), "PATH": os.environ["PATH"]},
    )
    assert done.returncode in {0, 1, 127}, f"the opener ended with {done.returncode}: {done.stderr}"
    said = [line for line in done.stdout.splitlines() if scenes.LOADER not in line]
    complaints = [line for line in done.stderr.splitlines() if WARNING not in line]
    return said + [f"failed {PREFIX.sub('', line)}" for line in complaints[:1]]


def real_cache(root: Path) -> dict[str, str]:
    told = subprocess.run(["ldconfig", "-r", root, "-p"], capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"^\t(\S+) \(libc6,x86-64\) => (\S+)$", told, re.MULTILINE)[::-1])


# What the simulation says


def simulated(
    world: World, opens: Iterable[tuple[int | None, str]]
) -> tuple[list[str], list[tuple[str, str]]]:
    """What the opener would say, and what it is to open, by whom.

    Who opens is given as the number of a loaded library: only here it is known which there are.
    """
    process = Process(world)
    started = process.start(PROGRAM)
    count(started)
    if isinstance(started, Failed):
        return [f"failed {started.text}"], []
    said, asked = loaded(process), []
    for number, name in opens:
        by = opener(process, number)
        asked.append((by.spelled if by else "", name))
        opened = process.open(name, by.path if by else None)
        count(opened)
        said.append(outcome(process, opened))
        if isinstance(opened, Failed) and opened.cause is Cause.INCONSISTENT:
            break
        said += loaded(process)
    return said, asked


def opener(process: Process, number: int | None) -> Found | None:
    ours = [
        found for found in process.found[1:] if found.path.rpartition("/")[2] not in {LIBC, scenes.LOADER}
    ]
    return ours[number % len(ours)] if number is not None and ours else None


def loaded(process: Process) -> list[str]:
    ours = [found for found in process.found[1:] if scenes.LOADER not in found.path]
    return ["loaded ", *(f"loaded {found.spelled}" for found in ours)]


def outcome(process: Process, opened: Loaded | Failed) -> str:
    if isinstance(opened, Failed):
        return f"failed {opened.text}"
    return next(f"opened {found.spelled}" for found in process.found if found.path == opened.path)


def count(opened: Loaded | Failed) -> None:
    if isinstance(opened, Failed):
        SEEN[opened.cause] += 1
    else:
        SEEN.update([opened.rule, *(found.place.rule for found in opened.new)])


def made(found: Scene) -> dict[str, str]:
    """The links that ldconfig makes."""
    return ldconfig.made(found.world.files, found.world.links, found.conf) if found.makes_links else {}


def cached(found: Scene) -> World:
    """The world as ldconfig leaves it."""
    entries = ldconfig.cache(found.world.files, found.world.links, found.conf, hwcaps=hwcaps())
    return replace(found.world, cache=entries, links={**found.world.links, **made(found)})


def is_tangled(found: Scene) -> bool:
    """Whether links of one folder get each other's names: what ldconfig does then depends on the disk."""
    links = made(found)
    return any(f"{path.rpartition('/')[0]}/{target}" in links for path, target in links.items())


# They agree


@in_chroot
def test_it_says_what_the_real_loader_says_and_its_cache_is_that_of_ldconfig(root: Path) -> None:
    SEEN.clear()
    for seed in range(FIRST, FIRST + WORLDS):
        found = scene(seed)
        if is_tangled(found):
            continue
        lay(root, found)
        entries = ldconfig.cache(found.world.files, found.world.links, found.conf)
        assert real_cache(root) == entries, f"world {seed}"
        said, asked = simulated(cached(found), found.opens)
        assert real(root, found, asked) == said, f"world {seed}: {found}"
    missed = set(Rule) - {Rule.DRIVER} | set(Cause) - {Cause.EXECUTABLE_STACK, Cause.INCONSISTENT}
    assert not missed - set(SEEN), SEEN


@in_chroot
@pytest.mark.parametrize(
    "changed",
    [{"library_path": ()}, {"cache": {}}, {"defaults": ()}, {"links": {}}, {"hwcaps": ()}, {"lib": "lib64"}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_wrong_simulation_would_be_noticed(root: Path, changed: dict[str, object]) -> None:
    def differs(seed: int) -> bool:
        found = scene(seed)
        lay(root, found)
        said, asked = simulated(replace(cached(found), **changed), found.opens)  # type: ignore[arg-type]
        return real(root, found, asked) != said

    assert any(map(differs, range(100)))


# They agree outside of a root, too

OPENS = """
import ctypes, json, sys
from builder.probe import maps
for name in sys.argv[2:]:
    try:
        ctypes.CDLL(name)
        said = ""
    except OSError as error:
        said = str(error)
    print(json.dumps([said, sorted(path for path in maps.own() if path.startswith(sys.argv[1]))]))
"""


@pytest.fixture(scope="module")
def host_libc() -> Binary:
    """The C library of this machine, as its loader spells it."""
    told = subprocess.run(
        [LOADER, "--list", shutil.which("true") or ""], capture_output=True, text=True, check=True
    )
    [path] = re.findall(rf"{re.escape(LIBC)} => (\S+)", told.stdout)
    libc, _ = scenes.base(glibc(), str(Path(path).parent))
    return replace(libc, needed=(), requires={})


def nearby(seed: int, folder: Path, libc: Binary) -> Scene:
    """A world in a folder of this machine, made there."""
    found = scenes.moved(scene(seed), str(folder), libc)
    inside = {
        path.removeprefix(str(folder)): one for path, one in found.world.files.items() if path != libc.path
    }
    links = {path.removeprefix(str(folder)): target for path, target in found.world.links.items()}
    write_files(folder, replace(found.world, files=inside, links=links))
    return found


@of_this_machine
@pytest.mark.parametrize("seed", range(12))
def test_it_says_what_python_says_and_what_the_kernel_has_mapped(
    tmp_path: Path, host_libc: Binary, seed: int
) -> None:
    found = nearby(seed, tmp_path, host_libc)
    names = [name for _, name in found.opens]
    process = Process(found.world)
    process.open(LIBC)
    expected = []
    for name in names:
        opened = process.open(name)
        ours = sorted(path for path in process.loaded if path != host_libc.path)
        expected.append([opened.text if isinstance(opened, Failed) else "", ours])
    done = subprocess.run(
        [sys.executable, "-c", OPENS, tmp_path, *names],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(found.world.library_path)},
        cwd=Path(__file__).parents[2],
    )
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected


@of_this_machine
@pytest.mark.parametrize("seed", range(12))
def test_it_says_where_a_traced_loader_finds_what_a_library_needs(
    tmp_path: Path, host_libc: Binary, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = nearby(seed, tmp_path, host_libc)
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    world = replace(found.world, library_path=())
    for path, binary in world.files.items():
        if path == host_libc.path or binary.machine != "x86_64":
            continue
        process = Process(world)
        started = process.start(path)
        trace = probe.trace(Path(path))
        if isinstance(started, Failed) and started.cause is Cause.VERSION:
            assert f"{path}: {started.text}" in trace.complaints
        elif isinstance(started, Failed):
            assert started.name in trace.missing
        else:
            assert not trace.missing
            new = {one.name: one.spelled for one in started.new[1:]}
            assert {name: at for name, at in trace.found.items() if scenes.LOADER not in name} == new
