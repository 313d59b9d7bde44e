"""The versions that a log tells of: what was installed, which driver, which Python."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PACKAGES = (
    "torch",
    "torchaudio",
    "torchvision",
    "torchcodec",
    "ctranslate2",
    "faster-whisper",
    "whisperx",
    "pyannote.audio",
    "numpy",
    "huggingface-hub",
    "lightning",
    "pytorch-lightning",
    "transformers",
    "speechbrain",
    "onnxruntime-gpu",
    "nvidia-cudnn-cu11",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
    "nvidia-cublas",
    "nvidia-cublas-cu11",
    "nvidia-cublas-cu12",
)
_VERSION = r"(\d+(?:\.\d+){1,3}(?:[.+]?(?:a|b|rc|post|dev|cu|cpu|rocm)(?:[\w.]{0,20}\w)?)?)"
# What stands after a name: pip freeze and wheels, pip list, and programs that say what they are.
_BETWEEN = r"(?:==|-(?=\d+\.\d)|: (?=\d)|[ ]{1,80}(?=\d[\w.+]*[ \t]*(?:\n|$)))"

_OTHERS = (  # what no package manager tells; a word that it needs, and where the version is
    ("torch", "Model was trained", r"trained with torch [\w.+]{1,30}, yours is " + _VERSION),
    ("torch", "PyTorch version", r"PyTorch version: " + _VERSION),
    ("torch", "The PyTorch version (", r"The PyTorch version \(" + _VERSION),
    ("pyannote.audio", "Model was trained", r"with pyannote\.audio [\w.]{1,20}, yours is " + _VERSION),
    ("ctranslate2", "libctranslate2-", r"libctranslate2-[0-9a-f]{8}\.so\." + _VERSION),
    ("driver", "Driver Version", r"Driver Version ?: {1,4}(\d{3}(?:\.\d+){1,2})"),
    ("driver's CUDA", "CUDA Version", r"CUDA Version ?: {1,4}(\d{1,2}\.\d)"),
    ("CUDA of the image", "CUDA Version", r"(?<=\n)CUDA Version (\d{1,2}(?:\.\d{1,2}){1,2})(?=\n)"),
    ("glibc", "GLIBC", r"ldd \([^()\n]{0,60}GLIBC[^()\n]{0,60}\) " + _VERSION),
    ("Python", "Python", r"(?<![\w.])Python:? {1,4}(3\.\d{1,2}(?:\.\d{1,2})?)(?![\w.]*\d)"),
    ("Python", "/python3.", r"/python(3\.\d{1,2})/(?:site|dist)-packages"),
    ("GPU", "NVIDIA", r"\|\s{1,6}\d{1,2}\s{1,4}((?:NVIDIA|Tesla|Quadro)[\w ()/-]{2,40}?)\s{2,}"),
    ("GPU", "GPU 0", r"GPU 0: ([\w ()/-]{2,60}?) \(UUID"),
    ("GPU", "with CUDA capability", r"([A-Z][\w ()/-]{2,60}?) with CUDA capability sm_\d"),
)
_FIRST_WINS = {"GPU", "Python"}


def _finder(package: str) -> re.Pattern[str]:
    """A package's name as wheels, lists and modules write it, and its version.

    That it is the whole name is looked at last: a pattern that begins with plain letters is found quickly.
    """
    name = re.sub(r"[-.]", "[-_.]", package)
    return re.compile(rf"{name}(?<![\w.+-]{name}){_BETWEEN}{_VERSION}")


_FINDERS = (
    *((name, re.split(r"[-.]", name)[0], _finder(name)) for name in _PACKAGES),
    *((name, word, re.compile(pattern)) for name, word, pattern in _OTHERS),
)
_WORDS = frozenset(word for _, word, _ in _FINDERS)


class Versions:
    """Gathers what the parts of a log say of versions; the last word on a package counts."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def read(self, text: str) -> None:
        """Take in a readable part of a log."""
        there = {word for word in _WORDS if word in text}
        for name, word, finder in _FINDERS:
            if word in there and not (name in self._found and name in _FIRST_WINS):
                matches = finder.findall(text)
                if matches:
                    self._found[name] = matches[0 if name in _FIRST_WINS else -1]

    def found(self) -> Mapping[str, str]:
        """The versions by name, in a fixed order."""
        order = dict.fromkeys(name for name, _, _ in _FINDERS)
        return {name: self._found[name] for name in order if name in self._found}
