"""How large a file is, asked of its server: plain HTML indexes, such as PyTorch's, do not say."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from builder.wheels.network import reported

if TYPE_CHECKING:
    import requests

CHUNK = 1024 * 1024
_AS_IT_IS = {"Accept-Encoding": "identity"}


def size_of(session: requests.Session, name: str, url: str) -> int:
    """The size of a file in bytes, by its headers, or by reading it where they do not tell.

    Args:
        session: What the requests go through.
        name: The file's name, for the error.
        url: Where it is.

    Raises:
        EngineOrNetworkError: The server does not give the file.
    """
    with reported(name):
        with session.head(url, headers=_AS_IT_IS, allow_redirects=True) as head:
            told = _told(head) if head.status_code == HTTPStatus.OK else None
        if told:  # some servers say 0 to HEAD, or do not know the method
            return told
        with session.get(url, headers=_AS_IT_IS, stream=True) as response:
            response.raise_for_status()
            return _told(response) or sum(map(len, response.iter_content(CHUNK)))


def _told(response: requests.Response) -> int | None:
    """What the headers say; the length of a compressed answer is not the file's."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else None
