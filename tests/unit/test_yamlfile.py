from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.errors import BadInputError
from builder.matrix.yamlfile import parse, read

if TYPE_CHECKING:
    from pathlib import Path


def told(text: str) -> list[tuple[str, str, str]]:
    """Place, cause and fix of all faults of `text`."""
    with pytest.raises(BadInputError) as caught:
        parse(text, "m.yaml")
    return [(fault.place, fault.cause, fault.fix) for fault in caught.value.faults]


def test_plain_scalars_stay_the_text_that_was_written() -> None:
    text = "[2.10, 3, 0x1F, 2025-01-20, 12:30, yes, off, 1_000, .inf, =]"
    assert parse(text, "m.yaml").data == text.strip("[]").split(", ")


def test_null_true_and_false_are_what_they_say() -> None:
    text = "[null, ~, Null, true, True, false, FALSE]"
    assert parse(text, "m.yaml").data == [None, None, None, True, True, False, False]
    assert parse("a:", "m.yaml").data == {"a": None}


def test_what_is_quoted_or_tagged_a_text_is_a_text() -> None:
    assert parse("['null', \"true\", !!str null, ~x]", "m.yaml").data == ["null", "true", "null", "~x"]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_a_file_without_content_is_null(text: str) -> None:
    document = parse(text, "m.yaml")
    assert document.data is None
    assert document.place(()) == "m.yaml:1"


def test_each_key_and_item_has_its_line() -> None:
    document = parse("a:\n  b:\n    - x\n    - c: y\n", "m.yaml")
    assert document.line(("a", "b")) == 2
    assert document.line(("a", "b", 0)) == 3
    assert document.place(("a", "b", 1, "c")) == "m.yaml:4 a.b[1].c"


def test_a_key_that_is_not_there_has_the_line_of_the_nearest_above_it() -> None:
    document = parse("\n\na:\n  b: 1\n", "m.yaml")
    assert document.place(("a", "x", "y")) == "m.yaml:3 a.x.y"
    assert document.place(("x",)) == "m.yaml:1 x"


def test_merged_keys_are_overridden_and_keep_the_line_they_were_written_on() -> None:
    document = parse("one: &one\n  a: 1\n  b: 2\ntwo:\n  <<: *one\n  b: 3\n", "m.yaml")
    assert document.data["two"] == {"a": "1", "b": "3"}
    assert document.place(("two", "a")) == "m.yaml:2 two.a"
    assert document.place(("two", "b")) == "m.yaml:6 two.b"


def test_of_several_merged_mappings_the_first_wins() -> None:
    text = "one: &one {a: 1}\ntwo: &two {a: 2, b: 2}\nall:\n  <<: [*one, *two]\n"
    assert parse(text, "m.yaml").data["all"] == {"a": "1", "b": "2"}


def test_merges_reach_through_merges() -> None:
    text = "one: &one {a: 1}\ntwo: &two {<<: *one, b: 2}\nall: {<<: *two}\n"
    assert parse(text, "m.yaml").data["all"] == {"a": "1", "b": "2"}


def test_keys_that_stand_twice_are_all_told_in_the_order_of_the_file() -> None:
    assert told("a: {x: 1, x: 2}\nb: 1\na: 2\nb: 2\n") == [
        ("m.yaml:1 a.x", '"x" is written twice, first on line 1', "Keep one of the two"),
        ("m.yaml:3 a", '"a" is written twice, first on line 1', "Keep one of the two"),
        ("m.yaml:4 b", '"b" is written twice, first on line 2', "Keep one of the two"),
    ]


def test_a_key_that_stands_twice_below_an_anchor_is_told_once() -> None:
    assert told("a: &a\n  x: 1\n  x: 2\nb:\n  <<: *a\nc: *a\n") == [
        ("m.yaml:3 a.x", '"x" is written twice, first on line 2', "Keep one of the two"),
    ]


def test_a_key_that_is_no_text_is_told() -> None:
    assert told("a:\n  ? [x]\n  : 1\n") == [
        ("m.yaml:2 a", "a key is a list or a mapping", "Write plain text before the colon"),
    ]


