from __future__ import annotations

import io
import os
import socket
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from builder.engines.clean import clean_engine, clean_store, clean_unpacked, drop_unpacked
from builder.engines.direct.store import Store
from builder.engines.direct.unpacked import Unpacked, used
from builder.engines.docker import DEFAULT_SOCKET, DockerEngine, connect, reachable
from builder.engines.dockercontainer import DockerContainer
from builder.engines.private import PrivateEngine
from builder.errors import EngineOrNetworkError, Fault
from builder.shell import Finished

DEFAULT = f"unix://{DEFAULT_SOCKET}"
PRIVATE = PrivateEngine(Path("/project/.engine"))


def refused(text: str) -> APIError:
    return APIError("500 Server Error", explanation=text)


class FakeDocker:
    """An engine in memory, as the SDK shows it.

    Attributes:
        on_disk: Images by their names.
        in_registry: The names that can be pulled.
        running: Containers.
        fails: What every request raises.
    """

    def __init__(self, *on_disk: str, in_registry: tuple[str, ...] = (), root: str = "/nowhere") -> None:
        self.on_disk = {name: f"sha256:{number}" for number, name in enumerate(on_disk)}
        self.in_registry = in_registry
        self.root = root
        self.running: list[FakeContainer] = []
        self.fails: Exception | None = None
        self.closed = False
        self.pruned: list[dict[str, Any]] = []
        self.images = SimpleNamespace(
            get=self._get, pull=self._pull, remove=self._remove, prune=self._prune_images
        )
        self.containers = SimpleNamespace(run=self._run, list=self._list)
        self.api = SimpleNamespace(
            base_url="http+docker://localhost",
            import_image_from_file=self._import,
            tag=self._tag,
            prune_builds=lambda: self._asked({"SpaceReclaimed": 7}),
        )

    def _asked(self, answer: Any) -> Any:
        if self.fails:
            raise self.fails
        return answer

    def ping(self) -> bool:
        return bool(self._asked("OK"))

    def _prune_images(self, *, filters: dict[str, Any]) -> dict[str, int | None]:
        self.pruned.append(self._asked(filters))
        return {"SpaceReclaimed": 5}

    def close(self) -> None:
        self.closed = True

    def info(self) -> dict[str, Any]:
        known = {
            "ServerVersion": "26.1.5",
            "Driver": "overlay2",
            "OperatingSystem": "Debian",
            "KernelVersion": "6.1",
            "NCPU": 2,
            "DockerRootDir": self.root,
        }
        return dict(self._asked(known))

    def _get(self, name: str) -> Any:
        if self._asked(name) not in self.on_disk:
            raise ImageNotFound(f"404: no such image {name}")
        attributes = {"Size": 1500, "RootFS": {"Layers": ["one", "two", "three"]}}
        return SimpleNamespace(id=self.on_disk[name], attrs=attributes, labels={"cuvee.lock": "sha256:l"})

    def _pull(self, name: str) -> None:
        if self._asked(name) not in self.in_registry:
            raise refused("dial tcp: lookup registry.test: no such host")
        self.on_disk[name] = "sha256:pulled"

    def _remove(self, name: str, *, force: bool) -> None:
        assert force
        if self._asked(name) not in self.on_disk:
            raise ImageNotFound(f"404: no such image {name}")
        del self.on_disk[name]

    def _tag(self, name: str, repository: str, tag: str) -> bool:
        self.on_disk[f"{repository}:{tag}"] = self._get(name).id
        return True

    def _import(self, file: str, *, repository: str, tag: str) -> str:
        self.on_disk[f"{repository}:{tag}"] = f"sha256:{Path(file).read_text(encoding='utf-8')}"
        return str(self._asked("{}"))

    def _run(self, name: str, command: list[str], **options: Any) -> FakeContainer:
        self._asked(name)
        self.running.append(FakeContainer(self, name, command, options))
        return self.running[-1]

    def _list(self, *, filters: dict[str, str], **_: Any) -> list[FakeContainer]:
        listed = [one for one in self.running if filters["label"] in one.options["labels"]]
        return list(self._asked(listed))


