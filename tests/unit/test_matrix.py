from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from builder.errors import BadInputError, NothingSelectedError
from builder.matrix import CHECKS, Matrix, Row, load, parse, schema, yamlfile

ROOT = Path(__file__).parents[2]

SOUND = """\
bases:
  bookworm:
    image: debian:bookworm-slim
    suite: bookworm
    python: 3.11
    glibc: 2.36
    packages: [ca-certificates, python3]
  trixie:
    image: debian:trixie-slim
    suite: trixie
    python: 3.13
    glibc: 2.41
    packages: []
defaults:
  base: bookworm
  python: 3.11
  ffmpeg: static
  source_archives:
    docopt: it has no wheel
rows:
  first: &first
    summary: The first row
    as_of: 2025-01-20
    cuda: 12.1
    cudnn: 9.1
    torch: 2.10
    ctranslate2: 4.4.0
    requirements:
      - torchaudio==2.4.1
      - whisperx==3.3.1
    constraints:
      numpy<2: torch was built against NumPy 1
    overrides:
      av>=12: a newer one is needed
    overlays:
      cudnn8:
        requirements: [nvidia-cudnn-cu12==8.9.7.29]
        because: CTranslate2 opens it by name
  second:
    <<: *first
    summary: Known to fail
    overlays: {}
    status: known-bad
    fails_with:
      check: cudnn
      message: Could not load library
  third:
    summary: Without torch
    as_of: 2025-02-28
    base: trixie
    python: 3.13
    cuda: 12.8
    torch: null
    ctranslate2: 4.8.*
    ffmpeg: none
"""


def changed(old: str, new: str) -> str:
    """`SOUND` with its one `old` replaced."""
    assert SOUND.count(old) == 1, old
    return SOUND.replace(old, new)


def told(text: str) -> list[tuple[str, str, str]]:
    """Place, cause and fix of all faults of `text`."""
    with pytest.raises(BadInputError) as caught:
        parse(text)
    return [(fault.place, fault.cause, fault.fix) for fault in caught.value.faults]


@pytest.fixture
def sound() -> Matrix:
    return parse(SOUND)


def row(name: str, text: str = SOUND) -> Row:
    return parse(text).select([name])[0]


# What is read


def test_the_real_matrix_is_sound_and_has_the_founding_fix() -> None:
    matrix = load(ROOT / "matrix.yaml")
    founding, control = matrix.select(["cu121", "cu121-no-cudnn8"])
    assert "cudnn8" in founding.overlays
    assert control.status == "known-bad"
    assert control.fails_with
    assert "libcudnn_ops_infer.so.8" in control.fails_with.message


def test_a_control_row_differs_from_its_origin_in_its_overlays_alone() -> None:
    first, second = row("first"), row("second")
    same = {"summary", "overlays", "status", "fails_with"}
    assert first.model_dump(exclude=same) == second.model_dump(exclude=same)
    assert not second.overlays


def test_rows_and_bases_keep_the_order_of_the_file(sound: Matrix) -> None:
    assert [row.id for row in sound.rows] == ["first", "second", "third"]
    assert [base.id for base in sound.bases] == ["bookworm", "trixie"]


def test_a_row_has_its_base_itself_and_not_its_name() -> None:
    assert row("third").base.id == "trixie"
    assert row("third").base.image == "debian:trixie-slim"


def test_a_version_is_the_text_that_was_written() -> None:
    assert row("first").torch == "2.10"


def test_defaults_fill_what_a_row_leaves_out() -> None:
    first = row("first")
    assert (first.base.id, first.python, first.ffmpeg) == ("bookworm", "3.11", "static")
    assert first.source_archives == {"docopt": "it has no wheel"}


def test_a_row_replaces_a_default_whole() -> None:
    text = changed("    ffmpeg: none\n", "    ffmpeg: none\n    source_archives: {}\n")
    assert row("third", text).source_archives == {}


def test_a_null_default_is_none() -> None:
    text = changed("  ffmpeg: static\n", "  ffmpeg: null\n").replace("torch: 2.10\n", "ffmpeg: shared\n")
    assert row("first", text).ffmpeg == "shared"


def test_what_a_row_leaves_out_without_default_is_none_or_empty() -> None:
    third = row("third")
    assert (third.cudnn, third.torch, third.index, third.fails_with) == (None, None, None, None)
    assert (third.requirements, third.status) == ((), "good")


def test_a_row_cannot_be_changed() -> None:
    field = "torch"
    with pytest.raises(ValidationError, match="frozen"):
        setattr(row("first"), field, "1.0")


def test_the_version_of_a_wheel_from_another_index_is_a_version() -> None:
    first = row("first", changed("torch: 2.10\n", "torch: 2.4.1+cu121\n    index: pytorch-cu121\n"))
    assert (first.torch, first.index) == ("2.4.1+cu121", "pytorch-cu121")


