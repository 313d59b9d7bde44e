"""Check `cudnn`: CTranslate2's own front of cuDNN finds the libraries that do the work."""

from __future__ import annotations

from typing import Any, Dict, List

from . import maps, processes
from .child import facts
from .finding import Finding, judged, skipped
from .place import Place
from .processes import Done, Manner

BUNDLED = "ctranslate2.libs/libcudnn*.so*"
TIMEOUT = 120.0


def check(place: Place) -> Finding:
    """Make cuDNN's calls in a child: a missing library does not raise, it aborts."""
    if not place.matching("ctranslate2/__init__.py"):
        return skipped("CTranslate2 is not installed")
    bundled = place.matching(BUNDLED)
    if not bundled:
        return skipped("this CTranslate2 opens no cuDNN")
    return judge(processes.child(Manner(TIMEOUT, place.hide_cache), "cudnn", str(bundled[0])))


def judge(done: Done) -> Finding:
    """Every call has to return 0, and the process to live."""
    said = facts(done.out)
    calls = statuses(said)
    wrong = ["{} returned {}".format(call, status) for call, status in calls.items() if status]
    files = [path for fact in said for path in fact.get("cudnn", [])]
    return judged(
        "exit code {}: {}".format(done.code, done.complaint) if done.code else "; ".join(wrong),
        "{} calls work".format(len(calls)),
        exit_code=done.code,
        stderr=done.err,
        calls=calls,
        cudnn_folders=maps.cudnn_folders(files),
    )


def statuses(said: List[Dict[str, Any]]) -> Dict[str, Any]:
    """What each call returned; null for the one that the process died in."""
    return {fact["call"]: fact.get("status") for fact in said if "call" in fact}
