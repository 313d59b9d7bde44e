from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from pathlib import PurePosixPath as Posix

import pytest

from builder import matrix
from builder.abi.facts import Summary
from builder.errors import BadInputError
from builder.lock import record
from builder.lock.record import Environment, Lock, Package
from builder.matrix import Row
from builder.places import site_packages
from builder.plan import Plan, minimum_driver, plan
from builder.project import Project

ROOT = Path(__file__).parents[2]
GOLDEN = Project(ROOT / "tests" / "golden")
SITE = Posix("/opt/cuvee/main/lib/python3.11/site-packages")
CUDNN_8 = "libcudnn_ops_infer.so.8"


def row(name: str, **values: object) -> Row:
    """A row of the golden matrix, with other values."""
    [found] = matrix.load(GOLDEN.matrix).select([name])
    return found.model_copy(update=values)


def lock(name: str) -> Lock:
    return record.read(GOLDEN.image(name) / record.FILE)


def planned(name: str) -> Plan:
    return plan(row(name), lock(name))


def package(name: str, version: str = "1.0", **facts: tuple[str, ...]) -> Package:
    file = f"{name}-{version}-py3-none-any.whl"
    return Package(name=name, version=version, file=file, sha256="0" * 64, size=7, facts=Summary(**facts))


def lock_of(*packages: Package, overlays: tuple[Environment, ...] = ()) -> Lock:
    main = Environment(name="main", packages=packages)
    return dataclasses.replace(lock("small"), environments=(main,), overlays=overlays)


# Layers


def test_layers_come_in_the_order_of_how_seldom_they_change() -> None:
    assert [(layer.name, layer.kind) for layer in planned("blend").layers] == [
        ("cuda", "chain"),
        ("cudnn", "chain"),
        ("torch", "chain"),
        ("overlay-cudnn8", "beside"),
        ("libraries", "beside"),
        ("speech", "beside"),
    ]


def test_a_layer_without_packages_is_none() -> None:
    assert [layer.name for layer in planned("small").layers] == ["cuda", "libraries", "speech"]
    assert plan(row("small"), lock_of()).layers == ()


def test_each_layer_has_the_packages_it_is_named_for() -> None:
    names = {layer.name: {part.name for part in layer.packages} for layer in planned("blend").layers}
    assert names["cuda"] == {"nvidia-cublas-cu12", "nvidia-cuda-runtime-cu12", "nvidia-nccl-cu12"}
    assert names["cudnn"] == names["overlay-cudnn8"] == {"nvidia-cudnn-cu12"}
    assert names["torch"] == {"torch", "triton"}
    assert names["libraries"] == {"numpy"}
    assert names["speech"] == {"ctranslate2", "docopt", "imageio-ffmpeg", "pip"}


def test_what_the_row_names_however_it_spells_it_is_apart_from_what_that_brings() -> None:
    named = row("small", requirements=("PyAnnote.Audio==3.3.2",))
    packages = lock_of(package("numpy"), package("pyannote-audio"), package("pyannote-core"))
    layers = {layer.name: [part.name for part in layer.packages] for layer in plan(named, packages).layers}
    assert layers == {"libraries": ["numpy", "pyannote-core"], "speech": ["pyannote-audio"]}


@pytest.mark.parametrize("name", ["torch", "triton", "torchaudio", "torchvision", "torchcodec"])
def test_what_comes_with_torch_is_in_its_layer(name: str) -> None:
    [layer] = plan(row("small"), lock_of(package(name))).layers
    assert (layer.name, [part.name for part in layer.packages]) == ("torch", [name])


