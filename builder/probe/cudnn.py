"""Check `cudnn`: CTranslate2's own front of cuDNN finds the libraries that do the work."""

from __future__ import annotations

from typing import Any, Dict, List

from . import maps, processes, rules
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
    """Every call has to return 0, and the process to live, unless it dies for want of the driver."""
    said = facts(done.out)
    calls = statuses(said)
    wrong = [returned(fact) for fact in said if fact.get("status")]
    files = [path for fact in said for path in fact.get("cudnn", [])]
    works = [call for call, status in calls.items() if status == 0]
    if done.code and not works and wants_driver(done.err):
        return skipped("this cuDNN is not even loaded without the host's driver")
    excused = bool(works) and wants_driver(done.err)
    died = "exit code {}: {}".format(done.code, done.complaint) if done.code and not excused else ""
    rest = ["{} needs the host's driver".format(call) for call, status in calls.items() if status is None]
    return judged(
        "; ".join([died, *wrong] if died else wrong),
        "; ".join(["{} calls work".format(len(works)), *rest]),
        exit_code=done.code,
        stderr=done.err,
        calls=calls,
        cudnn_folders=maps.cudnn_folders(files),
    )


def returned(call: Dict[str, Any]) -> str:
    """A call that did not end well, with the status as cuDNN itself calls it."""
    means = " ({})".format(call["means"]) if call.get("means") else ""
    return "{} returned {}{}".format(call["call"], call["status"], means)


def wants_driver(words: str) -> bool:
    """Whether a process died because there is no driver, in an image that cannot have one.

    The front that CTranslate2 3 bundles takes any failed dlopen for its own: cuDNN 8.9's libcudnn_cnn_infer
    looks for libcuda.so.1 while it is loaded, finds none, lives with it, and the front gives up. cuDNN 8.5's
    looks for libcuda.so after that.
    """
    names = [name[: name.index(".so") + 3] for name in rules.DRIVER_LIBRARIES]
    return any(
        name + ": cannot open shared object file" in words for name in (*rules.DRIVER_LIBRARIES, *names)
    )


def statuses(said: List[Dict[str, Any]]) -> Dict[str, Any]:
    """What each call returned; null for the one that the process died in."""
    return {fact["call"]: fact.get("status") for fact in said if "call" in fact}
