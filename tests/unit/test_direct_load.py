from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from docker.errors import APIError, ImageNotFound, NotFound

from builder.engines.direct import relay
from builder.engines.direct.image import LAYER, Layer, OciImage, configuration, sha256
from builder.engines.direct.imagestore import ImageStore
from builder.engines.direct.load import Loaded, load, steps
from builder.engines.direct.loadable import archive, prefix
from builder.errors import BadInputError, EngineOrNetworkError, Fault

NEAR = "http+docker://localhost"
EACH = 1  # an archive for each layer


def layer(text: str, *, level: int = 6) -> Layer:
    """A layer whose "tar archive" is a text; this engine does not look into it."""
    tar, blob = text.encode(), gzip.compress(text.encode(), level, mtime=0)
    return Layer(
        title=text,
        digest=sha256(blob),
        size=len(blob),
        diff_id=sha256(tar),
        blob=lambda: iter([blob[:3], blob[3:]]),
        tar=lambda: iter([tar]),
    )


def image(*layers: str | Layer, name: str = "cuvee:cu121", row: str = "cu121") -> OciImage:
    made = tuple(layer(one) if isinstance(one, str) else one for one in layers)
    config = configuration(
        environment=[],
        labels=[("cuvee.row", row)],
        layers=[(one.title, one.diff_id) for one in made],
        created="2025-01-20T00:00:00Z",
    )
    return OciImage(name=name, config=config, layers=made)


def plain(given: OciImage) -> OciImage:
    return replace(given, layers=tuple(map(uncompressed, given.layers)))


def uncompressed(one: Layer) -> Layer:
    size = len(b"".join(one.tar()))
    return replace(one, digest=one.diff_id, size=size, blob=one.tar, media_type=LAYER["none"])


class FakeEngine:
    """An engine in memory that loads images as moby does, with either store.

    Attributes:
        files: What each archive that was loaded held.
        images: Configurations and manifests by ids.
        names: Ids by names.
        blobs: What containerd keeps besides.
        fails: Called with the number of each archive when it has come, to raise or answer an error.
    """

    def __init__(self, *, containerd: bool, where: str = NEAR) -> None:
        self.containerd = containerd
        self.files: list[dict[str, bytes]] = []
        self.images: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.names: dict[str, str] = {}
        self.blobs: set[str] = set()
        self.snapshots: set[tuple[str, ...]] = set()
        self.fails: Callable[[int], str] = lambda _: ""
        self.prunes: Exception | None = None
        self.lock = threading.Lock()
        self.api = SimpleNamespace(
            base_url=where,
            api_version="1.45",
            get=self._list,
            post=self._load,
            tag=self._tag,
            remove_image=self._remove,
        )

    @property
    def client(self) -> Any:
        return SimpleNamespace(api=self.api, info=self._info, images=SimpleNamespace(get=self._inspect))

    def remove_replaced_images(self) -> int:
        if self.prunes:
            raise self.prunes
        for one in set(self.images) - set(self.names.values()):
            self._remove(one)
        return 0

    def _info(self) -> dict[str, Any]:
        return {
            "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]] if self.containerd else None
        }

    def _list(self, url: str, *, params: dict[str, str]) -> Any:
        assert url == f"{self.api.base_url}/v1.45/images/json"
        assert params["all"] == "1"
        answer = [{"Id": one} for one in self.images if self._is_whole(one)]
        return SimpleNamespace(status_code=200, json=lambda: answer, raise_for_status=lambda: None)

    def _is_whole(self, one: str) -> bool:
        _, manifest = self.images[one]
        return not self.containerd or self.blobs >= {told["digest"] for told in manifest["layers"]}

    def _inspect(self, one: str) -> Any:
        if one not in self.images:
            raise ImageNotFound("404: no such image")
        return SimpleNamespace(attrs={"RootFS": {"Layers": self.images[one][0]["rootfs"]["diff_ids"]}})

    def _tag(self, one: str, repository: str, tag: str) -> bool:
        if one not in self.images:
            raise NotFound("404", explanation=f"No such image: {one}")
        self.names[f"{repository}:{tag}"] = one
        return True

    def _remove(self, one: str) -> None:
        if one not in self.images:
            raise ImageNotFound("404: no such image")
        if one in self.names.values():
            raise APIError("409: it has a name")
        del self.images[one]
        kept = [manifest for _, manifest in self.images.values()]
        self.blobs &= {told["digest"] for manifest in kept for told in manifest["layers"]}

    def _load(self, url: str, *, data: Iterator[bytes], timeout: float, **_: Any) -> Any:
        assert url == f"{self.api.base_url}/v1.45/images/load"
        assert timeout > 600
        with tarfile.open(fileobj=io.BytesIO(b"".join(data))) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        with self.lock:
            self.files.append(files)
            error = self.fails(len(self.files)) or (self._import if self.containerd else self._register)(
                files
            )
        said = {"error": error} if error else {"stream": "Loaded image"}
        return SimpleNamespace(ok=True, text=json.dumps(said) + "\n")

    def _register(self, files: dict[str, bytes]) -> str:
        [told] = json.loads(files["manifest.json"])
        assert told["RepoTags"] is None
        config = json.loads(files[told["Config"]])
        diff_ids = config["rootfs"]["diff_ids"]
        assert len(diff_ids) == len(told["Layers"]) == len(config["history"])
        stacks = [known["rootfs"]["diff_ids"] for known, _ in self.images.values()]
        for count, (diff_id, path) in enumerate(zip(diff_ids, told["Layers"], strict=True), start=1):
            if any(stack[:count] == diff_ids[:count] for stack in stacks):
                continue
            if path not in files:
                return f"open /data/tmp/docker-import-1/{path}: no such file or directory"
            content = files[path]
            assert sha256(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content) == diff_id
        self.images[sha256(files[told["Config"]])] = (config, {"layers": []})
        return ""

    def _import(self, files: dict[str, bytes]) -> str:
        assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
        [entry] = json.loads(files["index.json"])["manifests"]
        assert "annotations" not in entry
        for path, content in files.items():
            if path.startswith("blobs/"):
                assert hashlib.sha256(content).hexdigest() == path.rpartition("/")[2]
                self.blobs.add(sha256(content))
        manifest = json.loads(files[f"blobs/{entry['digest'].replace(':', '/')}"])
        config = json.loads(files[f"blobs/{manifest['config']['digest'].replace(':', '/')}"])
        self.images[entry["digest"]] = (config, manifest)
        chain = tuple(config["rootfs"]["diff_ids"])
        lacking = [told["digest"] for told in manifest["layers"] if told["digest"] not in self.blobs]
        if lacking and chain not in self.snapshots:
            return f"failed to unpack loaded image: content digest {lacking[0]}: not found"
        self.snapshots |= {chain[:count] for count in range(1, len(chain) + 1)}
        return ""


