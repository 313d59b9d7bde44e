"""What jobs run: cuvee's own commands, and Docker to pull what is tested as users pull it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from builder.ci.job import REGISTRY
from builder.matrix import Row
from builder.plan import image_tag

_TO = f"${REGISTRY}"


def base_name(row: Row) -> str:
    """The base of a row, as `cuvee base` is asked for it."""
    also = row.system_packages
    return " ".join((row.base.id, *(f"--with {package}" for package in also)))


def take_base(row: Row) -> str:
    """Have the base that a job before this one sent."""
    return f'cuvee base {base_name(row)} --from "{_TO}"'


def have_base(row: Row) -> str:
    """Have the base that an earlier run sent, for Debian may have moved on from its packages; or make it."""
    return f"{take_base(row)} || cuvee base {base_name(row)}"


def push_layers(row: str, digests: Iterable[str], *, zstd: bool) -> str:
    """Make some layers of a row and send them, without an image."""
    return " ".join([f'cuvee push {row} "{_TO}"{_how(zstd)}', *(f"--layer {digest}" for digest in digests)])


def prove(row: Row, *, zstd: bool) -> Iterator[str]:
    """Send the image under a name that promises nothing, test it, and only then give it the row's name.

    A row that must fail gets no other name.
    """
    candidate = f"candidate-{row.id}"
    yield f'cuvee push {row.id} "{_TO}:{candidate}"{_how(zstd)}'
    yield from _pull(row, candidate)
    yield f"cuvee test {row.id} --engine docker"
    if row.status == "good":
        yield from (f'cuvee push {row.id} "{_TO}:{tag}"{_how(zstd)}' for tag in (row.id, *row.aliases))


def prove_on_gpu(row: Row) -> tuple[str, ...]:
    """Test the image that has the row's name by now."""
    return *_pull(row, row.id), f"cuvee test {row.id} --gpus --engine docker"


def refuse(row: Row) -> tuple[str, ...]:
    """See that a row without an image cannot be locked, as it says."""
    return (f"cuvee test {row.id}",)


def try_first(row: Row) -> tuple[str, ...]:
    """Lock, build and test what was never tried; nothing of it is sent."""
    return f"cuvee lock {row.id}", f"cuvee build {row.id} --engine direct"


def _how(zstd: bool) -> str:
    return " --compression zstd" if zstd else ""


def _pull(row: Row, tag: str) -> tuple[str, ...]:
    return f'docker pull --quiet "{_TO}:{tag}"', f'docker tag "{_TO}:{tag}" {image_tag(row.id)}'