@pytest.mark.parametrize("tag", ["!include", "!!python/name:os", "!!set"])
def test_a_tag_that_is_not_plain_yaml_is_told(tag: str) -> None:
    assert told(f"a:\n  b: {tag} {{}}\n") == [
        ("m.yaml:2 a.b", f'the tag "{tag}" is not known here', "Remove it"),
    ]


@pytest.mark.parametrize("merged", ["*list", "1", "[*list, {a: 1}]"])
def test_what_is_no_mapping_cannot_be_merged(merged: str) -> None:
    assert told(f"a: &list [1]\nb:\n  <<: {merged}\n") == [
        (
            "m.yaml:3 b.<<",
            "what is merged here is not a mapping",
            'Write "<<: *" and the anchor of a mapping',
        ),
    ]


def test_an_anchor_that_contains_itself_is_told() -> None:
    assert told("a: &a\n  b: *a\n") == [("m.yaml:1 a.b", "an anchor contains itself", "Write the values out")]
    assert told("a: &a\n  <<: *a\n") == [("m.yaml:1 a", "an anchor contains itself", "Write the values out")]


SYNTAX = {
    "an alias without anchor": (
        "a: &first 1\nb: *frist\n",
        ("m.yaml:2", 'no anchor "&frist" stands above', "Write *first"),
    ),
    "an alias without any anchor like it": (
        "a: *x\n",
        (
            "m.yaml:1",
            'no anchor "&x" stands above',
            "Write the values out, or mark them with an anchor above",
        ),
    ),
    "an anchor twice": (
        "a: &x 1\nb: &x 2\n",
        ("m.yaml:2", 'the anchor "&x" is defined twice', "Rename one of the two"),
    ),
    "a second colon": (
        "a: b: c\n",
        (
            "m.yaml:1",
            "a colon stands where none can",
            "Check the indentation, and put text that holds a colon in quotes",
        ),
    ),
    "a key without colon": (
        "a: 1\nb\nc: 1\n",
        ("m.yaml:2", "a key has no colon", 'Write it as "key: value"'),
    ),
    "a tab": ("a:\n\tb: 1\n", ("m.yaml:2", "a tab stands where only spaces can", "Indent with spaces")),
    "an open quote": ("a: 'x\nb: 1\n", ("m.yaml:1", "a quote is never closed", "Close it")),
    "an open list": ("a: [1,\n  2\nb: 1\n", ("m.yaml:1", "a bracket is never closed", "Close it")),
    "an open mapping": ("a: {b: 1\nc: 2\n", ("m.yaml:1", "a bracket is never closed", "Close it")),
    "a dent": (
        "a:\n  b: 1\n c: 2\n",
        ("m.yaml:3", "this line is not indented like its neighbours", "Line it up with them"),
    ),
    "a second document": (
        "a: 1\n---\nb: 2\n",
        ("m.yaml:2", "a second document starts here", 'Remove the line "---"'),
    ),
    "a backquote": ("a: `x`\n", ("m.yaml:1", "a text starts with `", "Put it in quotes")),
    "a character that cannot be seen": (
        "a: 1\nb: \x07\n",
        ("m.yaml:2", "the character U+0007 cannot stand in YAML", "Remove it"),
    ),
    "what has no entry": (
        "a: *\n",
        (
            "m.yaml:1",
            "the YAML cannot be read (expected alphabetic or numeric character, but found '\\n')",
            "Put text that holds special characters in quotes",
        ),
    ),
}


@pytest.mark.parametrize(("text", "fault"), SYNTAX.values(), ids=SYNTAX)
def test_a_syntax_error_is_told_with_its_line_in_plain_words(text: str, fault: tuple[str, str, str]) -> None:
    assert told(text) == [fault]


def test_a_file_is_named_as_the_user_named_it(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("é: 1\n", encoding="utf-8")
    assert read(path).place(("é",)) == f"{path}:1 é"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    with pytest.raises(BadInputError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: the file cannot be read (No such file or directory)."
        " Check its name, or run in the folder that has it."
    )


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(BadInputError) as caught:
        read(path)
    assert str(caught.value) == f"{path}:2: this is not UTF-8. Save the file as UTF-8."
