from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from builder.engines import buildkit
from builder.engines.base import BaseImage
from builder.engines.buildkit import Progress, arguments, build, index_exports, require_room, secrets
from builder.engines.docker import DockerEngine
from builder.errors import BadInputError, EngineOrNetworkError, Fault
from builder.layering import Layer
from builder.lock.record import Package
from builder.plan import Plan
from builder.shell import Finished

SAYINGS = Path(__file__).with_name("buildkit_says")
"""What BuildKit 0.13 said of real builds; mounts are left out, and hosts have names under .test."""

BASE = BaseImage(reference="cuvee-base:bookworm", id="sha256:0", origin="the engine's own")
MAIN = PurePosixPath("/opt/cuvee/main")
HOST_SETTINGS = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "CUVEE_INDEX_EXTRA"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"),
)


@pytest.fixture(autouse=True)
def _bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in HOST_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    (tmp_path / "ca.pem").write_text("certificates")


def layer(name: str, count: int, size: int, kind: Literal["chain", "beside"] = "chain") -> Layer:
    packages = tuple(
        Package(
            name=f"{name}-{number}",
            version="1",
            file=f"{name}_{number}-1-py3-none-any.whl",
            sha256="0" * 64,
            size=size // count,
        )
        for number in range(count)
    )
    return Layer(name=name, kind=kind, prefix=MAIN, packages=packages)


def plan(*layers: Layer, index: str | None = None, row: str = "cu121") -> Plan:
    return Plan(
        row=row,
        summary="a blend",
        base_image="debian:bookworm-slim",
        base_packages=(),
        system_packages=(),
        suite="bookworm",
        suites=(),
        index=index,
        python="3.11",
        environments=(),
        layers=layers,
        tools=(),
        loader=(),
        links=(),
        environment=(),
        labels=(),
    )


CU121 = plan(
    layer("cuda", 11, 1_144_000_000),
    layer("cudnn", 1, 665_000_000),
    layer("torch", 3, 1_010_000_000),
    layer("overlay-cudnn8", 1, 705_000_000, "beside"),
    layer("rest", 102, 280_000_000, "beside"),
)
SMALL = plan(layer("cuda", 1, 594_000_000), layer("rest", 2, 132_000_000, "beside"), row="asr-cu12")


class Said:
    """A shell whose docker client says what BuildKit once said."""

    def __init__(self, text: str, code: int) -> None:
        self.text = text
        self.code = code
        self.argv: tuple[str, ...] = ()
        self.secrets: dict[str, str] = {}

    def run(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None] | None = None,
        **_: Any,
    ) -> Finished:
        self.argv = tuple(argv)
        for word in argv:
            if found := re.fullmatch(r"id=(\w+),src=(.+)", word):
                self.secrets[found[1]] = Path(found[2]).read_text(encoding="utf-8")
        for line in self.text.splitlines():
            assert on_line
            on_line(line)
        return Finished(argv=self.argv, code=self.code, out=self.text, err="")

    def spawn(self, *_: Any, **__: Any) -> int:
        raise AssertionError("a build starts no daemon")


def client(
    storage: str = "overlay2", root: str = "/nowhere", base_url: str = "http+docker://localhost"
) -> Any:
    """A docker client that knows one image, `cuvee:…`, and where the engine keeps it."""
    image = SimpleNamespace(
        id="sha256:1", attrs={"Size": 5, "RootFS": {"Layers": ["a", "b"]}}, labels={"cuvee.row": "r"}
    )
    info = {
        "ServerVersion": "26.1.5",
        "Driver": storage,
        "OperatingSystem": "Debian",
        "KernelVersion": "6",
        "NCPU": 2,
        "DockerRootDir": root,
    }
    return SimpleNamespace(
        api=SimpleNamespace(base_url=base_url),
        images=SimpleNamespace(get=lambda _: image, prune=lambda **_: {"SpaceReclaimed": 0}),
        info=lambda: info,
    )


def engine(shell: Said | None = None, network: str | None = None, **about: str) -> DockerEngine:
    environment = {"DOCKER_HOST": "unix:///engine.sock"} if network else {}
    return DockerEngine(client(**about), environment, network, shell or Said("", 0))


def saying(name: str) -> str:
    return (SAYINGS / f"{name}.log").read_text(encoding="utf-8")


def heard(name: str, of: Plan) -> list[str]:
    lines: list[str] = []
    progress = Progress(of, lines.append)
    for line in saying(name).splitlines():
        progress.line(line)
    return lines


