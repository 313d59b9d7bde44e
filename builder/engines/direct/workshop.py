"""The base's own programs, unpacked when one is first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from builder.engines.direct.base import BaseLayer, unpack
from builder.engines.direct.interpreter import Interpreter, needed
from builder.engines.direct.store import Store, written
from builder.shell import Shell


class Workshop:
    """A base, as far as its programs need it.

    Attributes:
        store: Beside which it is unpacked.
    """

    def __init__(self, base: Callable[[], BaseLayer], python: str, store: Store, shell: Shell) -> None:
        """Nothing is unpacked yet, nor is the base asked for."""
        self._base, self._python, self._shell = base, python, shell
        self.store = store
        self._stack = ExitStack()

    @cached_property
    def layer(self) -> BaseLayer:
        """The base's layer, made or fetched when the store lacks it."""
        return self._base()

    @cached_property
    def root(self) -> Path:
        """The folder with the base's programs.

        Raises:
            CheckFailedError: The base is damaged.
            EngineOrNetworkError: There is no room for it.
        """
        folder = self._stack.enter_context(self.store.scratch())
        with written(self.store.root):
            unpack(self.layer, folder, needed)
        return folder

    @cached_property
    def interpreter(self) -> Interpreter:
        """The base's Python."""
        return Interpreter(root=self.root, python=self._python, shell=self._shell)

    def close(self) -> None:
        """Delete what was unpacked."""
        self._stack.close()


@contextmanager
def workshop(base: Callable[[], BaseLayer], python: str, store: Store, shell: Shell) -> Iterator[Workshop]:
    """A workshop that is cleared at the end."""
    found = Workshop(base, python, store, shell)
    try:
        yield found
    finally:
        found.close()
