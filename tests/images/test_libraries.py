"""Every library is found, by the real loader, without an environment variable."""

from __future__ import annotations

from typing import Any

import pytest

from builder.lock.record import Lock
from builder.matrix import Row

AWAY = "/tmp/away"
SITE = "/opt/cuvee/main/lib/python*/site-packages"


@pytest.mark.any_row
def test_every_elf_file_finds_what_it_needs(probe: Any, report: Any) -> None:
    found = probe.check("libraries")
    assert found["outcome"] == "passed", found["reason"]
    report.measured["libraries"] = found["reason"]


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
