from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

from builder import matrix
from builder.launcher import environments as reading
from builder.lock import record
from builder.plan import Plan, plan
from builder.project import Project
from builder.render.dockerfile import dockerfile
from builder.render.launcher import FORMAT, command, environments, image_files, launcher, launcher_files

ROOT = Path(__file__).parents[2]
GOLDEN = Project(ROOT / "tests" / "golden")


def planned(name: str) -> Plan:
    [row] = matrix.load(GOLDEN.matrix).select([name])
    return plan(row, record.read(GOLDEN.image(name) / record.FILE))


def test_the_package_is_what_lies_in_the_launchers_folder_sorted_and_nothing_compiled() -> None:
    files = launcher_files()
    folder = ROOT / "builder" / "launcher"
    assert list(files) == sorted(files)
    assert {"__init__.py", "transcribe.py", "isolation.py", "causes.json"} <= files.keys()
    assert {name for name in files if "pyc" in name or "/" in name} == set()
    assert all((folder / name).read_text(encoding="utf-8") == text for name, text in files.items())


def test_the_build_context_has_all_of_it() -> None:
    names = launcher(planned("blend")).keys()
    assert names == {"environments.json", "transcribe", *(f"launcher/{name}" for name in launcher_files())}
    assert names <= dockerfile(planned("blend")).keys()


def test_every_environment_finds_the_package_where_the_image_has_it() -> None:
    files = {str(one.path): one for one in image_files(planned("split"))}
    for name in ("asr", "diarize"):
        assert files[f"/opt/cuvee/{name}/lib/python3.11/site-packages/cuvee.pth"].text == "/opt/cuvee/lib\n"
    assert files["/opt/cuvee/lib/cuvee/__init__.py"].text == launcher_files()["__init__.py"]
    assert {path for path, one in files.items() if one.mode != 0o644} == {"/opt/cuvee/bin/transcribe"}
    assert files["/opt/cuvee/bin/transcribe"].mode == 0o755


def test_the_dockerfile_puts_each_file_where_the_direct_engine_does() -> None:
    text = dockerfile(planned("split"))["Dockerfile"]
    for one in image_files(planned("split")):
        folder, name = one.path.parent, one.path.name
        if name == "cuvee.pth":
            assert f"echo {one.text.strip()} >{one.path}" in text
        else:
            assert f"install -D --mode={one.mode:o} --target-directory={folder} /run/" in text


def test_the_launcher_reads_what_is_written_of_environments() -> None:
    written = json.loads(environments(planned("split")))
    assert (written["format"], written["row"]) == (FORMAT, "split")
    asr, diarize = reading.read(written)
    assert (asr.name, asr.python, asr.does) == ("asr", "/opt/cuvee/asr/bin/python", ("transcribe",))
    assert (diarize.name, diarize.does) == ("diarize", ("speakers",))
    assert asr.libraries == tuple(map(str, planned("split").environments[0].libraries))


def test_tasks_have_the_launchers_names() -> None:
    tasks = {task for one in planned("split").environments for task in one.does}
    assert tasks == reading.TASKS.keys()


def test_the_command_runs_in_the_environment_that_transcribes_else_in_the_first() -> None:
    split = planned("split")
    turned = dataclasses.replace(split, environments=split.environments[::-1])
    for one in (split, turned):
        assert command(one).startswith("#!/opt/cuvee/asr/bin/python -I\n")
    assert command(planned("small")).startswith("#!/opt/cuvee/main/bin/python -I\n")
    ast.parse(command(split))
