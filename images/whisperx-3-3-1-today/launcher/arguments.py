"""The command line of `transcribe`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from .faults import BAD_INPUT, BadInputError, Fault, bad_input
from .formats import ENDINGS
from .journal import default_folder

STDOUT = "-"
IDLE_S = 600.0
LONGEST_S = 1e6
"""Eleven days, which the kernel's clocks for waiting still take."""

_EPILOG = """\
Exit codes: 0 done; 2 an argument or a file is wrong; 5 a side failed, and what was finished is kept for
--resume (a transcript that only lacks its speakers is written all the same); 130 interrupted.
HF_TOKEN, HF_HOME and HF_HUB_OFFLINE are respected. TF32: without either switch torch is left as pyannote
wants it, which forbids TF32 on a GPU, because results are more accurate and the same each time; --tf32 is
quicker on Ampere and later.
"""


class Options(NamedTuple):
    """What was asked for; see `parser` for what each means."""

    audio: Tuple[Path, ...]
    model: str
    device: str
    compute_type: str
    beam_size: int
    language: Optional[str]
    words: bool
    formats: Tuple[str, ...]
    output: str
    speakers: Optional[str]
    limits: Dict[str, int]
    together: Optional[bool]
    tf32: Optional[bool]
    resume: bool
    work: Path
    idle: float
    offline: bool
    json_progress: bool
    quiet: bool


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    made = argparse.ArgumentParser(
        prog="transcribe",
        description="Speech to text, with speakers; each engine in a process of its own.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("audio", nargs="+", type=Path, metavar="AUDIO", help="sound or video files")
    made.add_argument(
        "--model", required=True, help="folder, size or hub name of a Whisper model for CTranslate2"
    )
    made.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")
    made.add_argument("--compute-type", default="default", help="int8, float16, ...: CTranslate2's names")
    made.add_argument("--beam-size", type=_positive, default=5)
    made.add_argument("--language", help="what is spoken, such as en; detected when not given")
    _switch(made, "words", "times of words (default: with --speakers or --format json)", "none")
    made.add_argument("--format", help="of text, srt, vtt, tsv, json; several with commas between")
    made.add_argument("--output", default=STDOUT, help="a file, a folder, or - for standard output (default)")
    made.add_argument(
        "--speakers", metavar="MODEL", help="pyannote pipeline: folder, config.yaml or hub name"
    )
    made.add_argument("--num-speakers", type=_positive, help="how many there are, if that is known")
    made.add_argument("--min-speakers", type=_positive)
    made.add_argument("--max-speakers", type=_positive)
    both = made.add_mutually_exclusive_group()
    both.add_argument(
        "--together",
        action="store_const",
        const=True,
        default=None,
        help="both sides at a time (default: if there is memory)",
    )
    both.add_argument(
        "--in-turn",
        dest="together",
        action="store_const",
        const=False,
        help="one frees the GPU for the other",
    )
    _switch(made, "tf32", "let torch use TF32 (default: as pyannote wants it)", "forbid it")
    made.add_argument("--resume", action="store_true", help="go on where an earlier run ended")
    made.add_argument(
        "--work", type=Path, help="where finished work is kept until all is done (default: the cache)"
    )
    made.add_argument(
        "--timeout-idle",
        type=_seconds,
        default=IDLE_S,
        metavar="SECONDS",
        help="a side without a sign of work hangs (600; 0: never)",
    )
    made.add_argument("--offline", action="store_true", help="fetch no models")
    shown = made.add_mutually_exclusive_group()
    shown.add_argument("--json-progress", action="store_true", help="progress as lines of JSON")
    shown.add_argument("--quiet", action="store_true", help="no progress")
    return made


def _switch(made: argparse.ArgumentParser, name: str, yes: str, no: str) -> None:
    pair = made.add_mutually_exclusive_group()
    pair.add_argument("--" + name, action="store_const", const=True, default=None, help=yes)
    pair.add_argument("--no-" + name, dest=name, action="store_const", const=False, help=no)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= LONGEST_S:  # what is no number is not, either
        raise argparse.ArgumentTypeError("must be between 0 (never) and {:.0f}".format(LONGEST_S))
    return seconds


def parse(words: Sequence[str]) -> Options:
    """The options in `words`.

    Raises:
        SystemExit: They are not understood; argparse has told.
        BadInputError: They contradict each other or the files that are there; all faults at once.
    """
    given = parser().parse_args(words)
    limits = {
        name: value
        for name in ("num_speakers", "min_speakers", "max_speakers")
        for value in [getattr(given, name)]
        if value is not None
    }
    options = Options(
        audio=tuple(given.audio),
        model=given.model,
        device=given.device,
        compute_type=given.compute_type,
        beam_size=given.beam_size,
        language=given.language,
        words=False,
        formats=_formats(given.format, given.output),
        output=given.output,
        speakers=given.speakers,
        limits=limits,
        together=given.together,
        tf32=given.tf32,
        resume=given.resume,
        work=given.work or default_folder(),
        idle=given.timeout_idle,
        offline=given.offline,
        json_progress=given.json_progress,
        quiet=given.quiet,
    )
    wanted = given.words if given.words is not None else bool(given.speakers) or "json" in options.formats
    options = options._replace(words=wanted)
    faults = [*_faults(options)]
    if faults:
        raise BadInputError(*faults)
    return options._replace(
        model=_absolute(options.model), speakers=_absolute(options.speakers or "") or None
    )


def _formats(written: Optional[str], output: str) -> Tuple[str, ...]:
    """The formats asked for; where none is, the one that the output's ending means."""
    if written is None:
        meant = [name for name, ending in ENDINGS.items() if ending == Path(output).suffix]
        return tuple(meant or ["text"])
    names = tuple(dict.fromkeys(one.strip() for one in written.split(",") if one.strip()))
    unknown = [one for one in names if one not in ENDINGS]
    if unknown or not names:
        cause = "{} is no format".format(", ".join(unknown) or "nothing")
        raise bad_input("--format", cause, "Take of {}".format(", ".join(ENDINGS)))
    return names


def _faults(options: Options) -> List[Fault]:
    found: List[Fault] = []
    for audio in options.audio:
        found += _audio_faults(audio)
    for option, model in (("--model", options.model), ("--speakers", options.speakers)):
        if model and _looks_like_a_path(model) and not Path(model).exists():
            found.append(Fault(option, "{} is not there".format(model), "Give a folder that is", BAD_INPUT))
    if Path(options.model).is_dir() and not (Path(options.model) / "model.bin").is_file():
        cause = "{} is no Whisper model in CTranslate2's format: it lacks model.bin".format(options.model)
        found.append(Fault("--model", cause, "Give the folder that has model.bin and config.json", BAD_INPUT))
    if options.limits and not options.speakers:
        fix = "Name a pipeline with --speakers, or leave the number out"
        found.append(
            Fault(
                "--{}".format(next(iter(options.limits)).replace("_", "-")),
                "no speakers are asked for",
                fix,
                BAD_INPUT,
            )
        )
    if options.limits.get("min_speakers", 1) > options.limits.get("max_speakers", 1 << 30):
        found.append(
            Fault("--min-speakers", "it is more than --max-speakers", "Change one of them", BAD_INPUT)
        )
    return found + _output_faults(options)


def _audio_faults(audio: Path) -> List[Fault]:
    if audio.exists() and not audio.is_file() and not audio.is_dir():
        cause = "it is a pipe or a device, and a recording is read more than once"
        return [Fault(str(audio), cause, "Write it to a file first", BAD_INPUT)]
    try:
        with audio.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        return [
            Fault(
                str(audio), "it cannot be read ({})".format(error.strerror), "Give a file that can", BAD_INPUT
            )
        ]
    return [Fault(str(audio), "it is empty", "Give a recording", BAD_INPUT)] if empty else []


def _looks_like_a_path(model: str) -> bool:
    return model.startswith(("/", "./", "../", "~")) or model.endswith((".yaml", ".yml"))


def _absolute(model: str) -> str:
    return str(Path(model).resolve()) if model and Path(model).exists() else model


def _output_faults(options: Options) -> List[Fault]:
    if options.output == STDOUT:
        if len(options.formats) > 1:
            return [
                Fault(
                    "--output", "standard output takes one format", "Name a folder with --output", BAD_INPUT
                )
            ]
        if len(options.audio) > 1 and options.formats[0] in {"srt", "vtt", "tsv"}:
            cause = "{} files would follow each other on standard output".format(options.formats[0])
            return [Fault("--output", cause, "Name a folder with --output", BAD_INPUT)]
        return []
    found = []
    targets = [path for audio in options.audio for path in outputs(options, audio).values()]
    if len(set(targets)) < len(targets):
        twice = sorted({str(path) for path in targets if targets.count(path) > 1})
        cause = "several recordings would be written to {}".format(", ".join(twice))
        found.append(Fault("--output", cause, "Rename one, or run them apart", BAD_INPUT))
    same = [
        audio
        for audio in options.audio
        for path in targets
        if path.exists() and audio.exists() and path.samefile(audio)
    ]
    if same:
        found.append(Fault("--output", "it would overwrite {}".format(same[0]), "Name another", BAD_INPUT))
    return found


def is_folder(options: Options) -> bool:
    """Whether the output is a folder: it is one, is written as one, or has to hold several files."""
    many = len(options.audio) > 1 or len(options.formats) > 1
    return options.output.endswith("/") or Path(options.output).is_dir() or many


def outputs(options: Options, audio: Path) -> Dict[str, Path]:
    """By format, the file for a recording; none on standard output."""
    if options.output == STDOUT:
        return {}
    if is_folder(options):
        return {name: Path(options.output) / (audio.stem + ENDINGS[name]) for name in options.formats}
    return {options.formats[0]: Path(options.output)}
