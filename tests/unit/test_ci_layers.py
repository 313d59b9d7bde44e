from __future__ import annotations

import pytest

from builder.errors import NothingSelectedError
from builder.publish.layers import Sent, push_layers
from builder.publish.push import push
from builder.publish.reference import Reference
from tests.memory_registry import HOST, MemoryRegistry, sha256
from tests.unit.test_publish_push import BASE, SMALL, TORCH, image, unread

TO = Reference(registry=HOST, repository="cuvee", tag="latest")


def test_only_the_layers_that_are_named_travel_and_no_manifest() -> None:
    server = MemoryRegistry()
    found = push_layers(image(), TO, [sha256(TORCH), sha256(BASE)], registry=server.client())
    assert found == Sent(sent=2, sent_bytes=len(TORCH) + len(BASE))
    assert server.blobs["cuvee"] == {sha256(TORCH): TORCH, sha256(BASE): BASE}
    assert not any("manifests" in asked for asked in server.asked)


def test_what_the_registry_has_is_not_even_read() -> None:
    server = MemoryRegistry()
    server.put("cuvee", TORCH)
    found = push_layers(unread(image()), TO, [sha256(TORCH)], registry=server.client())
    assert found == Sent(present=1)


def test_a_digest_that_is_named_twice_is_sent_once() -> None:
    server = MemoryRegistry()
    assert push_layers(image(), TO, [sha256(SMALL)] * 2, registry=server.client()).sent == 1


def test_a_push_after_it_sends_the_rest() -> None:
    server = MemoryRegistry()
    push_layers(image(), TO, [sha256(TORCH)], registry=server.client())
    done = push(image(), TO, registry=server.client())
    assert (done.present, done.sent) == (1, 3)


def test_a_layer_that_the_image_does_not_have_is_refused_before_anything_is_sent() -> None:
    server = MemoryRegistry()
    with pytest.raises(NothingSelectedError) as caught:
        push_layers(image(), TO, [sha256(TORCH), sha256(b"other")], registry=server.client())
    [fault] = caught.value.faults
    assert fault.place == sha256(b"other")
    assert fault.cause == "cuvee:cu121 has no such layer"
    assert "cuvee ci" in fault.fix
    assert server.asked == []