class FakeContainer:
    def __init__(self, engine: FakeDocker, image: str, command: list[str], options: dict[str, Any]) -> None:
        self.engine, self.image, self.command, self.options = engine, image, command, options
        self.files: dict[str, tarfile.TarInfo] = {}
        self.answer: tuple[int, tuple[bytes | None, bytes | None]] = (0, (None, None))
        self.ran: list[tuple[list[str], dict[str, Any]]] = []

    def exec_run(self, words: list[str], **options: Any) -> Any:
        self.ran.append((words, options))
        return self.engine._asked(self.answer)

    def remove(self, *, force: bool) -> None:
        assert force
        if self not in self.engine.running:
            raise NotFound("404: it has removed itself")
        self.engine.running.remove(self)

    def put_archive(self, folder: str, archive: io.BufferedIOBase) -> None:
        with tarfile.open(fileobj=archive) as tar:
            self.files |= {f"{folder}/{member.name}": member for member in tar.getmembers()}


class Client:
    """A shell with a `docker` client whose current context is at `endpoint`; None: it has none."""

    def __init__(self, endpoint: str | None = DEFAULT) -> None:
        self.endpoint = endpoint
        self.started: list[tuple[str, ...]] = []

    def run(self, argv: Sequence[str], **_: Any) -> Finished:
        self.started.append(tuple(argv))
        ok = self.endpoint is not None
        return Finished(argv=tuple(argv), code=0 if ok else 1, out=f"{self.endpoint}\n" if ok else "", err="")

    def spawn(self, *_: Any, **__: Any) -> int:
        raise AssertionError("nothing here starts a daemon")


