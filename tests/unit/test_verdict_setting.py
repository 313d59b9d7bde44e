"""Each environment of a row is looked at by itself, in the image that has the others too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder import matrix
from builder.abi.facts import BaseFacts, Binary, Summary, WheelFacts
from builder.abi.library import Library, base_file, text
from builder.abi.loader import Loaded
from builder.lock import record
from builder.lock.record import Environment, Lock, Package
from builder.project import Project
from builder.verdict.setting import Setting, settings_of_row

GOLDEN = Project(Path(__file__).parents[1] / "golden")
[SPLIT] = matrix.load(GOLDEN.matrix).select(["split"])
SITE = "/opt/cuvee/{}/lib/python3.11/site-packages"
OPENS = ("liba.so", "libshared.so")


def wheel(name: str, version: str, *libraries: str, opens: tuple[str, ...] = ()) -> Package:
    file = f"{name}-{version}-py3-none-manylinux_2_17_x86_64.whl"
    facts = Summary(libraries=libraries, opens=opens)
    return Package(name=name, version=version, file=file, sha256=file, size=1, facts=facts)


ENVIRONMENTS = (
    Environment(
        name="asr",
        packages=(wheel("user", "1.0", opens=OPENS), wheel("libs", "1.0", "a/liba.so", "s/libshared.so")),
    ),
    Environment(
        name="diarize",
        packages=(wheel("other", "1.0", opens=OPENS[1:]), wheel("libs", "2.0", "s/libshared.so")),
    ),
)


def lock(*environments: Environment) -> Lock:
    return replace(record.read(GOLDEN.image("split") / record.FILE), environments=environments)


def facts(locked: Lock) -> Iterator[WheelFacts]:
    for package in locked.packages():
        binaries = tuple(
            Binary(path=path, soname=path.rpartition("/")[2]) for path in package.facts.libraries
        )
        yield WheelFacts(file=package.file, sha256=package.sha256, binaries=binaries)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    libc = Binary(path="/usr/lib/libc.so.6", soname="libc.so.6", provides=("GLIBC_2.36",))
    base = BaseFacts(id="bookworm", image="small", binaries=(libc,))
    (tmp_path / base_file("bookworm")).write_text(text(base))
    for one in facts(lock(*ENVIRONMENTS)):
        (tmp_path / f"{one.file}.json").write_text(text(one))
    return Library(folders=(tmp_path,))


@pytest.fixture
def settings(library: Library) -> tuple[Setting, ...]:
    return settings_of_row(SPLIT, lock(*ENVIRONMENTS), library)


def test_each_environment_has_a_setting_with_its_own_packages(settings: tuple[Setting, ...]) -> None:
    asr, diarize = settings
    assert (asr.environment, asr.versions()) == ("asr", {"user": "1.0", "libs": "1.0"})
    assert (diarize.environment, diarize.versions()) == ("diarize", {"other": "1.0", "libs": "2.0"})
    assert all(path.startswith(SITE.format("diarize")) for path in diarize.owners)


def test_it_is_started_with_its_own_folders_as_transcribe_does(settings: tuple[Setting, ...]) -> None:
    asr, diarize = settings
    assert asr.world.library_path == (f"{SITE.format('asr')}/a", f"{SITE.format('asr')}/s")
    assert diarize.world.library_path == (f"{SITE.format('diarize')}/s",)


def test_all_are_in_one_image_with_one_loaders_cache(settings: tuple[Setting, ...]) -> None:
    asr, diarize = settings
    assert asr.world.files == diarize.world.files
    assert asr.world.cache == diarize.world.cache
    assert asr.world.cache["liba.so"] == f"{SITE.format('asr')}/a/liba.so"
    assert "libshared.so" not in asr.world.cache


def test_what_the_row_leaves_out_is_not_there(library: Library) -> None:
    row = SPLIT.model_copy(update={"leave_out": {"s/lib*.so": "nobody needs it"}})
    asr, diarize = settings_of_row(row, lock(*ENVIRONMENTS), library)
    assert {path.rpartition("/")[2] for path in (*asr.owners, *diarize.owners)} == {"liba.so"}
    assert not any("libshared" in path for path in asr.world.files)


CODECS = Environment(
    name="main",
    packages=(
        wheel("av", "15.0", "av.libs/libavutil-a63f.so.59.39.100", "av.libs/libavcodec-7ee0.so.61.19.101"),
        wheel("torchcodec", "0.7"),
    ),
)


def test_pyavs_libraries_are_found_by_their_common_names_and_by_their_own(tmp_path: Path) -> None:
    libc = Binary(path="/usr/lib/libc.so.6", soname="libc.so.6", provides=("GLIBC_2.36",))
    base = BaseFacts(id="bookworm+libpython", image="small", binaries=(libc,))
    (tmp_path / base_file("bookworm+libpython")).write_text(text(base))
    for one in facts(lock(CODECS)):
        (tmp_path / f"{one.file}.json").write_text(text(one))
    row = SPLIT.model_copy(update={"ffmpeg": "pyav"})
    [setting] = settings_of_row(row, lock(CODECS), Library(folders=(tmp_path,)))
    inside = f"{SITE.format('main')}/av.libs"
    assert setting.world.links == {
        "/usr/lib/libavutil.so.59": f"{inside}/libavutil-a63f.so.59.39.100",
        "/usr/lib/libavutil-a63f.so.59.39.100": "libavutil.so.59",
        "/usr/lib/libavcodec.so.61": f"{inside}/libavcodec-7ee0.so.61.19.101",
        "/usr/lib/libavcodec-7ee0.so.61.19.101": "libavcodec.so.61",
    }
    for name in ("libavcodec.so.61", "libavcodec-7ee0.so.61.19.101"):
        found = setting.process().open(name)
        assert isinstance(found, Loaded)
        assert found.path == f"{inside}/libavcodec-7ee0.so.61.19.101"


def test_an_ordinary_row_is_started_without_a_library_path(library: Library) -> None:
    only = replace(ENVIRONMENTS[0], name="main")
    [setting] = settings_of_row(SPLIT, lock(only), library)
    assert (setting.environment, setting.world.library_path) == ("main", ())
    assert setting.world.cache["libshared.so"] == f"{SITE.format('main')}/s/libshared.so"
