from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from builder.abi.facts import Summary
from builder.errors import BadInputError, CannotResolveError, CuveeError, EngineOrNetworkError
from builder.lock.record import Lock, Package
from builder.lock.resolve import TOOLS, resolve
from builder.matrix import Row, parse
from builder.shell import Finished
from builder.wheels.remote import RemoteWheel, Wheel

SAID = Path(__file__).with_name("uv_says")

MATRIX = """\
bases:
  bookworm: {image: "debian:bookworm-slim", suite: bookworm, python: 3.11, glibc: 2.36, packages: [python3]}
defaults:
  base: bookworm
  python: 3.11
  ffmpeg: none
  source_archives:
    docopt: it has never had a wheel
rows:
  blend:
    summary: All there is
    as_of: 2025-01-20
    cuda: 12.1
    cudnn: 9.1
    torch: 2.4.1
    ctranslate2: 4.4.0
    requirements: [docopt]
    overlays:
      cudnn8:
        requirements: [nvidia-cudnn-cu12==8.9.7.29]
        because: CTranslate2 opens it by name
"""

WORLD: Mapping[str, Mapping[str, Sequence[str]]] = {
    "torch": {"2.4.1": ["cp310-cp310-manylinux1_x86_64.whl", "cp311-cp311-manylinux1_x86_64.whl"]},
    "ctranslate2": {
        "4.4.0": ["cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", ".tar.gz"],
        "4.5.0": ["cp312-cp312-manylinux_2_17_x86_64.whl", ".tar.gz"],
        "4.8.1": ["cp312-cp312-manylinux_2_17_x86_64.whl"],
    },
    "nvidia-cuda-runtime-cu12": {"12.1.105": ["py3-none-manylinux1_x86_64.whl"]},
    "nvidia-cublas-cu12": {"12.8.4.1": ["py3-none-manylinux_2_27_x86_64.whl"]},
    "nvidia-cudnn-cu12": {
        "8.9.7.29": ["py3-none-manylinux1_x86_64.whl"],
        "9.1.0.70": ["py3-none-manylinux2014_x86_64.whl"],
    },
    "docopt": {"0.6.2": [".tar.gz"]},
    "julius": {"0.2.7": [".tar.gz"]},
    **{name: {"1.0": ["py3-none-any.whl"]} for name in ("pip", *TOOLS)},
    "whisperx": {"3.3.1": ["py3-none-any.whl"]},
}
BRINGS = {"torch": ["nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12==9.1.0.70"]}


class Uv:
    """A uv over a world of a few files; it refuses some requirements, in the words that uv has for them.

    Attributes:
        asked: The command lines and requirements of all questions.
        hashes: Of files whose hash is not that of their name.
        without_size: Files whose size the index does not give.
    """

    def __init__(self, **refusals: str) -> None:
        self.refusals = {name.replace("_", "-"): words for name, words in refusals.items()}
        self.asked: list[tuple[list[str], list[str]]] = []
        self.hashes: dict[str, str] = {}
        self.without_size: set[str] = set()
        self.warning = ""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        del env, cwd, timeout, on_line
        lines = (stdin or "").splitlines()
        self.asked.append((list(argv), lines))
        if refused := self.refusal(lines):
            words = (SAID / f"{refused}.txt").read_text(encoding="utf-8")
            return Finished(argv=tuple(argv), code=1, out="", err=words)
        entries = dict(self._chosen(lines, alone="--no-deps" in argv))
        pylock = "".join(self._entry(name, version) for name, version in entries.items())
        Path(argv[argv.index("--output-file") + 1]).write_text(pylock, encoding="utf-8")
        return Finished(argv=tuple(argv), code=0, out="", err=self.warning)

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))

    def refusal(self, lines: Sequence[str]) -> str | None:
        """The name of the file with what it says to these requirements, if it refuses them."""
        return next((self.refusals[line] for line in lines if line in self.refusals), None)

    def _chosen(self, lines: Sequence[str], *, alone: bool) -> Iterator[tuple[str, str]]:
        for wanted in map(Requirement, lines):
            name = canonicalize_name(wanted.name)
            yield name, max(wanted.specifier.filter(WORLD[name]), key=Version)
            if not alone:
                yield from self._chosen(BRINGS.get(name, []), alone=False)

    def _entry(self, name: str, version: str) -> str:
        stem = f"{name.replace('-', '_')}-{version}"
        wheels = [f"{stem}-{end}" for end in WORLD[name][version] if end.endswith(".whl")]
        sources = [f"{stem}{end}" for end in WORLD[name][version] if not end.endswith(".whl")]
        listed = f"wheels = [{', '.join(map(self._file, wheels))}]\n" if wheels else ""
        sdist = f"sdist = {self._file(sources[0])}\n" if sources else ""
        return f'[[packages]]\nname = "{name}"\nversion = "{version}"\n{listed}{sdist}\n'

    def _file(self, name: str) -> str:
        sha256 = self.hashes.get(name, sha256_of(name))
        size = "" if name in self.without_size else f"size = {len(name)}, "
        return f'{{url = "https://files.test/{name}", {size}hashes = {{sha256 = "{sha256}"}}}}'


