from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from builder.errors import Fault
from builder.lock.conflict import clash, explain, question_for
from builder.lock.uv import Question, Refusal, Resolved
from builder.matrix import Demand

SAID = Path(__file__).with_name("uv_says")
BLANK = Question(
    requirements=(), as_of=date(2025, 1, 20), python="3.13", glibc="2.17", index="https://i.test"
)

Packages = Mapping[str, Mapping[str, Sequence[str]]]
"""What each version of each package requires."""

SPEECH: Packages = {
    "ctranslate2": {"4.4.0": (), "4.5.0": ()},
    "torch": {"2.3.1": (), "2.4.1": (), "2.5.1": ()},
    "torchaudio": {version: (f"torch=={version}",) for version in ("2.3.1", "2.4.1", "2.5.1")},
    "whisperx": {
        "3.1.6": ("ctranslate2<4.5", "torch>=2"),
        "3.3.1": ("ctranslate2<4.5", "torch>=2", "numpy"),
    },
    "numpy": {"1.26.4": (), "2.2.2": ()},
    "pyannote-audio": {"3.3.2": ("torch>=2", "numpy")},
    "pip": {"24.3.1": ()},
    **{f"innocent-{number}": {"1.0": ("pip",)} for number in range(10)},
}


class Index:
    """An index of a few packages, with a resolver that tries all their versions, the newest first.

    It refuses in uv's words: with the text that belongs to a single requirement, else with that of a clash.
    """

    def __init__(self, packages: Packages = SPEECH, said: Mapping[str, str] | None = None) -> None:
        self.packages, self.said = packages, said or {}
        self.asked: list[Question] = []

    def __call__(self, question: Question) -> tuple[Resolved, ...] | Refusal:
        self.asked.append(question)
        found = self._solved(question, question.requirements, {})
        if found is None:
            return Refusal(trace=self._words(question))
        return tuple(
            Resolved(name=name, version=found[name], wheels=(), source=None) for name in sorted(found)
        )

    def _solved(
        self, question: Question, pending: Sequence[str], chosen: Mapping[str, str]
    ) -> Mapping[str, str] | None:
        if not pending:
            return chosen
        name, rest = _name(pending[0]), pending[1:]
        others = [limit for limit in question.constraints if _name(limit) == name]
        limits = [limit for limit in question.overrides if _name(limit) == name] or [pending[0], *others]
        versions = [chosen[name]] if name in chosen else self.packages.get(name, {})
        for version in sorted(versions, key=Version, reverse=True):
            if all(Requirement(limit).specifier.contains(version) for limit in limits):
                new = () if question.alone or name in chosen else self.packages[name][version]
                found = self._solved(question, [*rest, *new], {**chosen, name: version})
                if found is not None:
                    return found
        return None

    def _words(self, question: Question) -> str:
        only = question.requirements[0] if len(question.requirements) == 1 else ""
        return (SAID / f"{self.said.get(_name(only) if only else '', 'clash')}.txt").read_text(
            encoding="utf-8"
        )


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def demand(
    requirement: str,
    reason: str | None = None,
    kind: Literal["requirement", "constraint", "override"] = "requirement",
) -> Demand:
    return Demand(
        requirement=requirement, kind=kind, reason=reason, place=f"matrix.yaml:7 rows.x {requirement}"
    )


def told(index: Index, *demands: Demand | str) -> list[tuple[str, str, str]]:
    """Place, cause and fix of what these demands suffer from."""
    all_demands = [demand(one) if isinstance(one, str) else one for one in demands]
    assert isinstance(index(question_for(all_demands, BLANK)), Refusal), "there is nothing to explain"
    faults: tuple[Fault, ...] = explain(all_demands, BLANK, index)
    return [(fault.place, fault.cause, fault.fix) for fault in faults]


# Which demands clash


def test_the_clash_is_the_two_that_cannot_stand_together_and_none_of_ten_innocent_ones_around_them() -> None:
    innocent = [demand(f"innocent-{number}==1.0") for number in range(10)]
    guilty = [demand("ctranslate2==4.5.0"), demand("whisperx==3.3.1")]
    demands = [*innocent[:3], guilty[0], *innocent[3:7], guilty[1], *innocent[7:]]
    assert clash(demands, BLANK, Index()) == tuple(guilty)


def test_three_that_clash_only_together_are_told_together() -> None:
    packages: Packages = {
        "a": {"1": ("y!=1",)},
        "b": {"1": ("y!=2",)},
        "c": {"1": ("y<3",)},
        "y": {"1": (), "2": (), "3": ()},
    }
    core = clash([demand("a"), demand("y"), demand("b"), demand("c")], BLANK, Index(packages))
    assert [one.requirement for one in core] == ["a", "b", "c"]


