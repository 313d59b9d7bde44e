"""The one file of the doctor, really run: as a program, from standard input, pasted, and in broken places."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

DOCTOR = Path(__file__).parents[2] / "builder" / "doctor" / "doctor.py"
ELF = Path(__file__).parents[1] / "elf"
TEXT = DOCTOR.read_text(encoding="utf-8")
BARE = {"PATH": "/usr/bin:/bin"}


def started(
    *arguments: str, program: Path | str = DOCTOR, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        input=stdin,
        env=BARE if env is None else env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def examined(*arguments: str, **more: Any) -> dict[str, Any]:
    """The doctor's JSON; the exit code has to agree with it."""
    done = started("--json", *arguments, **more)
    data: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if data["healthy"] else 1), done.stderr
    assert done.stderr == ""
    return data


def ids(data: dict[str, Any]) -> dict[str, str]:
    return {finding["id"]: finding["severity"] for finding in data["findings"]}


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder of packages with a CTranslate2 made of tiny libraries."""
    folder = tmp_path / "site-packages"
    for name in ("ctranslate2", "ctranslate2.libs", "ctranslate2-4.4.0.dist-info"):
        (folder / name).mkdir(parents=True)
    (folder / "ctranslate2/__init__.py").write_text("print('noise on standard output')\n", encoding="utf-8")
    for library in ("libctranslate2-d3638643.so.4.4.0", "libcudnn-463fd6d5.so.8.9.7"):
        shutil.copy(ELF / library, folder / "ctranslate2.libs")
    return folder


def executing(before: str, *arguments: str) -> str:
    """A program that does something, and then executes the doctor as from standard input."""
    execute = f"exec(open({str(DOCTOR)!r}).read(), {{'__name__': '__main__'}})"
    return f"import sys\n{before}\nsys.argv = {['-', *arguments]!r}\n{execute}\n"


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


# How it is run


def test_it_runs_here_to_its_end_quickly_and_quietly() -> None:
    before = time.monotonic()
    data = examined()
    assert time.monotonic() - before < 15  # half a second on a quiet machine
    assert data["format"] == 1
    assert data["examination"]["troubles"] == []
    assert data["examination"]["python"]["executable"] == sys.executable


def test_it_runs_without_any_variable() -> None:
    assert examined(env={})["examination"]["troubles"] == []


def test_it_runs_from_standard_input() -> None:
    done = started("--json", program="-", stdin=TEXT)
    assert json.loads(done.stdout)["format"] == 1


def test_it_runs_as_a_program_for_people() -> None:
    done = started()
    assert done.returncode in {0, 1}  # the machine may really have a fault
    assert "\nFacts\n" in done.stdout
    assert "took" in done.stdout


PASTED = f"""
import asyncio, contextlib, io, sys
sys.argv = ["/somewhere/ipykernel_launcher.py", "-f", "/root/.local/kernel.json", "--json"]
source = open({str(DOCTOR)!r}).read()
async def cell():
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(source, "<cell>", "exec"), {{"__name__": "__main__"}})
    return said.getvalue()
