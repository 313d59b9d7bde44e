from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from builder.engines.direct import compression
from builder.engines.direct.compression import ZSTD, compressed
from builder.engines.direct.image import LAYER, Compression, Layer, OciImage
from builder.engines.direct.store import Store
from builder.errors import CheckFailedError, Fault
from builder.lock.image import BlobRecord
from tests.wheelmaker import image_of, layer_of, wheel

CONTENT = b"".join(b"%d grapes\n" % number for number in range(300_000))  # some pieces of zstd's, and a rest


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(content: bytes, size: int = 1 << 20) -> Layer:
    """A layer whose archive comes in pieces of that size."""

    def tar() -> Iterator[bytes]:
        return (content[start : start + size] for start in range(0, len(content), size))

    def blob() -> Iterator[bytes]:
        raise AssertionError("the gzip file was read")

    return Layer(title="vat 1.0", digest="sha256:gzip", size=7, diff_id=sha256(content), blob=blob, tar=tar)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


BASE = replace(layer(b"debian"), title="base bookworm")


def based(*others: Layer) -> OciImage:
    return image_of(BASE, *others)


def one(image: OciImage) -> Layer:
    """The layer on the base."""
    _, found = image.layers
    return found


def read(of: Layer) -> bytes:
    data = b"".join(of.blob())
    assert (of.digest, of.size) == (sha256(data), len(data))
    return data


def plain(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()


def test_passthrough_is_the_image_itself(store: Store) -> None:
    image = based(layer(CONTENT))
    assert compressed(image, "passthrough", store) is image
    assert list(store.root.iterdir()) == []


def test_without_compression_a_blob_is_its_archive(store: Store) -> None:
    found = one(compressed(based(layer(CONTENT)), "none", store))
    assert found.digest == found.diff_id == sha256(CONTENT)
    assert found.media_type == "application/vnd.oci.image.layer.v1.tar"
    assert read(found) == CONTENT


def test_zstd_leaves_the_base_as_it_is(store: Store) -> None:
    """A registry has one of it, which `cuvee base --from` takes, too."""
    base, found = compressed(based(layer(CONTENT)), "zstd", store).layers
    assert base is BASE
    assert found.media_type == LAYER["zstd"]


def test_without_compression_the_base_is_none_either(store: Store) -> None:
    base, _ = compressed(based(layer(CONTENT)), "none", store).layers
    assert base.digest == base.diff_id == sha256(b"debian")


def test_zstd_is_smaller_and_its_archive_is_the_same(store: Store) -> None:
    found = one(compressed(based(layer(CONTENT)), "zstd", store))
    assert found.media_type == "application/vnd.oci.image.layer.v1.tar+zstd"
    assert plain(read(found)) == CONTENT
    assert found.size < len(CONTENT) / 4
    assert found.diff_id == sha256(CONTENT)


@pytest.mark.parametrize("size", [1, 1 << 20, (1 << 20) - 1, 3 << 20, len(CONTENT)])
def test_zstd_gives_the_same_bytes_whatever_pieces_the_archive_comes_in(size: int, tmp_path: Path) -> None:
    content = CONTENT[:5000] if size == 1 else CONTENT
    found = []
    for name, pieces in (("a", 1 << 20), ("b", size)):
        (tmp_path / name).mkdir()
        found.append(one(compressed(based(layer(content, pieces)), "zstd", Store(tmp_path / name))))
    assert found[0] == found[1]
    assert read(found[0]) == read(found[1])


def test_zstd_gives_these_bytes_on_every_machine(store: Store) -> None:
    """Another release, level or number of threads gives others, and with them every image other digests."""
    found = one(compressed(based(layer(CONTENT)), "zstd", store))
    assert found.digest == "sha256:5abba9125cbbec218065ead31390425dbfe662e5238bbdb86745c3951d13ef2a", ZSTD


def test_a_configuration_does_not_hang_on_the_compression_and_a_digest_does(store: Store) -> None:
    image = based(layer(CONTENT))
    ways: tuple[Compression, ...] = ("passthrough", "zstd", "none")
    made = [compressed(image, how, store) for how in ways]
    assert len({found.config_digest for found in made}) == 1
    assert len({found.digest for found in made}) == 3
    assert [one(found).media_type for found in made] == [LAYER[how] for how in ways]


def test_layers_stay_in_their_order_though_the_largest_is_begun_first(store: Store) -> None:
    others = [replace(layer(b"%d" % number * 1000), title=f"l{number}", size=number) for number in range(5)]
    found = compressed(based(*others), "zstd", store).layers
    assert [one.title for one in found] == ["base bookworm", "l0", "l1", "l2", "l3", "l4"]
    assert [plain(read(one)) for one in found[1:]] == [b"%d" % number * 1000 for number in range(5)]


def test_when_one_fails_those_under_way_end_and_no_other_is_begun(store: Store) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield CONTENT

    def failing() -> Iterator[bytes]:
        raise CheckFailedError(Fault(place="here", cause="it fails", fix="Mend it"))

    never = unread(layer(b"never"))
    long = replace(layer(b"long"), tar=endless, size=9)
    with pytest.raises(CheckFailedError, match="it fails"):
        compressed(based(never, long, replace(layer(b"bad"), tar=failing, size=8)), "zstd", store)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_push_that_reads_more_at_once_has_no_more_compressed_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, under_way, most = compression._zstd_pieces, [], []

    def pieces(of: Iterable[bytes]) -> Iterator[bytes]:
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.05)
        yield from plain(of)
        under_way.pop()

    others = [layer(b"%d" % number * 1000) for number in range(6)]
    known = {one.diff_id: one for one in compressed(based(*others), "zstd", store).layers[1:]}
    for path in store.path("blobs", "").iterdir():
        path.unlink()
    blobs = {diff_id: BlobRecord(digest=one.digest, size=one.size) for diff_id, one in known.items()}
    monkeypatch.setattr(compression, "_zstd_pieces", pieces)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(read, compressed(based(*others), "zstd", store, blobs).layers[1:]))
    assert len(most) == 6
    assert max(most) <= compression.AT_ONCE


