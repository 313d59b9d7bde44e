"""YAML that people write, as plain data that remembers where each key stands.

Plain scalars stay the text that was written, save null, true and false: read as a number, `torch: 2.10`
would become 2.1. Merge keys (`<<: *anchor`) are applied; what they bring keeps the line it was written on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from builder.errors import BadInputError, Fault

KeyPath: TypeAlias = tuple[str | int, ...]
"""The keys and list positions that lead to a value: `("rows", "cu121", "requirements", 0)`."""

_CORE = "tag:yaml.org,2002:"
_KNOWN_TAGS = frozenset(
    f"{_CORE}{tag}"
    for tag in ("map", "seq", "str", "null", "bool", "int", "float", "timestamp", "value", "merge")
)


class _Syntax(NamedTuple):
    """What PyYAML says, what it means to the person who wrote the file, and what to do."""

    says: str
    cause: str
    fix: str
    at_start: bool = False
    """Whether the line to look at is where the construct begins, not where PyYAML gave up."""


_SYNTAX = (  # the first that matches counts
    _Syntax(r"found undefined alias '(.+)'", 'no anchor "&{0}" stands above', "Write {nearest}"),
    _Syntax(r"found duplicate anchor '(.+?)'", 'the anchor "&{0}" is defined twice', "Rename one of the two"),
    _Syntax(
        r"mapping values are not allowed",
        "a colon stands where none can",
        "Check the indentation, and put text that holds a colon in quotes",
    ),
    _Syntax(r"could not find expected ':'", "a key has no colon", 'Write it as "key: value"', at_start=True),
    _Syntax(r"found character '\\t'", "a tab stands where only spaces can", "Indent with spaces"),
    _Syntax(r"found unexpected end of", "a quote is never closed", "Close it", at_start=True),
    _Syntax(r"expected ',' or", "a bracket is never closed", "Close it", at_start=True),
    _Syntax(r"expected <block end>", "this line is not indented like its neighbours", "Line it up with them"),
    _Syntax(r"found another document", "a second document starts here", 'Remove the line "---"'),
    _Syntax(r"found character '(.+)' that cannot start", "a text starts with {0}", "Put it in quotes"),
    _Syntax(
        r"([^; ][^;]*)$", "the YAML cannot be read ({0})", "Put text that holds special characters in quotes"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML file as it was read.

    Attributes:
        name: The file's name as the user gave it.
        data: Mappings as `dict[str, ...]`, sequences as `list`, scalars as `str`, `bool` or `None`.
        lines: The line of each key and list item, counted from 1; `()` is the whole file.
    """

    name: str
    data: Any
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of `path`; of the nearest key above it where the file has no such key."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def place(self, path: KeyPath) -> str:
        """Where `path` stands, for people: `matrix.yaml:31 rows.cu121.requirements[0]`."""
        return _place(self.name, self.line(path), path)


