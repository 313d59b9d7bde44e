from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pytest

from builder.errors import CannotResolveError, CuveeError, EngineOrNetworkError
from builder.lock.uv import Candidate, Question, Refusal, Resolved, ask
from builder.shell import Finished
from builder.wheels import network

# What uv 0.13.9 says. An index address is shortened to index.test, and a file's to files.test.

RESOLVED = "Resolved 2 packages in 101ms\n"
PYLOCK = """\
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"

[[packages]]
name = "docopt"
version = "0.6.2"
sdist = { url = "https://files.test/a2/docopt-0.6.2.tar.gz", upload-time = 2014-06-16T11:18:57Z, size = 25901, \
hashes = { sha256 = "49b3a825280bd66b3aa83585ef59c4a8c82f2c8a522dbe754a8bc8d08c85c491" } }

[[packages]]
name = "ctranslate2"
version = "4.4.0"
wheels = [{ url = "https://files.test/f3/ctranslate2-4.4.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",\
 upload-time = 2024-09-09T10:51:05Z, size = 37422944, \
hashes = { sha256 = "7653f1f22da29bbb0ba5704ac27b1a3fbde1f34b2b65a703dd20f7e2331eb03c" } }]
"""
NOTHING = 'lock-version = "1.0"\ncreated-by = "uv"\nrequires-python = ">=3.11"\n'

