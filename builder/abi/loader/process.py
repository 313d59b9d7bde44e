"""A process: what it has loaded, and what opening one more name does to it."""

from __future__ import annotations

from collections.abc import Iterator

from builder.abi.loader import objects
from builder.abi.loader.disk import Disk
from builder.abi.loader.objects import SharedObject
from builder.abi.loader.outcome import Cause, Failed, Loaded, Need
from builder.abi.loader.places import DRIVER, Found, Place, Rule
from builder.abi.loader.search import Search
from builder.abi.loader.versions import lacking
from builder.abi.loader.world import World

_NO_EXECUTABLE_STACK_SINCE = (2, 41)

_WORDS = {
    Cause.MISSING: "{name}: cannot open shared object file: No such file or directory",
    Cause.WRONG_CLASS: "{name}: wrong ELF class: ELFCLASS32",
    Cause.VERSION: "{provider}: version `{version}' not found (required by {by})",
    Cause.EXECUTABLE_STACK: (
        "{name}: cannot enable executable stack as shared object requires: Invalid argument"
    ),
    Cause.INCONSISTENT: (
        "Inconsistency detected by ld.so: dl-version.c: 204: _dl_check_map_versions: "
        "Assertion `needed != NULL' failed!"
    ),
}
"""glibc's messages, from `elf/dl-load.c`, `elf/dl-version.c` and the words of dlerror around them.

That about the executable stack stands so in glibc 2.41's `_dl_map_object_from_fd`, which sets EINVAL itself.
"""


class Process:
    """A process of one world: what it has loaded, in order.

    Opening changes it. `fork` gives a second one of the same state, which is cheap; all processes that come
    from one by `fork` share what they found out about the world, so that thousands of them cost little.
    """

    __slots__ = ("_caller", "_files", "_names", "_order", "_search", "_stack", "_world")

    def __init__(self, world: World) -> None:
        """A process of a program of which nothing is known, with nothing loaded."""
        self._world = world
        self._search = Search(world, Disk(world.files, world.links))
        self._caller = objects.nobody(self._search)
        self._order: list[SharedObject] = []
        self._names: dict[str, SharedObject] = {}
        self._files: dict[str, SharedObject] = {}
        self._stack = world.glibc < _NO_EXECUTABLE_STACK_SINCE

    @property
    def found(self) -> tuple[Found, ...]:
        """All that is loaded, in the loader's order, those of the driver too."""
        return tuple(one.found for one in self._order)

    @property
    def loaded(self) -> tuple[str, ...]:
        """The paths of all loaded files, in the loader's order, as `World.files` has them.

        The loader itself comes right after the program, wherever it is needed first.
        """
        return tuple(one.path for one in self._order if one.path != DRIVER)

    def fork(self) -> Process:
        """Another process with the same files loaded."""
        twin = object.__new__(Process)
        twin._world = self._world
        twin._search = self._search
        twin._caller = self._caller
        twin._order = self._order.copy()
        twin._names = self._names.copy()
        twin._files = self._files.copy()
        twin._stack = self._stack
        return twin

    def start(self, program: str) -> Loaded | Failed:
        """Become the process of a program: load it and what it needs.

        Args:
            program: The path of the program. Its DT_RPATH then counts in every search.

        Raises:
            ValueError: There is no such file in this world, or something is loaded already.
        """
        if self._order:
            raise ValueError(f"{program} cannot start in a process that has files loaded")
        real = self._search.disk.real(program) or program
        self._search = Search(self._world, self._search.disk, real)
        self._caller = objects.program(self._search, program)
        self._stack |= self._caller.binary.executable_stack
        self._add_program(self._caller)
        loader = objects.interpreter(self._search, self._caller.binary.interpreter)
        if loader is not None:
            self._add(loader)
        return self._bring_needed(0, starting=True) or self._outcome(self._caller, program, 0)

    def open(self, name: str, by: str | None = None) -> Loaded | Failed:
        """Do what `dlopen(name)` does.

        Args:
            name: A name, or a path if there is a slash in it.
            by: The path of the loaded file whose code calls dlopen, None for the program itself.

        Raises:
            ValueError: `by` is not loaded.
        """
        held = self._names.get(name)
        if held is not None:
            return Loaded(name=name, path=held.path, rule=Rule.LOADED)
        caller = self._asker(by)
        found = caller.opened(name)
        if found is None:
            return _missing(caller, name, (Need(by=caller.path, name=name),))
        held = self._files.get(_identity(found))
        if held is not None:
            self._names[name] = held
            return Loaded(name=name, path=held.path, rule=Rule.LOADED)
        return self._bring(found, name)

    def _asker(self, by: str | None) -> SharedObject:
        file = self._search.disk.file(by) if by is not None else self._caller.path
        asker = self._caller if file == self._caller.path else self._files.get(file or "")
        if asker is None:
            raise ValueError(f"{by} is not loaded, so that its code cannot open anything")
        return asker

    def _bring(self, first: SharedObject, name: str) -> Loaded | Failed:
        """Load a file and what it needs, or nothing of it."""
        begin = len(self._order)
        failed = self._stack_fault(first)
        if failed is None:
            self._add(first)
            failed = self._bring_needed(begin)
        if failed is not None:
            self._drop(begin)
            return failed
        return self._outcome(first, name, begin)

    def _outcome(self, first: SharedObject, name: str, begin: int) -> Loaded:
        new = tuple(one.found for one in self._order[begin:])
        return Loaded(name=name, path=first.path, rule=first.found.place.rule, new=new)

    def _bring_needed(self, begin: int, *, starting: bool = False) -> Failed | None:
        """Load what the objects from `begin` on need, breadth first, and check the symbol versions."""
        names, files = self._names, self._files
        for asker in self._from(begin):
            for name in asker.needed:
                if name in names:
                    continue
                found = asker.child(name)
                if found is None:
                    return _missing(asker, name, _chain(asker, name))
                held = files.get(_identity(found))
                if held is not None:
                    names[name] = held
                    continue
                if starting:
                    # Only before the program runs does the loader still make its stack executable.
                    self._stack |= found.binary.executable_stack
                failed = self._stack_fault(found)
                if failed is not None:
                    return failed
                self._add(found)
        return next(filter(None, map(self._version_faults, self._order[begin:])), None)

    def _from(self, begin: int) -> Iterator[SharedObject]:
        """The loaded objects from `begin` on, those too that are loaded meanwhile."""
        order = self._order
        while begin < len(order):
            yield order[begin]
            begin += 1

    def _add_program(self, program: SharedObject) -> None:
        """Add what the kernel has mapped: the loader knows neither its path nor which file it is."""
        self._order.append(program)
        if program.binary.soname:
            self._names[program.binary.soname] = program

    def _add(self, new: SharedObject) -> None:
        self._order.append(new)
        self._files[_identity(new)] = new
        # Of two objects that answer to a name, the one that was loaded first is taken.
        self._names.setdefault(new.found.name, new)
        self._names.setdefault(new.found.spelled, new)
        self._names.setdefault(new.binary.soname or new.found.name, new)

    def _drop(self, begin: int) -> None:
        """Unload again. What stays are names that files loaded before were met by meanwhile, as in glibc."""
        new = set(self._order[begin:])
        del self._order[begin:]
        self._files = {file: one for file, one in self._files.items() if one not in new}
        self._names = {name: one for name, one in self._names.items() if one not in new}

    def _stack_fault(self, new: SharedObject) -> Failed | None:
        if self._stack or not new.binary.executable_stack:
            return None
        name = new.found.name
        above = _chain(new.loader, name) if new.loader else (Need(by=new.found.by, name=name),)
        return _failed(Cause.EXECUTABLE_STACK, name, above)

    def _version_faults(self, asker: SharedObject) -> Failed | None:
        for name, versions in asker.binary.requires.items():
            provider = self._names.get(name)
            if provider is None:
                return _failed(Cause.INCONSISTENT, name, _chain(asker, name))
            if provider.path not in asker.complete:
                version = lacking(versions, provider.binary.provides)
                if version is not None:
                    return _version_fault(asker, provider, name, version)
                asker.complete.add(provider.path)
        return None


