"""Stores and layouts under several processes at once, under kill -9, and on a disk that is full."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from builder.engines.direct import layout
from builder.engines.direct.base import LAYOUT
from builder.engines.direct.store import Store
from builder.errors import CuveeError, EngineOrNetworkError
from tests.directworld import World, opened, world
from tests.wheelmaker import image_of, layer_of, wheel

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
KILLED = -9
WHEELS = {
    "vat": {"vat/__init__.py": b"x = 1\n", "vat/lib.so": bytes(range(256)) * 4000},
    "wine": {"wine/a.py": b"y = 2\n", "wine-1.0.data/scripts/wine": b"#!python\n"},
}

BUILD = """
import os, signal, sys
from pathlib import Path
from builder.engines.direct import layout
from tests.directworld import opened

folder, output, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
made = opened(folder)
count = 0

def counted(event, arguments):
    global count
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "fcntl.flock", "shutil.rmtree"):
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(counted)
with made.rows.built(made.row) as image:
    layout.write(image, output)
    print(image.digest, count)
"""
"""Builds, writes a layout, and is killed at its so manieth use of the disk."""

WRITE = """
import sys, time
from pathlib import Path
from builder.engines.direct import layout
from tests.wheelmaker import image_of, layer_of

output, go, name = map(Path, sys.argv[1:4])
layers = [layer_of(Path(one), one) for one in sys.argv[4:]]
while not go.exists():
    time.sleep(0.001)
layout.write(image_of(*layers, name=f"cuvee:{name}"), output)
"""
"""Writes an image of wheels to a layout, as soon as it may."""

SLOW = """
import dataclasses, hashlib, sys, time
from pathlib import Path
from builder.engines.direct import layout
from tests.wheelmaker import image_of, layer_of

output, source = map(Path, sys.argv[1:3])
layer = layer_of(source)

