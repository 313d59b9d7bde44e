"""What the patient's side makes of files, folders and the words of programs."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.doctor.patient import (
    binaries,
    disk,
    driving,
    examining,
    installed,
    placing,
    reading,
    running,
    searching,
    trying,
)
from builder.doctor.patient.facts import (
    Copy,
    CTranslate2,
    Gpu,
    Interpreter,
    Opened,
    Package,
    SearchPath,
    Torch,
)
from builder.doctor.patient.running import Done, NoChildError
from builder.doctor.patient.sight import Sight

ELF = Path(__file__).parents[1] / "elf"
ENGINE = ELF / "libctranslate2-d3638643.so.4.4.0"
SHIM_9 = ELF / "libcudnn-74a4c495.so.9.1.0"
STACK = b"\x51\xe5\x74\x64"  # PT_GNU_STACK


class FakeRunner:
    """Starts nothing: each verb of the child, and each program, has its answer."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def run(self, argv: list[str], timeout: float) -> Any:
        assert timeout
        self.asked.append(tuple(argv))
        return self.answers.get(Path(argv[0]).name.replace("-", "_"), Done(127, "", "not found"))

    def child(self, verb: str, arguments: list[str], timeout: float) -> Any:
        assert timeout
        self.asked.append((verb, *arguments))
        if verb not in self.answers:
            raise NoChildError(verb)
        answer = self.answers[verb]
        return answer(arguments) if callable(answer) else answer


def answering(**answers: Any) -> Any:
    return FakeRunner(answers)


def sight(root: Path, **variables: str) -> Sight:
    return Sight(root, variables)


def put(root: Path, path: str, text: str = "") -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


# The place


@pytest.mark.parametrize(
    ("variables", "files", "kind"),
    [
        ({"COLAB_RELEASE_TAG": "release-colab_20260819"}, {"/.dockerenv": ""}, "colab"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, {"/.dockerenv": ""}, "kaggle"),
        ({"RUNPOD_POD_ID": "x"}, {"/.dockerenv": ""}, "runpod"),
        ({}, {"/.dockerenv": ""}, "container"),
        ({}, {"/run/.containerenv": ""}, "container"),
        ({}, {"/proc/1/cgroup": "0::/docker/abc"}, "container"),
        ({}, {"/proc/version": "Linux version 6.6.87.2-microsoft-standard-WSL2"}, "wsl"),
        ({}, {"/proc/1/cgroup": "0::/init.scope", "/proc/version": "Linux version 6.1.0"}, "machine"),
    ],
)
def test_a_place_is_known_by_its_marks(
    tmp_path: Path, variables: dict[str, str], files: dict[str, str], kind: str
) -> None:
    for path, text in files.items():
        put(tmp_path, path, text)
    assert placing.place(sight(tmp_path, **variables), "Linux").kind == kind


@pytest.mark.parametrize(
    ("system", "kind"), [("Windows", "windows"), ("Darwin", "macos"), ("FreeBSD", "other")]
)
def test_other_systems_are_named_and_not_examined(tmp_path: Path, system: str, kind: str) -> None:
    assert placing.place(sight(tmp_path), system).kind == kind


def test_what_made_a_container_is_told(tmp_path: Path) -> None:
    assert placing.container_of(sight(tmp_path)) == ""
    assert placing.container_of(sight(tmp_path, KUBERNETES_SERVICE_HOST="10.0.0.1")) == "kubernetes"
    put(tmp_path, "/proc/1/cgroup", "1:cpu:/kubepods/burstable")
    assert placing.container_of(sight(tmp_path)) == "kubernetes"
    put(tmp_path, "/.dockerenv")
    assert placing.container_of(sight(tmp_path)) == "docker"


def test_no_secret_is_among_the_variables_that_are_told(tmp_path: Path) -> None:
    place = placing.place(
        sight(tmp_path, AWS_ACCESS_KEY_ID="-", LD_LIBRARY_PATH="/a", CUDA_VISIBLE_DEVICES="", CI="1"), "Linux"
    )
    assert place.variables == {"LD_LIBRARY_PATH": "/a", "CUDA_VISIBLE_DEVICES": ""}
    assert place.ci


