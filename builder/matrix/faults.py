"""What is wrong with a file that people write, in plain words.

A check raises `wrong(cause, fix)` inside pydantic; `problems` takes pydantic's errors apart again. What
pydantic finds by itself (a key too many, a key too few, a list where a text belongs) gets its words here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from builder.matrix.yamlfile import KeyPath

# What pydantic expected, by its name for the error, and how to write it.
_SHAPES = {
    "string_type": ("a text", "Write a text; put it in quotes if YAML takes it for something else"),
    "tuple_type": ("a list", "Write each item on a line of its own, after a dash"),
    "dict_type": ("a mapping", 'Write "key: value" lines, indented below the key'),
    "model_type": ("a mapping", 'Write "key: value" lines, indented below the key'),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A fault whose line is not known yet.

    Attributes:
        keys: The keys that lead to it, from the mapping that was read.
        cause: What is wrong.
        fix: What to do next.
    """

    keys: KeyPath
    cause: str
    fix: str


def wrong(cause: str, fix: str) -> PydanticCustomError:
    """The error that a check raises when a value is wrong."""
    return PydanticCustomError("wrong", "{cause}", {"cause": cause, "fix": fix})


def lacking(cause: str, fix: str) -> PydanticCustomError:
    """The error that a check raises when a key is needed and not there; not told if it is misspelt."""
    return PydanticCustomError("lacking", "{cause}", {"cause": cause, "fix": fix})


def choice(word: object, options: Sequence[str]) -> str:
    """How to write one of `options` instead of `word`."""
    near = _nearest(word, options)
    return f"Write {near}, the nearest" if near else f"Write one of {', '.join(options)}"


def kind(value: object) -> str:
    """What was read, as the start of a sentence."""
    match value:
        case None:
            return "there is nothing"
        case bool():
            return f"there is {str(value).lower()}"
        case str():
            return f'there is the text "{value}"'
        case list():
            return "there is a list"
        case _:
            return "there is a mapping"


def problems(error: ValidationError, model: type[BaseModel]) -> tuple[Problem, ...]:
    """Tell `error`, which came from validating data as `model`; a misspelt key is told once."""
    details = error.errors(include_url=False)
    meant = {_meant(detail, model) for detail in details if detail["type"] == "extra_forbidden"}
    return tuple(
        _problem(detail, model)
        for detail in details
        if not (detail["type"] in {"missing", "lacking"} and detail["loc"] in meant)
    )


def _problem(detail: ErrorDetails, model: type[BaseModel]) -> Problem:
    keys = detail["loc"]
    cause, fix = _words(detail, model)
    # Pydantic marks a bad key of a mapping, as opposed to its value, by this last step.
    return Problem(keys=keys[:-1] if keys[-1:] == ("[key]",) else keys, cause=cause, fix=fix)


def _words(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    match detail["type"]:
        case "wrong" | "lacking":
            return detail["ctx"]["cause"], detail["ctx"]["fix"]
        case "missing":
            return _missing(detail, model)
        case "extra_forbidden":
            key, keys = detail["loc"][-1], tuple(_owner(model, detail["loc"]).model_fields)
            return f'"{key}" is not a key that belongs here', choice(key, keys)
        case shape:
            expected, fix = _SHAPES[shape]
            return f"{kind(detail['input'])} where {expected} belongs", fix


def _missing(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    key = str(detail["loc"][-1])
    about = _owner(model, detail["loc"]).model_fields[key].description or ""
    return (
        f'the key "{key}" is missing',
        f"Add it: {about[:1].lower()}{about[1:].splitlines()[0].rstrip('.')}",
    )


def _meant(detail: ErrorDetails, model: type[BaseModel]) -> KeyPath:
    keys = detail["loc"]
    return *keys[:-1], _nearest(keys[-1], _owner(model, keys).model_fields) or ""


def _nearest(word: object, options: Iterable[str]) -> str | None:
    if not isinstance(word, str):
        return None
    return next(iter(difflib.get_close_matches(word.lower(), options, n=1)), None)


def _owner(model: type[BaseModel], keys: KeyPath) -> type[BaseModel]:
    """The model that the last of `keys` is, or should be, a field of."""
    for key in keys[:-1]:
        field = model.model_fields.get(str(key))
        model = (field and _model_in(field.annotation)) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