@pytest.mark.parametrize("name", ["blend", "small", "split"])
def test_every_package_of_the_lock_is_in_exactly_one_layer(name: str) -> None:
    layers = planned(name).layers
    assert Counter(part for layer in layers for part in layer.packages) == Counter(lock(name).packages())
    placed = Counter((layer.prefix, part) for layer in layers for part in layer.packages)
    assert set(placed.values()) == {1}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "images").glob("*/lock.json")), ids=lambda path: path.parent.name
)
def test_every_package_of_a_real_lock_is_in_exactly_one_layer(path: Path) -> None:
    locked = record.read(path)
    [real] = matrix.load(ROOT / "matrix.yaml").select([locked.row])
    placed = Counter(
        (layer.prefix, part.file) for layer in plan(real, locked).layers for part in layer.packages
    )
    assert sum(placed.values()) == sum(1 for _ in locked.packages())
    assert set(placed.values()) == {1}


def test_an_overlay_goes_to_a_folder_of_its_own_and_all_else_into_the_environment() -> None:
    prefixes = {layer.name: str(layer.prefix) for layer in planned("blend").layers}
    assert prefixes.pop("overlay-cudnn8") == "/opt/cuvee/overlays/cudnn8"
    assert set(prefixes.values()) == {"/opt/cuvee/main"}
    assert [layer.name for layer in planned("blend").layers if layer.is_overlay] == ["overlay-cudnn8"]


def test_each_layer_has_a_requirements_file_of_its_own() -> None:
    files = [layer.requirements_file for layer in planned("blend").layers]
    assert files[0] == "requirements-cuda.txt"
    assert len(set(files)) == len(files)


def test_a_plans_download_is_the_size_of_all_its_files() -> None:
    whole = planned("blend")
    assert whole.download == sum(part.size for part in lock("blend").packages())
    assert whole.download == sum(layer.size for layer in whole.layers)


def test_what_installs_is_in_no_layer() -> None:
    whole = planned("small")
    assert {"uv", "setuptools"} <= {tool.name for tool in whole.tools}
    assert not {"uv", "setuptools"} & {part.name for layer in whole.layers for part in layer.packages}


# What the loader must offer


def test_the_loader_offers_the_folders_of_what_ctranslate2_opens_by_name_and_no_other() -> None:
    assert planned("blend").loader == (
        SITE / "nvidia/cublas/lib",
        SITE / "nvidia/nccl/lib",
        Posix("/opt/cuvee/overlays/cudnn8/nvidia/cudnn/lib"),
    )


def test_torchs_cudnn_9_is_not_offered_because_torch_finds_it_by_its_rpath() -> None:
    assert lock("blend").main.package("nvidia-cudnn-cu12")
    assert SITE / "nvidia/cudnn/lib" not in planned("blend").loader


def test_a_ctranslate2_that_opens_no_cudnn_gets_no_cudnn_folder_though_one_is_there() -> None:
    blend = lock("blend")
    [newer] = [part for part in lock("small").main.packages if part.name == "ctranslate2"]
    packages = tuple(newer if part.name == "ctranslate2" else part for part in blend.main.packages)
    without = dataclasses.replace(blend, environments=(Environment(name="main", packages=packages),))
    assert plan(row("blend"), without).loader == (SITE / "nvidia/cublas/lib", SITE / "nvidia/nccl/lib")


def test_without_its_overlay_a_row_offers_no_cudnn_and_so_fails_as_people_met_it() -> None:
    bare = dataclasses.replace(lock("blend"), overlays=())
    assert plan(row("blend"), bare).loader == (SITE / "nvidia/cublas/lib", SITE / "nvidia/nccl/lib")


OPENS_CUDNN_8 = package("ctranslate2", opens=(CUDNN_8,))
HAS_CUDNN_8 = package("nvidia-cudnn-cu12", libraries=(f"nvidia/cudnn/lib/{CUDNN_8}",))


def test_a_folder_of_the_environment_is_offered_where_there_is_no_overlay() -> None:
    assert plan(row("small"), lock_of(OPENS_CUDNN_8, HAS_CUDNN_8)).loader == (SITE / "nvidia/cudnn/lib",)


def test_an_overlay_wins_over_the_environment() -> None:
    overlay = Environment(name="cudnn8", packages=(HAS_CUDNN_8,))
    both = lock_of(OPENS_CUDNN_8, HAS_CUDNN_8, overlays=(overlay,))
    assert plan(row("small"), both).loader == (Posix("/opt/cuvee/overlays/cudnn8/nvidia/cudnn/lib"),)


