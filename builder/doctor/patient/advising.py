"""Which row of cuvee to use here, and the cell, image or requirements file that it means in this place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from builder.doctor.patient.case import NOTE, version_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.doctor.patient.case import Case, Finding
    from builder.doctor.patient.facts import Gpu

_PRELOAD = """import ctypes, glob, os, site
for pattern in {patterns}:
    for folder in [*site.getsitepackages(), site.getusersitepackages()]:
        for path in sorted(glob.glob(os.path.join(folder, pattern))):
            ctypes.CDLL(path)  # opened by its path now, it is found by its name later"""


class Advice(NamedTuple):
    """What to use here.

    Attributes:
        row: The id of the row that fits best, or "".
        why: Why that one, or why none.
        limits: What keeps the other rows from this place, each as `row: limit`.
        how: What to type or to write, as lines.
        cell: A cell for a notebook that mends what was found, or "".
    """

    row: str = ""
    why: str = ""
    limits: tuple[str, ...] = ()
    how: tuple[str, ...] = ()
    cell: str = ""


def advice(case: Case, findings: Sequence[Finding]) -> Advice:
    """The row with the newest CUDA that this driver and these GPUs allow."""
    cell = cell_for(case, findings)
    good = [row for row in case.knows.rows if row["status"] == "good"]
    limited = {row["id"]: limit_of(case, row) for row in good}
    limits = tuple(f"{name}: {limit}" for name, limit in limited.items() if limit)
    fitting = [row for row in good if not limited[row["id"]]]
    if not fitting:
        why = "no row fits this driver and these GPUs" if good else "this doctor was made without rows"
        return Advice(why=why, limits=limits, cell=cell)
    best = max(fitting, key=lambda row: (_same_use(case, row), version_key(str(row["cuda"]))))
    return Advice(best["id"], _why(case, best), limits, how_to_use(case, best), cell)


def limit_of(case: Case, row: Mapping[str, Any]) -> str:
    """What keeps a row from running here, or "". Where no GPU can be seen, nothing does."""
    driver = case.seen.driver
    if driver.version and version_key(driver.version) < version_key(row["driver"]):
        return f"it takes driver {row['driver']}, and this is {driver.version}"
    for gpu in driver.gpus:
        major, minor = version_key(gpu.capability)
        number = 10 * major + minor
        if number < (row["low"] or 0):
            return f"it has code from compute capability {_dotted(row['low'])} on, {_too('old', gpu)}"
        if row["high"] is not None and number > row["high"]:
            return f"it has code up to compute capability {_dotted(row['high'])}, {_too('new', gpu)}"
    return ""


def how_to_use(case: Case, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The row, in the form that this place takes."""
    requirements = f"images/{row['id']}/requirements.txt"
    environment = (
        f"uv venv --python {row['python']} cuvee-{row['id']}",
        f"uv pip install --python cuvee-{row['id']}/bin/python --require-hashes --no-deps -r {requirements}",
    )
    if case.notebook:
        return ("# a notebook runs no containers: the row goes into an environment of its own", *environment)
    if case.seen.place.container or case.for_gpu:
        return (f"cuvee build {row['id']}", f"docker run --rm --gpus all cuvee:{row['id']} …")
    return environment


def cell_for(case: Case, findings: Sequence[Finding]) -> str:
    """Lines for a notebook that install and load what the findings ask for; "" elsewhere."""
    grave = [finding for finding in findings if finding.severity != NOTE]
    if not case.notebook or not grave:
        return ""
    wanted = tuple(dict.fromkeys(one for finding in grave for one in finding.install))
    patterns = tuple(dict.fromkeys(one for finding in grave for one in finding.preload))
    # What pip is to install, it has to hear at once; what is left are other commands.
    others = [line for finding in grave for line in finding.commands if line != case.pip(*finding.install)]
    lines = [case.pip(*wanted), "# restart the session now, and run the rest of this cell"] if wanted else []
    lines += dict.fromkeys(line for line in others if line.startswith(("%", "!")))
    return "\n".join([*lines, *([_PRELOAD.format(patterns=repr(patterns))] if patterns else [])])


def _why(case: Case, row: Mapping[str, Any]) -> str:
    driver, gpus = case.seen.driver.version, case.seen.driver.gpus
    seen = f"driver {driver} and {gpus[0].name}" if driver and gpus else ""
    return f"{row['summary']}; " + (
        f"the newest CUDA ({row['cuda']}) that {seen} allow"
        if seen
        else f"CUDA {row['cuda']}, from driver {row['driver']} on"
    )


def _same_use(case: Case, row: Mapping[str, Any]) -> bool:
    """Whether a row has torch exactly where this environment has it."""
    return bool(row["torch"]) == (case.has("torch") or not case.has("ctranslate2"))


def _too(word: str, gpu: Gpu) -> str:
    return f"and the {gpu.name} ({gpu.capability}) is too {word}"


def _dotted(number: int) -> str:
    return f"{number // 10}.{number % 10}"
