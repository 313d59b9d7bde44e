"""Every library is found, by the real loader, without an environment variable."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from builder.abi.loader import Failed, Loaded
from builder.lock.record import Lock
from builder.matrix import Row
from builder.plan import HOME
from builder.verdict.setting import Setting

AWAY = "/tmp/away"
SITE = "/opt/cuvee/main/lib/python*/site-packages"


@pytest.mark.any_row
def test_every_elf_file_finds_what_it_needs(probe: Any, report: Any) -> None:
    found = probe.check("libraries")
    assert found["outcome"] == "passed", found["reason"]
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
        return "" if outcome.name in seen["missing"] else outcome.text
    driver = {found.name for found in outcome.new if found.path == "driver"}
    found = {found.path for found in outcome.new[1:] if found.path != "driver"}
    real = {library for library in seen["libraries"] if "/ld-linux-" not in library}
    loader = {library for library in found if "/ld-linux-" not in library}
    same = loader == real and driver == set(seen["missing"]) and not seen["complaints"]
    return "" if same else f"only predicted {loader - real}, only seen {real - loader}, driver {driver}"


def test_the_proof_and_the_real_loader_agree_on_what_is_opened(probe: Any, setting: Setting) -> None:
    opened = probe.check("opened")["details"]["opened"]
    process = setting.process()
    for name, paths in opened.items():
        outcome = process.fork().open(name)
        assert isinstance(outcome, Loaded), name
        assert {str(PurePosixPath(path)) for path in paths} >= {outcome.path}, name


@pytest.mark.any_row
def test_an_elf_file_away_from_its_siblings_is_reported(probe: Any, host: Any) -> None:
    host.check_output(f"mkdir -p {AWAY} && cp {SITE}/ctranslate2/_ext*.so {AWAY}/")
    found = probe.check("libraries", "--also", AWAY)
    assert found["outcome"] == "failed"
    assert "libctranslate2" in found["reason"]
    host.check_output(f"rm -r {AWAY}")


def test_what_ctranslate2_opens_by_name_loads(probe: Any, report: Any) -> None:
    found = probe.check("opened")
    assert found["outcome"] == "passed", found["reason"]
    report.measured["opened"] = sorted(found["details"]["opened"])


def test_the_names_are_those_that_the_lock_computed(probe: Any, lock: Lock) -> None:
    """The probe reads them in the image, the lock read them in the wheel: two readings, one truth."""
    package = lock.main.package("ctranslate2")
    assert package
    opened = probe.check("opened")["details"]["opened"]
    assert opened
    assert set(opened) <= set(package.facts.opens)


def test_they_do_not_load_when_the_loaders_cache_is_hidden(probe: Any) -> None:
    found = probe.check("opened", "--hide-cache")
    assert found["outcome"] == "failed"
    assert "libcublas.so" in found["reason"]
    assert "cannot open shared object file: No such file or directory" in found["reason"]


def test_they_load_after_the_nvidia_runtime_has_made_the_cache_anew(probe: Any, root: Any) -> None:
    root.check_output("ldconfig")
    assert probe.check("opened")["outcome"] == "passed"


def test_no_library_path_is_set(root: Any) -> None:
    assert "LD_LIBRARY_PATH" not in root.environment()
    assert "LD_PRELOAD" not in root.environment()


def test_the_cache_offers_only_what_is_opened_by_name(root: Any, row: Row) -> None:
    """torch's own cuDNN 9 must come by its RPATH; were it in the cache, another cuDNN could be mixed in."""
    cached = root.check_output("ldconfig -p")
    assert "libcublas.so.12" in cached
    if row.overlays:
        assert "libcudnn_ops_infer.so.8" in cached
        assert "libcudnn_ops.so.9" not in cached


@pytest.mark.any_row
def test_no_cuda_library_is_carried_twice(probe: Any) -> None:
    found = probe.check("copies")
    assert found["outcome"] == "passed", found["reason"]


@pytest.mark.any_row
def test_a_second_copy_of_a_cuda_library_is_reported(probe: Any, host: Any) -> None:
    host.check_output(f"mkdir -p {AWAY} && cp {SITE}/nvidia/cublas/lib/libnvblas.so.12 {AWAY}/")
    found = probe.check("copies", "--also", AWAY)
    assert found["outcome"] == "failed"
    assert "libnvblas.so.12" in found["reason"]
    host.check_output(f"rm -r {AWAY}")
