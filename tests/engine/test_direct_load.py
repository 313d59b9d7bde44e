"""Images into real engines with either image store; these are started for it, and need root."""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import json
import os
import signal
import tarfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from builder.engines.direct import tar
from builder.engines.direct.image import LAYER, Layer, OciImage, configuration, sha256
from builder.engines.direct.load import load
from builder.engines.docker import ROW_LABEL
from builder.errors import BadInputError, EngineOrNetworkError, Fault
from tests.engine.conftest import Daemon, OwnEngine, own_daemon

EACH = 1  # an archive for each layer
SOME = 4 * 1024 * 1024


def layer(name: str, size: int = 100, *, level: int = 1) -> Layer:
    """A layer with one file of noise, which no compression makes smaller."""
    content = noise(name, size)
    head = tar.header(tar.Node("opt", "directory", 0o755)) + tar.header(tar.Node(f"opt/{name}"), size)
    archive = head + content + tar.padding(size) + tar.END
    blob = gzip.compress(archive, level, mtime=0)
    return Layer(
        title=name,
        digest=sha256(blob),
        size=len(blob),
        diff_id=sha256(archive),
        blob=lambda: iter([blob]),
        tar=lambda: iter([archive]),
    )


def noise(name: str, size: int) -> bytes:
    return hashlib.shake_256(name.encode()).digest(size)


def image(*layers: Layer, name: str = "cuvee:loaded") -> OciImage:
    config = configuration(
        environment=[("PATH", "/opt")],
        labels=[(ROW_LABEL, "loaded")],
        layers=[(one.title, one.diff_id) for one in layers],
        created="2025-01-20T00:00:00Z",
    )
    return OciImage(name=name, config=config, layers=layers)


def plain(given: OciImage) -> OciImage:
    def uncompressed(one: Layer) -> Layer:
        size = sum(map(len, one.tar()))
        return replace(one, digest=one.diff_id, size=size, blob=one.tar, media_type=LAYER["none"])

    return replace(given, layers=tuple(map(uncompressed, given.layers)))


def quiet(_: str) -> None:
    """Say nothing."""


def content(engine: OwnEngine, name: str, file: str) -> bytes:
    container = engine.client.containers.create(name, ["true"], network_mode="none")
    try:
        pieces, _ = container.get_archive(f"/opt/{file}")
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            found = archive.extractfile(file)
            assert found
            return found.read()
    finally:
        container.remove()


def ids(engine: OwnEngine) -> list[str]:
    return [str(one["Id"]) for one in engine.client.api.images(all=True)]


def before(one: Layer, action: Callable[[], object]) -> Layer:
    """A layer whose reader does something first."""

    def blob() -> Iterator[bytes]:
        action()
        yield from one.blob()

    return replace(one, blob=blob)


@pytest.mark.parametrize("changed", [None, plain], ids=["compressed", "plain"])
@pytest.mark.parametrize("least", [EACH, 10**9], ids=["piecewise", "at once"])
def test_the_engine_has_the_files_and_the_id_that_was_known_beforehand(
    own_engine: OwnEngine, store: str, changed: Callable[[OciImage], OciImage] | None, least: int
) -> None:
    wanted = image(layer("base"), layer("torch", SOME), layer("speech"))
    loaded = load(wanted, own_engine, quiet, plain=changed, least=least)
    assert loaded.id == (wanted.digest if store == "containerd" else wanted.config_digest)
    assert ids(own_engine) == [loaded.id]
    told = own_engine.client.images.get("cuvee:loaded")
    assert told.id == loaded.id
    assert told.attrs["RootFS"]["Layers"] == [one.diff_id for one in wanted.layers]
    assert told.labels == wanted.labels
    if store == "containerd":
        assert told.attrs["RepoDigests"] == [f"cuvee@{wanted.digest}"]
    for name, size in (("base", 100), ("torch", SOME), ("speech", 100)):
        assert content(own_engine, "cuvee:loaded", name) == noise(name, size)


def test_only_layers_that_it_lacks_travel(own_engine: OwnEngine, store: str) -> None:
    base, torch, speech = layer("base"), layer("torch", SOME), layer("speech")
    load(image(base, torch, name="cuvee:one"), own_engine, quiet)
    assert load(image(base, torch, speech), own_engine, quiet).sent_bytes == speech.size
    assert content(own_engine, "cuvee:loaded", "torch") == noise("torch", SOME)
    other = load(image(base, speech, torch, name="cuvee:other"), own_engine, quiet)
    assert other.sent == (0 if store == "containerd" else 2)
    assert content(own_engine, "cuvee:other", "torch") == noise("torch", SOME)
    assert load(image(base, torch, speech), own_engine, quiet).sent == 0


def test_the_replaced_image_is_gone_and_others_stay(own_engine: OwnEngine) -> None:
    other = load(image(layer("base"), layer("other"), name="cuvee:other"), own_engine, quiet)
    load(image(layer("base"), layer("old")), own_engine, quiet)
    new = load(image(layer("base"), layer("new")), own_engine, quiet)
    assert sorted(ids(own_engine)) == sorted([other.id, new.id])


