"""Some layers of an image into a registry, without the image: what several images will have is sent once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from builder.engines.direct.image import OciImage
from builder.errors import Fault, NothingSelectedError
from builder.publish.blob import Blob
from builder.publish.push import JOBS
from builder.publish.reference import Reference
from builder.publish.registry import PUSH, How, Registry, using
from builder.publish.threads import each

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Layers that are in a registry now.

    Attributes:
        sent: How many were sent.
        sent_bytes: Their bytes.
        present: How many were there already.
    """

    sent: int = 0
    sent_bytes: int = 0
    present: int = 0


def push_layers(
    image: OciImage,
    reference: Reference,
    digests: Sequence[str],
    *,
    registry: Registry | None = None,
    say: Say = lambda _: None,
) -> Sent:
    """Send layers; those that the registry has are not read.

    A registry may delete a layer that no image has, some day: the image should follow.

    Args:
        image: Has the layers. The blob of a layer is read only when it must be sent.
        reference: Where to; its tag does not matter.
        digests: Which layers.
        registry: The registry; that of the reference where it is not given.
        say: Told of each layer.

    Raises:
        NothingSelectedError: The image has no such layer.
        EngineOrNetworkError: The registry did not do its part.
        CuveeError: A layer cannot be read.
    """
    wanted = _wanted(image, digests)
    how: dict[str, How] = {}

    def put(blob: Blob) -> How:
        if used.has(reference.repository, blob.digest, PUSH):
            return "present"
        return used.upload(reference.repository, blob)

    def note(blob: Blob, done: How) -> None:
        how[blob.digest] = done
        say(f"{image.name}: {blob.title}, {blob.size / 1e6:.1f} MB, {done}")

    with using(registry, reference) as used:
        each(put, wanted, jobs=JOBS, stop=used.stop, told=note)
    sent = [blob for blob in wanted if how[blob.digest] == "sent"]
    return Sent(sent=len(sent), sent_bytes=sum(blob.size for blob in sent), present=len(wanted) - len(sent))


def _wanted(image: OciImage, digests: Sequence[str]) -> list[Blob]:
    """The layers, the largest first, for it must not begin last."""
    layers = {layer.digest: layer for layer in image.layers}
    faults = [_no_layer(image, digest) for digest in digests if digest not in layers]
    if faults:
        raise NothingSelectedError(*faults)
    found = (layers[digest] for digest in dict.fromkeys(digests))
    blobs = [Blob(title=one.title, digest=one.digest, size=one.size, open=one.blob) for one in found]
    return sorted(blobs, key=lambda blob: -blob.size)


def _no_layer(image: OciImage, digest: str) -> Fault:
    return Fault(
        place=digest,
        cause=f"{image.name} has no such layer",
        fix="Take a digest from the row's lock, or print the jobs anew: `cuvee ci`",
    )
