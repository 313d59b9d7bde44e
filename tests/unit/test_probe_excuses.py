from __future__ import annotations

import pytest

from builder.probe import excuses, rules
from builder.probe.excuses import Verdict

TORIO = "torio/lib/libtorio_ffmpeg4.so"
CODEC = "torchcodec/libtorchcodec_{}.so"
NONE = Verdict((), {})


def test_torchaudio_does_without_ffmpeg() -> None:
    assert excuses.judge(TORIO, ["libavutil.so.56"]).lacks == ()


def test_a_waiver_gives_its_reason() -> None:
    waived = excuses.judge(TORIO, ["libavutil.so.56"]).waived
    assert "torchaudio's FFmpeg integration" in waived["libavutil.so.56"]


@pytest.mark.parametrize(
    ("file", "name"),
    [(TORIO, "libtorch.so"), ("av/_core.so", "libavutil.so.56"), ("other/" + TORIO, "libavutil.so.56")],
)
def test_a_waiver_excuses_one_library_in_one_file_and_no_other(file: str, name: str) -> None:
    assert excuses.judge(file, [name]) == Verdict((name,), {})


def test_no_waiver_excuses_a_missing_symbol_version() -> None:
    words = "libtorio_ffmpeg4.so: libc.so.6: version `GLIBC_2.38' not found"
    assert excuses.judge(TORIO, [words]).lacks == (words,)


def test_one_working_build_of_torchcodec_is_enough() -> None:
    verdicts = {
        CODEC.format("core6"): Verdict(("libavutil.so.58",), {}),
        CODEC.format("core7"): NONE,
        CODEC.format("custom_ops7"): NONE,
    }
    excused = excuses.one_is_enough(verdicts)
    assert [verdict.lacks for verdict in excused.values()] == [(), (), ()]
    assert list(excused[CODEC.format("core6")].waived) == ["libavutil.so.58"]


def test_a_build_works_only_if_all_its_files_do() -> None:
    verdicts = {
        CODEC.format("core7"): NONE,
        CODEC.format("custom_ops7"): Verdict(("libpython3.12.so.1.0",), {}),
    }
    assert excuses.one_is_enough(verdicts) == verdicts


def test_torchcodec_without_any_ffmpeg_is_a_fault() -> None:
    verdicts = {CODEC.format(f"core{major}"): Verdict((f"libavutil.so.{major}",), {}) for major in (4, 5)}
    assert excuses.one_is_enough(verdicts) == verdicts


def test_waivers_are_reported_by_reason() -> None:
    verdicts = {"a.so": Verdict((), {"x": "why", "y": "why"}), "b.so": Verdict((), {"x": "why"})}
    assert excuses.by_reason(verdicts) == {"why": {"a.so": ["x", "y"], "b.so": ["x"]}}


def test_every_exception_in_the_rules_has_a_reason() -> None:
    listed = (*rules.UNRESOLVED, *rules.AFTER, *rules.ALTERNATIVES, *rules.COPIES)
    assert all(rule.reason for rule in listed)
    assert all(rules.OPTIONAL.values())
