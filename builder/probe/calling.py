"""In a child: use cuDNN as far as it goes without a GPU."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, List, Sequence

from . import maps, rules

if TYPE_CHECKING:
    from .child import Say


def act(arguments: List[str], say: Say) -> None:
    """Call cuDNN's front library `arguments[0]`; say what each call returned and what is mapped then."""
    use(arguments[0], say)
    say({"cudnn": maps.cudnn_files(maps.own())})


def use(front: str, say: Say, calls: Sequence[rules.CudnnCall] = rules.CUDNN_CALLS) -> None:
    """Make those of the calls that `front` offers; each is announced first, since it may be the last."""
    library = ctypes.CDLL(front)
    for call in calls:
        if hasattr(library, call.function):
            say({"front": front, "call": call.function})
            status = _made(library, call)
            say({"front": front, "call": call.function, "status": status, "means": _named(library, status)})


def _named(library: ctypes.CDLL, status: int) -> str:
    """A status as cuDNN itself calls it: `CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH`; "" for success."""
    if not status:
        return ""
    library.cudnnGetErrorString.restype = ctypes.c_char_p
    return str((library.cudnnGetErrorString(status) or b"").decode())


def _made(library: ctypes.CDLL, call: rules.CudnnCall) -> int:
    function = getattr(library, call.function)
    descriptor = ctypes.c_void_p()
    return int(function(ctypes.byref(descriptor)) if call.makes else function())
