from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from pydantic import TypeAdapter

from builder import matrix
from builder.abi.facts import BaseFacts, Binary, WheelFacts
from builder.abi.library import Library, text
from builder.errors import BadInputError
from builder.known import data
from builder.lock import record
from builder.lock.record import Package
from builder.verdict import gpu, loading, mixing, packages, wheels
from builder.verdict.expect import faults
from builder.verdict.hosts import Host
from builder.verdict.names import Account, Ask
from builder.verdict.prove import cudas, prove
from builder.verdict.record import Finding, Verdict
from builder.verdict.schema import schema
from builder.verdict.setting import Part, Setting, lay_out
from builder.verdict.tables import toolkit_driver

ROOT = Path(__file__).parents[2]
SITE = PurePosixPath("/env/site-packages")
LIBC = Binary(path="/usr/lib/libc.so.6", soname="libc.so.6", provides=("GLIBC_2.36",))
LIBRARY = Library(folders=(ROOT / "facts",))
ROWS = {row.id: row for row in matrix.load(ROOT / "matrix.yaml").rows}

SHIM_8 = "ctranslate2.libs/libcudnn-463fd6d5.so.8.9.7"
SHIM_9 = "ctranslate2.libs/libcudnn-74a4c495.so.9.1.0"
ENGINE = "ctranslate2.libs/libctranslate2-d3638643.so.4.4.0"
OPS_9 = ("libcudnn_ops.so.9.1.0", "libcudnn_ops.so.9.1", "libcudnn_ops.so.9", "libcudnn_ops.so")


def binary(path: str, **facts: object) -> Binary:
    """A binary with the soname of its file, unless it says otherwise."""
    return Binary(path=path, **{"soname": path.rpartition("/")[2], **facts})  # type: ignore[arg-type]


def package(name: str, version: str = "1.0", file: str = "") -> Package:
    wheel = file or f"{name.replace('-', '_')}-{version}-py3-none-manylinux_2_17_x86_64.whl"
    return Package(name=name, version=version, file=wheel, sha256=wheel, size=1)


def wheel(name: str, *binaries: Binary, version: str = "1.0") -> tuple[Package, WheelFacts]:
    one = package(name, version)
    return one, WheelFacts(file=one.file, sha256=one.sha256, binaries=binaries)


def base(glibc: str = "2.36", *more: Binary) -> BaseFacts:
    libc = Binary(path="/usr/lib/libc.so.6", soname="libc.so.6", provides=(f"GLIBC_{glibc}",))
    return BaseFacts(id="small", image="small", binaries=(libc, *more))


def setting(
    *contents: tuple[Package, WheelFacts],
    folders: Sequence[str] = (),
    on: BaseFacts | None = None,
    beside: Sequence[tuple[Package, WheelFacts]] = (),
) -> Setting:
    parts = [Part(name="main", root=SITE, packages=contents)]
    if beside:
        parts.append(Part(name="overlay", root=PurePosixPath("/overlay"), packages=tuple(beside)))
    return lay_out(parts, on or base(), folders)


def found(judged: Setting) -> list[Finding]:
    return list(loading.findings(judged, Account(judged).asks))


def only(judged: Setting) -> Finding:
    [finding] = found(judged)
    return finding


# The rows


@pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if row.status == "good"], ids=lambda row: row.id
)
def test_a_good_row_holds_by_its_committed_facts(row: matrix.Row) -> None:
    lock = record.read(ROOT / "images" / row.id / record.FILE)

    verdict = prove(row, lock, LIBRARY)

    assert verdict.findings == ()
    assert verdict.outcome == "holds"
    assert verdict.binaries > 100
    assert not [name for name in verdict.names if not name.leads_to and not name.waived]


@pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if row.status == "known-bad"], ids=lambda row: row.id
)
def test_a_known_bad_row_is_predicted_with_the_words_that_it_died_with(row: matrix.Row) -> None:
    lock = record.read(ROOT / "images" / row.id / record.FILE)
    evidence = (ROOT / "evidence" / f"{row.id}.json").read_text(encoding="utf-8")

    verdict = prove(row, lock, LIBRARY)

    assert verdict.outcome == "fails"
    assert faults(row, verdict) == ()
    assert json.dumps(verdict.findings[0].message)[1:-1] in evidence


