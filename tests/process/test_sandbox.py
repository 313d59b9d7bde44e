"""Containers without a daemon, by every runtime that is here, as root and without root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from builder.engines.direct.sandbox import Runtime, container, driver, find_runtime
from builder.engines.direct.sandbox.box import Mount
from builder.engines.direct.sandbox.runtime import KINDS
from builder.errors import EngineOrNetworkError
from builder.shell import SYSTEM

ROOT = Path(__file__).parents[2]
NOBODY = "65534:65534"
PATIENCE = 20
PROGRAMS = (
    "sh",
    "cat",
    "chroot",
    "env",
    "id",
    "ldconfig",
    "ls",
    "mkdir",
    "rm",
    "sleep",
    "stat",
    "touch",
    "unshare",
)
ACCOUNTS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n"
IMAGE = {"PATH": "/usr/sbin:/usr/bin", "FROM_THE_IMAGE": "yes"}


def libraries(program: Path) -> list[Path]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [Path(word) for word in said.split() if word.startswith("/")]


def install(root: Path, name: str) -> None:
    """Copy a program of this machine, and the libraries that it needs, to where they lie here."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin")
    assert found, f"this machine has no {name}"
    for path in (Path(found), *libraries(Path(found))):
        target = root / str(path).lstrip("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root file system, whose root has /bin, /sbin and /lib as links, as Debian has."""
    root = tmp_path_factory.mktemp("image") / "root"
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in PROGRAMS:
        install(root, name)
    for name in ("etc", "opt", "root", "tmp", "var/cache/ldconfig"):
        (root / name).mkdir(parents=True)
    (root / "etc" / "passwd").write_text(ACCOUNTS)
    (root / "etc" / "ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n/opt\n")
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))  # whatever our umask
    (root / "tmp").chmod(0o1777)
    return root


def state(root: Path) -> dict[str, tuple[int, int, float]]:
    """What a folder holds: kinds, sizes and times."""
    paths = (path for path in root.rglob("*"))
    return {str(path): (one.st_mode, one.st_size, one.st_mtime) for path in paths for one in [path.lstat()]}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where containers keep their folders."""
    found = tmp_path_factory.mktemp("boxes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(found))
        yield found


@pytest.fixture(scope="module", params=KINDS)
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    if not shutil.which(request.param, path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip(f"{request.param} is not on the path")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUVEE_SANDBOX", request.param)
        return find_runtime(SYSTEM, tmp_path_factory.mktemp("runtimes"))


def made(
    image: Path, runtime: Runtime, binds: Mapping[Path, str] | None = None, *, gpus: bool = False
) -> AbstractContextManager[Any]:
    return container(
        image,
        name="cuvee:small",
        labels={"cuvee.row": "small"},
        size=7,
        environment=IMAGE,
        runtime=runtime,
        binds=binds,
        gpus=gpus,
    )


@pytest.fixture(scope="module")
def box(image: Path, runtime: Runtime) -> Iterator[Any]:
    """A container; skipped with the runtime's own words where this machine lets it make none."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(made(image, runtime))
        except EngineOrNetworkError as error:
            pytest.skip(str(error))
        yield found


def sh(box: Any, text: str, **options: Any) -> str:
    done = box.run(["/bin/sh", "-c", text], **options)
    assert done.ok, done
    return str(done.out)