def failed(text: str, of: Plan = SMALL) -> Fault:
    with pytest.raises(EngineOrNetworkError) as caught:
        build(of, Path("images/row"), BASE, engine(Said(text, 1)), lambda _: None)
    [fault] = caught.value.faults
    return fault


class TestProgress:
    def test_each_layer_is_told_once_when_it_is_done_with_its_size_and_time(self) -> None:
        assert heard("cu121", CU121) == [
            "base (cached)",
            "tools (12.2 s)",
            "overlay-cudnn8: 1 package, 705 MB (5.7 s)",
            "cuda: 11 packages, 1144 MB (21.5 s)",
            "rest: 102 packages, 280 MB (47.1 s)",
            "cudnn: 1 package, 665 MB (31.3 s)",
            "torch: 3 packages, 1010 MB (73.5 s)",
            "image (25.7 s)",
        ]

    def test_a_layer_from_the_cache_is_told_as_cached(self) -> None:
        assert heard("cached", SMALL) == [
            "base (cached)",
            "tools (cached)",
            "cuda: 1 package, 594 MB (cached)",
            "rest: 2 packages, 132 MB (0.5 s)",
            "image (0.0 s)",
        ]

    def test_a_layer_that_failed_or_was_given_up_is_not_told_as_done(self) -> None:
        assert heard("hash-uv-0.5", SMALL) == ["base (cached)", "tools (cached)"]

    def test_verbose_says_every_line_of_buildkits_and_nothing_else(self) -> None:
        lines: list[str] = []
        shell = Said(saying("cached"), 0)
        build(SMALL, Path("images/row"), BASE, engine(shell), lines.append, verbose=True)
        assert lines == saying("cached").splitlines()

    def test_a_build_that_worked_is_told_as_the_engine_has_it(self) -> None:
        built = build(SMALL, Path("images/row"), BASE, engine(Said(saying("cached"), 0)), lambda _: None)
        assert (built.tag, built.id, built.size, built.layers) == ("cuvee:asr-cu12", "sha256:1", 5, 2)


MAKE_ROOM = "Run `cuvee clean` or `docker system prune` to make room, and build again"
OTHER_MIRROR = "A file on the index is not the locked one: do not use that mirror"
NETWORK = "Check the network and the proxy (HTTPS_PROXY, UV_DEFAULT_INDEX), and build again"
CERTIFICATES = "Set SSL_CERT_FILE to the CA bundle of your network, and build again"
CREDENTIALS = "Check the user and the password in UV_DEFAULT_INDEX, and build again"
NOT_ON_INDEX = "Use an index that mirrors all of PyPI (UV_DEFAULT_INDEX), or lock the row again"
NO_COMPILER = "Demand a version that has a wheel: a base has no compiler"
NO_HEADERS = "Demand a version that has a wheel: a base is no place to compile"
ENGINE = "See the engine's log, start it again (`make engine` for the private one), and build again"

NO_SUCH_HOST = "failed to lookup address information: Name or service not known"
NO_CERTIFICATE = "invalid peer certificate: UnknownIssuer"
UNAUTHORIZED = (
    "No solution found when resolving dependencies: An index URL (http://index.test/simple) could not be "
    "queried due to a lack of valid authentication credentials (401 Unauthorized)"
)
MISSING = (
    "No solution found when resolving dependencies: Because there is no version of idna==3.10.99 and you "
    "require idna==3.10.99, we can conclude that your requirements are unsatisfiable"
)
NO_SETUPTOOLS = (
    "Could not find a version that satisfies the requirement setuptools==84.2.1 (from versions: none)"
)
NO_HEADER = (
    "Failed to build `regex==2024.11.6`: "
    "regex_3/_regex.c:50:10: fatal error: Python.h: No such file or directory"
)


