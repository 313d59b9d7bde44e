"""Recorded patients: what was found in them, and what is to be said of it."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.doctor.patient import of_packages
from builder.doctor.patient.case import SEVERITIES, Case, Finding, Knowledge
from builder.doctor.patient.facts import Gpu, examination, plain
from builder.doctor.patient.judging import JUDGES, findings
from builder.doctor.patient.of_gpus import runs_on

ROOT = Path(__file__).parents[2]
PATIENTS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "patients").glob("*.json"))
}


def data(file: str) -> Any:
    return yaml.safe_load((ROOT / "builder" / "data" / file).read_text(encoding="utf-8"))


KNOWS = Knowledge(
    rows=(),
    combinations=data("combinations.yaml"),
    minimum_driver=data("cuda.yaml")["minimum_driver"],
    toolkit_driver=data("cuda.yaml")["toolkit_driver"],
    cuda_of_ptx=data("ptx.yaml")["cuda_of_ptx"],
)


def case(name: str) -> Case:
    return Case(examination(PATIENTS[name]["examination"]), KNOWS, PATIENTS[name]["for_gpu"])


def found(name: str) -> tuple[Finding, ...]:
    return findings(case(name))


def one(name: str, kind: str) -> Finding:
    """The worst finding of a kind."""
    return next(finding for finding in found(name) if finding.id == kind)


def kinds() -> set[str]:
    """Every id that a finding can have, by the source of the judges and by the rules."""
    known = {rule["signature"] for rule in KNOWS.combinations["rules"]}
    known |= {rule["signature"] for rule in KNOWS.combinations["belonging"]["rules"].values()}
    known |= {signature for _, signature, _ in of_packages._SIGNATURES}
    for path in sorted((ROOT / "builder" / "doctor" / "patient").glob("of_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                [name] = [word.value for word in node.keywords if word.arg == "id"]
                known |= spelled(name)
    return known


def spelled(name: ast.expr) -> set[str]:
    if isinstance(name, ast.Constant):
        return {str(name.value)}
    text = ast.unparse(name)
    return {text[2:-1].replace("{major}", major) for major in "89"} if "{major}" in text else set()


@pytest.mark.parametrize("name", PATIENTS)
def test_a_patient_gets_exactly_the_findings_that_it_has(name: str) -> None:
    worst: dict[str, str] = {}
    for finding in found(name):
        worst.setdefault(finding.id, finding.severity)
    assert worst == PATIENTS[name]["expect"]


def test_every_kind_of_finding_has_a_patient_with_it_and_one_without() -> None:
    expected = [set(patient["expect"]) for patient in PATIENTS.values()]
    assert set().union(*expected) == kinds()
    for kind in kinds():
        assert any(kind not in one_of_them for one_of_them in expected), kind


def test_every_judge_has_a_patient_that_it_speaks_of_and_one_that_it_leaves_alone() -> None:
    for judge in JUDGES:
        spoke = [bool(list(judge(case(name)))) for name in PATIENTS]
        assert any(spoke), judge.__name__
        assert not all(spoke), judge.__name__


def test_healthy_patients_are_told_of_no_failure() -> None:
    healthy = [name for name in PATIENTS if "healthy" in name]
    assert len(healthy) >= 4
    for name in healthy:
        assert {finding.severity for finding in found(name)} <= {"note"}, name


@pytest.mark.parametrize("name", PATIENTS)
def test_findings_say_what_and_why_and_how_sure_and_stand_in_order(name: str) -> None:
    told = found(name)
    for finding in told:
        assert finding.severity in SEVERITIES
        for text in (finding.found, finding.fix, finding.sure):
            assert text
            assert not text.endswith(".")
            assert "  " not in text
        assert all(evidence for evidence in finding.evidence)
    ranks = [SEVERITIES.index(finding.severity) for finding in told]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("name", PATIENTS)
def test_a_record_survives_json(name: str) -> None:
    seen = examination(PATIENTS[name]["examination"])
    assert examination(json.loads(json.dumps(plain(seen)))) == seen


def test_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(TypeError):
        examination({"place": {"weather": "rain"}})


MESSAGES = {
    ("colab-2025-01-27", "cudnn8-not-found"): "Could not load library libcudnn_ops_infer.so.8. "
    "Error: libcudnn_ops_infer.so.8: cannot open shared object file: No such file or directory",
    (
        "path-set-too-late",
        "cudnn9-not-found",
    ): "Unable to load any of {libcudnn_ops.so.9.1.0, libcudnn_ops.so.9.1, "
    "libcudnn_ops.so.9, libcudnn_ops.so}\nInvalid handle. Cannot load symbol cudnnCreateTensorDescriptor",
    (
        "pip-today",
        "cublas-not-found",
    ): "RuntimeError: Library libcublas.so.12 is not found or cannot be loaded",
    ("cublaslt-missing", "cublaslt-not-found"): "Could not load library libcublasLt.so.12. "
    "Error: libcublasLt.so.12: cannot open shared object file: No such file or directory",
    ("trixie-ct2-4.5", "executable-stack"): "ImportError: libctranslate2-bc15bf3f.so.4.5.0: cannot enable "
    "executable stack as shared object requires: Invalid argument",
    (
        "h100-driver-535",
        "ptx-too-new",
    ): "RuntimeError: parallel_for failed: cudaErrorUnsupportedPtxVersion: the "
    "provided PTX was compiled with an unsupported toolchain.",
    (
        "pascal-cu128",
        "no-kernel-image",
    ): "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    ("driver-470", "driver-too-old-or-absent"): "RuntimeError: CUDA failed with error CUDA driver version is "
    "insufficient for CUDA runtime version",
    (
        "dgx-spark",
        "ctranslate2-without-cuda",
    ): "ValueError: This CTranslate2 package was not compiled with CUDA support",
    ("dgx-spark", "torch-without-cuda"): "AssertionError: Torch not compiled with CUDA enabled",
    (
        "blackwell-cu121",
        "cublas-int8-blackwell",
    ): "RuntimeError: cuBLAS failed with status CUBLAS_STATUS_NOT_SUPPORTED",
    (
        "no-libcuda",
        "libcuda-not-found",
    ): "libcuda.so.1: cannot open shared object file: No such file or directory",
    ("old-glibc", "glibc-too-old"): "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.28' not found",
    ("torch-replaced", "torchvision-nms"): "RuntimeError: operator torchvision::nms does not exist",
}


@pytest.mark.parametrize(("name", "kind"), MESSAGES)
def test_a_finding_has_the_very_words_that_users_search_for(name: str, kind: str) -> None:
    assert one(name, kind).message == MESSAGES[name, kind]


def test_without_a_trial_the_words_follow_from_the_names_that_the_front_tries() -> None:
    for name, kind in (
        ("path-set-too-late", "cudnn9-not-found"),
        ("torch-cudnn-8-off-path", "cudnn8-not-found"),
    ):
        untried = case(name)._replace(seen=case(name).seen._replace(trials=()))
        [finding] = [finding for finding in findings(untried) if finding.id == kind]
        assert finding.message == one(name, kind).message
        assert "by the loader's answers" in finding.sure


def test_words_are_those_of_the_process_that_died_here() -> None:
    assert one("two-cudnn-8", "cudnn8-mixed").message.startswith(
        "Could not load library libcudnn_cnn_infer.so.8."
    )
    assert "undefined symbol: cudnnGetLibConfig" in one("older-cudnn-on-path", "cudnn9-mixed").message


def test_the_fix_is_that_of_the_place() -> None:
    in_container = one("trixie-ct2-4.5", "cublas-not-found")
    on_machine = one("pip-today", "cublas-not-found")
    assert in_container.commands[-1].endswith("> /etc/ld.so.conf.d/cuvee.conf && ldconfig")
    assert on_machine.commands[-1].startswith("export LD_LIBRARY_PATH=")
    assert on_machine.commands[0] == 'pip install "nvidia-cublas-cu12"'
    assert (
        one("colab-2025-01-27", "cudnn8-not-found")
        .commands[0]
        .startswith("%pip install --no-deps --target /content")
    )
    assert (
        "Runtime > Change runtime type"
        in findings(
            case("no-gpus-flag")._replace(
                seen=case("no-gpus-flag").seen._replace(place=case("path-set-too-late").seen.place)
            )
        )[0].fix
    )


def test_a_ctranslate2_that_whisperx_demands_is_kept_and_gets_cudnn_8_beside_it() -> None:
    assert one("colab-2025-01-27", "cudnn8-not-found").install == ()
    assert "nvidia-cudnn-cu12>=8.9,<9" in one("colab-2025-01-27", "cudnn8-not-found").commands[0]
    assert one("path-set-too-late", "cudnn9-not-found").install == ("ctranslate2>=4.6.3",)


def test_a_library_that_is_here_is_not_installed_a_second_time() -> None:
    present = one("whisperx-3.8-torch-first", "cublas-not-found")
    assert present.install == ()
    assert any("where the loader does not look" in fact for fact in present.evidence)


def test_what_torch_brings_into_the_process_is_not_missing() -> None:
    patient = case("whisperx-3.8-torch-first")
    brought = {
        "libcublas.so.12": patient.seen.loader["libcublas.so.12"]._replace(
            path="/a/libcublas.so.12", error=""
        )
    }
    assert not findings(patient._replace(seen=patient.seen._replace(imported=brought)))


def test_on_a_machine_without_a_gpu_it_is_said_that_a_finding_matters_on_one() -> None:
    assert one("cpu-only", "cublas-not-found").sure.endswith(
        "it matters on a GPU only, and none is visible here"
    )
    assert "GPU only" not in one("cpu-only", "driver-too-old-or-absent").sure
    assert "GPU only" not in one("pip-today", "cublas-not-found").sure


def test_a_cuda_13_library_is_installed_by_its_name_without_a_number() -> None:
    patient = case("pip-today")
    assert patient.seen.ctranslate2
    of_13 = patient.seen.ctranslate2._replace(opens=(("libcublas.so.13",),))
    answers = {"libcublas.so.13": patient.seen.loader["libcublas.so.12"]}
    seen = patient.seen._replace(ctranslate2=of_13, loader=answers, imported={}, torch=None, copies=())
    [finding] = [found for found in findings(patient._replace(seen=seen)) if found.id == "cublas-not-found"]
    assert finding.install == ("nvidia-cublas==13.*",)


def test_a_front_that_dies_for_want_of_the_driver_is_not_told_as_mixed() -> None:
    patient = case("healthy-cudnn-8")
    died = patient.seen.trials[1]._replace(
        code=134, words="libcuda.so.1: cannot open shared object file: No such file or directory"
    )
    assert not findings(patient._replace(seen=patient.seen._replace(trials=(died,))))


def test_each_kind_of_gpu_is_judged_and_each_only_once() -> None:
    patient = case("pascal-cu128")
    old, new = patient.seen.driver.gpus[0], Gpu("NVIDIA GeForce RTX 4090", "8.9", 24564)
    driver = patient.seen.driver._replace(gpus=(new, old, old))
    told = findings(patient._replace(seen=patient.seen._replace(driver=driver)))
    assert [finding.id for finding in told].count("no-kernel-image") == 1


@pytest.mark.parametrize(
    ("codes", "capability", "way"),
    [
        (("sm_70", "sm_86"), "8.9", "code"),
        (("sm_70", "sm_86"), "8.0", ""),
        (("sm_50", "sm_90"), "12.0", ""),
        (("sm_86", "compute_86"), "12.0", "ptx"),
        (("sm_86", "compute_86"), "8.0", ""),
        (("sm_53",), "5.2", ""),
        (("sm_50",), "5.2", "code"),
        (("sm_90a",), "9.0", "code"),
        (("sm_90a",), "10.0", ""),
        (("compute_90a",), "10.0", ""),
        (("sm_100f",), "10.3", "code"),
        (("compute_100f",), "12.0", ""),
        (("gfx90a",), "9.0", ""),
        ((), "8.6", ""),
    ],
)
def test_which_gpu_code_runs_where(codes: tuple[str, ...], capability: str, way: str) -> None:
    assert runs_on(codes, capability) == way


def test_ptx_is_held_against_the_drivers_number_where_its_cuda_is_unknown() -> None:
    patient = case("h100-driver-535")
    for version, expected in (("535.230.02", True), ("570.133.20", False)):
        driver = patient.seen.driver._replace(cuda="", version=version)
        told = findings(patient._replace(seen=patient.seen._replace(driver=driver)))
        assert any(finding.id == "ptx-too-new" for finding in told) == expected


def test_machine_code_for_a_gpu_needs_no_ptx() -> None:
    patient = case("h100-driver-535")
    driver = patient.seen.driver._replace(gpus=(Gpu("NVIDIA A10", "8.6"),))
    assert not findings(patient._replace(seen=patient.seen._replace(driver=driver)))


def test_a_user_who_allows_float16_is_believed() -> None:
    patient = case("pascal-cu128")
    place = patient.seen.place._replace(variables={"CT2_CUDA_ALLOW_FP16": "1"})
    told = findings(patient._replace(seen=patient.seen._replace(place=place)))
    assert "float16-unsupported" not in {finding.id for finding in told}


@pytest.mark.parametrize(
    ("words", "signature"),
    [
        ("RuntimeError: cuDNN version incompatibility: PyTorch was compiled", "cudnn-version-incompatible"),
        ("ImportError: libcuda.so.1: cannot open shared object file: No such file", "libcuda-not-found"),
        ("ImportError: libgomp.so.1: cannot open shared object file: No such file", "library-not-found"),
        ("OSError: x.so: undefined symbol: _ZN3c10", "torch-extension-mismatch"),
        ("no answer within 180 s", "import-hangs"),
        ("SyntaxError: invalid syntax", "import-fails"),
    ],
)
def test_the_words_of_an_import_name_the_failure(words: str, signature: str) -> None:
    one_import = examination({"imports": [{"module": "torchaudio", "error": words}]}).imports[0]
    assert of_packages.signature_of(one_import)[0] == signature
