"""CTranslate2's cuDNN works, in whatever order the modules are imported."""

from __future__ import annotations

from typing import Any

import pytest


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
