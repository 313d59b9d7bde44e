"""CTranslate2's cuDNN works, in whatever order the modules are imported."""

from __future__ import annotations

from typing import Any

import pytest

from builder.matrix import Row


def test_ctranslate2_can_use_its_cudnn(probe: Any, report: Any) -> None:
    found = probe.check("cudnn")
    if found["outcome"] == "skipped":
        pytest.skip(found["reason"])
    assert found["outcome"] == "passed", found["reason"]
    report.measured["cudnn"] = found["reason"]


def test_it_aborts_with_the_message_that_users_know_when_cudnn_is_hidden(probe: Any) -> None:
    found = probe.check("cudnn", "--hide-cache")
    if found["outcome"] == "skipped":
        pytest.skip(found["reason"])
    assert found["outcome"] == "failed"
    assert found["details"]["exit_code"] == 134
    assert "libcudnn" in found["details"]["stderr"]
    assert "cannot open shared object file" in found["details"]["stderr"]


def test_every_import_order_works_and_each_cudnn_comes_from_one_folder(probe: Any, report: Any) -> None:
    found = probe.check("orders")
    assert found["outcome"] == "passed", found["reason"]
    report.measured["orders"] = found["reason"]
    report.measured["orders_seconds"] = found["seconds"]


def test_a_module_that_cannot_be_imported_is_reported(probe: Any) -> None:
    found = probe.check("orders", "--modules", "ctranslate2,no_such_module")
    assert found["outcome"] == "failed"
    assert "no_such_module" in found["reason"]


OTHER = "/tmp/other"
SITE = "/opt/cuvee/main/lib/python*/site-packages"


def test_two_cudnns_of_one_major_are_reported(probe: Any, host: Any, row: Row) -> None:
    """What a host's own cuDNN on LD_LIBRARY_PATH does to torch's: its parts come from two folders."""
    if not row.cudnn:
        pytest.skip("the row has no cuDNN")
    part = "libcudnn_graph.so.9" if row.cudnn.startswith("9.") else "libcudnn_ops_infer.so.8"
    host.check_output(f"mkdir -p {OTHER} && cp {SITE}/nvidia/cudnn/lib/{part} {OTHER}/")
    found = probe.check("orders", "--modules", "torch,ctranslate2", LD_LIBRARY_PATH=OTHER)
    host.check_output(f"rm -r {OTHER}")
    assert found["outcome"] == "failed"
    assert OTHER in found["reason"]