def test_today_is_not_in_the_future() -> None:
    today = datetime.now(UTC).date()
    assert row("third", changed("2025-02-28", today.isoformat())).as_of == today


# Places


def test_the_place_of_a_key_is_its_file_line_and_path() -> None:
    assert row("first").place("torch") == "matrix.yaml:26 rows.first.torch"
    assert row("first").place() == "matrix.yaml:21 rows.first"


def test_the_place_of_an_item_is_its_own_line() -> None:
    first = row("first")
    assert first.place("requirements", 1) == "matrix.yaml:30 rows.first.requirements[1]"
    assert first.place("constraints", "numpy<2") == "matrix.yaml:32 rows.first.constraints.numpy<2"


def test_the_place_of_a_merged_key_is_the_line_of_the_anchor() -> None:
    assert row("second").place("torch") == "matrix.yaml:26 rows.second.torch"
    assert row("second").place("summary") == "matrix.yaml:41 rows.second.summary"


def test_the_place_of_a_default_is_in_the_defaults() -> None:
    assert row("first").place("ffmpeg") == "matrix.yaml:17 defaults.ffmpeg"
    assert row("first").place("source_archives", "docopt") == "matrix.yaml:19 defaults.source_archives.docopt"
    assert row("third").place("ffmpeg") == "matrix.yaml:55 rows.third.ffmpeg"


def test_the_place_of_a_key_that_is_nowhere_is_the_line_of_the_row() -> None:
    assert row("third").place("cudnn") == "matrix.yaml:47 rows.third.cudnn"


# Demands and the fingerprint


def test_a_row_demands_its_keys_requirements_ffmpeg_constraints_and_overrides() -> None:
    demands = [(demand.kind, demand.requirement, demand.place) for demand in row("first").demands()]
    assert demands == [
        ("requirement", "torch==2.10", "matrix.yaml:26 rows.first.torch"),
        ("requirement", "ctranslate2==4.4.0", "matrix.yaml:27 rows.first.ctranslate2"),
        ("requirement", "torchaudio==2.4.1", "matrix.yaml:29 rows.first.requirements[0]"),
        ("requirement", "whisperx==3.3.1", "matrix.yaml:30 rows.first.requirements[1]"),
        ("requirement", "pip", "matrix.yaml:21 rows.first"),
        ("requirement", "imageio-ffmpeg", "matrix.yaml:17 defaults.ffmpeg"),
        ("constraint", "numpy<2", "matrix.yaml:32 rows.first.constraints.numpy<2"),
        ("override", "av>=12", "matrix.yaml:34 rows.first.overrides.av>=12"),
    ]


def test_constraints_and_overrides_are_demanded_with_their_reason() -> None:
    reasons = {demand.kind: demand.reason for demand in row("first").demands()}
    assert reasons["requirement"] is None
    assert reasons["constraint"] == "torch was built against NumPy 1"
    assert reasons["override"] == "a newer one is needed"


def test_a_version_prefix_is_demanded_with_its_star() -> None:
    assert row("third").demands()[0].requirement == "ctranslate2==4.8.*"


def test_overlays_are_not_among_the_demands() -> None:
    first = row("first")
    assert first.overlays["cudnn8"].requirements == ("nvidia-cudnn-cu12==8.9.7.29",)
    assert not any("cudnn" in demand.requirement for demand in first.demands())


# Rows of several environments

ISOLATED = """\
  apart:
    summary: Two that never meet
    as_of: 2025-01-20
    cuda: 12.8
    aliases: [latest, newest]
    budget: {pull: 3.4, disk: 7.2}
    environments:
      asr:
        cuda: 12.1
        cudnn: 8.9
        ctranslate2: 4.4.0
        requirements: [faster-whisper==1.1.0]
      diarize:
        cuda: 12.8
        cudnn: 9.10
        torch: 2.8.0
        requirements: [pyannote.audio==4.0.4]
        constraints: {numpy<3: it has not been tried with the next}
"""
APART = f"{SOUND.rstrip()}\n{ISOLATED}"


def test_each_environment_of_an_isolated_row_has_its_own_demands() -> None:
    found = row("apart", APART)
    assert [name for name, _ in found.stacks()] == ["asr", "diarize"]
    assert [one.requirement for one in found.demands("asr")][:2] == [
        "ctranslate2==4.4.0",
        "faster-whisper==1.1.0",
    ]
    limit = next(one for one in found.demands("diarize") if one.kind == "constraint")
    assert limit.place.endswith("rows.apart.environments.diarize.constraints.numpy<3")


def test_what_the_environments_have_of_a_key_is_told_once() -> None:
    found = row("apart", APART)
    assert found.every("cudnn") == ("8.9", "9.10")
    assert found.every("torch") == ("2.8.0",)
    assert row("first").every("cudnn") == ("9.1",)