def test_what_an_overlay_lacks_is_offered_by_the_environment() -> None:
    overlay = Environment(name="cudnn8", packages=(HAS_CUDNN_8,))
    cublas = package("nvidia-cublas-cu12", libraries=("nvidia/cublas/lib/libcublas.so.12",))
    opens = package("ctranslate2", opens=(CUDNN_8, "libcublas.so.12"))
    assert plan(row("small"), lock_of(opens, cublas, overlays=(overlay,))).loader == (
        SITE / "nvidia/cublas/lib",
        Posix("/opt/cuvee/overlays/cudnn8/nvidia/cudnn/lib"),
    )


def test_names_that_no_wheel_offers_such_as_the_drivers_give_no_folder() -> None:
    assert plan(row("small"), lock_of(package("ctranslate2", opens=("libcuda.so.1",)))).loader == ()


def test_the_folders_are_those_of_the_rows_python() -> None:
    assert site_packages(Posix("/opt/cuvee/main"), "3.13") == Posix(
        "/opt/cuvee/main/lib/python3.13/site-packages"
    )


# Several environments


ASR, DIARIZE = (Posix(f"/opt/cuvee/{name}/lib/python3.11/site-packages") for name in ("asr", "diarize"))
OPENS_A = package("first", opens=("liba.so",))
HAS_A = package("has-a", libraries=("a/lib/liba.so",))


def lock_of_two(*asr: Package, diarize: tuple[Package, ...] = (), overlay: tuple[Package, ...] = ()) -> Lock:
    environments = (Environment(name="asr", packages=asr), Environment(name="diarize", packages=diarize))
    overlays = (Environment(name="beside", packages=overlay),) if overlay else ()
    return dataclasses.replace(lock("split"), environments=environments, overlays=overlays)


def offered(locked: Lock) -> tuple[tuple[Posix, ...], ...]:
    """What the loader's cache offers, and what the library path of each environment does."""
    whole = plan(row("split"), locked)
    return whole.loader, *(one.libraries for one in whole.environments)


def test_each_environment_has_layers_of_its_own_in_one_chain() -> None:
    layers = planned("split").layers
    assert [(layer.name, layer.kind, layer.prefix.name) for layer in layers] == [
        ("asr-cuda", "chain", "asr"),
        ("asr-cudnn", "chain", "asr"),
        ("diarize-cuda", "chain", "diarize"),
        ("diarize-cudnn", "chain", "diarize"),
        ("diarize-torch", "chain", "diarize"),
        ("asr-libraries", "beside", "asr"),
        ("asr-speech", "beside", "asr"),
        ("diarize-libraries", "beside", "diarize"),
        ("diarize-speech", "beside", "diarize"),
    ]
    assert [layer.name for layer in layers if layer.has_many_wheels] == [layer.name for layer in layers[-4:]]
    assert {part.name for part in layers[-1].packages} == {"pyannote-audio", "pip"}


def test_an_environment_knows_its_python_and_what_it_is_for() -> None:
    asr, diarize = planned("split").environments
    assert (asr.python, asr.site, asr.does) == (Posix("/opt/cuvee/asr/bin/python"), ASR, ("transcribe",))
    assert diarize.does == ("speakers",)
    assert [(one.name, one.does) for one in planned("small").environments] == [("main", ())]


def test_what_one_environment_opens_by_name_the_loader_offers_to_all() -> None:
    assert planned("split").loader == (ASR / "nvidia/cublas/lib", ASR / "nvidia/cudnn/lib")
    assert planned("blend").environments[0].libraries == planned("blend").loader


def test_a_name_that_two_environments_open_is_in_no_cache_and_each_has_its_own() -> None:
    asr, diarize = planned("split").environments
    assert ASR / "nvidia/cuda_nvrtc/lib" in asr.libraries
    assert diarize.libraries == (DIARIZE / "nvidia/cuda_nvrtc/lib",)
    both = lock_of_two(OPENS_A, HAS_A, diarize=(OPENS_A, HAS_A))
    assert offered(both) == ((), (ASR / "a/lib",), (DIARIZE / "a/lib",))


