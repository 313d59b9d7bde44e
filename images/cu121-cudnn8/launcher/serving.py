"""In a side's process: takes orders from one pipe, calls functions, and answers on another.

Orders and answers are lines of JSON. Standard output is not used, because libraries print there.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any, BinaryIO, Dict, List, Optional

PR_SET_PDEATHSIG = 1


class Channel:
    """What this process says to the one that started it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.order: Optional[int] = None

    def say(self, order: Optional[int], **said: Any) -> None:
        """Send one line; when nobody is there any more to read it, this process has no purpose."""
        line = json.dumps({"order": order, **said}, default=_plain) + "\n"
        try:
            with self._lock:
                self._stream.write(line.encode())
                self._stream.flush()
        except OSError:
            os._exit(1)


_channel: Optional[Channel] = None


def report(item: Any) -> None:
    """Hand an item to whoever iterates over this call; outside a side it does nothing."""
    if _channel is not None and _channel.order is not None:
        _channel.say(_channel.order, item=item)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's; JSON knows no others."""
    for method in ("item", "tolist"):
        if hasattr(value, method):
            try:
                return getattr(value, method)()
            except ValueError:  # an array of several
                continue
    return str(value)


def main(arguments: List[str]) -> int:
    """Serve until there are no more orders.

    Args:
        arguments: The numbers of both pipes, who started us (0: do not die with that thread), and folders
            for `sys.path`, as JSON.
    """
    global _channel  # noqa: PLW0603 - a process is one side
    orders, answers, parent, path = json.loads(arguments[0])
    for pipe in (orders, answers):
        os.set_inheritable(pipe, False)  # noqa: FBT003 - it takes no names
    _die_with(parent)
    sys.path[:0] = path
    # `cuvee.isolation` and `cuvee.serving` are the same here, whatever this package is called elsewhere.
    sys.modules.setdefault("cuvee", sys.modules[__package__ or ""])
    _channel = Channel(os.fdopen(answers, "wb"))
    waiting: "queue.Queue[Optional[Dict[str, Any]]]" = queue.Queue()
    threading.Thread(target=_listen, args=(orders, waiting, _channel), daemon=True).start()
    while True:
        order = waiting.get()
        if order is None:
            return 0
        _carry_out(order, _channel)


def _die_with(parent: int) -> None:
    """Have the kernel end this process with the one that started it."""
    if parent and sys.platform == "linux":
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        except (OSError, AttributeError):
            return  # the end of the pipe says it too
        if os.getppid() != parent:  # it went before the kernel was asked
            os._exit(1)


def _listen(pipe: int, waiting: Any, channel: Channel) -> None:
    """Take orders while others are carried out; the pipe's end ends this process, even in mid-work."""
    with os.fdopen(pipe, "rb") as stream:
        for line in stream:
            waiting.put(json.loads(line))
    if channel.order is not None:
        os._exit(1)
    waiting.put(None)


def _carry_out(order: Dict[str, Any], channel: Channel) -> None:
    channel.order = number = order["order"]
    try:
        result = _function(order["target"])(*order["args"], **order["kwargs"])
        if inspect.isgenerator(result):
            result = _drained(result)
    except BaseException as error:  # noqa: BLE001 - whatever it was, the other side shall hear of it
        told = {"type": _name(type(error)), "text": str(error), "trace": traceback.format_exc()}
        channel.order = None
        channel.say(number, error=told)
    else:
        channel.order = None
        channel.say(number, done=result)


def _drained(items: Any) -> Any:
    """Report each item of a generator; what it returns is the call's result."""
    while True:
        try:
            item = next(items)
        except StopIteration as end:
            return end.value
        report(item)


def _function(target: str) -> Any:
    module, _, name = target.partition(":")
    if module.startswith(".") and __package__:
        module = __package__ + module
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else "{}.{}".format(kind.__module__, kind.__name__)