class TestFailures:
    @pytest.mark.parametrize(
        ("name", "step", "cause", "fix"),
        [
            (
                "full-uv-0.13",
                "cuda",
                (
                    "Failed to download `six==1.17.0`: failed to write to file "
                    "`/root/.cache/uv/.tmpMIuWqV/six-1.17.0.dist-info/LICENSE`: "
                    "No space left on device (os error 28)"
                ),
                MAKE_ROOM,
            ),
            (
                "full-uv-0.5",  # it breaks its lines in the middle of the words that matter
                "cuda",
                (
                    "Failed to download `six==1.17.0`: failed to flush file "
                    "`/root/.cache/uv/.tmp23Z0Rv/six.py`: No space left on device (os error 28)"
                ),
                MAKE_ROOM,
            ),
            (
                "full-copy",
                "[stage-4 1/2] COPY --link --from=rest /opt/cuvee/main /opt/cuvee/main",
                "failed to copy files: copy file range failed: no space left on device",
                MAKE_ROOM,
            ),
            (
                "hash-uv-0.13",
                "rest",
                "Failed to download `idna==3.10`: Hash mismatch for `idna==3.10`",
                OTHER_MIRROR,
            ),
            (
                "hash-uv-0.5",
                "rest",
                "Failed to download `idna==3.10`: Hash mismatch for `idna==3.10`",
                OTHER_MIRROR,
            ),
            (
                "hash-pip",
                "tools",
                (
                    "THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated "
                    "the package versions, please update the hashes. Otherwise, examine the package "
                    "contents carefully; someone may have tampered with them"
                ),
                OTHER_MIRROR,
            ),
            (
                "dns-uv-0.13",
                "rest",
                f"Failed to fetch: https://index.test/simple/idna/: {NO_SUCH_HOST}",
                NETWORK,
            ),
            (
                "dns-uv-0.5",
                "rest",
                f"Failed to fetch: `https://index.test/simple/idna/`: {NO_SUCH_HOST}",
                NETWORK,
            ),
            (
                "dns-pip",
                "tools",
                (
                    f"{NO_SETUPTOOLS}: Failed to establish a new connection: "
                    "[Errno -2] Name or service not known"
                ),
                NETWORK,
            ),
            (
                "dns-apt",
                "base",
                (
                    "Failed to fetch http://security.test/debian-security/dists/bookworm-security/InRelease  "
                    "Temporary failure resolving 'security.test'"
                ),
                NETWORK,
            ),
            (
                "no-base",
                "[internal] load metadata for debian:bookworm-slim",
                (
                    "failed to do request: "
                    'Head "https://registry.test/v2/library/debian/manifests/bookworm": '
                    "dial tcp: lookup registry.test on 192.0.2.53:53: no such host"
                ),
                NETWORK,
            ),
            (
                "refused-uv-0.13",
                "rest",
                "Failed to fetch: http://index.test/simple/idna/: Connection refused (os error 111)",
                NETWORK,
            ),
            (
                "tls-uv-0.13",
                "rest",
                f"Failed to fetch: https://index.test/simple/idna/: {NO_CERTIFICATE}",
                CERTIFICATES,
            ),
            (
                "tls-uv-0.5",
                "rest",
                f"Failed to fetch: `https://index.test/simple/idna/`: {NO_CERTIFICATE}",
                CERTIFICATES,
            ),
            (
                "tls-pip",
                "tools",
                (
                    f"{NO_SETUPTOOLS}: certificate verify failed: "
                    "self-signed certificate in certificate chain (_ssl.c:992)"
                ),
                CERTIFICATES,
            ),
            ("unauthorized-uv-0.13", "rest", UNAUTHORIZED, CREDENTIALS),
            ("unauthorized-uv-0.5", "rest", UNAUTHORIZED, CREDENTIALS),
            ("missing-uv-0.13", "rest", MISSING, NOT_ON_INDEX),
            ("missing-uv-0.5", "rest", MISSING, NOT_ON_INDEX),
            (
                "no-compiler-uv-0.13",
                "rest",
                (
                    "Failed to build `regex==2024.11.6`: "
                    "[Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'"
                ),
                NO_COMPILER,
            ),
            (
                "no-compiler-uv-0.5",
                "rest",
                (
                    "Failed to build `regex==2024.11.6`: "
                    "command 'x86_64-linux-gnu-gcc' failed: No such file or directory"
                ),
                NO_COMPILER,
            ),
            ("no-header-uv-0.13", "rest", NO_HEADER, NO_HEADERS),
            ("no-header-uv-0.5", "rest", NO_HEADER, NO_HEADERS),
            (
                "no-package-apt",
                "base",
                "Unable to locate package nonesuch-package",
                "See the base's packages in matrix.yaml: its suite does not have this one",
            ),
            (
                "killed",
                "rest",
                "exit code: 137",
                "It was killed: give the engine's machine more memory, and build again",
            ),
            (
                "engine-died",
                None,
                (
                    "failed to receive status: rpc error: code = Unavailable "
                    "desc = error reading from server: EOF"
                ),
                ENGINE,
            ),
            (
                "engine-dead",
                None,
                (
                    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. "
                    "Is the docker daemon running"
                ),
                ENGINE,
            ),
        ],
    )
    def test_a_failed_build_tells_the_step_the_real_cause_and_what_to_do(
        self, name: str, step: str | None, cause: str, fix: str
    ) -> None:
        fault = failed(saying(name))
        assert fault.place == (f"docker build, {step}" if step else "docker build")
        assert fault.cause == cause
        assert fault.fix == fix

    def test_every_saying_is_looked_at(self) -> None:
        [cases] = (
            mark.args[1]
            for mark in self.test_a_failed_build_tells_the_step_the_real_cause_and_what_to_do.pytestmark  # type: ignore[attr-defined]
        )
        looked_at = {case[0] for case in cases} | {"cu121", "cached"}
        assert looked_at == {path.stem for path in SAYINGS.glob("*.log")}

    @pytest.mark.parametrize("noise", ["typeerror", "certificates", "connection-refused", "Caused-by-error"])
    @pytest.mark.parametrize("name", ["hash-uv-0.5", "no-compiler-uv-0.13", "killed", "engine-died"])
    def test_a_package_that_is_called_like_an_error_is_none(self, name: str, noise: str) -> None:
        clean = failed(saying(name))
        line = re.compile(r"^(#\d+ [\d.]+) Using Python 3\.11\.2.*$", re.MULTILINE)
        loud = line.sub(rf"\g<0>\n\1    Building {noise}==1.0\n\1  + {noise}==1.0", saying(name))
        assert loud.count(noise) >= 2
        assert failed(loud) == clean

    def test_options_and_files_that_are_called_like_errors_are_none(self) -> None:
        # gcc's command line has -Werror=format-security.
        assert "-Werror" in saying("no-compiler-uv-0.13")
        assert "-Werror" not in failed(saying("no-compiler-uv-0.13")).cause

    def test_a_cause_that_nobody_knows_yet_is_told_and_more_is_a_command_away(self) -> None:
        text = "#7 [rest 1/1] RUN x\n#7 0.1 fine\n#7 0.2 error: the vat is empty\n#7 ERROR: process x\n"
        assert failed(text) == Fault(
            place="docker build, rest",
            cause="the vat is empty",
            fix="Run `cuvee --verbose build asr-cu12` to see all that BuildKit says",
        )

    def test_an_exception_in_a_build_backend_is_the_cause(self) -> None:
        text = (
            "#7 [rest 1/1] RUN x\n#7 0.2   \u00d7 Failed to build `docopt==0.6.2`\n"
            "#7 0.2   ╰─▶ The build backend returned an error\n#7 0.2\n"
            "#7 0.2       Traceback (most recent call last):\n"
            "#7 0.2       ModuleNotFoundError: No module named 'setuptools'\n#7 ERROR: process x\n"
        )
        cause = "Failed to build `docopt==0.6.2`: ModuleNotFoundError: No module named 'setuptools'"
        assert failed(text).cause == cause

    @pytest.mark.parametrize(
        ("text", "place", "cause"),
        [
            ("", "docker build", "it said nothing"),
            ("\n \n", "docker build", "it said nothing"),
            ("#1 transferring dockerfile\nodd words\n", "docker build", "odd words"),
            (
                '#7 [rest 1/1] RUN x\n#7 ERROR: process "x" did not complete successfully: exit code: 3\n',
                "docker build, rest",
                'process "x" did not complete successfully: exit code: 3',
            ),
        ],
    )
    def test_a_build_that_says_little_still_has_place_cause_and_next_step(
        self, text: str, place: str, cause: str
    ) -> None:
        fix = "Run `cuvee --verbose build asr-cu12` to see all that BuildKit says"
        assert failed(text) == Fault(place=place, cause=cause, fix=fix)

    def test_a_long_step_is_cut(self) -> None:
        text = f"#7 [stage-6 3/3] RUN {'word ' * 50}\n#7 ERROR: odd\n"
        assert len(failed(text).place) < 100
        assert failed(text).place.endswith(" …")

    @pytest.mark.parametrize(
        "says",
        [
            "unknown flag: --progress\nSee 'docker --help'.\n",  # docker 26 without the plugin
            "docker: 'buildx' is not a docker command.\nSee 'docker --help'\n",
            "docker: unknown command: docker buildx\n",
        ],
    )
    def test_a_client_without_buildx_is_told_what_to_install(self, says: str) -> None:
        assert failed(says) == Fault(
            place="docker buildx",
            cause="there is no `docker` client with buildx on the path",
            fix="Install it: the package docker-buildx of Debian, or docker-buildx-plugin of Docker",
        )

    def test_a_missing_client_is_told_what_to_install(self) -> None:
        class Missing(Said):
            def run(self, argv: Sequence[str], **_: Any) -> Finished:
                raise FileNotFoundError(argv[0])

        with pytest.raises(EngineOrNetworkError) as caught:
            build(SMALL, Path("images/row"), BASE, engine(Missing("", 0)), lambda _: None)
        [fault] = caught.value.faults
        assert fault.place == "docker buildx"
        assert fault.cause == "there is no `docker` client with buildx on the path"
        assert fault.fix.startswith("Install it")