def test_one_environments_opened_names_are_not_looked_for_in_another() -> None:
    assert offered(lock_of_two(OPENS_A, diarize=(HAS_A,))) == ((), (), ())


def test_a_folder_is_left_out_where_it_would_serve_another_name_that_is_opened_elsewhere() -> None:
    """A cache offers whole folders: `b` comes with `a`."""
    asr = (OPENS_A, package("has", libraries=("x/liba.so", "x/libb.so")))
    diarize = (package("second", opens=("libb.so",)), package("has-b", libraries=("y/libb.so",)))
    assert offered(lock_of_two(*asr, diarize=diarize)) == ((DIARIZE / "y",), (ASR / "x",), (DIARIZE / "y",))


def test_an_overlay_is_offered_once_to_all_that_open_what_it_has() -> None:
    overlay = Posix("/opt/cuvee/overlays/beside/a/lib")
    both = lock_of_two(OPENS_A, HAS_A, diarize=(OPENS_A,), overlay=(HAS_A,))
    assert offered(both) == ((overlay,), (overlay,), (overlay,))


@pytest.mark.parametrize("name", ["bin", "lib", "overlays", "tools", "overlay-x", "asr-cuda"])
def test_an_environment_cannot_be_called_what_something_else_is(name: str) -> None:
    """`requirements-asr-cuda.txt` is a part of `asr`."""
    isolated = row("split")
    renamed = isolated.model_copy(
        update={"environments": {"asr": isolated.environments["asr"], name: isolated.environments["diarize"]}}
    )
    with pytest.raises(BadInputError, match=f"{name!r} stands for something else in images"):
        plan(renamed, lock("split"))


def test_the_labels_tell_whose_gpu_code_it_is() -> None:
    labels = dict(planned("split").labels)
    assert labels["cuvee.cudnn"] == "8.9.7 9.1.0"
    assert {name for name in labels if name.startswith("cuvee.gpu.")} == {
        "cuvee.gpu.asr.ctranslate2",
        "cuvee.gpu.diarize.torch",
    }


# FFmpeg, base and environment


def test_a_static_ffmpeg_is_linked_from_its_wheel_into_the_path() -> None:
    [link] = planned("blend").links
    assert link.path == Posix("/opt/cuvee/main/bin/ffmpeg")
    assert link.target == SITE / "imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v7.0.2"
    assert planned("blend").system_packages == ()


def test_a_shared_ffmpeg_is_debians_and_nothing_is_linked() -> None:
    assert planned("small").system_packages == ("ffmpeg", "libpython3.11")
    assert planned("small").links == ()


AV = ("av.libs/libavcodec-7ee0753d.so.61.19.101", "av.libs/libx264-b1bb65f5.so.165")


def test_pyavs_libraries_serve_torchcodec_and_are_in_the_loaders_cache() -> None:
    locked = lock_of(package("av", libraries=AV), package("torchcodec"))
    found = plan(row("small", ffmpeg="pyav"), locked)
    [link] = found.links
    assert (link.path, link.target) == (Posix("/usr/lib/libavcodec.so.61"), SITE / AV[0])
    assert found.loader == (SITE / "av.libs",)
    assert found.system_packages == ("libpython3.11",)


def test_nothing_is_linked_where_no_torchcodec_would_take_it() -> None:
    found = plan(row("small", ffmpeg="pyav"), lock_of(package("av", libraries=AV)))
    assert (found.links, found.loader) == ((), ())


def test_two_environments_with_one_ffmpeg_cannot_share_a_link() -> None:
    parts = [
        Environment(name=name, packages=(package("av", libraries=AV), package("torchcodec"))) for name in "ab"
    ]
    both = dataclasses.replace(lock("small"), environments=tuple(parts))
    with pytest.raises(BadInputError, match="a and b have one FFmpeg in two PyAVs"):
        plan(row("small", ffmpeg="pyav"), both)


