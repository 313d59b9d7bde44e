from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.engines.direct import layout
from builder.engines.direct.image import INDEX, MANIFEST, OciImage
from builder.engines.direct.image import Layer as Layer_
from builder.errors import BadInputError, CheckFailedError, EngineOrNetworkError, Fault
from tests.wheelmaker import image_of, layer_of, wheel


def layer(
    content: bytes, title: str = "a layer", read: Callable[[], Iterator[bytes]] | None = None
) -> Layer_:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blob = read or (lambda: iter([content[:3], content[3:]]))
    return Layer_(title=title, digest=digest, size=len(content), diff_id=digest, blob=blob, tar=blob)


BASE, TORCH = layer(b"base" * 9, "base"), layer(b"torch" * 50, "torch 2.4.1")


def unread() -> Iterator[bytes]:
    raise AssertionError("a layer was read that is there")


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def told(folder: Path, name: str = "index.json") -> Any:
    return json.loads((folder / name).read_bytes())


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "layout"


def test_an_image_becomes_its_blobs_an_index_and_what_docker_load_reads(folder: Path) -> None:
    image = image_of(BASE, TORCH)
    assert layout.write(image, folder) == (
        4,
        BASE.size + TORCH.size + len(image.config) + len(image.manifest),
    )
    digests = (BASE.digest, TORCH.digest, image.config_digest, image.digest)
    assert names(folder) == sorted(
        [*(f"blobs/sha256/{one[7:]}" for one in digests), "index.json", "manifest.json", "oci-layout"]
    )
    for one in digests:
        assert hashlib.sha256(layout.blob_path(folder, one).read_bytes()).hexdigest() == one[7:]
    assert told(folder, "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    assert told(folder, "manifest.json") == [
        {
            "Config": f"blobs/sha256/{image.config_digest[7:]}",
            "Layers": [f"blobs/sha256/{BASE.digest[7:]}", f"blobs/sha256/{TORCH.digest[7:]}"],
            "RepoTags": ["cuvee:vat"],
        }
    ]
    index = told(folder)
    assert (index["schemaVersion"], index["mediaType"]) == (2, INDEX)
    [entry] = index["manifests"]
    assert (entry["digest"], entry["size"], entry["mediaType"]) == (
        image.digest,
        len(image.manifest),
        MANIFEST,
    )
    assert entry["platform"] == {"architecture": "amd64", "os": "linux"}
    assert entry["annotations"] == {
        "org.opencontainers.image.ref.name": "vat",
        "io.containerd.image.name": "docker.io/library/cuvee:vat",
    }


def test_what_is_there_is_neither_written_nor_read_again(folder: Path) -> None:
    layout.write(image_of(BASE, TORCH), folder)
    again = image_of(replace(BASE, blob=unread), replace(TORCH, blob=unread))
    assert layout.write(again, folder) == (0, 0)


def test_images_share_blobs_and_each_is_in_the_index_once(folder: Path) -> None:
    layout.write(image_of(BASE, TORCH, name="cuvee:one"), folder)
    count, _ = layout.write(image_of(replace(BASE, blob=unread), name="cuvee:two"), folder)
    assert count == 2  # its configuration and its manifest
    newer = image_of(BASE, layer(b"newer"), name="cuvee:one")
    layout.write(newer, folder)
    assert {name: manifest["config"]["digest"] for name, manifest in layout.manifests(folder)} == {
        "one": newer.config_digest,
        "two": image_of(BASE, name="cuvee:two").config_digest,
    }
    assert [one["RepoTags"] for one in told(folder, "manifest.json")] == [["cuvee:one"], ["cuvee:two"]]


def test_the_same_images_make_the_same_layout_in_whatever_order_they_come(tmp_path: Path) -> None:
    images = [image_of(BASE, layer(name.encode()), name=f"cuvee:{name}") for name in ("one", "two", "three")]
    for number, order in enumerate(((0, 1, 2), (2, 1, 0), (1, 0, 2, 1))):
        for place in order:
            layout.write(images[place], tmp_path / str(number))
    assert content(tmp_path / "0") == content(tmp_path / "1") == content(tmp_path / "2")


def test_a_layer_is_read_from_its_wheel(folder: Path, tmp_path: Path) -> None:
    made = layer_of(wheel(tmp_path, {"vat/a.py": b"x"}))
    layout.write(image_of(made), folder)
    assert layout.blob_path(folder, made.digest).stat().st_size == made.size


# What goes wrong


def refused(image: OciImage, folder: Path, kind: type[Exception], cause: str) -> None:
    with pytest.raises(kind, match=cause):
        layout.write(image, folder)
    assert not [name for name in names(folder) if ".part-" in name]


@pytest.mark.parametrize("wrong", [b"torch" * 49 + b"torcx", b"", b"torch" * 51])
def test_a_layer_that_is_another_is_not_written_and_the_image_is_not_there(
    wrong: bytes, folder: Path
) -> None:
    bad = replace(TORCH, blob=lambda: iter([wrong]))
    refused(
        image_of(BASE, bad), folder, CheckFailedError, f"its SHA-256 is {hashlib.sha256(wrong).hexdigest()}"
    )
    assert not layout.blob_path(folder, TORCH.digest).exists()
    assert not (folder / "index.json").exists()
    assert not (folder / "manifest.json").exists()

    layout.write(image_of(BASE, TORCH), folder)
    assert [name for name, _ in layout.manifests(folder)] == ["vat"]


def test_a_failure_leaves_the_images_that_were_there(folder: Path) -> None:
    layout.write(image_of(BASE), folder)
    before = content(folder)
    bad = replace(TORCH, blob=lambda: iter([b"wrong"]))
    refused(image_of(BASE, bad), folder, CheckFailedError, "its SHA-256 is")
    assert content(folder) == before