def test_ffmpeg_is_for_the_first_environment() -> None:
    apart = row(
        "apart",
        APART.replace("    cuda: 12.8\n    aliases", "    cuda: 12.8\n    ffmpeg: static\n    aliases"),
    )
    names = {name: [one.requirement for one in apart.demands(name)] for name, _ in apart.stacks()}
    assert "imageio-ffmpeg" in names["asr"]
    assert "imageio-ffmpeg" not in names["diarize"]


def test_a_row_has_environments_or_packages_of_its_own_and_not_both() -> None:
    both = APART.replace("    environments:\n      asr:", "    torch: 2.8.0\n    environments:\n      asr:")
    [(place, cause, _)] = told(both)
    assert place.endswith("rows.apart.environments")
    assert cause == "the row has environments and, beside them, torch"


def test_a_row_answers_to_its_aliases() -> None:
    found = parse(APART)
    assert [one.id for one in found.select(["latest"])] == ["apart"]
    assert [one.id for one in found.select(["newest", "first"])] == ["first", "apart"]


def test_an_alias_that_is_taken_is_told() -> None:
    [(place, cause, fix)] = told(APART.replace("[latest, newest]", "[latest, first]"))
    assert place.partition(" ")[2] == "rows.apart.aliases[1]"
    assert (cause, fix) == ('the name "first" is first\'s', "Choose another alias")


@pytest.mark.parametrize(
    ("old", "new"), [("pull: 3.4", "pull: 3.5"), ("[latest, newest]", "[latest]")], ids=["budget", "aliases"]
)
def test_budgets_and_aliases_leave_the_fingerprint(old: str, new: str) -> None:
    assert row("apart", APART).fingerprint() == row("apart", APART.replace(old, new)).fingerprint()


def test_what_is_left_out_changes_the_image_and_not_what_is_resolved() -> None:
    text = changed("    ffmpeg: none\n", "    ffmpeg: none\n    leave_out: {pandas/tests: nobody wants it}\n")
    assert row("third", text).leave_out == {"pandas/tests": "nobody wants it"}
    assert row("third", text).fingerprint() == row("third").fingerprint()


def test_an_environments_versions_and_not_their_order_are_in_the_fingerprint() -> None:
    before = row("apart", APART).fingerprint()
    assert row("apart", APART.replace("torch: 2.8.0", "torch: 2.8.1")).fingerprint() != before
    two = APART.replace("[faster-whisper==1.1.0]", "[faster-whisper==1.1.0, numpy==1.0]")
    other = APART.replace("[faster-whisper==1.1.0]", "[numpy==1.0, faster-whisper==1.1.0]")
    assert row("apart", two).fingerprint() == row("apart", other).fingerprint()


def test_the_fingerprint_is_the_same_in_every_python() -> None:
    assert row("first").fingerprint() == "e868e075067918182ab3a75ae797ada5ee35dd35f6da4c5f01ed110ecc268cb7"
    assert row("third").fingerprint() == "b001fc38268995a5cd6f567219a1993832160a7faff7ecd865bcb773880c5397"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("The first row", "Another summary"),
        ("torch was built against NumPy 1", "another reason"),
        ("CTranslate2 opens it by name", "another reason"),
        ("it has no wheel", "another reason"),
        ("  first: &first\n", "  renamed: &first\n"),
        ("  bookworm:\n    image", "  book:\n    image"),
        (
            "      - torchaudio==2.4.1\n      - whisperx==3.3.1\n",
            "      - whisperx==3.3.1\n      - torchaudio==2.4.1\n",
        ),
    ],
)
def test_the_fingerprint_does_not_see_words_names_and_order(old: str, new: str) -> None:
    text = changed(old, new).replace("base: bookworm", "base: book" if "book:" in new else "base: bookworm")
    assert parse(text).rows[0].fingerprint() == row("first").fingerprint()


def test_the_fingerprint_does_not_see_the_status() -> None:
    text = SOUND[: SOUND.index("    status:")] + SOUND[SOUND.index("  third:") :]
    assert row("second", text).fingerprint() == row("second").fingerprint()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("as_of: 2025-01-20", "as_of: 2025-01-21"),
        ("debian:bookworm-slim", "debian:12-slim"),
        ("cudnn: 9.1", "cudnn: 9.2"),
        ("torch: 2.10", "torch: 2.1"),
        ("ctranslate2: 4.4.0", "ctranslate2: 4.4.1"),
        ("whisperx==3.3.1", "whisperx==3.3.0"),
        ("numpy<2", "numpy<3"),
        ("av>=12", "av>=13"),
        ("8.9.7.29", "8.9.2.26"),
        ("ffmpeg: static", "ffmpeg: shared"),
        ("docopt: it", "julius: it"),
        ("    cuda: 12.1\n", "    cuda: 12.1\n    index: other\n"),
    ],
)
def test_the_fingerprint_sees_what_decides_packages_and_image(old: str, new: str) -> None:
    assert row("first", changed(old, new)).fingerprint() != row("first").fingerprint()


# Selecting


def test_no_ids_select_all_rows(sound: Matrix) -> None:
    assert sound.select([]) == sound.rows


