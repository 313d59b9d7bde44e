"""The doctor, pasted into an image, says of it what the row says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builder.engines.container import Container
from builder.matrix import Row
from builder.places import HOME

DOCTOR = Path(__file__).parents[2] / "builder" / "doctor" / "doctor.py"
SERIOUS = {"broken", "will-fail"}


@pytest.mark.any_row
def test_the_doctor_finds_what_the_row_says(
    container: Container, host: Any, row: Row, environment: str
) -> None:
    if row.fails_with and "SUBLIBRARY_VERSION_MISMATCH" in row.fails_with.message:
        pytest.skip("the doctor does not look for a second cuDNN in the loader's cache")
    container.copy_in(DOCTOR, "/tmp")
    for_gpu = " --for-gpu" if row.cuda else ""
    done = host.run(
        f"env -i PATH=/usr/bin:/bin {HOME}/{environment}/bin/python -I /tmp/doctor.py --json{for_gpu}"
    )
    assert done.stdout, done.stderr
    serious = [one for one in json.loads(done.stdout)["findings"] if one["severity"] in SERIOUS]
    if row.fails_with:
        assert any(row.fails_with.message in one["message"] for one in serious)
    else:
        assert serious == []
