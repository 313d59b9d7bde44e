from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from builder.engines.direct.difference import Described, DescribedLayer, Difference, Pulled, difference


def layer(title: str, *packages: str, digest: str = "", size: int = 100) -> DescribedLayer:
    return DescribedLayer(
        title=title, packages=packages, digest=digest or f"digest of {title} {packages}", size=size
    )


def image(name: str, *layers: DescribedLayer) -> Described:
    return Described(name=name, digest=f"digest of {name}", layers=layers)


BASE, TORCH = layer("base bookworm", size=50), layer("torch 2.4.1", "torch 2.4.1", size=900)


def pulled(one: Sequence[DescribedLayer], other: Sequence[DescribedLayer]) -> list[tuple[str, str]]:
    found = difference(image("one", *one), image("other", *other))
    return [(each.title, each.why) for each in found.pulled]


def test_only_the_layers_that_are_not_there_are_pulled_in_the_images_order() -> None:
    small, newer = layer("small", "a 1"), layer("newer", "b 1")
    found = difference(image("one", BASE, TORCH), image("other", BASE, newer, TORCH, small))
    assert found == Difference(
        one="one",
        other="other",
        same=False,
        pulled=(
            Pulled(title="newer", size=100, why="new: b 1"),
            Pulled(title="small", size=100, why="new: a 1"),
        ),
        pulled_bytes=200,
        shared=2,
        shared_bytes=950,
        gone=(),
    )
    assert json.loads(json.dumps(found.to_json()))["pulled"][0]["why"] == "new: b 1"


def test_an_image_costs_nothing_who_has_it() -> None:
    found = difference(image("one", BASE, TORCH), image("one", BASE, TORCH))
    assert (found.same, found.pulled, found.pulled_bytes, found.shared_bytes) == (True, (), 0, 950)


def test_the_same_layers_in_another_order_are_another_image_that_costs_nothing() -> None:
    found = difference(image("one", BASE, TORCH), image("other", TORCH, BASE))
    assert (found.same, found.pulled_bytes, found.shared) == (False, 0, 2)


def test_a_blob_that_an_image_has_twice_is_fetched_once() -> None:
    found = difference(image("one"), image("other", TORCH, TORCH))
    assert (len(found.pulled), found.pulled_bytes) == (1, 900)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (["torch 2.4.1"], ["torch 2.5.0"], "torch 2.4.1 → 2.5.0"),
        ([], ["torch 2.5.0"], "new: torch 2.5.0"),
        (["a 1", "b 1"], ["c 1", "a 2", "b 1"], "a 1 → 2; new: c 1"),
        (["a 1", "b 1"], ["a 1"], "the same packages, in other company or compiled by another Python"),
    ],
)
def test_why_a_layer_is_pulled_is_told_by_its_packages(before: list[str], after: list[str], why: str) -> None:
    assert pulled([layer("x", *before)], [layer("x", *after, digest="another")]) == [("x", why)]


def test_why_a_layer_without_packages_is_pulled_is_told_by_its_title() -> None:
    own = [layer("loader", digest="1")]
    assert pulled(own, [layer("loader", digest="2")]) == [("loader", "its files differ")]
    assert pulled(own, [layer("base trixie")]) == [("base trixie", "only the other image has it")]


def test_a_package_that_is_there_twice_as_in_an_overlay_is_known_in_both_versions() -> None:
    own = [layer("a", "cudnn 9.1"), layer("overlay", "cudnn 8.9")]
    same = "the same packages, in other company or compiled by another Python"
    assert pulled(own, [layer("b", "cudnn 8.9", digest="b")]) == [("b", same)]
    assert pulled(own, [layer("b", "cudnn 9.5", digest="b")]) == [("b", "cudnn 9.1 and 8.9 → 9.5")]


def test_packages_that_only_the_first_image_has_are_told_sorted() -> None:
    found = difference(image("one", layer("x", "b 1", "a 2", "c 3")), image("other", layer("y", "c 4")))
    assert found.gone == ("a 2", "b 1")


def test_a_package_that_two_environments_have_in_one_version_has_one_version() -> None:
    own = [layer("asr", "torch 2.4.1"), layer("diarize", "torch 2.4.1", digest="2")]
    assert pulled(own, [layer("x", "torch 2.5.0")]) == [("x", "torch 2.4.1 → 2.5.0")]
    assert difference(image("one", *own), image("other")).gone == ("torch 2.4.1",)
