"""The same lock built with two Dockerfiles in one run, as a ratio: the first half of `make bench [ROW]`.

The other way is what the field does: one `RUN pip install --no-cache-dir` of the lock. Both start
from the same base, with nothing cached; then CTranslate2's version changes, and both build again.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from builder import matrix
from builder.engines import base, buildkit
from builder.engines.docker import DockerEngine, connect
from builder.lock.resolve import resolve
from builder.matrix import Row
from builder.plan import Plan, plan
from builder.project import find, write
from builder.render.dockerfile import dockerfile
from builder.render.requirements import requirements
from builder.report.bench import Bench, Run
from tests.bench.common import DEFAULT, run, say, settle, show, today, with_older_ctranslate2

COLD_LIMIT = 0.6
CHANGED_LIMIT = 0.25

THEIRS = """\
ARG BASE
FROM ${{BASE}}
RUN : {mark}{base}
COPY requirements.txt overlay.txt ./
RUN --mount=type=secret,id=ca --mount=type=secret,id=index \\
    if [ -s /run/secrets/index ]; then . /run/secrets/index; fi; \\
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \\
    python{python} -m venv {prefix} && \\
    {prefix}/bin/pip install --quiet --no-cache-dir --no-deps -r requirements.txt && \\
    {prefix}/bin/pip install --quiet --no-cache-dir --no-deps --target {prefix}/overlay -r overlay.txt
"""


def main(row_id: str) -> int:
    """Measure, write `evidence/bench.json`, and fail where a limit is passed."""
    project = find(Path.cwd())
    engine = connect(project.engine)
    row = matrix.load(project.matrix).select([row_id])[0]
    older = matrix.parse(with_older_ctranslate2(project, row)).select([row.id])[0]
    with tempfile.TemporaryDirectory(prefix="cuvee-bench-") as scratch:
        ours, theirs = Path(scratch) / "ours", Path(scratch) / "theirs"
        mark = f"bench-{time.time_ns()}"  # cache mounts of this run only: cold means cold
        runs = [
            _measured("from nothing", COLD_LIMIT, row, engine, (theirs, ours), mark),
            _measured("another CTranslate2", CHANGED_LIMIT, older, engine, (theirs, ours), mark),
        ]
    for tag in ("cuvee-bench:theirs", "cuvee-bench:ours"):
        engine.remove_image(tag)
    told = engine.describe()
    host = f"{told['cpus']} processors, Docker {told['version']}, {told['storage']}"
    bench = Bench(row=row_id, host=host, command=f"make bench {row_id}", date=today(), runs=tuple(runs))
    write(project.bench, bench.text())
    for one in runs:
        show(f"{one.name}: {one.theirs:.1f} s, {one.ours:.1f} s, ratio {one.ratio:.2f} (limit {one.limit})")
    return 0 if all(one.ratio <= one.limit for one in runs) else 1


def _measured(
    name: str, limit: float, row: Row, engine: DockerEngine, folders: tuple[Path, Path], mark: str
) -> Run:
    """One comparison. A build that is not the first of its folder may use what the one before it cached."""
    lock = resolve(row)
    intended = plan(row, lock)
    texts = requirements(lock, intended)
    theirs, ours = folders
    _write(ours, {**texts, **_from_nothing(dockerfile(intended), mark)})
    overlay = "".join(texts[layer.requirements_file] for layer in intended.layers if layer.is_overlay)
    recipe = THEIRS.format(python=row.python, prefix=intended.prefix, mark=mark, base=_python(intended))
    whole = texts["requirements.txt"]
    _write(theirs, {"requirements.txt": whole, "overlay.txt": overlay, "Dockerfile": recipe})
    on = base.provide(row.base, engine, say)
    for way in ("theirs", "ours"):
        engine.remove_image(f"cuvee-bench:{way}")
    return Run(
        name=name,
        theirs=_seconds(lambda: _build(intended, "theirs", theirs, on, engine)),
        ours=_seconds(lambda: _build(intended, "ours", ours, on, engine)),
        limit=limit,
    )


def _python(intended: Plan) -> str:
    """What makes a plain Debian a base with Python, as our own Dockerfile does it."""
    packages = " ".join(intended.base_packages)
    install = f"apt-get update && apt-get install -y {packages}"
    return f" && {{ dpkg --status {packages} >/dev/null 2>&1 || {{ {install}; }}; }}"


def _from_nothing(texts: dict[str, str], mark: str) -> dict[str, str]:
    """Our files with a first step and cache mounts that no build before this run has had."""
    recipe = re.sub(r"id=cuvee-(uv|pip)", rf"id={mark}-\1", texts["Dockerfile"])
    return {**texts, "Dockerfile": recipe.replace(" AS base\n", f" AS base\nRUN : {mark}\n", 1)}


def _write(folder: Path, texts: dict[str, str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in texts.items():
        write(folder / name, text)


def _build(intended: Plan, way: str, folder: Path, on: base.BaseImage, engine: DockerEngine) -> None:
    say(f"bench: {way}")
    with buildkit.secrets(intended) as lent:
        words = buildkit.arguments(intended, folder, on.reference, engine, lent)
        words[words.index(intended.tag)] = f"cuvee-bench:{way}"
        done = engine.buildx(words, lambda _: None)
    if not done.ok:
        raise SystemExit(done.out)


def _seconds(work: Callable[[], None]) -> float:
    settle()
    began = time.monotonic()
    work()
    return round(time.monotonic() - began, 1)


if __name__ == "__main__":
    run(lambda: main(sys.argv[1] if len(sys.argv) > 1 else DEFAULT))
