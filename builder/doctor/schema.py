"""The JSON Schema of what `doctor.py --json` prints, made from the records' annotations and docstrings."""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.doctor.patient import advising, case, facts
from builder.doctor.patient.report import FORMAT

FILE = Path(__file__).parents[1] / "doctor.schema.json"
_PLAIN: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_NAMES = {"Any": Any, "Mapping": Mapping}


def schema() -> str:
    """The text of `builder/doctor.schema.json`."""
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What cuvee doctor found",
        "type": "object",
        "additionalProperties": False,
        "required": ["format", "healthy", "findings", "advice", "examination"],
        "properties": {
            "format": {"const": FORMAT},
            "healthy": {"type": "boolean", "description": "Whether nothing is broken and nothing will fail."},
            "findings": {
                "type": "array",
                "description": "Worst first.",
                "items": _record(case.Finding, severity={"enum": list(case.SEVERITIES)}),
            },
            "advice": _record(advising.Advice),
            "examination": _record(facts.Examination),
        },
    }
    return json.dumps(whole, indent=1) + "\n"


def _record(record: Any, **more: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a NamedTuple: every field is always there, and nothing else."""
    told = _told(inspect.getdoc(record) or "")
    hints = typing.get_type_hints(record, localns={**vars(facts), **_NAMES})
    properties = {
        name: {**_type(hint), **more.get(name, {}), "description": told[name]} for name, hint in hints.items()
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _type(hint: Any) -> dict[str, Any]:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin is tuple:
        return {"type": "array", "items": _type(inner[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type(inner[1])}
    if origin is types.UnionType:
        return {"anyOf": [_type(inner[0]), {"type": "null"}]}
    return _record(hint)


def _told(docstring: str) -> dict[str, str]:
    """What a docstring says of each attribute."""
    section = docstring.partition("Attributes:\n")[2]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}
