"""In a child: import modules in every order, one fork for each step, and use cuDNN at the end of each order.

A fork right after an import has the very same libraries loaded in the very same order, so orders that begin
alike share their beginning. An import of a module that is there already does nothing; orders that differ only
in such imports are one run, and its record says so by what each step brought along.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Sequence, Tuple

from . import calling, maps
from .processes import exit_code, tail
from .rules import CUDNN_CALLS, WHISPER_CALLS

if TYPE_CHECKING:
    from .child import Say
    from .rules import CudnnCall

Steps = Tuple[Tuple[str, List[str]], ...]


def act(arguments: List[str], say: Say) -> None:
    """Go through all orders that begin with `arguments[0]`; the other arguments are the rest.

    Says one record for each run: `steps` ([module, [what it brought along]]…), `code`, and either `stderr` of
    what ended it or the `calls` to cuDNN and the `cudnn` files then mapped.
    """
    gc.disable()  # imports make little garbage, and this saves a tenth of their time
    _step((), arguments[0], arguments[1:], say)


def _step(steps: Steps, module: str, rest: List[str], say: Say) -> None:
    def grow() -> None:
        importlib.import_module(module)
        brought = [name for name in rest if name in sys.modules]
        _branch((*steps, (module, brought)), [name for name in rest if name not in brought], say)

    _fork(grow, {"steps": (*steps, (module, []))}, say)


def _branch(steps: Steps, rest: List[str], say: Say) -> None:
    for index, module in enumerate(rest):
        _step(steps, module, rest[:index] + rest[index + 1 :], say)
    if not rest:
        _use(steps, say)


def _use(steps: Steps, say: Say) -> None:
    """Use the fronts of cuDNN that are mapped, once in their order and once in the other."""
    fronts = maps.fronts(maps.own())
    for chosen in sorted({tuple(fronts), tuple(reversed(fronts))}):
        _fork(partial(_leaf, steps, chosen, say), {"steps": steps, "used": chosen}, say)


def _leaf(steps: Steps, fronts: Tuple[str, ...], say: Say) -> None:
    calls: List[Dict[str, Any]] = []
    for front, part in turns(fronts):
        calling.use(front, calls.append, part)
    made = [call for call in calls if "status" in call]
    files = maps.cudnn_files(maps.own())
    say({"steps": steps, "used": fronts, "code": 0, "calls": made, "cudnn": files})


def turns(fronts: Sequence[str]) -> List[Tuple[str, Sequence[CudnnCall]]]:
    """Who makes which calls: the first front what Whisper needs, the others all, then the first the rest.

    A front that made every call at once would leave nothing to the next one, which takes what is loaded. Two
    cuDNNs meet where one program used a part of its own, and the next one adds another part.
    """
    every: List[Tuple[str, Sequence[CudnnCall]]] = [(front, CUDNN_CALLS) for front in fronts]
    if len(every) < 2:  # noqa: PLR2004 - one has nobody to share with
        return every
    return [(fronts[0], WHISPER_CALLS), *every[1:], every[0]]


def _fork(action: Callable[[], None], about: Dict[str, Any], say: Say) -> None:
    """Run `action` in a fork; if that dies, say `about` what, with its exit code and last words."""
    ear, mouth = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(mouth, 2)
        os.close(mouth)
        os.close(ear)
        os._exit(_survived(action))
    os.close(mouth)
    with os.fdopen(ear, "rb") as stream:
        words = stream.read()
    status = os.waitpid(child, 0)[1]
    code = exit_code(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
    if code:
        say({**about, "code": code, "stderr": tail(words)})


def _survived(action: Callable[[], None]) -> int:
    try:
        action()
    except BaseException:  # noqa: BLE001 - a fork must not run on into its parent's code
        traceback.print_exc()
        return 1
    return 0
