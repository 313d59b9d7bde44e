from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.doctor.combinations import fitting
from builder.doctor.versions import holds

RULES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "builder" / "data" / "combinations.yaml").read_text(encoding="utf-8")
)

FITS = {
    "pyannote-3-and-hub-1": {"pyannote-audio": "3.4.0", "huggingface-hub": "1.2.0"},
    "pyannote-3-and-late-hub-0": {"pyannote-audio": "3.4.0", "huggingface-hub": "0.36.0"},
    "whisperx-of-pyannote-3-and-pyannote-4": {"whisperx": "3.4.2", "pyannote-audio": "4.0.7"},
    "pyannote-3-and-torchaudio-2.9": {"pyannote-audio": "3.4.0", "torchaudio": "2.9.0+cu128"},
    "speechbrain-and-torchaudio-2.9": {"speechbrain": "1.0.3", "torchaudio": "2.10.0"},
    "torch-2.15-and-torchaudio-2.11": {"torch": "2.15.0", "torchaudio": "2.11.0"},
    "faster-whisper-and-av-19": {"faster-whisper": "1.2.1", "av": "19.0.2"},
    "pyannote-3-and-lightning-2.6": {
        "pyannote-audio": "3.4.0",
        "pytorch-lightning": "2.6.0",
        "torch": "2.6.0",
    },
    "pyannote-4.0.2-and-lightning-2.6": {"pyannote-audio": "4.0.2", "lightning": "2.6.0", "torch": "2.8.0"},
    "pyannote-3-and-torch-2.6": {"pyannote-audio": "3.4.0", "torch": "2.6.0", "pytorch-lightning": "2.3.0"},
    "pyannote-3.3-and-numpy-2": {"pyannote-audio": "3.3.1", "numpy": "2.0.0"},
    "ctranslate2-and-blackwell": {"ctranslate2": "4.6.1", "compute-capability": "12.0"},
    "ctranslate2-and-late-cudnn-9": {"ctranslate2": "4.5.0", "nvidia-cudnn-cu12": "9.10.2.21"},
    "pyannote-4.0.2-and-its-torch": {"pyannote-audio": "4.0.3", "torch": "2.9.0"},
    "whisperx-of-cudnn-8-and-ctranslate2-4.5": {"whisperx": "3.4.2", "ctranslate2": "4.5.0"},
    "whisperx-3.5-and-ctranslate2-4.4": {"whisperx": "3.7.0", "ctranslate2": "4.4.0"},
    "faster-whisper-1-and-ctranslate2-3": {"faster-whisper": "1.1.0", "ctranslate2": "3.24.0"},
    "faster-whisper-0-and-ctranslate2-4": {"faster-whisper": "0.10.1", "ctranslate2": "4.4.0"},
    "pyannote-metrics-4-and-numpy": {"pyannote-metrics": "4.0.0", "numpy": "1.26.4"},
    "torchaudio-of-another-torch": {"torch": "2.8.0+cu128", "torchaudio": "2.9.0"},
    "torchvision-of-another-torch": {"torch": "2.8.0", "torchvision": "0.24.0"},
    "torchcodec-of-another-torch": {"torch": "2.8.0", "torchcodec": "0.10.0"},
}
"""Versions that each rule fits."""

NEARLY = {
    "pyannote-3-and-hub-1": {"pyannote-audio": "4.0.0", "huggingface-hub": "1.2.0"},
    "pyannote-3-and-late-hub-0": {"pyannote-audio": "3.4.0", "huggingface-hub": "0.35.3"},
    "whisperx-of-pyannote-3-and-pyannote-4": {"whisperx": "3.8.0", "pyannote-audio": "4.0.7"},
    "pyannote-3-and-torchaudio-2.9": {"pyannote-audio": "3.4.0", "torchaudio": "2.8.0"},
    "speechbrain-and-torchaudio-2.9": {"speechbrain": "1.0.3", "torchaudio": "2.8.0"},
    "torch-2.15-and-torchaudio-2.11": {"torch": "2.14.1", "torchaudio": "2.11.0"},
    "faster-whisper-and-av-19": {"faster-whisper": "1.2.1", "av": "18.1.0"},
    "pyannote-3-and-lightning-2.6": {
        "pyannote-audio": "3.4.0",
        "pytorch-lightning": "2.5.6",
        "torch": "2.6.0",
    },
    "pyannote-4.0.2-and-lightning-2.6": {"pyannote-audio": "4.0.3", "lightning": "2.6.0", "torch": "2.8.0"},
    "pyannote-3-and-torch-2.6": {"pyannote-audio": "3.4.0", "torch": "2.5.1", "pytorch-lightning": "2.3.0"},
    "pyannote-3.3-and-numpy-2": {"pyannote-audio": "3.3.2", "numpy": "2.0.0"},
    "ctranslate2-and-blackwell": {"ctranslate2": "4.6.2", "compute-capability": "12.0"},
    "ctranslate2-and-late-cudnn-9": {"ctranslate2": "4.6.3", "nvidia-cudnn-cu12": "9.10.2.21"},
    "pyannote-4.0.2-and-its-torch": {"pyannote-audio": "4.0.3", "torch": "2.8.0+cu128"},
    "whisperx-of-cudnn-8-and-ctranslate2-4.5": {"whisperx": "3.3.2", "ctranslate2": "4.5.0"},
    "whisperx-3.5-and-ctranslate2-4.4": {"whisperx": "3.7.0", "ctranslate2": "4.5.0"},
    "faster-whisper-1-and-ctranslate2-3": {"faster-whisper": "1.1.0", "ctranslate2": "4.0.0"},
    "faster-whisper-0-and-ctranslate2-4": {"faster-whisper": "0.10.1", "ctranslate2": "3.24.0"},
    "pyannote-metrics-4-and-numpy": {"pyannote-metrics": "4.0.0", "numpy": "2.2.2"},
    "torchaudio-of-another-torch": {"torch": "2.15.0", "torchaudio": "2.11.0"},
    "torchvision-of-another-torch": {"torch": "2.8.0+cu126", "torchvision": "0.23.0+cu126"},
    "torchcodec-of-another-torch": {"torch": "2.10.0", "torchcodec": "0.10.0"},
}
"""Versions of the same packages that miss it by one."""

