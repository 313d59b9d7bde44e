from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.abi.facts import Summary
from builder.errors import BadInputError, Fault
from builder.lock.record import FORMAT, Environment, Lock, Package, read


def package(name: str, version: str = "1.0", **facts: tuple[str, ...]) -> Package:
    return Package(
        name=name,
        version=version,
        file=f"{name}-{version}-py3-none-any.whl",
        sha256=f"{len(name):064x}",
        size=10,
        facts=Summary(**facts),
    )


LOCK = Lock(
    row="cu121",
    fingerprint="f" * 64,
    as_of="2025-01-20",
    base="bookworm",
    python="3.11",
    environments=(
        Environment(
            name="main", packages=(package("ctranslate2", opens=("libcublas.so.12",)), package("torch"))
        ),
    ),
    overlays=(
        Environment(name="cudnn8", packages=(package("nvidia-cudnn-cu12"),)),
        Environment(name="more", packages=(package("nvidia-nccl-cu12"),)),
    ),
    tools=(package("uv"),),
)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "cu121" / "lock.json"
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def told(path: Path) -> Fault:
    with pytest.raises(BadInputError) as caught:
        read(path)
    assert caught.value.exit_code == 2
    [fault] = caught.value.faults
    return fault


# Reading and writing


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read(written(tmp_path, LOCK.text())) == LOCK


def test_the_text_of_a_lock_is_the_same_after_reading_it(tmp_path: Path) -> None:
    assert read(written(tmp_path, LOCK.text())).text() == LOCK.text()


def test_a_lock_names_files_and_no_address() -> None:
    assert "://" not in LOCK.text()
    assert '"file": "torch-1.0-py3-none-any.whl"' in LOCK.text()


def test_a_wheel_that_was_asked_nothing_has_no_facts_in_the_lock() -> None:
    ctranslate2, torch = json.loads(LOCK.text())["environments"]["main"]
    assert ctranslate2["facts"] == {"opens": ["libcublas.so.12"]}
    assert "facts" not in torch


def test_the_packages_of_an_image_are_those_of_environments_and_overlays_but_no_tools() -> None:
    assert [package.name for package in LOCK.packages()] == [
        "ctranslate2",
        "torch",
        "nvidia-cudnn-cu12",
        "nvidia-nccl-cu12",
    ]
    assert LOCK.main.package("torch") == package("torch")
    assert LOCK.main.package("uv") is None


def test_an_archive_that_must_be_built_is_told_from_a_wheel() -> None:
    assert dataclasses.replace(package("docopt"), file="docopt-0.6.2.tar.gz").is_source
    assert not package("docopt").is_source


# The digest


def parts(lock: Lock) -> list[tuple[str, Callable[[tuple[Package, ...]], Lock], tuple[Package, ...]]]:
    """Each list of packages in a lock, and the lock with another in its place."""

    def environment(packages: tuple[Package, ...]) -> Lock:
        return dataclasses.replace(lock, environments=(Environment(name="main", packages=packages),))

    def overlay(packages: tuple[Package, ...]) -> Lock:
        first, second = lock.overlays
        return dataclasses.replace(lock, overlays=(dataclasses.replace(first, packages=packages), second))

    def tools(packages: tuple[Package, ...]) -> Lock:
        return dataclasses.replace(lock, tools=packages)

    return [
        ("environment", environment, lock.main.packages),
        ("overlay", overlay, lock.overlays[0].packages),
        ("tools", tools, lock.tools),
    ]