def test_a_good_row_that_fails_and_a_known_bad_one_that_holds_are_told() -> None:
    good, bad = ROWS["cu121"], ROWS["cu121-no-cudnn8"]
    finding = Finding(signature="s", outcome="fails", place="p", message="m", cause="c", fix="f")
    risk = Finding(signature="s", outcome="risk", place="p", message="m", cause="c", fix="f")
    blank = {"row": "x", "lock": "", "binaries": 0, "names": (), "driver": ""}

    assert [fault.fix for fault in faults(good, Verdict(**blank, findings=(finding,)))] == ["f"]  # type: ignore[arg-type]
    assert faults(good, Verdict(**blank, findings=(risk,))) == ()  # type: ignore[arg-type]
    [fault] = faults(bad, Verdict(**blank, findings=(finding,)))  # type: ignore[arg-type]
    assert "the proof predicts m" in fault.cause
    [fault] = faults(bad, Verdict(**blank, findings=()))  # type: ignore[arg-type]
    assert "nothing at all" in fault.cause


def test_what_is_not_recorded_is_told_wheel_by_wheel(tmp_path: Path) -> None:
    row = ROWS["asr-cu12"]
    lock = record.read(ROOT / "images" / row.id / record.FILE)

    with pytest.raises(BadInputError) as error:
        prove(row, lock, Library(folders=(tmp_path,)))

    assert len(error.value.faults) > 3
    assert all(fault.fix == "Run `cuvee facts asr-cu12`" for fault in error.value.faults)


def test_facts_of_another_hash_or_with_unread_binaries_do_not_count(tmp_path: Path) -> None:
    one = WheelFacts(file="a.whl", sha256="1", binaries=(Binary(path="a.so", unread="too large"),))
    (tmp_path / "a.whl.json").write_text(text(one), encoding="utf-8")
    library = Library(folders=(tmp_path,))

    assert library.wheel("a.whl", "1") == one
    assert not one.complete
    assert library.wheel("a.whl", "2") is None


@pytest.mark.parametrize("words", ["", "{", "[]", '{"format": 1}', '{"format": 99}', '{"format": 1, "x": 2}'])
def test_a_broken_record_is_told_with_what_to_do(words: str, tmp_path: Path) -> None:
    (tmp_path / "a.whl.json").write_text(words, encoding="utf-8")

    with pytest.raises(BadInputError, match=r"no record of facts.*Delete it and run `cuvee facts`"):
        Library(folders=(tmp_path,)).wheel("a.whl", "1")


def test_records_survive_their_files(tmp_path: Path) -> None:
    whole = Binary(
        path="a.so",
        soname="a",
        needed=("b",),
        rpath=("$ORIGIN", ""),
        requires={"libc.so.6": ("GLIBC_2.17",)},
        opens=(("x",), ("y.1", "y")),
        gpu=("sm_86",),
        gpu_cuda="12.4",
        executable_stack=True,
    )
    facts = WheelFacts(
        file="a.whl", sha256="1", binaries=(whole, Binary(path="b.so")), gpu=("sm_90",), cuda="12.1"
    )
    (tmp_path / "a.whl.json").write_text(text(facts), encoding="utf-8")
    system = BaseFacts(id="small", image="i", binaries=(LIBC,), links={"/lib": "/usr/lib"})
    (tmp_path / "base-small.json").write_text(text(system), encoding="utf-8")

    read = Library(folders=(tmp_path,)).base("small")

    assert Library(folders=(tmp_path,)).wheel("a.whl", "1") == facts
    assert (read.id, read.binaries, read.links) == (system.id, system.binaries, system.links)


# Each kind of failure, and the same without it


def engine_8() -> tuple[Package, WheelFacts]:
    return wheel(
        "ctranslate2",
        binary(SHIM_8, opens=(("libcudnn_cnn_infer.so.8",), ("libcudnn_ops_infer.so.8",))),
        version="4.4.0",
    )


