"""Tools that are not ours read our images, and pip inside them finds all in order.

The tools come from the path or from `.ci/bin`, where `.ci/tools` puts them; without a tool, its test is
skipped. All of it is about one image, the small row's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from builder import direct, pipeline
from builder.engines.container import Container
from builder.engines.direct import baselock, layout
from builder.engines.direct.compression import compressed
from builder.engines.direct.image import OciImage, canonical
from builder.engines.direct.load import load
from builder.engines.direct.store import default_store
from builder.left_out import LeftOut
from builder.lock import record
from builder.lock.record import Lock
from builder.matrix import Row
from builder.project import Project, find
from builder.publish.push import push
from builder.publish.reference import Reference
from builder.shell import SYSTEM
from tests.engine import same
from tests.engine.conftest import STORES, OwnEngine, own_daemon
from tests.engine.same import File, Root
from tests.process.test_registry import Daemon as RegistryDaemon
from tests.process.test_registry import running

ROW = "asr-cu12"
PREFIX = "/opt/cuvee/main"
OURS = "cuvee.pth"
"""The one file among an environment's packages that is no package's: it leads to the launcher."""

PYTHON = f"{PREFIX}/bin/python"
INSIDE = Path(__file__).with_name("inside_image.py")
LARGE = 100_000_000  # bytes
PATIENCE_S = 300

MEMORY = Path("/dev/shm")
WORKING_SET_MB = 6000
"""What is written at a time, at the most: the layout, a registry's copy, and a tool's or an engine's."""


def quiet(_: str) -> None:
    """Say nothing."""


def tool(name: str) -> str:
    """Where a tool is; the test is skipped where it is missing."""
    own = find(Path.cwd()).root / ".ci" / "bin"
    found = shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}{own}")
    if found is None:
        pytest.skip(f"{name} is not installed: run .ci/tools")
    return found


