"""What is known from elsewhere, as data: the YAML files in `builder/data`, each with its sources."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast, where there is one


@cache
def data(name: str) -> Any:
    """The content of a file in `builder/data`; read once, so nobody may change it."""
    text = files("builder").joinpath(f"data/{name}").read_text(encoding="utf-8")
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - both are safe loaders
