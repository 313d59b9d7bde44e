"""What really happens: libraries opened, cuDNN used and modules imported, each in a process of its own."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from builder.doctor.patient.facts import Import, Opened, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from builder.doctor.patient.facts import CTranslate2, Interpreter, Torch
    from builder.doctor.patient.running import Done, Runner

OPENING = 60.0
USING = 90.0
IMPORTING = 180.0
BEGUN = "-begun"
AVUTIL = {4: 56, 5: 57, 6: 58, 7: 59, 8: 60, 9: 61}
"""FFmpeg's major versions and those of its libavutil."""


def loader_answers(runner: Runner, names: Iterable[str]) -> dict[str, Opened]:
    """What the loader takes for each of `names`; those that the child did not come to are left out."""
    wanted = list(dict.fromkeys(names))
    return _answers(runner.child("open", wanted, OPENING)[1]) if wanted else {}


def names_to_open(ctranslate2: CTranslate2 | None, sonames: Iterable[str]) -> list[str]:
    """What the loader is asked for: what CTranslate2 opens, what there are copies of, driver and FFmpeg."""
    opened = [name for names in (ctranslate2.opens if ctranslate2 else ()) for name in names]
    avutil = [f"libavutil.so.{major}" for major in AVUTIL.values()]
    # cuDNN 8 opens cuBLASLt by name; nobody else names it.
    beside = [name.replace("libcublas.", "libcublasLt.") for name in opened if name.startswith("libcublas.")]
    return [*opened, *beside, *sonames, "libcuda.so.1", *avutil]


def trials(runner: Runner, ctranslate2: CTranslate2 | None, torch: Torch | None) -> tuple[Trial, ...]:
    """cuDNN, used through the front of each and through both in both orders.

    Of two, the first is used wholly, and once more only begun (`torch-begun`): what it has not touched, the
    second has to find for itself, and may find another copy of it.
    """
    fronts = _fronts(ctranslate2, torch)
    orders: list[tuple[str, ...]] = [(name,) for name in fronts]
    for first, second in (("torch", "ctranslate2"), ("ctranslate2", "torch")) if len(fronts) > 1 else ():
        orders += [(first, second), (first + BEGUN, second)]
    with ThreadPoolExecutor(2) as pool:
        return tuple(pool.map(lambda order: _trial(runner, order, fronts), orders))


def imports(
    runner: Runner, python: Interpreter, groups: Sequence[Sequence[str]], names: Sequence[str]
) -> tuple[tuple[Import, ...], dict[str, Opened]]:
    """Import modules as this Python would, and open libraries after CTranslate2.

    Args:
        runner: Starts the children, one for each group, two at a time.
        python: Whose folders they are imported from.
        groups: Of each, the first is imported, and each other after it, in a process of its own.
        names: What is opened by name once `ctranslate2` is imported.

    Returns:
        How each import went, and the loader's answers.
    """
    folders = json.dumps(list(python.folders))

    def import_group(group: Sequence[str]) -> tuple[list[Import], dict[str, Opened]]:
        opened = json.dumps(list(names) if group[0] == "ctranslate2" else [])
        done, said = runner.child("import", [folders, opened, *group], IMPORTING)
        return _imported(done, said, group[0]), _answers(said)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(import_group, groups))
    answers = {name: answer for _, some in found for name, answer in some.items()}
    return tuple(one for told, _ in found for one in told), answers


def _fronts(ctranslate2: CTranslate2 | None, torch: Torch | None) -> Mapping[str, list[str]]:
    fronts = {}
    if torch:
        front = [path for name, path in torch.libraries.items() if name.startswith("libcudnn.so")]
        blas = [path for name, path in sorted(torch.libraries.items(), reverse=True) if "cublas" in name]
        if front:
            fronts["torch"] = [*(f"+{path}" for path in blas), front[0]]
    if ctranslate2 and ctranslate2.front:
        fronts["ctranslate2"] = [ctranslate2.front]
    return fronts


def _trial(runner: Runner, order: tuple[str, ...], fronts: Mapping[str, list[str]]) -> Trial:
    paths = []
    for name in order:
        *beside, front = fronts[name.replace(BEGUN, "")]
        paths += [*beside, ("~" if name.endswith(BEGUN) else "") + front]
    done, said = runner.child("cudnn", paths, USING)
    last: dict[str, Any] = {key: value for fact in said for key, value in fact.items()}
    refused = last.get("failed", "")
    return Trial(
        order=order,
        code=done.code or (1 if refused else 0),
        words=refused or (done.err if done.code else ""),
        version=last.get("version", ""),
        files=tuple(last.get("files", ())),
        asked=last.get("asked", ""),
    )


def _imported(done: Done, said: list[dict[str, Any]], first: str) -> list[Import]:
    told = [fact for fact in said if "module" in fact]
    found = [Import(fact["module"], fact.get("error", ""), fact.get("code", 0)) for fact in told]
    # The first module is imported by the child itself, which may have died of it.
    died = done.code and first not in {one.module for one in found}
    return [Import(first, _last(done), done.code), *found] if died else found


def _answers(said: list[dict[str, Any]]) -> dict[str, Opened]:
    told = [fact for fact in said if "name" in fact]
    return {fact["name"]: Opened(fact.get("path", ""), fact.get("error", "")) for fact in told}


def _last(done: Done) -> str:
    lines = [line for line in done.err.splitlines() if line.strip()]
    return "\n".join(lines[-2:]) or f"exit code {done.code}"