@pytest.mark.parametrize(("_", "lock_with", "packages"), parts(LOCK))
@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"version": "1.1"},
        {"file": "other-1.0-py3-none-any.whl"},
        {"sha256": "e" * 64},
        {"size": 11},
        {"facts": Summary(opens=("libother.so",))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_changes_with_anything_of_any_package(
    _: str,
    lock_with: Callable[[tuple[Package, ...]], Lock],
    packages: tuple[Package, ...],
    change: dict[str, Any],
) -> None:
    assert lock_with(packages).digest == LOCK.digest
    assert lock_with((dataclasses.replace(packages[0], **change), *packages[1:])).digest != LOCK.digest
    assert lock_with((*packages, package("one-more"))).digest != LOCK.digest
    assert lock_with(packages[1:]).digest != LOCK.digest


@pytest.mark.parametrize("key", ["row", "fingerprint", "as_of", "base", "python"])
def test_the_digest_changes_with_what_the_lock_was_made_for(key: str) -> None:
    change: dict[str, Any] = {key: "other"}
    assert dataclasses.replace(LOCK, **change).digest != LOCK.digest


def test_the_digest_does_not_change_with_the_order_of_keys_nor_with_spaces(tmp_path: Path) -> None:
    def backwards(data: Any) -> Any:
        if isinstance(data, dict):
            return {key: backwards(data[key]) for key in reversed(data)}
        return [backwards(item) for item in data] if isinstance(data, list) else data

    text = json.dumps(backwards(json.loads(LOCK.text())), indent=7)
    assert text != LOCK.text()
    assert read(written(tmp_path, text)).digest == LOCK.digest


def test_the_digest_is_the_same_on_every_machine_and_in_every_python() -> None:
    assert LOCK.digest == "sha256:2b71365b79010474abc8a3756b8450401e56241ca451b158c6f4023d3d072f05"


# Locks that cannot be read


def test_a_missing_lock_is_told_with_its_place_cause_and_fix(tmp_path: Path) -> None:
    path = tmp_path / "cu121" / "lock.json"
    fault = told(path)
    assert (fault.place, fault.cause, fault.fix) == (str(path), "it does not exist", "Run `cuvee lock cu121`")


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(LOCK.text()), **changes})


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "it is not a lock: Expecting value"),
        (LOCK.text()[:300], "it is not a lock: "),
        ("<<<<<<< HEAD\n" + LOCK.text(), "it is not a lock: Expecting value"),
        (b"\xff\xfe", "it is not a lock: 'utf-8' codec can't decode"),
        ("[]", "it is not a lock: 'list' object has no attribute"),
        ("null", "it is not a lock: 'NoneType' object has no attribute"),
        ("{}", f"it is not a lock: its format is None, this cuvee reads {FORMAT}"),
        (changed(format=2), f"it is not a lock: its format is 2, this cuvee reads {FORMAT}"),
        (LOCK.text().replace('"as_of"', '"asof"'), "it is not a lock: the key 'as_of' is missing"),
        (LOCK.text().replace('"size"', '"bytes"', 1), "it is not a lock: "),
        (LOCK.text().replace('"opens"', '"shuts"', 1), "it is not a lock: "),
        (changed(environments={}), "it is not a lock: it has no environment"),
        (changed(environments=[]), "it is not a lock: it has no environment"),
        (changed(tools=None), "it is not a lock: "),
        (changed(overlays={"cudnn8": [7]}), "it is not a lock: "),
    ],
)
def test_a_broken_or_foreign_lock_is_told_with_its_place_cause_and_fix(
    tmp_path: Path, text: str | bytes, cause: str
) -> None:
    path = written(tmp_path, text)
    fault = told(path)
    assert fault.place == str(path)
    assert fault.cause.startswith(cause)
    assert fault.fix == "Run `cuvee lock cu121`"


def test_a_lock_that_is_a_folder_is_told_with_its_place_cause_and_fix(tmp_path: Path) -> None:
    path = tmp_path / "cu121" / "lock.json"
    path.mkdir(parents=True)
    fault = told(path)
    assert (fault.place, fault.fix) == (str(path), "Run `cuvee lock cu121`")
    assert fault.cause == "it cannot be read: Is a directory"


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)


@given(key=st.sampled_from(["environments", "overlays", "tools"]), value=JSON)
@settings(deadline=None, max_examples=60)
def test_whatever_stands_in_a_lock_is_a_lock_or_is_told(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "lock.json"
    path.write_text(changed(**{key: value}), encoding="utf-8")
    try:
        lock = read(path)
    except BadInputError:
        return
    assert isinstance(lock.main, Environment)
    assert all(isinstance(package, Package) for package in (*lock.packages(), *lock.tools))