@pytest.fixture(params=["overlay2", "containerd"])
def engine(request: pytest.FixtureRequest) -> FakeEngine:
    return FakeEngine(containerd=request.param == "containerd")


def quiet(_: str) -> None:
    """Say nothing."""


def layers_in(engine: FakeEngine, wanted: OciImage) -> list[list[str]]:
    """The titles of the image's layers in each archive."""
    names = {one.digest: one.title for one in wanted.layers} | {
        one.diff_id: one.title for one in wanted.layers
    }
    return [
        [names[f"sha256:{path[13:]}"] for path in files if f"sha256:{path[13:]}" in names]
        for files in engine.files
    ]


class TestWhatTravels:
    def test_an_empty_engine_gets_all_layers_and_the_name(self, engine: FakeEngine) -> None:
        wanted = image("base", "torch", "speech")
        loaded = load(wanted, engine, quiet)
        assert loaded == Loaded(
            id=wanted.digest if engine.containerd else wanted.config_digest,
            sent=3,
            sent_bytes=sum(one.size for one in wanted.layers),
            present=0,
        )
        assert engine.names == {"cuvee:cu121": loaded.id}
        assert layers_in(engine, wanted) == [["base", "torch", "speech"]]

    def test_what_is_there_is_not_sent_again(self, engine: FakeEngine) -> None:
        wanted = image("base", "torch")
        load(wanted, engine, quiet)
        again = load(wanted, engine, quiet)
        assert (again.sent, again.present) == (0, 2)
        assert len(engine.files) == 1

    def test_an_image_that_is_there_under_another_name_gets_its_own(self, engine: FakeEngine) -> None:
        load(image("base", name="cuvee:other"), engine, quiet)
        loaded = load(image("base"), engine, quiet)
        assert engine.names == {"cuvee:other": loaded.id, "cuvee:cu121": loaded.id}

    def test_layers_that_another_image_has_below_do_not_travel(self, engine: FakeEngine) -> None:
        load(image("base", "torch", "speech", name="cuvee:one"), engine, quiet)
        wanted = image("base", "torch", "whisper")
        loaded = load(wanted, engine, quiet)
        assert (loaded.sent, loaded.present) == (1, 2)
        assert layers_in(engine, wanted)[1:] == [["whisper"]]

    @pytest.mark.parametrize(("containerd", "sent"), [(False, ["cudnn", "torch"]), (True, ["cudnn"])])
    def test_above_other_layers_only_containerd_has_the_same_layer(
        self, *, containerd: bool, sent: list[str]
    ) -> None:
        engine = FakeEngine(containerd=containerd)
        load(image("base", "torch", name="cuvee:one"), engine, quiet)
        wanted = image("base", "cudnn", "torch")
        load(wanted, engine, quiet)
        assert layers_in(engine, wanted)[1:] == [sent]

    def test_a_layer_that_does_not_travel_is_not_even_read(self, engine: FakeEngine) -> None:
        load(image("base", name="cuvee:one"), engine, quiet)
        unreadable = replace(layer("base"), blob=no_wheel, tar=no_wheel)
        assert load(image(unreadable, "torch"), engine, quiet, plain=plain_but_base).sent == 1

    def test_a_graph_driver_of_this_machine_gets_layers_uncompressed(self, engine: FakeEngine) -> None:
        wanted = image("base", "torch")
        loaded = load(wanted, engine, quiet, plain=plain)
        paths = {path for files in engine.files for path in files}
        expected = [one.digest if engine.containerd else one.diff_id for one in wanted.layers]
        assert paths >= {f"blobs/{digest.replace(':', '/')}" for digest in expected}
        assert loaded.id == (wanted.digest if engine.containerd else wanted.config_digest)

    @pytest.mark.parametrize("where", ["http://builder.test:2375", "http+docker://ssh"])
    def test_a_far_engine_gets_blobs(self, where: str) -> None:
        wanted = image("base")
        loaded = load(wanted, FakeEngine(containerd=False, where=where), quiet, plain=plain)
        assert loaded.sent_bytes == wanted.layers[0].size

    def test_what_is_done_is_said(self, engine: FakeEngine) -> None:
        said: list[str] = []
        load(image("base"), engine, quiet)
        load(image("base", "torch", "speech"), engine, said.append, least=EACH)
        assert said == [
            "cuvee:cu121: the engine has 1 of 3 layers",
            "cuvee:cu121: 2 of 3 layers are there",
            "cuvee:cu121: 3 of 3 layers are there",
        ]


