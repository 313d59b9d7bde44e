from __future__ import annotations

import os
import platform
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.engines import private
from builder.engines.private import FROM_HOST, FROM_SUITE, PrivateEngine, start, stop
from builder.errors import EngineOrNetworkError
from builder.shell import Finished

MIRROR = "http://mirror.test/debian/"
TARGETS = f"""\
http://tools.test/linux/debian/ bookworm Tools
{MIRROR} bookworm Debian
{MIRROR} bookworm-updates Debian
http://security.test/debian-security/ bookworm-security Debian
"""
NO_ONE = 2**22 + 1
"""A process id that no process can have: Linux ends at 2**22."""


class FakeDebian:
    """apt, dpkg and dockerd as the engine's code meets them; it records what was started.

    Attributes:
        targets: What apt lists of its sources, once it has lists.
        has_lists: Whether `apt-get update` has been run on this machine.
        breaks: A word of the command that fails, and what it then says.
        dockerd: What happens when the daemon is started; it returns a process id.
    """

    def __init__(self) -> None:
        self.targets = TARGETS
        self.has_lists = True
        self.breaks: tuple[str, str] | None = None
        self.dockerd: Callable[[Path], int] = lambda _: os.getpid()
        self.started: list[tuple[str, ...]] = []
        self.daemons: list[tuple[str, ...]] = []
        self.sources = ""

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
        del env, stdin, timeout, on_line
        words = tuple(argv)
        self.started.append(words)
        if words[0] == "apt-cache":
            return Finished(argv=words, code=0 if self.has_lists else 100, out="", err="")
        if self.breaks and self.breaks[0] in words:
            return Finished(argv=words, code=100, out="", err=self.breaks[1])
        return Finished(argv=words, code=0, out=self._answer(words, cwd or Path()), err="")

    def _answer(self, words: tuple[str, ...], cwd: Path) -> str:
        private_lists = any("Dir::State::lists" in word for word in words)
        match words:
            case ("apt-get", "indextargets", *_):
                return self.targets if self.has_lists else ""
            case ("apt-get", *_) if "update" in words and private_lists:
                [source] = (word for word in words if word.startswith("Dir::Etc::sourcelist="))
                self.sources = Path(source.partition("=")[2]).read_text()
            case ("apt-get", "update", *_):
                self.has_lists = True
            case ("apt-get", *_) if "download" in words:
                for package in set(words) & {*FROM_SUITE, *FROM_HOST}:
                    (cwd / f"{package}_1.0_amd64.deb").touch()
            case ("dpkg-deb", "-x", package, folder):
                unpacked = Path(folder) / Path(package).name.partition("_")[0]
                unpacked.parent.mkdir(exist_ok=True)
                unpacked.touch()
        return ""

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        del env
        self.daemons.append(tuple(argv))
        return self.dockerd(log)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Whether something answers on the engine's socket."""
    event = threading.Event()
    monkeypatch.setattr(PrivateEngine, "alive", lambda _: event.is_set())
    return event


@pytest.fixture
def debian(listening: threading.Event) -> FakeDebian:
    """A machine whose dockerd listens as soon as it is started."""
    machine = FakeDebian()

    def listen(_: Path) -> int:
        listening.set()
        return os.getpid()

    machine.dockerd = listen
    return machine


def describe_machine(
    monkeypatch: pytest.MonkeyPatch,
    *,
    system: str = "Linux",
    machine: str = "x86_64",
    release: dict[str, str] | None = None,
    user: int = 0,
) -> None:
    found = {"ID": "debian", "VERSION_CODENAME": "bookworm"} if release is None else release

    def os_release() -> dict[str, str]:
        if not found:
            raise OSError("there is no os-release file")
        return found

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "freedesktop_os_release", os_release)
    monkeypatch.setattr(os, "geteuid", lambda: user)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrivateEngine:
    """An engine in a folder of this test, on Debian and as root."""
    describe_machine(monkeypatch)
    monkeypatch.setattr(PrivateEngine, "runtime", property(lambda _: tmp_path / "run"))
    return PrivateEngine(tmp_path / "engine")


def refusal(engine: PrivateEngine, shell: FakeDebian) -> list[tuple[str, str, str]]:
    with pytest.raises(EngineOrNetworkError) as caught:
        start(engine, shell)
    return [(fault.place, fault.cause, fault.fix) for fault in caught.value.faults]


