from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.engines.base import BaseImage, provide
from builder.engines.direct import base as layers
from builder.engines.direct.base import LAYOUT
from builder.engines.direct.debian import SNAPSHOT
from builder.errors import BadInputError, CannotResolveError, EngineOrNetworkError, Fault
from builder.matrix import Base, parse
from builder.shell import Finished

DEBIAN = "debian:bookworm-slim"
OLD = "cuvee-base:bookworm"
MATRIX = f"""\
bases:
  bookworm:
    image: {DEBIAN}
    suite: bookworm
    python: 3.11
    glibc: 2.36
    packages: [ca-certificates, python3, python3-venv]
defaults: {{}}
rows: {{}}
"""


NOTES = f"""\
Package: python3.11
Version: 3.11.2-6
SHA256: {"5" * 64}
"""


def root_tar(path: Path, files: Mapping[str, str]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))


class FakeEngine:
    """An engine in memory, with an mmdebstrap beside it.

    Attributes:
        on_disk: Images by their names.
        in_registry: The names that can be pulled.
        says: What mmdebstrap says when it fails; None when it works.
        root: What mmdebstrap makes.
        started: What it was started with, and the PATH it was looked for on.
        archives: The hashes of what was imported, by name.
    """

    def __init__(self, path: Path, *on_disk: str, in_registry: Sequence[str] = ()) -> None:
        self.on_disk = {name: f"sha256:{name}" for name in on_disk}
        self.in_registry = in_registry
        self.environment = {"PATH": str(path)}
        self.shell = self
        self.says: str | None = None
        self.root = {"usr/bin/python3.11": "an interpreter", "cuvee-packages": NOTES}
        self.started: list[tuple[str, ...]] = []
        self.archives: dict[str, bytes] = {}

    def image_id(self, reference: str) -> str | None:
        return self.on_disk.get(reference)

    def pull(self, reference: str) -> bool:
        if reference in self.in_registry:
            self.on_disk[reference] = "sha256:pulled"
        return reference in self.in_registry

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Finished:
        assert cwd or (env and env["PATH"].startswith(self.environment["PATH"]))
        self.started.append(tuple(argv))
        if self.says is not None:
            return Finished(argv=tuple(argv), code=25, out="", err=self.says)
        [archive] = [part for part in argv if part.endswith("root.tar")]
        root_tar(Path(archive), self.root)
        return Finished(argv=tuple(argv), code=0, out="", err="")

    def import_archive(self, archive: Path, tag: str) -> None:
        self.archives[tag] = archive.read_bytes()
        self.on_disk[tag] = "sha256:made"