def options(words: Sequence[str], option: str) -> list[str]:
    return [value for word, value in pairwise(words) if word == option]


class TestArguments:
    def test_the_folder_is_built_on_the_base_and_tagged_with_the_row(self) -> None:
        words = arguments(SMALL, Path("images/asr-cu12"), "cuvee-base:bookworm", engine(), [])
        assert words[-1] == "images/asr-cu12"
        assert options(words, "--build-arg") == ["BASE=cuvee-base:bookworm"]
        assert options(words, "--tag") == ["cuvee:asr-cu12"]
        assert "--load" in words

    def test_steps_use_the_hosts_network_only_where_the_engine_has_no_other(self) -> None:
        own = arguments(SMALL, Path(), "base", engine(), [])
        private = arguments(SMALL, Path(), "base", engine(network="host"), [])
        assert options(own, "--network") == []
        assert options(private, "--network") == ["host"]

    def test_proxies_are_passed_on_by_name_and_their_values_are_not_shown(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://user:word@proxy.test:3128")
        monkeypatch.setenv("no_proxy", "localhost")
        monkeypatch.setenv("HTTP_PROXY", "")
        words = arguments(SMALL, Path(), "base", engine(), [])
        assert options(words, "--build-arg") == ["HTTPS_PROXY", "no_proxy", "BASE=base"]
        assert "word" not in " ".join(words)


class TestSecrets:
    INDEX = "https://user:word@index.test/simple"

    def lent(self, of: Plan) -> Said:
        shell = Said(saying("cached"), 0)
        build(of, Path("images/row"), BASE, engine(shell), lambda _: None)
        return shell

    def test_the_hosts_certificates_and_index_are_lent_as_secrets(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", self.INDEX)
        assert self.lent(SMALL).secrets == {
            "ca": "certificates",
            "index": f"export UV_DEFAULT_INDEX={self.INDEX}\nexport PIP_INDEX_URL={self.INDEX}\n",
        }

    def test_no_argument_of_the_build_holds_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Build arguments end up in an image's history.
        monkeypatch.setenv("UV_DEFAULT_INDEX", self.INDEX)
        monkeypatch.setenv("CUVEE_INDEX_EXTRA", "https://user:other@extra.test/simple")
        words = " ".join(self.lent(plan(index="extra")).argv)
        for secret in ("index.test", "word", "extra.test", "other", "UV_", "PIP_", "SSL_CERT_FILE"):
            assert secret not in words

    def test_a_host_without_settings_lends_nothing(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.setattr("builder.wheels.network.CA_FILES", (tmp_path / "none",))
        with secrets(SMALL) as nothing:
            assert nothing == []

    def test_the_file_with_the_index_is_gone_after_the_build(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", self.INDEX)
        [word] = (word for word in self.lent(SMALL).argv if word.startswith("id=index,"))
        assert not Path(word.partition("src=")[2]).exists()

    def test_only_we_can_read_the_index_while_it_is_lent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", self.INDEX)
        with secrets(SMALL) as [_, index]:
            folder = Path(index.partition("src=")[2]).parent
            assert folder.stat().st_mode & 0o077 == 0


def exported(text: str) -> dict[str, str]:
    """What a shell would have after reading the text, as far as quotes go."""
    words = [shlex.split(line) for line in text.splitlines()]
    assert all(word[0] == "export" and len(word) == 2 for word in words)
    return dict(word[1].split("=", 1) for word in words)


class TestIndexExports:
    @pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"])
    def test_whatever_names_the_hosts_index_points_uv_and_pip_to_it(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(name, "https://index.test/simple")
        assert exported(index_exports(SMALL)) == {
            "UV_DEFAULT_INDEX": "https://index.test/simple",
            "PIP_INDEX_URL": "https://index.test/simple",
        }

    def test_the_name_that_uv_lets_an_index_have_is_kept_from_pip(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", "ours=https://index.test/simple?a=b")
        assert exported(index_exports(SMALL)) == {
            "UV_DEFAULT_INDEX": "ours=https://index.test/simple?a=b",
            "PIP_INDEX_URL": "https://index.test/simple?a=b",
        }

    def test_a_rows_index_is_added_behind_the_hosts_and_kept_from_pip_which_installs_only_tools(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUVEE_INDEX_EXTRA", "https://extra.test/simple")
        monkeypatch.setenv("PIP_INDEX_URL", "https://index.test/simple")
        assert exported(index_exports(plan(index="extra"))) == {
            "UV_EXTRA_INDEX_URL": "https://index.test/simple",
            "UV_DEFAULT_INDEX": "https://extra.test/simple",  # to uv the default index is the last
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "PIP_INDEX_URL": "https://index.test/simple",
        }

    def test_an_extra_index_whose_address_is_not_set_is_told(self) -> None:
        with pytest.raises(BadInputError) as caught:
            index_exports(plan(index="extra"))
        [fault] = caught.value.faults
        assert fault.place == "row cu121"
        assert fault.cause.startswith("the address of index 'extra' is not known")
        assert fault.fix == "Set CUVEE_INDEX_EXTRA to it"

    def test_a_host_without_an_index_exports_nothing(self) -> None:
        assert index_exports(SMALL) == ""

    @pytest.mark.parametrize(
        "password", ["it's", "'; touch /tmp/x; '", "$(id)", "`id`", '"', "a b", "a\\b", "#", "&;|"]
    )
    def test_a_password_with_a_shells_characters_stays_what_it_is(
        self, monkeypatch: pytest.MonkeyPatch, password: str
    ) -> None:
        address = f"https://user:{password}@index.test/simple"
        monkeypatch.setenv("UV_DEFAULT_INDEX", address)
        assert exported(index_exports(SMALL))["UV_DEFAULT_INDEX"] == address


class TestRoom:
    @pytest.fixture
    def free(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[float], None]:
        def free(gigabytes: float) -> None:
            usage = real(tmp_path)._replace(free=int(gigabytes * 1e9))
            monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

        real = shutil.disk_usage
        return free

    def test_a_build_without_room_is_refused_with_what_it_needs_and_what_is_free(
        self, free: Callable[[float], None], tmp_path: Path
    ) -> None:
        free(7)
        with pytest.raises(EngineOrNetworkError) as caught:
            require_room(CU121, engine(root=str(tmp_path)))
        needed = CU121.download * buildkit.ROOM["overlay2"] / 1e9
        assert needed == pytest.approx(15.2, abs=0.1)
        [fault] = caught.value.faults
        assert fault.place == str(tmp_path)
        assert fault.cause == "building cuvee:cu121 needs 15 GB, and 7 GB are free"
        assert fault.fix == "Run `cuvee clean`, `docker system prune`, or give the engine a larger disk"

    def test_a_build_with_room_may_begin(self, free: Callable[[float], None], tmp_path: Path) -> None:
        free(25)
        require_room(CU121, engine(root=str(tmp_path)))

    def test_a_store_that_keeps_compressed_layers_too_needs_more(
        self, free: Callable[[float], None], tmp_path: Path
    ) -> None:
        free(25)
        with pytest.raises(EngineOrNetworkError, match="needs 42 GB, and 25 GB are free"):
            require_room(CU121, engine(root=str(tmp_path), storage="overlayfs"))

    def test_an_engine_whose_folder_is_not_here_is_not_asked(
        self, free: Callable[[float], None], tmp_path: Path
    ) -> None:
        free(0)
        require_room(CU121, engine(root=str(tmp_path / "elsewhere")))

    def test_an_engine_of_another_machine_is_not_asked_even_if_its_folder_has_a_name_of_ours(
        self, free: Callable[[float], None], tmp_path: Path
    ) -> None:
        free(0)
        require_room(CU121, engine(root=str(tmp_path), base_url="http://builder.test:2375"))