def test_a_layer_that_vanishes_meanwhile_is_sent_after_all(own_engine: OwnEngine) -> None:
    load(image(layer("base"), name="cuvee:old"), own_engine, quiet)
    new = before(layer("new"), lambda: own_engine.remove_image("cuvee:old"))
    wanted = image(layer("base"), new)
    assert load(wanted, own_engine, quiet).sent == 2
    assert content(own_engine, "cuvee:loaded", "base") == noise("base", 100)


def test_the_same_content_in_another_blob_does_not_change_the_digest(
    own_engine: OwnEngine, store: str
) -> None:
    load(image(layer("base", level=0), name="cuvee:old"), own_engine, quiet)
    wanted = image(layer("base"))
    loaded = load(wanted, own_engine, quiet)
    assert loaded.sent == (1 if store == "containerd" else 0)
    own_engine.remove_image("cuvee:old")
    assert ids(own_engine) == [loaded.id]
    assert content(own_engine, "cuvee:loaded", "base") == noise("base", 100)
    saved = b"".join(own_engine.client.images.get("cuvee:loaded").save())
    assert wanted.layers[0].diff_id[7:].encode() in saved


def test_two_loads_at_a_time_both_work(own_engine: OwnEngine) -> None:
    wanted = image(layer("base"), layer("torch", SOME), layer("speech"))
    others = image(layer("base"), layer("torch", SOME), layer("other"), name="cuvee:other")
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(load, one, own_engine, quiet, least=EACH) for one in (wanted, others, wanted)]
        loaded = {future.result().id for future in futures}
    assert set(ids(own_engine)) == loaded
    assert content(own_engine, "cuvee:loaded", "speech") == noise("speech", 100)
    assert content(own_engine, "cuvee:other", "other") == noise("other", 100)


class TestTrouble:
    """The old image keeps the name, nothing is left of the new one, and the next load works."""

    @pytest.fixture
    def daemon(self, store: str) -> Iterator[Daemon]:
        with own_daemon(store, megabytes=128) as daemon:
            yield daemon

    def failing(self, engine: OwnEngine, wanted: OciImage) -> Fault:
        with pytest.raises((EngineOrNetworkError, BadInputError)) as caught:
            load(wanted, engine, quiet, least=EACH)
        [fault] = caught.value.faults
        return fault

    def test_a_disk_that_fills_is_told(self, daemon: Daemon) -> None:
        engine = daemon.start()
        old = load(image(layer("base"), layer("old", SOME)), engine, quiet)
        much = [layer(f"much {number}", 10 * SOME) for number in range(4)]
        fault = self.failing(engine, image(layer("base"), *much))
        assert "no space left on device" in fault.cause
        assert fault.fix == "Run `cuvee clean` or `docker system prune` to make room, and build again"
        assert ids(engine) == [old.id] == [engine.image_id("cuvee:loaded")]
        assert content(engine, "cuvee:loaded", "old") == noise("old", SOME)
        new = load(image(layer("base"), layer("new", SOME)), engine, quiet)
        assert ids(engine) == [new.id]
        engine.close()

    def test_an_engine_that_dies_is_told(self, daemon: Daemon) -> None:
        engine = daemon.start()
        old = load(image(layer("base"), layer("old")), engine, quiet)
        pid = daemon.pid
        deadly = before(layer("deadly", SOME), lambda: os.kill(pid, signal.SIGKILL))
        fault = self.failing(engine, image(layer("base"), layer("new"), deadly))
        assert fault == Fault(
            place="Docker engine",
            cause="it does not answer any more, and the image has not reached it",
            fix="See whether it runs and has room (`docker info`, `docker system df`), and try again",
        )
        engine.close()
        with warnings.catch_warnings(action="ignore"):
            gc.collect()  # the SDK does not close a socket that failed to connect
        daemon.end(signal.SIGKILL)
        again = daemon.start()
        assert again.image_id("cuvee:loaded") == old.id
        new = load(image(layer("base"), layer("new"), layer("deadly", SOME)), again, quiet)
        assert ids(again) == [new.id]
        assert content(again, "cuvee:loaded", "deadly") == noise("deadly", SOME)
        again.close()

    def test_a_layer_that_cannot_be_read_is_told(self, own_engine: OwnEngine) -> None:
        def damaged() -> None:
            raise BadInputError(Fault(place="torch.whl", cause="it is damaged", fix="Delete it"))

        old = load(image(layer("base"), layer("old")), own_engine, quiet)
        fault = self.failing(own_engine, image(layer("base"), layer("new"), before(layer("bad"), damaged)))
        assert fault.cause == "it is damaged"
        assert ids(own_engine) == [old.id] == [own_engine.image_id("cuvee:loaded")]


def test_what_is_loaded_is_what_a_registry_would_get(own_engine: OwnEngine, store: str) -> None:
    if store != "containerd":
        pytest.skip("graph drivers do not keep the manifest")
    wanted = image(layer("base"), layer("torch", SOME))
    load(wanted, own_engine, quiet)
    with tarfile.open(
        fileobj=io.BytesIO(b"".join(own_engine.client.images.get("cuvee:loaded").save()))
    ) as saved:
        found = saved.extractfile(f"blobs/{wanted.digest.replace(':', '/')}")
        assert found
        assert json.loads(found.read()) == json.loads(wanted.manifest)