@pytest.fixture(autouse=True)
def _settings_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (LAYOUT, SNAPSHOT):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def base() -> Base:
    return parse(MATRIX).bases[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with mmdebstrap, the locks of bases, and a store."""
    (tmp_path / "mmdebstrap").touch(mode=0o755)
    return tmp_path


@pytest.fixture
def layer(base: Base, folder: Path) -> layers.BaseLayer:
    """The base as its lock has it; the store has forgotten it."""
    shell: Any = FakeEngine(folder)
    made = layers.update(folder / "bases", base, (), folder / "store", shell, print, search=str(folder))
    made.path.unlink()
    return made


@pytest.fixture
def made(layer: layers.BaseLayer) -> str:
    """The name of the image that is made of it."""
    return f"cuvee-base:bookworm-{layer.lock.digest.removeprefix('sha256:')[:12]}"


def provided(base: Base, fake: Any) -> tuple[BaseImage, list[str]]:
    said: list[str] = []
    folder = Path(fake.environment["PATH"])
    return provide(base, fake, said.append, locks=folder / "bases", store=folder / "store"), said


def test_an_image_that_the_engine_has_is_taken_and_nobody_is_asked(
    base: Base, folder: Path, made: str
) -> None:
    fake = FakeEngine(folder, DEBIAN, made, in_registry=(DEBIAN,))
    found, said = provided(base, fake)
    assert found == BaseImage(reference=DEBIAN, id=f"sha256:{DEBIAN}", origin=f"the engine's own {DEBIAN}")
    assert said == []
    assert not fake.started


def test_one_made_earlier_is_taken_and_nobody_is_asked(base: Base, folder: Path, made: str) -> None:
    fake = FakeEngine(folder, made, in_registry=(DEBIAN,))
    found, said = provided(base, fake)
    assert found == BaseImage(
        reference=made, id=f"sha256:{made}", origin=f"{made}, made earlier from Debian's packages"
    )
    assert said == []
    assert not fake.started


def test_one_that_a_registry_has_is_pulled(base: Base, folder: Path, made: str) -> None:
    fake = FakeEngine(folder, in_registry=(DEBIAN,))
    found, said = provided(base, fake)
    assert found == BaseImage(
        reference=DEBIAN, id="sha256:pulled", origin=f"{DEBIAN}, pulled from the registry"
    )
    assert said == [f"base: no {DEBIAN} here, asking the registry"]
    assert not fake.started
    assert made not in fake.on_disk


def test_a_base_without_a_lock_is_pulled_all_the_same(base: Base, folder: Path) -> None:
    assert provided(base, FakeEngine(folder, in_registry=(DEBIAN,)))[0].id == "sha256:pulled"


def test_a_base_without_a_lock_cannot_be_made(base: Base, folder: Path) -> None:
    with pytest.raises(BadInputError, match="Run `cuvee base --update bookworm`"):
        provided(base, FakeEngine(folder))


def test_where_no_registry_answers_one_is_made_from_debians_packages(
    base: Base, folder: Path, made: str
) -> None:
    fake = FakeEngine(folder)
    found, said = provided(base, fake)
    assert found == BaseImage(
        reference=made, id="sha256:made", origin=f"{made}, made from Debian's packages by mmdebstrap"
    )
    assert said == [
        f"base: no {DEBIAN} here, asking the registry",
        "base: no registry has it",
        "base bookworm: making it from Debian's packages (half a minute)",
    ]
    [argv] = fake.started
    assert argv[0] == "mmdebstrap"
    assert "--include=ca-certificates,python3,python3-venv" in argv
    assert "bookworm" in argv


def test_it_has_the_bytes_of_the_layer_that_the_direct_engine_takes(
    base: Base, folder: Path, layer: layers.BaseLayer, made: str
) -> None:
    fake = FakeEngine(folder)
    provided(base, fake)
    assert fake.archives == {made: layer.path.read_bytes()}


def test_what_the_store_has_is_not_made(base: Base, folder: Path, layer: layers.BaseLayer, made: str) -> None:
    provided(base, FakeEngine(folder))
    fake = FakeEngine(folder)
    provided(base, fake)
    assert not fake.started
    assert fake.archives == {made: layer.path.read_bytes()}


def test_one_that_was_made_of_other_bytes_is_not_taken(base: Base, folder: Path, made: str) -> None:
    fake = FakeEngine(folder, OLD, f"{OLD}-0123456789ab")
    assert provided(base, fake)[0].reference == made


def test_what_was_made_once_is_not_made_again(base: Base, folder: Path, made: str) -> None:
    fake = FakeEngine(folder)
    provided(base, fake)
    assert provided(base, fake)[0].reference == made
    assert len(fake.started) == 1


def test_other_versions_than_the_locks_are_not_imported(base: Base, folder: Path, made: str) -> None:
    fake = FakeEngine(folder)
    fake.root["cuvee-packages"] = NOTES.replace("3.11.2-6", "3.11.2-7")
    with pytest.raises(CannotResolveError, match=r"python3\.11 3\.11\.2-6 -> 3\.11\.2-7"):
        provided(base, fake)
    assert made not in fake.on_disk


def refusal(base: Base, fake: FakeEngine) -> Fault:
    with pytest.raises(EngineOrNetworkError) as caught:
        provided(base, fake)
    [fault] = caught.value.faults
    return fault


@pytest.mark.usefixtures("made")
def test_without_mmdebstrap_both_ways_out_are_told(base: Base, folder: Path) -> None:
    (folder / "mmdebstrap").unlink()
    fake = FakeEngine(folder)
    fake.says = "E: there is no network"  # so that it cannot be unpacked either
    assert refusal(base, fake) == Fault(
        place="base bookworm",
        cause=f"no registry gives {DEBIAN}, and it cannot be made here: mmdebstrap is not installed",
        fix=f"Install it (Debian's package mmdebstrap), or load {DEBIAN} into the engine",
    )


NO_NETWORK = """\
Ign:1 http://mirror.test/debian bookworm InRelease
Err:1 http://mirror.test/debian bookworm InRelease
  Could not connect to mirror.test:80 (192.0.2.1). - connect (111: Connection refused)
Reading package lists...
E: Failed to fetch http://mirror.test/debian/dists/bookworm/InRelease  Connection refused
E: Some index files failed to download. They have been ignored, or old ones used instead.
E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed
I: main() received signal PIPE: waiting for setup...
I: removing tempdir /tmp/mmdebstrap.Q2XV6yfvK0...
E: mmdebstrap failed to run
"""
"""What mmdebstrap 1.3 says when the mirror's port is closed, but for the address."""


@pytest.mark.parametrize(
    ("says", "cause"),
    [
        (
            NO_NETWORK,
            "Failed to fetch http://mirror.test/debian/dists/bookworm/InRelease  Connection refused",
        ),
        ("E: Unable to locate package python4\nE: setup failed\n", "Unable to locate package python4"),
        ("odd words\n", "mmdebstrap failed"),
        ("", "mmdebstrap failed"),
    ],
    ids=["network", "package", "odd", "silent"],
)
@pytest.mark.usefixtures("made")
def test_when_mmdebstrap_fails_its_first_error_is_the_cause(
    base: Base, folder: Path, says: str, cause: str
) -> None:
    fake = FakeEngine(folder)
    fake.says = says
    assert refusal(base, fake) == Fault(
        place="base bookworm",
        cause=f"no registry gives {DEBIAN}, and it cannot be made here: {cause}",
        fix="See that this machine reaches Debian's packages, and try again, "
        f"or load {DEBIAN} into the engine",
    )
    assert not fake.on_disk