def no_wheel() -> Iterator[bytes]:
    yield b""
    raise BadInputError(Fault(place="torch.whl", cause="it is damaged", fix="Delete it"))


def plain_but_base(given: OciImage) -> OciImage:
    assert "base" not in {one.title for one in given.layers}
    return plain(given)


class TestSteps:
    def test_layers_go_in_several_archives_and_only_the_whole_image_stays(self, engine: FakeEngine) -> None:
        wanted = image("base", "torch", "speech")
        loaded = load(wanted, engine, quiet, plain=plain, least=EACH)
        assert layers_in(engine, wanted) == [["base"], ["torch"], ["speech"]]
        assert list(engine.images) == [loaded.id]
        assert loaded.sent == 3

    def test_small_layers_share_an_archive(self) -> None:
        wanted = image("base", "torch", "triton", "speech")
        both = wanted.layers[0].size + wanted.layers[1].size
        planned = list(steps(wanted, wanted.layers, both))
        assert [[one.title for one in step.sent] for step in planned] == [
            ["base", "torch"],
            ["triton", "speech"],
        ]
        assert planned[-1].image is wanted
        assert not any(step.assumed for step in planned)

    def test_an_archive_without_layers_makes_the_image_of_what_is_there(self) -> None:
        wanted = image("base", "torch")
        [step] = steps(wanted, (), EACH)
        assert (step.sent, step.assumed) == ((), True)

    def test_an_image_of_the_first_layers_has_the_labels_and_settings_of_the_whole(self) -> None:
        wanted = image("base", "torch", "speech")
        first = prefix(wanted, 2)
        told = json.loads(first.config)
        assert told["rootfs"]["diff_ids"] == [one.diff_id for one in wanted.layers[:2]]
        assert len(told["history"]) == 2
        assert first.labels == wanted.labels
        assert prefix(wanted, 3) is wanted

    def test_an_archive_is_ended_only_when_it_may(self) -> None:
        wanted = image("base", "torch")
        allowed: list[str] = []
        pieces = archive(wanted, wanted.layers, lambda: allowed.append("now"))
        before = b""
        while not allowed:
            before += next(pieces)
        assert b"manifest.json" not in before
        assert b"manifest.json" in b"".join(pieces)


