"""The programs that run in a base's Python, run by this machine's own: its files stand in for a base's."""

from __future__ import annotations

import importlib.util
import os
import platform
import py_compile
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib.machinery import SourcelessFileLoader
from pathlib import Path, PurePosixPath
from types import CodeType

import pytest

from builder.abi.facts import Binary
from builder.engines.direct.bytecode import Job, compile_wheels
from builder.engines.direct.environment import environment_files
from builder.engines.direct.interpreter import LOADER, Interpreter
from builder.engines.direct.loadercache import loader_files
from builder.engines.direct.sources import build_wheel
from builder.errors import BadInputError, CannotResolveError, EngineOrNetworkError
from builder.lock.record import Package
from builder.shell import SYSTEM
from builder.wheels.members import opened_wheel
from tests.elf.loader import write

HOSTS_LOADER = Path("/lib64/ld-linux-x86-64.so.2")
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
SITE = PurePosixPath(f"/opt/cuvee/main/lib/python{PYTHON}/site-packages")
PREFIX = PurePosixPath("/opt/cuvee/main")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or not HOSTS_LOADER.exists(),
    reason="there is no x86-64 loader of glibc here",
)


def stand_in_base(root: Path) -> Interpreter:
    """A base whose Python is the one that runs this test."""
    program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    for folder in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/bin", "usr/sbin"):
        (root / folder).mkdir(parents=True)
    (root / LOADER).symlink_to(HOSTS_LOADER.resolve())
    shutil.copy(program, root / "usr" / "bin" / f"python{PYTHON}")
    (root / "usr" / "lib" / f"python{PYTHON}").symlink_to(sysconfig.get_path("stdlib"))
    if (shared := Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDLIBRARY"))).is_file():
        (root / "usr/lib/x86_64-linux-gnu" / f"{shared.name}.1.0").symlink_to(shared)
    return Interpreter(root=root, python=PYTHON, shell=SYSTEM)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    return stand_in_base(tmp_path_factory.mktemp("base"))


def zipped(path: Path, files: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_it_is_the_python_that_it_is(python: Interpreter) -> None:
    assert python.version.full == " ".join(sys.version.split())
    assert python.version.tag == sys.implementation.cache_tag
    assert bytes.fromhex(python.version.magic) == importlib.util.MAGIC_NUMBER


def test_nothing_of_the_host_reaches_it(
    python: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "print(sorted(os.environ), sys.prefix, sys.flags.no_site, sys.dont_write_bytecode, sys.argv[1:],"
        " sys.stdin.read(), sys.getfilesystemencoding(), hash('x'), 'site' in sys.modules)"
    )
    first = python.run(script, ["a b"], stdin="text").out
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    assert python.run(script, ["a b"], stdin="text").out == first
    assert f"{python.root}/usr 1 True ['a b'] text utf-8" in first
    assert first.endswith("False\n")
    assert not list(tmp_path.rglob("*.pyc"))


def test_a_base_that_does_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineOrNetworkError) as caught:
        _ = Interpreter(root=tmp_path, python="3.11", shell=SYSTEM).version
    [fault] = caught.value.faults
    assert fault.cause.startswith("it ended with 127: ")


# Bytecode

MODULES: dict[str, bytes] = {
    "a/__init__.py": b"from a import b\nNAMES = {'x', 'y', None}\ndef f(a, *, b=1): return a in {'p', 'q'}\n",
    "a/b.py": b'"""Text."""\nclass A:\n    x: int = 1000\n    def g(self): return [self.x for _ in "ab"]\n',
    "a/latin.py": "# -*- coding: latin-1 -*-\nX = 'ä'\n".encode("latin-1"),
    "a/template.py": b"class {{ name }}:\n",
    "a/zero.py": b"X = 1\0\n",
    "a/escape.py": b"X = '\\d'\nassert (X, 'always')\n",
    "top.py": b"import a\n",
    "empty.py": b"",
}


def jobs(folder: Path, place: Path) -> list[Job]:
    """Three wheels in one folder, to be compiled to another."""
    folder.mkdir(parents=True)
    parts: list[dict[str, str | bytes]] = [
        {f"w.data/purelib/{name}": text for name, text in MODULES.items()},
        {"other.py": "\n".join(f"X{number} = {number}" for number in range(2000))},
        {"name.py": "name = 'job'\njob = 'name'\n", "top2.py": MODULES["top.py"]},
    ]
    return [
        Job(
            wheel=zipped(folder / f"{number}.whl", files),
            target=place / f"{number}.zip",
            site=SITE,
            files={name: name.removeprefix("w.data/purelib/") for name in files},
        )
        for number, files in enumerate(parts)
    ]


def made(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def bytecode(python: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bytecode")
    compile_wheels(jobs(folder / "in", folder / "out"), python)
    return folder / "out"


def test_files_of_bytecode_are_what_py_compile_writes(bytecode: Path, tmp_path: Path) -> None:
    tag = sys.implementation.cache_tag
    with opened_wheel(bytecode / "0.zip") as archive:
        found = {one.path: archive.read(one, 10_000) for one in archive.members}
    whole = [name for name in MODULES if name not in {"a/template.py", "a/zero.py"}]
    assert set(found) == {importlib.util.cache_from_source(name) for name in whole}
    for name in whole:
        source, target = tmp_path / "source.py", tmp_path / "target.pyc"
        source.write_bytes(MODULES[name])
        with pytest.warns() if name == "a/escape.py" else _quiet():
            py_compile.compile(
                str(source),
                str(target),
                dfile=str(SITE / name),
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        path = importlib.util.cache_from_source(name)
        assert f".{tag}." in path
        assert found[path][:16] == target.read_bytes()[:16]
        expected = code(target)
        target.write_bytes(found[path])
        assert code(target) == expected
        assert code(target).co_filename == str(SITE / name)


def code(path: Path) -> CodeType:
    """What Python reads from a file of bytecode."""
    found = SourcelessFileLoader("name", str(path)).get_code("name")
    assert found
    return found


class _quiet:  # noqa: N801 - reads as pytest.warns does
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_bytecode_is_the_same_in_any_order_from_any_path_and_however_many_at_a_time(
    python: Interpreter, bytecode: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = jobs(tmp_path / "another place", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    before = os.umask(0o077)
    try:
        compile_wheels(others[::-1], python, side_by_side=1)
    finally:
        os.umask(before)
    assert made(tmp_path / "out") == made(bytecode)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o644}


def test_bytecode_is_the_same_from_a_base_elsewhere(bytecode: Path, tmp_path: Path) -> None:
    compile_wheels(jobs(tmp_path / "in", tmp_path / "out"), stand_in_base(tmp_path / "a base"))
    assert made(tmp_path / "out") == made(bytecode)


def test_a_wheel_that_is_none_is_named_and_the_others_end_well(python: Interpreter, tmp_path: Path) -> None:
    todo = jobs(tmp_path / "in", tmp_path / "out")
    todo[1].wheel.write_text("no zip file")
    with pytest.raises(EngineOrNetworkError) as caught:
        compile_wheels(todo, python, side_by_side=3)
    [fault] = caught.value.faults
    assert (fault.place, fault.cause) == (
        "1.whl",
        "its Python cannot be compiled: BadZipFile: File is not a zip file",
    )
    assert "1.zip" not in made(tmp_path / "out")


# Environments


def test_an_environment_is_what_venv_makes(python: Interpreter, tmp_path: Path) -> None:
    program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    real = tmp_path / PREFIX.name
    subprocess.run([program, "-m", "venv", "--without-pip", real], check=True, umask=0o022)
    found = {f"/{entry.node.path}": entry for entry in environment_files(python, PREFIX)}
    paths = {str(PREFIX / path.relative_to(real)): path for path in (real, *_below(real))}
    assert set(found) == set(paths)
    for path, there in paths.items():
        entry = found[path]
        if there.is_symlink():
            wanted = str(there.readlink()).replace(str(program), f"/usr/bin/python{PYTHON}")
            assert (entry.node.kind, entry.node.target) == ("link", wanted)
            continue
        assert entry.node.mode == there.stat().st_mode & 0o777
        assert entry.node.kind == ("directory" if there.is_dir() else "file")
        if there.is_file() and there.name != "pyvenv.cfg":
            assert entry.content == there.read_bytes().replace(str(real).encode(), str(PREFIX).encode())


def _below(folder: Path) -> Iterator[Path]:
    for above, folders, files in os.walk(folder):
        yield from (Path(above, name) for name in (*folders, *files))


def test_an_environment_names_the_program_of_the_image(python: Interpreter) -> None:
    [config] = [one for one in environment_files(python, PREFIX) if one.node.path.endswith("pyvenv.cfg")]
    assert isinstance(config.content, bytes)
    lines = dict(line.split(" = ", 1) for line in config.content.decode().splitlines())
    assert lines["home"] == "/usr/bin"
    assert lines["executable"] == f"/usr/bin/python{PYTHON}"
    assert lines["command"] == f"/usr/bin/python{PYTHON} -m venv --without-pip {PREFIX}"


# The loader's cache

FOLDERS = (PurePosixPath("/opt/x/lib"), PurePosixPath("/opt/y/lib"))
BINARIES = {
    "/opt/x/lib/libone.so.1.2": Binary(path="one", soname="libone.so.1", needed=("libc.so.6",)),
    "/opt/x/lib/libbare.so": Binary(path="bare", runpath=("$ORIGIN",)),
    "/opt/x/lib/plugin.so": Binary(path="plugin", soname="libplugin.so"),
    "/opt/y/lib/libone.so.1": Binary(path="later", soname="libone.so.1"),
    "/opt/y/lib/libtwo-abc.so.3": Binary(
        path="two", soname="libtwo-abc.so.3", requires={"libc.so.6": ("V",)}
    ),
}


@pytest.mark.skipif(not shutil.which("ldconfig", path="/sbin:/usr/sbin"), reason="there is no ldconfig here")
def test_stand_ins_give_the_cache_and_the_links_that_real_libraries_give(tmp_path: Path) -> None:
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    root, real = tmp_path / "base", tmp_path / "real"
    for base in (root, real):
        for path in ("usr/sbin", "usr/lib", "etc/ld.so.conf.d"):
            (base / path).mkdir(parents=True)
        (base / "lib").symlink_to("usr/lib")
        (base / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
        (base / "usr/lib/libc.so.6").write_bytes(write.library(Binary(path="c", soname="libc.so.6")))
    (root / "usr/sbin/ldconfig").symlink_to(str(ldconfig))
    for path, binary in BINARIES.items():
        (real / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (real / path[1:]).write_bytes(write.library(binary))
    (real / "etc/ld.so.conf.d/000-cuvee.conf").write_text("".join(f"{folder}\n" for folder in FOLDERS))
    subprocess.run([str(ldconfig), "-r", real], check=True)
    entries = loader_files(root, FOLDERS, {path: one.soname for path, one in BINARIES.items()})
    found = {entry.node.path: entry for entry in entries}
    assert found["etc/ld.so.cache"].content == (real / "etc/ld.so.cache").read_bytes()
    links = {path: one.node.target for path, one in found.items() if one.node.kind == "link"}
    assert links == {"opt/x/lib/libone.so.1": "libone.so.1.2"}
    assert (real / "opt/x/lib/libone.so.1").is_symlink()


# Source archives

BACKEND = """\
import os, socket, sys, zipfile

def build_wheel(folder, *_):
    told = open("told").read()
    exec(told)
    with zipfile.ZipFile(folder + "/x-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("x.py", told)
        wheel.writestr("x-1.dist-info/RECORD", "")
    print("what backends say")
    return "x-1-py3-none-any.whl"

class Old:
    build_wheel = staticmethod(build_wheel)
"""


def build(folder: Path, python: Interpreter, does: str, backend: str = "own:Old") -> Path:
    """Build sources with a backend of their own, which does something first."""
    text = f'[build-system]\nrequires = []\nbuild-backend = "{backend}"\nbackend-path = ["."]\n'
    (folder / "x-1").mkdir(parents=True)
    for name, content in (("pyproject.toml", text), ("own.py", BACKEND), ("told", does)):
        (folder / "x-1" / name).write_text(content)
    with tarfile.open(folder / "x-1.tar.gz", "w:gz") as tar:
        tar.add(folder / "x-1", "x-1")
    package = Package(name="x", version="1", file="x-1.tar.gz", sha256="a" * 64, size=1)
    return build_wheel(package, folder / "x-1.tar.gz", [], python, folder / "built")


def test_sources_are_built_by_the_backend_that_they_name(python: Interpreter, tmp_path: Path) -> None:
    first = build(tmp_path / "a", python, "os.umask(0o077)")
    second = build(tmp_path / "b c", python, "os.umask(0o077)", "own")
    with opened_wheel(first) as archive:
        assert [one.path for one in archive.members] == ["x.py", "x-1.dist-info/RECORD"]
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("does", "cause"),
    [
        ("socket.create_connection(('127.0.0.1', 9))", "sources are built without network"),
        ("socket.getaddrinfo('localhost', 9)", "sources are built without network"),
        ("import subprocess; subprocess.run(['gcc'])", "needs a compiler, which a base has not"),
        ("sys.exit('no')", "cannot be built: SystemExit: no"),
        ("raise ValueError('no')", "cannot be built: ValueError: no"),
    ],
    ids=["connect", "resolve", "gcc", "exit", "raise"],
)
def test_what_cannot_be_built_is_told(python: Interpreter, tmp_path: Path, does: str, cause: str) -> None:
    with pytest.raises(CannotResolveError) as caught:
        build(tmp_path / "x", python, does)
    [fault] = caught.value.faults
    assert fault.place == "x-1.tar.gz"
    assert cause in fault.cause


def test_a_builder_that_dies_is_told(python: Interpreter, tmp_path: Path) -> None:
    with pytest.raises(EngineOrNetworkError, match="ended with 3"):
        build(tmp_path / "x", python, "os._exit(3)")


def test_a_wheel_that_is_broken_is_told(python: Interpreter, tmp_path: Path) -> None:
    does = "zipfile.ZipFile.writestr = lambda self, name, text: None"
    with pytest.raises(BadInputError, match="it is empty"):
        build(tmp_path / "x", python, does)