def test_ids_select_rows_once_in_the_order_of_the_file(sound: Matrix) -> None:
    assert [row.id for row in sound.select(["third", "first", "third"])] == ["first", "third"]


def test_an_unknown_id_is_told_with_the_nearest(sound: Matrix) -> None:
    with pytest.raises(NothingSelectedError) as caught:
        sound.select(["thrid", "first", "x"])
    assert [str(fault) for fault in caught.value.faults] == [
        "row thrid: matrix.yaml has no such row. Nearest: third.",
        "row x: matrix.yaml has no such row. The rows are first, second, third.",
    ]


# Faults


def test_a_misspelt_key_is_told_with_its_line_and_the_nearest_key() -> None:
    assert told(changed("cudnn: 9.1", "cuddn: 9.1")) == [
        (
            "matrix.yaml:25 rows.first.cuddn",
            '"cuddn" is not a key that belongs here',
            "Write cudnn, the nearest",
        ),
        (
            "matrix.yaml:25 rows.second.cuddn",
            '"cuddn" is not a key that belongs here',
            "Write cudnn, the nearest",
        ),
    ]


def test_a_needed_key_that_is_misspelt_is_not_told_as_missing_too() -> None:
    assert told(changed("summary: Without torch", "sumary: Without torch")) == [
        (
            "matrix.yaml:48 rows.third.sumary",
            '"sumary" is not a key that belongs here',
            "Write summary, the nearest",
        ),
    ]
    assert told(changed("    fails_with:", "    fails-with:")) == [
        (
            "matrix.yaml:44 rows.second.fails-with",
            '"fails-with" is not a key that belongs here',
            "Write fails_with, the nearest",
        ),
    ]


def test_a_key_like_no_other_is_told_with_all_keys() -> None:
    assert told(changed("    cuda: 12.8\n", "    cuda: 12.8\n    zzz: 1\n")) == [
        (
            "matrix.yaml:53 rows.third.zzz",
            '"zzz" is not a key that belongs here',
            f"Write one of {', '.join(Row.model_fields)}",
        ),
    ]


def test_a_missing_key_is_told_with_what_it_means() -> None:
    assert told(changed("    summary: Without torch\n", "")) == [
        (
            "matrix.yaml:47 rows.third.summary",
            'the key "summary" is missing',
            "Add it: what the row is for, in one line",
        ),
    ]


def test_a_key_is_missing_if_neither_row_nor_defaults_have_it() -> None:
    assert told(changed("  base: bookworm\n", "")) == [
        (
            "matrix.yaml:20 rows.first.base",
            'the key "base" is missing',
            'Add it: the base, by its key under "bases"',
        ),
        (
            "matrix.yaml:38 rows.second.base",
            'the key "base" is missing',
            'Add it: the base, by its key under "bases"',
        ),
    ]


def test_an_overlay_needs_a_reason() -> None:
    assert told(SOUND + "    overlays:\n      x:\n        requirements: [a==1]\n") == [
        (
            "matrix.yaml:57 rows.third.overlays.x.because",
            'the key "because" is missing',
            "Add it: what needs these libraries, and why the environment itself cannot have them",
        ),
    ]


def test_a_known_bad_row_must_say_how_it_fails() -> None:
    assert told(SOUND + "    status: known-bad\n") == [
        (
            "matrix.yaml:47 rows.third.fails_with",
            "a known-bad row does not say how it fails",
            'Add "check" and "message" below "fails_with"',
        ),
    ]


def test_a_good_row_must_not_say_how_it_fails() -> None:
    assert told(changed("    status: known-bad\n", "")) == [
        (
            "matrix.yaml:43 rows.second.fails_with",
            "a row that is good cannot say how it fails",
            'Remove it, or write "status: known-bad"',
        ),
    ]


def test_the_python_of_a_row_must_be_its_bases() -> None:
    assert told(changed("base: trixie\n    python: 3.13", "base: trixie\n    python: 3.12")) == [
        ("matrix.yaml:51 rows.third.python", "base trixie has Python 3.13, not 3.12", 'Write "3.13"'),
    ]


def test_an_inherited_python_that_is_not_the_bases_is_told_in_the_row() -> None:
    assert told(changed("base: trixie\n    python: 3.13\n", "base: trixie\n")) == [
        ("matrix.yaml:47 rows.third.python", "base trixie has Python 3.13, not 3.11", 'Write "3.13"'),
    ]


def test_a_package_with_its_own_key_is_told_in_requirements() -> None:
    assert told(SOUND + "    requirements: [Torch==2.4.1, ctranslate2]\n") == [
        (
            "matrix.yaml:56 rows.third.requirements[0]",
            "torch has a key of its own in the row",
            'Remove it here and write the version at "torch"',
        ),
        (
            "matrix.yaml:56 rows.third.requirements[1]",
            "ctranslate2 has a key of its own in the row",
            'Remove it here and write the version at "ctranslate2"',
        ),
    ]


