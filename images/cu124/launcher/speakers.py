"""In the side that tells speakers apart: pyannote.audio's pipeline, versions 3.1 to 4."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from .serving import report

RATE = 16_000
CONFIG = "config.yaml"


class ModelAccessError(Exception):
    """A pipeline could not be had; pyannote.audio has printed why."""


class Settings(NamedTuple):
    """How to tell speakers apart.

    Attributes:
        model: A folder, a `config.yaml`, or a name on the hub.
        device: `cpu`, `cuda` or `auto`.
        tf32: Allow TensorFloat-32 in torch, forbid it, or None: as pyannote.audio wants it.
    """

    model: str
    device: str
    tf32: Optional[bool]


def diarize(samples: str, settings: List[Any], limits: Dict[str, int]) -> Dict[str, Any]:
    """Who speaks when, reporting progress on the way.

    Args:
        samples: A file of raw float32 samples, mono, 16 kHz.
        settings: `Settings`, as a list.
        limits: Of `num_speakers`, `min_speakers` and `max_speakers`, those that are known.

    Returns:
        `turns` as [start, end, speaker], in seconds; `exclusive`, the same without overlaps, where pyannote
        gives it; `tf32`, whether TensorFloat-32 was allowed; and the `device`.
    """
    chosen = Settings(*settings)
    pipeline = _pipeline(chosen)
    numpy, torch = importlib.import_module("numpy"), importlib.import_module("torch")
    # A copy: torch warns of arrays that cannot be written.
    waveform = torch.from_numpy(numpy.fromfile(samples, dtype=numpy.float32).copy())[None]
    result = pipeline(
        {"waveform": waveform, "sample_rate": RATE, "uri": "recording"}, hook=_progress, **limits
    )
    # pyannote.audio 4 gives a record, unless its pipeline is a legacy one; 3 gives the annotation itself.
    exclusive = getattr(result, "exclusive_speaker_diarization", None)
    return {
        "turns": list(_turns(getattr(result, "speaker_diarization", result))),
        "exclusive": None if exclusive is None else list(_turns(exclusive)),
        "device": _device(torch, chosen.device),
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32),
    }


def _turns(annotation: Any) -> Iterator[List[Any]]:
    for turn, _, speaker in annotation.itertracks(yield_label=True):
        yield [round(float(turn.start), 3), round(float(turn.end), 3), str(speaker)]


def _progress(step: str, _: Any, **more: Any) -> None:
    total, completed = more.get("total"), more.get("completed")
    share = completed / total if total and completed is not None else None
    report({"stage": step.replace("_", " "), "share": share})


@functools.lru_cache(maxsize=1)
def _pipeline(chosen: Settings) -> Any:
    """The pipeline on its device, loaded once for all recordings."""
    report({"stage": "loading the speakers' model"})
    # pyannote.audio 4 would tell its makers of each recording's length; who wants that can say so.
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")
    torch, module = importlib.import_module("torch"), importlib.import_module("pyannote.audio")
    switch_tf32(torch, chosen.tf32)
    pipeline = module.Pipeline.from_pretrained(local(chosen.model), **_token(module.Pipeline.from_pretrained))
    if pipeline is None:
        raise ModelAccessError("Could not download '{}' pipeline".format(chosen.model))
    pipeline.to(torch.device(_device(torch, chosen.device)))
    return pipeline


def _token(function: Any) -> Dict[str, str]:
    """The hub's token under the name that this release has for it."""
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    name = "token" if "token" in inspect.signature(function).parameters else "use_auth_token"
    return {name: token} if token else {}


def local(model: str) -> str:
    """The configuration file of a model that is here, or the model's name.

    pyannote.audio 3 takes no folders. The paths that its files have for their parts count from the current
    directory; where they only lead somewhere from the file's own folder, that is made the current one.
    """
    path = Path(model)
    if not path.exists():
        return model
    config = (path / CONFIG if path.is_dir() else path).resolve()
    if any(not Path(part).exists() and (config.parent / part).exists() for part in _parts(config)):
        os.chdir(str(config.parent))
    sys.path.append(str(config.parent))  # a pipeline may bring its own code
    return str(config)


def _parts(config: Path) -> Iterator[str]:
    """The texts among a pipeline's parameters."""
    written = importlib.import_module("yaml").safe_load(config.read_text(encoding="utf-8"))
    params = ((written or {}).get("pipeline") or {}).get("params") or {}
    return (value for value in params.values() if isinstance(value, str))


def _device(torch: Any, wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def switch_tf32(torch: Any, allowed: Optional[bool]) -> None:
    """Allow TensorFloat-32 for matrix products and cuDNN, or forbid it; None leaves it to pyannote.audio.

    pyannote.audio calls `fix_reproducibility` whenever a pipeline or a model is applied on a GPU, which
    forbids it again, so that allowing it takes that function away (pyannote-audio#1370).
    """
    if allowed is None:
        return
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    if allowed:
        for name in ("core.pipeline", "core.inference", "utils.reproducibility"):
            module = sys.modules.get("pyannote.audio." + name)
            if module is not None and hasattr(module, "fix_reproducibility"):
                module.fix_reproducibility = _leave_it  # type: ignore[attr-defined]


def _leave_it(_: Any) -> None:
    """Instead of forbidding TensorFloat-32."""
