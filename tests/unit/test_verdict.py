from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from pydantic import TypeAdapter

from builder import matrix
from builder.abi.facts import BaseFacts, Binary, WheelFacts
from builder.abi.library import Library, text
from builder.errors import BadInputError, CannotResolveError, CheckFailedError, Fault
from builder.explain.explaining import explain
from builder.known import data
from builder.lock import record
from builder.lock.record import Package
from builder.verdict import gpu, loading, mixing, packages, refusal, wheels
from builder.verdict.expect import faults
from builder.verdict.hosts import Host
from builder.verdict.names import Account, Ask
from builder.verdict.prove import cudas, prove
from builder.verdict.record import Finding, Verdict
from builder.verdict.schema import schema
from builder.verdict.setting import Part, Setting, lay_out
from builder.verdict.tables import is_used, toolkit_driver

ROOT = Path(__file__).parents[2]
SITE = PurePosixPath("/env/site-packages")
LIBC = Binary(path="/usr/lib/libc.so.6", soname="libc.so.6", provides=("GLIBC_2.36",))
LIBRARY = Library(folders=(ROOT / "facts", ROOT / "survey" / "facts"))
ROWS = {row.id: row for row in matrix.load(ROOT / "matrix.yaml").rows}
SEEN = [row for row in ROWS.values() if row.status == "known-bad" and not refusal.is_known(row)]
"""Known-bad rows with an image: `cuvee test` writes their evidence, and says so where one starts to work."""

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


def predicted(row: matrix.Row) -> Verdict:
    if refusal.is_known(row):
        return refusal.predicted(row)
    return prove(row, record.read(ROOT / "images" / row.id / record.FILE), LIBRARY)


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
def test_a_known_bad_row_is_predicted_and_who_pastes_its_words_is_told(row: matrix.Row) -> None:
    verdict = predicted(row)

    assert row.fails_with
    assert verdict.outcome == "fails"
    assert faults(row, verdict) == ()
    meant = [one for one in verdict.findings if row.fails_with.message in one.message]
    assert {one.signature for one in meant} <= set(explain(meant[0].message).ids)


@pytest.mark.parametrize("row", SEEN, ids=lambda row: row.id)
def test_a_known_bad_row_died_with_the_words_that_are_predicted(row: matrix.Row) -> None:
    evidence = json.loads((ROOT / "evidence" / f"{row.id}.json").read_text(encoding="utf-8"))

    words = evidence["measured"]["fails_with"]

    assert row.fails_with
    assert row.fails_with.message in words
    [signature] = {one.signature for one in predicted(row).findings if row.fails_with.message in one.message}
    assert signature in explain(words).ids


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


# A row that cannot be locked

LATE = """
defaults: {{}}
bases:
  late: {{image: late, suite: late, python: 3.13, glibc: 2.41, packages: [python3]}}
rows:
  one:
    summary: too new a Python
    as_of: 2026-01-01
    base: late
    python: 3.13
    cuda: 12.4
    torch: {torch}
    ctranslate2: {engine}
    ffmpeg: none
    status: known-bad
    fails_with: {{check: lock, message: "ctranslate2==4.4.0 has no wheel for Python 3.13"}}
"""


def late(engine: str = "4.4.0", torch: str = "null") -> matrix.Row:
    [row] = matrix.parse(LATE.format(engine=engine, torch=torch)).rows
    return row


def test_a_demand_without_a_wheel_for_the_python_is_told_before_anything_is_resolved() -> None:
    [finding] = refusal.predicted(late()).findings

    assert finding.message == "ctranslate2==4.4.0 has no wheel for Python 3.13"
    assert finding.place.endswith("rows.one.ctranslate2")
    assert faults(late(), refusal.predicted(late())) == ()
    assert refusal.predicted(late(engine="4.6.0")).findings == ()
    assert refusal.predicted(late(engine="4.8.*", torch="2.8.0")).findings == ()
    assert len(refusal.predicted(late(torch="2.4.1")).findings) == 2


def test_nothing_is_said_of_a_version_that_the_table_does_not_know() -> None:
    assert refusal.predicted(late(engine="5.0.0")).findings == ()


@pytest.mark.parametrize(
    "row", [row for row in ROWS.values() if not refusal.is_known(row)], ids=lambda row: row.id
)
def test_the_table_refuses_no_row_that_has_a_lock(row: matrix.Row) -> None:
    assert refusal.predicted(row).findings == ()


def test_a_row_that_is_known_to_be_refused_has_to_be_and_in_these_words() -> None:
    def says(*causes: str) -> Any:
        def resolve(_row: matrix.Row) -> None:
            raise CannotResolveError(*(Fault(place="p", cause=cause, fix="f") for cause in causes))

        return resolve

    known = "ctranslate2==4.4.0 has no wheel for Python 3.13"
    assert refusal.refused(late(), says(known)) == known
    with pytest.raises(CheckFailedError, match="it is refused with `the index is down`"):
        refusal.refused(late(), says("the index is down"))
    with pytest.raises(CheckFailedError, match="it can be locked"):
        refusal.refused(late(), lambda _row: None)


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


def test_half_a_build_of_torchcodec_is_none() -> None:
    debian = base("2.36", Binary(path="/usr/lib/libavutil.so.57", soname="libavutil.so.57"))
    python = Binary(path="/usr/lib/libpython3.11.so.1.0", soname="libpython3.11.so.1.0")
    codec = wheel(
        "torchcodec",
        *(
            binary(f"torchcodec/libtorchcodec_{part}{build}.so", needed=(f"libavutil.so.{util}", *python_too))
            for build, util in ((5, 57), (7, 59))
            for part, python_too in (("core", ()), ("custom_ops", (python.soname,)), ("pybind_ops", ()))
        ),
    )

    assert {one.signature for one in found(setting(codec, on=debian))} == {"torchcodec-not-loaded"}
    assert found(setting(codec, on=replace(debian, binaries=(*debian.binaries, python)))) == []


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