def cudnn_8() -> tuple[Package, WheelFacts]:
    files = ("libcudnn_ops_infer.so.8", "libcudnn_cnn_infer.so.8")
    return wheel("nvidia-cudnn-cu12", *(binary(f"nvidia/cudnn/lib/{name}") for name in files))


def test_a_missing_cudnn_8_is_told_in_the_words_of_its_front_and_the_first_used_comes_first() -> None:
    finding = only(setting(engine_8()))

    assert finding.signature == "cudnn8-not-found"
    assert finding.message == (
        "Could not load library libcudnn_ops_infer.so.8. Error: libcudnn_ops_infer.so.8: "
        "cannot open shared object file: No such file or directory"
    )
    assert "libcudnn_cnn_infer.so.8" in finding.cause
    assert "nvidia-cudnn-cu12 8.9" in finding.fix
    assert found(setting(engine_8(), beside=[cudnn_8()], folders=["/overlay/nvidia/cudnn/lib"])) == []


def test_a_library_that_is_there_but_where_no_one_looks_is_missing() -> None:
    assert only(setting(engine_8(), cudnn_8())).signature == "cudnn8-not-found"


def test_a_missing_cudnn_9_names_all_that_was_tried_and_the_call() -> None:
    engine = wheel("ctranslate2", binary(SHIM_9, opens=(OPS_9,)), version="4.5.0")
    cudnn = wheel("nvidia-cudnn-cu12", binary("nvidia/cudnn/lib/libcudnn_ops.so.9"))

    finding = only(setting(engine))

    assert finding.signature == "cudnn9-not-found"
    assert finding.message == (
        "Unable to load any of {libcudnn_ops.so.9.1.0, libcudnn_ops.so.9.1, libcudnn_ops.so.9, "
        "libcudnn_ops.so}\nInvalid handle. Cannot load symbol cudnnCreateTensorDescriptor"
    )
    assert found(setting(engine, cudnn, folders=[f"{SITE}/nvidia/cudnn/lib"])) == []


def test_cuda_13_has_no_cublas_12() -> None:
    engine = wheel("ctranslate2", binary(ENGINE, opens=(("libcublas.so.12",), ("libcuda.so.1",))))
    thirteen = wheel("nvidia-cublas", binary("nvidia/cu13/lib/libcublas.so.13"))
    twelve = wheel("nvidia-cublas-cu12", binary("nvidia/cublas/lib/libcublas.so.12"))
    folders = [f"{SITE}/nvidia/cu13/lib", f"{SITE}/nvidia/cublas/lib"]

    finding = only(setting(engine, thirteen, folders=folders))

    assert finding.signature == "cublas-not-found"
    assert finding.message == "Library libcublas.so.12 is not found or cannot be loaded"
    assert found(setting(engine, thirteen, twelve, folders=folders)) == []


def test_the_drivers_libraries_come_with_the_host() -> None:
    judged = setting(wheel("ctranslate2", binary(ENGINE, opens=(("libcuda.so.1",),))))

    [ask] = Account(judged).asks

    assert ask.leads_to == "driver"


def test_what_may_be_missing_is_waived_with_its_reason_and_only_there() -> None:
    names = (("libmkl_avx2.so.2",), ("libnccl.so.2",))
    asks = Account(setting(wheel("ctranslate2", binary(ENGINE, opens=names)))).asks
    elsewhere = setting(wheel("other", binary("other/lib.so", opens=names)))

    assert [bool(ask.waived) for ask in asks] == [True, True]
    assert [ask.waived for ask in Account(elsewhere).asks] == ["", ""]
    assert only(elsewhere).signature == "library-not-found"


