from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pytest

from builder.errors import CannotResolveError, CuveeError, EngineOrNetworkError
from builder.lock.uv import Candidate, Question, Refusal, Resolved, ask
from builder.shell import Finished
from builder.wheels import network

SAID = Path(__file__).with_name("uv_says")
"""What uv 0.13.9 says, and `old-*` what 0.9.0 said; the hosts of addresses are index.test and files.test."""

RESOLVED = "Resolved 2 packages in 101ms\n"
NOTHING = 'lock-version = "1.0"\ncreated-by = "uv"\nrequires-python = ">=3.11"\n'


def said(name: str) -> str:
    return (SAID / name).read_text(encoding="utf-8")


class RecordingShell:
    """A uv that answers every question alike, and remembers how it was started."""

    def __init__(self, err: str, code: int = 0, pylock: str = "") -> None:
        self.err, self.code, self.pylock = err, code, pylock
        self.argv: list[str] = []
        self.env: Mapping[str, str] = {}
        self.stdin: str | None = None
        self.files: dict[str, str] = {}

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
        del timeout, on_line
        assert cwd
        self.argv, self.env, self.stdin = list(argv), env or {}, stdin
        self.files = {path.name: path.read_text(encoding="utf-8") for path in cwd.iterdir()}
        if self.code == 0:
            Path(self.option("--output-file")).write_text(self.pylock, encoding="utf-8")
        return Finished(argv=tuple(argv), code=self.code, out="", err=self.err)

    def spawn(self, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> int:
        raise AssertionError((argv, log, env))

    def option(self, name: str) -> str:
        return self.argv[self.argv.index(name) + 1]


def question(**changes: object) -> Question:
    plain = {
        "requirements": ("ctranslate2==4.4.0", "docopt"),
        "as_of": date(2025, 1, 20),
        "python": "3.11",
        "glibc": "2.36",
    }
    return Question(**(plain | changes))  # type: ignore[arg-type] # a test changes one at a time


def asked(**changes: object) -> RecordingShell:
    """The shell after uv was asked, and found nothing to install."""
    shell = RecordingShell(RESOLVED, pylock=NOTHING)
    assert ask(question(**changes), "row x", shell) == ()
    return shell


def told(err: str, code: int = 1, pylock: str = "") -> CuveeError:
    with pytest.raises(CuveeError) as caught:
        ask(question(), "row x", RecordingShell(err, code, pylock))
    return caught.value


# The question


def test_as_of_is_the_midnight_after_that_day_in_utc_so_that_all_machines_agree() -> None:
    assert asked().option("--exclude-newer") == "2025-01-21T00:00:00Z"
    assert asked(as_of=date(2024, 12, 31)).option("--exclude-newer") == "2025-01-01T00:00:00Z"


def test_the_requirements_are_asked_on_standard_input() -> None:
    shell = asked()
    assert shell.argv[1:4] == ["pip", "compile", "-"]
    assert shell.stdin == "ctranslate2==4.4.0\ndocopt"


def test_the_question_is_for_the_rows_python_and_glibc_and_not_for_ours() -> None:
    shell = asked(python="3.13", glibc="2.41")
    assert shell.option("--python-version") == "3.13"
    assert shell.option("--python-platform") == "x86_64-manylinux_2_40"  # the newest that uv names
    assert asked(glibc="2.36").option("--python-platform") == "x86_64-manylinux_2_36"
    assert shell.env["UV_PYTHON_DOWNLOADS"] == "never"


def test_constraints_and_overrides_go_to_uv_as_such() -> None:
    shell = asked(constraints=("numpy<2", "av<14"), overrides=("pip==24.0",))
    assert shell.files[Path(shell.option("--constraints")).name] == "numpy<2\nav<14"
    assert shell.files[Path(shell.option("--overrides")).name] == "pip==24.0"


def test_without_constraints_and_overrides_uv_is_told_of_none() -> None:
    assert not {"--constraints", "--overrides", "--extra-index-url"} & set(asked().argv)


def test_packages_are_taken_without_what_they_require_only_when_asked_so() -> None:
    assert "--no-deps" in asked(alone=True).argv
    assert "--no-deps" not in asked().argv


def test_an_extra_index_is_asked_after_the_hosts_and_the_best_version_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://index.test/simple")
    shell = asked(index="https://index.test/cu121")
    assert shell.option("--default-index") == "https://index.test/cu121"  # to uv the default is the last
    assert shell.option("--extra-index-url") == "https://index.test/simple"
    assert shell.option("--index-strategy") == "unsafe-best-match"


def freed(*requirements: str, index: str | None = "https://index.test/cu121", **more: object) -> list[str]:
    """The packages that the day does not hold for."""
    option = "--exclude-newer-package="
    argv = asked(requirements=requirements, index=index, **more).argv
    return [word.removeprefix(option) for word in argv if word.startswith(option)]


def test_the_day_holds_for_all_but_what_is_pinned_to_a_local_version_of_an_extra_index() -> None:
    assert freed("torch==2.5.1+cu121", "whisperx==3.3.1", "Torch.Audio==2.5.1+cu121", "numpy") == [
        "torch=false",
        "torch-audio=false",
    ]
    assert freed("whisperx", overrides=("torch===2.5.1+cu121",)) == ["torch=false"]
    assert freed("torch>=2.5.1", "numpy==2.*", "whisperx!=3.3.1+cu121") == []
    assert freed("torch==2.5.1+cu121", index=None) == []


def test_uv_trusts_the_certificates_that_the_host_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert asked().env["SSL_CERT_FILE"] == str(bundle)


def test_where_the_host_names_no_certificates_uv_uses_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "CA_FILES", ())
    for name in network.CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert "SSL_CERT_FILE" not in asked().env


