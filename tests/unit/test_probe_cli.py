from __future__ import annotations

import json
from typing import Any

import pytest

from builder.probe import cli, processes
from builder.probe.finding import Finding, failed, passed, several, skipped
from builder.probe.processes import Done, Manner
from builder.probe.transcribing import joined

NO_GPU = '{"gpu": null, "gpu_reason": "libcuda.so.1: cannot open shared object file"}\n'


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def child(manner: Manner, verb: str, *arguments: str) -> Done:
        del manner, verb, arguments
        return Done(0, NO_GPU, "")

    monkeypatch.setattr(processes, "child", child)


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *findings: Finding
) -> tuple[int, Any]:
    checks = {f"check{index}": lambda *_, found=found: found for index, found in enumerate(findings)}
    monkeypatch.setattr(cli, "CHECKS", checks)
    code = cli.main(["check"])
    return code, json.loads(capsys.readouterr().out)


def test_the_report_names_format_place_and_checks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = run(monkeypatch, capsys, passed("well", seen=1), skipped("nothing to see"))
    assert code == 0
    assert report["format"] == 1
    assert set(report) >= {"python", "glibc", "gpu", "gpu_reason", "prefix", "overlays", "checks"}
    assert [check["outcome"] for check in report["checks"]] == ["passed", "skipped"]
    assert set(report["checks"][0]) == {"name", "outcome", "reason", "details", "seconds"}


def test_one_failed_check_fails_the_probe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, capsys, failed("no"), passed("yes"))[0] == 1


def test_a_check_that_breaks_has_failed_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Finding:
        raise OSError("disk on fire")

    monkeypatch.setattr(cli, "CHECKS", {"broken": broken, "whole": lambda *_: passed("yes")})
    assert cli.main(["check"]) == 1
    first, second = json.loads(capsys.readouterr().out)["checks"]
    assert first["reason"] == "the check itself broke: OSError: disk on fire"
    assert second["outcome"] == "passed"


def test_no_gpu_is_null_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = run(monkeypatch, capsys)
    assert report["gpu"] is None
    assert "libcuda.so.1" in report["gpu_reason"]


def test_an_unknown_check_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "nonsense"])
    assert ended.value.code == 2
    assert "'nonsense' is none of libraries, opened, cudnn" in capsys.readouterr().err


def test_a_reason_names_some_faults_and_counts_the_rest() -> None:
    assert several(["a", "b", "c"], most=2) == "a; b; and 1 more"
    assert several(["a", "b"], most=2) == "a; b"
    assert several([]) == ""


def test_the_pieces_of_a_transcript_become_one_line() -> None:
    assert joined([" The quick ", "brown fox. "]) == "The quick brown fox."
