"""What is judged: an examination, what the doctor knows, and the words that both give to findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from builder.doctor.versions import holds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.doctor.patient.facts import Copy, Examination

BROKEN, WILL_FAIL, RISK, NOTE = "broken", "will-fail", "risk", "note"
SEVERITIES = (BROKEN, WILL_FAIL, RISK, NOTE)
"""Worst first. Broken fails now, without any use; what will fail does so when it is used; a risk may."""

NOTEBOOKS = ("colab", "kaggle")
WITHOUT_CUDNN = "ctranslate2>=4.6.3"
"""The CTranslate2 that needs no cuDNN: its changelog of 4.6.3, and the wheels since."""


class Knowledge(NamedTuple):
    """What the doctor knows, as plain data.

    Attributes:
        rows: The rows to recommend: `id`, `summary`, `status`, `cuda`, `driver`, `low` and `high` (compute
            capability times ten, null for any newer), `torch`, `ctranslate2`, `python`.
        combinations: What `builder/data/combinations.yaml` holds.
        minimum_driver: The oldest driver for each major version of CUDA.
        toolkit_driver: The driver that came with each toolkit.
        cuda_of_ptx: The first CUDA that has each version of the PTX language.
        child: The text of the program that children run.
    """

    rows: tuple[Mapping[str, Any], ...]
    combinations: Mapping[str, Any]
    minimum_driver: Mapping[str, str]
    toolkit_driver: Mapping[str, str]
    cuda_of_ptx: Mapping[str, str]
    child: str = ""


class Finding(NamedTuple):
    """Something that fails, will fail, may fail, or is worth knowing.

    Attributes:
        id: The kind of failure: a signature's id where it prints a known message.
        severity: `broken`, `will-fail`, `risk` or `note`.
        found: What was found, in one sentence.
        evidence: The facts behind it: paths, versions, exit codes.
        message: What users see when it fails, word for word; "" where nothing is printed.
        fix: What helps in this place, in one sentence.
        commands: The same as lines to type or to write.
        sure: How sure it is, and why.
        install: Requirements for pip that are the fix or a part of it.
        preload: Libraries to load by path in a notebook, as patterns below a folder of packages.
        source: Where others met it.
    """

    id: str
    severity: str
    found: str
    evidence: tuple[str, ...] = ()
    message: str = ""
    fix: str = ""
    commands: tuple[str, ...] = ()
    sure: str = ""
    install: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    source: tuple[str, ...] = ()


class Case(NamedTuple):
    """One patient.

    Attributes:
        seen: What the examination found.
        knows: What the doctor knows.
        for_gpu: Whether it is judged as if a GPU were here.
    """

    seen: Examination
    knows: Knowledge
    for_gpu: bool = False

    @property
    def gpu(self) -> bool:
        """Whether a GPU matters here: one can be seen, or will be there."""
        return self.for_gpu or bool(self.seen.driver.gpus)

    @property
    def notebook(self) -> bool:
        """Whether this is a notebook, where nobody can set a variable before Python starts."""
        return self.seen.place.kind in NOTEBOOKS

    @property
    def engine(self) -> str:
        """CTranslate2 and its version, in words."""
        return f"CTranslate2 {self.seen.version('ctranslate2')}".strip()

    def on_gpu(self, severity: str) -> str:
        """The severity of what fails on a GPU only."""
        return severity if self.gpu else NOTE

    def has(self, name: str, comparisons: str = "") -> bool:
        """Whether a distribution is installed, in a version that meets the comparisons."""
        version = self.seen.version(name)
        return bool(version) and (not comparisons or holds(version, comparisons))

    def copies(self, name: str) -> list[Copy]:
        """The copies on disk of the library with a soname."""
        return [copy for copy in self.seen.copies if copy.name == name]

    @property
    def packages(self) -> str:
        """The folder that packages are installed to."""
        engine = self.seen.ctranslate2
        named = [
            folder
            for folder in self.seen.python.folders
            if folder.endswith(("site-packages", "dist-packages"))
        ]
        home = engine.library.rpartition("/ctranslate2.libs/")[0] if engine else ""
        return home or (named[0] if named else "site-packages")

    def pip(self, *requirements: str) -> str:
        """The command that installs something, as one types it here."""
        quoted = " ".join(f'"{one}"' for one in requirements)
        return f"%pip install {quoted}" if self.notebook else f"pip install {quoted}"


def version_key(text: str) -> tuple[int, ...]:
    """The numbers of a driver's, CUDA's or glibc's version, for comparing."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def cannot_open(name: str) -> str:
    """The loader's words for a library that is not there."""
    return f"{name}: cannot open shared object file: No such file or directory"
