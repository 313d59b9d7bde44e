"""What runs in a child process: it acts, prints facts as lines of JSON, and may die of it.

Each verb is a function that takes the arguments and `say`, which prints one line.
"""

from __future__ import annotations

import importlib
import json
import os
import traceback
from typing import Any, Callable, Dict, List

Say = Callable[[Dict[str, Any]], None]

VERBS = {
    "open": "opening",
    "cudnn": "calling",
    "cublas": "computing",
    "orders": "importing",
    "gpu": "gpu",
    "survey": "surveying",
    "transcribe": "transcribing",
    "speakers": "listening",
}
"""Which module holds the verb; only that one is imported, so that the process stays plain."""


def main(arguments: List[str]) -> int:
    """Run a verb with its arguments; its facts have standard output to themselves."""
    report = os.dup(1)
    os.dup2(2, 1)

    def say(fact: Dict[str, Any]) -> None:
        os.write(report, (json.dumps(fact) + "\n").encode())

    try:
        module = importlib.import_module("." + VERBS[arguments[0]], __package__)
        module.act(arguments[1:], say)
    except Exception as error:  # noqa: BLE001 - whatever it was, the parent shall hear of it
        traceback.print_exc()
        say({"error": described(error)})
        return 1
    return 0


def described(error: BaseException) -> str:
    """An exception as the last line of its traceback has it."""
    return "{}: {}".format(type(error).__name__, error)


def facts(out: str) -> List[Dict[str, Any]]:
    """The facts in a child's output; a line that its death cut short is left out."""
    whole = [line for line in out.split("\n")[:-1] if line]
    return [json.loads(line) for line in whole]


def merged(out: str) -> Dict[str, Any]:
    """The facts in a child's output as one, later ones over earlier ones."""
    return {key: value for fact in facts(out) for key, value in fact.items()}