def test_an_executable_stack_fails_from_glibc_2_41_on() -> None:
    extension = binary(
        "ctranslate2/_ext.cpython-311-x86_64-linux-gnu.so",
        needed=(ENGINE.rpartition("/")[2],),
        rpath=("$ORIGIN/../ctranslate2.libs",),
    )
    engine = wheel("ctranslate2", extension, binary(ENGINE, executable_stack=True), version="4.5.0")

    finding = only(setting(engine, on=base("2.41")))

    assert finding.signature == "executable-stack"
    assert finding.message == (
        "libctranslate2-d3638643.so.4.4.0: cannot enable executable stack as shared object requires: "
        "Invalid argument"
    )
    assert found(setting(engine, on=base("2.40"))) == []


def test_a_library_that_needs_a_newer_glibc_is_told_in_the_loaders_words() -> None:
    needs = binary("x/libx.so", needed=("libc.so.6",), requires={"libc.so.6": ("GLIBC_2.38",)})

    finding = only(setting(wheel("x", needs)))

    assert finding.signature == "glibc-too-old"
    assert "version `GLIBC_2.38' not found (required by" in finding.message
    assert found(setting(wheel("x", needs), on=base("2.38"))) == []


def test_torchcodec_without_any_of_its_ffmpegs_fails_and_with_one_holds() -> None:
    codec = wheel(
        "torchcodec",
        binary("torchcodec/libtorchcodec_core5.so", needed=("libavutil.so.57",)),
        binary("torchcodec/libtorchcodec_core7.so", needed=("libavutil.so.59",)),
    )
    debian = base("2.36", Binary(path="/usr/lib/libavutil.so.57", soname="libavutil.so.57"))

    finding = only(setting(codec))

    assert finding.signature == "torchcodec-not-loaded"
    assert finding.message.startswith("Could not load libtorchcodec. Likely causes:")
    assert "ffmpeg: shared" in finding.fix
    assert found(setting(codec, on=debian)) == []


def test_a_needed_library_that_nothing_has_is_told_with_who_needs_it() -> None:
    chain = wheel(
        "x",
        binary("x/liba.so", needed=("libb.so",), rpath=("$ORIGIN",)),
        binary("x/libb.so", needed=("libnone.so.1",)),
    )

    finding = only(setting(chain))

    assert finding.signature == "library-not-found"
    assert finding.message == "libnone.so.1: cannot open shared object file: No such file or directory"
    assert finding.chain[-1] == "x/libb.so needs libnone.so.1"


def fronts(*extra: tuple[Package, WheelFacts]) -> tuple[tuple[Package, WheelFacts], ...]:
    front = binary("nvidia/cudnn/lib/libcudnn.so.9", opens=(OPS_9,), runpath=("$ORIGIN",))
    return (
        wheel("ctranslate2", binary(SHIM_9, opens=(OPS_9,)), version="4.5.0"),
        wheel("nvidia-cudnn-cu12", front, binary("nvidia/cudnn/lib/libcudnn_ops.so.9")),
        *extra,
    )


def test_what_lacks_a_broken_file_is_an_echo_and_the_broken_file_the_cause() -> None:
    broken = wheel("torch", binary("torch/lib/libtorch.so", needed=("libcublas.so.12",), rpath=("$ORIGIN",)))
    echo = wheel("torchaudio", binary("torchaudio/lib/x.so", needed=("libtorch.so",)))

    [finding] = found(setting(broken, echo))

    assert finding.place.startswith("torch 1.0")
    assert finding.message.startswith("libcublas.so.12: cannot open")


def test_a_torchcodec_without_pythons_library_is_not_told_to_install_ffmpeg() -> None:
    codec = wheel(
        "torchcodec", binary("torchcodec/libtorchcodec_pybind_ops7.so", needed=("libpython3.12.so.1.0",))
    )
    cuda = wheel("torchcodec", binary("torchcodec/libtorchcodec_core7.so", needed=("libcudart.so.13",)))

    assert "shared library" in only(setting(codec)).fix
    assert "belongs to this torch" in only(setting(cuda)).fix