class TestMachinesThatCannotHaveOne:
    INSTEAD = "Install Docker Engine 23 or newer with its buildx plugin, start it, and try again"

    @pytest.mark.parametrize(
        ("described", "causes"),
        [
            (
                {"system": "Darwin", "machine": "arm64", "user": 501},
                [
                    "it needs Linux on x86-64, this is Darwin on arm64",
                    "dockerd needs root, and this user is not",
                ],
            ),
            (
                {"release": {"ID": "ubuntu"}, "user": 1000},
                [
                    "it is unpacked from Debian's packages, and this system is 'ubuntu'",
                    "dockerd needs root, and this user is not",
                ],
            ),
            ({"machine": "aarch64"}, ["it needs Linux on x86-64, this is Linux on aarch64"]),
            (
                {"release": {}},
                ["it is unpacked from Debian's packages, and this system is 'unknown'"],
            ),
            ({"user": 1000}, ["dockerd needs root, and this user is not"]),
        ],
        ids=["a Mac", "a user on Ubuntu", "another processor", "no os-release", "not root"],
    )
    def test_a_machine_that_cannot_is_told_all_reasons_and_nothing_is_touched(
        self,
        engine: PrivateEngine,
        debian: FakeDebian,
        monkeypatch: pytest.MonkeyPatch,
        described: dict[str, Any],
        causes: list[str],
    ) -> None:
        describe_machine(monkeypatch, **described)
        assert refusal(engine, debian) == [("private engine", cause, self.INSTEAD) for cause in causes]
        assert not engine.home.exists()
        assert not debian.started
        assert not debian.daemons


class TestUnpacking:
    def test_the_engine_is_made_of_debians_packages_and_started(
        self, engine: PrivateEngine, debian: FakeDebian
    ) -> None:
        start(engine, debian)
        assert {path.name for path in engine.root.iterdir()} == {*FROM_SUITE, *FROM_HOST}
        assert debian.daemons[0][0] == str(engine.root / "usr/sbin/dockerd")
        plugin = engine.home / "config" / "cli-plugins" / "docker-buildx"
        assert plugin.readlink().is_relative_to(engine.root)

    def test_nothing_is_left_of_the_downloads(self, engine: PrivateEngine, debian: FakeDebian) -> None:
        start(engine, debian)
        assert not (engine.home / "packages").exists()
        assert not (engine.home / "root.part").exists()

    def test_nothing_is_installed_into_the_system(self, engine: PrivateEngine, debian: FakeDebian) -> None:
        start(engine, debian)
        verbs = {"install", "-i", "--install", "--unpack", "upgrade", "remove"}
        assert not [words for words in debian.started if verbs & set(words)]

    def test_what_was_unpacked_is_not_unpacked_again(
        self, engine: PrivateEngine, debian: FakeDebian, listening: threading.Event
    ) -> None:
        start(engine, debian)
        listening.clear()
        debian.started.clear()
        start(engine, debian)
        assert not debian.started
        assert len(debian.daemons) == 2

    def test_a_machine_without_lists_downloads_them_first(
        self, engine: PrivateEngine, debian: FakeDebian
    ) -> None:
        # A Debian image from a registry is such a machine; `apt-get indextargets` is then empty.
        debian.has_lists = False
        start(engine, debian)
        assert f"URIs: {MIRROR}\n" in debian.sources


class TestMirror:
    @pytest.mark.parametrize("mirror", [MIRROR, "http://other.test/d/"])
    def test_the_suite_comes_from_the_mirror_in_apts_own_list(
        self, engine: PrivateEngine, debian: FakeDebian, mirror: str
    ) -> None:
        debian.targets = TARGETS.replace(MIRROR, mirror)
        start(engine, debian)
        assert debian.sources.splitlines()[:3] == [
            "Types: deb",
            f"URIs: {mirror}",
            f"Suites: {private.SUITE}",
        ]

    def test_a_vendors_repository_for_the_same_release_is_not_taken_for_debian(
        self, engine: PrivateEngine, debian: FakeDebian
    ) -> None:
        start(engine, debian)
        assert "tools.test" not in debian.sources

    def test_packages_are_checked_against_debians_keyring(
        self, engine: PrivateEngine, debian: FakeDebian
    ) -> None:
        start(engine, debian)
        assert "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n" in debian.sources

    def test_lines_that_are_no_target_do_not_matter(self, engine: PrivateEngine, debian: FakeDebian) -> None:
        debian.targets = f"\ncdrom:[Debian 12 _Bookworm_]/ bookworm Debian\nhttp://flat.test/\n{TARGETS}"
        start(engine, debian)
        assert f"URIs: {MIRROR}\n" in debian.sources

    def test_no_address_is_written_in_the_code(self) -> None:
        assert not re.findall(r"https?://", Path(private.__file__).read_text(encoding="utf-8"))

    def test_a_machine_whose_apt_does_not_know_debian_is_told_what_to_add(
        self, engine: PrivateEngine, debian: FakeDebian
    ) -> None:
        debian.targets = "http://tools.test/linux/debian/ bookworm Tools\n"
        assert refusal(engine, debian) == [
            (
                "private engine",
                "this system's apt has no source for bookworm",
                "Add Debian's main archive to /etc/apt/sources.list.d, run `apt-get update`, and try again",
            )
        ]


