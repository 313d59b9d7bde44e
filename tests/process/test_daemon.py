from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.engines.private import PrivateEngine, start, stop
from builder.errors import EngineOrNetworkError

AT_ONCE_S = 20  # a daemon that lives has longer to come up

LISTENS = """\
#!{python}
# Does what matters of dockerd here: it writes its process id, listens, and ends when it is asked to.
import os, signal, socket, sys
told = dict(word[2:].split("=", 1) for word in sys.argv[1:])
with open(told["pidfile"], "w") as file:
    file.write(str(os.getpid()))
def end(*_):
    open(told["data-root"] + ".saved", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
with socket.socket(socket.AF_UNIX) as server:
    server.bind(told["host"].removeprefix("unix://"))
    server.listen()
    while True:
        server.accept()[0].close()
"""
DIES = """\
#!/bin/sh
echo 'level=info msg="Starting up"'
echo 'failed to start daemon: no room' >&2
exit 1
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateEngine]:
    """An engine that is unpacked already, on what says of itself that it is a Debian and root."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(PrivateEngine, "runtime", property(lambda _: tmp_path / "run"))
    found = PrivateEngine(tmp_path)
    yield found
    stop(found)


def put_dockerd(engine: PrivateEngine, script: str) -> None:
    program = engine.root / "usr/sbin/dockerd"
    program.parent.mkdir(parents=True)
    program.write_text(script.replace("{python}", sys.executable))
    program.chmod(0o755)


def daemon(engine: PrivateEngine) -> int:
    return int(engine.pidfile.read_text())


def test_a_daemon_is_started_once_and_ended_by_its_pid_file(engine: PrivateEngine) -> None:
    put_dockerd(engine, LISTENS)
    start(engine)
    assert engine.alive()
    pid = daemon(engine)
    start(engine)
    assert daemon(engine) == pid
    assert stop(engine)
    assert not engine.alive()
    assert not engine.runtime.exists()
    assert (engine.home / "data.saved").exists()  # it was asked, not killed
    assert not stop(engine)


def test_a_daemon_that_was_killed_is_started_again(engine: PrivateEngine) -> None:
    put_dockerd(engine, LISTENS)
    start(engine)
    killed = daemon(engine)
    os.kill(killed, 9)
    os.waitpid(killed, 0)
    assert not engine.alive()
    start(engine)
    assert engine.alive()
    assert daemon(engine) != killed


def test_a_daemon_that_dies_at_once_is_told_at_once_with_its_last_words(engine: PrivateEngine) -> None:
    put_dockerd(engine, DIES)
    began = time.monotonic()
    with pytest.raises(EngineOrNetworkError) as caught:
        start(engine)
    assert time.monotonic() - began < AT_ONCE_S
    [fault] = caught.value.faults
    assert fault.place == str(engine.log)
    assert fault.cause == "dockerd did not start: failed to start daemon: no room"
    assert fault.fix == "Read that file; in a container, dockerd needs --privileged"
