"""In a child: open one library by its name, as CTranslate2 does."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, List

from . import maps

if TYPE_CHECKING:
    from .child import Say


def act(arguments: List[str], say: Say) -> None:
    """Open the library `arguments[0]`; say which files that brought in, or the loader's complaint."""
    before = set(maps.own())
    try:
        ctypes.CDLL(arguments[0])
    except OSError as error:
        say({"error": str(error)})
    else:
        say({"opened": [path for path in maps.own() if path not in before]})
