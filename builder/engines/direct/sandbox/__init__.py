"""Containers without a daemon: commands run in an unpacked root file system, which they cannot change."""

from builder.engines.direct.sandbox.runtime import Runtime, find_runtime
from builder.engines.direct.sandbox.sandbox import container

__all__ = ["Runtime", "container", "find_runtime"]
