"""Files as they are loaded: each with the search path that it got from those who asked for it."""

from __future__ import annotations

from builder.abi.facts import Binary
from builder.abi.loader.places import DRIVER, Found, Place, Rule
from builder.abi.loader.search import Listing, Search, origin_of

_NOBODY = Binary(path="")


class SharedObject:
    """One file as one requester brings it in: what glibc calls a link map.

    It never changes but for what it remembers, so that processes share it. A search is done once for all of
    them: what a name leads to does not depend on what else is loaded, only whether it is searched for at all.

    Attributes:
        found: Its file, and how it was found.
        path: The path of its file, see `Found.path`.
        loader: The object that needed it; None for the program, and for what was opened at run time. Search
            paths go from object to loader, and so end where somebody called dlopen.
        binary: Its facts; of a driver's library nothing is known but its name.
        needed: The names that it needs, tokens replaced.
        complete: The paths of files that are known to provide all symbol versions that it needs of them.
            Objects of the same file share it.
    """

    __slots__ = (
        *("_children", "_inherited", "_opened", "_paths", "_program", "_search"),
        *("binary", "complete", "found", "loader", "needed", "path"),
    )

    def __init__(
        self,
        search: Search,
        found: Found,
        binary: Binary,
        *,
        program: SharedObject | None = None,
        loader: SharedObject | None = None,
    ) -> None:
        self.found = found
        self.path = found.path
        self.loader = loader
        self.binary = binary
        self.complete = search.complete(found.path)
        self._search = search
        self._program = program
        # Most objects never search, since all that they need is there: so this is made when it is needed.
        self._children: dict[str, SharedObject | None] | None = None
        self._opened: dict[str, SharedObject | None] | None = None
        self._inherited: tuple[Listing, ...] | None = None
        self._paths: tuple[tuple[Listing, ...], tuple[Listing, ...]] | None = None
        self.needed = binary.needed
        if "$" in "".join(self.needed):
            self.needed = tuple(filter(None, map(self._expanded, self.needed)))

    def child(self, name: str) -> SharedObject | None:
        """What a DT_NEEDED of this object leads to."""
        if self._children is None:
            self._children = {}
        if name not in self._children:
            self._children[name] = self._made(self._find(name, name), self)
        return self._children[name]

    def opened(self, name: str) -> SharedObject | None:
        """What dlopen leads to where this object calls it."""
        if self._opened is None:
            self._opened = {}
        if name not in self._opened:
            found = self._find(name, self._expanded(name) if "/" in name else name)
            self._opened[name] = self._made(found, None)
        return self._opened[name]

    def searched(self, name: str) -> tuple[Place, ...]:
        """The places that this object's search for a name goes through."""
        if "/" in name:
            return (Place(rule=Rule.PATH, folder=self._expanded(name), there=False),)
        return self._search.searched(name, *self.paths)

    def meets_32_bit(self, name: str) -> bool:
        """Whether that search passes over a file for a 32-bit machine."""
        return self._search.is_32_bit(name, self.searched(name))

    def _find(self, name: str, expanded: str) -> Found | None:
        if "/" in name:
            return self._search.by_path(expanded, name, self.path)
        return self._search.by_name(name, self.path, *self.paths)

    def _made(self, found: Found | None, loader: SharedObject | None) -> SharedObject | None:
        if found is None:
            return None
        if found.path == DRIVER:
            binary = Binary(path=DRIVER, soname=found.name)
        else:
            binary = self._search.binary(found.path)
        return SharedObject(self._search, found, binary, program=self._program or self, loader=loader)

    @property
    def paths(self) -> tuple[tuple[Listing, ...], tuple[Listing, ...]]:
        """Where DT_RPATH makes this object's own searches look, and where DT_RUNPATH does.

        The first is that of the object, of its loaders and at last of the program, if there is no DT_RUNPATH.
        """
        if self._paths is None:
            if self.binary.runpath:
                self._paths = (), (self._listing(Rule.RUNPATH, self.binary.runpath),)
            else:
                self._paths = (*self.inherited, *(self._program.inherited if self._program else ())), ()
        return self._paths

    @property
    def inherited(self) -> tuple[Listing, ...]:
        """The DT_RPATH of this object, of its loader, of that one's loader and so on."""
        if self._inherited is None:
            self._inherited = self.loader.inherited if self.loader else ()
            if self.binary.rpath and not self.binary.runpath:
                self._inherited = (self._listing(Rule.RPATH, self.binary.rpath), *self._inherited)
        return self._inherited

    def _listing(self, rule: Rule, folders: tuple[str, ...]) -> Listing:
        return self._search.listing(rule, folders, of=self.path, origin=self._origin)

    @property
    def _origin(self) -> str:
        if self.found.place.rule is Rule.PROGRAM:
            return origin_of(self._search.program)
        return origin_of(self.found.spelled)

    def _expanded(self, name: str) -> str:
        return self._search.expand(name, self._origin)


def nobody(search: Search) -> SharedObject:
    """Stands for a program of which nothing is known: it has no search path of its own."""
    return SharedObject(search, Found(name="", path="", spelled="", by="", place=_PROGRAM), _NOBODY)


def program(search: Search, path: str) -> SharedObject:
    """The program at `path` as the kernel loads it.

    Raises:
        ValueError: There is no such file in this world.
    """
    return _by_kernel(search, path, _PROGRAM)


def interpreter(search: Search, path: str) -> SharedObject | None:
    """The loader that a program asks for, if it is in this world: the kernel maps it too."""
    return _by_kernel(search, path, Place(rule=Rule.PATH, folder=path)) if search.disk.file(path) else None


_PROGRAM = Place(rule=Rule.PROGRAM)


def _by_kernel(search: Search, path: str, place: Place) -> SharedObject:
    file = search.disk.file(path)
    if file is None:
        raise ValueError(f"{path} is no file of this world")
    found = Found(name=path, path=file, spelled=path, by="", place=place)
    return SharedObject(search, found, search.binary(file))
