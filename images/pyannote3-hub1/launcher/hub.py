"""Models that cannot be had: what keeps them away, and the exact step to take."""

from __future__ import annotations

import re
from typing import Mapping, Optional, Tuple

from .faults import BAD_INPUT, FAILED, Fault

PAGE = "https://huggingface.co/{}"
TOKENS = "https://huggingface.co/settings/tokens"
GATED_PARTS = ("pyannote/segmentation-3.0",)
"""What pyannote's 3.1 pipeline is made of has terms of its own."""

_NAME = r"[\w-][\w.-]{0,95}/[\w-](?:[\w.-]{0,94}[\w-])?"
_GATED = tuple(
    re.compile(pattern.replace("NAME", "(?P<model>" + _NAME + ")"))
    for pattern in (
        r"Could not download ['\"`]?NAME['\"`]? (?:pipeline|model)",
        r"Could not download [\w.-]+ from NAME",
        r"Access to model NAME is restricted",
        r"gated repo for url:? ?\S+?://[^/\s]+/(?:api/models/)?NAME",
    )
)
_OFFLINE = re.compile(
    r"outgoing traffic has been disabled|OfflineModeIsEnabled|HF_HUB_OFFLINE|offline mode"
    r"|Cannot find an appropriate cached snapshot folder|LocalEntryNotFoundError"
    r"|cannot find the requested files in"
)
_NETWORK = re.compile(
    r"ConnectionError|MaxRetryError|NameResolutionError|ConnectTimeout|Max retries exceeded|ProxyError"
    r"|SSLError|ConnectError|Temporary failure in name resolution"
)
_NOT_FOUND = re.compile(r"RepositoryNotFoundError|Repository Not Found|Invalid repo id|HFValidationError")
_SIZE = re.compile(r"Invalid model size '[^']*', expected one of: (?P<sizes>[\w., -]+)")
_FOLDER = re.compile(r"Unable to open file '(?P<file>[^']+)' in model")
_DAMAGED = re.compile(r"File (?P<file>\S+) is incomplete|Unsupported model binary version")


def fault(text: str, model: str, variables: Mapping[str, str]) -> Optional[Fault]:
    """What keeps a model away, if that is what a text tells of.

    Args:
        text: An exception, and what was printed before it.
        model: What was asked for.
        variables: Of the environment, with `HF_TOKEN` and `HF_HUB_OFFLINE`.
    """
    offline = variables.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    found = _name_fault(text, model)
    if found:
        return found
    gated = _gated(text)
    if _OFFLINE.search(text) or (offline and (gated or _NOT_FOUND.search(text))):
        return _not_here(gated or model, offline=offline)
    if _NETWORK.search(text):
        fix = "See that the network and proxy work, or give a folder that has the model"
        return Fault(model, "the model is not in the cache, and the hub cannot be reached", fix, FAILED)
    if gated:
        return Fault(gated, *_steps(gated, bool(variables.get("HF_TOKEN"))), FAILED)
    if _NOT_FOUND.search(text):
        fix = "See how it is spelled at {}; if it is private, set HF_TOKEN".format(PAGE.format(model))
        return Fault(model, "the hub has no such model, or does not show it to you", fix, BAD_INPUT)
    return None


def _name_fault(text: str, model: str) -> Optional[Fault]:
    """What is wrong with how a model was named."""
    size = _SIZE.search(text)
    if size:
        fix = "Give a folder, a name on the hub, or one of {}".format(size["sizes"])
        return Fault(model, "no model has that name", fix, BAD_INPUT)
    folder = _FOLDER.search(text)
    if folder:
        cause = "it is no Whisper model in CTranslate2's format: it lacks {}".format(folder["file"])
        return Fault(model, cause, "Give the folder that has model.bin and config.json", BAD_INPUT)
    if _DAMAGED.search(text):
        cause = "its model.bin is damaged, or of another release of CTranslate2"
        return Fault(model, cause, "Fetch or convert the model again", BAD_INPUT)
    return None


def _gated(text: str) -> str:
    return next((match["model"] for match in (pattern.search(text) for pattern in _GATED) if match), "")


def _not_here(model: str, *, offline: bool) -> Fault:
    why = "HF_HUB_OFFLINE forbids to fetch it" if offline else "nothing may be fetched"
    cause = "the model is not in the cache ({}), and {}".format("$HF_HOME, or ~/.cache/huggingface", why)
    return Fault(
        model, cause, "Run once without --offline and HF_HUB_OFFLINE, or give a folder that has it", FAILED
    )


def _steps(model: str, token: bool) -> Tuple[str, str]:
    page = PAGE.format(model) + _also(model)
    if token:
        cause = "the account of HF_TOKEN has not accepted its terms, or the token may not read gated models"
        fix = "accept the terms at {}; at {} give the token the right to read public gated repositories"
        return (
            "the model is gated, and " + cause,
            "With that account, {}. Then run it again with --resume".format(fix.format(page, TOKENS)),
        )
    steps = "1. Sign in and accept the terms at {}. 2. Make a token with the right to read at {}. {}"
    last = "3. Set HF_TOKEN to it (docker run -e HF_TOKEN=hf_...) and run it again with --resume"
    return "the model is gated, and no token was given", steps.format(page, TOKENS, last)


def _also(model: str) -> str:
    if model != "pyannote/speaker-diarization-3.1":
        return ""
    return " and at " + " and at ".join(PAGE.format(part) for part in GATED_PARTS)