def test_a_requirement_that_is_listed_twice_is_told_at_the_second() -> None:
    assert told(SOUND + "    requirements:\n    - a.b==1\n    - ok\n    - A_b[x]\n    - =\n    - =\n") == [
        (
            "matrix.yaml:59 rows.third.requirements[2]",
            'a-b is listed twice, first as "a.b==1"',
            "Keep one of the two",
        ),
        (
            "matrix.yaml:60 rows.third.requirements[3]",
            '"=" is not a requirement',
            'Write a name and a version, such as "name==1.2.3" or "name<2"',
        ),
        (
            "matrix.yaml:61 rows.third.requirements[4]",
            '"=" is not a requirement',
            'Write a name and a version, such as "name==1.2.3" or "name<2"',
        ),
    ]


def test_a_day_in_the_future_is_told_with_today() -> None:
    today = datetime.now(UTC).date()
    far = today + timedelta(days=2)  # midnight may pass before it is read
    [(place, cause, fix)] = told(changed("2025-02-28", str(far)))
    assert place == "matrix.yaml:49 rows.third.as_of"
    assert cause == f"{far} is in the future, whose packages nobody knows"
    assert fix in {f"Write {today + timedelta(days=late)} or a day before it" for late in (0, 1)}


# Of a value: what is written for what, and what is told of it.
VALUES = {
    "a misspelt base": (
        ("base: trixie", "base: trixi"),
        (
            "rows.third.base",
            'there is the text "trixi" where the name of a base belongs',
            "Write trixie, the nearest",
        ),
    ),
    "a base like no other": (
        ("base: trixie", "base: arch"),
        (
            "rows.third.base",
            'there is the text "arch" where the name of a base belongs',
            "Write one of bookworm, trixie",
        ),
    ),
    "a base written in place": (
        ("base: trixie", "base: {image: x}"),
        (
            "rows.third.base",
            "there is a mapping where the name of a base belongs",
            "Write one of bookworm, trixie",
        ),
    ),
    "a misspelt choice": (
        ("ffmpeg: none", "ffmpeg: Statik"),
        (
            "rows.third.ffmpeg",
            'there is the text "Statik" where one of static, pyav, shared, none belongs',
            "Write static, the nearest",
        ),
    ),
    "a null choice": (
        ("ffmpeg: none", "ffmpeg: null"),
        (
            "rows.third.ffmpeg",
            "there is nothing where one of static, pyav, shared, none belongs",
            "Write one of static, pyav, shared, none",
        ),
    ),
    "a misspelt status": (
        ("status: known-bad", "status: known_bad"),
        (
            "rows.second.status",
            'there is the text "known_bad" where one of good, known-bad, untested belongs',
            "Write known-bad, the nearest",
        ),
    ),
    "an unknown check": (
        ("check: cudnn", "check: cuddn"),
        (
            "rows.second.fails_with.check",
            f'there is the text "cuddn" where one of {", ".join(CHECKS)} belongs',
            "Write cudnn, the nearest",
        ),
    ),
    "a day that is none": (
        ("2025-02-28", "2025-02-30"),
        (
            "rows.third.as_of",
            'there is no day "2025-02-30"',
            "Write it as YYYY-MM-DD; the nearest real date is 2025-02-28",
        ),
    ),
    "a month that is none": (
        ("2025-02-28", "2025-13-00"),
        (
            "rows.third.as_of",
            'there is no day "2025-13-00"',
            "Write it as YYYY-MM-DD; the nearest real date is 2025-12-01",
        ),
    ),
    "a day in another form": (
        ("2025-02-28", "2025/2/28"),
        (
            "rows.third.as_of",
            'there is no day "2025/2/28"',
            "Write it as YYYY-MM-DD; the nearest real date is 2025-02-28",
        ),
    ),
    "a date in words": (
        ("2025-02-28", "soon"),
        (
            "rows.third.as_of",
            'there is the text "soon" where a date belongs',
            "Write it as YYYY-MM-DD, e.g. 2025-01-20",
        ),
    ),
    "no date": (
        ("2025-02-28", ""),
        (
            "rows.third.as_of",
            "there is nothing where a date belongs",
            "Write it as YYYY-MM-DD, e.g. 2025-01-20",
        ),
    ),
    "a CUDA with three numbers": (
        ("cuda: 12.8", "cuda: 12.8.93"),
        ("rows.third.cuda", '"12.8.93" is not a version of two numbers', 'Write "12.8"'),
    ),
    "a CUDA as wheels call it": (
        ("cuda: 12.8", "cuda: cu128"),
        ("rows.third.cuda", '"cu128" is not a version of two numbers', 'Write "12.8"'),
    ),
    "a CUDA with one number": (
        ("cuda: 12.8", "cuda: 12"),
        (
            "rows.third.cuda",
            '"12" is not a version of two numbers',
            'Write them with a dot between, such as "1.2"',
        ),
    ),
    "a torch prefix": (
        ("torch: null", "torch: 2.4.*"),
        ("rows.third.torch", '"2.4.*" is not an exact version', 'Write "2.4.0", the nearest'),
    ),
    "a torch with an operator": (
        ("torch: null", 'torch: "==2.4.1"'),
        ("rows.third.torch", '"==2.4.1" is not an exact version', 'Write "2.4.1", the nearest'),
    ),
    "a torch in another spelling": (
        ("torch: null", "torch: v2.4.1-rc1"),
        ("rows.third.torch", '"v2.4.1-rc1" is not an exact version', 'Write "2.4.1rc1", the nearest'),
    ),
    "a torch in words": (
        ("torch: null", "torch: newest"),
        ("rows.third.torch", '"newest" is not an exact version', 'Write all its numbers, such as "1.2.3"'),
    ),
    "a prefix with an x": (
        ("4.8.*", "4.8.x"),
        ("rows.third.ctranslate2", '"4.8.x" is not a version', 'Write "4.8.*", the nearest'),
    ),
    "a CTranslate2 range": (
        ("4.8.*", '">=4.8"'),
        ("rows.third.ctranslate2", '">=4.8" is not an exact version', 'Write "4.8", the nearest'),
    ),
    "a requirement with one equals sign": (
        ("torch: null", "requirements: [whisperx=3.3.1]"),
        (
            "rows.third.requirements[0]",
            '"whisperx=3.3.1" is not a requirement',
            'Write "whisperx==3.3.1", the nearest',
        ),
    ),
    "a requirement without operator": (
        ("torch: null", "requirements: [whisperx 3.3.1]"),
        (
            "rows.third.requirements[0]",
            '"whisperx 3.3.1" is not a requirement',
            'Write "whisperx==3.3.1", the nearest',
        ),
    ),
    "a requirement with an address": (
        ("torch: null", "requirements: ['a @ https://example.org/a.whl']"),
        (
            "rows.third.requirements[0]",
            '"a @ https://example.org/a.whl" names an address',
            "Write a and its version",
        ),
    ),
    "a bad constraint": (
        ("torch: null", "constraints: {numpy<<2: why}"),
        (
            "rows.third.constraints.numpy<<2",
            '"numpy<<2" is not a requirement',
            'Write a name and a version, such as "name==1.2.3" or "name<2"',
        ),
    ),
    "a constraint without reason": (
        ("torch: null", "constraints: {numpy<2: }"),
        (
            "rows.third.constraints.numpy<2",
            "there is no reason",
            "Say why, for the one who looks at it in a year",
        ),
    ),
    "an override with a blank reason": (
        ("torch: null", "overrides: {numpy<2: ' '}"),
        (
            "rows.third.overrides.numpy<2",
            "there is no reason",
            "Say why, for the one who looks at it in a year",
        ),
    ),
    "a source archive with a version": (
        ("docopt:", "docopt==0.6.2:"),
        (
            "defaults.source_archives.docopt==0.6.2",
            '"docopt==0.6.2" cannot be the name of a package',
            "Write docopt, the nearest",
        ),
    ),
    "a source archive without a name": (
        ("docopt:", "-:"),
        (
            "defaults.source_archives.-",
            '"-" cannot be the name of a package',
            "Write it as the package index does, in small letters",
        ),
    ),
    "a whole package left out": (
        ("torch: null", "leave_out: {pandas: nobody wants it}"),
        (
            "rows.third.leave_out.pandas",
            '"pandas" is not a path below a package',
            'Such as "pandas/tests"',
        ),
    ),
    "a path that leads elsewhere left out": (
        ("torch: null", "leave_out: {/pandas/../tests/: nobody wants it}"),
        (
            "rows.third.leave_out./pandas/../tests/",
            '"/pandas/../tests/" is not a path below a package',
            'Write "pandas/tests", the nearest',
        ),
    ),
    "two stars in what is left out": (
        ("torch: null", "leave_out: {pandas/**/tests: nobody wants it}"),
        (
            "rows.third.leave_out.pandas/**/tests",
            '"pandas/**/tests" is not a path below a package',
            'Write "pandas/tests", the nearest',
        ),
    ),
    "an overlay without requirements": (
        ("[nvidia-cudnn-cu12==8.9.7.29]", "[]"),
        (
            "rows.first.overlays.cudnn8.requirements",
            "there is an empty list",
            'Write at least one requirement, such as "- name==1.2.3"',
        ),
    ),
    "an index by its address": (
        ("torch: null", "index: https://example.org/simple"),
        (
            "rows.third.index",
            "there is an address where a name belongs",
            "Write a name such as pytorch",
        ),
    ),
    "an empty text": (
        ("Without torch", "''"),
        ("rows.third.summary", "there is an empty text", "Write a few words"),
    ),
    "a text that is none": (
        ("Without torch", "true"),
        (
            "rows.third.summary",
            "there is true where a text belongs",
            "Write a text; put it in quotes if YAML takes it for something else",
        ),
    ),
    "a list that is none": (
        ("torch: null", "requirements: whisperx"),
        (
            "rows.third.requirements",
            'there is the text "whisperx" where a list belongs',
            "Write each item on a line of its own, after a dash",
        ),
    ),
    "an item that is none": (
        ("torch: null", "requirements: [null]"),
        (
            "rows.third.requirements[0]",
            "there is nothing where a text belongs",
            "Write a text; put it in quotes if YAML takes it for something else",
        ),
    ),
    "a mapping that is none": (
        ("torch: null", "constraints: [numpy<2]"),
        (
            "rows.third.constraints",
            "there is a list where a mapping belongs",
            'Write "key: value" lines, indented below the key',
        ),
    ),
    "a row's name": (
        ("  third:", "  Third_Row:"),
        (
            "rows.Third_Row",
            '"Third_Row" cannot be a name: small letters, digits and dashes can',
            "Write third-row, the nearest",
        ),
    ),
    "a name of nothing": (
        ("  third:", "  '!':"),
        (
            "rows.!",
            '"!" cannot be a name: small letters, digits and dashes can',
            "Write small letters, digits and dashes",
        ),
    ),
    "a Debian package with a version": (
        ("[ca-certificates, python3]", "[Python3=3.11]"),
        (
            "bases.bookworm.packages[0]",
            '"Python3=3.11" cannot be the name of a Debian package',
            "Write python3, the nearest",
        ),
    ),
    "a Debian package of nothing": (
        ("[ca-certificates, python3]", "['!']"),
        (
            "bases.bookworm.packages[0]",
            '"!" cannot be the name of a Debian package',
            "Write one as apt names it",
        ),
    ),
}