class TestFailures:
    # What apt 2.6 says when the mirror's port is closed, but for the address.
    REFUSED = (
        "E: Failed to fetch http://mirror.test/InRelease  Could not connect\n"
        "E: Some index files failed to download. They have been ignored, or old ones used instead.\n"
    )

    @pytest.mark.parametrize(
        ("broken", "says", "cause"),
        [
            (
                "--error-on=any",
                REFUSED,
                "apt-get failed: Failed to fetch http://mirror.test/InRelease  Could not connect",
            ),
            (
                "docker.io",
                "E: Unable to locate package docker.io\n",
                "apt-get failed: Unable to locate package docker.io",
            ),
            (
                "runc",
                "W: a warning\nE: Failed to fetch runc\n",
                "apt-get failed: Failed to fetch runc",
            ),
            (
                "dpkg-deb",
                "dpkg-deb: error: unexpected end of file\n",
                "dpkg-deb failed: dpkg-deb: error: unexpected end of file",
            ),
            ("dpkg-deb", "", "dpkg-deb failed: it said nothing"),
        ],
        ids=["lists", "package", "package of the host", "unpacking", "silence"],
    )
    def test_a_step_that_fails_leaves_no_engine_that_would_count_as_one(
        self, engine: PrivateEngine, debian: FakeDebian, broken: str, says: str, cause: str
    ) -> None:
        debian.breaks = (broken, says)
        fix = "See that this machine reaches Debian's packages (`apt-get update`), and try again"
        assert refusal(engine, debian) == [("private engine", cause, fix)]
        assert not engine.root.exists()
        assert not debian.daemons

    def test_after_a_failure_the_next_start_begins_anew(
        self, engine: PrivateEngine, debian: FakeDebian
    ) -> None:
        debian.breaks = ("dpkg-deb", "dpkg-deb: error: no space left on device")
        refusal(engine, debian)
        (engine.home / "root.part").mkdir()
        (engine.home / "root.part" / "half").touch()
        debian.breaks = None
        start(engine, debian)
        assert {path.name for path in engine.root.iterdir()} == {*FROM_SUITE, *FROM_HOST}

    def test_a_daemon_that_dies_at_its_start_is_told_with_its_last_words(
        self, engine: PrivateEngine, debian: FakeDebian
    ) -> None:
        def die(log: Path) -> int:
            log.write_text(
                'time="2026-11-22T10:13:01Z" level=info msg="Starting up"\n'
                "failed to start daemon: Devices cgroup isn't mounted\n\n"
            )
            return NO_ONE

        debian.dockerd = die
        assert refusal(engine, debian) == [
            (
                str(engine.log),
                "dockerd did not start: failed to start daemon: Devices cgroup isn't mounted",
                "Read that file; in a container, dockerd needs --privileged",
            )
        ]

    def test_the_last_words_are_of_this_start_and_not_of_one_before(
        self, engine: PrivateEngine, debian: FakeDebian
    ) -> None:
        engine.home.mkdir()
        engine.log.write_text("words of yesterday\n")
        debian.dockerd = lambda _: NO_ONE
        [(_, cause, _)] = refusal(engine, debian)
        assert cause == "dockerd did not start: it said nothing"

    def test_a_daemon_that_never_listens_is_not_waited_for_without_end(
        self, engine: PrivateEngine, debian: FakeDebian, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(private, "_START_SECONDS", 0.05)
        debian.dockerd = lambda _: os.getpid()  # lives, and does not listen
        [(place, cause, fix)] = refusal(engine, debian)
        assert place == str(engine.log)
        assert cause == "dockerd did not start: it said nothing"
        assert fix.startswith("Read that file")


class TestStarting:
    def test_a_running_engine_is_left_alone(
        self, engine: PrivateEngine, debian: FakeDebian, listening: threading.Event
    ) -> None:
        listening.set()
        start(engine, debian)
        assert not debian.started
        assert not debian.daemons

    def test_of_two_starts_at_once_the_second_finds_it_running(
        self, engine: PrivateEngine, debian: FakeDebian, listening: threading.Event
    ) -> None:
        second_is_there = threading.Event()

        def start_slowly(_: Path) -> int:
            # While this daemon comes up, the other start has all the time it needs to start one too.
            other.start()
            assert second_is_there.wait(timeout=10)
            other.join(timeout=0.2)
            listening.set()
            return os.getpid()

        def start_too() -> None:
            second_is_there.set()
            start(engine, debian)

        debian.dockerd = start_slowly
        other = threading.Thread(target=start_too)
        start(engine, debian)
        other.join()
        assert len(debian.daemons) == 1

    def test_the_daemon_has_all_of_its_own_and_changes_no_network(
        self, engine: PrivateEngine, debian: FakeDebian
    ) -> None:
        start(engine, debian)
        [words] = debian.daemons
        assert set(words[1:]) == {
            f"--host=unix://{engine.socket}",
            f"--data-root={engine.home / 'data'}",
            f"--exec-root={engine.runtime / 'exec'}",
            f"--pidfile={engine.pidfile}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        }

    def test_a_socket_that_a_killed_daemon_left_is_not_in_the_way(
        self, engine: PrivateEngine, debian: FakeDebian, listening: threading.Event
    ) -> None:
        def bind(_: Path) -> int:
            assert not engine.socket.exists()
            listening.set()
            return os.getpid()

        engine.home.mkdir()
        engine.socket.touch()
        debian.dockerd = bind
        start(engine, debian)
        assert debian.daemons

    def test_its_own_client_comes_first_on_the_path(
        self, engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "/usr/bin")
        assert engine.environment == {
            "PATH": f"{engine.root}/usr/sbin:{engine.root}/usr/bin:/usr/bin",
            "DOCKER_HOST": f"unix://{engine.socket}",
            "DOCKER_CONFIG": str(engine.home / "config"),
        }


class TestSocket:
    LIMIT = 107
    """What fits into `sun_path`, without the zero at its end."""

    def test_it_lies_in_the_engines_folder(self) -> None:
        assert PrivateEngine(Path("/home/me/cuvee/.engine")).socket == Path(
            "/home/me/cuvee/.engine/docker.sock"
        )

    def test_a_path_too_long_for_a_socket_is_replaced_by_one_under_run(self) -> None:
        deep = PrivateEngine(Path("/home") / "long" / ("x" * 100) / ".engine")
        assert deep.socket.is_relative_to("/run")
        assert len(str(deep.socket)) < self.LIMIT

    @pytest.mark.parametrize("length", range(60, 110))
    def test_it_fits_however_long_the_folder_is(self, length: int) -> None:
        assert len(str(PrivateEngine(Path("/" + "x" * length)).socket)) < self.LIMIT

    def test_two_projects_have_two_of_it(self) -> None:
        one, other = (PrivateEngine(Path("/" + name * 120)) for name in "ab")
        assert one.socket != other.socket


class TestStopping:
    @pytest.fixture(autouse=True)
    def _nobody_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def kill(pid: int, number: int) -> None:
            raise AssertionError(f"process {pid} was sent signal {number}")

        monkeypatch.setattr(os, "kill", kill)

    def test_a_stale_pid_file_that_names_a_stranger_kills_nobody(self, engine: PrivateEngine) -> None:
        engine.home.mkdir()
        engine.pidfile.parent.mkdir()
        engine.pidfile.write_text(str(os.getpid()))  # the number was given to another: to us
        assert not stop(engine)

    @pytest.mark.parametrize("content", ["", "not a number", str(NO_ONE)])
    def test_a_pid_file_that_names_no_process_kills_nobody(self, engine: PrivateEngine, content: str) -> None:
        engine.home.mkdir()
        engine.pidfile.parent.mkdir()
        engine.pidfile.write_text(content)
        assert not stop(engine)

    def test_an_engine_that_was_never_started_is_not_running(self, engine: PrivateEngine) -> None:
        assert not stop(engine)
        assert not engine.home.exists()
