"""Run a pipeline of pyannote.audio on a sound file, and print who speaks when: `diarize.py CONFIG AUDIO`.

Prints one JSON object: `turns` as [start, end, speaker], in seconds; `seconds`, that the pipeline took, and
`load_seconds`; the `version` of pyannote.audio.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main(config: str, audio: str) -> dict[str, Any]:
    """Who speaks when."""
    sound = str(Path(audio).resolve())
    folder = Path(config).resolve().parent
    os.chdir(str(folder))  # the config's paths count from there
    sys.path.insert(0, str(folder))  # and the pipeline's own code lies there
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    started = time.monotonic()
    torch, pyannote = importlib.import_module("torch"), importlib.import_module("pyannote.audio")
    torch.set_num_threads(
        1
    )  # the work is small: threads that wait for each other made it take 20 times as long
    pipeline = pyannote.Pipeline.from_pretrained(str(folder / Path(config).name))
    loaded = time.monotonic()
    answer = pipeline(sound)
    ended = time.monotonic()
    annotation = getattr(answer, "speaker_diarization", answer)  # pyannote.audio 4 gives a record
    return {
        "turns": [[turn.start, turn.end, who] for turn, _, who in annotation.itertracks(yield_label=True)],
        "seconds": round(ended - loaded, 2),
        "load_seconds": round(loaded - started, 2),
        "version": pyannote.__version__,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])) + "\n")