# What a lock knows of zstd's blobs


def test_a_blob_that_is_known_is_made_only_when_it_is_read(store: Store, tmp_path: Path) -> None:
    made = one(compressed(based(layer(CONTENT)), "zstd", store))
    known = {made.diff_id: BlobRecord(digest=made.digest, size=made.size)}
    (tmp_path / "other").mkdir()
    other = Store(tmp_path / "other")
    again = one(compressed(based(layer(CONTENT)), "zstd", other, known))
    assert again == made
    assert list(other.root.iterdir()) == []
    assert read(again) == read(made)


def test_a_blob_that_is_known_as_another_is_not_given(store: Store) -> None:
    known = {sha256(CONTENT): BlobRecord(digest=sha256(b"other"), size=5)}
    found = one(compressed(based(layer(CONTENT)), "zstd", store, known))
    with pytest.raises(CheckFailedError) as caught:
        next(found.blob())
    [fault] = caught.value.faults
    assert fault.place == "layer vat 1.0"
    assert fault.cause.startswith(f"zstd's blob was recorded as {sha256(b'other')} and is sha256:")
    assert fault.fix.startswith("Delete `image.zstd` from every lock that has that digest, and build")


# What the store remembers


def unread(of: Layer) -> Layer:
    def never() -> Iterator[bytes]:
        raise AssertionError("the archive was read again")

    return replace(of, tar=never)


@pytest.mark.parametrize("how", ["zstd", "none"])
def test_a_layer_is_read_once_ever(how: Compression, store: Store) -> None:
    first = one(compressed(based(layer(CONTENT)), how, store))
    again = one(compressed(based(unread(layer(CONTENT))), how, store))
    assert again == first
    if how == "zstd":
        assert read(again) == read(first)


@pytest.mark.parametrize("damage", ["{", "[7]", "7", '{"digest": "x", "size": 7}', '{"digest": 7}', None])
@pytest.mark.parametrize("suffix", ["json", "zst"])
def test_what_the_store_has_lost_is_made_again(suffix: str, damage: str | None, store: Store) -> None:
    first = one(compressed(based(layer(CONTENT)), "zstd", store))
    [path] = store.path("blobs", "").glob(f"*.{suffix}")
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    again = one(compressed(based(layer(CONTENT)), "zstd", store))
    assert again == first
    assert plain(read(again)) == CONTENT


def test_a_stored_blob_that_is_damaged_is_noticed_when_it_is_read(store: Store) -> None:
    found = one(compressed(based(layer(CONTENT)), "zstd", store))
    [blob] = store.path("blobs", "").glob("*.zst")
    data = bytearray(blob.read_bytes())
    data[500] ^= 1
    blob.write_bytes(data)
    with pytest.raises(CheckFailedError, match=r"layer vat 1\.0: its SHA-256 is"):
        found.check()


def test_a_layer_that_is_not_what_its_diff_id_says_is_never_compressed(store: Store) -> None:
    other = replace(layer(b"other"), diff_id=sha256(CONTENT))
    with pytest.raises(CheckFailedError) as caught:
        compressed(based(other), "zstd", store)
    [fault] = caught.value.faults
    assert fault.place == "layer vat 1.0"
    assert (
        fault.cause == f"its content's SHA-256 is {sha256(b'other')[7:]} and should be {sha256(CONTENT)[7:]}"
    )
    assert "cuvee clean --store" in fault.fix
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_failure_in_the_middle_leaves_nothing(store: Store) -> None:
    def failing() -> Iterator[bytes]:
        yield CONTENT[:100]
        raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match="it cannot be written: No space left on device"):
        compressed(based(replace(layer(CONTENT), tar=failing)), "zstd", store)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("how", ["zstd", "none"])
def test_a_wheel_is_compressed_from_what_is_in_it(how: Compression, store: Store, tmp_path: Path) -> None:
    made = layer_of(wheel(tmp_path, {"vat/a.py": b"x = 1\n"}))
    found = one(compressed(based(made), how, store))
    data = read(found)
    assert sha256(plain(data) if how == "zstd" else data) == made.diff_id