def test_what_the_row_leaves_out_is_planned() -> None:
    assert planned("blend").left_out.patterns == ("nvidia/*/include", "torch/bin/protoc*")
    assert planned("small").left_out.patterns == ()


def test_a_row_without_ffmpeg_links_none_though_another_package_brought_the_wheel() -> None:
    without = plan(row("blend", ffmpeg="none"), lock("blend"))
    assert (without.links, without.system_packages) == ((), ())


def test_an_image_stands_on_the_rows_base_and_is_called_after_the_row() -> None:
    whole = planned("small")
    assert (whole.tag, whole.base_image, whole.python) == ("cuvee:small", "debian:bookworm-slim", "3.11")
    assert whole.base_packages == ("ca-certificates", "python3", "python3-venv")


def test_our_own_programs_come_first_on_the_path_and_then_the_first_environments() -> None:
    for name, first in (("small", "main"), ("split", "asr")):
        environment = dict(planned(name).environment)
        assert environment["PATH"].split(":")[:2] == ["/opt/cuvee/bin", f"/opt/cuvee/{first}/bin"]
        assert "LD_LIBRARY_PATH" not in environment


def test_a_row_for_processors_asks_nothing_of_the_nvidia_runtime_and_names_no_driver() -> None:
    bare = plan(row("small", cuda=None), lock("small"))
    assert [name for name, _ in bare.environment] == ["PATH"]
    labels = dict(bare.labels)
    assert labels["cuvee.cuda"] == "none"
    assert "cuvee.driver.minimum" not in labels


@pytest.mark.parametrize(("cuda", "floor"), [("11.8", "11.0"), ("12.1", "12.0"), ("13.0", "13.0")])
def test_the_nvidia_runtime_asks_for_a_driver_of_that_major_cuda_since_any_minor_does(
    cuda: str, floor: str
) -> None:
    environment = dict(plan(row("small", cuda=cuda), lock("small")).environment)
    assert environment["NVIDIA_REQUIRE_CUDA"] == f"cuda>={floor}"
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


# Labels


def test_the_labels_say_what_the_image_was_made_from() -> None:
    labels = dict(planned("blend").labels)
    assert labels["cuvee.row"] == "blend"
    assert labels["cuvee.lock"] == lock("blend").digest
    assert labels["cuvee.cuda"] == "12.1"
    assert labels["cuvee.cudnn"] == "8.9.7 9.1.0"
    assert labels["org.opencontainers.image.description"] == row("blend").summary


def test_the_labels_say_which_gpus_the_wheels_have_code_for() -> None:
    labels = dict(planned("blend").labels)
    assert labels["cuvee.gpu.torch"].split()[0] == "sm_50"
    assert labels["cuvee.gpu.ctranslate2"].endswith("sm_86 compute_86")
    assert not any(name.startswith("cuvee.gpu.") and "numpy" in name for name in labels)


def test_an_image_without_cudnn_says_none() -> None:
    assert dict(planned("small").labels)["cuvee.cudnn"] == "none"


@pytest.mark.parametrize(
    ("cuda", "driver"), [("11.8", "450.80.02"), ("12.8", "525.60.13"), ("13.2", "580.65.06")]
)
def test_the_oldest_driver_follows_from_the_major_cuda(cuda: str, driver: str) -> None:
    assert minimum_driver(cuda) == driver
    assert dict(plan(row("small", cuda=cuda), lock("small")).labels)["cuvee.driver.minimum"] == driver


def test_a_cuda_that_nobody_has_looked_up_is_told_with_place_cause_and_fix() -> None:
    with pytest.raises(BadInputError) as caught:
        plan(row("small", cuda="99.1"), lock("small"))
    [fault] = caught.value.faults
    assert fault.place == "builder/data/cuda.yaml minimum_driver"
    assert fault.cause == "the oldest driver of CUDA 99 is not known"
    assert fault.fix == "Add a line for it, from the release notes of CUDA 99.1"
