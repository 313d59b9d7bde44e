"""`transcribe` against faster-whisper in one process, in one image: the last part of `make bench [ROW]`.

Both hear the same ten minutes with the same options and as many threads, in turn, several times. The ratio
is taken within each pair, because what else the machine does changes from minute to minute.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import direct, matrix
from builder.engines.container import Container
from builder.errors import CheckFailedError, EngineOrNetworkError, Fault
from builder.matrix import MAIN, Row
from builder.places import HOME
from builder.plan import image_tag
from builder.project import Project, find, write
from builder.report.bench import LAUNCHER, Compared, LauncherBench
from builder.shell import Finished
from builder.verify.samples import Samples, samples
from tests.bench.common import host, run, say, show, today
from tests.bench.recording import MINUTES, recording
from tests.bench.setting import lock_of

DEFAULT = "asr-cu12"
PAIRS = 9
FEWEST = 5
LIMIT = 1.05

INSIDE = Path(__file__).parent / "inside"
AUDIO, MODEL = "/audio/recording.wav", "/model"
ALONE, LAUNCHED = "/tmp/alone.json", "/tmp/launched.json"
TRANSCRIBE = f"{HOME}/bin/transcribe"
_SAME_S = 0.0006
"""Times of words are the same within what `transcribe` rounds them to."""

_LAST_WORDS = 600  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a command took, in seconds.

    Attributes:
        wall: From its start to its end.
        cpu: Of processors, by it and by what it started.
    """

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A container with both ways to transcribe.

    Attributes:
        container: It, with the recording, the model and `INSIDE` in it.
        python: The interpreter of the environment that has faster-whisper.
        threads: How many both may use.
    """

    container: Container
    python: str
    threads: int

    def alone(self) -> Spent:
        """faster-whisper in one process."""
        return self._measured(self.python, "-I", "/tmp/inside/alone.py", AUDIO, MODEL, ALONE)

    def launched(self) -> Spent:
        """The command of every image, which has it in a process of its own."""
        how = ("--device", "cpu", "--format", "json", "--output", LAUNCHED)
        return self._measured(TRANSCRIBE, AUDIO, "--model", MODEL, *how)

    def written(self, path: str) -> Any:
        """What one of them wrote.

        Raises:
            EngineOrNetworkError: It is not there any more.
        """
        return json.loads(self._run("cat", path).out)

    def _measured(self, *words: str) -> Spent:
        done = self._run(self.python, "-I", "/tmp/inside/measured.py", *words)
        return Spent(**json.loads(done.out.splitlines()[-1]))

    def _run(self, *words: str) -> Finished:
        done = self.container.run(words, env={"OMP_NUM_THREADS": str(self.threads)})
        if not done.ok:
            cause = f"it ended with {done.code}: {done.err.strip()[-_LAST_WORDS:]}"
            raise EngineOrNetworkError(
                Fault(place=" ".join(words), cause=cause, fix="Make that work, and measure again")
            )
        return done


def main() -> int:
    """Measure, write `evidence/bench-launcher.json`, and fail where the limit is passed."""
    told = _arguments()
    project = find(Path.cwd())
    row = matrix.load(project.matrix).select([told.row])[0]
    found = _measured(project, row, told.pairs)
    write(project.bench.with_name(LAUNCHER), found.text())
    for one in found.compared:
        show(f"{one.name}: ratio {one.ratio:.3f}, of {', '.join(map(str, one.ratios))} (limit {one.limit})")
    return 0 if all(one.holds for one in found.compared) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", nargs="?", default=DEFAULT)
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"how often, at least {FEWEST}")
    told = parser.parse_args()
    if told.pairs < FEWEST:
        parser.error(f"fewer than {FEWEST} pairs show nothing")
    return told


def _measured(project: Project, row: Row, pairs: int) -> LauncherBench:
    speech = samples()
    hearing = next((name for name, part in row.stacks() if part.ctranslate2), MAIN)
    with tempfile.TemporaryDirectory(prefix="cuvee-bench-") as scratch:
        audio = _recording(speech, Path(scratch))
        binds = {audio: AUDIO, speech.model: MODEL}
        with direct.engine(project, say).container(image_tag(row.id), binds=binds) as container:
            container.copy_in(INSIDE, "/tmp")
            image = Image(
                container=container, python=f"{HOME}/{hearing}/bin/python", threads=os.cpu_count() or 1
            )
            spent = list(in_turn(image, pairs))
            words = len(same_words(image))
    return LauncherBench(
        row=row.id,
        host=host(),
        command=f"make bench {row.id}",
        date=today(),
        tools=_tools(project, row),
        minutes=MINUTES,
        words=words,
        threads=image.threads,
        compared=compared(spent),
    )


def _recording(speech: Samples, folder: Path) -> Path:
    """Where anybody may read it: the container's user need not be ours."""
    folder.chmod(0o755)
    path = folder / "recording.wav"
    path.write_bytes(recording([one.audio.read_bytes() for one in speech.utterances]))
    return path


