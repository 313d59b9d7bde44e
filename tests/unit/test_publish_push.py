from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from builder.engines.direct.image import Layer, OciImage, configuration
from builder.errors import BadInputError, CuveeError, EngineOrNetworkError, Fault
from builder.publish.memory import MOST_DIGESTS, MOST_REPOSITORIES, Memory
from builder.publish.push import Pushed, push
from builder.publish.reference import Reference
from builder.publish.threads import each
from tests.memory_registry import HOST, MemoryRegistry, answer, pieces, sha256

TORCH, BASE, SMALL = b"torch" * 900, b"base" * 100, b"small"
CU121 = Reference(registry=HOST, repository="cu121", tag="today")
CU124 = Reference(registry=HOST, repository="cu124", tag="today")
PATIENCE_S = 20


def layer(title: str, content: bytes, blob: Callable[[], Iterator[bytes]] | None = None) -> Layer:
    digest, read = sha256(content), blob or (lambda: pieces(content, 100))
    return Layer(title=title, digest=digest, size=len(content), diff_id=digest, blob=read, tar=read)


def image(*layers: Layer) -> OciImage:
    layers = layers or (layer("base", BASE), layer("torch 2", TORCH), layer("small", SMALL))
    config = configuration(
        environment=[],
        labels=[],
        layers=[(one.title, one.diff_id) for one in layers],
        created="2025-01-20T00:00:00Z",
    )
    return OciImage(name="cuvee:cu121", config=config, layers=layers)


def unread(of: OciImage) -> OciImage:
    """The same image, of which no layer can be read."""

    def never() -> Iterator[bytes]:
        raise AssertionError("a layer was read that is there")

    layers = (layer(one.title, b"", never) for one in of.layers)
    told = zip(layers, of.layers, strict=True)
    return OciImage(
        name=of.name,
        config=of.config,
        layers=tuple(
            Layer(
                title=one.title,
                digest=one.digest,
                size=one.size,
                diff_id=one.diff_id,
                blob=blind.blob,
                tar=blind.tar,
            )
            for blind, one in told
        ),
    )


@pytest.fixture
def server() -> MemoryRegistry:
    return MemoryRegistry()


def test_a_push_puts_every_blob_and_then_the_manifest(server: MemoryRegistry) -> None:
    whole = image()
    found = push(whole, CU121, registry=server.client())
    assert found == Pushed(
        reference=CU121,
        digest=whole.digest,
        sent=4,
        sent_bytes=len(TORCH) + len(BASE) + len(SMALL) + len(whole.config),
        mounted=0,
        present=0,
    )
    assert server.manifests["cu121"] == {"today": whole.manifest, whole.digest: whole.manifest}
    assert set(server.blobs["cu121"]) == {sha256(data) for data in (TORCH, BASE, SMALL, whole.config)}
    assert server.asked[-1] == "PUT /v2/cu121/manifests/today"
    assert server.headers[-1]["Content-Type"] == "application/vnd.oci.image.manifest.v1+json"


def test_a_second_push_asks_and_sends_nothing(server: MemoryRegistry) -> None:
    push(image(), CU121, registry=server.client())
    server.asked.clear()
    found = push(unread(image()), CU121, registry=server.client())
    assert (found.sent, found.sent_bytes, found.mounted, found.present) == (0, 0, 0, 4)
    assert len(server.asked) == 5
    assert {line.split()[0] for line in server.asked} == {"HEAD"}


def test_a_row_whose_layers_are_known_is_pushed_without_them(server: MemoryRegistry) -> None:
    server.put("cu121", TORCH, BASE, SMALL)
    found = push(unread(image()), CU121, registry=server.client())
    assert (found.sent, found.present) == (1, 3)  # the configuration is the image's own
    assert server.manifests["cu121"]["today"] == image().manifest


def test_another_tag_of_what_is_there_costs_a_manifest(server: MemoryRegistry) -> None:
    push(image(), CU121, registry=server.client())
    server.asked.clear()
    other = Reference(registry=HOST, repository="cu121", tag="other")
    push(unread(image()), other, registry=server.client())
    assert [line for line in server.asked if not line.startswith("HEAD")] == ["PUT /v2/cu121/manifests/other"]


def test_only_the_layer_that_is_new_travels(server: MemoryRegistry) -> None:
    push(image(), CU121, registry=server.client())
    changed = image(layer("base", BASE), layer("torch 2", TORCH), layer("small", b"other"))
    found = push(changed, CU121, registry=server.client())
    assert (found.sent, found.sent_bytes) == (2, 5 + len(changed.config))


def test_equal_layers_are_sent_once(server: MemoryRegistry) -> None:
    twice = image(layer("a", TORCH), layer("b", BASE), layer("c", TORCH))
    assert push(twice, CU121, registry=server.client()).sent == 3
    assert len(server.sent("POST")) == 3
    assert len(json.loads(server.manifests["cu121"]["today"])["layers"]) == 3