class ClashingUv(Uv):
    """A uv that refuses requirements only where they are demanded together."""

    def __init__(self, *together: str) -> None:
        super().__init__()
        self.together = set(together)

    def refusal(self, lines: Sequence[str]) -> str | None:
        return "clash" if self.together <= set(lines) else None


def sha256_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(autouse=True)
def harvested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Files that facts were asked of; the one place where wheels would be read over the network."""
    files: list[str] = []

    def summarise(file: str, wheel: Wheel) -> Summary:
        assert isinstance(wheel, RemoteWheel)
        assert wheel.name == file
        files.append(file)
        return Summary(opens=(file,))

    monkeypatch.setattr("builder.lock.resolve.summarise", summarise)
    monkeypatch.setenv("CUVEE_CACHE", str(tmp_path))
    return files


def row(**changes: str) -> Row:
    """The row, with lines of it replaced: `row(cuda="12.4")`; a key that is not there is added."""
    lines = MATRIX.splitlines()
    for key, value in changes.items():
        found = next((number for number, line in enumerate(lines) if line.startswith(f"    {key}:")), None)
        lines[found or len(lines) : found + 1 if found else len(lines)] = [f"    {key}: {value}"]
    return parse("\n".join(lines)).rows[0]


def told(asked: Row, uv: Uv | None = None, previous: Lock | None = None) -> list[tuple[str, str, str]]:
    with pytest.raises(CannotResolveError) as caught:
        resolve(asked, previous, uv or Uv())
    assert caught.value.exit_code == 4
    return [(fault.place, fault.cause, fault.fix) for fault in caught.value.faults]


def versions(packages: Sequence[Package]) -> dict[str, str]:
    return {package.name: package.version for package in packages}


# What a lock has


def test_a_row_resolves_to_all_its_packages_with_overlays_and_tools_apart() -> None:
    lock = resolve(row(), shell=Uv())
    assert [part.name for part in lock.environments] == ["main"]
    assert versions(lock.main.packages) == {
        "ctranslate2": "4.4.0",
        "docopt": "0.6.2",
        "nvidia-cuda-runtime-cu12": "12.1.105",
        "nvidia-cudnn-cu12": "9.1.0.70",
        "pip": "1.0",
        "torch": "2.4.1",
    }
    assert [(part.name, versions(part.packages)) for part in lock.overlays] == [
        ("cudnn8", {"nvidia-cudnn-cu12": "8.9.7.29"})
    ]
    assert versions(lock.tools) == dict.fromkeys(TOOLS, "1.0")
    assert [package.name for package in lock.main.packages] == sorted(versions(lock.main.packages))


def test_a_lock_says_what_it_was_made_for() -> None:
    lock = resolve(row(), shell=Uv())
    assert (lock.row, lock.as_of, lock.base, lock.python) == ("blend", "2025-01-20", "bookworm", "3.11")
    assert lock.fingerprint == row().fingerprint()


def test_the_same_row_in_the_same_world_gives_the_same_lock() -> None:
    assert resolve(row(), shell=Uv()).text() == resolve(row(), shell=Uv()).text()


def test_every_file_that_was_chosen_and_no_other_is_asked_for_its_facts(harvested: list[str]) -> None:
    lock = resolve(row(), shell=Uv())
    chosen = [package.file for package in (*lock.packages(), *lock.tools)]
    assert sorted(harvested) == sorted(chosen)
    assert all(package.facts.opens == (package.file,) for package in lock.packages())
    torch = lock.main.package("torch")
    assert torch
    assert torch.file == "torch-2.4.1-cp311-cp311-manylinux1_x86_64.whl"
    assert (torch.sha256, torch.size) == (sha256_of(torch.file), len(torch.file))


def test_overlays_and_tools_are_taken_without_what_they_require_and_the_environment_with_it() -> None:
    uv = Uv()
    resolve(row(), shell=uv)
    alone = {lines[0]: "--no-deps" in argv for argv, lines in uv.asked}
    assert alone == {"torch==2.4.1": False, "nvidia-cudnn-cu12==8.9.7.29": True, "uv": True}


def test_every_question_is_put_as_of_the_rows_day_and_for_its_python_and_glibc() -> None:
    uv = Uv()
    resolve(row(), shell=uv)
    assert len(uv.asked) == 3
    for argv, _ in uv.asked:
        assert argv[argv.index("--exclude-newer") + 1] == "2025-01-21T00:00:00Z"
        assert argv[argv.index("--python-version") + 1] == "3.11"
        assert argv[argv.index("--python-platform") + 1] == "x86_64-manylinux_2_36"


# Files


def test_a_package_without_a_wheel_is_built_only_where_the_row_allows_it() -> None:
    docopt = resolve(row(), shell=Uv()).main.package("docopt")
    assert docopt
    assert docopt.is_source
    assert told(row(requirements="[docopt, julius]")) == [
        (
            "matrix.yaml:7 defaults.source_archives",
            "julius 0.2.7 exists only as a source archive for Python 3.11",
            (
                "Demand a version with a wheel (a constraint or an override), or, if it builds without a "
                "compiler, add julius to source_archives with the reason"
            ),
        )
    ]


def test_a_wheel_is_taken_though_the_source_archive_is_allowed() -> None:
    allowed = row(source_archives="{ctranslate2: why, docopt: why}")
    ctranslate2 = resolve(allowed, shell=Uv()).main.package("ctranslate2")
    assert ctranslate2
    assert not ctranslate2.is_source


def test_a_version_with_wheels_for_other_pythons_alone_is_refused() -> None:
    assert told(row(ctranslate2="4.8.1")) == [
        (
            "matrix.yaml:7 defaults.source_archives",
            "ctranslate2 4.8.1 has no wheel for Python 3.11 on glibc 2.36",
            "Demand another version",
        )
    ]


def test_all_packages_without_a_file_are_told_at_once() -> None:
    faults = told(row(ctranslate2="4.5.0", requirements="[docopt, julius]", source_archives="{}"))
    assert [cause.split()[0] for _, cause, _ in faults] == ["ctranslate2", "docopt", "julius"]


# What the row says of CUDA and cuDNN


@pytest.mark.parametrize(
    ("key", "said", "cause", "fix"),
    [
        (
            "cuda",
            "12.4",
            "the row says 12.4, its wheels bring 12.1",
            "Write cuda: 12.1, or demand other versions",
        ),
        (
            "cudnn",
            "8.9",
            "the row says 8.9, its wheels bring 9.1",
            "Write cudnn: 9.1, or demand other versions",
        ),
        (
            "cudnn",
            "null",
            "the row says none, its wheels bring 9.1",
            "Write cudnn: 9.1, or demand other versions",
        ),
    ],
)
def test_another_cuda_or_cudnn_than_the_wheels_bring_is_refused_with_the_right_one(
    key: str, said: str, cause: str, fix: str
) -> None:
    wrong = row(**{key: said})
    assert told(wrong) == [(wrong.place(key), cause, fix)]
    assert wrong.place(key).endswith(f" rows.blend.{key}")


def test_a_cudnn_that_no_wheel_brings_is_refused_though_an_overlay_has_it() -> None:
    assert told(row(torch="null", cuda="12.8", requirements="[docopt, nvidia-cublas-cu12]")) == [
        (
            "matrix.yaml:14 rows.blend.cudnn",
            "the row says 9.1, its wheels bring none",
            "Write cudnn: null, or demand other versions",
        )
    ]


def test_cuda_is_that_of_cublas_where_no_wheel_brings_the_runtime() -> None:
    small = row(torch="null", cudnn="null", cuda="12.8", requirements="[nvidia-cublas-cu12]")
    assert resolve(small, shell=Uv()).main.package("nvidia-cublas-cu12")


def test_both_cuda_and_cudnn_are_told_at_once() -> None:
    assert [place.split(".")[-1] for place, _, _ in told(row(cuda="12.4", cudnn="8.9"))] == ["cuda", "cudnn"]


# Files that have changed


@pytest.mark.parametrize(
    "file",
    [
        "torch-2.4.1-cp311-cp311-manylinux1_x86_64.whl",
        "nvidia_cudnn_cu12-8.9.7.29-py3-none-manylinux1_x86_64.whl",
        "uv-1.0-py3-none-any.whl",
        "docopt-0.6.2.tar.gz",
    ],
)
def test_a_file_whose_hash_has_changed_since_the_last_lock_is_refused_with_both_hashes(file: str) -> None:
    previous, uv = resolve(row(), shell=Uv()), Uv()
    uv.hashes[file] = "e" * 64
    assert told(row(), uv, previous) == [
        (
            file,
            f"its sha256 was {sha256_of(file)} when row blend was locked and is {'e' * 64} now",
            "Do not install it; compare with another mirror, and tell the package's authors",
        )
    ]


def test_another_file_than_in_the_last_lock_is_no_changed_one() -> None:
    lock = resolve(row(), shell=Uv())
    older = dataclasses.replace(
        lock, tools=(dataclasses.replace(lock.tools[0], file="uv-0.9-py3.whl", sha256=""),)
    )
    assert resolve(row(), older, Uv()) == lock


# Rows that cannot be resolved


def test_a_version_that_does_not_exist_is_told_at_its_line_with_the_nearest() -> None:
    assert told(row(ctranslate2="4.9.0"), Uv(**{"ctranslate2==4.9.0": "no-such-version"})) == [
        (
            "matrix.yaml:16 rows.blend.ctranslate2",
            "ctranslate2==4.9.0 does not exist as of 2025-01-20",
            "Nearest: 4.8.1",
        )
    ]


def test_an_overlays_version_that_does_not_exist_is_told_at_the_overlay() -> None:
    wrong = parse(MATRIX.replace("8.9.7.29", "8.9.8.1")).rows[0]
    assert told(wrong, Uv(**{"nvidia-cudnn-cu12==8.9.8.1": "no-such-version"})) == [
        (
            "matrix.yaml:19 rows.blend.overlays.cudnn8",
            "nvidia-cudnn-cu12==8.9.8.1 does not exist as of 2025-01-20",
            "Nearest: 8.9.7.29",
        )
    ]


def test_a_clash_is_told_with_the_lines_of_the_matrix() -> None:
    clashing = row(ctranslate2="4.5.0", requirements="[whisperx==3.3.1]")
    [(place, cause, fix)] = told(clashing, ClashingUv("ctranslate2==4.5.0", "whisperx==3.3.1"))
    assert place == "matrix.yaml:16 rows.blend.ctranslate2"
    assert cause == (
        "ctranslate2==4.5.0 clashes with whisperx==3.3.1 (matrix.yaml:17 rows.blend.requirements[0])"
        " (as of 2025-01-20)"
    )
    assert fix == "Change one of them; the others would go with ctranslate2 4.8.1 or whisperx 3.3.1"


def test_a_yanked_version_is_refused() -> None:
    uv = Uv()
    uv.warning = (SAID / "yanked.txt").read_text(encoding="utf-8")
    assert told(row(), uv) == [
        ("row blend", "pyannote-audio==4.0.6 was yanked from the index", "Demand another version of it")
    ]


def test_an_index_that_cannot_be_reached_is_no_lack_of_a_solution() -> None:
    with pytest.raises(EngineOrNetworkError) as caught:
        resolve(row(), shell=Uv(docopt="unreachable"))
    [fault] = caught.value.faults
    assert caught.value.exit_code == 5
    assert fault.place == "row blend"
    assert fault.cause.startswith("the package index cannot be reached: Connection refused")
    assert fault.fix.startswith("Check the network")


def test_nothing_is_read_from_wheels_before_all_of_the_row_has_a_solution(harvested: list[str]) -> None:
    with pytest.raises(CuveeError):
        resolve(row(), shell=Uv(setuptools="unknown"))
    assert harvested == []


# A further index


def test_a_further_index_is_asked_for_the_environment_but_not_for_tools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUVEE_INDEX_PYTORCH_CU121", "https://index.test/cu121")
    uv = Uv()
    lock = resolve(row(index="pytorch-cu121"), shell=uv)
    assert [argv[argv.index("--default-index") + 1] for argv, _ in uv.asked[:1]] == [
        "https://index.test/cu121"
    ]
    assert "--default-index" not in uv.asked[-1][0], "it builds with tools of another index"
    assert "index.test" not in lock.text()


def test_a_size_that_the_index_does_not_give_is_asked_of_the_server_for_the_chosen_file_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def size_of(session: object, name: str, url: str) -> int:
        assert session
        assert url == f"https://files.test/{name}"
        asked.append(name)
        return 1234

    monkeypatch.setattr("builder.lock.resolve.size_of", size_of)
    uv = Uv()
    uv.without_size.add("torch-2.4.1-cp310-cp310-manylinux1_x86_64.whl")
    uv.without_size.add("torch-2.4.1-cp311-cp311-manylinux1_x86_64.whl")
    torch = resolve(row(), shell=uv).main.package("torch")
    assert torch
    assert (torch.size, asked) == (1234, [torch.file])


def test_a_further_index_without_an_address_is_told_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUVEE_INDEX_PYTORCH_CU121", raising=False)
    uv = Uv()
    with pytest.raises(BadInputError) as caught:
        resolve(row(index="pytorch-cu121"), shell=uv)
    [fault] = caught.value.faults
    assert fault.place == "matrix.yaml:22 rows.blend.index"
    assert "the address of index 'pytorch-cu121' is not known" in fault.cause
    assert fault.fix == "Set CUVEE_INDEX_PYTORCH_CU121 to it"
    assert uv.asked == []
