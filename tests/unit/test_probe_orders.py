from __future__ import annotations

import itertools
from typing import Any

import pytest

from builder.probe import orders
from builder.probe.importing import turns
from builder.probe.rules import CUDNN_CALLS, WHISPER_CALLS

MODULES = ("torch", "ctranslate2", "onnxruntime")
NINE = "/env/nvidia/cudnn/lib/libcudnn.so.9"
ABORT = "Could not load library libcudnn_ops_infer.so.8. Error: no such file\n"


def run(*steps: tuple[str, list[str]], **more: Any) -> dict[str, Any]:
    facts = {"code": 0, "used": [NINE], "calls": [], "cudnn": [NINE]}
    return {"steps": [list(step) for step in steps], **facts, **more}


def alone(*modules: str) -> list[tuple[str, list[str]]]:
    return [(module, []) for module in modules]


EVERY = [run(*alone(*order)) for order in itertools.permutations(MODULES)]


def test_every_order_has_to_be_covered_by_a_run() -> None:
    assert orders.judge(MODULES, EVERY).outcome == "passed"
    finding = orders.judge(MODULES, EVERY[1:])
    assert finding.details["faults"] == {", ".join(MODULES): "no run covers this order"}


def test_an_import_of_what_is_there_already_makes_no_order_of_its_own() -> None:
    record = run(("ctranslate2", ["torch"]), ("onnxruntime", []))
    assert orders.covers(record, ("ctranslate2", "torch", "onnxruntime"))
    assert orders.covers(record, ("ctranslate2", "onnxruntime", "torch"))
    assert not orders.covers(record, ("torch", "ctranslate2", "onnxruntime"))


def test_a_run_that_ended_early_condemns_all_orders_that_begin_like_it() -> None:
    record = run(*alone("onnxruntime"), code=139, stderr="")
    assert orders.covers(record, ("onnxruntime", "torch", "ctranslate2"))
    assert not orders.covers(record, ("torch", "onnxruntime", "ctranslate2"))


def test_a_run_that_left_modules_out_covers_no_order_unless_it_died() -> None:
    assert not orders.covers(run(*alone("torch")), ("torch", "onnxruntime"))


def test_an_abort_is_told_with_its_exit_code_and_last_words() -> None:
    record = run(*alone(*MODULES), code=134, stderr=ABORT)
    assert orders.fault(record) == "exit code 134: " + ABORT.strip()


def test_a_missing_module_is_told_by_the_last_line_of_its_traceback() -> None:
    words = "Traceback (most recent call last):\n  File …\nModuleNotFoundError: No module named 'x'\n"
    record = {"steps": [["x", []]], "code": 1, "stderr": words}
    assert orders.fault(record) == "exit code 1: ModuleNotFoundError: No module named 'x'"


def test_a_run_without_the_driver_is_counted_and_not_blamed() -> None:
    words = "Could not load library x. Error: libcuda.so.1: cannot open shared object file: No such file\n"
    finding = orders.judge(("torch",), [run(*alone("torch"), code=134, stderr=words)])
    assert finding.outcome == "passed"
    assert finding.details["ended_for_want_of_driver"] == 1
    assert "as far as they go without a driver" in finding.reason


def test_an_import_that_needs_the_driver_is_blamed() -> None:
    words = "ImportError: libcuda.so.1: cannot open shared object file: No such file\n"
    assert orders.fault({"steps": [["x", []]], "code": 1, "stderr": words})


@pytest.mark.parametrize("second", ["/usr/lib/libcudnn_ops.so.9", "/usr/lib/libcudnn_ops.so.9.8.0"])
def test_two_cudnns_of_one_major_in_one_process_fail(second: str) -> None:
    finding = orders.judge(("torch",), [run(*alone("torch"), cudnn=[NINE, second])])
    assert finding.outcome == "failed"
    assert "cuDNN 9 comes from 2 folders: /env/nvidia/cudnn/lib, /usr/lib" in finding.reason


def test_a_call_that_returns_an_error_fails_the_order() -> None:
    record = run(*alone("torch"), calls=[{"front": NINE, "call": "cudnnX", "status": 1001}])
    assert orders.fault(record) == "cudnnX returned 1001"


def test_a_status_is_told_as_cudnn_calls_it_and_once() -> None:
    call = {
        "front": NINE,
        "call": "cudnnX",
        "status": 1002,
        "means": "CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH",
    }
    record = run(*alone("torch"), calls=[call, call])
    assert orders.fault(record) == "cudnnX returned 1002 (CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH)"


def test_a_front_leaves_something_to_the_next_one_and_comes_back() -> None:
    assert turns(()) == []
    assert turns(("torch",)) == [("torch", CUDNN_CALLS)]
    assert turns(("ctranslate2", "torch")) == [
        ("ctranslate2", WHISPER_CALLS),
        ("torch", CUDNN_CALLS),
        ("ctranslate2", CUDNN_CALLS),
    ]
    assert set(WHISPER_CALLS) < set(CUDNN_CALLS)


def test_the_worst_of_several_runs_of_an_order_counts() -> None:
    records = [run(*alone("torch")), run(*alone("torch"), code=134, stderr=ABORT)]
    assert orders.judge(("torch",), records).outcome == "failed"