print("the kernel lives:", asyncio.run(cell()))
"""


def test_pasted_into_a_notebook_it_prints_to_the_cell_and_leaves_the_kernel_alive(tmp_path: Path) -> None:
    """No `__file__`, the kernel's arguments, a running event loop, a captured standard output."""
    (tmp_path / "kernel.py").write_text(PASTED, encoding="utf-8")
    done = started(program=tmp_path / "kernel.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the kernel lives: ")
    assert "\nFacts\n" in done.stdout


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["-h"], 0), (["--jsno"], 2), (["x"], 2)])
def test_a_wrong_command_line_gets_the_usage(arguments: list[str], code: int) -> None:
    done = started(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("usage:")


def old_python() -> str:
    """A Python 3.8 or 3.9 of this machine, or ""."""
    for name in ("python3.8", "python3.9"):
        found = shutil.which(name)
        if found and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
            return found
    return ""


@pytest.mark.skipif(not old_python(), reason="this machine has no Python 3.8 or 3.9")
def test_it_runs_on_an_old_python() -> None:
    done = subprocess.run(
        [old_python(), "-W", "error", str(DOCTOR), "--json"], env=BARE, capture_output=True, check=False
    )
    assert json.loads(done.stdout)["examination"]["troubles"] == []


def test_where_no_child_can_be_started_it_says_so_and_claims_nothing(tmp_path: Path, packages: Path) -> None:
    (tmp_path / "embedded.py").write_text(executing("sys.executable = ''", "--json"), encoding="utf-8")
    done = started(program=tmp_path / "embedded.py", env={**BARE, "PYTHONPATH": str(packages)})
    data = json.loads(done.stdout)
    assert any("does not know its own executable" in trouble for trouble in data["examination"]["troubles"])
    assert set(ids(data)) <= {"driver-too-old-or-absent", "several-copies"}


# What it finds


def test_a_ctranslate2_without_its_libraries_is_told_what_it_will_say(packages: Path) -> None:
    data = examined("--for-gpu", env={**BARE, "PYTHONPATH": str(packages)})
    assert data["examination"]["troubles"] == []
    engine = data["examination"]["ctranslate2"]
    assert engine["opens"][0] == ["libcublas.so.12"]
    assert ids(data)["cublas-not-found"] == "will-fail"
    assert [one["module"] for one in data["examination"]["imports"] if not one["error"]] == ["ctranslate2"]
    assert data["examination"]["loader"]["libcublas.so.12"]["error"].startswith(
        "libcublas.so.12: cannot open"
    )


def test_a_module_that_aborts_or_raises_is_told_and_takes_nobody_along(packages: Path) -> None:
    (packages / "ctranslate2/__init__.py").write_text("import os\nos.abort()\n", encoding="utf-8")
    torch = packages / "torch"
    (torch / "lib").mkdir(parents=True)
    (torch / "lib/libtorch_cuda.so").write_bytes(b"\x7fELF garbage")
    (torch / "version.py").write_text("__version__ = '2.8.0+cu128'\ncuda = '12.8'\n", encoding="utf-8")
    load = f"import ctypes\nctypes.CDLL({str(torch / 'lib/libtorch_cuda.so')!r})\n"
    (torch / "__init__.py").write_text(load, encoding="utf-8")
    data = examined(env={**BARE, "PYTHONPATH": str(packages)})
    errors = {one["module"]: (one["error"], one["code"]) for one in data["examination"]["imports"]}
    assert "invalid ELF header" in errors["torch"][0] or "file too short" in errors["torch"][0]
    assert errors["ctranslate2"][1] == 134
    assert ids(data)["import-fails"] == "broken"


def test_a_path_that_is_set_too_late_is_told_from_one_that_was_there(tmp_path: Path, packages: Path) -> None:
    libraries = tmp_path / "lib"
    libraries.mkdir()
    shutil.copy(ELF / "libsystem.so.6", libraries / "libcublas.so.12")
    env = {**BARE, "PYTHONPATH": str(packages)}
    early = examined("--for-gpu", env={**env, "LD_LIBRARY_PATH": str(libraries)})
    assert "cublas-not-found" not in ids(early)
    assert "library-path-too-late" not in ids(early)
    assert early["examination"]["loader"]["libcublas.so.12"]["path"] == str(libraries / "libcublas.so.12")
    before = f"import os\nos.environ['LD_LIBRARY_PATH'] = {str(libraries)!r}"
    (tmp_path / "late.py").write_text(executing(before, "--json", "--for-gpu"), encoding="utf-8")
    late = json.loads(started(program=tmp_path / "late.py", env=env).stdout)
    assert ids(late)["library-path-too-late"] == ids(late)["cublas-not-found"] == "will-fail"
    assert "libcublas.so.12" in late["examination"]["path"]["late"]


# nvidia-smi


def test_three_gpus_and_an_old_driver_are_seen_through_nvidia_smi(tmp_path: Path, packages: Path) -> None:
    line = "NVIDIA GeForce GTX 950M, 470.256.02, 5.0, 4096"
    program(tmp_path / "bin", "nvidia-smi", "\n".join([f"echo '{line}'"] * 3))
    env = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "PYTHONPATH": str(packages)}
    data = examined(env=env)
    assert len(data["examination"]["driver"]["gpus"]) == 3
    assert ids(data)["driver-too-old-or-absent"] == "broken"
    assert ids(data)["no-kernel-image"] == "broken"


