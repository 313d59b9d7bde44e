"""In a child: load files in an order, open names as they would, and use a front of cuDNN if one is given."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, List

from . import calling

if TYPE_CHECKING:
    from .child import Say


def act(arguments: List[str], say: Say) -> None:
    """Follow `arguments[0]`, JSON with the keys `load`, `open` and `front`.

    Says `failed` and ends where a file does not load; else for each of the names in `open` whether it opened;
    and then what the front's calls return, of which each may be its last.
    """
    wanted = json.loads(arguments[0])
    for path in wanted["load"]:
        try:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            say({"failed": str(error)})
            return
    for name in wanted["open"]:
        say({"name": name, "opens": _opens(name)})
    if wanted["front"]:
        calling.use(wanted["front"], say)


def _opens(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