class TestChange:
    """The engine's idea of what it has is wrong, or changes."""

    def test_a_layer_that_vanishes_meanwhile_is_sent_with_all_others(self, engine: FakeEngine) -> None:
        load(image("base", "torch", name="cuvee:old"), engine, quiet)

        def vanish(number: int) -> str:
            if number == 2:
                engine.names.clear()
                engine.snapshots.clear()
                engine.remove_replaced_images()
            return ""

        engine.fails = vanish
        wanted = image("base", "torch", "speech")
        loaded = load(wanted, engine, quiet)
        assert loaded.sent == 3
        assert layers_in(engine, wanted)[1:] == [["speech"], ["base", "torch", "speech"]]
        assert engine.names == {"cuvee:cu121": loaded.id}

    def test_an_image_of_the_first_layers_that_vanishes_is_no_error_either(self, engine: FakeEngine) -> None:
        def vanish(number: int) -> str:
            if number == 2:
                engine.snapshots.clear()
                engine.remove_replaced_images()
            return ""

        engine.fails = vanish
        wanted = image("base", "torch", "speech")
        assert load(wanted, engine, quiet, least=EACH).sent == 3
        assert len(engine.images) == 1

    def test_an_image_that_vanishes_before_it_has_its_name_is_sent_again(self, engine: FakeEngine) -> None:
        tag, calls = engine.api.tag, []

        def pruned_first(*arguments: str) -> bool:
            calls.append(arguments)
            if len(calls) == 1:
                engine.remove_replaced_images()
                engine.snapshots.clear()
            return bool(tag(*arguments))

        engine.api.tag = pruned_first
        assert load(image("base"), engine, quiet).sent == 1
        assert len(engine.files) == 2

    @pytest.mark.parametrize("unpacked", [True, False])
    def test_the_same_content_in_another_blob_is_not_enough_for_containerd(self, *, unpacked: bool) -> None:
        engine = FakeEngine(containerd=True)
        load(image(layer("base", level=0), "torch", name="cuvee:old"), engine, quiet)
        if not unpacked:
            engine.snapshots.clear()
        wanted = image("base", "torch")
        loaded = load(wanted, engine, quiet)
        assert loaded.id == wanted.digest
        assert loaded.sent == 2
        assert engine._is_whole(loaded.id)

    def test_an_engine_that_misses_what_it_was_sent_is_told(self, engine: FakeEngine) -> None:
        engine.fails = lambda _: "content digest sha256:0: not found"
        with pytest.raises(EngineOrNetworkError) as caught:
            load(image("base"), engine, quiet)
        [fault] = caught.value.faults
        assert fault.place == "cuvee:cu121"
        assert fault.cause == (
            "the engine was sent all layers, and misses some: content digest sha256:0: not found"
        )
        assert fault.fix == "See that nothing else deletes its images meanwhile, and read its log"