def test_a_system_says_its_name() -> None:
    assert placing.system_of('NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n') == (
        "Debian GNU/Linux 12 (bookworm)"
    )
    assert placing.system_of("") == ""


# The driver


def test_three_gpus_are_three() -> None:
    out = (
        "NVIDIA A100-SXM4-40GB, 550.54.15, 8.0, 40960\n"
        "NVIDIA A100-SXM4-40GB, 550.54.15, 8.0, 40960\n"
        "NVIDIA GB10, 550.54.15, 12.1, [N/A]\n"
    )
    version, gpus, trouble = driving.smi(Done(0, out, ""))
    assert (version, trouble) == ("550.54.15", "")
    assert [(gpu.name, gpu.capability, gpu.memory_mib) for gpu in gpus] == [
        ("NVIDIA A100-SXM4-40GB", "8.0", 40960),
        ("NVIDIA A100-SXM4-40GB", "8.0", 40960),
        ("NVIDIA GB10", "12.1", 0),
    ]


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Done(127, "", "[Errno 2] No such file or directory: 'nvidia-smi'"), "No such file"),
        (
            Done(9, "NVIDIA-SMI has failed because\nit couldn't communicate", ""),
            "because it couldn't communicate",
        ),
        (Done(0, "\x00\xff garbage, , ,\n", ""), "garbage"),
        (Done(0, "", ""), "it said nothing and ended with exit code 0"),
        (Done(137, "", "\nno answer within 10 s"), "no answer within 10 s"),
        (Done(6, "NVIDIA A100, 550.54.15, 8.0, 40960\n", "killed halfway"), "killed halfway"),
    ],
)
def test_an_nvidia_smi_that_fails_leaves_its_words_and_no_gpu(done: Done, words: str) -> None:
    version, gpus, trouble = driving.smi(done)
    assert (version, gpus) == ("", ())
    assert words in trouble


