"""A whole small project for the direct engine: a matrix, a lock, a base in a layout, and wheels in a store.

All of it is real but the base's programs, which a fake shell stands in for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from builder import matrix
from builder.abi.library import Library
from builder.engines.direct import baselock, bytecode, environment, stream
from builder.engines.direct.baselock import BaseLock
from builder.engines.direct.entry import Entry
from builder.engines.direct.layout import blob_path
from builder.engines.direct.rows import DirectRows
from builder.engines.direct.store import Store
from builder.engines.direct.tar import Node
from builder.lock import record
from builder.lock.record import Environment, Lock, Package
from builder.matrix import Row
from builder.project import Project
from builder.shell import Finished
from tests.wheelmaker import PREFIX, wheel

MATRIX = """\
bases:
  bookworm: {image: debian:bookworm-slim, suite: bookworm, python: 3.11, glibc: 2.36, packages: [python3]}
defaults: {base: bookworm, python: 3.11, ffmpeg: static, source_archives: {}}
rows:
  vat: {summary: A small row, as_of: 2025-01-20, cuda: 12.8, ctranslate2: 4.8.0}
"""
BASE = (
    Entry(Node("usr", "directory", 0o755)),
    Entry(Node("usr/bin", "directory", 0o755)),
    Entry(Node("usr/bin/python3.11", mode=0o755), b"\x7fELF"),
    Entry(Node("usr/sbin", "directory", 0o755)),
    Entry(Node("usr/sbin/ldconfig", mode=0o755), b"\x7fELF"),
)
EMPTY = (
    {"path": str(PREFIX), "kind": "directory", "mode": 0o755},
    {"path": f"{PREFIX}/bin", "kind": "directory", "mode": 0o755},
    {"path": f"{PREFIX}/bin/python", "kind": "link", "mode": 0o777, "target": "/usr/bin/python3.11"},
    {"path": f"{PREFIX}/lib64", "kind": "link", "mode": 0o777, "target": "lib"},
    {"path": f"{PREFIX}/pyvenv.cfg", "kind": "file", "mode": 0o644, "text": "home = /usr/bin\n"},
)


@dataclass
class BasePrograms:
    """Python and ldconfig of the base, as a shell that starts nothing.

    Attributes:
        compiler: What bytecode begins with.
        asked: The programs that were run.
    """

    compiler: str = "bytecode of"
    asked: list[str] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        del env, cwd, timeout
        out = ""
        if str(bytecode.SCRIPT) in argv:
            self.asked.append("compile")
            for line in (stdin or "").splitlines():
                assert on_line
                on_line(self._compiled(json.loads(line)))
        elif str(environment.SCRIPT) in argv:
            self.asked.append("environment")
            out = json.dumps(EMPTY)
        elif argv[-1].endswith("describe.py"):
            out = json.dumps({"version": "3.11.2", "tag": "cpython-311", "magic": "a70d0d0a"})
        else:
            self.asked.append("ldconfig")
            Path(argv[-1], "etc", "ld.so.cache").write_text("cache")
        return Finished(argv=tuple(argv), code=0, out=out, err="")

    def _compiled(self, job: dict[str, Any]) -> str:
        made = [f"{self.compiler} {path}".encode() for _, path in job["files"]]
        Path(job["raw"]).write_bytes(b"".join(made))
        Path(job["raw"] + ".sizes").write_text("".join(f"{len(one)}\n" for one in made))
        return str(job["number"])

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))


@dataclass(frozen=True, kw_only=True)
class World:
    """What there is.

    Attributes:
        folder: All of it is in there.
        rows: The project, for the direct engine.
        shell: The base's programs.
        said: What users were told.
    """

    folder: Path
    rows: DirectRows
    shell: BasePrograms
    said: list[str]

    @property
    def row(self) -> Row:
        """The one row."""
        [row] = self.rows.rows
        return row

    @property
    def store(self) -> Store:
        """The store."""
        return self.rows.store

    @property
    def lock(self) -> Path:
        """The row's lock."""
        return self.folder / "images" / "vat" / record.FILE

    @property
    def layout(self) -> Path:
        """The layout that has the base: what CUVEE_BASE_LAYOUT must name."""
        return self.folder / "layout"

    @property
    def base(self) -> Path:
        """The base's blob in it."""
        told = json.loads((self.folder / "bases" / "bookworm.json").read_text())
        return blob_path(self.layout, told["layer"]["digest"])

    def wheel(self, name: str) -> Path:
        """A project's wheel in the store."""
        [path] = self.store.wheels.glob(f"*/{name}-*.whl")
        return path

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the lock by hand."""
        told = json.loads(self.lock.read_text())
        change(told)
        self.lock.write_text(json.dumps(told))

    def elsewhere(self, folder: Path, shell: BasePrograms | None = None) -> World:
        """The same project and wheels with a store that has nothing else."""
        folder.mkdir(parents=True)
        (folder / "wheels").symlink_to(self.store.wheels)
        there = shell or self.shell
        return replace(self, shell=there, rows=replace(self.rows, store=Store(folder), shell=there))


def world(folder: Path, wheels: Mapping[str, Mapping[str, bytes]]) -> World:
    """Make a project whose row has these packages, each with its files, all of version 1.0."""
    store = Store(folder / "store")
    packages = tuple(_stored(store, name, files) for name, files in sorted(wheels.items()))
    rows = matrix.parse(MATRIX).rows
    lock = Lock(
        row="vat",
        fingerprint=rows[0].fingerprint(),
        as_of="2025-01-20",
        base="bookworm",
        python="3.11",
        environments=(Environment(name="main", packages=packages),),
        overlays=(),
        tools=(),
    )
    for path, text in (
        (folder / "matrix.yaml", MATRIX),
        (folder / "images" / "vat" / record.FILE, lock.text()),
        (folder / "bases" / "bookworm.json", _base(folder / "layout").text()),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return opened(folder)


def opened(folder: Path) -> World:
    """The project that `world` has made in a folder."""
    shell, said = BasePrograms(), list[str]()
    rows = DirectRows(
        project=Project(folder),
        rows=matrix.parse(MATRIX).rows,
        library=Library(folders=()),
        store=Store(folder / "store"),
        shell=shell,
        say=said.append,
    )
    return World(folder=folder, rows=rows, shell=shell, said=said)


def _stored(store: Store, name: str, files: Mapping[str, bytes]) -> Package:
    file = f"{name}-1.0-py3-none-any.whl"
    path = wheel(store.root / "new", files, name=file, info=f"{name}-1.0.dist-info")
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    target = store.wheels / sha256 / file
    target.parent.mkdir(parents=True)
    path.replace(target)
    path.parent.rmdir()
    return Package(name=name, version="1.0", file=file, sha256=sha256, size=len(data))


def _base(layout: Path) -> BaseLock:
    measured = stream.measure(BASE, ())
    path = blob_path(layout, measured.digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(stream.blob(BASE, ())))
    return BaseLock(
        id="bookworm",
        suite="bookworm",
        include=("python3",),
        packages=(baselock.Package(name="python3.11", version="3.11.2-6", sha256="5" * 64),),
        python="3.11.2-6",
        digest=measured.digest,
        size=measured.size,
        diff_id=measured.diff_id,
        files=len(BASE),
        trace=measured.trace,
    )
