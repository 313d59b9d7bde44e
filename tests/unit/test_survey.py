from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from builder.abi.facts import BaseFacts, Binary, WheelFacts
from builder.abi.library import Library, text
from builder.errors import BadInputError
from builder.lock.record import Package
from builder.survey import confirm, releases
from builder.survey.combination import Wheels, imports_torch, offering, prove, trial
from builder.survey.releases import Release, Releases
from builder.survey.table import survey

ROOT = Path(__file__).parents[2]
BASE = BaseFacts(
    id="small",
    image="small",
    binaries=(Binary(path="/usr/lib/libc.so.6", soname="libc.so.6", provides=("GLIBC_2.36",)),),
)
OPS_9 = ("libcudnn_ops.so.9.1.0", "libcudnn_ops.so.9.1", "libcudnn_ops.so.9", "libcudnn_ops.so")


def library(path: str, **facts: object) -> Binary:
    return Binary(path=path, **{"soname": path.rpartition("/")[2], **facts})  # type: ignore[arg-type]


def wheel(name: str, version: str, *binaries: Binary) -> Wheels:
    file = f"{name}-{version}-cp311-cp311-manylinux_2_17_x86_64.whl"
    package = Package(name=name, version=version, file=file, sha256=file, size=1)
    return ((package, WheelFacts(file=file, sha256=file, binaries=binaries)),)


def engine(
    version: str, *opens: tuple[str, ...], fronts: tuple[Binary, ...] = (), **facts: object
) -> tuple[str, Wheels]:
    """A CTranslate2 as its wheels are: the extension module, the library, perhaps a front of cuDNN."""
    extension = library(
        "ctranslate2/_ext.cpython-311-x86_64-linux-gnu.so",
        needed=("libctranslate2-1234abcd.so.4", *(front.soname for front in fronts)),
        rpath=("$ORIGIN/../ctranslate2.libs",),
    )
    core = library("ctranslate2.libs/libctranslate2-1234abcd.so.4", opens=opens, **facts)
    return version, wheel("ctranslate2", version, extension, core, *fronts)


def torch(version: str, cublas: str, *more: Binary) -> tuple[str, Wheels]:
    """A torch that loads its cuBLAS when it is imported."""
    deps = library("torch/lib/libtorch_global_deps.so")
    python = library(
        "torch/lib/libtorch_python.so", needed=(cublas,), rpath=("$ORIGIN/../../nvidia/cublas/lib",)
    )
    nvidia = wheel("nvidia-cublas", version, library(f"nvidia/cublas/lib/{cublas}"), *more)
    return version, (*wheel("torch", version, deps, python), *nvidia)


CUBLAS_12 = ("cuBLAS 12", wheel("nvidia-cublas-cu12", "12.9", library("nvidia/cublas/lib/libcublas.so.12")))
ASKS_CUBLAS = ("libcublas.so.12",)


def test_what_torch_has_loaded_when_it_was_imported_is_found() -> None:
    result = prove(engine("4.6", ASKS_CUBLAS), torch("2.8", "libcublas.so.12"), [CUBLAS_12], BASE)

    assert (result.status, result.message, result.added) == ("works", "", "")


def test_what_torch_does_not_bring_has_to_be_added() -> None:
    result = prove(engine("4.6", ASKS_CUBLAS), torch("2.11", "libcublas.so.13"), [CUBLAS_12], BASE)

    assert (result.status, result.added, result.folders) == ("added", "cuBLAS 12", ("nvidia/cublas/lib",))
    assert result.signature == "cublas-not-found"
    assert result.message == "Library libcublas.so.12 is not found or cannot be loaded"


def test_what_torch_brings_and_has_not_loaded_is_a_matter_of_the_path() -> None:
    cudnn = library("nvidia/cudnn/lib/libcudnn_ops.so.9")
    front = library("ctranslate2.libs/libcudnn-74a4c495.so.9.1.0", opens=(OPS_9,))

    result = prove(engine("4.5", fronts=(front,)), torch("2.8", "libcublas.so.12", cudnn), [], BASE)

    assert (result.status, result.folders) == ("path", ("nvidia/cudnn/lib",))
    assert result.signature == "cudnn9-not-found"


def test_what_nothing_offers_fails() -> None:
    result = prove(engine("4.6", ("libcublas.so.99",)), torch("2.8", "libcublas.so.12"), [CUBLAS_12], BASE)

    assert (result.status, result.added, result.folders) == ("fails", "", ())