class TestRunning:
    def test_it_tells_of_its_image(self, box: Any) -> None:
        assert (box.name, box.labels, box.size) == ("cuvee:small", {"cuvee.row": "small"}, 7)

    def test_both_outputs_come_back_apart_with_the_exit_code(self, box: Any) -> None:
        done = box.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert (done.code, done.out, done.err) == (3, "out\n", "err\n")
        assert done.argv == ("sh", "-c", "echo out; echo err >&2; exit 3")

    @pytest.mark.parametrize("user", [None, NOBODY])
    def test_an_abort_is_134_as_docker_tells_it_and_nothing_more_is_said(
        self, box: Any, user: str | None
    ) -> None:
        done = box.run(["/bin/sh", "-c", "kill -ABRT $$"], user=user)
        assert (done.code, done.out, done.err) == (134, "", "")

    @pytest.mark.parametrize("user", [None, NOBODY])
    def test_a_program_that_is_not_there_is_127(self, box: Any, user: str | None) -> None:
        assert box.run(["no-such-program"], user=user).code == 127

    def test_words_stay_whole(self, box: Any) -> None:
        assert sh(box, "true") == ""
        assert box.run(["sh", "-c", 'printf "[%s]" "$@"', "sh", "a b", "", "--c", "$d\n"]).out == (
            "[a b][][--c][$d\n]"
        )

    def test_the_environment_is_the_images_and_nothing_of_ours(
        self, box: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OURS", "secret")
        told = dict(line.split("=", 1) for line in sh(box, "exec env", env={"MORE": "a=b"}).splitlines())
        assert told.pop("PWD", "/") == "/"
        assert told == {**IMAGE, "HOME": "/root", "MORE": "a=b"}

    def test_home_is_that_of_the_user(self, box: Any) -> None:
        assert sh(box, "echo $HOME", user=NOBODY) == "/nonexistent\n"
        if os.geteuid() == 0:
            assert sh(box, "echo $HOME", user="4711:4711") == "/\n"

    def test_it_starts_at_the_root_folder(self, box: Any) -> None:
        assert sh(box, "pwd", user=NOBODY) == "/\n"


class TestRights:
    def test_without_a_user_it_is_root(self, box: Any) -> None:
        assert sh(box, "id -u; id -g") == "0\n0\n"

    def test_nobody_has_no_rights_and_no_way_to_get_some(self, box: Any) -> None:
        assert sh(box, "id -u; id -g; id -G", user=NOBODY).split() == ["65534"] * 3
        told = dict(
            line.split(":\t", 1)
            for line in sh(box, "exec cat /proc/self/status", user=NOBODY).splitlines()
            if ":\t" in line
        )
        assert int(told["CapEff"], 16) == 0
        assert int(told["CapPrm"], 16) == 0
        assert told["NoNewPrivs"] == "1"
        assert told["Uid"].split() == ["65534"] * 4

    @pytest.mark.skipif(os.geteuid() != 0, reason="without root, every user of a container is ours")
    def test_nobody_cannot_touch_what_is_roots(self, box: Any) -> None:
        assert box.run(["touch", "/etc/passwd"], user=NOBODY).code == 1
        assert box.run(["ls", "/root"], user=NOBODY).code == 0  # as the image's modes say
        sh(box, "touch /tmp/of-root")
        assert box.run(["rm", "-f", "/tmp/of-root"], user=NOBODY).code == 1

    def test_root_cannot_mount(self, box: Any) -> None:
        assert int(sh(box, "stat -c %d /").strip()) >= 0
        told = sh(box, "exec cat /proc/self/status").split("CapEff:\t")[1].split()[0]
        assert not int(told, 16) & 1 << 21  # CAP_SYS_ADMIN


class TestIsolation:
    def test_the_network_is_off_and_sysfs_shows_it(self, box: Any) -> None:
        assert sh(box, "ls /sys/class/net").split() == ["lo"]
        lines = sh(box, "cat /proc/net/dev").splitlines()[2:]
        assert [line.split(":")[0].strip() for line in lines] == ["lo"]

    def test_the_processors_can_be_counted(self, box: Any) -> None:
        assert sh(box, "cat /sys/devices/system/cpu/possible").startswith("0")

    def test_devices_are_the_harmless_ones(self, box: Any) -> None:
        found = set(sh(box, "ls /dev").split())
        assert found >= {"null", "zero", "full", "random", "urandom", "tty", "shm"}
        assert found <= {
            *("null", "zero", "full", "random", "urandom", "tty", "shm"),
            *("console", "core", "fd", "mqueue", "ptmx", "pts", "stdin", "stdout", "stderr"),
        }
        assert sh(box, "echo x > /dev/null; touch /dev/shm/mine; echo done", user=NOBODY) == "done\n"

    def test_no_process_of_the_host_is_seen(self, box: Any) -> None:
        pids = [name for name in sh(box, "ls /proc").split() if name.isdigit()]
        assert 1 <= len(pids) < 8
        assert sh(box, "cat /proc/sys/kernel/hostname") == "cuvee\n"
        for kind in ("pid", "ipc", "uts", "net", "mnt"):
            theirs = sh(box, f"stat -L -c %i /proc/self/ns/{kind}")
            assert int(theirs) != Path(f"/proc/self/ns/{kind}").stat().st_ino, kind

    def test_no_file_of_the_host_is_seen(self, box: Any, tmp_path: Path) -> None:
        (tmp_path / "secret").touch()
        assert box.run(["ls", str(tmp_path)]).code == 2
        tops = {
            "bin",
            "dev",
            "etc",
            "lib",
            "lib64",
            "opt",
            "proc",
            "root",
            "run",
            "sbin",
            "sys",
            "tmp",
            "usr",
            "var",
        }
        assert set(sh(box, "ls /").split()) == tops

    def test_localhost_has_a_name(self, box: Any) -> None:
        assert "localhost" in sh(box, "cat /etc/hosts")


class TestFiles:
    def test_what_one_command_writes_the_next_one_sees(self, box: Any) -> None:
        for folder in ("/tmp", "/etc", "/var", "/run", "/root"):
            sh(box, f"echo mine > {folder}/file")
            assert sh(box, f"cat {folder}/file") == "mine\n"
        sh(box, "echo mine > /tmp/other", user=NOBODY)
        assert sh(box, "cat /tmp/other") == "mine\n"

    def test_the_image_stays_as_it_was_and_the_next_container_is_fresh(
        self, box: Any, image: Path, runtime: Runtime
    ) -> None:
        before = state(image)
        with made(image, runtime) as other:
            sh(other, "touch /etc/file; echo > /etc/passwd; ldconfig")
        assert box.run(["touch", "/usr/file"]).code == 1
        assert box.run(["touch", "/opt/file"]).code == 1
        assert box.run(["rm", "/usr/bin/cat"]).code == 1
        with made(image, runtime) as other:
            assert other.run(["ls", "/etc/file"]).code == 2
            assert sh(other, "cat /etc/passwd") == ACCOUNTS
        assert state(image) == before

    def test_the_loaders_cache_can_be_made_anew(self, box: Any) -> None:
        sh(box, "ldconfig")
        assert "libs found in cache" in sh(box, "ldconfig -p")
        assert "libc.so.6" in sh(box, "ldconfig -p")

    def test_a_folder_is_copied_in_readable_by_everybody_and_owned_by_root(
        self, box: Any, tmp_path: Path
    ) -> None:
        folder = tmp_path / "probe"
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "file.py").write_text("text of ours")
        (folder / "sub" / "file.py").chmod(0o600)
        (folder / "sub").chmod(0o700)
        folder.chmod(0o700)
        box.copy_in(folder, "/tmp")
        assert sh(box, "cat /tmp/probe/sub/file.py", user=NOBODY) == "text of ours"
        assert sh(box, "stat -c '%u:%g %a' /tmp/probe/sub /tmp/probe/sub/file.py") == "0:0 755\n0:0 644\n"

    def test_what_is_copied_in_replaces_what_was_there(self, box: Any, tmp_path: Path) -> None:
        for text in ("one", "two"):
            (tmp_path / "file").write_text(text)
            box.copy_in(tmp_path / "file", "/tmp")
            assert sh(box, "cat /tmp/file") == text

    def test_a_link_does_not_lead_a_copy_into_the_host(self, box: Any, tmp_path: Path) -> None:
        (tmp_path / "away").mkdir()
        (tmp_path / "sly").write_text("ours")
        (box.box.folder / "own" / "tmp" / "link").symlink_to(tmp_path / "away")
        (box.box.folder / "own" / "tmp" / "sly").symlink_to(tmp_path / "away" / "sly")
        with pytest.raises(ValueError, match="none of the folders"):
            box.copy_in(tmp_path / "sly", "/tmp/link")
        box.copy_in(tmp_path / "sly", "/tmp")
        assert list((tmp_path / "away").iterdir()) == []
        with pytest.raises(ValueError, match="none of the folders"):
            box.copy_in(tmp_path / "sly", "/opt")

    def test_files_and_folders_of_the_host_can_be_shown_but_not_changed(
        self, box: Any, image: Path, runtime: Runtime, tmp_path: Path
    ) -> None:
        del box  # it was made: this machine lets us
        (tmp_path / "talk.wav").write_text("sound")
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "weights").write_text("w")
        before = state(image)
        binds = {tmp_path / "talk.wav": "/audio/talk.wav", tmp_path / "model": "/model"}
        with made(image, runtime, binds) as other:
            assert sh(other, "cat /audio/talk.wav /model/weights") == "soundw"
            assert other.run(["touch", "/model/mine"]).code == 1
            assert other.run(["touch", "/audio/talk.wav"]).code == 1
        with (
            pytest.raises(EngineOrNetworkError, match="no /usr/share/model to mount"),
            made(image, runtime, {tmp_path / "model": "/usr/share/model"}),
        ):
            pass
        assert state(image) == before