NAMES = "abcd"
LIMITS = st.sampled_from(["==1", "==2", "==3", "<2", ">2", "!=2", ""])
REQUIREMENTS = st.builds("{}{}".format, st.sampled_from(NAMES), LIMITS)
INDEXES = st.fixed_dictionaries(
    {name: st.fixed_dictionaries({v: st.lists(REQUIREMENTS, max_size=2) for v in "123"}) for name in NAMES}
)
DEMANDS = st.builds(
    demand, REQUIREMENTS, st.none(), st.sampled_from(["requirement", "requirement", "constraint"])
)


@given(packages=INDEXES, demands=st.lists(DEMANDS, min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_a_clash_has_no_solution_and_has_one_without_any_of_its_demands(
    packages: Packages, demands: list[Demand]
) -> None:
    index = Index(packages)

    def solvable(some: Sequence[Demand]) -> bool:
        return not isinstance(index(question_for(some, BLANK)), Refusal)

    if solvable(demands):
        return
    core = clash(demands, BLANK, index)
    assert not solvable(core)
    assert all(solvable([*core[:left_out], *core[left_out + 1 :]]) for left_out in range(len(core)))


def test_demands_are_asked_by_their_kind_in_the_rows_own_circumstances() -> None:
    kinds = [
        demand("a"),
        demand("b<2", "why", "constraint"),
        demand("c==1", "why", "override"),
        demand("d>1"),
    ]
    assert question_for(kinds, BLANK) == Question(
        requirements=("a", "d>1"),
        constraints=("b<2",),
        overrides=("c==1",),
        as_of=BLANK.as_of,
        python=BLANK.python,
        glibc=BLANK.glibc,
        index=BLANK.index,
    )


# How a clash is told


def test_a_clash_is_told_as_the_demands_with_their_places_and_what_the_others_would_go_with() -> None:
    assert told(Index(), "ctranslate2==4.5.0", "torch==2.4.1", "whisperx==3.3.1", "pip") == [
        (
            "matrix.yaml:7 rows.x ctranslate2==4.5.0",
            (
                "ctranslate2==4.5.0 clashes with whisperx==3.3.1 (matrix.yaml:7 rows.x whisperx==3.3.1)"
                " (as of 2025-01-20)"
            ),
            "Change one of them; the others would go with ctranslate2 4.4.0",
        )
    ]


def test_a_clash_of_constraints_and_overrides_is_told_with_their_reasons() -> None:
    [(place, cause, fix)] = told(
        Index(),
        demand("numpy==2.2.2"),
        demand("numpy<2", "torch was built against NumPy 1", "constraint"),
        demand("pip<24", "the old one", "constraint"),
    )
    assert place == "matrix.yaml:7 rows.x numpy==2.2.2"
    assert cause == (
        "numpy==2.2.2 clashes with numpy<2"
        " (matrix.yaml:7 rows.x numpy<2, because torch was built against NumPy 1) (as of 2025-01-20)"
    )
    assert fix == "Change one of them; the others would go with numpy 1.26.4 or numpy 2.2.2"


def test_an_override_can_be_what_clashes() -> None:
    [(_, cause, fix)] = told(
        Index(), demand("torchaudio==2.4.1"), demand("torch==9", "newer is better", "override")
    )
    assert cause == (
        "torchaudio==2.4.1 clashes with torch==9"
        " (matrix.yaml:7 rows.x torch==9, because newer is better) (as of 2025-01-20)"
    )
    assert fix == "Change one of them; the others would go with torch 2.4.1"


def test_a_clash_is_not_told_as_a_trace_of_the_search() -> None:
    [fault] = told(Index(), "ctranslate2==4.5.0", "whisperx==3.3.1")
    assert "we can conclude" in (SAID / "clash.txt").read_text(encoding="utf-8")
    assert not any("conclude" in part or "depends" in part for part in fault)


def test_what_the_others_would_go_with_is_said_of_all_others_and_not_of_the_clash_alone() -> None:
    clashing = ("torch==2.3.1", "torchaudio>=2.4")
    [(_, _, alone)] = told(Index(), *clashing)
    [(_, _, among)] = told(Index(), *clashing, demand("torch<2.5", "old drivers", "constraint"))
    assert "others would go with torch 2.5.1 or" in alone
    assert "others would go with torch 2.4.1 or" in among


def test_all_clashes_are_told_at_once_in_the_order_of_the_demands() -> None:
    faults = told(
        Index(SPEECH, {"ctranslate2": "no-such-version"}),
        "torch==2.3.1",
        "ctranslate2==4.9.0",
        "torchaudio==2.4.1",
        "numpy==2.2.2",
        demand("numpy<2", "why", "constraint"),
    )
    assert [cause.partition(" (")[0] for _, cause, _ in faults] == [
        "torch==2.3.1 clashes with torchaudio==2.4.1",
        "ctranslate2==4.9.0 does not exist as of 2025-01-20",
        "numpy==2.2.2 clashes with numpy<2",
    ]
    assert [fix for _, _, fix in faults] == [
        "Change one of them; the others would go with torch 2.4.1 or torchaudio 2.3.1",
        "Nearest: 4.5.0",
        "Change one of them; the others would go with numpy 1.26.4 or numpy 2.2.2",
    ]


# Demands that nothing satisfies


@pytest.mark.parametrize(
    ("requirement", "nearest"),
    [
        ("ctranslate2==4.9.0", "4.5.0"),
        ("ctranslate2==4.4.9", "4.4.0"),
        ("ctranslate2==4.4.9.*", "4.4.0"),
        ("ctranslate2>=4.4.1,<4.5.0", "4.5.0"),
        ("ctranslate2>5,!=5.1", "4.5.0"),
        ("ctranslate2==3.0", "4.5.0"),
        ("CTranslate2===4.4.0-cuvee", "4.5.0"),
        ("ctranslate2==4.4.0+cu121", "4.4.0"),
    ],
)
def test_a_version_that_does_not_exist_names_the_nearest_up_to_it_or_else_the_newest(
    requirement: str, nearest: str
) -> None:
    index = Index(SPEECH, {"ctranslate2": "no-such-version"})
    assert told(index, "pip", requirement, "torch==2.4.1") == [
        (
            f"matrix.yaml:7 rows.x {requirement}",
            f"{requirement} does not exist as of 2025-01-20",
            f"Nearest: {nearest}",
        )
    ]


def test_a_version_that_came_after_the_rows_day_does_not_exist_as_of_it() -> None:
    index = Index(SPEECH, {"ctranslate2": "published-later"})
    [(_, cause, fix)] = told(index, "ctranslate2==4.6.0")
    assert (cause, fix) == ("ctranslate2==4.6.0 does not exist as of 2025-01-20", "Nearest: 4.5.0")


def test_the_nearest_version_is_one_for_the_rows_own_python_day_and_index_whatever_it_requires() -> None:
    index = Index(SPEECH, {"ctranslate2": "no-such-version"})
    told(index, "ctranslate2==4.9.0", demand("ctranslate2<5", "why", "constraint"))
    search = index.asked[-1]
    assert (search.requirements, search.constraints, search.alone) == (("ctranslate2<=4.9.0",), (), True)
    assert (search.as_of, search.python, search.index) == (BLANK.as_of, BLANK.python, BLANK.index)


@pytest.mark.parametrize("others", [{}, {"4.6.0": ()}])
def test_no_wheel_for_the_python_says_so_and_names_a_version_that_has_one(
    others: Mapping[str, tuple[()]],
) -> None:
    index = Index({"ctranslate2": others, "pip": {"24": ()}}, {"ctranslate2": "no-wheel"})
    assert told(index, "ctranslate2==4.4.0", "pip") == [
        (
            "matrix.yaml:7 rows.x ctranslate2==4.4.0",
            "ctranslate2==4.4.0 has no wheel for Python 3.13",
            "Nearest: 4.6.0" if others else "Demand another version of ctranslate2",
        )
    ]


def test_no_wheel_for_the_base_s_glibc_says_so() -> None:
    index = Index({"ctranslate2": {"4.6.2": ()}}, {"ctranslate2": "no-wheel-for-glibc"})
    assert told(index, "ctranslate2==4.8.1") == [
        (
            "matrix.yaml:7 rows.x ctranslate2==4.8.1",
            "ctranslate2==4.8.1 has no wheel for glibc 2.17 on x86-64",
            "Nearest: 4.6.2",
        )
    ]


def test_a_package_that_the_index_does_not_have_is_told_by_its_name() -> None:
    index = Index(SPEECH, {"no-such-package": "unknown"})
    assert told(index, "pip", "No_Such.Package==1") == [
        (
            "matrix.yaml:7 rows.x No_Such.Package==1",
            "the index has no package 'no-such-package'",
            "Check the name 'no-such-package'",
        )
    ]


@pytest.mark.parametrize("words", ["no-wheel-of-another", "old-no-wheel-of-another"])
def test_a_package_is_not_blamed_for_a_wheel_that_another_lacks(words: str) -> None:
    index = Index({"whisperx": {"3.3.1": ("torchaudio",)}}, {"whisperx": words})
    [(place, cause, fix)] = told(index, "whisperx==3.3.1")
    assert place == "matrix.yaml:7 rows.x whisperx==3.3.1"
    assert cause.startswith("whisperx==3.3.1 cannot be installed as of 2025-01-20, because ")
    assert "torchaudio>=2.2.0 has no wheels with a matching Python ABI tag (e.g., `cp313`)" in cause
    assert "conclude" not in cause
    assert fix == "Demand another version of whisperx, or override what it asks for"


def test_a_package_is_not_blamed_for_what_uv_said_of_another_demand() -> None:
    index = Index(SPEECH, {"": "no-wheel", "ctranslate2": "no-wheel", "torch": "no-such-version"})
    faults = told(index, "ctranslate2==4.9.0", "torch==99")
    assert [cause for _, cause, _ in faults] == [
        "ctranslate2==4.9.0 has no wheel for Python 3.13",
        "torch==99 does not exist as of 2025-01-20",
    ]
