from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from builder.doctor.versions import NoVersionError, holds, minor, parse

numbers = st.integers(0, 12)
releases = st.lists(numbers, min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
endings = st.lists(
    st.sampled_from([
        "a1", "b2", "rc1", "rc0", "alpha", ".pre3", "c4", ".post1", "-2", ".rev", ".dev0", "-dev3",
        ".post1.dev2", "rc1.post2", "a1.dev1", "+cu121", "+cu126", "+1.local.7", ".post1+cu126", ".dev5+abc",
    ]),
    max_size=1,
)  # fmt: skip
versions = st.builds(
    lambda epoch, release, ending: epoch + release + "".join(ending),
    st.sampled_from(["", "", "", "1!", "v"]),
    releases,
    endings,
)
operators = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


def is_legal(comparison: str) -> bool:
    """PEP 440 forbids local versions with <, <=, > and >=."""
    return comparison.startswith(("==", "!=")) or "+" not in comparison


@given(versions, versions)
def test_versions_are_ordered_as_packaging_orders_them(one: str, other: str) -> None:
    ours, theirs = (parse(one), parse(other)), (Version(one), Version(other))
    assert (ours[0] < ours[1]) == (theirs[0] < theirs[1])
    assert (ours[0] == ours[1]) == (theirs[0] == theirs[1])


@given(versions, operators, versions)
def test_a_comparison_holds_where_packaging_says_so(version: str, operator: str, bound: str) -> None:
    comparison = operator + bound
    if is_legal(comparison):
        assert holds(version, comparison) == SpecifierSet(comparison).contains(version, prereleases=True)


@given(versions, st.sampled_from(["==", "!="]), st.sampled_from(["", "1!"]), releases)
def test_a_prefix_holds_where_packaging_says_so(version: str, operator: str, epoch: str, prefix: str) -> None:
    comparison = f"{operator}{epoch}{prefix}.*"
    assert holds(version, comparison) == SpecifierSet(comparison).contains(version, prereleases=True)


@pytest.mark.parametrize(
    ("version", "comparisons"),
    [
        ("2.10.0", ">2.9"),
        ("2.8.0+cu126", "==2.8.0"),
        ("2.8.0+cu126", ">=2.8,<2.9"),
        ("4.0.7", ">=4.0.2, <4.1"),
        ("1.0.0", "==1.0"),
    ],
)
def test_what_environments_hold(version: str, comparisons: str) -> None:
    assert holds(version, comparisons)


@pytest.mark.parametrize(
    ("version", "comparisons"),
    [
        ("2.9", ">2.10"),
        ("1.0rc1", ">=1"),
        ("1.0rc1", "<1"),
        ("2.8.0+cu126", ">2.8.0"),
        ("2.9.0", ">=2.8,<2.9"),
        ("not a version", ">=0"),
        ("", "!=1"),
    ],
)
def test_what_they_do_not(version: str, comparisons: str) -> None:
    assert not holds(version, comparisons)


@pytest.mark.parametrize(
    "comparison", ["", "2.8", "=2.8", "~=2.8", ">=2.8.*", "==2.8a1.*", ">=", ">=two", "<1,"]
)
def test_what_is_no_comparison_is_refused(comparison: str) -> None:
    with pytest.raises(NoVersionError):
        holds("1", comparison)


def test_the_minor_version_is_that_of_the_numbers() -> None:
    assert minor("2.10.1+cu128") == "2.10"
    assert minor("2.17.0.dev20261101") == "2.17"
    assert minor("3") == "3.0"
    assert minor("unknown") == ""