class Machine:
    """Which addresses have an engine, and which of them were asked."""

    def __init__(self) -> None:
        self.engines: dict[str, FakeDocker] = {}
        self.asked: list[str] = []

    def from_env(self, *, environment: dict[str, str], timeout: float) -> FakeDocker:
        assert timeout > 0
        host = environment.get("DOCKER_HOST", DEFAULT)
        self.asked.append(host)
        if host not in self.engines:
            raise DockerException("Error while fetching server API version")
        return self.engines[host]

    def connect(self, path: str) -> None:
        host = f"unix://{path}"
        self.asked.append(host)
        if host not in self.engines:
            raise ConnectionRefusedError(111, "Connection refused")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with a `docker` program, no engine yet, and no DOCKER_HOST."""
    found = Machine()
    monkeypatch.setattr(docker, "from_env", found.from_env)
    monkeypatch.setattr(socket.socket, "connect", lambda _, path: found.connect(path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "docker").touch(mode=0o755)
    return found


@contextmanager
def told(*, place: str, cause: str, fix: str) -> Iterator[None]:
    with pytest.raises(EngineOrNetworkError) as caught:
        yield
    assert caught.value.faults == (Fault(place=place, cause=cause, fix=fix),)


class TestConnecting:
    @pytest.mark.usefixtures("machine")
    def test_without_any_engine_the_next_step_is_told(self) -> None:
        with told(
            place="Docker engine",
            cause=f"none answers at {DEFAULT}",
            fix="Start Docker, or run `make engine` (Debian, as root) for a private one",
        ):
            connect(PRIVATE, Client())

    def test_the_users_own_engine_is_preferred_to_the_private_one(self, machine: Machine) -> None:
        machine.engines = {DEFAULT: FakeDocker("own"), PRIVATE.host: FakeDocker("private")}
        engine = connect(PRIVATE, Client())
        assert engine.image_id("own")
        assert engine.environment == {}
        assert engine.build_network is None

    def test_the_users_own_is_the_one_of_their_docker_context(self, machine: Machine) -> None:
        rootless = "unix:///run/user/1000/docker.sock"
        machine.engines = {rootless: FakeDocker("rootless"), DEFAULT: FakeDocker("default")}
        assert connect(PRIVATE, Client(rootless)).image_id("rootless")

    def test_the_private_engine_serves_where_no_other_answers(self, machine: Machine) -> None:
        machine.engines = {PRIVATE.host: FakeDocker("private")}
        engine = connect(PRIVATE, Client())
        assert engine.image_id("private")
        assert engine.environment == PRIVATE.environment
        assert engine.build_network == "host"  # it has no bridge

    def test_docker_host_is_honoured(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        named = "tcp://builder.test:2375"
        monkeypatch.setenv("DOCKER_HOST", named)
        machine.engines = {named: FakeDocker("named"), DEFAULT: FakeDocker(), PRIVATE.host: FakeDocker()}
        shell = Client()
        engine = connect(PRIVATE, shell)
        assert engine.image_id("named")
        assert engine.environment == {}
        assert not shell.started

    @pytest.mark.parametrize("named", ["tcp://builder.test:2375", "unix:///gone.sock"])
    def test_no_other_engine_is_used_silently_when_docker_host_is_dead(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch, named: str
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", named)
        machine.engines = {DEFAULT: FakeDocker(), PRIVATE.host: FakeDocker()}
        with told(
            place="DOCKER_HOST",
            cause=f"no engine answers at {named}",
            fix="Start that engine, or unset DOCKER_HOST to use one of this machine",
        ):
            connect(PRIVATE, Client())
        assert machine.asked == [named]

    def test_an_engine_that_listens_and_does_not_answer_is_none(self, machine: Machine) -> None:
        hangs = FakeDocker()
        hangs.fails = requests.ReadTimeout("read timed out")
        machine.engines = {DEFAULT: hangs, PRIVATE.host: FakeDocker("private")}
        assert connect(PRIVATE, Client()).image_id("private")

    def test_without_a_docker_program_no_context_is_asked_for(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        machine.engines = {DEFAULT: FakeDocker("own")}
        shell = Client()
        assert connect(PRIVATE, shell).image_id("own")
        assert not shell.started

    def test_a_docker_program_that_knows_no_context_means_the_default(self, machine: Machine) -> None:
        machine.engines = {DEFAULT: FakeDocker("own")}
        assert connect(PRIVATE, Client(None)).image_id("own")


class TestReachable:
    def test_it_tells_where_an_engine_answers_the_users_own_first(self, machine: Machine) -> None:
        assert reachable(PRIVATE, Client()) is None
        machine.engines[PRIVATE.host] = FakeDocker()
        assert reachable(PRIVATE, Client()) == PRIVATE.host
        machine.engines[DEFAULT] = FakeDocker()
        assert reachable(PRIVATE, Client()) == DEFAULT
        assert reachable(PRIVATE, Client(None)) == "its default socket"

    def test_it_keeps_no_connection(self, machine: Machine) -> None:
        machine.engines[DEFAULT] = FakeDocker()
        reachable(PRIVATE, Client())
        assert machine.engines[DEFAULT].closed

    def test_a_dead_docker_host_is_an_error_so_that_no_other_engine_is_made_for_nothing(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", "tcp://builder.test:2375")
        machine.engines[PRIVATE.host] = FakeDocker()
        with told(
            place="DOCKER_HOST",
            cause="no engine answers at tcp://builder.test:2375",
            fix="Start that engine, or unset DOCKER_HOST to use one of this machine",
        ):
            reachable(PRIVATE, Client())


def engine_of(fake: Any) -> DockerEngine:
    return DockerEngine(fake, {}, None, Client())


class TestImages:
    def test_an_image_is_told_with_its_id_size_layers_and_labels(self) -> None:
        image = engine_of(FakeDocker("cuvee:cu121")).image("cuvee:cu121")
        assert (image.tag, image.id, image.size, image.layers) == ("cuvee:cu121", "sha256:0", 1500, 3)
        assert image.labels == {"cuvee.lock": "sha256:l"}

    def test_an_image_that_is_not_there_is_told_with_the_command_that_makes_it(self) -> None:
        with told(place="cuvee:cu121", cause="the engine has no such image", fix="Run `cuvee build cu121`"):
            engine_of(FakeDocker()).image("cuvee:cu121")

    def test_an_image_that_is_not_there_has_no_id(self) -> None:
        assert engine_of(FakeDocker()).image_id("debian:bookworm-slim") is None
        assert engine_of(FakeDocker("debian:bookworm-slim")).image_id("debian:bookworm-slim") == "sha256:0"

    def test_an_image_is_pulled_where_a_registry_gives_it(self) -> None:
        fake = FakeDocker(in_registry=("debian:bookworm-slim",))
        assert engine_of(fake).pull("debian:bookworm-slim")
        assert "debian:bookworm-slim" in fake.on_disk

    def test_a_registry_that_does_not_give_it_is_no_error(self) -> None:
        assert not engine_of(FakeDocker()).pull("debian:bookworm-slim")

    def test_a_root_file_system_becomes_an_image(self, tmp_path: Path) -> None:
        (tmp_path / "base.tar").write_text("root")
        fake = FakeDocker()
        engine_of(fake).import_archive(tmp_path / "base.tar", "cuvee-base:bookworm")
        assert fake.on_disk == {"cuvee-base:bookworm": "sha256:root"}

    def test_an_image_may_have_another_name_which_another_one_loses(self) -> None:
        fake = FakeDocker("cuvee:cu121", "cuvee:cu128", "cuvee:latest")
        engine_of(fake).name_too("cuvee:cu128", "cuvee:latest")
        assert fake.on_disk["cuvee:latest"] == fake.on_disk["cuvee:cu128"]
        assert fake.on_disk["cuvee:cu121"] != fake.on_disk["cuvee:cu128"]

    def test_removing_tells_whether_there_was_something(self) -> None:
        engine = engine_of(FakeDocker("cuvee:cu121"))
        assert engine.remove_image("cuvee:cu121")
        assert not engine.remove_image("cuvee:cu121")

    def test_pruning_tells_the_bytes_freed(self) -> None:
        assert engine_of(FakeDocker()).prune_cache() == 7


class TestAbout:
    def test_it_is_described_by_version_storage_system_kernel_and_processors(self) -> None:
        assert engine_of(FakeDocker()).describe() == {
            "version": "26.1.5",
            "storage": "overlay2",
            "system": "Debian",
            "kernel": "6.1",
            "cpus": "2",
        }

    def test_its_folder_is_told_where_it_is_of_this_machine(self, tmp_path: Path) -> None:
        fake = FakeDocker(root=str(tmp_path))
        assert engine_of(fake).data_root() == tmp_path
        fake.api.base_url = "http://builder.test:2375"
        assert engine_of(fake).data_root() is None
        assert engine_of(FakeDocker(root=str(tmp_path / "in a virtual machine"))).data_root() is None


Use = Callable[[DockerEngine, Path], object]
USES: dict[str, Use] = {
    "describe": lambda engine, _: engine.describe(),
    "data_root": lambda engine, _: engine.data_root(),
    "image_id": lambda engine, _: engine.image_id("x"),
    "image": lambda engine, _: engine.image("x:y"),
    "import_archive": lambda engine, file: engine.import_archive(file, "x:y"),
    "remove_image": lambda engine, _: engine.remove_image("x"),
    "remove_test_containers": lambda engine, _: engine.remove_test_containers(),
    "prune_cache": lambda engine, _: engine.prune_cache(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
class TestTrouble:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "file").touch()
        return tmp_path / "file"

    @pytest.mark.parametrize(
        "error",
        [requests.ConnectionError("aborted"), requests.ReadTimeout("timed out"), DockerException("odd")],
        ids=["gone", "silent", "odd"],
    )
    def test_an_engine_that_goes_away_is_told_and_no_traceback(
        self, use: Use, file: Path, error: Exception
    ) -> None:
        fake = FakeDocker()
        fake.fails = error
        with told(
            place="Docker engine",
            cause="it does not answer any more",
            fix="See whether it still runs (`docker info`), and try again",
        ):
            use(engine_of(fake), file)

    def test_a_full_disk_is_told_with_how_to_make_room(self, use: Use, file: Path) -> None:
        fake = FakeDocker()
        fake.fails = refused("write /usr/bin/chmod: no space left on device")
        with told(
            place="Docker engine",
            cause="write /usr/bin/chmod: no space left on device",
            fix="Run `cuvee clean` or `docker system prune` to make room, and build again",
        ):
            use(engine_of(fake), file)

    def test_a_refusal_that_nobody_knows_yet_is_told_in_the_engines_words(self, use: Use, file: Path) -> None:
        fake = FakeDocker()
        fake.fails = refused("image is being used by running container 4711")
        with told(
            place="Docker engine",
            cause="image is being used by running container 4711",
            fix="See `docker info` and the engine's log, and try again",
        ):
            use(engine_of(fake), file)


class TestContainers:
    def test_a_container_has_no_network_and_ends_by_itself_some_day(self) -> None:
        fake = FakeDocker("cuvee:cu121")
        with engine_of(fake).container("cuvee:cu121") as container:
            assert container.sdk.command == ["sleep", "21600"]
            assert container.sdk.options["network_mode"] == "none"
            assert container.sdk.options["auto_remove"]
            assert container.sdk.options["device_requests"] == []

    def test_it_knows_its_image(self) -> None:
        with engine_of(FakeDocker("cuvee:cu121")).container("cuvee:cu121") as container:
            told = (container.name, container.labels, container.size)
        assert told == ("cuvee:cu121", {"cuvee.lock": "sha256:l"}, 1500)

    def test_a_command_ends_with_its_code_and_both_its_outputs(self) -> None:
        with engine_of(FakeDocker("cuvee:cu121")).container("cuvee:cu121") as container:
            container.sdk.answer = (134, (b"half a w\xc3", None))
            done = container.run(["python", "-V"], user="65534:65534", env={"A": "b"})
            assert done == Finished(
                argv=("python", "-V"), code=134, out="half a w\N{REPLACEMENT CHARACTER}", err=""
            )
            given = {"user": "65534:65534", "environment": {"A": "b"}, "demux": True}
            assert container.sdk.ran == [(["python", "-V"], given)]

    def test_an_engine_that_goes_away_under_a_command_is_told(self) -> None:
        fake = FakeDocker("cuvee:cu121")
        with engine_of(fake).container("cuvee:cu121") as container:
            fake.fails = requests.ConnectionError("aborted")
            with told(
                place="Docker engine",
                cause="it does not answer any more",
                fix="See whether it still runs (`docker info`), and try again",
            ):
                container.run(["true"])

    def test_the_suite_needs_to_be_told_nothing(self) -> None:
        assert engine_of(FakeDocker()).suite_arguments("cuvee:cu121") == []

    def test_what_is_mounted_can_only_be_read(self) -> None:
        fake = FakeDocker("cuvee:cu121")
        with engine_of(fake).container("cuvee:cu121", binds={Path("/models"): "/model"}) as container:
            assert container.sdk.options["volumes"] == {"/models": {"bind": "/model", "mode": "ro"}}

    def test_it_is_gone_afterwards_even_when_the_work_in_it_fails(self) -> None:
        fake = FakeDocker("cuvee:cu121")

        def work() -> None:
            with engine_of(fake).container("cuvee:cu121"):
                assert len(fake.running) == 1
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            work()
        assert not fake.running

    def test_it_may_have_ended_by_itself(self) -> None:
        fake = FakeDocker("cuvee:cu121")
        with engine_of(fake).container("cuvee:cu121"):
            fake.running.clear()

    def test_without_its_image_the_command_that_makes_it_is_told(self) -> None:
        with (
            told(place="cuvee:cu121", cause="the engine has no such image", fix="Run `cuvee build cu121`"),
            engine_of(FakeDocker()).container("cuvee:cu121"),
        ):
            pass

    @pytest.mark.parametrize(
        ("gpus", "fix"),
        [
            (True, "Install the NVIDIA driver and the NVIDIA Container Toolkit, or leave out --gpus"),
            (False, "See `docker info`"),
        ],
    )
    def test_a_container_that_does_not_start_tells_why_and_what_to_install_for_a_gpu(
        self, *, gpus: bool, fix: str
    ) -> None:
        says = 'could not select device driver "" with capabilities: [[gpu]]'

        class NoDriver(FakeDocker):
            def _run(self, name: str, command: list[str], **options: Any) -> FakeContainer:
                del name, command
                assert bool(options["device_requests"]) == gpus
                raise refused(says)

        with (
            told(place="cuvee:cu121", cause=f"the container does not start: {says}", fix=fix),
            engine_of(NoDriver("cuvee:cu121")).container("cuvee:cu121", gpus=gpus),
        ):
            pass

    def test_those_that_killed_tests_left_are_found_by_their_label_and_deleted(self) -> None:
        fake = FakeDocker("cuvee:cu121")
        for labels in ({"cuvee.test": "1"}, {"cuvee.test": "1"}, {"somebody": "else's"}):
            fake.containers.run("cuvee:cu121", [], labels=labels)
        engine = engine_of(fake)
        assert engine.remove_test_containers() == 2
        assert [one.options["labels"] for one in fake.running] == [{"somebody": "else's"}]

    def test_one_that_vanishes_while_it_is_deleted_is_no_error(self) -> None:
        fake = FakeDocker("cuvee:cu121")
        fake.containers.run("cuvee:cu121", [], labels={"cuvee.test": "1"})
        stale = list(fake.running)
        fake.containers.list = lambda **_: stale
        fake.running.clear()
        assert engine_of(fake).remove_test_containers() == 1

    def test_a_folder_is_copied_in_readable_by_everybody_and_owned_by_root(self, tmp_path: Path) -> None:
        folder = tmp_path / "probe"
        (folder / "sub").mkdir(parents=True)
        (folder / "sub").chmod(0o700)
        (folder / "sub" / "file.py").write_text("secret of ours")
        (folder / "sub" / "file.py").chmod(0o600)
        if os.geteuid() == 0:
            os.chown(folder / "sub" / "file.py", 1000, 1000)
        fake = FakeContainer(FakeDocker(), "x", [], {})
        DockerContainer(name="x", labels={}, size=0, sdk=fake).copy_in(folder, "/tmp")
        modes = {name: member.mode for name, member in fake.files.items()}
        assert modes["/tmp/probe/sub"] & 0o777 == 0o755
        assert modes["/tmp/probe/sub/file.py"] & 0o777 == 0o644
        assert {(member.uid, member.gid) for member in fake.files.values()} == {(0, 0)}


class TestCleaning:
    ROWS = (SimpleNamespace(id="red", aliases=("latest",)), SimpleNamespace(id="white", aliases=()))

    def cleaned(self, fake: FakeDocker, *, cache: bool = False) -> list[str]:
        said: list[str] = []
        rows: Any = self.ROWS
        clean_engine(engine_of(fake), rows, said.append, cache=cache)
        return said

    @pytest.fixture(autouse=True)
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("CUVEE_CACHE", str(tmp_path))
        (tmp_path / "wheels").mkdir()
        return tmp_path / "wheels"

    def test_images_of_the_rows_go_and_others_stay(self) -> None:
        fake = FakeDocker("cuvee:red", "cuvee:rose", "debian:bookworm-slim")
        assert self.cleaned(fake) == ["cuvee:red deleted"]
        assert set(fake.on_disk) == {"cuvee:rose", "debian:bookworm-slim"}

    def test_an_images_other_names_go_with_it(self) -> None:
        fake = FakeDocker("cuvee:red", "cuvee:latest", "cuvee:rose")
        assert self.cleaned(fake) == ["cuvee:latest deleted", "cuvee:red deleted"]
        assert set(fake.on_disk) == {"cuvee:rose"}

    def test_what_killed_tests_left_goes_too(self) -> None:
        fake = FakeDocker("cuvee:red")
        fake.containers.run("cuvee:red", [], labels={"cuvee.test": "1"})
        assert self.cleaned(fake)[0] == "1 left-over test containers deleted"
        assert not fake.running

    def test_images_that_a_newer_build_replaced_go_and_other_peoples_stay(self) -> None:
        fake = FakeDocker()
        self.cleaned(fake)
        assert fake.pruned == [{"dangling": True, "label": "cuvee.row"}]

    def test_the_cache_goes_only_on_demand(self, store: Path) -> None:
        assert self.cleaned(FakeDocker()) == []
        assert self.cleaned(FakeDocker(), cache=True) == ["BuildKit's cache: 0.0 GB freed"]
        assert store.is_dir()

    def test_the_store_is_bounded_by_age_and_by_size(self, store: Path) -> None:
        for name in ("old", "new"):
            (store / name).mkdir()
            (store / name / "a.whl").write_bytes(bytes(100_000))
        long_ago = time.time() - 10 * 24 * 3600
        for path in (store / "old", store / "old" / "a.whl"):
            os.utime(path, (long_ago, long_ago))
        said: list[str] = []

        clean_store(said.append, older_than=None, keep=1_000_000)
        assert {path.name for path in store.iterdir()} == {"old", "new"}
        clean_store(said.append, older_than=9, keep=None)
        assert {path.name for path in store.iterdir()} == {"new"}
        clean_store(said.append, older_than=None, keep=1_000)
        assert not list(store.iterdir())
        assert said[1].startswith("store: 1 of 2 entries deleted, 0.00 GB; ")

    def test_unpacked_images_of_the_rows_go_and_others_stay(self, store: Path) -> None:
        for row in ("red", "rose"):
            folder = store.parent / "roots" / row
            folder.mkdir(parents=True)
            told = Unpacked(root=folder, name=f"cuvee:{row}", labels={}, environment=(), size=1)
            (folder / "unpacked.json").write_text(told.to_json())
        (store.parent / "roots" / "damaged").mkdir()
        said: list[str] = []
        rows: Any = self.ROWS

        clean_unpacked(rows, said.append)
        assert {path.name for path in (store.parent / "roots").iterdir()} == {"rose", "damaged"}
        assert said == ["cuvee:red, unpacked, deleted: 0.00 GB"]

    def test_an_unpacked_image_that_somebody_uses_stays(self, store: Path) -> None:
        folder = store.parent / "roots" / "red"
        folder.mkdir(parents=True)
        told = Unpacked(root=folder, name="cuvee:red", labels={}, environment=(), size=1)
        (folder / "unpacked.json").write_text(told.to_json())
        said: list[str] = []
        rows: Any = self.ROWS

        with used(Store(store.parent), "cuvee:red"):
            drop_unpacked(rows, said.append)
        assert said == ["cuvee:red, unpacked, stays: another process uses it"]
        assert folder.is_dir()
        drop_unpacked(rows, said.append)
        assert not folder.exists()

    def test_layers_go_with_the_last_unpacked_image_that_has_them(self, store: Path) -> None:
        roots, trees = store.parent / "roots", store.parent / "trees"
        for row, names in (("red", ("a", "b", "c")), ("rose", ("a",))):
            (roots / row).mkdir(parents=True)
            told = Unpacked(
                root=roots / row, name=f"cuvee:{row}", labels={}, environment=(), size=1, trees=names
            )
            (roots / row / "unpacked.json").write_text(told.to_json())
        for name in "abcd":  # nothing uses the last one: a killed run has left it
            (trees / name).mkdir(parents=True)
            (trees / name / "file").write_bytes(bytes(100_000))
        said: list[str] = []
        rows: Any = self.ROWS

        drop_unpacked(rows, said.append, keep=["sha256:b"])
        assert {path.name for path in roots.iterdir()} == {"rose"}
        assert {path.name for path in trees.iterdir()} == {"a", "b"}
        assert said[1:] == ["layers that no unpacked image has, deleted: 0.00 GB"]
        clean_unpacked(rows, said.append)
        assert {path.name for path in trees.iterdir()} == {"a"}

    def test_a_store_that_is_not_there_is_clean(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUVEE_CACHE", str(store / "nowhere"))
        clean_store(lambda _: None, older_than=0, keep=None)
        assert not (store / "nowhere").exists()


def test_closing_gives_the_connection_back() -> None:
    fake = FakeDocker()
    engine_of(fake).close()
    assert fake.closed


def test_the_engines_own_variables_are_a_copy() -> None:
    variables = {"DOCKER_HOST": "a"}
    engine = DockerEngine(FakeDocker(), variables, None)  # type: ignore[arg-type]
    variables["DOCKER_HOST"] = "b"
    assert engine.environment == {"DOCKER_HOST": "a"}