def slow():
    for piece in layer.blob():
        yield piece[: len(piece) // 2]
        print("in the middle", flush=True)
        time.sleep(60)

layout.write(image_of(dataclasses.replace(layer, blob=slow)), output)
"""

HOLD = """
import sys
from pathlib import Path
from builder.engines.direct.store import Store

with getattr(Store(Path(sys.argv[1])), sys.argv[2])():
    print("in", flush=True)
    sys.stdin.read()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program of Python that sees the project; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def started(program: str, *arguments: object) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(made)
        return made

    yield started
    for one in running:
        one.kill()
        one.communicate()


def done(process: subprocess.Popen[str]) -> str:
    """What a program has said once it ended well."""
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return out


def said(process: subprocess.Popen[str]) -> str:
    """The next line of a program."""
    assert process.stdout
    return process.stdout.readline().strip()


def sound(folder: Path, names: Sequence[str]) -> None:
    """See that a layout has these images, whole, and nothing else."""
    manifests = dict(layout.manifests(folder))
    assert sorted(manifests) == sorted(names)
    for path in (folder / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    for manifest in manifests.values():
        for one in (manifest["config"], *manifest["layers"]):
            assert layout.blob_path(folder, one["digest"]).stat().st_size == one["size"]
    loadable = json.loads((folder / "manifest.json").read_bytes())
    assert sorted(one["RepoTags"][0] for one in loadable) == sorted(f"cuvee:{name}" for name in names)
    assert not list(folder.rglob(".part-*"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wheels(folder: Path) -> list[Path]:
    return [
        wheel(folder / name, {"vat/lib.so": hashlib.sha256(name.encode()).digest() * 30_000})
        for name in ("shared", "one", "two")
    ]


# A layout


def test_several_that_write_to_one_new_layout_at_once_all_get_their_image_in(
    start: Start, tmp_path: Path
) -> None:
    shared, one, two = wheels(tmp_path)
    for attempt in range(3):
        output, go = tmp_path / f"layout{attempt}", tmp_path / f"go{attempt}"
        told = (("a", one), ("b", two), ("c", one), ("d", two))
        writers = [start(WRITE, output, go, name, shared, own) for name, own in told]
        time.sleep(1)
        go.touch()
        for writer in writers:
            done(writer)
        sound(output, "abcd")


def test_a_kill_in_the_middle_of_a_blob_publishes_nothing_and_a_second_run_works(
    start: Start, tmp_path: Path
) -> None:
    source, output = wheels(tmp_path)[0], tmp_path / "layout"
    writer = start(SLOW, output, source)
    assert said(writer) == "in the middle"
    writer.kill()
    assert writer.wait() == KILLED
    assert not (output / "index.json").exists()
    assert list(output.rglob(".part-*"))

    layout.write(image_of(layer_of(source)), output)
    sound(output, ["vat"])


def test_who_waits_for_a_killed_writer_goes_on(start: Start, tmp_path: Path) -> None:
    (source, one, _), output, go = wheels(tmp_path), tmp_path / "layout", tmp_path / "go"
    slow = start(SLOW, output, source)
    assert said(slow) == "in the middle"
    go.touch()
    waiting = start(WRITE, output, go, "b", source, one)
    time.sleep(1.5)
    assert waiting.poll() is None
    slow.kill()
    done(waiting)
    sound(output, ["b"])


# A store


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project of which nothing is built."""
    found = world(tmp_path / "project", WHEELS)
    monkeypatch.setenv(LAYOUT, str(found.layout))
    return found


def built(of: World, output: Path) -> str:
    with of.rows.built(of.row) as image:
        layout.write(image, output)
        return image.digest


def kept(store: Store) -> dict[str, bytes]:
    """All that a store has in its places; what a killed one was writing is swept a day later."""
    return {path: content for path, content in files(store.root).items() if ".partial-" not in path}


def test_two_builds_in_one_store_at_once_make_one_image(start: Start, small: World, tmp_path: Path) -> None:
    outputs = [tmp_path / "first", tmp_path / "second", tmp_path / "first"]
    builds = [start(BUILD, small.folder, output, -1) for output in outputs]
    digests = {done(one).split()[0] for one in builds}
    assert len(digests) == 1
    assert built(opened(small.folder), tmp_path / "first") in digests
    for output in outputs:
        sound(output, ["vat"])
    assert not list(small.store.root.rglob(".partial-*"))


def test_a_build_killed_at_any_moment_leaves_a_store_that_works_and_nothing_partial(
    start: Start, small: World, tmp_path: Path
) -> None:
    _, count = done(start(BUILD, small.folder, tmp_path / "whole", -1)).split()
    there, whole = kept(small.store), files(tmp_path / "whole")
    for last in sorted({max(1, int(count) * share // 12) for share in range(1, 13)}):
        folder, output = tmp_path / f"killed{last}", tmp_path / f"layout{last}"
        world(folder, WHEELS)
        killed = start(BUILD, folder, output, last)
        out, err = killed.communicate(timeout=PATIENCE_S)
        assert (killed.returncode, out) == (KILLED, ""), err
        again = opened(folder)
        for path, content in kept(again.store).items():
            assert content == there[path], path
        for path, content in files(output).items():
            assert ".part-" in path or content in {whole[path], b""}, path

        built(again, output)
        assert kept(again.store) == there
        assert files(output) == whole
        assert again.lock.read_text() == small.lock.read_text()


@pytest.mark.parametrize(("first", "second"), [("in_use", "alone"), ("alone", "in_use"), ("alone", "alone")])
@pytest.mark.parametrize("end", ["well", "kill"])
def test_who_deletes_waits_for_builds_and_builds_for_who_deletes(
    first: str, second: str, end: str, start: Start, tmp_path: Path
) -> None:
    holder = start(HOLD, tmp_path, first)
    assert said(holder) == "in"
    waiting = start(HOLD, tmp_path, second)
    assert waiting.stdout
    assert select.select([waiting.stdout], [], [], 1) == ([], [], [])
    if end == "kill":
        holder.kill()
    else:
        holder.communicate()
    assert said(waiting) == "in"


def test_builds_do_not_wait_for_each_other(start: Start, tmp_path: Path) -> None:
    holders = [start(HOLD, tmp_path, "in_use") for _ in range(2)]
    assert [said(one) for one in holders] == ["in", "in"]


# A full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "cuvee-test", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def larger(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)


def one_fault(caught: pytest.ExceptionInfo[CuveeError]) -> tuple[str, str, str]:
    [fault] = caught.value.faults
    return fault.place, fault.cause, fault.fix


def test_a_full_disk_publishes_nothing_and_with_room_it_goes_on(disk: Path, tmp_path: Path) -> None:
    path = wheel(tmp_path, {"vat/noise": b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(20_000))})
    image, output = image_of(layer_of(path)), disk / "layout"
    with pytest.raises(EngineOrNetworkError) as caught:
        layout.write(image, output)
    assert one_fault(caught) == (
        str(output),
        "it cannot be written: No space left on device",
        "Free some space there, or name another folder",
    )
    assert set(files(output)) <= {"oci-layout"}
    larger(disk)
    layout.write(image, output)
    sound(output, ["vat"])


def test_a_store_on_a_full_disk_is_one_error_and_with_room_it_goes_on(
    disk: Path, small: World, tmp_path: Path
) -> None:
    full = small.elsewhere(disk / "store")
    filler = disk / "filler"
    for free in range(4096, 65536, 8192):
        filler.write_bytes(b"")
        state = os.statvfs(disk)
        filler.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - free)))
        try:
            built(full, tmp_path / "out")
        except EngineOrNetworkError as error:
            [fault] = error.faults
            assert fault.cause.endswith("No space left on device")
            assert fault.fix.startswith("Free some")
        assert not list((disk / "store").glob(".partial-*"))
    larger(disk)
    assert built(full, tmp_path / "out") == built(small, tmp_path / "out")