def _identity(one: SharedObject) -> str:
    """What tells one loaded file from another, as device and inode do for the loader."""
    return one.path if one.path != DRIVER else f"{DRIVER}: {one.found.name}"


def _chain(asker: SharedObject, name: str) -> tuple[Need, ...]:
    """Who asked for whom, from the opened name or the program down to `name`."""
    chain = [Need(by=asker.path, name=name)]
    while True:
        if asker.found.place.rule is not Rule.PROGRAM:
            chain.append(Need(by=asker.found.by, name=asker.found.name))
        if asker.loader is None:
            return tuple(reversed(chain))
        asker = asker.loader


def _missing(asker: SharedObject, name: str, chain: tuple[Need, ...]) -> Failed:
    cause = Cause.WRONG_CLASS if asker.meets_32_bit(name) else Cause.MISSING
    return _failed(cause, name, chain, asker.searched(name))


def _version_fault(asker: SharedObject, provider: SharedObject, name: str, version: str) -> Failed:
    words = {"provider": provider.found.spelled, "version": version, "by": asker.found.spelled}
    text = _WORDS[Cause.VERSION].format(**words)
    chain = _chain(asker, name)
    return Failed(text=text, cause=Cause.VERSION, name=name, by=asker.path, version=version, chain=chain)


def _failed(cause: Cause, name: str, chain: tuple[Need, ...], searched: tuple[Place, ...] = ()) -> Failed:
    text = _WORDS[cause].format(name=name)
    return Failed(text=text, cause=cause, name=name, by=chain[-1].by, chain=chain, searched=searched)