def read(path: Path) -> Document:
    """Read the YAML file at `path`.

    Raises:
        BadInputError: It cannot be opened, is not UTF-8, or is not the YAML that `parse` takes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        cause = f"the file cannot be read ({error.strerror})"
        fault = Fault(place=str(path), cause=cause, fix="Check its name, or run in the folder that has it")
        raise BadInputError(fault) from error
    except UnicodeDecodeError as error:
        place = _place(str(path), 1 + error.object.count(b"\n", 0, error.start))
        fault = Fault(place=place, cause="this is not UTF-8", fix="Save the file as UTF-8")
        raise BadInputError(fault) from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """Parse YAML `text` of the file that the user calls `name`.

    Raises:
        BadInputError: The syntax is wrong, a key stands twice in a mapping, a key is not plain text, a tag is
            unknown, a merge key brings no mapping, or an anchor contains itself.
    """
    root = _compose(text, name)
    inspector = _Inspector(name)
    inspector.visit(root, (), frozenset())
    if inspector.found:
        raise BadInputError(*(fault for _, fault in sorted(inspector.found, key=itemgetter(0))))
    lines: dict[KeyPath, int] = {(): 1}
    return Document(name=name, data=_plain(root, (), lines), lines=lines)


def _compose(text: str, name: str) -> Node:
    try:
        root: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise BadInputError(_syntax_fault(error, text, name)) from error
    except ReaderError as error:
        place = _place(name, 1 + text.count("\n", 0, error.position))
        cause = f"the character U+{error.character:04X} cannot stand in YAML"
        raise BadInputError(Fault(place=place, cause=cause, fix="Remove it")) from error
    return root or ScalarNode(f"{_CORE}null", "", yaml.Mark(name, 0, 0, 0, None, 0))


def _syntax_fault(error: yaml.MarkedYAMLError, text: str, name: str) -> Fault:
    told, found = _meaning(f"{error.context}; {error.problem}")
    mark = error.context_mark if told.at_start else error.problem_mark
    return Fault(
        place=_place(name, mark.line + 1 if mark else 1),
        cause=told.cause.format(*found),
        fix=told.fix.format(nearest=_nearest_anchor(found, text)),
    )


def _meaning(said: str) -> tuple[_Syntax, tuple[str, ...]]:
    """The entry of `_SYNTAX` for what PyYAML said, and the names in it."""
    matches = ((told, re.search(told.says, said)) for told in _SYNTAX)
    return next((told, match.groups()) for told, match in matches if match)


def _nearest_anchor(names: tuple[str, ...], text: str) -> str:
    anchors = difflib.get_close_matches(names[0], re.findall(r"&([\w-]+)", text), n=1) if names else []
    return f"*{anchors[0]}" if anchors else "the values out, or mark them with an anchor above"


class _Inspector:
    """Finds what YAML allows and a file for people should not have."""

    def __init__(self, name: str) -> None:
        self.found: list[tuple[int, Fault]] = []
        self._name = name
        self._seen: set[int] = set()

    def visit(self, node: Node, path: KeyPath, above: frozenset[int]) -> None:
        """Inspect `node` and all below it; `above` are the ids of the nodes that contain it."""
        if id(node) in above:
            self._tell(node, path, "an anchor contains itself", "Write the values out")
        if id(node) in self._seen:  # an alias: told where the anchor stands
            return
        self._seen.add(id(node))
        if node.tag not in _KNOWN_TAGS:
            tag = node.tag.replace(_CORE, "!!")
            self._tell(node, path, f'the tag "{tag}" is not known here', "Remove it")
        for key, child in self._children(node, path):
            self.visit(child, (*path, *key), above | {id(node)})

    def _children(self, node: Node, path: KeyPath) -> list[tuple[KeyPath, Node]]:
        if isinstance(node, SequenceNode):
            return [((index,), child) for index, child in enumerate(node.value)]
        if isinstance(node, MappingNode):
            self._check_keys(node, path)
            return [(_step(key), value) for key, value in node.value]
        return []

    def _check_keys(self, node: MappingNode, path: KeyPath) -> None:
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._tell(key, path, "a key is a list or a mapping", "Write plain text before the colon")
            elif key.value in first:
                cause = f'"{key.value}" is written twice, first on line {first[key.value]}'
                self._tell(key, (*path, key.value), cause, "Keep one of the two")
            else:
                first[key.value] = _line(key)
            if _is_merge(key):
                self._check_merge(key, value, path)

    def _check_merge(self, key: Node, value: Node, path: KeyPath) -> None:
        if not all(isinstance(source, MappingNode) for source in _sources(value)):
            fix = 'Write "<<: *" and the anchor of a mapping'
            self._tell(key, (*path, "<<"), "what is merged here is not a mapping", fix)

    def _tell(self, node: Node, path: KeyPath, cause: str, fix: str) -> None:
        line = _line(node)
        self.found.append((line, Fault(place=_place(self._name, line, path), cause=cause, fix=fix)))


def _plain(node: Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """The data of `node`; the lines of its keys and items are added to `lines`."""

    def below(step: str | int, written: Node, child: Node) -> Any:
        lines[*path, step] = _line(written)
        return _plain(child, (*path, step), lines)

    if isinstance(node, SequenceNode):
        return [below(index, child, child) for index, child in enumerate(node.value)]
    if isinstance(node, MappingNode):
        return {key.value: below(key.value, key, child) for key, child in _pairs(node).values()}
    return _scalar(node)


def _pairs(node: MappingNode) -> dict[str, tuple[Node, Node]]:
    """The keys and values of a mapping with its merges applied: its own keys win, then the first merged."""
    own = {key.value: (key, value) for key, value in node.value if not _is_merge(key)}
    merged: dict[str, tuple[Node, Node]] = {}
    for key, value in node.value:
        if _is_merge(key):
            for source in reversed(_sources(value)):
                merged |= _pairs(source)
    return merged | own


def _scalar(node: Node) -> str | bool | None:
    if node.tag == f"{_CORE}null":
        return None
    # YAML 1.1, which PyYAML speaks, also takes yes, no, on and off for booleans; here they are texts.
    if node.tag == f"{_CORE}bool" and node.value.lower() in {"true", "false"}:
        return bool(node.value.lower() == "true")
    return str(node.value)


def _step(key: Node) -> KeyPath:
    return () if _is_merge(key) or not isinstance(key, ScalarNode) else (key.value,)


def _sources(value: Node) -> list[Any]:
    return list(value.value) if isinstance(value, SequenceNode) else [value]


def _is_merge(key: Node) -> bool:
    return key.tag == f"{_CORE}merge"


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _place(name: str, line: int, path: KeyPath = ()) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{name}:{line} {steps[1:]}".rstrip()
