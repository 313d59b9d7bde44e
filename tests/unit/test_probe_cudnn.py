from __future__ import annotations

import json
from typing import Any

from builder.probe import cudnn
from builder.probe.processes import Done

TENSOR = "cudnnCreateTensorDescriptor"
CONVOLUTION = "cudnnCreateConvolutionDescriptor"
E1 = (
    "Could not load library libcudnn_ops_infer.so.8. "
    "Error: libcudnn_ops_infer.so.8: cannot open shared object file: No such file or directory\n"
)
NO_DRIVER = (
    "Could not load library libcudnn_cnn_infer.so.8. "
    "Error: libcuda.so.1: cannot open shared object file: No such file or directory\n"
    "Please make sure libcudnn_cnn_infer.so.8 is in your library path!\n"
)


def lines(*facts: dict[str, Any]) -> str:
    return "".join(json.dumps(fact) + "\n" for fact in facts)


def call(name: str, **status: int) -> dict[str, Any]:
    return {"call": name, **status}


def test_all_calls_that_return_zero_pass() -> None:
    out = lines(call(TENSOR), call(TENSOR, status=0), {"cudnn": ["/overlay/libcudnn_ops_infer.so.8"]})
    finding = cudnn.judge(Done(0, out, ""))
    assert finding.outcome == "passed"
    assert finding.details["cudnn_folders"] == {"8": ["/overlay"]}


def test_an_abort_fails_with_its_exit_code_its_text_and_the_call_it_died_in() -> None:
    finding = cudnn.judge(Done(134, lines(call(TENSOR)), E1))
    assert finding.outcome == "failed"
    assert finding.reason == "exit code 134: " + E1.strip()
    assert finding.details["calls"] == {TENSOR: None}


def test_a_status_that_is_not_zero_fails() -> None:
    out = lines(call(TENSOR), call(TENSOR, status=0), call(CONVOLUTION), call(CONVOLUTION, status=3000))
    assert cudnn.judge(Done(0, out, "")).reason == CONVOLUTION + " returned 3000"


def test_a_death_for_want_of_the_driver_is_no_fault_of_the_image() -> None:
    out = lines(call(TENSOR), call(TENSOR, status=0), call(CONVOLUTION))
    finding = cudnn.judge(Done(134, out, NO_DRIVER))
    assert finding.outcome == "passed"
    assert finding.reason == f"1 calls work; {CONVOLUTION} needs the host's driver"


def test_a_library_that_is_not_even_loaded_without_the_driver_has_neither_passed_nor_failed() -> None:
    """So does cuDNN 8.5, under the front of CTranslate2 3."""
    assert cudnn.judge(Done(134, lines(call(TENSOR)), NO_DRIVER)).outcome == "skipped"


def test_a_missing_cudnn_library_is_not_taken_for_a_missing_driver() -> None:
    assert not cudnn.wants_driver(E1)
