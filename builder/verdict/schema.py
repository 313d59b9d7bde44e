"""The JSON Schema of what `cuvee check --json` prints, made from the records."""

from __future__ import annotations

import json
from typing import get_args

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from builder.verdict.record import Outcome, Verdict


def schema() -> str:
    """The text of `check.schema.json`."""
    described = TypeAdapter(list[Verdict]).json_schema()
    verdict = described["$defs"]["Verdict"]
    # The outcome is worked out of the findings, and printed for those who read nothing else.
    verdict["properties"] = {
        "row": verdict["properties"].pop("row"),
        "outcome": {"enum": list(get_args(Outcome))},
    } | (verdict["properties"])
    verdict["required"] = ["row", "outcome", *(key for key in verdict["required"] if key != "row")]
    head = {"$schema": GenerateJsonSchema.schema_dialect, "title": "cuvee check --json"}
    return json.dumps(head | described, indent=2) + "\n"