# The answer


def test_an_answer_names_every_file_with_its_hash_and_size_sorted_by_package() -> None:
    assert ask(question(), "row x", RecordingShell(RESOLVED, pylock=said("pylock.toml"))) == (
        Resolved(
            name="ctranslate2",
            version="4.4.0",
            wheels=(
                Candidate(
                    file="ctranslate2-4.4.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                    url="https://files.test/f3/ctranslate2-4.4.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                    sha256="7653f1f22da29bbb0ba5704ac27b1a3fbde1f34b2b65a703dd20f7e2331eb03c",
                    size=37422944,
                ),
            ),
            source=None,
        ),
        Resolved(
            name="docopt",
            version="0.6.2",
            wheels=(),
            source=Candidate(
                file="docopt-0.6.2.tar.gz",
                url="https://files.test/a2/docopt-0.6.2.tar.gz",
                sha256="49b3a825280bd66b3aa83585ef59c4a8c82f2c8a522dbe754a8bc8d08c85c491",
                size=25901,
            ),
        ),
    )


def test_a_files_name_is_the_plain_one_though_its_address_is_escaped_and_has_a_query() -> None:
    pylock = said("pylock.toml").replace("docopt-0.6.2.tar.gz", "docopt-0.6.2%2Bcu121.tar.gz?token=secret")
    answer = ask(question(), "row x", RecordingShell(RESOLVED, pylock=pylock))
    assert not isinstance(answer, Refusal)
    assert answer[1].source
    assert answer[1].source.file == "docopt-0.6.2+cu121.tar.gz"


@pytest.mark.parametrize(
    "name", ["no-such-version", "no-wheel", "no-wheel-for-glibc", "clash", "unknown", "old-clash"]
)
def test_that_there_is_no_solution_is_an_answer_and_no_error(name: str) -> None:
    trace = said(f"{name}.txt")
    assert ask(question(), "row x", RecordingShell(trace, 1)) == Refusal(trace=trace)


# Errors


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("unreachable", "Connection refused (os error 111)"),
        ("old-unreachable", "Connection refused (os error 111)"),
        ("no-host", "failed to lookup address information: Name or service not known"),
        ("503", "HTTP status server error (503 Service Unavailable)"),
    ],
)
def test_an_index_that_cannot_be_reached_is_the_networks_fault_told_by_its_innermost_cause(
    name: str, cause: str
) -> None:
    error = told(said(f"{name}.txt"), 2)
    assert (type(error), error.exit_code) == (EngineOrNetworkError, 5)
    [fault] = error.faults
    assert fault.place == "row x"
    assert fault.cause == f"the package index cannot be reached: {cause}; nothing was changed"
    assert fault.fix == ("Check the network, the proxy and the certificates (SSL_CERT_FILE), and try again")


