"""Unit tests start no process, use no network (both raise instead), and leave the user's store alone."""

from __future__ import annotations

import socket
import subprocess
from typing import Any, NoReturn

import pytest
from hypothesis import settings

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("cuvee", deadline=None)
settings.load_profile("cuvee")


@pytest.fixture(autouse=True)
def _fenced(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> NoReturn:
        del kwargs
        raise AssertionError(f"a unit test tried to reach out of itself: {args!r}")

    monkeypatch.setattr(subprocess, "Popen", forbidden)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    monkeypatch.setenv("CUVEE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