def test_two_cudnn_9_that_would_meet_are_told_and_one_for_all_is_not() -> None:
    other = wheel(
        "nvidia-cudnn-cu12",
        binary("nvidia/cudnn/lib/libcudnn_ops.so.9"),
        binary("nvidia/cudnn/lib/libcudnn_cnn.so.9"),
    )
    cnn = tuple(name.replace("ops", "cnn") for name in OPS_9)
    needing_both = wheel("ctranslate2", binary(SHIM_9, opens=(OPS_9, cnn)), version="4.5.0")
    mixed = setting(needing_both, *fronts()[1:], beside=[other], folders=["/overlay/nvidia/cudnn/lib"])
    single = setting(*fronts(), folders=[f"{SITE}/nvidia/cudnn/lib"])

    [finding] = mixing.findings(mixed)

    assert finding.signature == "cudnn-sublibrary-mismatch"
    assert "from 2 folders" in finding.cause
    assert mixing.findings(single) == ()


def test_packages_that_do_not_go_together_are_told() -> None:
    judged = setting(wheel("pyannote-audio", version="3.3.0"), wheel("huggingface-hub", version="1.0"))
    fine = setting(wheel("pyannote-audio", version="3.3.0"), wheel("huggingface-hub", version="0.30"))

    assert "use-auth-token" in {one.signature for one in packages.findings(judged, "3.11")}
    assert "use-auth-token" not in {one.signature for one in packages.findings(fine, "3.11")}


def test_a_torchaudio_of_another_torch_is_told() -> None:
    judged = setting(wheel("torch", version="2.7.1"), wheel("torchaudio", version="2.8.0"))
    fine = setting(wheel("torch", version="2.8.0"), wheel("torchaudio", version="2.8.0"))

    assert [one.signature for one in packages.findings(judged, "3.11")] == ["torch-extension-mismatch"]
    assert packages.findings(fine, "3.11") == ()


def test_what_its_metadata_says_of_torch_counts_whatever_put_it_there() -> None:
    one, facts = wheel("extension")
    built = (one, replace(facts, torch="==2.4.0"))

    [finding] = packages.findings(setting(wheel("torch", version="2.8.0"), built), "3.11")

    assert finding.place == "extension 1.0 with torch 2.8.0"
    assert "built for torch ==2.4.0" in finding.cause
    assert packages.findings(setting(wheel("torch", version="2.4.0+cu121"), built), "3.11") == ()
    assert packages.findings(setting(built), "3.11") == ()


def test_a_wheel_for_another_python_or_a_newer_glibc_is_told() -> None:
    old = package("ctranslate2", "4.4.0", "ctranslate2-4.4.0-cp312-cp312-manylinux_2_17_x86_64.whl")
    new = package("torch", "2.8.0", "torch-2.8.0-cp313-cp313-manylinux_2_28_x86_64.whl")
    judged = lay_out([Part(name="main", root=SITE, packages=((old, None), (new, None)))], base("2.27"), ())

    assert [one.place for one in wheels.findings(judged, "3.13")] == ["ctranslate2 4.4.0", "torch 2.8.0"]
    fine = lay_out([Part(name="main", root=SITE, packages=((new, None),))], base("2.28"), ())
    assert wheels.findings(fine, "3.13") == ()


# GPUs and drivers


def test_machine_code_runs_on_its_own_major_version_and_ptx_on_all_that_is_newer() -> None:
    code = gpu.parsed(("sm_53", "sm_86", "compute_86", "sm_90a", "nonsense"))

    assert [gpu.native(code, number) for number in (50, 53, 80, 86, 89, 90, 100)] == [
        *(False, True, False, True, True, True, False)
    ]
    assert [gpu.compiled(code, number) for number in (80, 86, 90, 120)] == [False, True, True, True]
    assert not gpu.native(gpu.parsed(("sm_90a",)), 91)