TORCH = binary("torch/lib/libtorch.so", needed=("libcudnn.so.9",), rpath=("$ORIGIN/../../nvidia/cudnn/lib",))


def fronts(*extra: tuple[Package, WheelFacts]) -> tuple[tuple[Package, WheelFacts], ...]:
    front = binary("nvidia/cudnn/lib/libcudnn.so.9", opens=(OPS_9,), runpath=("$ORIGIN",))
    return (
        wheel("ctranslate2", binary(SHIM_9, opens=(OPS_9,)), version="4.5.0"),
        wheel("nvidia-cudnn-cu12", front, binary("nvidia/cudnn/lib/libcudnn_ops.so.9")),
        wheel("torch", TORCH),
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
    assert finding.outcome == "risk"  # torch has no convolutions here: after it, CTranslate2 brings its own
    assert mixing.findings(single) == ()


def two_whole_cudnns(*, with_torch: bool = True) -> Setting:
    """torch with its cuDNN 9, and another one where the loader looks."""
    families = [tuple(name.replace("ops", part) for name in OPS_9) for part in ("ops", "cnn", "adv")]
    names = [names[2] for names in families]
    front = binary("nvidia/cudnn/lib/libcudnn.so.9", opens=tuple(families), runpath=("$ORIGIN",))
    cudnn = (front, *(binary(f"nvidia/cudnn/lib/{name}") for name in names))
    return setting(
        wheel("ctranslate2", binary(SHIM_9, opens=tuple(families)), version="4.6.0"),
        wheel("nvidia-cudnn-cu12", *cudnn),
        *([wheel("torch", TORCH)] if with_torch else []),
        beside=[wheel("nvidia-cudnn-cu12", *cudnn, version="2")],
        folders=["/overlay/nvidia/cudnn/lib"],
    )


def test_two_whole_cudnns_meet_in_any_order_where_each_program_uses_a_part_at_first() -> None:
    [finding] = mixing.findings(two_whole_cudnns())

    assert finding.outcome == "fails"
    assert finding.message == "CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH"


def test_a_front_that_nothing_is_linked_with_is_not_used() -> None:
    assert mixing.findings(two_whole_cudnns(with_torch=False)) == ()


def test_a_row_for_processors_does_without_what_computing_on_a_gpu_opens() -> None:
    engine = wheel("ctranslate2", binary(ENGINE, opens=(("libcublas.so.12",), ("libother.so",))))

    asks = Account(setting(engine), gpus=False).asks

    assert [bool(ask.waived) for ask in asks] == [True, False]


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


def test_what_is_not_used_on_a_gpu_is_not_compiled_for_it() -> None:
    """cuSPARSELt has PTX alone for Volta and Turing, where torch never calls it."""
    sparse = gpu.gpu_range("nvidia-cusparselt-cu12 0.7.1", ("sm_80", "compute_52", "compute_80"), "12.8")
    other = gpu.gpu_range("other 1.0", ("sm_80", "compute_52"), "12.8")
    assert sparse is not None
    assert other is not None

    assert [gpu.to_compile(sparse, number) for number in (70, 75, 80, 90)] == [False, False, False, True]
    assert gpu.to_compile(other, 75)
    assert gpu.steps(gpu.drivers([sparse], "525.60.13")) == "525.60.13; from 9.0 (Hopper) on 570.26"


def test_what_is_not_used_on_a_gpu_limits_nothing_there() -> None:
    """cuSPARSELt 0.6 begins with Ampere, and torch with it runs on Pascal all the same."""
    torch = gpu.gpu_range("torch 2.7.1", ("sm_60", "sm_70", "sm_80", "sm_90"))
    sparse = gpu.gpu_range("nvidia-cusparselt-cu12 0.6.3", ("sm_80", "sm_90"))
    other = gpu.gpu_range("other 1.0", ("sm_80", "sm_90"))
    assert torch is not None
    assert sparse is not None
    assert other is not None

    assert gpu.common([torch, sparse]) == (60, 90)
    assert gpu.common([torch, other]) == (80, 90)
    assert [one.gpu for one in gpu.drivers([torch, sparse], "1")] == [60, 61, 70, 75, 80, 86, 89, 90]


def test_what_is_said_of_a_library_on_old_gpus_is_said_of_one_that_rows_have() -> None:
    locked = {
        package.name
        for row in ROWS.values()
        if (ROOT / "images" / row.id / record.FILE).exists()
        for package in record.read(ROOT / "images" / row.id / record.FILE).packages()
    }

    for entry in data("gpus.yaml")["unused"]:
        assert entry["reason"]
        assert entry["sources"]
        assert any(not is_used(name, int(entry["before"]) - 1) for name in locked)
        assert all(is_used(name, int(entry["before"])) for name in locked)


@pytest.mark.parametrize(("row", "number"), [("cu126", 61), ("cu126", 60), ("cu128", 75)])
def test_a_row_holds_on_the_old_gpus_that_it_is_for(row: str, number: int) -> None:
    assert limits("580.82.07", number, of=row) == []


def limits(driver: str = "", number: int | None = None, *, of: str = "asr-cu12") -> list[str]:
    row = ROWS[of]
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