@pytest.mark.parametrize(
    ("name", "answer"), [("locked-out", "401 Unauthorized"), ("old-locked-out", "403 Forbidden")]
)
def test_an_index_that_does_not_let_us_in_is_not_told_as_a_package_that_does_not_exist(
    name: str, answer: str
) -> None:
    error = told(said(f"{name}.txt"))
    assert (type(error), error.exit_code) == (EngineOrNetworkError, 5)
    [fault] = error.faults
    assert fault.place == "row x"
    assert fault.cause == f"numpy was not found, and a package index answered {answer}; nothing was changed"
    assert fault.fix == "Check the index's credentials, and the package's name"


def test_a_yanked_version_is_refused_though_uv_takes_it() -> None:
    error = told(said("yanked.txt"), 0, said("pylock.toml"))
    assert (type(error), error.exit_code) == (CannotResolveError, 4)
    [fault] = error.faults
    assert fault.place == "row x"
    assert fault.cause == "pyannote-audio==4.0.6 was yanked from the index"
    assert fault.fix == "Demand another version of it"


def test_every_yanked_version_is_told_with_the_reason_that_its_authors_gave() -> None:
    error = told(said("yanked.txt") + said("yanked-with-reason.txt"), 0, said("pylock.toml"))
    assert [fault.cause for fault in error.faults] == [
        "pyannote-audio==4.0.6 was yanked from the index",
        "requests==2.32.0 was yanked from the index: Yanked due to conflicts with CVE-2024-35195 mitigation",
    ]


def test_another_failure_of_uv_is_told_by_what_failed_and_why_without_its_log() -> None:
    error = told(said("build-failed.txt"))
    assert (type(error), error.exit_code) == (CannotResolveError, 4)
    [fault] = error.faults
    assert fault.place == "row x"
    assert fault.cause == (
        "uv failed: Failed to build `av==11.0.0`: Call to "
        "`setuptools.build_meta:__legacy__.get_requires_for_build_wheel` failed (exit status: 1)"
    )
    assert fault.fix == "See the demands of this row in the matrix"


def test_a_failure_with_one_cause_tells_it_once() -> None:
    [fault] = told("error: unexpected argument '--no-such-option' found\n", 2).faults
    assert fault.cause == "uv failed: unexpected argument '--no-such-option' found"


def test_a_uv_that_dies_in_silence_is_told_too() -> None:
    [fault] = told("", -9).faults
    assert fault.cause == "uv failed: it said nothing"


def test_a_size_that_the_index_does_not_give_is_left_open() -> None:
    pylock = said("pylock.toml").replace(", size = 25901", "")
    answer = ask(question(), "row x", RecordingShell(RESOLVED, pylock=pylock))
    assert not isinstance(answer, Refusal)
    assert answer[1].source
    assert answer[1].source.size is None


def test_a_file_without_a_hash_that_a_lock_could_name_is_told() -> None:
    head, docopt, rest = said("pylock.toml").partition('name = "docopt"')
    error = told(RESOLVED, 0, head + docopt + rest.replace("sha256", "md5", 1))
    [fault] = error.faults
    assert error.exit_code == 4
    assert fault.place == "docopt-0.6.2.tar.gz"
    assert fault.cause == "the index does not give its sha256, and a lock names each file by it"
    assert fault.fix == "Use an index that gives one: as #sha256=… in its links, or by the JSON API (PEP 691)"


@pytest.mark.parametrize(
    "name", ["unreachable", "old-unreachable", "no-host", "503", "locked-out", "old-locked-out"]
)
def test_no_error_tells_the_address_of_an_index(name: str) -> None:
    assert "://" in said(f"{name}.txt")
    assert "://" not in str(told(said(f"{name}.txt"), 2))