class TestGpus:
    def test_devices_work_and_libraries_are_found_by_the_loader(
        self, box: Any, image: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With /dev/null as the GPU, and the C library as its driver's."""
        del box
        [libc] = image.rglob("libc.so.6")
        shown = (
            Mount(source=Path("/dev/null"), target="/dev/nvidia0", device=True),
            Mount(source=libc, target=f"{driver.FOLDER}/libc.so.6"),
        )
        monkeypatch.setattr(driver, "driver", lambda *_: shown)
        with made(image, runtime, gpus=True) as other:
            assert sh(other, "echo x > /dev/nvidia0; echo written", user=NOBODY) == "written\n"
            assert f"=> {driver.FOLDER}/libc.so.6" in sh(other, "ldconfig -p", user=NOBODY)


class TestTheEnd:
    def test_nothing_is_left_even_when_the_work_in_it_fails(
        self, box: Any, image: Path, runtime: Runtime, place: Path
    ) -> None:
        def work() -> None:
            with made(image, runtime) as other:
                other.run(["/bin/sh", "-c", "mkdir /tmp/a; touch /tmp/a/b"], user=NOBODY)
                assert set(place.iterdir()) > {box.box.folder}
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            work()
        assert list(place.iterdir()) == [box.box.folder]

    def test_ctrl_c_ends_what_runs_and_leaves_nothing(
        self, box: Any, image: Path, runtime: Runtime, place: Path
    ) -> None:
        script = (
            "import sys\n"
            "from pathlib import Path\n"
            "from builder.engines.direct.sandbox import Runtime, container\n"
            f"runtime = Runtime(kind={runtime.kind!r}, program=Path({str(runtime.program)!r}))\n"
            f"with container(Path({str(image)!r}), name='x', labels={{}}, size=0, environment={IMAGE!r},"
            " runtime=runtime) as box:\n"
            "    box.copy_in(Path(sys.argv[0]), '/tmp')\n"
            "    box.run(['sh', '-c', 'touch /tmp/here; sleep 4711'])\n"
        )
        file = place.parent / "work.py"
        file.write_text(script)
        environment = {**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(ROOT)}
        work = subprocess.Popen(
            [python(), file], env=environment, start_new_session=True, stderr=subprocess.PIPE
        )
        wait_for(lambda: list(place.glob("*/own/tmp/here")) != [])
        os.killpg(work.pid, signal.SIGINT)
        _, said = work.communicate(timeout=PATIENCE)
        assert b"KeyboardInterrupt" in said
        assert list(place.iterdir()) == [box.box.folder]
        wait_for(lambda: not sleepers())


def python() -> str:
    """A Python that this user may start; ours may lie in the home of root."""
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = sys.executable if os.access(sys.executable, os.X_OK) else shutil.which(same, path="/usr/bin")
    return found or pytest.skip(f"this user may not start {sys.executable}, and there is no other {same}")


def wait_for(holds: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sleepers() -> list[str]:
    def words(process: Path) -> bytes:
        try:
            return (process / "cmdline").read_bytes()
        except OSError:
            return b""

    return [one.name for one in Path("/proc").glob("[0-9]*") if words(one) == b"sleep\x004711\x00"]


@pytest.mark.skipif(os.geteuid() != 0, reason="these very tests run without root already")
def test_all_of_it_holds_without_root() -> None:
    """This file again, as a user without rights; it skips what this machine forbids such a user."""
    if not shutil.which("setpriv"):
        pytest.skip("there is no setpriv to become somebody else with")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # every folder above pytest's own is root's alone
        os.chown(folder, 65534, 65534)
        tests = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            f"--basetemp={folder}/t",
            __file__,
        ]
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *tests],
            cwd=ROOT,
            env={**os.environ, "HOME": folder, "TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    if " passed" not in done.stdout.splitlines()[-1]:
        pytest.skip(done.stdout[-600:])
