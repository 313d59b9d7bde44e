"""CTranslate2's cuDNN works, in whatever order the modules are imported."""

from __future__ import annotations

import re
from typing import Any

import pytest

from builder.lock.record import Lock
from builder.matrix import Row
from tests.images.conftest import Probe, that_has


@pytest.mark.anywhere
def test_ctranslate2_can_use_its_cudnn(hearing: Any, report: Any) -> None:
    found = hearing.check("cudnn")
    if found["outcome"] == "skipped":
        pytest.skip(found["reason"])
    assert found["outcome"] == "passed", found["reason"]
    report.measured["cudnn"] = found["reason"]


def test_it_aborts_with_the_message_that_users_know_when_cudnn_is_hidden(hearing: Any) -> None:
    found = hearing.check("cudnn", "--hide-cache")
    if found["outcome"] == "skipped":
        pytest.skip(found["reason"])
    assert found["outcome"] == "failed"
    assert found["details"]["exit_code"] == 134
    said = found["details"]["stderr"]
    assert re.search(r"libcudnn_\S+: cannot open shared object file|Unable to load any of \{libcudnn_", said)


@pytest.mark.anywhere
def test_every_import_order_works_and_each_cudnn_comes_from_one_folder(probe: Any, report: Any) -> None:
    found = probe.check("orders")
    assert found["outcome"] == "passed", found["reason"]
    report.measured["orders"] = found["reason"]
    report.measured["orders_seconds"] = found["seconds"]


@pytest.mark.anywhere
def test_a_module_that_cannot_be_imported_is_reported(probe: Any) -> None:
    found = probe.check("orders", "--modules", "numpy,no_such_module")
    assert found["outcome"] == "failed"
    assert "no_such_module" in found["reason"]


OTHER = "/tmp/other"


def test_two_cudnns_of_one_major_are_reported(host: Any, row: Row, lock: Lock) -> None:
    """What a host's own cuDNN on LD_LIBRARY_PATH does to torch's: its parts come from two folders."""
    probe = Probe(host, that_has(lock, "torch"))
    version = dict(row.stacks())[probe.environment].cudnn
    part = "libcudnn_graph.so.9" if version and version.startswith("9.") else "libcudnn_ops_infer.so.8"
    host.check_output(f"mkdir -p {OTHER} && cp {probe.site}/nvidia/cudnn/lib/{part} {OTHER}/")
    here = next(one for one in lock.environments if one.name == probe.environment)
    modules = ",".join(name for name in ("torch", "ctranslate2") if here.package(name))
    found = probe.check("orders", "--modules", modules, LD_LIBRARY_PATH=OTHER)
    host.check_output(f"rm -r {OTHER}")
    if found["outcome"] == "passed" and "without a driver" in found["reason"]:
        pytest.skip("this cuDNN is not even loaded without the host's driver")
    assert found["outcome"] == "failed"
    assert OTHER in found["reason"]
