"""In a child: make CTranslate2 open cuBLAS, as it does when it first computes on a GPU.

CTranslate2 exports a function of its own for each of cuBLAS's that it uses; the first call of any opens the
library, and throws where it cannot. Nothing catches that here, so that the process aborts.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, List

if TYPE_CHECKING:
    from .child import Say

FUNCTION = "cublasCreate_v2"


def act(arguments: List[str], say: Say) -> None:
    """Call the function of `arguments[1]`, which `arguments[0]` is linked with; say what it returned."""
    extension, engine = arguments
    ctypes.CDLL(extension)  # the loader finds what the engine needs through it alone
    library = ctypes.CDLL(engine)
    if not hasattr(library, FUNCTION):
        say({"cublas": None})  # a build for processors alone
        return
    handle = ctypes.c_void_p()
    say({"cublas": int(getattr(library, FUNCTION)(ctypes.byref(handle)))})
