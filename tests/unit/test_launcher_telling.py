from __future__ import annotations

from builder.launcher.isolation import RemoteError
from builder.launcher.telling import fault

WARNING = (
    "An error occured while synchronizing the model from the Hub: Max retries exceeded (ProxyError). "
    "Trying to load the model directly from the local cache, if it exists."
)


def told(type_: str, text: str, words: str = "") -> str:
    error = RemoteError("asr", {"type": type_, "text": text, "trace": f"Traceback\n{type_}: {text}"}, words)
    return str(fault(error, "a.wav", "tiny", {}))


def test_an_error_that_explains_itself_is_not_laid_to_an_earlier_warning() -> None:
    found = told("RuntimeError", "CUDA failed with error out of memory", WARNING)
    assert "GPU's memory is full" in found
    assert "hub" not in found


def test_one_that_does_not_may_have_been_explained_by_what_was_printed() -> None:
    printed = "Could not download 'pyannote/speaker-diarization-3.1' pipeline."
    assert "the model is gated" in told("AttributeError", "'NoneType' object has no attribute 'to'", printed)
