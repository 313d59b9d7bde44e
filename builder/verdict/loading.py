"""What does not load, told as findings: the words that users will see, why, and what helps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from builder.abi.loader import Cause
from builder.probe.place import matches
from builder.verdict.names import Ask
from builder.verdict.record import Finding
from builder.verdict.setting import Setting
from builder.verdict.tables import Opener, first_use, openers, stem

EXTENSION = ".cpython-"
"""In the names of extension modules, which Python imports; libraries are found through them."""


def findings(setting: Setting, asks: Iterable[Ask]) -> tuple[Finding, ...]:
    """One finding for each kind of failure in each package; what is missed first gives it its message."""
    groups: dict[tuple[str, str], list[tuple[Ask, Opener]]] = {}
    for ask in _causes([ask for ask in asks if ask.lacks]):
        opener = _opener(setting, ask)
        groups.setdefault((opener.signature, setting.owners[ask.by].name), []).append((ask, opener))
    return tuple(_finding(setting, group) for group in groups.values())


def _causes(asks: Sequence[Ask]) -> Sequence[Ask]:
    """Those of some asks that are no echoes: what misses a file that is there, and itself lacks something."""
    broken = {ask.by.rpartition("/")[2] for ask in asks if ask.how == "needed"}
    return [
        ask for ask in asks if not (_misses(ask) and broken.intersection(ask.tried or (ask.name,)))
    ] or asks


def _misses(ask: Ask) -> bool:
    return ask.failed is not None and ask.failed.cause is Cause.MISSING


def _opener(setting: Setting, ask: Ask) -> Opener:
    relative, why = setting.relative(ask.by), str(ask.failed.cause) if ask.failed else ""
    return next(
        one
        for one in openers()
        if one.how in {"", ask.how}
        and one.why in {"", why}
        and matches(relative, one.files)
        and any(matches(ask.name, pattern) for pattern in one.names)
    )


def _finding(setting: Setting, group: Sequence[tuple[Ask, Opener]]) -> Finding:
    opener = group[0][1]
    asks = sorted((ask for ask, _ in group), key=_first_missed)
    first, names = asks[0], dict.fromkeys(ask.name for ask in asks)
    package = setting.owners[first.by]
    lacking = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not to be had"
    return Finding(
        signature=opener.signature,
        outcome="fails",
        place=f"{package.name} {package.version}: {setting.relative(first.by)}",
        message=_message(first, opener),
        cause=f"{opener.cause}; {lacking}" if first.failed and first.failed.searched else opener.cause,
        fix=opener.fix,
        chain=_chain(setting, first),
        sources=opener.sources,
    )


def _first_missed(ask: Ask) -> tuple[int, bool, str]:
    """By the order of first use; and through what Python imports, not by itself."""
    return first_use(ask.name), EXTENSION not in ask.by, ask.by


def _message(ask: Ask, opener: Opener) -> str:
    function = opener.functions.get(stem(ask.name), "")
    text = ask.failed.text if ask.failed else ""
    return opener.message.format(name=ask.name, names=", ".join(ask.tried), function=function, text=text)


def _chain(setting: Setting, ask: Ask) -> tuple[str, ...]:
    needs = ask.failed.chain if ask.failed else ()
    return tuple(f"{setting.relative(need.by) or 'Python'} needs {need.name}" for need in needs)