def test_a_range_has_both_ends() -> None:
    torch = gpu.gpu_range("torch", ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"))
    engine = gpu.gpu_range("ctranslate2", ("sm_53", "sm_60", "sm_86", "compute_86"), "12.4")

    assert torch is not None
    assert engine is not None
    assert (torch.low, torch.high, torch.gaps) == (50, 90, ())
    assert (engine.low, engine.high, engine.native_high, engine.jit_driver) == (60, None, 89, "550.54.14")
    assert 75 in engine.gaps
    assert gpu.common([torch, engine]) == (60, 90)
    found = gpu.drivers([torch, engine], "525.60.13")
    assert [one.gpu for one in found] == [60, 61, 86, 89, 90]
    assert gpu.steps(found) == "525.60.13; from 9.0 (Hopper) on 550.54.14"
    assert gpu.gpu_range("nothing", ()) is None
    assert (gpu.named(86), gpu.named(None)) == ("8.6 (Ampere)", "any newer")


def limits(driver: str = "", number: int | None = None) -> list[str]:
    row = ROWS["asr-cu12"]
    lock = record.read(ROOT / "images" / row.id / record.FILE)
    return [one.signature for one in prove(row, lock, LIBRARY, Host(driver=driver, gpu=number)).findings]


def test_the_newest_cuda_inside_decides_on_the_driver() -> None:
    thirteen = setting(wheel("nvidia-cublas", binary("nvidia/cu13/lib/libcublas.so.13")))

    assert list(cudas(thirteen)) == ["13"]


def test_a_toolkit_that_the_table_lacks_gets_the_next_newer_ones_driver() -> None:
    assert toolkit_driver("12.4") == "550.54.14"
    assert toolkit_driver("12.7") == toolkit_driver("12.8")
    assert toolkit_driver("99.0") == toolkit_driver("13.2")


def test_each_toolkit_that_ptx_can_come_from_has_a_driver() -> None:
    for cuda in data("ptx.yaml")["cuda_of_ptx"].values():
        assert toolkit_driver(cuda)


def test_a_gpu_that_is_asked_for_counts_among_the_versions() -> None:
    row = ROWS["cu121"]
    lock = record.read(ROOT / "images" / row.id / record.FILE)

    signatures = {one.signature for one in prove(row, lock, LIBRARY, Host(gpu=120)).findings}

    assert {"no-kernel-image", "cublas-int8-blackwell"} <= signatures


def test_a_known_bad_row_that_fails_for_other_reasons_too_is_told() -> None:
    bad = ROWS["cu121-no-cudnn8"]
    assert bad.fails_with
    said = bad.fails_with.message
    meant = Finding(signature="a", outcome="fails", place="p", message=said, cause="c", fix="f")
    other = Finding(signature="b", outcome="fails", place="p", message="m", cause="c", fix="f")
    verdict = Verdict(row="x", lock="", binaries=0, names=(), driver="", findings=(meant, other))

    [fault] = faults(bad, verdict)

    assert fault.cause == "it fails for other reasons too: m"


def test_a_host_is_judged_by_its_driver_and_gpu() -> None:
    assert limits("580.82.07", 86) == []
    assert limits("470.57.02") == ["driver-too-old-or-absent"]
    assert limits("550.54.14", 90) == ["ptx-too-new"]  # CTranslate2 has no code of its own for Hopper
    assert limits("550.54.14", 89) == []
    assert "no-kernel-image" in limits("580.82.07", 50)


def test_an_ask_that_leads_somewhere_or_is_waived_lacks_nothing() -> None:
    assert Ask(name="a", by="b", how="opened").lacks
    assert not Ask(name="a", by="b", how="opened", leads_to="/a").lacks
    assert not Ask(name="a", by="b", how="opened", waived="because").lacks


def test_the_json_is_what_its_schema_says() -> None:
    row = ROWS["cu121-no-cudnn8"]
    lock = record.read(ROOT / "images" / row.id / record.FILE)
    told = json.loads(json.dumps(prove(row, lock, LIBRARY).to_json()))
    described = json.loads(schema())["$defs"]

    assert list(told) == list(described["Verdict"]["properties"])
    assert told["outcome"] == "fails"
    for key, record_name in (("findings", "Finding"), ("names", "Name"), ("gpus", "GpuRange")):
        assert set(told[key][0]) == set(described[record_name]["properties"])
    outcome = told.pop("outcome")
    read: Verdict = TypeAdapter(Verdict).validate_python(told)
    assert read.outcome == outcome
