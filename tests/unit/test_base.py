from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.engines.base import BaseImage, provide
from builder.errors import EngineOrNetworkError, Fault
from builder.matrix import Base, parse
from builder.shell import Finished

DEBIAN = "debian:bookworm-slim"
MADE = "cuvee-base:bookworm"
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


class FakeEngine:
    """An engine in memory, with an mmdebstrap beside it.

    Attributes:
        on_disk: Images by their names.
        in_registry: The names that can be pulled.
        says: What mmdebstrap says when it fails; None when it works.
        started: What it was started with, and the PATH it was looked for on.
    """

    def __init__(self, path: Path, *on_disk: str, in_registry: Sequence[str] = ()) -> None:
        self.on_disk = {name: f"sha256:{name}" for name in on_disk}
        self.in_registry = in_registry
        self.environment = {"PATH": str(path)}
        self.shell = self
        self.says: str | None = None
        self.started: list[tuple[str, ...]] = []
        self.archives: list[Path] = []

    def image_id(self, reference: str) -> str | None:
        return self.on_disk.get(reference)

    def pull(self, reference: str) -> bool:
        if reference in self.in_registry:
            self.on_disk[reference] = "sha256:pulled"
        return reference in self.in_registry

    def run(self, argv: Sequence[str], *, env: dict[str, str]) -> Finished:
        assert env == self.environment
        self.started.append(tuple(argv))
        if self.says is not None:
            return Finished(argv=tuple(argv), code=25, out="", err=self.says)
        Path(argv[-1]).write_text("a root file system")
        return Finished(argv=tuple(argv), code=0, out="", err="")

    def import_archive(self, archive: Path, tag: str) -> None:
        assert archive.read_text() == "a root file system"
        self.archives.append(archive)
        self.on_disk[tag] = "sha256:made"


@pytest.fixture
def base() -> Base:
    return parse(MATRIX).bases[0]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with mmdebstrap."""
    (tmp_path / "mmdebstrap").touch(mode=0o755)
    return tmp_path


def provided(base: Base, fake: Any) -> tuple[BaseImage, list[str]]:
    said: list[str] = []
    return provide(base, fake, said.append), said


def test_an_image_that_the_engine_has_is_taken_and_nobody_is_asked(base: Base, programs: Path) -> None:
    fake = FakeEngine(programs, DEBIAN, MADE, in_registry=(DEBIAN,))
    found, said = provided(base, fake)
    assert found == BaseImage(reference=DEBIAN, id=f"sha256:{DEBIAN}", origin=f"the engine's own {DEBIAN}")
    assert said == []
    assert not fake.started


def test_one_made_earlier_is_taken_and_nobody_is_asked(base: Base, programs: Path) -> None:
    fake = FakeEngine(programs, MADE, in_registry=(DEBIAN,))
    found, said = provided(base, fake)
    assert found == BaseImage(
        reference=MADE, id=f"sha256:{MADE}", origin=f"{MADE}, made earlier from Debian's packages"
    )
    assert said == []
    assert not fake.started


def test_one_that_a_registry_has_is_pulled(base: Base, programs: Path) -> None:
    fake = FakeEngine(programs, in_registry=(DEBIAN,))
    found, said = provided(base, fake)
    assert found == BaseImage(
        reference=DEBIAN, id="sha256:pulled", origin=f"{DEBIAN}, pulled from the registry"
    )
    assert said == [f"base: no {DEBIAN} here, asking the registry"]
    assert not fake.started


def test_where_no_registry_answers_one_is_made_from_debians_packages(base: Base, programs: Path) -> None:
    fake = FakeEngine(programs)
    found, said = provided(base, fake)
    assert found == BaseImage(
        reference=MADE, id="sha256:made", origin=f"{MADE}, made from Debian's packages by mmdebstrap"
    )
    assert said == [
        f"base: no {DEBIAN} here, asking the registry",
        f"base: no registry has it, making {MADE} from Debian's packages (half a minute)",
    ]
    [argv] = fake.started
    assert argv[:4] == (
        "mmdebstrap",
        "--variant=minbase",
        "--include=ca-certificates,python3,python3-venv",
        "bookworm",
    )


def test_the_archive_it_is_made_of_is_deleted(base: Base, programs: Path) -> None:
    fake = FakeEngine(programs)
    provided(base, fake)
    [archive] = fake.archives
    assert not archive.parent.exists()


def test_what_was_made_once_is_not_made_again(base: Base, programs: Path) -> None:
    fake = FakeEngine(programs)
    provided(base, fake)
    provided(base, fake)
    assert len(fake.started) == 1


def refusal(base: Base, fake: FakeEngine) -> Fault:
    with pytest.raises(EngineOrNetworkError) as caught:
        provided(base, fake)
    [fault] = caught.value.faults
    return fault


def test_without_mmdebstrap_both_ways_out_are_told(base: Base, tmp_path: Path) -> None:
    assert refusal(base, FakeEngine(tmp_path)) == Fault(
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
def test_when_mmdebstrap_fails_its_first_error_is_the_cause(
    base: Base, programs: Path, says: str, cause: str
) -> None:
    fake = FakeEngine(programs)
    fake.says = says
    assert refusal(base, fake) == Fault(
        place="base bookworm",
        cause=f"no registry gives {DEBIAN}, and it cannot be made here: {cause}",
        fix="See that this machine reaches Debian's packages, and try again, "
        f"or load {DEBIAN} into the engine",
    )
    assert not fake.on_disk
