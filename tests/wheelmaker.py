"""Small real wheels for tests, sound ones and others."""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from builder.engines.direct import stream
from builder.engines.direct.entry import Entry
from builder.engines.direct.image import Layer, OciImage, configuration
from builder.engines.direct.install import Target, install
from builder.wheels.members import Archive

NAME = "vat-1.0-py3-none-any.whl"
INFO = "vat-1.0.dist-info"
FORM = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
ABOUT = b"Metadata-Version: 2.1\nName: vat\nVersion: 1.0\n"

PREFIX = PurePosixPath("/opt/cuvee/main")
SITE = PREFIX / "lib" / "python3.11" / "site-packages"
TARGET = Target(prefix=PREFIX, site=SITE, python=PREFIX / "bin" / "python", version="3.11")

HEADER, ENTRY, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
"""What begins a member, the directory's entry for one, and the end of the directory."""

FLAGS, METHOD, CRC, COMPRESSED, SIZE, OFFSET = 8, 10, 16, 20, 24, 42
"""Places in the directory's entry."""


def record_line(path: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    quoted = '"' + path.replace('"', '""') + '"' if set(path) & set(',"\n\r') else path
    return f"{quoted},sha256={digest},{len(content)}"


def whole(files: Mapping[str, bytes], info: str = INFO) -> dict[str, bytes]:
    """The files of a wheel, with those that every wheel has; what is given is not changed."""
    every = {**files}
    every.setdefault(f"{info}/METADATA", ABOUT)
    every.setdefault(f"{info}/WHEEL", FORM)
    lines = [record_line(path, content) for path, content in every.items() if path != f"{info}/RECORD"]
    every.setdefault(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,", ""]).encode())
    return every


def zipped(
    path: Path,
    files: Mapping[str, bytes] | Iterable[tuple[str, bytes]],
    *,
    modes: Mapping[str, int] | None = None,
    stored: Collection[str] = (),
    zip64: Collection[str] = (),
) -> Path:
    """A zip file of exactly these files, always of the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items() if isinstance(files, Mapping) else files:
            info = zipfile.ZipInfo(name, (2020, 2, 2, 0, 0, 0))
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | (modes or {}).get(name, 0o644)) << 16
            info.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=name in zip64) as file:
                file.write(content)
    return path


def wheel(
    folder: Path, files: Mapping[str, bytes], *, name: str = NAME, info: str = INFO, **how: Any
) -> Path:
    """A sound wheel with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    return zipped(folder / name, whole(files, info), **how)


def put(path: Path, at: int, value: int, size: int) -> Path:
    """Change a number in a file."""
    data = bytearray(path.read_bytes())
    data[at : at + size] = value.to_bytes(size, "little")
    path.write_bytes(data)
    return path


def entries(
    archives: Iterable[Archive], bytecode: Collection[str] = (), target: Target = TARGET
) -> list[Entry]:
    """The entries of wheels, sorted."""
    found = [
        entry
        for position, archive in enumerate(archives)
        for entry in install(archive, position, target, sorted(bytecode))
    ]
    return sorted(found, key=lambda entry: entry.node.path)


def members(tar: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """What `tarfile` reads in an archive, by path."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {one.name: (one, _content(archive, one)) for one in archive}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member) if member.isreg() else None
    return file.read() if file else b""


def layer_of(wheel: Path, title: str = "vat 1.0") -> Layer:
    """A wheel as a layer that is read from it again each time."""

    def read(how: Literal["blob", "archive"]) -> Any:
        with stream.opened([wheel]) as archives:
            yield from getattr(stream, how)(entries(archives), archives)

    with stream.opened([wheel]) as archives:
        measured = stream.measure(entries(archives), archives)
    return Layer(
        title=title,
        packages=(title,),
        digest=measured.digest,
        size=measured.size,
        diff_id=measured.diff_id,
        blob=lambda: read("blob"),
        tar=lambda: read("archive"),
    )


def image_of(*layers: Layer, name: str = "cuvee:vat") -> OciImage:
    config = configuration(
        environment=[("PATH", "/usr/bin")],
        labels=[],
        layers=[(layer.title, layer.diff_id) for layer in layers],
        created="2025-01-20T00:00:00Z",
    )
    return OciImage(name=name, config=config, layers=layers)
