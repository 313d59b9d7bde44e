"""The file of signatures is sound, and what is unsound is told, all of it at once and with its line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from builder.errors import BadInputError
from builder.explain.checking import check, check_text, schema
from builder.explain.signatures import FILE, PLACES, SURE, Place, Step, Telling, load

SCHEMA = Path(__file__).parents[2] / "builder" / "explain.schema.json"
SOUND = """\
places:
  - { place: venv, pattern: 'site-packages' }
collect:
  - { do: Look at it }
harmless:
  - { pattern: 'nothing to see', because: it says so }
signatures:
  sour-wine:
    title: The wine is {{how}}
    patterns:
      - 'the wine is (?P<how>sour|off)'
    cut:
      - 'the wine is (?P<how>so|of)…'
    sure: certain
    cause: It was open for too long. Wine wants its cork.
    fixes:
      docker: [{ do: Pour it out, paste: pour }]
      colab: [{ do: Pour it out, paste: '!pour' }]
      venv: [{ do: Pour it out, paste: pour }]
    cases:
      - where: { how: sour }
        cause: It is vinegar by now. Use it for salad.
    echoes: [headache]
    threads: [vineyard/cellar#12]
    source: taste
  headache:
    title: The head aches
    patterns: ['a headache']
    sure: possible
    cause: There was too much of it. It passes.
    fixes:
      docker: [{ do: Rest, paste: rest }]
      colab: [{ do: Rest, paste: '!rest' }]
      venv: [{ do: Rest, paste: rest }]
    threads: []
    source: experience
"""


def faults(text: str) -> list[str]:
    with pytest.raises(BadInputError) as caught:
        check_text(text, "wine.yaml")
    return [str(fault) for fault in caught.value.faults]


def test_the_file_that_comes_with_cuvee_is_sound() -> None:
    check(FILE)


def test_a_sound_text_is_sound() -> None:
    check_text(SOUND)


@pytest.mark.parametrize(
    ("old", "new", "place", "cause", "fix"),
    [
        (
            "cause: It was",
            "couse: It was",
            "wine.yaml:15 signatures.sour-wine.couse",
            '"couse" is not a key that belongs here',
            "Write cause",
        ),
        (
            "    source: taste\n",
            "",
            "wine.yaml:8 signatures.sour-wine",
            'the key "source" is missing',
            "Add it",
        ),
        ("sure: certain", "sure: surely", "wine.yaml:14", "one of certain, likely, possible", "Write"),
        ("place: venv", "place: bench", "wine.yaml:2", "one of docker, colab, venv", "Write"),
        ("(?P<how>sour|off)", "(?P<how>sour|off", "wine.yaml:11", "is not a regular expression", "Mend"),
        ("'a headache'", "'(?:a headache)?'", "wine.yaml:28", "matches an empty text", "must be there"),
        ("'a headache'", "'a headache|a pain'", "wine.yaml:28", "chooses outside of brackets", "further"),
        ("'a headache'", r"'a head\w+ache'", "wine.yaml:28", "without end", "{1,40}"),
        ("'a headache'", r"'a head.*ache'", "wine.yaml:28", "without end", "{1,40}"),
        ("'a headache'", r"'\w{1,9} ache'", "wine.yaml:28", "no word that is always there", "Add a word"),
        ("'a headache'", "'a headac…'", "wine.yaml:28", "for lines that were cut", 'under "cut"'),
        ("(?P<how>so|of)…", "(?P<how>so|of)… and on", "wine.yaml:13", "goes on after", "End it there"),
        ("vineyard/cellar#12", "cellar#12", "wine.yaml:24", "is not a thread", "owner/repo#number"),
        ("echoes: [headache]", "echoes: [headake]", "wine.yaml:23", 'no signature "headake"', "headache"),
        ("{ how: sour }", "{ hew: sour }", "wine.yaml:21", 'has a group "hew"', "Write how"),
        ("      - where: { how: sour }\n        cause", "      - cause", "wine.yaml:21", "always fit", "Add"),
        ("title: The head aches", 'title: "{{who}} aches"', "wine.yaml:26", "{{who}} stands", "defaults"),
        ("{ do: Rest, paste: '!rest' }", "{ do: Rest }", "wine.yaml:33", "can be pasted", 'Add "paste"'),
        (
            "paste: rest }]\n    threads",
            "paste: 'os.environ[\"LD_LIBRARY_PATH\"] = x' }]\n    threads",
            "wine.yaml:34",
            "cannot change where the running process looks",
            "in the shell",
        ),
        ("patterns: ['a headache']", "patterns: []", "wine.yaml:28", "an empty list", "at least one"),
        ("  headache:", "  Head Ache:", "wine.yaml:26", "cannot be a name", "Write head-ache"),
    ],
)
def test_a_mistake_is_told_with_its_place_cause_and_next_step(
    old: str, new: str, place: str, cause: str, fix: str
) -> None:
    assert SOUND.count(old) == 1, old
    told = faults(SOUND.replace(old, new))
    assert any(one.startswith(place) and cause in one and fix in one for one in told), told


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = SOUND.replace("sure: certain", "sure: surely").replace("'a headache'", "'.*'")
    told = faults(text.replace("source: experience", "sauce: experience"))
    assert [int(re.findall(r":(\d+)", one)[0]) for one in told] == [14, 28, 36]


def test_signatures_that_echo_each_other_are_told() -> None:
    [told] = faults(SOUND.replace("    threads: []", "    echoes: [sour-wine]\n    threads: []"))
    assert "echo of itself" in told


# What is told


def tellings() -> Iterator[tuple[str, Telling]]:
    for id_, signature in load().signatures.items():
        yield id_, signature.telling
        yield from ((id_, case.telling) for case in signature.cases)


def steps() -> Iterator[tuple[str, Place, Step]]:
    for id_, telling in tellings():
        for place in PLACES:
            yield from ((id_, place, step) for step in telling.fixes[place])


def test_a_cause_has_two_to_four_sentences() -> None:
    for id_, telling in tellings():
        assert 2 <= len(re.findall(r"[.?!](?=\s|$)", telling.cause)) <= 4, (id_, telling.cause)


def test_a_step_ends_without_a_full_stop() -> None:
    assert [(id_, step.do) for id_, _, step in steps() if step.do.endswith((".", ":"))] == []


def test_texts_are_plain() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert not re.search("[\u2013\u2014]", text)
    assert not re.search(r"https?://(?!github\.com/OpenNMT)", text)


def test_every_signature_has_three_places_and_something_to_paste_in_each() -> None:
    for id_, telling in tellings():
        for place in PLACES:
            assert any(step.paste for step in telling.fixes[place]), (id_, place)


def test_cells_are_python_or_start_with_an_exclamation_mark() -> None:
    for id_, place, step in steps():
        if place == "colab":
            lines = ["pass" if line.startswith("!") else line for line in step.paste.splitlines()]
            compile("\n".join(lines), id_, "exec")


def requirements(paste: str) -> Iterator[str]:
    for line in re.findall(r"pip install (?:(?!&&).)*", paste.replace("\\\n", " ")):
        words = iter(shlex.split(line.split("$(")[0], posix=True)[2:])
        for word in words:
            if word in {"--target", "--python"}:
                next(words)
            elif not word.startswith("-") and "*" not in word and "/" not in word:
                yield word


def test_what_is_installed_is_named_as_pip_wants_it() -> None:
    found = [text for _, _, step in steps() if '"$(' not in step.paste for text in requirements(step.paste)]
    assert len(found) > 100
    for text in found:
        assert Requirement(text).name


def test_no_fix_asks_for_cuda_11_or_13_without_saying_so() -> None:
    for id_, _, step in steps():
        if re.search(r"install[^\n]*-cu1[13]", step.paste):
            assert re.search("CUDA 1[13]", step.do), (id_, step)


def test_certainty_has_three_degrees() -> None:
    assert {telling.sure for _, telling in tellings()} <= set(SURE)


# The schema of the output


def test_the_committed_schema_is_what_the_records_say() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema(), "write builder.explain.checking.schema() there"
