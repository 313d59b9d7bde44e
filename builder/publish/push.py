"""An image into a registry: only what it lacks travels, and the manifest comes last."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder.engines.direct.image import OciImage
from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.publish.blob import Blob
from builder.publish.memory import Memory
from builder.publish.reference import Reference
from builder.publish.registry import PUSH, How, Registry, using
from builder.publish.threads import each

Say = Callable[[str], None]

JOBS = 4
"""Connections at once, as Docker and skopeo have them; more only compete for the same line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """An image that is in a registry now.

    Attributes:
        reference: Where.
        digest: The digest of its manifest.
        sent: How many of its blobs, the configuration among them, were sent.
        sent_bytes: Their bytes.
        mounted: How many the registry took from another repository.
        present: How many were there already.
    """

    reference: Reference
    digest: str
    sent: int = 0
    sent_bytes: int = 0
    mounted: int = 0
    present: int = 0


def push(  # noqa: PLR0913 - what a push stands on, all by name
    image: OciImage,
    reference: Reference,
    *,
    registry: Registry | None = None,
    say: Say = lambda _: None,
    mount_from: Sequence[str] = (),
    memory: Path | None = None,
    jobs: int = JOBS,
) -> Pushed:
    """Push an image; what the registry has is neither sent nor read.

    Args:
        image: It. The blob of a layer is read only when it must be sent.
        reference: Where to, with a tag; a digest must be the image's own.
        registry: The registry; that of the reference where it is not given. A failed push ends its use.
        say: Told of each blob.
        mount_from: Repositories of the registry that may have layers of it.
        memory: A folder in which pushes remember what went where, to mount layers from there.
        jobs: How many layers at once.

    Raises:
        BadInputError: The reference has the digest of another image.
        EngineOrNetworkError: The registry did not do its part; it has no manifest of the image then.
        CuveeError: A layer cannot be read.
    """
    _require_own(reference, image)
    remembered = Memory(folder=memory) if memory else None
    with using(registry, reference) as used:
        return _Push(
            image=image,
            reference=reference,
            registry=used,
            say=say,
            mount_from=mount_from,
            memory=remembered,
            elsewhere=remembered.recall(reference.registry) if remembered else {},
            jobs=jobs,
        ).run()


@dataclass(slots=True, kw_only=True)
class _Push:
    """One push, while it runs.

    Attributes:
        elsewhere: Of the registry's repositories the layers that they got from here.
        how: Of each blob that is there, how it came.
    """

    image: OciImage
    reference: Reference
    registry: Registry
    say: Say
    mount_from: Sequence[str]
    memory: Memory | None
    elsewhere: Mapping[str, Collection[str]]
    jobs: int
    how: dict[str, How] = field(default_factory=dict)

    def run(self) -> Pushed:
        *layers, config = blobs = _blobs(self.image)
        tagged = self._find(blobs)
        missing = [blob for blob in layers if blob.digest not in self.how]
        # The largest first: begun last, it would keep one thread busy while the others have nothing to do.
        self._each(self._put, sorted(missing, key=lambda blob: -blob.size))
        if config.digest not in self.how:
            self._note(config, self._put(config))
        if tagged != self.image.digest or len(self.how) > self._count("present"):
            self._publish()
        if self.memory:
            self.memory.remember(
                self.reference.registry, self.reference.repository, [b.digest for b in layers]
            )
        return self._pushed(blobs)

    def _find(self, blobs: Sequence[Blob]) -> str | None:
        """Find out which blobs are there; return what the tag names."""
        repository = self.reference.repository
        tagged = self.registry.manifest_digest(repository, self._tag, PUSH)

        def there(blob: Blob, found: bool) -> None:
            if found:
                self._note(blob, "present")

        each(
            lambda blob: self.registry.has(repository, blob.digest, PUSH),
            blobs,
            jobs=self.jobs,
            stop=self.registry.stop,
            told=there,
        )
        return tagged

    def _put(self, blob: Blob) -> How:
        return self.registry.upload(self.reference.repository, blob, self._other(blob))

    def _other(self, blob: Blob) -> str | None:
        """A repository to mount a blob from: one that got it from here, or one that says that it has it."""
        own = self.reference.repository
        known = (name for name, digests in self.elsewhere.items() if blob.digest in digests)
        if found := next((name for name in known if name != own), None):
            return found
        return next((name for name in self.mount_from if name != own and self._has(name, blob)), None)

    def _has(self, repository: str, blob: Blob) -> bool:
        try:
            return self.registry.has(repository, blob.digest)
        except EngineOrNetworkError:
            return False  # not ours to read, perhaps

    def _publish(self) -> None:
        found = self.registry.put_manifest(self.reference.repository, self._tag, self.image.manifest)
        if found != self.image.digest:
            raise EngineOrNetworkError(
                Fault(
                    place=str(self.reference),
                    cause=f"the registry gives the image the digest {found} instead of {self.image.digest}",
                    fix="Use another registry: this one changes what it stores",
                )
            )

    @property
    def _tag(self) -> str:
        return self.reference.tag or self.reference.target

    def _each(self, work: Callable[[Blob], How], blobs: Sequence[Blob]) -> None:
        each(work, blobs, jobs=self.jobs, stop=self.registry.stop, told=self._note)

    def _note(self, blob: Blob, how: How) -> None:
        self.how[blob.digest] = how
        self.say(f"{self.image.name}: {blob.title}, {blob.size / 1e6:.1f} MB, {how}")

    def _count(self, how: How) -> int:
        return sum(1 for found in self.how.values() if found == how)

    def _pushed(self, blobs: Sequence[Blob]) -> Pushed:
        return Pushed(
            reference=self.reference,
            digest=self.image.digest,
            sent=self._count("sent"),
            sent_bytes=sum(blob.size for blob in blobs if self.how[blob.digest] == "sent"),
            mounted=self._count("mounted"),
            present=self._count("present"),
        )


def _blobs(image: OciImage) -> tuple[Blob, ...]:
    """What an image consists of, each digest once: its layers in their order, then its configuration."""
    layers = {
        layer.digest: Blob(title=layer.title, digest=layer.digest, size=layer.size, open=layer.blob)
        for layer in image.layers
    }
    config = image.config
    digest = image.config_digest
    layers.pop(digest, None)
    last = Blob(title="configuration", digest=digest, size=len(config), open=lambda: iter((config,)))
    return (*layers.values(), last)


def _require_own(reference: Reference, image: OciImage) -> None:
    if reference.digest not in {None, image.digest}:
        raise BadInputError(
            Fault(
                place=str(reference),
                cause=f"the image has another digest, {image.digest}",
                fix="Push it by a tag alone, or build the image that has that digest",
            )
        )
