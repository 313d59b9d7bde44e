"""Building a plan's Dockerfile with BuildKit: what the host lends, the room it takes, and how far it is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from builder.engines.base import BaseImage
from builder.engines.container import Image
from builder.engines.docker import DockerEngine
from builder.engines.failure import explain
from builder.errors import EngineOrNetworkError, Fault
from builder.plan import Plan
from builder.wheels.index import extra_index
from builder.wheels.network import ca_bundle
from builder.wheels.store import index_address

Say = Callable[[str], None]

ROOM = {"overlay2": 4.0, "default": 11.0}
"""Bytes of the engine's disk for each byte downloaded.

Measured on overlay2: cu121's 3.8 GB of wheels took 11 GB, by `df` before and after a build from nothing: the
wheels unpacked in their layers, some of them once more where a layer is laid on the chain. The containerd
store compresses every layer besides; it was measured at 11 for a Dockerfile that had a second copy of all.
"""

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_DEFAULT_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_GB = 1e9
_LONGEST_STEP = 70


def room_needed(plan: Plan, engine: DockerEngine) -> int:
    """The bytes of free disk that a build from nothing takes."""
    storage = engine.describe()["storage"]
    return int(plan.download * ROOM.get(storage, ROOM["default"]))


def require_room(plan: Plan, engine: DockerEngine) -> None:
    """See that the engine's disk has room for the build.

    Raises:
        EngineOrNetworkError: It has not. An engine on another machine is not asked.
    """
    root = engine.data_root()
    if root is None:
        return
    free, needed = shutil.disk_usage(root).free, room_needed(plan, engine)
    if free < needed:
        raise EngineOrNetworkError(
            Fault(
                place=str(root),
                cause=f"building {plan.tag} needs {needed / _GB:.0f} GB, and {free / _GB:.0f} GB are free",
                fix="Run `cuvee clean`, `docker system prune`, or give the engine a larger disk",
            )
        )


def build(  # noqa: PLR0913 - what, on what, where, and how loudly
    plan: Plan, folder: Path, base: BaseImage, engine: DockerEngine, say: Say, *, verbose: bool = False
) -> Image:
    """Build the image from its folder, and tag it.

    Args:
        plan: What is built.
        folder: The build context, `images/<row>`.
        base: What it starts from.
        engine: Where it is built.
        say: Told each step as it ends.
        verbose: Say every line of BuildKit's instead.

    Raises:
        EngineOrNetworkError: The build failed; the step and its last words are in the cause.
    """
    progress = Progress(plan, (lambda _: None) if verbose else say)

    def on_line(text: str) -> None:
        progress.line(text)
        if verbose:
            say(text)

    with secrets(plan) as lent:
        words = arguments(plan, folder, base.reference, engine, lent)
        done = engine.buildx(words, on_line)
    if not done.ok:
        raise EngineOrNetworkError(progress.fault(done.out))
    engine.remove_replaced_images()  # each build of a row would leave gigabytes without a name
    return engine.image(plan.tag)


def arguments(plan: Plan, folder: Path, base: str, engine: DockerEngine, secrets: list[str]) -> list[str]:
    """The arguments of `docker buildx build`."""
    network = ["--network", engine.build_network] if engine.build_network else []
    proxies = [part for name in _PROXIES if os.environ.get(name) for part in ("--build-arg", name)]
    return [
        "--progress=plain",
        "--load",
        *network,
        *proxies,
        *(part for secret in secrets for part in ("--secret", secret)),
        "--build-arg",
        f"BASE={base}",
        "--tag",
        plan.tag,
        str(folder),
    ]


@contextmanager
def secrets(plan: Plan) -> Iterator[list[str]]:
    """What the host lends: its certificates, and its package index as shell exports; they enter no image."""
    secrets = [f"id=ca,src={bundle}"] if (bundle := ca_bundle()) else []
    exports = index_exports(plan)
    with tempfile.TemporaryDirectory(prefix="cuvee-secret-") as scratch:
        if exports:
            file = Path(scratch) / "index"
            file.write_text(exports, encoding="utf-8")
            secrets.append(f"id=index,src={file}")
        yield secrets


def index_exports(plan: Plan) -> str:
    """Lines of shell that point uv and pip to the host's index and the row's extra one; may be empty."""
    default = next((os.environ[name] for name in _DEFAULT_INDEXES if os.environ.get(name)), None)
    # uv lets an index have a name, NAME=ADDRESS; pip does not.
    values = {"UV_DEFAULT_INDEX": default, "PIP_INDEX_URL": default and re.sub(r"^[\w.-]+=", "", default)}
    if plan.index:
        # Of a version that both have, uv takes the first index's file, whatever its hash, and the default
        # index is the last one: so the host's is the extra one here, as it was when the row was locked.
        # Without the strategy, the first index that has a project hides the other's files of it.
        values["UV_DEFAULT_INDEX"] = extra_index(plan.index, f"row {plan.row}")
        values["UV_EXTRA_INDEX_URL"] = index_address()
        values["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in values.items() if value)
    return "".join(lines)


class Progress:
    """Reads BuildKit's plain progress and says one line for each layer that is done."""

    _STEP = re.compile(r"#(\d+) (\[(?:(\S+) +(\d+)/\d+|internal)\] (\S+).*)")
    _LOG = re.compile(r"#(\d+) [\d.]+(?: (.*))?$")
    _END = re.compile(r"#(\d+) (?:(CACHED)|DONE ([\d.]+)s|ERROR: (.*))$")
    _EXPORT = re.compile(r"#(\d+) exporting to .+")

    def __init__(self, plan: Plan, say: Say) -> None:
        self._say = say
        self._row = plan.row
        chain = [layer for layer in plan.layers if layer.kind == "chain"]
        self._layers = {("chain", str(position)): layer for position, layer in enumerate(chain, 1)}
        self._layers |= {(layer.name, "1"): layer for layer in plan.layers if layer.kind == "beside"}
        self._titles: dict[str, str] = {}
        self._headers: dict[str, str] = {}
        self._words: dict[str, list[str]] = {}
        self._failed: str | None = None

    def line(self, text: str) -> None:
        """Take one line of BuildKit's output."""
        if step := self._STEP.match(text):
            self._headers[step[1]] = step[2]
            self._titles[step[1]] = self._title(step[3], step[4], step[5])
        elif export := self._EXPORT.match(text):
            self._titles[export[1]] = "image"
        elif end := self._END.match(text):
            self._ended(end[1], cached=bool(end[2]), seconds=end[3], error=end[4])
        elif log := self._LOG.match(text):
            self._words.setdefault(log[1], []).append((log[2] or "").strip())

    def _title(self, stage: str, position: str, verb: str) -> str:
        if layer := self._layers.get((stage, position)):
            count = len(layer.packages)
            return f"{layer.name}: {count} package{'s' if count != 1 else ''}, {layer.size / 1e6:.0f} MB"
        return stage if stage in ("base", "tools") and verb == "RUN" else ""

    def _ended(self, number: str, *, cached: bool, seconds: str | None, error: str | None) -> None:
        title = self._titles.get(number, "")
        if error is not None:
            self._failed = number
            self._words.setdefault(number, []).append(error)
        elif title:
            self._say(f"{title} ({'cached' if cached else f'{float(seconds or 0):.1f} s'})")

    def fault(self, output: str) -> Fault:
        """Why the build failed: the failed step's words, or BuildKit's own where it did not come so far."""
        failed = self._failed or ""
        words = self._words.get(failed) or [line for line in output.splitlines() if line.strip()]
        step = self._titles.get(failed, "").partition(":")[0] or self._headers.get(failed, "")
        cause, fix = explain(words, f"Run `cuvee --verbose build {self._row}` to see all that BuildKit says")
        place = f"docker build, {shorten(step, _LONGEST_STEP, placeholder=' …')}" if step else "docker build"
        return Fault(place=place, cause=cause, fix=fix)