NO_SUCH_VERSION = """\
error: No solution found when resolving dependencies
  cause: Because there is no version of ctranslate2==4.9.0 and you require ctranslate2==4.9.0, we can conclude that \
your requirements are unsatisfiable.
"""
NO_WHEEL = """\
warning: The requested Python version 3.13 is not available; 3.11.7 will be used to build dependencies instead.
error: No solution found when resolving dependencies
  cause: Because ctranslate2==4.4.0 has no wheels with a matching Python ABI tag (e.g., `cp313`) and you require \
ctranslate2==4.4.0, we can conclude that your requirements are unsatisfiable.

hint: You require CPython 3.13 (`cp313`), but we only found wheels for `ctranslate2` (v4.4.0) with the following \
Python ABI tags: `cp38`, `cp39`, `cp310`, `cp311`, `cp312`
"""
CLASH = """\
error: No solution found when resolving dependencies
  cause: Because whisperx>=3.3.1 depends on ctranslate2<4.5.0 and you require ctranslate2==4.5.0, we can conclude \
that your requirements and whisperx>=3.3.1 are incompatible.
         And because you require whisperx==3.3.1, we can conclude that your requirements are unsatisfiable.
"""
UNKNOWN = """\
error: No solution found when resolving dependencies
  cause: Because no-such-package was not found in the package registry and you require no-such-package==1, we can \
conclude that your requirements are unsatisfiable.
"""
OLD_CLASH = """\
  × No solution found when resolving dependencies:
  ╰─▶ Because whisperx==3.3.1 depends on ctranslate2<4.5.0 and you require
      ctranslate2==4.5.0, we can conclude that your requirements and
      whisperx==3.3.1 are incompatible.
      And because you require whisperx==3.3.1, we can conclude that your
      requirements are unsatisfiable.
"""
UNREACHABLE = """\
error: Failed to fetch: http://127.0.0.1:9/simple/numpy/
  cause: error sending request for url (http://127.0.0.1:9/simple/numpy/)
  cause: client error (Connect)
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""
OLD_UNREACHABLE = """\
error: Failed to fetch: `http://127.0.0.1:9/simple/numpy/`
  Caused by: error sending request for url (http://127.0.0.1:9/simple/numpy/)
  Caused by: client error (Connect)
  Caused by: tcp connect error
  Caused by: Connection refused (os error 111)
"""
NO_HOST = """\
error: Failed to fetch: https://index.test/simple/numpy/
  cause: error sending request for url (https://index.test/simple/numpy/)
  cause: client error (Connect)
  cause: dns error
  cause: error resolving DNS
  cause: failed to lookup address information: Name or service not known
"""
LOCKED_OUT = """\
error: No solution found when resolving dependencies
  cause: Because numpy was not found in the package registry and you require numpy, we can conclude that your \
requirements are unsatisfiable.

hint: An index URL (http://index.test/simple) could not be queried due to a lack of valid authentication \
credentials (401 Unauthorized)
"""
OLD_LOCKED_OUT = """\
  × No solution found when resolving dependencies:
  ╰─▶ Because numpy was not found in the package registry and you require
      numpy, we can conclude that your requirements are unsatisfiable.

      hint: An index URL (http://index.test/simple) could not
      be queried due to a lack of valid authentication credentials (403
      Forbidden).
"""
YANKED = """\
Resolved 113 packages in 1.58s
warning: `pyannote-audio==4.0.6` is yanked
"""
YANKED_WITH_REASON = """\
Resolved 1 package in 55ms
warning: `requests==2.32.0` is yanked (reason: "Yanked due to conflicts with CVE-2024-35195 mitigation")
"""
BUILD_FAILED = """\
warning: The requested Python version 3.14 is not available; 3.11.7 will be used to build dependencies instead.
  cause: something beside the point
error: Failed to build `av==11.0.0`
  cause: The build backend returned an error
  cause: Call to `setuptools.build_meta:__legacy__.get_requires_for_build_wheel` failed (exit status: 1)

         [stderr]
         Package libavformat was not found in the pkg-config search path.

hint: `av` (v11.0.0) was included because `faster-whisper` (v1.0.0) depends on `av>=11.dev0, <12.dev0`
"""


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
    assert shell.option("--python-platform") == "x86_64-manylinux_2_41"
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


def test_an_extra_index_is_asked_beside_the_first_and_the_best_version_wins() -> None:
    shell = asked(index="https://index.test/cu121")
    assert shell.option("--extra-index-url") == "https://index.test/cu121"
    assert shell.option("--index-strategy") == "unsafe-best-match"


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
    assert ask(question(), "row x", RecordingShell(RESOLVED, pylock=PYLOCK)) == (
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
    pylock = PYLOCK.replace("docopt-0.6.2.tar.gz", "docopt-0.6.2%2Bcu121.tar.gz?token=secret")
    answer = ask(question(), "row x", RecordingShell(RESOLVED, pylock=pylock))
    assert not isinstance(answer, Refusal)
    assert answer[1].source
    assert answer[1].source.file == "docopt-0.6.2+cu121.tar.gz"


@pytest.mark.parametrize("trace", [NO_SUCH_VERSION, NO_WHEEL, CLASH, UNKNOWN, OLD_CLASH])
def test_that_there_is_no_solution_is_an_answer_and_no_error(trace: str) -> None:
    assert ask(question(), "row x", RecordingShell(trace, 1)) == Refusal(trace=trace)


# Errors


@pytest.mark.parametrize(
    ("err", "cause"),
    [
        (UNREACHABLE, "Connection refused (os error 111)"),
        (OLD_UNREACHABLE, "Connection refused (os error 111)"),
        (NO_HOST, "failed to lookup address information: Name or service not known"),
    ],
)
def test_an_index_that_cannot_be_reached_is_the_networks_fault_told_by_its_innermost_cause(
    err: str, cause: str
) -> None:
    error = told(err, 2)
    assert (type(error), error.exit_code) == (EngineOrNetworkError, 5)
    [fault] = error.faults
    assert fault.place == "row x"
    assert fault.cause == f"the package index cannot be reached: {cause}; nothing was changed"
    assert fault.fix == ("Check the network, the proxy and the certificates (SSL_CERT_FILE), and try again")


@pytest.mark.parametrize(
    ("err", "answer"), [(LOCKED_OUT, "401 Unauthorized"), (OLD_LOCKED_OUT, "403 Forbidden")]
)
def test_an_index_that_does_not_let_us_in_is_not_told_as_a_package_that_does_not_exist(
    err: str, answer: str
) -> None:
    error = told(err)
    assert (type(error), error.exit_code) == (EngineOrNetworkError, 5)
    [fault] = error.faults
    assert fault.place == "row x"
    assert fault.cause == f"numpy was not found, and a package index answered {answer}; nothing was changed"
    assert fault.fix == "Check the index's credentials, and the package's name"


def test_a_yanked_version_is_refused_though_uv_takes_it() -> None:
    error = told(YANKED, 0, PYLOCK)
    assert (type(error), error.exit_code) == (CannotResolveError, 4)
    [fault] = error.faults
    assert fault.place == "row x"
    assert fault.cause == "pyannote-audio==4.0.6 was yanked from the index"
    assert fault.fix == "Demand another version of it"


def test_every_yanked_version_is_told_with_the_reason_that_its_authors_gave() -> None:
    error = told(YANKED + YANKED_WITH_REASON, 0, PYLOCK)
    assert [fault.cause for fault in error.faults] == [
        "pyannote-audio==4.0.6 was yanked from the index",
        "requests==2.32.0 was yanked from the index: Yanked due to conflicts with CVE-2024-35195 mitigation",
    ]


def test_another_failure_of_uv_is_told_by_what_failed_and_why_without_its_log() -> None:
    error = told(BUILD_FAILED)
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


@pytest.mark.parametrize(("missing", "key"), [(", size = 25901", "size"), ("sha256", "sha256")])
def test_an_index_that_does_not_give_what_a_lock_needs_is_told(missing: str, key: str) -> None:
    other = "md5" if missing == "sha256" else ""
    head, docopt, rest = PYLOCK.partition('name = "docopt"')
    error = told(RESOLVED, 0, head + docopt + rest.replace(missing, other, 1))
    [fault] = error.faults
    assert error.exit_code == 4
    assert fault.place == "docopt-0.6.2.tar.gz"
    assert fault.cause == f"the index does not give its {key}"
    assert fault.fix == "Use an index that has the JSON API with sizes (PEP 700)"


def test_no_error_tells_the_address_of_an_index() -> None:
    for err in (UNREACHABLE, OLD_UNREACHABLE, NO_HOST, LOCKED_OUT, OLD_LOCKED_OUT):
        assert "://" not in str(told(err, 2)), json.dumps(err)