IDS = [rule["id"] for rule in RULES["rules"]] + [
    f"{name}-of-another-torch" for name in RULES["belonging"]["rules"]
]


def ids(versions: dict[str, str]) -> set[str]:
    return {one.id for one in fitting(RULES, versions)}


def test_every_rule_has_versions_that_it_fits_and_versions_that_it_misses() -> None:
    assert set(FITS) == set(NEARLY) == set(IDS)
    assert len(IDS) == len(set(IDS))


@pytest.mark.parametrize("rule", IDS)
def test_a_rule_fits_the_versions_that_fail_together(rule: str) -> None:
    assert rule in ids(FITS[rule])


@pytest.mark.parametrize("rule", IDS)
def test_a_rule_leaves_alone_what_goes_together(rule: str) -> None:
    assert rule not in ids(NEARLY[rule])


@pytest.mark.parametrize("rule", IDS)
def test_a_rule_needs_all_of_its_packages(rule: str) -> None:
    for missing in FITS[rule]:
        assert rule not in ids({name: version for name, version in FITS[rule].items() if name != missing})


@pytest.mark.parametrize("rule", RULES["rules"] + list(RULES["belonging"]["rules"].values()), ids=IDS)
def test_a_rule_says_why_what_to_do_and_where_it_was_seen(rule: dict[str, Any]) -> None:
    assert rule["cause"]
    assert rule["fix"]
    assert rule["source"]
    assert not rule["fix"].endswith(".")
    assert rule.get("severity", "will-fail") in {"will-fail", "risk", "note"}
    assert rule.get("message") or rule["signature"] in {"cudnn-slow", "outside-its-pins"}


def test_every_comparison_in_the_file_is_one() -> None:
    wanted = [want for rule in RULES["rules"] for want in rule["when"].values()]
    wanted += [want for row in RULES["belonging"]["torch"].values() for want in row.values()]
    assert len(wanted) > 50
    for want in wanted:
        holds("1", want)


def test_the_fix_of_a_rule_takes_its_reason_away() -> None:
    """What `install` demands is never the version that the rule warns of."""
    for rule in RULES["rules"]:
        for requirement in rule.get("install", ()):
            name, sign, bound = requirement.replace(".audio", "-audio").partition(
                "<" if "<" in requirement else ">="
            )
            if name in rule["when"]:
                assert not (sign == ">=" and holds(bound, rule["when"][name])), rule["id"]


def test_a_stranger_is_told_which_version_belongs_here() -> None:
    [found] = fitting(RULES, FITS["torchcodec-of-another-torch"])
    assert found.signature == "torchcodec-not-loaded"
    assert found.packages == (("torch", "2.8.0"), ("torchcodec", "0.10.0"))
    assert found.install == ("torchcodec>=0.6,<0.8",)
    assert found.fix.endswith("torchcodec>=0.6,<0.8")


def test_nothing_is_said_of_a_torch_that_the_table_does_not_know() -> None:
    assert fitting(RULES, {"torch": "3.0.0", "torchaudio": "2.8.0"}) == []
    assert fitting(RULES, {"torch": "nightly", "torchaudio": "2.8.0"}) == []


def test_nothing_is_said_of_an_empty_environment() -> None:
    assert fitting(RULES, {}) == []


def test_whole_environments_that_work_are_left_alone() -> None:
    founding = {
        "torch": "2.5.1+cu121", "torchaudio": "2.5.1+cu121", "ctranslate2": "4.4.0", "whisperx": "3.3.1",
        "pyannote-audio": "3.3.2", "numpy": "1.26.4", "huggingface-hub": "0.27.1", "lightning": "2.5.0",
        "faster-whisper": "1.1.0", "nvidia-cudnn-cu12": "9.1.0.70",
    }  # fmt: skip
    modern = {
        "torch": "2.8.0", "torchaudio": "2.8.0", "torchvision": "0.23.0", "torchcodec": "0.7.0",
        "ctranslate2": "4.8.5", "whisperx": "3.8.6", "pyannote-audio": "4.0.7", "numpy": "2.3.5",
        "huggingface-hub": "0.36.2", "lightning": "2.6.1", "faster-whisper": "1.2.1",
        "nvidia-cudnn-cu12": "9.10.2.21",
    }  # fmt: skip
    assert fitting(RULES, founding) == []
    assert fitting(RULES, modern) == []
