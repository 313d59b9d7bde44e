"""A model that cannot be had leads to the exact step to take."""

from __future__ import annotations

import pytest

from builder.launcher.faults import BAD_INPUT, FAILED
from builder.launcher.hub import fault

PYANNOTE_3 = """
Could not download 'pyannote/segmentation-3.0' model.
It might be because the model is private or gated so make
sure to authenticate. Visit https://hf.co/settings/tokens to
AttributeError: 'NoneType' object has no attribute 'eval'"""
PYANNOTE_4 = """
Could not download Pipeline from pyannote/speaker-diarization-community-1.
It might be because the repository is private or gated:
* visit https://hf.co/pyannote/speaker-diarization-community-1 to accept user conditions
huggingface_hub.errors.GatedRepoError: 401 Client Error"""
HUB = (
    "GatedRepoError: 403 Client Error. Cannot access gated repo for url "
    "https://huggingface.co/pyannote/embedding/resolve/main/config.yaml."
)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (PYANNOTE_3, "pyannote/segmentation-3.0"),
        (PYANNOTE_4, "pyannote/speaker-diarization-community-1"),
        (HUB, "pyannote/embedding"),
    ],
)
def test_a_gated_model_without_a_token_says_where_to_accept_and_where_to_make_one(
    text: str, model: str
) -> None:
    found = fault(text, "other/pipeline", {})
    assert found
    assert found.place == model
    assert f"https://huggingface.co/{model}" in found.fix
    assert "https://huggingface.co/settings/tokens" in found.fix
    assert "HF_TOKEN" in found.fix
    assert found.code == FAILED


def test_the_pipeline_whose_part_is_gated_too_names_both() -> None:
    text = "Could not download 'pyannote/speaker-diarization-3.1' pipeline"
    found = fault(text, "", {})
    assert found
    assert "segmentation-3.0" in found.fix


def test_with_a_token_it_is_the_account_or_the_tokens_rights() -> None:
    found = fault(PYANNOTE_3, "", {"HF_TOKEN": "hf_x"})
    assert found
    assert "account of HF_TOKEN" in found.cause
    assert "hf_x" not in str(found)


def test_offline_the_terms_are_not_the_matter() -> None:
    found = fault(PYANNOTE_3, "", {"HF_HUB_OFFLINE": "1"})
    assert found
    assert "not in the cache" in found.cause
    assert "--offline" in found.fix


def test_a_model_that_is_not_in_the_cache() -> None:
    text = (
        "LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the specified "
        "revision on the local disk and outgoing traffic has been disabled."
    )
    found = fault(text, "Systran/faster-whisper-tiny", {})
    assert found
    assert found.place == "Systran/faster-whisper-tiny"
    assert "not in the cache" in found.cause


def test_no_network_is_told_as_such() -> None:
    found = fault("ConnectionError: HTTPSConnectionPool: Max retries exceeded", "tiny", {})
    assert found
    assert "cannot be reached" in found.cause


def test_a_size_that_does_not_exist_lists_those_that_do() -> None:
    found = fault("ValueError: Invalid model size 'tinny', expected one of: tiny.en, tiny, base", "tinny", {})
    assert found
    assert found.code == BAD_INPUT
    assert "tiny.en, tiny, base" in found.fix


def test_a_folder_that_holds_another_model() -> None:
    found = fault("RuntimeError: Unable to open file 'model.bin' in model '/m'", "/m", {})
    assert found
    assert found.code == BAD_INPUT
    assert "model.bin" in found.cause


@pytest.mark.parametrize(
    "text",
    [
        "File model.bin is incomplete: failed to read a value of size 4",
        "Unsupported model binary version. This",
    ],
)
def test_a_damaged_model_is_to_be_fetched_again(text: str) -> None:
    found = fault(f"RuntimeError: {text}", "/m", {})
    assert found
    assert found.code == BAD_INPUT
    assert "again" in found.fix


def test_what_is_no_matter_of_models_is_not_claimed() -> None:
    assert fault("RuntimeError: CUDA failed with error out of memory", "tiny", {}) is None
