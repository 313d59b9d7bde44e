"""What judges RECORDs inside images sees what is wrong with them."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from tests.engine.inside_image import judge


def line(path: str, content: bytes) -> str:
    encoded = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{path},sha256={encoded},{len(content)}\n"


GOOD = (
    line("a.py", b"x = 1\n")
    + line("../bin/a", b"#!")
    + "__pycache__/a.cpython-311.pyc,,\n"
    + "a-1.dist-info/RECORD,,\n"
)


def installed(folder: Path, text: str) -> list[str]:
    site, info = folder / "site", folder / "site" / "a-1.dist-info"
    for name, content in (("a.py", b"x = 1\n"), ("../bin/a", b"#!"), ("__pycache__/a.cpython-311.pyc", b"c")):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    info.mkdir()
    (info / "RECORD").write_text(text)
    return judge(Distribution.at(info))


def test_a_true_record_is_well(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    assert installed(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no RECORD"),
        (GOOD + line("b.py", b""), "b.py is missing"),
        (GOOD.replace("a.py,sha256=", "a.py,sha256=A"), "a.py has another hash"),
        (GOOD.replace(",6\n", ",7\n"), "a.py has another size"),
        (GOOD.replace(line("a.py", b"x = 1\n"), "a.py,,\n"), "a.py has no hash"),
        (GOOD + line("a.py", b"x = 1\n"), "a file is listed twice"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "site").mkdir()
    assert installed(tmp_path, text) == [wrong]
