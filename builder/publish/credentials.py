"""What Docker knows of a user at a registry: its `config.json`, and the helpers that it names."""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from builder.errors import BadInputError, CuveeError, EngineOrNetworkError, Fault
from builder.publish.reference import HUB
from builder.shell import Finished, Shell

HELPER_S = 60.0
"""Seconds that a helper may take; some ask the user to unlock a keychain."""

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOKEN_USER = "<token>"  # noqa: S105 - a helper's name for a user that is none
_NOT_FOUND = "credentials not found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who a user is at a registry; its text shows nothing of it.

    Attributes:
        user: The name.
        secret: The password, or an access token in its place.
        identity: A token to get access tokens with, in place of both.
    """

    user: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)


def config_folder() -> Path:
    """Where Docker keeps its configuration: DOCKER_CONFIG, else ~/.docker."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def find(registry: str, shell: Shell, folder: Path | None = None) -> Credentials | None:
    """What Docker would log in with, or None where it knows nothing.

    Args:
        registry: Host and port as a reference names it.
        shell: What starts a helper.
        folder: Docker's configuration; `config_folder` where it is not given.

    Raises:
        BadInputError: The configuration is damaged.
        EngineOrNetworkError: The helper that it names does not do its part.
    """
    path = (folder or config_folder()) / "config.json"
    config = _read(path)
    helper = _entry(config.get("credHelpers"), registry) or config.get("credsStore")
    if helper and (found := _asked(str(helper), key(registry), path, shell)):
        return found
    entry = _entry(config.get("auths"), registry)
    return _stored(entry, registry, path) if isinstance(entry, dict) else None


def key(registry: str) -> str:
    """What Docker calls a registry in its configuration: its host, but its own has an address there."""
    if registry != HUB:
        return registry
    from docker.auth import INDEX_URL  # late: all of the SDK comes with it

    return INDEX_URL


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(path, "cannot be read as JSON") from error
    if not isinstance(config, dict):
        raise _damaged(path, "is no JSON object")
    return config


def _entry(table: Any, registry: str) -> Any:
    """What a table of the configuration has for a registry, whose key may be an address too."""
    if not isinstance(table, dict):
        return None
    if key(registry) in table:
        return table[key(registry)]
    return next((value for name, value in table.items() if _host(str(name)) == registry), None)


def _host(name: str) -> str:
    return urlsplit(name if "://" in name else f"//{name}").netloc


def _stored(entry: dict[str, Any], registry: str, path: Path) -> Credentials | None:
    """The credentials of an entry in `auths`; it is empty where a helper keeps them."""
    user, secret = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            plain = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except ValueError as error:
            raise _damaged(path, f"has an entry for {registry} that is not base64") from error
        user, _, secret = plain.rstrip("\0").partition(":")
    identity = str(entry.get("identitytoken") or "")
    return Credentials(user=user, secret=secret, identity=identity) if user or identity else None


def _asked(helper: str, server: str, path: Path, shell: Shell) -> Credentials | None:
    """What a helper keeps for a server.

    Its output is heard line by line, because a shell that echoes would show it whole.
    """
    if not _HELPER.fullmatch(helper):
        raise _damaged(path, "names a credential helper that no program can be called")
    program = f"docker-credential-{helper}"
    try:
        done = shell.run([program, "get"], stdin=f"{server}\n", timeout=HELPER_S, on_line=lambda _: None)
    except FileNotFoundError as error:
        raise _unhelpful(program, "is not installed", path) from error
    except Exception as error:
        # subprocess.TimeoutExpired, by its name: shell.py alone imports that module.
        if type(error).__name__ != "TimeoutExpired":
            raise
        raise _unhelpful(program, f"did not end within {HELPER_S:.0f} seconds", path) from error
    return _given(done, program, path)


def _given(done: Finished, program: str, path: Path) -> Credentials | None:
    if not done.ok:
        if _NOT_FOUND in done.out + done.err:
            return None
        # What it said is not told: nobody knows what it holds.
        raise _unhelpful(program, f"failed with status {done.code}", path)
    found = _answer(done.out)
    if found is None:
        raise _unhelpful(program, "did not answer as a credential helper does", path)
    user, secret = str(found.get("Username") or ""), str(found.get("Secret") or "")
    if not secret:
        return None
    return Credentials(identity=secret) if user == _TOKEN_USER else Credentials(user=user, secret=secret)


def _answer(text: str) -> dict[str, Any] | None:
    """The JSON object in what a helper said, which may have warned of something before it."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text[max(0, text.find("{")) :])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _damaged(path: Path, cause: str) -> CuveeError:
    return BadInputError(
        Fault(place=str(path), cause=cause, fix="Mend it, or delete it and run `docker login` again")
    )


def _unhelpful(program: str, cause: str, path: Path) -> CuveeError:
    return EngineOrNetworkError(
        Fault(
            place=program,
            cause=cause,
            fix=f"See that `{program} list` works, or take it out of {path} and run `docker login` again",
        )
    )