def test_a_ctranslate2_that_cannot_be_imported_fails_whatever_is_added() -> None:
    trixie = BaseFacts(
        id="new",
        image="new",
        binaries=(Binary(path="/usr/lib/libc.so.6", soname="libc.so.6", provides=("GLIBC_2.41",)),),
    )
    pair = engine("4.4", executable_stack=True)

    result = prove(pair, torch("2.8", "libcublas.so.12"), [CUBLAS_12], trixie)

    assert (result.status, result.signature) == ("fails", "executable-stack")
    assert prove(pair, torch("2.8", "libcublas.so.12"), [], BASE).status == "works"


def test_torch_is_imported_before_ctranslate2() -> None:
    wheels = (*torch("2.8", "libcublas.so.12")[1], *engine("4.6")[1])

    files = [path.rpartition("/")[2] for path in trial(wheels, (), BASE, ()).loads]

    assert files[:2] == ["libtorch_global_deps.so", "libtorch_python.so"]
    assert files[2].startswith("_ext.cpython")
    assert len(trial(wheels, (), BASE, (), torch=False).loads) == 1


def test_a_ctranslate2_that_leaves_torch_to_the_program_needs_it_first() -> None:
    result = prove(engine("4.9", ASKS_CUBLAS), torch("2.8", "libcublas.so.12"), [CUBLAS_12], BASE)

    assert (result.status, result.folders) == ("first", ("nvidia/cublas/lib",))
    assert result.signature == "cublas-not-found"
    assert (imports_torch("4.8.1"), imports_torch("4.8.2")) == (True, False)


def test_what_is_added_is_offered_before_what_is_there() -> None:
    wheels = (*torch("2.8", "libcublas.so.12")[1], *engine("4.6", ASKS_CUBLAS)[1])

    [folder] = offering(wheels, CUBLAS_12[1])

    assert str(folder) == "/opt/survey/added/nvidia/cublas/lib"


# The table


def recorded(tmp_path: Path) -> tuple[Releases, Library]:
    engines = (engine("4.5.0", ASKS_CUBLAS), engine("4.6.0", ASKS_CUBLAS), engine("4.7.0"))
    torches = (torch("2.8.0", "libcublas.so.12"), torch("2.11.0", "libcublas.so.13"))
    every = [pair for _, wheels in (*engines, *torches, CUBLAS_12) for pair in wheels]
    for package, facts in every:
        (tmp_path / f"{package.file}.json").write_text(text(facts), encoding="utf-8")

    def release(version: str, wheels: Wheels) -> Release:
        return Release(version=version, wheels=tuple(package for package, _ in wheels))

    found = Releases(
        as_of="2026-11-01",
        python="3.11",
        glibc="2.36",
        ctranslate2=tuple(release(*one) for one in engines),
        torch=tuple(release(*one) for one in torches),
        added=((CUBLAS_12[0], tuple(package for package, _ in CUBLAS_12[1])),),
        without_wheel=("torch 1.0.0",),
    )
    return found, Library(folders=(tmp_path,))


def test_every_pair_is_in_the_table_and_alike_releases_share_a_column(tmp_path: Path) -> None:
    table = survey(*recorded(tmp_path), BASE)

    assert len(table.results) == 6
    assert table.counts() == {"works": 4, "first": 0, "path": 0, "added": 2, "fails": 0}
    page = table.page()
    assert "| torch | 4.5.0 to 4.6.0 | 4.7.0 |" in page
    assert "| 2.8.0 | works | works |" in page
    assert "| 2.11.0 | add cuBLAS 12 | works |" in page
    assert "- `Library libcublas.so.12 is not found or cannot be loaded` (cublas-not-found)" in page
    assert "torch 1.0.0." in page


def test_the_data_say_the_same_as_the_page(tmp_path: Path) -> None:
    table = survey(*recorded(tmp_path), BASE)

    data = json.loads(table.data())

    assert (data["base"], data["python"], data["as_of"]) == ("small", "3.11", "2026-11-01")
    assert data["counts"] == table.counts()
    assert data["results"][0] == {"ctranslate2": "4.5.0", "torch": "2.8.0", "status": "works"}
    assert data["results"][3]["added"] == "cuBLAS 12"


def test_wheels_without_facts_are_told(tmp_path: Path) -> None:
    found, _ = recorded(tmp_path)

    with pytest.raises(BadInputError, match="cuvee survey --update"):
        survey(found, Library(folders=(tmp_path / "empty",)), BASE)


def test_releases_survive_their_file(tmp_path: Path) -> None:
    found, _ = recorded(tmp_path)
    (tmp_path / "releases.json").write_text(found.text(), encoding="utf-8")

    assert releases.read(tmp_path / "releases.json") == found


@pytest.mark.parametrize("words", ["", "[]", '{"format": 1}', '{"format": 7}'])
def test_a_broken_file_of_releases_is_told(words: str, tmp_path: Path) -> None:
    (tmp_path / "releases.json").write_text(words, encoding="utf-8")

    with pytest.raises(BadInputError, match="holds no releases"):
        releases.read(tmp_path / "releases.json")