class TestTrouble:
    """The old image keeps the name, and of the new one nothing is left."""

    @pytest.fixture
    def old(self, engine: FakeEngine) -> str:
        return load(image("base", "old"), engine, quiet).id

    def failing(self, engine: FakeEngine, old: str, wanted: OciImage) -> Fault:
        with pytest.raises((EngineOrNetworkError, BadInputError)) as caught:
            load(wanted, engine, quiet, least=EACH)
        assert engine.names == {"cuvee:cu121": old}
        assert list(engine.images) == [old]
        [fault] = caught.value.faults
        return fault

    @pytest.mark.parametrize("number", [2, 3])
    def test_a_full_disk_is_told_with_how_to_make_room(
        self, engine: FakeEngine, old: str, number: int
    ) -> None:
        engine.fails = lambda at: "write /data/x: no space left on device" if at == number else ""
        assert self.failing(engine, old, image("base", "new", "newer")) == Fault(
            place="Docker engine",
            cause="write /data/x: no space left on device",
            fix="Run `cuvee clean` or `docker system prune` to make room, and build again",
        )

    def test_an_engine_that_dies_is_told(self, engine: FakeEngine, old: str) -> None:
        def die(number: int) -> str:
            if number == 3:
                raise requests.ConnectionError("Connection aborted")
            return ""

        engine.fails = die
        assert self.failing(engine, old, image("base", "new", "newer")) == Fault(
            place="Docker engine",
            cause="it does not answer any more, and the image has not reached it",
            fix="See whether it runs and has room (`docker info`, `docker system df`), and try again",
        )

    def test_a_layer_that_cannot_be_read_is_told_as_what_it_is(self, engine: FakeEngine, old: str) -> None:
        damaged = replace(layer("new"), blob=no_wheel)
        fault = self.failing(engine, old, image("base", "fine", damaged))
        assert fault.cause == "it is damaged"

    def test_an_http_error_is_told_in_the_engines_words(self, engine: FakeEngine) -> None:
        engine.api.post = lambda *_, **__: SimpleNamespace(
            ok=False, text='{"message": "authorization denied by plugin"}', reason="Forbidden"
        )
        with pytest.raises(EngineOrNetworkError) as caught:
            load(image("base"), engine, quiet)
        assert caught.value.faults[0].cause == "authorization denied by plugin"

    def test_newer_engines_say_of_a_failure_that_all_is_well(self, engine: FakeEngine) -> None:
        said = {"stream": "Error unpacking image sha256:1: no space left on device\n"}
        engine.api.post = lambda *_, **__: SimpleNamespace(ok=True, text=json.dumps(said))
        with pytest.raises(EngineOrNetworkError) as caught:
            load(image("base"), engine, quiet)
        assert "no space left on device" in caught.value.faults[0].cause

    def test_newer_engines_list_images_that_are_not_whole(self, engine: FakeEngine) -> None:
        answer = [
            {"Id": "whole", "Manifests": [{"Kind": "image", "Available": True}]},
            {"Id": "part", "Manifests": [{"Kind": "image", "Available": False}]},
        ]
        engine.api.get = lambda *_, **__: SimpleNamespace(
            status_code=200, json=lambda: answer, raise_for_status=lambda: None
        )
        assert ImageStore(engine.client).ids() == {"whole"}

    def test_a_listing_that_trips_over_an_image_that_goes_is_asked_for_again(
        self, engine: FakeEngine
    ) -> None:
        def lost() -> None:
            raise AssertionError("the 404 was taken for the answer")

        answers = [
            SimpleNamespace(status_code=404, raise_for_status=lost),
            SimpleNamespace(status_code=200, json=lambda: [{"Id": "whole"}], raise_for_status=lambda: None),
        ]
        engine.api.get = lambda *_, **__: answers.pop(0)
        assert ImageStore(engine.client).ids() == {"whole"}
        assert answers == []

    def test_that_the_replaced_image_cannot_go_now_is_no_failure(self, engine: FakeEngine, old: str) -> None:
        busy = Fault(place="Docker engine", cause="a prune operation is already running", fix="Wait")
        engine.prunes = EngineOrNetworkError(busy)
        said: list[str] = []
        loaded = load(image("base", "new"), engine, said.append)
        assert said[-1] == "the replaced image stays for now: a prune operation is already running"
        assert set(engine.images) == {old, loaded.id}

    def test_the_replaced_image_goes(self, engine: FakeEngine, old: str) -> None:
        loaded = load(image("base", "new"), engine, quiet)
        assert loaded.id != old
        assert list(engine.images) == [loaded.id]


class TestRelay:
    def test_the_first_half_of_a_step_overlaps_with_the_second_of_the_one_before(self) -> None:
        heard: list[str] = []
        second_began = threading.Event()

        def first(turn: relay.Turn) -> None:
            turn.finish()
            assert second_began.wait(5)
            heard.append("first ended")

        def second(turn: relay.Turn) -> None:
            second_began.set()
            turn.finish()
            heard.append("second finishes")

        relay.run([first, second])
        assert heard == ["first ended", "second finishes"]

    def test_never_more_than_two_steps_are_under_way(self) -> None:
        under_way, most = set[int](), list[int]()

        def work(turn: relay.Turn, number: int) -> None:
            under_way.add(number)
            most.append(len(under_way))
            turn.finish()
            under_way.discard(number)

        relay.run([lambda turn, number=number: work(turn, number) for number in range(6)])  # type: ignore[misc]
        assert max(most) <= 2

    def test_a_failure_stops_the_next_step_between_two_pieces_and_is_raised(self) -> None:
        failed = threading.Event()
        reached: list[str] = []

        def fails(turn: relay.Turn) -> None:
            turn.finish()
            failed.set()
            raise ValueError("no room")

        def stops(turn: relay.Turn) -> None:
            assert failed.wait(5)
            for _ in range(500):
                turn.go_on()
                threading.Event().wait(0.01)
            reached.append("its end")

        with pytest.raises(ValueError, match="no room"):
            relay.run([fails, stops, stops])
        assert not reached

    def test_a_step_that_fails_first_is_the_one_that_is_told(self) -> None:
        def waits(turn: relay.Turn) -> None:
            turn.finish()
            assert failed.wait(5)
            turn.go_on()

        failed = threading.Event()

        def fails(_: relay.Turn) -> None:
            failed.set()
            raise ValueError("it is damaged")

        with pytest.raises(ValueError, match="it is damaged"):
            relay.run([waits, fails])