@pytest.mark.parametrize(("change", "fault"), VALUES.values(), ids=VALUES)
def test_a_wrong_value_is_told_once_with_its_line_and_the_nearest_right_one(
    change: tuple[str, str], fault: tuple[str, str, str]
) -> None:
    line = SOUND[: SOUND.index(change[0])].count("\n") + 1
    place, cause, fix = fault
    assert told(changed(*change)) == [(f"matrix.yaml:{line} {place}", cause, fix)]


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    text = SOUND.replace("python: 3.13\n    cuda", "python: 3.12\n    cuda").replace(
        "ffmpeg: none", "ffmpeg: nome"
    )
    text = text.replace("glibc: 2.36", "glibc: two").replace("Without torch", "''").replace("4.8.*", "4.8.x")
    text = (
        text.replace("  ffmpeg: static", "  ffmpeg: statik")
        + "    requirements: [a=1, b==1, b==2]\nrow: {}\n"
    )
    assert [place for place, _, _ in told(text)] == [
        "matrix.yaml:6 bases.bookworm.glibc",
        "matrix.yaml:17 defaults.ffmpeg",
        "matrix.yaml:48 rows.third.summary",
        "matrix.yaml:51 rows.third.python",
        "matrix.yaml:54 rows.third.ctranslate2",
        "matrix.yaml:55 rows.third.ffmpeg",
        "matrix.yaml:56 rows.third.requirements[0]",
        "matrix.yaml:56 rows.third.requirements[2]",
        "matrix.yaml:57 row",
    ]