def test_only_final_releases_with_a_wheel_for_linux_are_surveyed() -> None:
    files = (
        "torch-2.8.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "torch-2.8.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "torch-2.9.0rc1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
        "torch-2.7.0-cp311-cp311-win_amd64.whl",
        "torch-2.6.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "torch-2.5.0.tar.gz",
    )

    assert {str(version) for version in releases._versions(files)} == {"2.8.0"}


# Confirming


def test_the_sample_has_the_newest_release_of_each_family() -> None:
    versions = ("3.5.0", "3.7.0", "3.24.0", "4.0.0", "4.3.1", "4.5.0", "4.6.1", "4.6.2", "4.7.0", "4.8.0")

    assert confirm.family_heads("ctranslate2", versions) == (
        "3.7.0",
        "3.24.0",
        "4.3.1",
        "4.5.0",
        "4.6.2",
        "4.8.0",
    )


def test_a_childs_death_is_read_as_the_library_that_its_front_missed() -> None:
    words = "Could not load library libcudnn_ops_infer.so.8. Error: libcudnn_ops_infer.so.8: cannot open"
    out = '{"name": "libcublas.so.12", "opens": false}\n{"name": "libx.so", "opens": true}\n'

    behaviour = confirm.read(134, out, words)

    assert behaviour == confirm.Behaviour(missing=("libcublas.so.12",), front="libcudnn_ops_infer")


def test_a_child_that_dies_for_want_of_a_driver_missed_nothing() -> None:
    words = (
        "Could not load library libcudnn_cnn_infer.so.8. Error: libcuda.so: cannot open shared object file"
    )

    assert confirm.read(134, "", words) == confirm.Behaviour()


def test_a_death_without_known_words_agrees_with_no_prediction() -> None:
    assert "exit code 139" in confirm.read(139, "", "Segmentation fault").front


def test_prediction_and_observation_are_the_same_kind_of_thing() -> None:
    front = library(
        "ctranslate2.libs/libcudnn-463fd6d5.so.8.9.7",
        opens=(("libcudnn_cnn_infer.so.8",), ("libcudnn_ops_infer.so.8",)),
    )
    wheels = (*torch("2.11", "libcublas.so.13")[1], *engine("4.4", ASKS_CUBLAS, fronts=(front,))[1])

    behaviour = confirm.predicted(trial(wheels, (), BASE, ()))

    assert behaviour == confirm.Behaviour(missing=("libcublas.so.12",), front="libcudnn_ops_infer")


def test_a_disagreement_is_a_fault() -> None:
    one = confirm.Comparison(
        ctranslate2="4.4.0",
        torch="2.8.0",
        added="",
        folders=(),
        predicted=confirm.Behaviour(),
        seen=confirm.Behaviour(front="libcudnn_ops_infer"),
    )

    assert not one.agree
    assert "NOT as predicted" in one.title
    assert "libcudnn_ops_infer" in one.fault().cause
    assert json.loads(confirm.to_json([one]))["counts"] == {"agree": 0, "of": 1}


def test_releases_that_differ_in_hashes_alone_are_one_failure(tmp_path: Path) -> None:
    table = survey(*recorded(tmp_path), BASE)
    stack = "cannot enable executable stack"
    results = tuple(
        replace(
            one, status="fails", signature="s", message=f"libctranslate2-{number:08x}.so.4.{number}: {stack}"
        )
        for number, one in enumerate(table.results)
    )

    page = replace(table, results=results).page()

    assert page.count(stack) == 1
    assert f"`libctranslate2-….so: {stack}` (s): CTranslate2 4.5.0 to 4.7.0, 6 pairs" in page


# What is committed


SURVEYS = sorted((ROOT / "survey").glob("confirmed-*.json"))


@pytest.mark.parametrize("path", SURVEYS, ids=lambda path: path.stem)
def test_the_committed_sample_agrees_and_has_every_column_of_its_table(path: Path) -> None:
    sample = json.loads(path.read_text(encoding="utf-8"))
    results = json.loads(path.with_name(path.name.removeprefix("confirmed-")).read_text(encoding="utf-8"))
    columns: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for version in dict.fromkeys(one["ctranslate2"] for one in results["results"]):
        own = [one for one in results["results"] if one["ctranslate2"] == version]
        columns.setdefault(tuple((one["status"], one.get("added", "")) for one in own), set()).add(version)
    tried = {one["ctranslate2"] for one in sample["trials"]}

    assert sample["counts"]["agree"] == sample["counts"]["of"] > 100
    assert all(one["predicted"] == one["seen"] for one in sample["trials"])
    assert [versions for versions in columns.values() if not versions & tried] == []


def test_there_is_a_committed_sample() -> None:
    assert SURVEYS
