"""Unpacked layers that several processes want at once, and those that a killed one was making."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from builder.engines.direct.store import Store

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60

UNPACK = """
import sys, time
from pathlib import Path
from tests.unit.test_direct_trees import BASE, World, file

folder, name, go = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
world = World(folder)
files = [file(f"usr/{number}", bytes(200_000)) for number in range(8)]
shared = [world.layer(one.path, [*BASE, (one, data)]) for one, data in files]
world.image(name, *shared, world.layer(name, [file(name)]))
while not go.exists():
    time.sleep(0.001)
if sys.argv[4] == "stop":
    world.pause.clear()
    print("in", flush=True)
root = world.engine.unpacked(name).root
print(len(world.read), sum(1 for _ in root.rglob("*")))
"""
"""Unpacks an image of eight layers that others have too and of one of its own, as soon as it may."""


def start(store: Path, name: str, go: Path, how: str = "go") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", UNPACK, str(store), name, str(go), how],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_several_processes_unpack_each_shared_layer_once_between_them(tmp_path: Path) -> None:
    go = tmp_path / "go"
    running = [start(tmp_path / "store", name, go) for name in ("one", "two", "three")]
    go.touch()
    told = [one.communicate(timeout=PATIENCE_S)[0].split() for one in running]
    assert [one.returncode for one in running] == [0, 0, 0]
    assert sum(int(read) for read, _ in told) == 8 + 3
    assert [int(files) for _, files in told] == [3 + 8 + 1] * 3
    shared = Store(tmp_path / "store").path("trees", "").glob("*/tree/files/usr/0")
    assert [path.stat().st_nlink for path in shared] == [4]


def test_a_layer_that_a_killed_process_was_making_is_made_by_the_next(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.touch()
    killed = start(tmp_path / "store", "one", go, "stop")
    assert killed.stdout
    assert killed.stdout.readline() == "in\n"
    waiting = start(tmp_path / "store", "two", go)
    try:
        killed.wait(0.5)
    except subprocess.TimeoutExpired:
        killed.kill()
    told = waiting.communicate(timeout=PATIENCE_S)[0].split()
    killed.communicate(timeout=PATIENCE_S)
    assert (killed.returncode, waiting.returncode) == (-9, 0)
    assert [int(one) for one in told] == [9, 12]