def test_a_mistake_in_a_default_is_told_once_and_not_by_each_row() -> None:
    assert told(changed("  ffmpeg: static", "  ffmpeg: statik")) == [
        (
            "matrix.yaml:17 defaults.ffmpeg",
            'there is the text "statik" where one of static, pyav, shared, none belongs',
            "Write static, the nearest",
        ),
    ]
    assert told(changed("  base: bookworm\n", "  base: bookwurm\n")) == [
        (
            "matrix.yaml:15 defaults.base",
            'there is the text "bookwurm" where the name of a base belongs',
            "Write bookworm, the nearest",
        ),
    ]
    assert told(changed("defaults:\n", "defaults:\n  torch: 2.10\n")) == [
        (
            "matrix.yaml:15 defaults.torch",
            '"torch" is not a key that belongs here',
            "Write one of base, python, ffmpeg, source_archives, leave_out",
        ),
    ]


def test_a_misspelt_default_is_told_once_and_not_as_missing_by_each_row() -> None:
    assert told(changed("  ffmpeg: static", "  ffmepg: static")) == [
        (
            "matrix.yaml:17 defaults.ffmepg",
            '"ffmepg" is not a key that belongs here',
            "Write ffmpeg, the nearest",
        ),
    ]


def test_a_mistake_in_a_base_is_told_once_and_not_by_each_row() -> None:
    assert told(changed("glibc: 2.36", "glibc: two")) == [
        (
            "matrix.yaml:6 bases.bookworm.glibc",
            '"two" is not a version of two numbers',
            'Write them with a dot between, such as "1.2"',
        ),
    ]