def test_each_blob_is_told_with_its_size_and_how_it_came(server: MemoryRegistry) -> None:
    server.put("cu121", BASE)
    server.put("other", TORCH)
    lines: list[str] = []
    push(image(), CU121, registry=server.client(), say=lines.append, mount_from=["other"])
    assert lines[0] == "cuvee:cu121: base, 0.0 MB, present"
    assert sorted(lines[1:3]) == ["cuvee:cu121: small, 0.0 MB, sent", "cuvee:cu121: torch 2, 0.0 MB, mounted"]
    assert lines[3] == "cuvee:cu121: configuration, 0.0 MB, sent"


# From other repositories


def test_layers_are_mounted_from_a_repository_that_says_it_has_them(server: MemoryRegistry) -> None:
    server.put("other", TORCH, BASE)
    found = push(image(), CU121, registry=server.client(), mount_from=["none", "other", "cu121"])
    assert (found.mounted, found.sent) == (2, 2)


def test_a_repository_that_must_not_be_asked_is_passed_over(server: MemoryRegistry) -> None:
    server.put("other", TORCH)
    server.troubles = [("HEAD /v2/secret/", answer(403))] * 3
    found = push(image(), CU121, registry=server.client(), mount_from=["secret", "other"])
    assert (found.mounted, found.sent) == (1, 3)


def test_a_push_remembers_what_went_where_and_the_next_one_mounts(
    server: MemoryRegistry, tmp_path: Path
) -> None:
    push(image(), CU121, registry=server.client(), memory=tmp_path)
    server.asked.clear()
    found = push(unread(image()), CU124, registry=server.client(), memory=tmp_path)
    assert (found.mounted, found.sent) == (3, 1)
    assert not [line for line in server.asked if line.startswith("HEAD /v2/cu121")]
    assert (tmp_path / "pushed" / f"{HOST}.json").is_file()


def test_what_is_remembered_wrongly_is_sent(server: MemoryRegistry, tmp_path: Path) -> None:
    push(image(), CU121, registry=server.client(), memory=tmp_path)
    server.blobs.clear()  # the registry has forgotten all of it
    found = push(image(), CU124, registry=server.client(), memory=tmp_path)
    assert (found.mounted, found.sent) == (0, 4)
    assert server.manifests["cu124"]["today"] == image().manifest


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "{}", '{"repositories": [1]}', '{"repositories": {"a": 1}}']
)
def test_a_damaged_memory_is_an_empty_one(server: MemoryRegistry, tmp_path: Path, damage: str) -> None:
    (tmp_path / "pushed").mkdir()
    (tmp_path / "pushed" / f"{HOST}.json").write_text(damage)
    push(image(), CU121, registry=server.client(), memory=tmp_path)
    assert set(Memory(folder=tmp_path).recall(HOST)) == {"cu121"}