def test_an_nvidia_smi_that_prints_garbage_is_no_driver(tmp_path: Path) -> None:
    program(tmp_path / "bin", "nvidia-smi", "head -c 2000 /dev/urandom")
    data = examined(env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})
    assert data["examination"]["driver"]["gpus"] == []
    assert data["examination"]["troubles"] == []


def test_an_nvidia_smi_that_hangs_is_given_up_with_its_children(tmp_path: Path) -> None:
    program(tmp_path / "bin", "nvidia-smi", "sleep 59 & echo $! > $0.child; wait")
    impatient = tmp_path / "doctor.py"
    [timeout] = [line for line in TEXT.splitlines() if line.endswith("TIMEOUT = 10.0") and "driving" in line]
    impatient.write_text(TEXT.replace(timeout, timeout.replace("10.0", "0.5")), encoding="utf-8")
    before = time.monotonic()
    data = examined(program=impatient, env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})
    assert time.monotonic() - before < 30
    assert data["examination"]["driver"]["smi"].endswith("no answer within 0 s")
    assert "driver-refuses" in ids(data)
    child = int((tmp_path / "bin/nvidia-smi.child").read_text(encoding="utf-8"))
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}/cmdline").exists()


# The child


def child(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, list[dict[str, Any]], str]:
    assigned = [node for node in ast.parse(TEXT).body if isinstance(node, ast.Assign)]
    [text] = [ast.literal_eval(node.value) for node in assigned if ast.unparse(node.targets[0]) == "CHILD"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", text, *arguments],
        env={**BARE, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_the_loader_says_which_file_a_name_is() -> None:
    code, said, _ = child("open", "libc.so.6", "libnot-here.so.1")
    assert code == 0
    assert os.path.basename(said[1]["path"]) == "libc.so.6"  # noqa: PTH119 - it is a loader's answer
    assert Path(said[1]["path"]).is_absolute()
    assert said[2]["error"].startswith("libnot-here.so.1: cannot open shared object file")


FRONT = r"""
#include <stdio.h>
#include <stdlib.h>
int cudnnCreateTensorDescriptor(void **made) { *made = 0; return 0; }
int cudnnCreateConvolutionDescriptor(void **made) {
    fprintf(stderr, "Could not load library libcudnn_cnn_infer.so.8. Error: gone\n");
    abort();
}
unsigned long cudnnGetVersion(void) { return 91002; }
"""


@pytest.fixture
def front(tmp_path: Path) -> Path:
    """A front of cuDNN that finds one of its libraries and dies for want of another."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to make a library with")
    library = tmp_path / "libcudnn.so.9"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)], input=FRONT, text=True, check=True
    )
    return library


def test_a_front_that_aborts_is_heard_to_its_last_word(front: Path) -> None:
    code, said, words = child("cudnn", str(front))
    assert code == -6
    assert [fact["asked"] for fact in said[1:]] == [
        "cudnnCreateTensorDescriptor",
        "cudnnCreateConvolutionDescriptor",
    ]
    assert words.startswith("Could not load library libcudnn_cnn_infer.so.8.")


def test_a_front_that_is_only_begun_or_loaded_is_not_used_further(front: Path) -> None:
    for begun in ([f"~{front}"], [f"+{front}"]):
        code, said, _ = child("cudnn", *begun)
        assert code == 0
        assert [fact["files"] for fact in said if "files" in fact] == [[str(front)]]
        assert len([fact for fact in said if "asked" in fact]) == len(
            [path for path in begun if path[0] == "~"]
        )


def test_a_library_is_asked_for_its_version(front: Path) -> None:
    _, said, _ = child("versions", str(front), "/nowhere/libcudnn.so.9")
    assert said[1:] == [{"path": str(front), "version": "9.10.2"}]