@pytest.mark.parametrize("section", ["bases", "defaults", "rows"])
def test_a_misspelt_section_is_told_once_and_not_by_each_row(section: str) -> None:
    line = SOUND[: SOUND.index(f"{section}:\n")].count("\n") + 1
    assert told(changed(f"{section}:\n", f"{section}x:\n")) == [
        (
            f"matrix.yaml:{line} {section}x",
            f'"{section}x" is not a key that belongs here',
            f"Write {section}, the nearest",
        ),
    ]


@pytest.mark.parametrize("section", ["bases", "defaults", "rows"])
def test_a_section_that_is_no_mapping_is_told_once(section: str) -> None:
    line = SOUND[: SOUND.index(f"{section}:\n")].count("\n") + 1
    assert told(changed(f"{section}:\n", f"{section}: []\nxx:\n"))[0] == (
        f"matrix.yaml:{line} {section}",
        "there is a list where a mapping belongs",
        'Write "key: value" lines, indented below the key',
    )


def test_rows_without_any_base_to_name_are_told_so() -> None:
    text = "bases: {}\ndefaults: {}\nrows:\n  a: {summary: x, as_of: 2025-01-20, cuda: 12.1, base: b}\n"
    assert told(text)[0] == (
        (
            "matrix.yaml:4 rows.a.base",
            'there is the text "b" where the name of a base belongs',
            'Add it under "bases"',
        )
    )


def test_an_empty_file_is_told() -> None:
    assert told("") == [
        (
            "matrix.yaml:1",
            "there is nothing where a mapping belongs",
            'Write "key: value" lines, indented below the key',
        ),
    ]


def test_a_row_without_content_is_told() -> None:
    assert told(SOUND + "  fourth:\n") == [
        (
            "matrix.yaml:56 rows.fourth",
            "there is nothing where a mapping belongs",
            'Write "key: value" lines, indented below the key',
        ),
    ]


def test_a_file_is_named_as_the_user_named_it(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(changed("4.8.*", "4.8.x"), encoding="utf-8")
    with pytest.raises(BadInputError, match=re.escape(f"{path}:54 rows.third.ctranslate2: ")):
        load(path)


def spots(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in `data`."""
    steps = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path] + [spot for step, value in steps for spot in spots(value, (*path, step))]


def with_value(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of `data` that has `value` at `path`."""
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = with_value(copy[path[0]], path[1:], value)
    return copy


DATA = yamlfile.parse(SOUND, "matrix.yaml").data
SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from(["", "x", "3.11", "1", "none", "known-bad", "2025-02-30", "-"])
)
KEYS = st.text("ab", max_size=2)
VALUE = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
)


def outcome(text: str) -> Matrix | BadInputError:
    try:
        return parse(text)
    except BadInputError as error:
        return error


@settings(deadline=None)  # the first example pays for building pydantic's validators
@given(st.sampled_from(spots(DATA)), VALUE)
def test_any_value_anywhere_is_read_or_told_in_our_own_words(spot: tuple[Any, ...], value: Any) -> None:
    text = yaml.safe_dump(with_value(DATA, spot, value), sort_keys=False)
    result = outcome(text)
    if isinstance(result, Matrix):
        assert len(result.rows) == text.count("summary:")
    else:
        assert result.faults
        assert all(fault.place.startswith("matrix.yaml:") for fault in result.faults)
        assert not re.search(r"Input should|pydantic|None|dict", str(result))


# The schema for editors


def test_the_committed_schema_is_the_models_own() -> None:
    committed = (ROOT / "builder/matrix.schema.json").read_text(encoding="utf-8")
    assert committed == schema(), "write what builder.matrix.schema() returns to builder/matrix.schema.json"


def test_the_real_matrix_tells_editors_where_the_schema_is() -> None:
    first = (ROOT / "matrix.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert (ROOT / first.removeprefix("# yaml-language-server: $schema=")).is_file()


def test_the_schema_explains_every_key_to_editors() -> None:
    data = json.loads(schema())
    assert data["$schema"].endswith("2020-12/schema")
    for name, model in data["$defs"].items():
        assert model["description"], name
        for key, field in model["properties"].items():
            assert field["description"], f"{name}.{key}"


def test_editors_may_read_a_version_as_a_number() -> None:
    fields = json.loads(schema())["$defs"]["Row"]["properties"]
    assert fields["cuda"]["anyOf"] == [{"type": ["string", "number"]}, {"type": "null"}]
    assert fields["torch"]["anyOf"] == [{"type": ["string", "number"]}, {"type": "null"}]


def test_editors_do_not_ask_a_row_for_what_defaults_give() -> None:
    assert json.loads(schema())["$defs"]["Row"]["required"] == ["summary", "as_of", "cuda"]


def test_editors_know_the_checks() -> None:
    assert json.loads(schema())["$defs"]["FailsWith"]["properties"]["check"]["enum"] == list(CHECKS)