def test_a_memory_that_cannot_be_written_fails_no_push(server: MemoryRegistry, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert push(image(), CU121, registry=server.client(), memory=tmp_path / "file").sent == 4


def test_registries_are_remembered_apart(tmp_path: Path) -> None:
    memory = Memory(folder=tmp_path)
    memory.remember("a:5000", "cu121", ["1"])
    memory.remember("b", "cu121", ["2"])
    assert memory.recall("a:5000") == {"cu121": ("1",)}
    assert memory.recall("b") == {"cu121": ("2",)}
    assert memory.recall("c") == {}


def test_a_memory_forgets_the_oldest_first(tmp_path: Path) -> None:
    memory = Memory(folder=tmp_path)
    memory.remember("a", "x", map(str, range(MOST_DIGESTS)))
    memory.remember("a", "x", ["0", "new"])
    latest = memory.recall("a")["x"]
    assert len(latest) == MOST_DIGESTS
    assert latest[-2:] == ("0", "new")
    assert "1" not in latest
    for number in range(MOST_REPOSITORIES):
        memory.remember("a", f"y{number}", [])
    assert next(iter(memory.recall("a"))) == f"y{MOST_REPOSITORIES - 1}"
    assert "x" not in memory.recall("a")


def test_many_at_once_lose_nothing_of_the_memory(tmp_path: Path) -> None:
    def note(number: int) -> None:
        Memory(folder=tmp_path).remember("a", f"row{number % 3}", [str(number)])

    each(note, range(24), jobs=8, stop=lambda: None)
    known = Memory(folder=tmp_path).recall("a")
    assert sorted(int(one) for digests in known.values() for one in digests) == list(range(24))
    assert sorted(path.name for path in (tmp_path / "pushed").iterdir()) == ["a.json", "a.lock"]


# Nothing partial


@pytest.mark.parametrize("at", ["HEAD /v2/cu121/manifests", "HEAD /v2/cu121/blobs", "POST", "PUT /v2/up"])
@pytest.mark.parametrize(
    "trouble", [answer(500), answer(403), requests.ReadTimeout(), requests.ConnectionError()]
)
def test_a_push_that_fails_publishes_nothing(server: MemoryRegistry, at: str, trouble: Any) -> None:
    server.troubles = [(at, trouble)] * 50
    with pytest.raises(EngineOrNetworkError) as caught:
        push(image(), CU121, registry=server.client())
    assert len(caught.value.faults) == 1
    assert server.manifests.get("cu121", {}) == {}
    assert not [path for path in server.sent("PUT") if "manifests" in path]
    assert_no_threads_are_left()


def test_a_manifest_that_is_refused_is_told_with_the_image(server: MemoryRegistry) -> None:
    server.troubles = [("PUT /v2/cu121", answer(400, b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}'))]
    with pytest.raises(EngineOrNetworkError, match=r"cu121:today: .*MANIFEST_BLOB_UNKNOWN"):
        push(image(), CU121, registry=server.client())


def test_a_layer_that_must_be_made_first_keeps_no_request_waiting(server: MemoryRegistry) -> None:
    """A registry's front end gives up a request whose body does not come, some after a minute."""
    begun: list[list[str]] = []

    def made() -> Iterator[bytes]:
        begun.append(server.sent("POST"))
        yield from pieces(TORCH, 100)

    push(image(layer("torch 2", TORCH, made)), CU121, registry=server.client())
    assert begun == [[]]  # once, and before an upload was asked for
    assert server.blobs["cu121"][sha256(TORCH)] == TORCH


def test_a_layer_that_cannot_be_had_is_the_one_error(server: MemoryRegistry) -> None:
    def gone() -> Iterator[bytes]:
        raise EngineOrNetworkError(Fault(place="torch.whl", cause="is gone", fix="Find it"))

    with pytest.raises(CuveeError) as caught:
        push(image(layer("base", BASE), layer("torch 2", TORCH, gone)), CU121, registry=server.client())
    assert str(caught.value) == "torch.whl: is gone. Find it."
    assert server.manifests.get("cu121", {}) == {}


def test_a_registry_that_changes_what_it_stores_is_told(server: MemoryRegistry) -> None:
    server.troubles = [("PUT /v2/cu121", answer(201, headers={"Docker-Content-Digest": sha256(b"")}))]
    with pytest.raises(
        EngineOrNetworkError, match=f"cu121:today: the registry gives the image the digest {sha256(b'')}"
    ):
        push(image(), CU121, registry=server.client())


def test_a_registry_that_says_no_digests_is_asked_for_what_it_stores(server: MemoryRegistry) -> None:
    server.digests = False
    push(image(), CU121, registry=server.client())
    assert server.asked[-1] == "GET /v2/cu121/manifests/today"
    assert push(unread(image()), CU121, registry=server.client()).present == 4


def test_an_image_goes_under_no_other_images_digest(server: MemoryRegistry) -> None:
    other = Reference(registry=HOST, repository="cu121", tag="t", digest=sha256(b""))
    with pytest.raises(BadInputError, match=f"the image has another digest, {image().digest}"):
        push(image(), other, registry=server.client())
    assert server.asked == []
    own = Reference(registry=HOST, repository="cu121", digest=image().digest)
    assert push(image(), own, registry=server.client()).digest == image().digest
    assert set(server.manifests["cu121"]) == {image().digest}


# Threads


def assert_no_threads_are_left() -> None:
    deadline = time.monotonic() + PATIENCE_S
    while [thread for thread in threading.enumerate() if thread.name == "cuvee"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_work_is_done_by_as_many_threads_as_allowed_and_told_in_one() -> None:
    gate = threading.Barrier(3, timeout=PATIENCE_S)
    workers, told = set(), []

    def work(number: int) -> int:
        gate.wait()
        workers.add(threading.get_ident())
        return number * 2

    def tell(number: int, double: int) -> None:
        told.append((number, double, threading.get_ident()))

    each(work, range(6), jobs=3, stop=lambda: None, told=tell)
    assert len(workers) == 3
    assert sorted(told) == [(number, number * 2, threading.get_ident()) for number in range(6)]
    assert_no_threads_are_left()


def test_no_work_needs_no_threads() -> None:
    each(lambda _: pytest.fail("work"), (), jobs=4, stop=lambda: pytest.fail("stopped"))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_fails_first_is_told_and_ends_the_others(error: type[BaseException]) -> None:
    stopped, begun = threading.Event(), []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise error
        assert stopped.wait(PATIENCE_S)
        raise RuntimeError("stopped")

    with pytest.raises(error):
        each(work, range(100), jobs=4, stop=stopped.set)
    assert_no_threads_are_left()
    assert len(begun) <= 8


def test_ctrl_c_while_something_is_told_ends_all_threads(server: MemoryRegistry) -> None:
    def press(line: str) -> None:
        if "sent" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push(image(), CU121, registry=server.client(), say=press)
    assert_no_threads_are_left()
    assert server.manifests.get("cu121", {}) == {}