def in_turn(image: Image, pairs: int) -> Iterator[tuple[Spent, Spent]]:
    """Both ways, pair by pair; the one that begins changes, and what is read first is read before.

    Raises:
        CheckFailedError: Both heard not the same, or not for sure: there is nothing to compare.
    """
    image.alone()
    image.launched()
    for number in range(1, pairs + 1):
        if number % 2:
            theirs, ours = image.alone(), image.launched()
        else:
            ours, theirs = image.launched(), image.alone()
        same_words(image)
        say(
            f"bench: pair {number} of {pairs}: {theirs.wall:.1f} s alone, {ours.wall:.1f} s launched; "
            f"of processors {theirs.cpu:.1f} s and {ours.cpu:.1f} s"
        )
        yield theirs, ours


def same_words(image: Image) -> list[str]:
    """The words that both heard at the same times.

    Raises:
        CheckFailedError: They are not the same, there are none, or lots were drawn for them.
    """
    alone, launched = image.written(ALONE), image.written(LAUNCHED)
    if any(segment["temperature"] for segment in alone["segments"]):
        raise _void("faster-whisper has drawn lots for a part of it, so that no two runs are alike")
    theirs, ours = _words(alone), _words(launched)
    if not theirs or len(theirs) != len(ours):
        raise _void(f"one heard {len(theirs)} words, the other {len(ours)}")
    for one, other in zip(theirs, ours, strict=True):
        if one[0] != other[0] or any(abs(a - b) > _SAME_S for a, b in zip(one[1:], other[1:], strict=True)):
            raise _void(f"one heard {one}, the other {other}")
    return [word for word, *_ in theirs]


def _words(told: Any) -> list[tuple[str, float, float]]:
    return [
        (word["text"].strip(), word["start"], word["end"])
        for segment in told["segments"]
        for word in segment["words"]
    ]


def _void(cause: str) -> CheckFailedError:
    return CheckFailedError(
        Fault(
            place="the recording",
            cause=f"the comparison is void: {cause}",
            fix="See that tests/bench/inside/alone.py has the options of builder/launcher/asr.py",
        )
    )


def compared(spent: list[tuple[Spent, Spent]]) -> tuple[Compared, ...]:
    """What pairs of runs come to. Both are held against the limit: other work on the machine moves both."""
    return tuple(
        Compared.of(
            name, [getattr(one, name) for one, _ in spent], [getattr(two, name) for _, two in spent], LIMIT
        )
        for name in ("wall", "cpu")
    )


def _tools(project: Project, row: Row) -> dict[str, str]:
    names = ("faster-whisper", "ctranslate2")
    return {one.name: one.version for one in lock_of(project, row.id).packages() if one.name in names}


if __name__ == "__main__":
    run(main)