def run(*argv: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a tool; what it says on its standard output."""
    done = SYSTEM.run([str(word) for word in argv], env=env, timeout=PATIENCE_S)
    assert done.ok, f"{argv[0]}: {done.err}{done.out}"
    return done.out


@pytest.fixture(scope="module")
def project() -> Project:
    return find(Path.cwd())


@pytest.fixture(scope="module")
def row(project: Project) -> Row:
    return pipeline.rows(project, [ROW])[0]


@pytest.fixture(scope="module")
def lock(project: Project) -> Lock:
    return record.read(project.image(ROW) / record.FILE)


@pytest.fixture(scope="module")
def versions(lock: Lock) -> dict[str, str]:
    """The versions of the lock's packages, by their names."""
    return {package.name: package.version for package in lock.main.packages}


@pytest.fixture(scope="module")
def image(project: Project, row: Row) -> Iterator[OciImage]:
    with direct.rows(project, print).known(row) as known:
        yield known


def roomy() -> bool:
    """Whether memory takes all that is written here, twice over: that is a third quicker than a disk."""
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available_mb = int(told["MemAvailable"].split()[0]) // 1024
    free_mb = shutil.disk_usage(MEMORY).free // 1_000_000 if MEMORY.is_dir() else 0
    return min(available_mb, 2 * free_mb) > 2 * WORKING_SET_MB


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that is deleted at the end: pytest keeps its own, and these are large."""
    place = MEMORY if roomy() else None
    with tempfile.TemporaryDirectory(prefix="cuvee-judged-", dir=place) as made:
        yield Path(made)


@contextmanager
def engine_with(store: str) -> Iterator[OwnEngine]:
    """An engine of our own with that kind of image store."""
    with own_daemon(store, megabytes=WORKING_SET_MB if roomy() else 0) as daemon:
        engine = daemon.start()
        yield engine
        engine.close()


@pytest.fixture(scope="module")
def written(image: OciImage, folder: Path) -> Path:
    """The image as an OCI layout."""
    layout.write(image, folder / "layout")
    return folder / "layout"


@pytest.fixture(scope="module")
def light(image: OciImage) -> OciImage:
    """The image without its largest layer, for the tools that take half a minute to unpack that one."""
    left = tuple(layer for layer in image.layers if layer.size < LARGE)
    assert len(left) == len(image.layers) - 1
    config: dict[str, Any] = json.loads(image.config)
    config["rootfs"]["diff_ids"] = [layer.diff_id for layer in left]
    config["history"] = config["history"][: len(left)]
    return replace(image, layers=left, config=canonical(config))


@pytest.fixture(scope="module")
def written_light(light: OciImage, folder: Path) -> Path:
    """The image without its largest layer as an OCI layout."""
    layout.write(light, folder / "light")
    return folder / "light"


# The layout


def test_skopeo_sees_the_recorded_digest_and_all_layers(written: Path, image: OciImage, lock: Lock) -> None:
    told = json.loads(run(tool("skopeo"), "inspect", f"oci:{written}:{ROW}"))
    assert lock.image
    assert told["Digest"] == image.digest == lock.image.manifest
    assert told["Layers"] == [layer.digest for layer in image.layers]
    assert told["Labels"] == image.labels
    assert told["Architecture"] == "amd64"


def test_umoci_unpacks_the_files_that_we_have(written_light: Path, light: OciImage, folder: Path) -> None:
    umoci = tool("umoci")
    assert run(umoci, "ls", "--layout", written_light) == f"{ROW}\n"
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    run(umoci, "unpack", *rootless, "--image", f"{written_light}:{ROW}", folder / "bundle")
    here: Root = {}
    for layer in light.layers:
        same.lay(layer.tar(), here, lambda _: False)
    there = of_folder(folder / "bundle" / "rootfs")
    argued = [one for one in same.arguments(ROW) if "usr/share/doc/[^/]+" in {p.pattern for p in one.paths}]
    assert len(there) > 10_000
    assert [str(one) for one in same.unargued(argued, here, there)] == []
    shutil.rmtree(folder / "bundle")


def of_folder(folder: Path) -> Root:
    """An unpacked root file system."""
    found = {}
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above, name)
            found[str(path.relative_to(folder))] = of_path(path)
    return found


def of_path(path: Path) -> File:
    status = path.lstat()
    known = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    kind = known.get(stat.S_IFMT(status.st_mode), "other")
    content = ""
    if kind == "file":
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    return File(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid) if os.geteuid() == 0 else (0, 0),
        target=str(path.readlink()) if kind == "link" else "",
        sha256=content,
    )


def test_syft_finds_the_packages_of_the_locks_and_no_others(
    written: Path, project: Project, row: Row, versions: Mapping[str, str], folder: Path
) -> None:
    settings = {"SYFT_CHECK_FOR_APP_UPDATE": "false", "TMPDIR": str(folder)}
    told = json.loads(
        run(tool("syft"), "scan", f"oci-dir:{written}", "--quiet", "--output", "json", env=settings)
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for one in told["artifacts"]:
        found.setdefault(one["type"], []).append((one["name"], one["version"]))
    python = [(canonicalize_name(name), version) for name, version in found["python"]]
    assert sorted(python) == sorted(versions.items())
    base = baselock.read(project.bases, row.base, ())
    assert sorted(found["deb"]) == sorted((package.name, package.version) for package in base.packages)


def test_container_structure_test_reads_its_tar(written_light: Path, light: OciImage, folder: Path) -> None:
    expected = folder / "expected.json"
    with tarfile.open(folder / "light.tar", "w") as archive:
        for path in sorted(written_light.iterdir()):
            archive.add(path, path.name)
    expected.write_text(json.dumps(structure(light)))
    judge = [tool("container-structure-test"), "test", "--driver", "tar", "--output", "json"]
    said = run(*judge, "--image", folder / "light.tar", "--config", expected, env={"TMPDIR": str(folder)})
    results = json.loads(said)
    assert (results["Pass"], results["Fail"]) == (2, 0), said


def structure(image: OciImage) -> dict[str, Any]:
    """What container-structure-test shall find; of a tar archive it knows no owners and no modes."""
    told: dict[str, list[str]] = json.loads(image.config)["config"]
    content = [f"#!{PYTHON}\n", r"sys\.exit\(main\(\)\)"]
    return {
        "schemaVersion": "2.0.0",
        "fileContentTests": [{"name": "a program", "path": f"{PREFIX}/bin/hf", "expectedContents": content}],
        "metadataTest": {
            "cmd": told["Cmd"],
            "envVars": [dict(zip(("key", "value"), one.split("=", 1), strict=True)) for one in told["Env"]],
            "labels": [{"key": key, "value": value} for key, value in image.labels.items()],
        },
    }


# A registry


@pytest.fixture(scope="module")
def registry(folder: Path) -> Iterator[RegistryDaemon]:
    home = folder / "registry"
    home.mkdir()
    with running(RegistryDaemon(home)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def pushed(registry: RegistryDaemon, image: OciImage) -> Reference:
    """The image in a registry, where our own push has put it."""
    reference = registry.reference(f"cuvee/{ROW}")
    done = push(image, reference)
    assert (done.digest, done.sent) == (image.digest, len(image.layers) + 1)
    return reference


def test_a_second_push_sends_nothing(pushed: Reference, image: OciImage) -> None:
    def unread() -> Iterator[bytes]:
        raise AssertionError("a layer that is there was read")

    layers = tuple(replace(layer, blob=unread, tar=unread) for layer in image.layers)
    again = push(replace(image, layers=layers), pushed)
    assert (again.sent, again.sent_bytes, again.mounted) == (0, 0, 0)
    assert again.present == len(image.layers) + 1


def test_skopeo_sees_the_same_digest_in_the_registry(pushed: Reference, image: OciImage) -> None:
    told = json.loads(run(tool("skopeo"), "inspect", "--tls-verify=false", f"docker://{pushed}"))
    assert told["Digest"] == image.digest
    assert told["Layers"] == [layer.digest for layer in image.layers]


def test_skopeo_copies_it_there_and_back_without_a_change(
    written: Path, registry: RegistryDaemon, image: OciImage, folder: Path
) -> None:
    skopeo, by_skopeo = tool("skopeo"), registry.reference(f"skopeo/{ROW}")
    copy = [skopeo, "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
    run(*copy, "--dest-tls-verify=false", f"oci:{written}:{ROW}", f"docker://{by_skopeo}")
    run(*copy, f"docker://{by_skopeo}", f"oci:{folder / 'back'}:{ROW}")
    index = json.loads((folder / "back" / "index.json").read_bytes())
    assert [one["digest"] for one in index["manifests"]] == [image.digest]
    assert blobs(folder / "back") == blobs(written)
    assert push(image, by_skopeo).sent == 0
    shutil.rmtree(folder / "back")


def blobs(written: Path) -> set[str]:
    return {path.name for path in (written / "blobs" / "sha256").iterdir()}


# Engines, and what is inside


@pytest.fixture(scope="module", params=sorted(STORES))
def loaded(image: OciImage, request: pytest.FixtureRequest) -> Iterator[tuple[OwnEngine, str]]:
    """An engine of our own that was given the image, and the kind of its image store."""
    with engine_with(request.param) as engine:
        load(image, engine, quiet, plain=lambda one: compressed(one, "none", default_store()))
        yield engine, request.param


@pytest.fixture(scope="module")
def docker(loaded: tuple[OwnEngine, str], image: OciImage) -> Iterator[Container]:
    with loaded[0].container(image.name) as container:
        container.copy_in(INSIDE, "/tmp")
        yield container


@pytest.fixture(scope="module")
def sandbox(project: Project, image: OciImage) -> Iterator[Container]:
    with direct.engine(project, quiet).container(image.name) as container:
        container.copy_in(INSIDE, "/tmp")
        yield container


def python(container: Container, *words: str) -> str:
    done = container.run([PYTHON, "-I", *words])
    assert done.ok, done.err or done.out
    return done.out


def pip(container: Container, *words: str) -> str:
    return python(container, "-m", "pip", "--disable-pip-version-check", *words)


def _excused(words: str, left_out: LeftOut) -> bool:
    return words.endswith(" is missing") and left_out.holds(words.removesuffix(" is missing"))


class Healthy:
    """What must hold in the image, wherever it runs."""

    def test_pip_finds_no_broken_requirement(self, container: Container) -> None:
        assert pip(container, "check") == "No broken requirements found.\n"

    def test_pip_lists_the_lock(self, container: Container, versions: Mapping[str, str]) -> None:
        listed = json.loads(pip(container, "list", "--format=json"))
        assert {canonicalize_name(one["name"]): one["version"] for one in listed} == versions

    def test_every_record_is_true_and_lists_every_file(
        self, container: Container, versions: Mapping[str, str], row: Row
    ) -> None:
        """What the row leaves out is listed too, as an installer leaves it; uninstalling passes over it."""
        left_out = LeftOut.of(row.leave_out)
        told = json.loads(python(container, f"/tmp/{INSIDE.name}"))
        assert {canonicalize_name(name): version for name, version in told["versions"].items()} == versions
        wrong = {
            name: [one for one in words if not _excused(one, left_out)]
            for name, words in told["wrong"].items()
        }
        assert {name: words for name, words in wrong.items() if words} == {}
        assert [path.rpartition("/")[2] for path in told["unlisted"]] == [OURS]
        assert told["files"] > 4000

    def test_what_it_is_for_is_imported(self, container: Container) -> None:
        version = python(container, "-c", "import faster_whisper as f; print(f.__version__)")
        assert version.count(".") == 2


class TestInTheSandbox(Healthy):
    @pytest.fixture
    def container(self, sandbox: Container) -> Container:
        return sandbox


class TestInDocker(Healthy):
    @pytest.fixture
    def container(self, docker: Container) -> Container:
        return docker

    def test_the_engine_knows_it_by_its_digest(self, loaded: tuple[OwnEngine, str], image: OciImage) -> None:
        engine, store = loaded
        known = image.digest if store == "containerd" else image.config_digest
        assert engine.image_id(image.name) == known

    def test_pip_uninstalls_all_of_it(
        self, loaded: tuple[OwnEngine, str], image: OciImage, row: Row, versions: Mapping[str, str]
    ) -> None:
        site = f"{PREFIX}/lib/python{row.python}/site-packages"
        with loaded[0].container(image.name) as container:
            all_of_it = [f"{site}/tqdm", f"{PREFIX}/bin/tqdm", f"{site}/tqdm-{versions['tqdm']}.dist-info"]
            assert container.run(["ls", "-d", *all_of_it]).ok
            pip(container, "uninstall", "--yes", "tqdm")
            left = container.run(["ls", "-d", *all_of_it])
            assert left.out == ""
            pip(container, "uninstall", "--yes", *(name for name in versions if name != "pip"))
            left = container.run(["find", site, "-type", "f", "-not", "-path", f"{site}/pip*"])
            assert left.out.split() == [f"{site}/{OURS}"]


def test_docker_pulls_it_from_the_registry(pushed: Reference, image: OciImage) -> None:
    with engine_with("overlay2") as engine:
        pulled = engine.client.images.pull(f"{pushed.registry}/{pushed.repository}", tag=pushed.tag)
        assert pulled.id == image.config_digest
        assert pulled.attrs["RepoDigests"] == [f"{pushed.registry}/{pushed.repository}@{image.digest}"]
        assert pulled.attrs["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]
        with engine.container(str(pushed)) as container:
            python(container, "-c", "import faster_whisper")


@pytest.fixture(scope="module")
def published(registry: RegistryDaemon, project: Project, row: Row) -> Iterator[tuple[Reference, OciImage]]:
    """The image in a registry as it is published: with zstd's layers on the base as it is."""
    rows, reference = direct.rows(project, print), registry.reference(f"published/{ROW}")
    with rows.known(row) as known:
        packed = rows.compressed(row, known, "zstd")
        push(packed, reference)
        yield reference, packed


@pytest.mark.parametrize("store", sorted(STORES))
def test_docker_pulls_what_is_published(
    store: str, published: tuple[Reference, OciImage], image: OciImage, lock: Lock
) -> None:
    reference, packed = published
    assert lock.image
    assert lock.image.zstd
    with engine_with(store) as engine:
        pulled = engine.client.images.pull(f"{reference.registry}/{reference.repository}", tag=reference.tag)
        assert pulled.id == (packed.digest if store == "containerd" else image.config_digest)
        assert pulled.attrs["RepoDigests"] == [
            f"{reference.registry}/{reference.repository}@{lock.image.zstd.manifest}"
        ]
        assert pulled.attrs["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]
        with engine.container(str(reference)) as container:
            python(container, "-c", "import faster_whisper")