def test_a_layer_whose_size_is_another_is_refused(folder: Path) -> None:
    bad = replace(TORCH, size=TORCH.size + 1)
    refused(image_of(BASE, bad), folder, CheckFailedError, "it has 250 bytes and should have 251")
    assert not layout.blob_path(folder, TORCH.digest).exists()


def test_an_error_of_a_layer_stays_what_it_is(folder: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"tor"
        raise BadInputError(Fault(place="torch", cause="it is damaged", fix="Fetch it"))

    refused(image_of(BASE, replace(TORCH, blob=failing)), folder, BadInputError, "^torch: it is damaged")
    assert not (folder / "index.json").exists()


def test_a_blob_cut_short_is_written_anew(folder: Path) -> None:
    image = image_of(BASE, TORCH)
    layout.write(image, folder)
    layout.blob_path(folder, TORCH.digest).write_bytes(b"torch")
    assert layout.write(image, folder) == (1, TORCH.size)


@pytest.mark.parametrize("make", ["file", "full"])
def test_a_folder_of_somebody_else_is_left_alone(make: str, folder: Path) -> None:
    if make == "file":
        folder.parent.mkdir(parents=True)
        folder.write_text("mine")
    else:
        (folder / "photos").mkdir(parents=True)
    with pytest.raises(BadInputError) as caught:
        layout.write(image_of(BASE), folder)
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == (str(folder), "it has files, and is no OCI image layout")
    assert fault.fix == "Name an empty folder, or one that does not exist yet"
    assert folder.is_file() or [path.name for path in folder.iterdir()] == ["photos"]


def test_a_folder_that_becomes_a_layout_while_it_is_looked_at_is_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(parents=True)
    plain = Path.iterdir

    def late(self: Path) -> Iterator[Path]:
        monkeypatch.setattr(Path, "iterdir", plain)
        layout.write(image_of(BASE, name="cuvee:other"), folder)
        return plain(self)

    monkeypatch.setattr(Path, "iterdir", late)
    layout.write(image_of(BASE, name="cuvee:mine"), folder)
    assert sorted(name for name, _ in layout.manifests(folder)) == ["mine", "other"]


def test_an_empty_folder_becomes_a_layout(folder: Path) -> None:
    folder.mkdir(parents=True)
    layout.write(image_of(BASE), folder)
    assert (folder / "index.json").is_file()


@pytest.mark.parametrize(
    "left", [[], ["oci-layout"], ["oci-layout", "blobs/sha256/.part-1"], ["oci-layout", ".part-2"]]
)
def test_what_a_killed_one_has_left_does_not_matter(left: list[str], folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    layout.write(image_of(BASE), folder)
    assert [name for name, _ in layout.manifests(folder)] == ["vat"]
    assert told(folder, "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    assert not [name for name in names(folder) if ".part-" in name]


def test_images_that_another_program_wrote_without_a_name_stay(folder: Path) -> None:
    layout.write(image_of(BASE), folder)
    theirs = [
        {"digest": "sha256:" + "1" * 64, "mediaType": MANIFEST, "size": 7},
        {"digest": "sha256:" + "2" * 64, "mediaType": MANIFEST, "size": 7, "annotations": None},
    ]
    index = told(folder)
    (folder / "index.json").write_text(json.dumps({**index, "manifests": [*theirs, *index["manifests"]]}))
    (folder / "manifest.json").unlink()
    layout.write(image_of(BASE, TORCH), folder)
    found = told(folder)["manifests"]
    assert len(found) == 3
    assert all(one in found for one in theirs)


def test_an_image_of_the_same_name_that_another_program_wrote_is_replaced(folder: Path) -> None:
    layout.write(image_of(BASE), folder)
    index = told(folder)
    index["manifests"][0]["annotations"] = {layout.REFERENCE: "vat"}
    (folder / "index.json").write_text(json.dumps(index))
    layout.write(image_of(BASE, TORCH), folder)
    assert len(told(folder)["manifests"]) == 1


@pytest.mark.parametrize("name", ["index.json", "manifest.json"])
@pytest.mark.parametrize("text", ["", "{", "[7]", "7", '{"manifests": 7}', '[{"RepoTag": 1}]', "\xff"])
def test_a_damaged_list_of_images_is_told_before_anything_is_written(
    name: str, text: str, folder: Path
) -> None:
    layout.write(image_of(BASE), folder)
    (folder / name).write_text(text, encoding="latin-1")
    before = content(folder)
    with pytest.raises(BadInputError) as caught:
        layout.write(image_of(BASE, replace(TORCH, blob=unread)), folder)
    [fault] = caught.value.faults
    assert fault.place == str(folder)
    assert fault.cause.startswith("its list of images is damaged: ")
    assert fault.fix == "Name another folder, or delete this one"
    assert content(folder) == before


def test_a_folder_below_a_file_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        EngineOrNetworkError, match=r"it cannot be written: Not a directory.*name another folder"
    ):
        layout.write(image_of(BASE), tmp_path / "file" / "layout")


@pytest.mark.parametrize("damage", ["no index", "no manifest", "nonsense", "list"])
def test_a_layout_that_cannot_be_read_is_named(damage: str, folder: Path) -> None:
    image = image_of(BASE)
    layout.write(image, folder)
    if damage == "no index":
        (folder / "index.json").unlink()
    elif damage == "no manifest":
        layout.blob_path(folder, image.digest).unlink()
    else:
        (folder / "index.json").write_text("x" if damage == "nonsense" else "[]")
    with pytest.raises(BadInputError, match="it is no OCI image layout") as caught:
        list(layout.manifests(folder))
    assert caught.value.faults[0].place == str(folder)
