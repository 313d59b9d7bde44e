"""A known-bad row fails as it is known to, and the suite says so if it starts to work."""

from __future__ import annotations

from typing import Any

import pytest

from builder.matrix import Row

ABORTED = 134  # 128 + SIGABRT, as a shell reports it


@pytest.mark.known_bad
def test_it_fails_as_it_is_known_to(probe: Any, row: Row, report: Any) -> None:
    assert row.fails_with
    found = probe.check(row.fails_with.check)
    assert found["outcome"] == "failed", f"{row.id} is known to be bad, and it works: {found['reason']}"
    assert row.fails_with.message in found["reason"]
    report.measured["fails_with"] = found["reason"]


@pytest.mark.known_bad
def test_a_cudnn_failure_ends_the_process(probe: Any, row: Row) -> None:
    assert row.fails_with
    if row.fails_with.check != "cudnn":
        pytest.skip(f"the row fails at {row.fails_with.check}")
    assert probe.check("cudnn")["details"]["exit_code"] == ABORTED