def test_without_nvidia_smi_the_kernel_and_libcuda_are_asked(tmp_path: Path) -> None:
    put(
        tmp_path,
        "/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n",
    )
    put(tmp_path, "/dev/nvidia0")
    put(tmp_path, "/dev/null")
    put(tmp_path, "/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    said = [{"cuda": "12.4"}, {"gpu": "Tesla T4", "capability": "7.5", "memory_mib": 15095}]
    found = driving.driver(sight(tmp_path), answering(driver=(Done(0, "", ""), said)))
    assert (found.version, found.cuda, found.card) == ("550.54.15", "12.4", True)
    assert found.gpus == (Gpu("Tesla T4", "7.5", 15095),)
    assert found.devices == ("/dev/nvidia0",)
    assert found.smi == "not found"


def test_an_open_kernel_module_says_its_version_too() -> None:
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
    assert driving.of_module(text) == "570.86.15"
    assert driving.of_module("something else") == ""


def test_where_nothing_can_be_asked_there_is_no_driver(tmp_path: Path) -> None:
    found = driving.driver(sight(tmp_path), answering())
    assert (found.version, found.cuda, found.gpus, found.devices, found.card) == ("", "", (), (), False)
    assert "not asked" in found.libcuda


def test_a_libcuda_that_dies_leaves_its_last_words(tmp_path: Path) -> None:
    dead = (Done(139, "", "Traceback\nsegmentation fault"), [{"cuda": "12.4"}])
    assert driving.driver(sight(tmp_path), answering(driver=dead)).libcuda == "segmentation fault"


# What is installed


def test_packages_are_found_by_their_folders_and_their_metadata_are_not_opened(tmp_path: Path) -> None:
    for name in (
        "torch-2.5.1+cu124.dist-info",
        "pyannote.audio-3.4.0.dist-info",
        "nvidia_cudnn_cu12-9.1.0.70.dist-info",
        "numpy-1.24.2-py3.11.egg-info",
        "av.egg-info",
        "requests-2.32.0.dist-info",
        "~orch-2.4.0.dist-info",
        "torchgen",
    ):
        put(tmp_path, f"{name}/nothing-that-can-be-read")
    found = installed.packages((str(tmp_path), str(tmp_path / "missing")))
    assert [(package.name, package.version) for package in found] == [
        ("av", ""),
        ("numpy", "1.24.2"),
        ("nvidia-cudnn-cu12", "9.1.0.70"),
        ("pyannote-audio", "3.4.0"),
        ("torch", "2.5.1+cu124"),
    ]


def test_the_first_folder_on_the_path_has_the_package_that_counts(tmp_path: Path) -> None:
    for folder in ("user", "system"):
        put(tmp_path, f"{folder}/torch/__init__.py")
    folders = tuple(str(tmp_path / name) for name in ("empty", "user", "system"))
    assert installed.package_folder(folders, "torch") == tmp_path / "user" / "torch"
    assert installed.package_folder(folders, "torchaudio") is None


def test_the_interpreter_knows_itself() -> None:
    found = installed.interpreter()
    assert found.version.startswith("3.")
    assert found.executable
    assert "" not in found.folders


# What files say


def test_an_elf_file_says_what_it_needs_and_where_it_looks(tmp_path: Path) -> None:
    library = tmp_path / ENGINE.name
    library.write_bytes(ENGINE.read_bytes())
    said = binaries.read(library)
    assert said.needed == ("libcudnn-463fd6d5.so.8.9.7",)
    assert not said.executable_stack


def test_an_executable_stack_is_seen_in_the_flags_of_its_segment(tmp_path: Path) -> None:
    data = bytearray(ENGINE.read_bytes())
    at = data.index(STACK, 64)
    data[at + 4] |= 1
    library = tmp_path / "libctranslate2.so"
    library.write_bytes(data)
    assert binaries.read(library).executable_stack


def test_a_library_that_says_nothing_of_its_stack_gets_an_executable_one(tmp_path: Path) -> None:
    data = ENGINE.read_bytes().replace(STACK, b"\0\0\0\0", 1)
    library = tmp_path / "libctranslate2.so"
    library.write_bytes(data)
    assert binaries.read(library).executable_stack


@pytest.mark.parametrize("length", [0, 3, 40, 64, 200, 1000, 2000])
def test_a_file_that_ends_early_is_damaged_and_nothing_worse(tmp_path: Path, length: int) -> None:
    library = tmp_path / "libcut.so"
    library.write_bytes(ENGINE.read_bytes()[:length])
    with pytest.raises(binaries.DAMAGED):
        binaries.read(library)


@given(st.integers(0, ENGINE.stat().st_size - 1), st.binary(min_size=1, max_size=12))
def test_a_damaged_file_is_read_to_an_end_or_refused_and_nothing_worse(at: int, bytes_: bytes) -> None:
    data = bytearray(ENGINE.read_bytes())
    data[at : at + len(bytes_)] = bytes_
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        for read in (binaries.read, binaries.gpu_code, lambda path: binaries.section(path, ".rodata")):
            with suppress(*binaries.DAMAGED):
                read(Path(file.name))
        assert reading.opened_by([Path(file.name)]) is not None


def test_a_fat_binary_of_no_length_is_refused(tmp_path: Path) -> None:
    data = ENGINE.read_bytes()
    empty = (0xBA55ED50).to_bytes(4, "little") + b"\x01\0" + b"\0" * 10
    library = tmp_path / "libempty.so"
    library.write_bytes(data.replace(data[data.index(empty[:4]) :][:16], empty))
    with pytest.raises(binaries.DAMAGED):
        binaries.gpu_code(library)


def test_gpu_code_is_told_by_architecture_and_its_ptx_by_language() -> None:
    code = binaries.gpu_code(ENGINE)
    assert {"sm_53", "sm_86", "compute_86"} <= set(code.architectures)
    assert binaries.gpu_code(SHIM_9) == binaries.GpuCode((), None)


def test_the_list_of_architectures_is_read_from_torch_as_text() -> None:
    assert reading.architectures(ELF / "libtorch_python.so") == ("sm_70", "sm_75", "sm_90a", "compute_120")
    assert reading.architectures(ELF / "missing.so") == ()


def test_what_ctranslate2_opens_is_what_its_files_hold_and_are_not_linked_with() -> None:
    opened = reading.opened_by([ENGINE, ELF / "libcudnn-463fd6d5.so.8.9.7"])
    assert opened == (("libcublas.so.12",), ("libcudnn_ops_infer.so.8",), ("libcudnn_cnn_infer.so.8",))


def test_cudnn_9_is_tried_under_four_names() -> None:
    tried = ("libcudnn_graph.so.9.1.0", "libcudnn_graph.so.9.1", "libcudnn_graph.so.9", "libcudnn_graph.so")
    assert tried in reading.opened_by([SHIM_9])


def engine(folder: Path) -> Path:
    put(folder, "ctranslate2/__init__.py")
    for path in (ENGINE, ELF / "libcudnn-463fd6d5.so.8.9.7"):
        target = folder / "ctranslate2.libs" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder / "ctranslate2.libs" / ENGINE.name


def test_ctranslate2_is_read_from_its_wheels_folders(tmp_path: Path) -> None:
    library = engine(tmp_path)
    said = reading.ctranslate2((str(tmp_path),))
    assert said is not None
    assert (said.library, said.cuda, said.cudnn) == (str(library), True, "8")
    assert said.executable_stack == ()
    assert said.opens[0] == ("libcublas.so.12",)


def test_a_damaged_ctranslate2_is_still_a_ctranslate2(tmp_path: Path) -> None:
    engine(tmp_path).write_bytes(b"\x7fELF\x02\x01 garbage")
    said = reading.ctranslate2((str(tmp_path),))
    assert said is not None
    assert (said.cuda, said.architectures, said.ptx) == (False, (), "")


def test_what_is_not_installed_says_nothing(tmp_path: Path) -> None:
    assert reading.torch((str(tmp_path),)) is None
    assert reading.ctranslate2((str(tmp_path),)) is None
    assert reading.codec_builds((str(tmp_path),)) == ()


def test_torch_is_read_as_text_and_not_imported(tmp_path: Path) -> None:
    put(tmp_path, "torch/__init__.py", "raise RuntimeError('it was imported')")
    put(
        tmp_path,
        "torch/version.py",
        "from typing import Optional\n__version__ = '2.5.1+cu124'\ncuda: Optional[str] = '12.4'\n",
    )
    put(
        tmp_path,
        "torch-2.5.1+cu124.dist-info/METADATA",
        'Name: torch\nRequires-Dist: nvidia-cudnn-cu12==9.1.0.70; platform_system == "Linux"\n',
    )
    put(tmp_path, "torch/lib/libtorch_cuda.so", "garbage")
    said = reading.torch((str(tmp_path),))
    assert said == Torch(version="2.5.1+cu124", cuda="12.4", cudnn="9.1.0.70")


def test_a_torch_for_the_cpu_has_no_cuda(tmp_path: Path) -> None:
    put(tmp_path, "torch/__init__.py")
    put(tmp_path, "torch/version.py", "__version__ = '2.9.1+cpu'\ncuda: Optional[str] = None\n")
    assert reading.torch((str(tmp_path),)) == Torch(version="2.9.1+cpu")


def test_the_builds_of_torchcodec_are_its_files(tmp_path: Path) -> None:
    put(tmp_path, "torchcodec/__init__.py")
    for name in ("libtorchcodec_core4.so", "libtorchcodec_core7.so", "libtorchcodec_pybind_ops5.so"):
        put(tmp_path, f"torchcodec/{name}")
    assert reading.codec_builds((str(tmp_path),)) == (4, 7)


# Copies on disk


def test_a_file_counts_once_however_many_names_it_has(tmp_path: Path) -> None:
    real = put(tmp_path, "lib/libcudnn.so.9.8.0")
    (tmp_path / "lib/libcudnn.so.9").symlink_to(real)
    (tmp_path / "lib64").symlink_to(tmp_path / "lib")
    put(tmp_path, "lib/libcurl.so.4")
    paths = [tmp_path / "lib64" / name for name in ("libcudnn.so.9", "libcudnn.so.9.8.0", "libcurl.so.4")]
    paths.append(real)
    assert disk.copies(answering(), paths, ()) == (Copy("libcudnn.so.9", str(real), "9.8.0"),)


def test_a_wheels_version_is_that_of_its_libraries(tmp_path: Path) -> None:
    library = put(tmp_path, "nvidia/cudnn/lib/libcudnn_ops.so.9")
    packages = (
        Package("nvidia-cudnn-cu12", "9.10.2.21", str(tmp_path)),
        Package("nvidia-cublas-cu12", "12.8.4.1", str(tmp_path)),
    )
    assert disk.copies(answering(), [library], packages) == (
        Copy("libcudnn_ops.so.9", str(library), "9.10.2.21"),
    )


def test_a_library_without_a_number_is_asked_and_its_parts_are_of_the_same_version(tmp_path: Path) -> None:
    front = put(tmp_path, "opt/libcudnn.so.9")
    part = put(tmp_path, "opt/libcudnn_ops.so.9")
    said = [{"path": str(front), "version": "9.1.0"}]
    runner = answering(versions=(Done(0, "", ""), said))
    assert {copy.version for copy in disk.copies(runner, [front, part], ())} == {"9.1.0"}
    assert runner.asked == [("versions", str(front))]


def test_the_loaders_cache_is_read_and_where_it_cannot_be_the_default_folders(tmp_path: Path) -> None:
    out = (
        "3 libs found in cache `/etc/ld.so.cache'\n"
        "\tlibcudnn.so.9 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcudnn.so.9\n"
        "\tlibcudnn.so.9 (ELF) => /usr/lib32/libcudnn.so.9\n"
    )
    assert disk.cached(sight(tmp_path), answering(ldconfig=Done(0, out, ""))) == [
        Path("/usr/lib/x86_64-linux-gnu/libcudnn.so.9")
    ]
    library = put(tmp_path, "/usr/lib/aarch64-linux-gnu/libcudnn.so.9")
    assert library in disk.cached(sight(tmp_path), answering())


def test_toolkits_conda_and_the_loaders_path_are_looked_through(tmp_path: Path) -> None:
    expected = [
        put(tmp_path, "/usr/local/cuda-12.5/lib64/libcublas.so.12"),
        put(tmp_path, "/opt/conda/lib/libcudart.so.12"),
        put(tmp_path, "/started/libcudnn.so.9"),
        put(tmp_path, "/now/libcudnn.so.8"),
        put(tmp_path, "site/nvidia/cublas/lib/libcublas.so.12"),
    ]
    path = SearchPath(started="/started:", now="/now")
    folders = (str(tmp_path / "site"),)
    found = disk.candidates(sight(tmp_path, CONDA_PREFIX="/opt/conda"), answering(), folders, path)
    assert set(expected) <= set(found)


# LD_LIBRARY_PATH


def test_what_the_process_was_started_with_counts(tmp_path: Path) -> None:
    put(
        tmp_path,
        "/proc/self/environ",
        "HOME=/root\0LD_LIBRARY_PATH=/cuda/lib64/stubs:/gone\0LD_PRELOAD=/a.so /b.so\0",
    )
    put(tmp_path, "/cuda/lib64/stubs/libcuda.so")
    put(tmp_path, "/a.so")
    path = searching.search_path(sight(tmp_path, LD_LIBRARY_PATH="/later"))
    assert (path.started, path.now) == ("/cuda/lib64/stubs:/gone", "/later")
    assert path.missing == ("/gone",)
    assert path.stubs == ("/cuda/lib64/stubs",)
    assert path.lost == ("/b.so",)


def test_a_folder_that_is_only_named_stubs_has_none(tmp_path: Path) -> None:
    put(tmp_path, "/mine/stubs/libother.so")
    assert not searching.is_stubs(sight(tmp_path), "/mine/stubs")
    assert not searching.is_stubs(sight(tmp_path), "/cuda/lib64")


def test_without_proc_the_variables_are_those_of_now(tmp_path: Path) -> None:
    path = searching.search_path(sight(tmp_path, LD_LIBRARY_PATH="/now"))
    assert path.started == path.now == "/now"


# Trying


def test_a_name_that_the_child_did_not_come_to_has_no_answer() -> None:
    said = [{"name": "libcublas.so.12", "path": "/a/libcublas.so.12"}, {"name": "libx.so", "error": "no"}]
    answers = trying.loader_answers(
        answering(open=(Done(139, "", ""), said)), ["libcublas.so.12", "libx.so", "liby.so"]
    )
    assert answers == {"libcublas.so.12": Opened("/a/libcublas.so.12"), "libx.so": Opened("", "no")}
    assert trying.loader_answers(answering(), []) == {}


TORCH = Torch(libraries={"libcudnn.so.9": "/t/libcudnn.so.9", "libcublas.so.12": "/t/libcublas.so.12"})
CT2 = CTranslate2(front="/c/libcudnn-1.so.9.1.0")


def test_cudnn_is_used_in_both_orders_and_once_more_after_a_mere_beginning() -> None:
    runner = answering(cudnn=(Done(0, "", ""), [{"asked": "x"}, {"files": ["/f"], "version": "9.1.0"}]))
    trials = trying.trials(runner, CT2, TORCH)
    assert [trial.order for trial in trials] == [
        ("torch",),
        ("ctranslate2",),
        ("torch", "ctranslate2"),
        ("torch-begun", "ctranslate2"),
        ("ctranslate2", "torch"),
        ("ctranslate2-begun", "torch"),
    ]
    assert ("cudnn", "+/t/libcublas.so.12", "~/t/libcudnn.so.9", "/c/libcudnn-1.so.9.1.0") in runner.asked
    assert trials[0].files == ("/f",)


def test_who_has_no_front_is_not_tried() -> None:
    runner = answering(cudnn=(Done(0, "", ""), []))
    assert [trial.order for trial in trying.trials(runner, CTranslate2(), TORCH)] == [("torch",)]
    assert trying.trials(runner, None, None) == ()


def test_a_trial_keeps_the_last_words_and_the_call_it_died_in() -> None:
    dead = (Done(134, "", "Could not load library"), [{"asked": "cudnnCreateTensorDescriptor"}])
    [trial] = trying.trials(answering(cudnn=dead), CT2, None)
    assert (trial.code, trial.words, trial.asked) == (
        134,
        "Could not load library",
        "cudnnCreateTensorDescriptor",
    )


def test_a_refusal_is_a_failure_though_the_process_lived() -> None:
    refused = (Done(0, "", ""), [{"failed": "cudnnCreateTensorDescriptor returned 1"}])
    [trial] = trying.trials(answering(cudnn=refused), CT2, None)
    assert (trial.code, trial.words) == (1, "cudnnCreateTensorDescriptor returned 1")


def test_each_import_has_its_end_and_so_has_the_one_that_killed_the_child() -> None:
    def answer(arguments: list[str]) -> tuple[Done, list[dict[str, Any]]]:
        if arguments[2] == "torch":
            return Done(139, "", "segfault"), [{"started": "torch"}]
        assert json.loads(arguments[1]) == ["libcublas.so.12"]
        said = [
            {"module": "ctranslate2", "error": ""},
            {"name": "libcublas.so.12", "path": "/t/libcublas.so.12"},
        ]
        return Done(0, "", ""), said

    groups = [["torch", "torchaudio"], ["ctranslate2"]]
    ends, opened = trying.imports(answering(**{"import": answer}), Interpreter(), groups, ["libcublas.so.12"])
    assert [(one.module, one.error, one.code) for one in ends] == [
        ("torch", "segfault", 139),
        ("ctranslate2", "", 0),
    ]
    assert opened == {"libcublas.so.12": Opened("/t/libcublas.so.12")}


def test_a_childs_facts_are_whole_lines_of_json() -> None:
    assert running.facts('{"a": 1}\nnoise\n{"b": 2}\n{"cut') == [{"a": 1}, {"b": 2}]


# The whole


def test_a_part_that_breaks_leaves_a_word_of_it_and_the_others_go_on(tmp_path: Path) -> None:
    told: list[str] = []
    seen = examining.examine(examining.Scene(sight(tmp_path), answering()), told.append)
    assert len(told) == len(examining.PARTS)
    assert any(
        trouble.startswith("what the loader takes could not be looked at") for trouble in seen.troubles
    )
    assert seen.python.version
    assert seen.path.started == ""


def test_on_another_system_nothing_but_the_place_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    told: list[str] = []
    seen = examining.examine(examining.Scene(sight(tmp_path), answering()), told.append)
    assert (seen.place.kind, told) == ("macos", [])
