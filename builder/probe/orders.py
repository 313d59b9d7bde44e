"""Check `orders`: however the imports are ordered, cuDNN works and each major of it comes from one folder."""

from __future__ import annotations

import itertools
import tempfile
from typing import Any, Dict, List, Sequence, Tuple

from . import cudnn, maps, processes, rules
from .child import facts
from .finding import Finding, judged, skipped
from .place import Place
from .processes import Manner

TIMEOUT = 900.0

Record = Dict[str, Any]
Order = Tuple[str, ...]


def check(place: Place, modules: Sequence[str] = ()) -> Finding:
    """Import `modules`, or those of the rules that are installed, in every order."""
    chosen = tuple(modules) or installed(place)
    if not chosen:
        return skipped("none of {} is installed".format(", ".join(rules.MODULES)))
    with tempfile.TemporaryDirectory(prefix="cuvee-probe-") as scratch:
        how = manner(place, chosen, scratch)
        found = processes.side_by_side(lambda first: _explore(how, chosen, first), chosen)
    return judge(chosen, [record for records in found.values() for record in records])


def installed(place: Place) -> Order:
    """Those of the rules' modules that the environment has."""
    return tuple(name for name in rules.MODULES if place.matching(_folder(name) + "/__init__.py"))


def _folder(module: str) -> str:
    return module.replace(".", "/")


def manner(place: Place, modules: Order, scratch: str) -> Manner:
    """Imports made faster, and the environment left as it is.

    In an image without compiled modules, a user who may not write would compile all of them again for every
    import; a cache elsewhere is shared by all. Matplotlib's list of fonts likewise.
    """
    compiled = all(place.matching(_folder(name) + "/__pycache__/__init__.*.pyc") for name in modules)
    options = ("-B",) if compiled else ("-X", "pycache_prefix=" + scratch)
    return Manner(TIMEOUT, place.hide_cache, options, {"MPLCONFIGDIR": scratch})


def _explore(how: Manner, modules: Order, first: str) -> List[Record]:
    """The records of all runs that begin with `first`, with one more if the child itself died."""
    rest = [name for name in modules if name != first]
    done = processes.child(how, "orders", first, *rest)
    said = facts(done.out)
    if done.code:
        said.append({"steps": [[first, []]], "code": done.code, "stderr": done.err})
    return said


def covers(record: Record, order: Order) -> bool:
    """Whether `order` would have gone the way that `record` tells, at least until it ended."""
    steps = list(record["steps"])
    there: set[str] = set()
    for module in order:
        if module in there:
            continue
        if not steps:
            return bool(record["code"])
        step, brought = steps.pop(0)
        if step != module:
            return False
        there.update([step, *brought])
    return not steps


def excused(record: Record) -> bool:
    """Whether a run imported everything and then died in cuDNN because there is no driver here."""
    return bool(record["code"]) and "used" in record and cudnn.wants_driver(record["stderr"])


def fault(record: Record) -> str:
    """What is wrong with one run, or ""."""
    if record["code"]:
        words = processes.complaint(record["stderr"])
        return "" if excused(record) else "exit code {}: {}".format(record["code"], words)
    bad = [cudnn.returned(call) for call in record["calls"] if call["status"]]
    folders = maps.cudnn_folders(record["cudnn"])
    bad += [
        "cuDNN {} comes from {} folders: {}".format(major, len(places), ", ".join(places))
        for major, places in folders.items()
        if len(places) > 1
    ]
    return "; ".join(dict.fromkeys(bad))


def judge(modules: Order, records: Sequence[Record]) -> Finding:
    """Hold every order against the runs that cover it."""
    verdicts = {order: _verdict(order, records) for order in itertools.permutations(modules)}
    faults = {", ".join(order): words for order, words in verdicts.items() if words}
    files = sorted({path for record in records for path in record.get("cudnn", [])})
    early = sum(excused(record) for record in records)
    summary = "; ".join("{}: {}".format(order, words) for order, words in list(faults.items())[:1])
    return judged(
        "{} of {} orders fail, first {}".format(len(faults), len(verdicts), summary) if faults else "",
        "{} orders work".format(len(verdicts)) + (", as far as they go without a driver" if early else ""),
        modules=list(modules),
        orders=len(verdicts),
        runs=list(dict.fromkeys(" > ".join(step[0] for step in record["steps"]) for record in records)),
        faults=faults,
        cudnn_folders=maps.cudnn_folders(files),
        ended_for_want_of_driver=early,
    )


def _verdict(order: Order, records: Sequence[Record]) -> str:
    own = [record for record in records if covers(record, order)]
    words = [fault(record) for record in own] or ["no run covers this order"]
    return "; ".join(dict.fromkeys(word for word in words if word))
