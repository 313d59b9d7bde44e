"""Every library is found, by the real loader, without an environment variable."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

import pytest

from builder import pipeline
from builder.abi.loader import Cause, Failed, Loaded
from builder.lock.record import Lock
from builder.matrix import Row
from builder.places import HOME
from builder.project import Project
from builder.verdict.setting import Setting

AWAY = "/tmp/away"


@pytest.mark.anywhere
@pytest.mark.any_row
def test_every_elf_file_finds_what_it_needs(probe: Any, project: Project, row: Row, report: Any) -> None:
    """All of a good row; of a known-bad one, all but what the proof says."""
    found = probe.check("libraries")
    told = {
        file
        for name in pipeline.prove(project, row).names
        if not name.leads_to and not name.waived
        for file in name.by
    }
    assert set(found["details"]["unresolved"]) <= told, found["reason"]
    report.measured["libraries"] = found["reason"]


@pytest.mark.any_row
def test_the_proof_and_the_real_loader_agree_on_every_file(probe: Any, setting: Setting, report: Any) -> None:
    """The proof knows the wheels' facts and the loader's rules; the loader knows the files."""
    seen = probe.trace()
    linked = {path for path in setting.owners if setting.world.files[path].needed}
    assert {path for path in seen if path.startswith(f"{HOME}/")} >= linked
    differing = {
        path: (said, seen[path]) for path in linked if (said := _predicted(setting, path, seen[path]))
    }
    assert differing == {}
    report.measured["proof and loader agree on"] = f"{len(linked)} files"


def _predicted(setting: Setting, path: str, seen: dict[str, Any]) -> str:
    """How the proof differs from what the loader did with one file alone, or ""."""
    outcome = setting.process().open(path)
    if isinstance(outcome, Failed):
        # A stack that shall be executable is refused when a file is opened, not when it is traced.
        traced = outcome.cause is not Cause.EXECUTABLE_STACK
        return outcome.text if traced and outcome.name not in seen["missing"] else ""
    driver = {found.name for found in outcome.new if found.path == "driver"}
    found = {found.path for found in outcome.new[1:] if found.path != "driver"}
    real = {library for library in seen["libraries"] if "/ld-linux-" not in library}
    loader = {library for library in found if "/ld-linux-" not in library}
    same = loader == real and driver == set(seen["missing"]) and not seen["complaints"]
    return "" if same else f"only predicted {loader - real}, only seen {real - loader}, driver {driver}"


@pytest.mark.usefixtures("cuda")
def test_the_proof_and_the_real_loader_agree_on_what_is_opened(
    hearing: Any, setting: Setting, environment: str
) -> None:
    if environment != hearing.environment:
        pytest.skip("CTranslate2 is in another environment")
    opened = hearing.check("opened")["details"]["opened"]
    process = setting.process()
    for name, paths in opened.items():
        outcome = process.fork().open(name)
        assert isinstance(outcome, Loaded), name
        assert {str(PurePosixPath(path)) for path in paths} >= {outcome.path}, name


@pytest.mark.anywhere
@pytest.mark.any_row
def test_an_elf_file_away_from_its_siblings_is_reported(hearing: Any, host: Any) -> None:
    host.check_output(f"mkdir -p {AWAY} && cp {hearing.site}/ctranslate2/_ext*.so {AWAY}/")
    found = hearing.check("libraries", "--also", AWAY)
    assert found["outcome"] == "failed"
    assert "libctranslate2" in str(found)  # the reason may be of other files first
    host.check_output(f"rm -r {AWAY}")


@pytest.mark.anywhere
@pytest.mark.usefixtures("cuda")
def test_what_ctranslate2_opens_by_name_loads(hearing: Any, report: Any) -> None:
    found = hearing.check("opened")
    assert found["outcome"] == "passed", found["reason"]
    report.measured["opened"] = sorted(found["details"]["opened"])


@pytest.mark.anywhere
@pytest.mark.usefixtures("cuda")
def test_the_names_are_those_that_the_lock_computed(hearing: Any, lock: Lock) -> None:
    """The probe reads them in the image, the lock read them in the wheel: two readings, one truth."""
    [package] = [one for one in lock.packages() if one.name == "ctranslate2"]
    opened = hearing.check("opened")["details"]["opened"]
    assert opened
    assert set(opened) <= set(package.facts.opens)


def test_they_do_not_load_when_the_loaders_cache_is_hidden(hearing: Any) -> None:
    found = hearing.check("opened", "--hide-cache")
    assert found["outcome"] == "failed"
    assert "libcublas.so" in found["reason"]
    assert "cannot open shared object file: No such file or directory" in found["reason"]


@pytest.mark.usefixtures("cuda")
def test_they_load_after_the_nvidia_runtime_has_made_the_cache_anew(hearing: Any, root: Any) -> None:
    root.check_output("ldconfig")
    assert hearing.check("opened")["outcome"] == "passed"


def test_no_library_path_is_set(root: Any) -> None:
    assert "LD_LIBRARY_PATH" not in root.environment()
    assert "LD_PRELOAD" not in root.environment()


def test_the_cache_offers_what_is_opened_by_name(root: Any, row: Row, lock: Lock) -> None:
    """torch's own cuDNN 9 must come by its RPATH; were it in the cache, another cuDNN could be mixed in."""
    cached = root.check_output("ldconfig -p")
    opened = {name for package in lock.packages() for name in package.facts.opens}
    assert bool(re.search(r"libcublas\.so\.1[12]", cached)) == bool(row.cuda)
    assert ("libcudnn_ops_infer.so.8" in cached) == ("libcudnn_ops_infer.so.8" in opened)
    if "libcudnn_ops.so.9" not in opened:
        assert "libcudnn_ops.so.9" not in cached


@pytest.mark.anywhere
@pytest.mark.any_row
@pytest.mark.usefixtures("cuda")
def test_no_cuda_library_is_carried_twice(probe: Any, row: Row) -> None:
    found = probe.check("copies")
    if row.fails_with and "SUBLIBRARY_VERSION_MISMATCH" in row.fails_with.message:
        assert "libcudnn" in found["reason"]  # two cuDNNs are what the row is about
    else:
        assert found["outcome"] == "passed", found["reason"]


@pytest.mark.anywhere
@pytest.mark.usefixtures("cuda")
def test_a_second_copy_of_a_cuda_library_is_reported(probe: Any, host: Any) -> None:
    names = (f"{probe.site}/nvidia/*/lib/lib{name}.so.[0-9]*" for name in ("cudart", "nvblas"))
    library = host.run(f"ls {' '.join(names)} 2>/dev/null").stdout.splitlines()[0]
    host.check_output(f"mkdir -p {AWAY} && cp {library} {AWAY}/")
    found = probe.check("copies", "--also", AWAY)
    assert found["outcome"] == "failed"
    assert PurePosixPath(library).name in found["reason"]
    host.check_output(f"rm -r {AWAY}")
