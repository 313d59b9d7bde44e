from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner

from builder.ci.drift import Drift, Move, examine, markdown, moves, on, to_json
from builder.cli.ci import drift
from builder.cli.common import Context
from builder.errors import (
    BadInputError,
    CannotResolveError,
    CheckFailedError,
    CuveeError,
    EngineOrNetworkError,
    Fault,
)
from builder.lock.record import Environment, Lock, Package
from builder.matrix import Row, parse
from builder.report.drifting import Today
from tests.unit.test_ci_jobs import HEAD, ROOT, row_text

DAY = date(2026, 11, 26)
FAULT = Fault(place="row one, x.so", cause="it will fail", fix="Pin numpy")
LOCK_BAD = "status: known-bad\n    fails_with: {check: lock, message: has no wheel}"


def row(more: str = "") -> Row:
    [found] = parse(HEAD + row_text("one", more)).rows
    return found


def lock(**versions: str) -> Lock:
    packages = tuple(
        Package(name=name, version=version, file=f"{name}-{version}.whl", sha256="0" * 64, size=1)
        for name, version in versions.items()
    )
    return Lock(
        row="one",
        fingerprint="f",
        as_of="2025-01-20",
        base="old",
        python="3.11",
        environments=(Environment(name="main", packages=packages),),
        overlays=(),
        tools=(),
    )


def raises(error: CuveeError) -> Callable[..., NoReturn]:
    def raise_it(*_: Any) -> NoReturn:
        raise error

    return raise_it


def holds(_: Lock) -> Sequence[Fault]:
    return ()


LOCKED, TODAY = lock(numpy="1.26", torch="2.0", gone="1"), lock(numpy="2.4", torch="2.0", fresh="1")


# What moves


def test_what_moved_came_or_went_is_told_and_nothing_else() -> None:
    assert [str(move) for move in moves(LOCKED, TODAY)] == [
        "fresh new → 1",
        "gone 1 → gone",
        "numpy 1.26 → 2.4",
    ]
    assert moves(LOCKED, LOCKED) == ()


def test_a_row_of_another_day_is_the_same_row_elsewhere() -> None:
    moved = on(row(), DAY)
    assert moved.as_of == DAY
    assert moved.demands() == row().demands()
    assert row().as_of != DAY


# What becomes of rows


def test_a_row_whose_proof_holds_today_holds() -> None:
    found = examine(row(), LOCKED, lambda: TODAY, holds)
    assert (found.outcome, len(found.moved), found.says) == ("holds", 3, ())


def test_a_row_whose_proof_fails_today_breaks_with_the_proofs_words() -> None:
    found = examine(row(), LOCKED, lambda: TODAY, lambda _: [FAULT])
    assert (found.outcome, found.says) == ("breaks", (str(FAULT),))


def test_a_row_that_cannot_be_resolved_today_breaks_with_the_resolvers_words() -> None:
    found = examine(row(), LOCKED, raises(CannotResolveError(FAULT)), holds)
    assert (found.outcome, found.moved, found.says) == ("breaks", (), (str(FAULT),))


def test_facts_that_cannot_be_had_break_a_row_too() -> None:
    assert examine(row(), LOCKED, lambda: TODAY, raises(BadInputError(FAULT))).outcome == "breaks"


@pytest.mark.parametrize("where", ["index", "wheels"])
def test_where_the_index_does_not_answer_nothing_is_known(where: str) -> None:
    silent = raises(EngineOrNetworkError(FAULT))
    found = (
        examine(row(), LOCKED, silent, holds)
        if where == "index"
        else examine(row(), LOCKED, lambda: TODAY, silent)
    )
    assert (found.outcome, found.says) == ("unknown", (str(FAULT),))


def test_a_row_that_must_be_refused_holds_only_while_it_is_with_its_own_words() -> None:
    as_recorded = CannotResolveError(Fault(place="p", cause="it has no wheel", fix="f"))
    bad = row(LOCK_BAD)
    assert examine(bad, None, raises(as_recorded), holds).outcome == "holds"
    assert examine(bad, None, raises(CannotResolveError(FAULT)), holds).outcome == "breaks"
    assert examine(bad, None, lambda: TODAY, holds).outcome == "breaks"


# Pages


HELD = Drift(row="one", status="good", outcome="holds", moved=moves(LOCKED, TODAY))
BROKEN = Drift(row="two", status="good", outcome="breaks", says=("a: b.\n  C.",))
BAD = Drift(row="three", status="known-bad", outcome="holds")
SILENT = Drift(row="four", status="good", outcome="unknown", says=("no answer",))


def test_the_page_has_a_line_a_row_and_says_why_what_does_not_hold() -> None:
    page = markdown([HELD, BROKEN, BAD, SILENT], DAY)
    assert "resolved as of 2026-11-26" in page
    assert "| `one` | good | holds | 3: fresh new → 1, gone 1 → gone, numpy 1.26 → 2.4 |" in page
    assert "| `two` | good | **breaks** | none |" in page
    assert "| `three` | known-bad | fails as recorded | none |" in page
    assert "unknown: the index did not answer" in page
    assert "### `two`\n\n- a: b. C." in page
    assert "### `four`" in page
    assert "### `one`" not in page


def test_a_long_list_of_moves_is_cut_in_the_page_and_whole_in_the_json() -> None:
    many = tuple(Move(part="main", package=f"p{n}", locked="1", today="2") for n in range(20))
    one = Drift(row="one", status="good", outcome="holds", moved=many)
    assert "20: p0 1 → 2" in markdown([one], DAY)
    assert "and 8 more" in markdown([one], DAY)
    told = to_json([one], DAY)
    assert (told["format"], told["day"]) == (1, "2026-11-26")
    assert len(told["rows"][0]["moved"]) == 20


# The command


def outcome(monkeypatch: pytest.MonkeyPatch, *found: Drift) -> tuple[str, BaseException | None]:
    told = {one.row: one for one in found}

    def of(_: Today, asked: Row) -> Drift:
        return told.get(asked.id) or Drift(row=asked.id, status=asked.status, outcome="holds")

    monkeypatch.setattr(Today, "drift", of)
    done = CliRunner().invoke(drift, [], obj=Context(ROOT, verbose=False), standalone_mode=False)
    return done.output, done.exception


def test_the_command_ends_with_1_where_a_row_breaks_after_it_has_printed_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Drift(row="asr-cu12", status="good", outcome="breaks", says=("x",))
    silent = Drift(row="cu121", status="good", outcome="unknown")
    page, error = outcome(monkeypatch, broken, silent)
    assert "| `asr-cu12` | good | **breaks**" in page
    assert "| `cu121` |" in page
    assert isinstance(error, CheckFailedError)
    assert [fault.place for fault in error.faults] == ["row asr-cu12"]


def test_the_command_ends_with_5_where_nothing_breaks_and_something_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, error = outcome(monkeypatch, Drift(row="cu121", status="good", outcome="unknown"))
    assert isinstance(error, EngineOrNetworkError)


def test_the_command_is_content_where_all_rows_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    page, error = outcome(monkeypatch)
    assert error is None
    assert "**" not in page
