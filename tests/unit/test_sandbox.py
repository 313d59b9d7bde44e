"""What the sandbox asks of bubblewrap, crun and runc, and where it gets them; no process starts here."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.engines.container import Container
from builder.engines.direct import unpacked
from builder.engines.direct.sandbox import Runtime, container, driver, find_runtime
from builder.engines.direct.sandbox.box import Box, Mount, prepare
from builder.engines.direct.sandbox.bubblewrap import Bubblewrap
from builder.engines.direct.sandbox.oci import Oci, configuration
from builder.engines.direct.sandbox.way import Call, user_and_group
from builder.engines.direct.unpacked import Unpacked
from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.shell import Finished

NOBODY = "65534:65534"


class Recorder:
    """A shell that starts nothing: it copies as `cp` does, unpacks as apt does, and is told the rest.

    Attributes:
        answers: By a word of a command, what it ends with.
        commands: What was asked of it.
    """

    def __init__(self, **answers: Finished | BaseException) -> None:
        self.answers = answers
        self.commands: list[list[str]] = []

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
        self.commands.append(list(argv))
        for word, answer in self.answers.items():
            if word in argv:
                if isinstance(answer, BaseException):
                    raise answer
                return answer
        if argv[0] == "cp":
            *sources, target = argv[argv.index("--") + 1 :]
            for source in sources:
                shutil.copytree(source, Path(target) / Path(source).name, symlinks=True)
        if "download" in argv and cwd:
            (cwd / "bubblewrap_1_amd64.deb").touch()
        if argv[:2] == ["dpkg-deb", "-x"]:
            (Path(argv[3]) / "usr/bin").mkdir(parents=True)
            (Path(argv[3]) / "usr/bin/bwrap").touch()
        return ended()

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))

    def started(self, program: str) -> list[list[str]]:
        return [argv for argv in self.commands if Path(argv[0]).name == program]


def ended(code: int = 0, out: str = "", err: str = "") -> Finished:
    return Finished(argv=(), code=code, out=out, err=err)


@contextmanager
def told(*, place: str, cause: str, fix: str) -> Iterator[None]:
    with pytest.raises(EngineOrNetworkError) as caught:
        yield
    assert caught.value.faults == (Fault(place=place, cause=cause, fix=fix),)


class TestFinding:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """A Debian with an empty path."""
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setattr("builder.engines.direct.sandbox.runtime._SYSTEM", str(tmp_path / "sbin"))
        monkeypatch.delenv("CUVEE_SANDBOX", raising=False)
        monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
        for name in ("bin", "sbin"):
            (tmp_path / name).mkdir()
        return tmp_path

    def test_bwrap_comes_before_crun_and_crun_before_runc(self, machine: Path) -> None:
        shell = Recorder()
        for kind, place in (("runc", "sbin"), ("crun", "bin"), ("bwrap", "bin")):
            (machine / place / kind).touch(mode=0o755)
            found = find_runtime(shell, machine / "engine")
            assert (found.kind, found.program) == (kind, machine / place / kind)
        assert shell.commands == []

    def test_a_wish_comes_before_the_order(self, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for kind in ("bwrap", "runc"):
            (machine / "bin" / kind).touch(mode=0o755)
        monkeypatch.setenv("CUVEE_SANDBOX", "runc")
        assert find_runtime(Recorder(), machine).kind == "runc"

    def test_a_wish_that_is_not_there_is_told_and_no_other_is_taken(
        self, machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (machine / "bin" / "bwrap").touch(mode=0o755)
        monkeypatch.setenv("CUVEE_SANDBOX", "crun")
        with told(
            place="sandbox",
            cause="CUVEE_SANDBOX asks for crun, which is not on the path",
            fix="Install crun, or unset it",
        ):
            find_runtime(Recorder(), machine)

    def test_a_wish_for_something_else_is_bad_input(
        self, machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUVEE_SANDBOX", "podman")
        with pytest.raises(BadInputError) as caught:
            find_runtime(Recorder(), machine)
        assert caught.value.faults == (
            Fault(
                place="CUVEE_SANDBOX",
                cause="it asks for 'podman', and only bwrap, crun, runc are known",
                fix="Set it to one of them, or unset it",
            ),
        )

    def test_without_any_bubblewrap_is_unpacked_once_from_debians_package(self, machine: Path) -> None:
        shell = Recorder()
        found = find_runtime(shell, machine / "engine")
        assert found.program == machine / "engine/bubblewrap/usr/bin/bwrap"
        assert ["apt-get", "download", "-qq", "bubblewrap"] in shell.commands
        assert [path.name for path in (machine / "engine").iterdir()] == ["bubblewrap"]
        again = Recorder()
        assert find_runtime(again, machine / "engine") == found
        assert again.commands == []

    def test_a_system_like_debian_will_do(self, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "ubuntu", "ID_LIKE": "debian"})
        assert find_runtime(Recorder(), machine).kind == "bwrap"

    def test_a_fresh_machine_gets_lists_of_its_own_and_the_systems_stay(self, machine: Path) -> None:
        shell = Recorder(show=ended(100))
        find_runtime(shell, machine / "engine")
        update, download = shell.started("apt-get")
        assert "update" in update
        assert "--error-on=any" in update
        for argv in (update, download):
            [lists] = [word for word in argv if word.startswith("Dir::State::lists=")]
            assert str(machine / "engine") in lists

    def test_an_apt_that_fails_is_told_in_its_words_and_leaves_nothing(self, machine: Path) -> None:
        shell = Recorder(download=ended(100, err="E: Unable to locate package bubblewrap\n"))
        with told(
            place="sandbox",
            cause="there is no bwrap, crun or runc on the path, and apt-get failed: "
            "Unable to locate package bubblewrap",
            fix="Install bubblewrap, or see that this machine reaches Debian's packages (`apt-get update`)",
        ):
            find_runtime(shell, machine / "engine")
        assert list((machine / "engine").iterdir()) == []

    def test_a_kill_while_it_unpacks_leaves_no_half_of_it(self, machine: Path) -> None:
        # TemporaryDirectory would not be there to clean up after kill -9; the name is what counts.
        shell = Recorder(**{"-x": ended(2, err="dpkg-deb: no space left")})
        with pytest.raises(EngineOrNetworkError, match="no space left"):
            find_runtime(shell, machine / "engine")
        assert not (machine / "engine" / "bubblewrap").exists()

    def test_a_debian_without_apt_is_told(self, machine: Path) -> None:
        with told(
            place="sandbox",
            cause="there is no bwrap, crun or runc on the path, and no apt-get to get one with",
            fix="Install bubblewrap, crun or runc",
        ):
            find_runtime(Recorder(download=FileNotFoundError()), machine)

    def test_what_is_no_debian_is_told_what_to_install(
        self, machine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "alpine"})
        with told(
            place="sandbox",
            cause="there is no bwrap, crun or runc on the path",
            fix="Install bubblewrap, crun or runc",
        ):
            find_runtime(Recorder(), machine)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    for name in ("etc", "opt/cuvee", "root", "tmp", "usr/bin", "var/lib", "proc", "dev"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / ".dockerenv").touch()
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nhalf:x:7\n")
    (root / "etc" / "hosts").symlink_to("/etc/hosts")  # of the host, if it were followed
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "box").mkdir()
    return tmp_path / "box"


def box_of(folder: Path, image: Path, *binds: Mount) -> Box:
    return prepare(folder, image, {"PATH": "/usr/bin"}, binds, Recorder())


class TestBox:
    def test_the_images_folders_are_shared_and_some_are_the_containers_own(
        self, folder: Path, image: Path
    ) -> None:
        box = box_of(folder, image)
        shared = {mount.target for mount in box.mounts if not mount.writable}
        own = {mount.target for mount in box.mounts if mount.writable}
        assert shared == {"/.dockerenv", "/opt", "/usr"}
        assert own == {"/etc", "/root", "/run", "/tmp", "/var"}
        assert all(mount.source.is_relative_to(folder / "own") for mount in box.mounts if mount.writable)
        assert (folder / "own" / "var" / "lib").is_dir()

    def test_its_root_has_a_place_for_everything(self, folder: Path, image: Path) -> None:
        root = box_of(folder, image).root
        assert (root / "bin").readlink() == Path("usr/bin")
        assert {path.name for path in root.iterdir() if path.is_dir() and not path.is_symlink()} == {
            *("dev", "etc", "opt", "proc", "root", "run", "sys", "tmp", "usr", "var")
        }
        assert root.stat().st_mode & 0o777 == 0o755

    def test_the_umask_does_not_matter(self, folder: Path, image: Path) -> None:
        before = os.umask(0o077)
        try:
            box = box_of(folder, image, Mount(source=image, target="/some/model"))
            box.write("/etc/ld.so.conf.d/some.conf", "/some")
        finally:
            os.umask(before)
        assert (box.root / "some").stat().st_mode & 0o777 == 0o755
        assert (folder / "own" / "etc" / "ld.so.conf.d").stat().st_mode & 0o777 == 0o755
        assert (box.root / "usr").stat().st_mode & 0o777 == 0o755
        assert (folder / "own" / "run").stat().st_mode & 0o777 == 0o755
        assert (folder / "own" / "etc" / "hosts").stat().st_mode & 0o777 == 0o644

    def test_a_link_in_the_image_is_replaced_and_not_followed(self, folder: Path, image: Path) -> None:
        box_of(folder, image)
        hosts = folder / "own" / "etc" / "hosts"
        assert not hosts.is_symlink()
        assert hosts.read_text() == "127.0.0.1\tlocalhost cuvee\n::1\tlocalhost cuvee\n"
        assert (folder / "own" / "etc" / "hostname").read_text() == "cuvee\n"

    def test_a_folder_of_its_own_that_is_a_link_in_the_image_stays_one(
        self, folder: Path, image: Path
    ) -> None:
        (image / "tmp").rmdir()
        (image / "tmp").symlink_to("/tmp")
        box = box_of(folder, image)
        assert (box.root / "tmp").readlink() == Path("/tmp")
        assert "/tmp" not in {mount.target for mount in box.mounts}

    def test_what_cannot_be_copied_is_told(self, folder: Path, image: Path) -> None:
        shell = Recorder(cp=ended(1, err="cp: cannot open 'shadow' for reading: Permission denied\n"))
        with told(
            place=str(image),
            cause="it cannot be copied: cp: cannot open 'shadow' for reading: Permission denied",
            fix="See that this user may read it, and that there is room in the folder for temporary files",
        ):
            prepare(folder, image, {}, (), shell)

    def test_a_home_is_what_passwd_says(self, folder: Path, image: Path) -> None:
        box = box_of(folder, image)
        assert [box.home(user) for user in (0, 7, 65534)] == ["/root", "/", "/"]
        (folder / "own" / "etc" / "passwd").unlink()
        assert box.home(0) == "/"

    def test_what_is_shown_gets_a_place_of_its_kind(self, folder: Path, image: Path) -> None:
        (folder.parent / "talk.wav").touch()
        box = box_of(
            folder,
            image,
            Mount(source=folder.parent / "talk.wav", target="/audio/talk.wav"),
            Mount(source=image, target="/model"),
            Mount(source=folder.parent / "talk.wav", target="/run/driver/lib.so"),
            Mount(source=Path("/dev/null"), target="/dev/nvidia0", device=True),
            Mount(source=image, target="/opt/cuvee"),
        )
        assert (box.root / "audio" / "talk.wav").is_file()
        assert (box.root / "model").is_dir()
        assert (folder / "own" / "run" / "driver" / "lib.so").is_file()
        assert list((box.root / "dev").iterdir()) == []
        assert box.devices

    def test_nothing_is_made_in_the_image_for_it(self, folder: Path, image: Path) -> None:
        with told(
            place="/opt/model",
            cause=f"the image has no /opt/model to mount {image} on",
            fix="Let it appear where the image has nothing, as in /audio",
        ):
            box_of(folder, image, Mount(source=image, target="/opt/model"))
        assert [path.name for path in (image / "opt").iterdir()] == ["cuvee"]

    @pytest.mark.parametrize("path", ["/", "/opt", "/usr/bin", "/tmp/../../../..", "/etc/../../root/x"])
    def test_only_its_own_folders_can_be_written_from_here(
        self, folder: Path, image: Path, path: str
    ) -> None:
        box = box_of(folder, image)
        with pytest.raises(ValueError, match="none of the folders that a container owns"):
            box.at(path)


def call(*words: str, user: str | None = None) -> Call:
    number, group = user_and_group(user)
    return Call(words=words, user=number, group=group, environment={"B": "2", "A": "1 1"})


@pytest.mark.parametrize(
    ("text", "numbers"), [(None, (0, 0)), (NOBODY, (65534, 65534)), ("7", (7, 7)), ("7:8", (7, 8))]
)
def test_a_user_is_a_number_and_a_groups(text: str | None, numbers: tuple[int, int]) -> None:
    assert user_and_group(text) == numbers


def follows(words: Sequence[str], *some: str) -> bool:
    """Whether words follow each other."""
    return any(tuple(words[at : at + len(some)]) == some for at in range(len(words)))


class TestBubblewrap:
    def argv(self, folder: Path, image: Path, call: Call, *, rootful: bool) -> tuple[list[str], list[str]]:
        """The command of the outer and of the inner bubblewrap."""
        box = box_of(folder, image, Mount(source=Path("/dev/null"), target="/dev/nvidia0", device=True))
        words = Bubblewrap(program=Path("/bin/bwrap"), box=box, rootful=rootful).argv(call)
        inner = words.index("/bin/bwrap", 1)
        return words[:inner], words[inner:]

    def test_the_outer_one_makes_the_network_and_mounts_its_sysfs(self, folder: Path, image: Path) -> None:
        outer, inner = self.argv(folder, image, call("id"), rootful=True)
        assert "--unshare-net" in outer
        assert "--unshare-user" not in outer
        assert outer[-1] == str(folder / "sys")
        assert outer[-2].startswith("mount -t sysfs -o ro,")
        assert follows(inner, "--ro-bind", str(folder / "sys"), "/sys")

    def test_the_inner_one_shows_the_image_read_only_and_nothing_of_the_host(
        self, folder: Path, image: Path
    ) -> None:
        _, inner = self.argv(folder, image, call("id"), rootful=True)
        assert follows(inner, "--bind", str(folder / "root"), "/")
        assert follows(inner, "--ro-bind", str(image / "usr"), "/usr")
        assert follows(inner, "--bind", str(folder / "own" / "etc"), "/etc")
        assert follows(inner, "--dev-bind", "/dev/null", "/dev/nvidia0")
        assert {"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"} <= set(inner)
        bound = [inner[at + 1] for at, word in enumerate(inner) if word.endswith("bind")]
        assert all(Path(path).is_relative_to(folder.parent) for path in bound if path != "/dev/null")

    def test_the_environment_is_that_of_the_call_alone(self, folder: Path, image: Path) -> None:
        _, inner = self.argv(folder, image, call("id"), rootful=True)
        assert follows(inner, "--clearenv", "--setenv", "A", "1 1", "--setenv", "B", "2")
        assert inner.count("--setenv") == 2

    def test_a_real_root_becomes_the_user_by_chroot(self, folder: Path, image: Path) -> None:
        _, inner = self.argv(folder, image, call("id", "-u", user=NOBODY), rootful=True)
        assert inner[-7:] == [
            *("--", "/usr/sbin/chroot", "--userspec=65534:65534", "--groups=", "/", "id", "-u")
        ]
        assert "--unshare-user" not in inner
        assert not follows(inner, "--cap-add", "CAP_SYS_ADMIN")

    def test_without_root_a_user_namespace_makes_the_user(self, folder: Path, image: Path) -> None:
        outer, inner = self.argv(folder, image, call("id", user=NOBODY), rootful=False)
        assert follows(outer, "--unshare-user", "--uid", "0", "--gid", "0")
        assert follows(inner, "--cap-drop", "ALL", "--unshare-user", "--uid", "65534", "--gid", "65534")
        assert "--cap-add" not in inner
        assert inner[-4:] == ["--", "/usr/bin/env", "--", "id"]

    def test_without_root_root_is_the_one_of_the_outer_namespace(self, folder: Path, image: Path) -> None:
        _, inner = self.argv(folder, image, call("id"), rootful=False)
        assert "--unshare-user" not in inner
        assert follows(inner, "--cap-add", "CAP_SETUID")


class TestOci:
    def oci(self, folder: Path, image: Path, *, kind: Any = "runc", rootful: bool = True) -> Oci:
        runtime = Runtime(kind=kind, program=Path(f"/bin/{kind}"))
        return Oci(runtime=runtime, box=box_of(folder, image), id="cuvee-1", rootful=rootful)

    def test_a_container_sleeps_and_holds_none_of_our_pipes(self, folder: Path, image: Path) -> None:
        shell = Recorder()
        self.oci(folder, image).start(shell)
        told = json.loads((folder / "bundle" / "config.json").read_text())
        assert told["process"]["args"][2] == "exec </dev/null >/dev/null 2>&1; exec sleep 21600"
        assert shell.commands == [
            [
                *("/bin/runc", "--root", str(folder / "state")),
                *("run", "--detach", "--bundle", str(folder / "bundle"), "cuvee-1"),
            ]
        ]

    def test_it_has_namespaces_of_its_own_and_few_rights(self, folder: Path, image: Path) -> None:
        told = configuration(box_of(folder, image), rootful=True)
        kinds = {entry["type"] for entry in told["linux"]["namespaces"]}
        assert kinds == {"mount", "network", "pid", "ipc", "uts"}
        assert "CAP_SYS_ADMIN" not in told["process"]["capabilities"]["bounding"]
        assert told["process"]["noNewPrivileges"]
        assert told["process"]["env"] == ["PATH=/usr/bin"]
        assert "resources" not in told["linux"]

    def test_the_images_folders_are_read_only(self, folder: Path, image: Path) -> None:
        told = configuration(box_of(folder, image), rootful=True)
        options = {entry["destination"]: entry["options"] for entry in told["mounts"]}
        assert options["/usr"] == ["rbind", "nosuid", "ro", "nodev"]
        assert options["/tmp"] == ["rbind", "nosuid", "rw", "nodev"]
        assert "ro" in options["/sys"]

    def test_without_root_our_user_is_its_root(
        self, folder: Path, image: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(os, "getegid", lambda: 100)
        told = configuration(box_of(folder, image), rootful=False)["linux"]
        assert {"type": "user"} in told["namespaces"]
        assert told["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
        assert told["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]

    def test_devices_work_where_some_are_given(self, folder: Path, image: Path) -> None:
        box = box_of(folder, image, Mount(source=Path("/dev/null"), target="/dev/nvidia0", device=True))
        told = configuration(box, rootful=True)
        assert told["linux"]["resources"] == {"devices": [{"allow": True, "access": "rwm"}]}
        assert told["mounts"][-1]["options"] == ["rbind", "nosuid", "rw"]

    def test_a_command_runs_in_it_as_the_user(self, folder: Path, image: Path) -> None:
        words = self.oci(folder, image).argv(call("id", "-u", user=NOBODY))
        assert words[words.index("exec") :] == [
            *("exec", "--no-new-privs", "--cwd", "/", "--user", NOBODY, "--env", "A=1 1", "--env", "B=2"),
            *("cuvee-1", "/usr/bin/env", "--", "id", "-u"),
        ]

    def test_it_can_be_interrupted(self, folder: Path, image: Path) -> None:
        words = self.oci(folder, image).argv(call("id"))
        assert words[: words.index("/bin/runc")] == ["timeout", "--foreground", "--kill-after=1", "21600"]

    def test_without_root_another_user_gets_a_namespace_from_the_image(
        self, folder: Path, image: Path
    ) -> None:
        oci = self.oci(folder, image, rootful=False)
        words = oci.argv(call("id", user=NOBODY))
        assert follows(words, "--user", "0:0")
        assert words[-5:] == ["/usr/bin/unshare", "--map-user=65534", "--map-group=65534", "--", "id"]
        assert oci.argv(call("id"))[-3:] == ["/usr/bin/env", "--", "id"]

    def test_crun_makes_no_control_groups(self, folder: Path, image: Path) -> None:
        assert "--cgroup-manager=disabled" in self.oci(folder, image, kind="crun").argv(call("id"))


LDCONFIG = """\
3 libs found in cache `/etc/ld.so.cache'
\tlibcuda.so.1 (libc6) => {0}/lib32/libcuda.so.1
\tlibcuda.so.1 (libc6,x86-64) => {0}/lib/libcuda.so.1
\tlibcuda.so.1 (libc6,x86-64) => {0}/old/libcuda.so.1
\tlibnvidia-ml.so.1 (libc6,x86-64) => {0}/lib/libnvidia-ml.so.1
\tlibc.so.6 (libc6,x86-64) => {0}/lib/libc.so.6
"""


class TestDriver:
    def test_devices_and_the_drivers_own_libraries_are_shown_under_their_names(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("dev/nvidia0", "dev/nvidiactl", "dev/null", "lib/libcuda.so.570", "bin/nvidia-smi"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch(mode=0o755)
        (tmp_path / "lib/libcuda.so.1").symlink_to("libcuda.so.570")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        shell = Recorder(**{"-p": ended(out=LDCONFIG.format(tmp_path))})
        seen = {mount.target: mount for mount in driver.driver(shell, "cuvee:x", tmp_path / "dev")}
        assert list(seen) == [
            *("/dev/nvidia0", "/dev/nvidiactl", "/run/cuvee-driver/libcuda.so.1"),
            *("/run/cuvee-driver/libnvidia-ml.so.1", "/run/cuvee-driver/nvidia-smi"),
        ]
        assert seen["/dev/nvidia0"].device
        library = seen["/run/cuvee-driver/libcuda.so.1"]
        assert library.source == tmp_path / "lib/libcuda.so.570"
        assert not library.device
        assert not library.writable

    def test_a_machine_without_a_gpu_is_told(self, tmp_path: Path) -> None:
        with told(
            place="cuvee:x",
            cause=f"the container gets no GPU: this machine has no {tmp_path}/nvidia*",
            fix="Install the NVIDIA driver, or leave out --gpus",
        ):
            driver.driver(Recorder(), "cuvee:x", tmp_path)

    def test_a_gpu_without_a_driver_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "nvidia0").touch()
        with told(
            place="cuvee:x",
            cause="the container gets no GPU: the loader of this machine knows no libcuda.so.1",
            fix="Install the NVIDIA driver, or leave out --gpus",
        ):
            driver.driver(Recorder(), "cuvee:x", tmp_path)


class TestContainer:
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where containers keep their folders; we are root."""
        (tmp_path / "boxes").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "boxes"))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        return tmp_path / "boxes"

    def made(self, image: Path, shell: Recorder, kind: Any = "bwrap", **options: Any) -> Any:
        return container(
            image,
            name="cuvee:x",
            labels={"cuvee.row": "x"},
            size=7,
            environment={"LANG": "C.UTF-8"},
            runtime=Runtime(kind=kind, program=Path(f"/bin/{kind}")),
            shell=shell,
            **options,
        )

    def test_it_is_a_container_like_dockers(self, image: Path) -> None:
        with self.made(image, Recorder()) as made:
            found: Container = made
            assert (found.name, found.labels, found.size) == ("cuvee:x", {"cuvee.row": "x"}, 7)

    def test_a_commands_environment_is_its_own_over_the_images(self, image: Path) -> None:
        shell = Recorder()
        with self.made(image, shell) as made:
            made.run(["python"], env={"LANG": "C", "MORE": "m"})
        words = shell.commands[-1]
        for name, value in (("LANG", "C"), ("MORE", "m"), ("HOME", "/root")):
            assert follows(words, "--setenv", name, value)
        [path] = [
            words[at + 2] for at, word in enumerate(words) if words[at : at + 2] == ["--setenv", "PATH"]
        ]
        assert path.startswith("/usr/local/sbin:")

    @pytest.mark.parametrize(("ends", "code"), [(0, 0), (3, 3), (134, 134), (-6, 134), (-9, 137)])
    def test_a_signal_is_told_as_docker_tells_it(self, image: Path, ends: int, code: int) -> None:
        shell = Recorder(python=ended(ends, "said", "complained"))
        with self.made(image, shell) as made:
            done = made.run(["python"])
        assert done == Finished(argv=("python",), code=code, out="said", err="complained")

    @pytest.mark.parametrize("kind", ["bwrap", "runc"])
    def test_one_that_does_not_start_tells_why_and_leaves_nothing(
        self, image: Path, place: Path, kind: str
    ) -> None:
        failed = ended(1, err=f"a warning\n{kind}: No permissions to create new namespace\n")
        shell = Recorder(**{"run" if kind == "runc" else "--hostname": failed})
        with (
            told(
                place="cuvee:x",
                cause=f"the container does not start: {kind}: No permissions to create new namespace",
                fix=f"See that {kind} runs, or choose bwrap, crun or runc by the variable CUVEE_SANDBOX",
            ),
            self.made(image, shell, kind),
        ):
            pass
        assert list(place.iterdir()) == []

    def test_without_root_the_next_step_is_about_user_namespaces(
        self, image: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        shell = Recorder(**{"--hostname": ended(1)})
        with pytest.raises(EngineOrNetworkError) as caught, self.made(image, shell):
            pass
        [fault] = caught.value.faults
        assert fault.cause == "the container does not start: bwrap: it said nothing"
        assert "this user may make user namespaces" in fault.fix

    def test_ctrl_c_ends_it(self, image: Path, place: Path) -> None:
        shell = Recorder(python=KeyboardInterrupt())

        def work() -> None:
            with self.made(image, shell, "runc") as made:
                made.run(["python"])

        with pytest.raises(KeyboardInterrupt):
            work()
        assert shell.commands[-1][-3:-1] == ["delete", "--force"]
        assert list(place.iterdir()) == []

    def test_a_gpu_comes_with_its_libraries_in_the_loaders_cache(
        self, image: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown = (Mount(source=image / "bin", target=f"{driver.FOLDER}/libcuda.so.1"),)
        monkeypatch.setattr(driver, "driver", lambda *_: shown)
        shell = Recorder()
        with self.made(image, shell, gpus=True) as made:
            conf = made.box.folder / "own/etc/ld.so.conf.d/cuvee-driver.conf"
            assert conf.read_text() == "/run/cuvee-driver\n"
            assert shell.commands[-1][-1] == "/sbin/ldconfig"
            assert made.box.environment["PATH"].endswith(":/run/cuvee-driver")

    def test_a_gpu_that_is_not_there_is_told_before_anything_is_made(
        self, image: Path, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = driver.driver
        monkeypatch.setattr(driver, "driver", lambda shell, name: here(shell, name, place))
        with (
            pytest.raises(EngineOrNetworkError, match="gets no GPU"),
            self.made(image, Recorder(), gpus=True),
        ):
            pass
        assert list(place.iterdir()) == []


class TestUnpacked:
    def test_what_is_written_can_be_read_again(self) -> None:
        written = Unpacked(
            root=Path("/cache/root"),
            name="cuvee:x",
            labels={"b": "2", "a": "1"},
            environment=(("PATH", "/bin"), ("A", "x=y")),
            size=7,
        )
        assert unpacked.from_json(written.to_json()) == written

    def test_the_order_of_labels_does_not_matter(self) -> None:
        texts = {
            Unpacked(root=Path("/r"), name="x", labels=labels, environment=(), size=1).to_json()
            for labels in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
        }
        assert len(texts) == 1
