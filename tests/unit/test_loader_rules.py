from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.abi import ldconfig
from builder.abi.facts import Binary
from builder.abi.loader import DRIVER, Cause, Failed, Loaded, Need, Process, Rule, World, explain
from builder.abi.loader.disk import Disk

LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
SITE = "/venv/lib/python3.11/site-packages"


def lib(path: str, *needed: str, **facts: Any) -> Binary:
    """A library whose soname is its file's name."""
    return Binary(path=path, needed=needed, **{"soname": path.rpartition("/")[2], **facts})


def world(*files: Binary, **more: Any) -> World:
    return World(files={file.path: file for file in files}, **{"glibc": (2, 36), **more})


def process(*files: Binary, **more: Any) -> Process:
    return Process(world(*files, **more))


def opened(process: Process, name: str, by: str | None = None) -> Loaded:
    outcome = process.open(name, by)
    assert isinstance(outcome, Loaded), outcome
    return outcome


def failed(process: Process, name: str, by: str | None = None) -> Failed:
    outcome = process.open(name, by)
    assert isinstance(outcome, Failed), outcome
    return outcome


def missing(name: str) -> str:
    return f"{name}: cannot open shared object file: No such file or directory"


# The order of the search

EVERYWHERE = [lib(f"/{folder}/libx.so") for folder in ("rpath", "env", "runpath", "cache")]
SETTINGS: dict[str, Any] = {"library_path": ("/env",), "cache": {"libx.so": "/cache/libx.so"}}


@pytest.mark.parametrize(
    ("tag", "hidden", "rule", "path"),
    [
        ("rpath", (), Rule.RPATH, "/rpath/libx.so"),
        ("runpath", (), Rule.LIBRARY_PATH, "/env/libx.so"),
        ("runpath", ("/env",), Rule.RUNPATH, "/runpath/libx.so"),
        ("runpath", ("/env", "/runpath"), Rule.CACHE, "/cache/libx.so"),
        ("runpath", ("/env", "/runpath", "/cache"), Rule.DEFAULT, "/usr/lib/libx.so"),
    ],
)
def test_rpath_then_library_path_then_runpath_then_cache_then_default_folders(
    tag: str, hidden: tuple[str, ...], rule: Rule, path: str
) -> None:
    asks = lib("/app/liba.so", "libx.so", **{tag: (f"/{tag}",)})
    there = [file for file in EVERYWHERE if not file.path.startswith(hidden)]
    new = opened(process(asks, *there, lib("/usr/lib/libx.so"), **SETTINGS), "/app/liba.so").new[1]
    assert (new.path, new.place.rule, new.by) == (path, rule, "/app/liba.so")


def test_a_name_that_is_nowhere_fails_in_the_loaders_words() -> None:
    outcome = failed(process(*EVERYWHERE, **SETTINGS), "libnone.so")
    assert outcome.text == missing("libnone.so")
    assert (outcome.cause, outcome.name, outcome.by) == (Cause.MISSING, "libnone.so", "")


def test_an_rpath_counts_for_all_that_is_needed_further_down() -> None:
    files = [
        lib("/a/liba.so", "libb.so", rpath=("/b", "/c")),
        lib("/b/libb.so", "libc1.so"),
        lib("/c/libc1.so"),
    ]
    new = opened(process(*files), "/a/liba.so").new
    assert [found.path for found in new] == ["/a/liba.so", "/b/libb.so", "/c/libc1.so"]
    assert (new[2].place.rule, new[2].place.of, new[2].by) == (Rule.RPATH, "/a/liba.so", "/b/libb.so")


def test_a_runpath_counts_for_its_own_file_only() -> None:
    files = [
        lib("/a/liba.so", "libb.so", runpath=("/b", "/c")),
        lib("/b/libb.so", "libc1.so"),
        lib("/c/libc1.so"),
    ]
    assert failed(process(*files), "/a/liba.so").text == missing("libc1.so")


def test_the_nearest_rpath_comes_first() -> None:
    files = [
        lib("/a/liba.so", "libb.so", rpath=("/b", "/far")),
        lib("/b/libb.so", "libx.so", rpath=("/near",)),
    ]
    found = process(*files, lib("/far/libx.so"), lib("/near/libx.so"))
    assert opened(found, "/a/liba.so").new[2].path == "/near/libx.so"


@pytest.mark.parametrize("runpath", [("/elsewhere",), ("",)])
def test_a_file_with_a_runpath_heeds_no_rpath_at_all(runpath: tuple[str, ...]) -> None:
    asks = lib("/b/libb.so", "libx.so", rpath=("/x",), runpath=runpath)
    found = process(lib("/a/liba.so", "libb.so", rpath=("/b", "/x")), asks, lib("/x/libx.so"))
    assert failed(found, "/a/liba.so").text == missing("libx.so")
    without = process(
        lib("/a/liba.so", "libb.so", rpath=("/b", "/x")), replace(asks, runpath=()), lib("/x/libx.so")
    )
    assert opened(without, "/a/liba.so").path == "/a/liba.so"


def test_an_rpath_beside_a_runpath_does_not_count_further_down_either() -> None:
    asks = lib("/a/liba.so", "libb.so", rpath=("/x",), runpath=("/b",))
    found = process(asks, lib("/b/libb.so", "libx.so"), lib("/x/libx.so"))
    assert failed(found, "/a/liba.so").text == missing("libx.so")


def test_an_rpath_ends_where_somebody_calls_dlopen() -> None:
    files = [lib("/a/liba.so", rpath=("/b", "/c")), lib("/b/libb.so", "libc1.so"), lib("/c/libc1.so")]
    found = process(*files)
    opened(found, "/a/liba.so")
    outcome = failed(found, "libb.so", by="/a/liba.so")
    assert outcome.text == missing("libc1.so")
    assert outcome.chain == (Need(by="/a/liba.so", name="libb.so"), Need(by="/b/libb.so", name="libc1.so"))


def test_what_opens_a_name_searches_with_its_own_paths() -> None:
    files = [lib("/a/liba.so", rpath=("$ORIGIN/own",)), lib("/a/libb.so"), lib("/a/own/libx.so")]
    found = process(*files)
    opened(found, "/a/liba.so")
    opened(found, "/a/libb.so")
    assert failed(found, "libx.so").text == missing("libx.so")
    assert failed(found, "libx.so", by="/a/libb.so").text == missing("libx.so")
    assert opened(found, "libx.so", by="/a/liba.so").path == "/a/own/libx.so"


class TestProgram:
    PROGRAM = Binary(
        path="/usr/bin/app", needed=("liba.so",), interpreter="/lib64/ld.so", rpath=("$ORIGIN/lib",)
    )
    FILES = (lib("/usr/bin/lib/liba.so"), lib("/usr/bin/lib/libx.so"), lib("/b/libb.so", "libx.so"))

    def test_its_rpath_counts_for_everything(self) -> None:
        found = process(self.PROGRAM, *self.FILES, lib("/lib64/ld.so"))
        assert isinstance(found.start("/usr/bin/app"), Loaded)
        assert found.loaded == ("/usr/bin/app", "/lib64/ld.so", "/usr/bin/lib/liba.so")
        assert opened(found, "/b/libb.so").new[1].path == "/usr/bin/lib/libx.so"

    def test_its_runpath_counts_for_itself(self) -> None:
        found = process(replace(self.PROGRAM, rpath=(), runpath=("$ORIGIN/lib",)), *self.FILES)
        assert isinstance(found.start("/usr/bin/app"), Loaded)
        assert failed(found, "/b/libb.so").text == missing("libx.so")
        assert opened(found, "libx.so").path == "/usr/bin/lib/libx.so"

    def test_its_origin_is_where_the_file_is_and_not_the_link(self) -> None:
        found = process(self.PROGRAM, *self.FILES, links={"/venv/bin/app": "/usr/bin/app"})
        assert isinstance(found.start("/venv/bin/app"), Loaded)

    def test_without_what_it_needs_it_does_not_start(self) -> None:
        outcome = process(self.PROGRAM).start("/usr/bin/app")
        assert isinstance(outcome, Failed)
        assert outcome.text == missing("liba.so")
        assert outcome.chain == (Need(by="/usr/bin/app", name="liba.so"),)

    def test_it_can_be_asked_for_as_the_one_who_opens(self) -> None:
        found = process(self.PROGRAM, *self.FILES)
        found.start("/usr/bin/app")
        assert opened(found, "libx.so", by="/usr/bin/app").path == "/usr/bin/lib/libx.so"

    def test_it_is_known_by_its_soname_alone(self) -> None:
        # As when ldd starts a library like a program: the loader does not know which file the kernel mapped.
        found = process(
            lib("/x/libself.so", "libself.so", "libcopy.so", rpath=("/x",)),
            links={"/x/libcopy.so": "libself.so"},
        )
        found.start("/x/libself.so")
        assert [one.spelled for one in found.found] == ["/x/libself.so", "/x/libcopy.so"]

    def test_a_process_starts_once_and_with_a_program_that_is_there(self) -> None:
        found = process(self.PROGRAM, *self.FILES)
        with pytest.raises(ValueError, match="/usr/bin/none is no file of this world"):
            found.start("/usr/bin/none")
        found.start("/usr/bin/app")
        with pytest.raises(ValueError, match="has files loaded"):
            found.start("/usr/bin/app")


def test_only_a_loaded_file_can_open_something() -> None:
    with pytest.raises(ValueError, match=r"/a/liba\.so is not loaded"):
        process(lib("/a/liba.so")).open("libx.so", by="/a/liba.so")


# What is loaded already


def test_a_soname_that_is_loaded_is_taken_without_a_search() -> None:
    # torch brings its own cuDNN, whatever LD_LIBRARY_PATH says then.
    found = process(lib("/pip/libcudnn.so.9"), lib("/system/libcudnn.so.9"), library_path=("/system",))
    opened(found, "/pip/libcudnn.so.9")
    assert opened(found, "libcudnn.so.9") == Loaded(
        name="libcudnn.so.9", path="/pip/libcudnn.so.9", rule=Rule.LOADED
    )
    assert opened(found.fork(), "/system/libcudnn.so.9").path == "/system/libcudnn.so.9"


def test_a_library_without_a_soname_is_not_known_by_its_files_name() -> None:
    found = process(lib("/a/libx.so", soname=""), lib("/env/libx.so"), library_path=("/env",))
    opened(found, "/a/libx.so")
    assert opened(found, "libx.so").path == "/env/libx.so"


def test_a_library_is_known_by_the_name_it_was_found_under() -> None:
    later = lib("/l/liblater.so", "libx.so", rpath=("/other",))
    files = [lib("/env/libx.so", soname="libother.so"), later, lib("/other/libx.so")]
    found = process(*files, library_path=("/env",))
    opened(found, "libx.so")
    assert len(opened(found.fork(), "/l/liblater.so").new) == 1
    assert opened(found, "libx.so").rule is Rule.LOADED
    assert opened(found, "libother.so").rule is Rule.LOADED


@pytest.mark.parametrize("name", ["libx.so", "liblink.so", "/env/liblink.so"])
def test_a_name_that_led_to_a_loaded_file_leads_there_again(name: str) -> None:
    # Whoever asks for it later does not search, although a search would find another file.
    later = lib("/l/liblater.so", name, rpath=("/other",))
    others = [lib("/other/libx.so"), lib("/other/liblink.so"), lib("/env/libuser.so", name)]
    real = lib("/env/libreal.so", soname="libown.so")
    links = {"/env/libx.so": "libreal.so", "/env/liblink.so": "libreal.so"}
    found = process(real, later, *others, links=links, library_path=("/env",))
    opened(found, "libx.so")
    for first in (name, "libuser.so"):
        twin = found.fork()
        opened(twin, first)
        assert len(opened(twin, "/l/liblater.so").new) == 1


def test_of_two_files_with_one_soname_the_one_that_was_loaded_first_is_meant() -> None:
    found = process(lib("/a/libx.so"), lib("/b/libx.so"))
    opened(found, "/a/libx.so")
    opened(found, "/b/libx.so")
    assert opened(found, "libx.so").path == "/a/libx.so"


def test_a_file_by_two_paths_is_loaded_once() -> None:
    links = {"/lib": "/usr/lib", "/usr/lib/libx.so.1": "libx.so.1.2"}
    found = process(lib("/usr/lib/libx.so.1.2"), links=links)
    opened(found, "/lib/libx.so.1")
    assert opened(found, "/usr/lib/../lib/libx.so.1.2").rule is Rule.LOADED
    assert found.loaded == ("/usr/lib/libx.so.1.2",)


def test_dependencies_are_loaded_breadth_first() -> None:
    files = [
        lib("/l/liba.so", "libb.so", "libc1.so"),
        lib("/l/libb.so", "libd.so"),
        lib("/l/libc1.so", "libd.so"),
    ]
    found = process(*files, lib("/l/libd.so"), library_path=("/l",))
    opened(found, "liba.so")
    assert found.loaded == ("/l/liba.so", "/l/libb.so", "/l/libc1.so", "/l/libd.so")
    assert found.found[3].by == "/l/libb.so"


def test_nothing_of_a_failed_dlopen_stays() -> None:
    files = [lib("/l/liba.so", "libb.so", "libnone.so"), lib("/l/libb.so"), lib("/m/libb.so")]
    found = process(*files, library_path=("/l",))
    outcome = failed(found, "liba.so")
    assert outcome.chain == (Need(by="", name="liba.so"), Need(by="/l/liba.so", name="libnone.so"))
    assert found.loaded == ()
    assert opened(found, "/m/libb.so").path == "/m/libb.so"
    assert opened(found, "libb.so").path == "/m/libb.so"


def test_a_fork_goes_its_own_way() -> None:
    found = process(lib("/l/liba.so"), lib("/l/libb.so"), library_path=("/l",))
    opened(found, "liba.so")
    twin = found.fork()
    opened(twin, "libb.so")
    assert found.loaded == ("/l/liba.so",)
    assert twin.loaded == ("/l/liba.so", "/l/libb.so")


# Paths


@pytest.mark.parametrize(
    ("folder", "meant"),
    [
        ("$ORIGIN/../x", "/x"),
        ("${ORIGIN}/../x", "/x"),
        ("/$PLATFORM", "/x86_64"),
        ("/usr/$LIB", "/usr/lib/x86_64-linux-gnu"),
        ("/usr/${LIB}/", "/usr/lib/x86_64-linux-gnu"),
        ("/a/$LIBS", "/a/$LIBS"),
    ],
)
def test_tokens_stand_for_the_folder_of_the_file_the_multiarch_folder_and_the_processor(
    folder: str, meant: str
) -> None:
    asks = lib("/a/liba.so", "libx.so", rpath=(folder,))
    found = process(asks, lib(f"{meant}/libx.so"), defaults=())
    assert opened(found, "/a/liba.so").new[1].path == f"{meant}/libx.so"
    assert failed(process(asks, lib("/y/libx.so"), defaults=()), "/a/liba.so").name == "libx.so"


def test_origin_is_the_folder_by_which_a_file_was_found_and_not_that_of_a_links_target() -> None:
    asks = lib("/store/liba.so", "libx.so", rpath=("$ORIGIN",))
    found = process(asks, lib("/a/libx.so"), links={"/a/liba.so": "/store/liba.so"})
    assert failed(found, "/store/liba.so").text == missing("libx.so")
    assert opened(found, "/a/liba.so").new[1].spelled == "/a/libx.so"


def test_needed_and_opened_paths_may_have_tokens_too() -> None:
    files = [lib("/a/liba.so", "$ORIGIN/own/libx.so"), lib("/a/own/libx.so"), lib("/a/own/liby.so")]
    found = process(*files)
    assert opened(found, "/a/liba.so").new[1].path == "/a/own/libx.so"
    assert opened(found, "$ORIGIN/own/liby.so", by="/a/liba.so").path == "/a/own/liby.so"


@pytest.mark.parametrize("folder", ["", "ctranslate2.libs", ".", "../x"])
def test_folders_relative_to_an_unknown_one_lead_to_nothing(folder: str) -> None:
    # The RPATH of the cuDNN front in old CTranslate2 wheels is `ctranslate2.libs`.
    asks = lib("/x/liba.so", "libx.so", rpath=(folder,))
    found = process(asks, lib("/x/libx.so"), lib("/ctranslate2.libs/libx.so"))
    assert failed(found, "/x/liba.so").text == missing("libx.so")
    assert failed(found, "x/libx.so").text == missing("x/libx.so")


def test_a_path_leads_through_folders_that_are_there() -> None:
    found = process(lib("/a/liba.so"))
    assert failed(found, "/missing/../a/liba.so").text == missing("/missing/../a/liba.so")
    assert opened(found, "/a/./../a//liba.so").path == "/a/liba.so"


def test_a_cache_that_names_a_file_which_is_gone_is_passed_over() -> None:
    found = process(lib("/usr/lib/libx.so"), cache={"libx.so": "/gone/libx.so"})
    assert opened(found, "libx.so").rule is Rule.DEFAULT


def test_libraries_for_other_machines_are_passed_over() -> None:
    other = lib("/arm/libx.so", machine="aarch64")
    found = process(other, lib("/env/libx.so"), library_path=("/arm", "/env"))
    assert opened(found, "libx.so").path == "/env/libx.so"
    assert failed(process(other, library_path=("/arm",)), "libx.so").text == missing("libx.so")


def test_a_32_bit_library_is_passed_over_and_told_if_there_is_no_other() -> None:
    other = lib("/32/libx.so", machine="3")
    found = process(other, lib("/env/libx.so"), library_path=("/32", "/env"))
    assert opened(found, "libx.so").path == "/env/libx.so"
    assert (
        failed(process(other, library_path=("/32",)), "libx.so").text
        == "libx.so: wrong ELF class: ELFCLASS32"
    )
    assert failed(process(other), "/32/libx.so").cause is Cause.WRONG_CLASS


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({}, "/env/libx.so"),
        ({"hwcaps": ("x86-64-v2",)}, "/env/libx.so"),
        ({"hwcaps": ("x86-64-v3", "x86-64-v2")}, "/env/glibc-hwcaps/x86-64-v3/libx.so"),
        ({"hwcaps": ("x86-64-v3", "x86-64-v2"), "glibc": (2, 32)}, "/env/libx.so"),
    ],
)
def test_files_for_better_processors_come_first_where_the_processor_is_better(
    more: dict[str, Any], path: str
) -> None:
    files = [lib("/env/libx.so"), lib("/env/glibc-hwcaps/x86-64-v3/libx.so")]
    assert opened(process(*files, library_path=("/env",), **more), "libx.so").path == path


paths = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
targets = st.one_of(paths, paths.map(lambda path: path.lstrip("/")))


@settings(deadline=None)  # a busy machine is no failure
@given(links=st.dictionaries(paths, targets, max_size=6), files=st.lists(paths, max_size=4), asked=paths)
def test_links_may_lead_in_circles(links: dict[str, str], files: list[str], asked: str) -> None:
    disk = Disk(files, links)
    real = disk.real(asked)
    assert real is None or (real.startswith("/") and not {"..", "."} & set(real.split("/")))
    assert disk.file(asked) in {None, *files}


# Symbol versions, stacks, the driver


def needs_libc(*versions: str) -> Binary:
    return lib("/x/liby.so", "libc.so.6", requires={"libc.so.6": versions})


def test_a_symbol_version_that_is_not_provided_fails_in_the_loaders_words() -> None:
    files = [lib("/x/liba.so", "liby.so", rpath=("/x",)), needs_libc("GLIBC_2.17", "GLIBC_2.38")]
    links = {"/lib": "/usr/lib"}
    outcome = failed(process(*files, lib(LIBC, provides=("GLIBC_2.36",)), links=links), "/x/liba.so")
    assert outcome.text == (
        "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /x/liby.so)"
    )
    assert (outcome.cause, outcome.version, outcome.by) == (Cause.VERSION, "GLIBC_2.38", "/x/liby.so")
    assert [str(need) for need in outcome.chain] == [
        "the program needs /x/liba.so",
        "/x/liba.so needs liby.so",
        "/x/liby.so needs libc.so.6",
    ]


@pytest.mark.parametrize(
    ("needed", "provided", "holds"),
    [
        ("GLIBC_2.4", ("GLIBC_2.36",), True),
        ("GLIBC_2.36", ("GLIBC_2.36",), True),
        ("GLIBC_2.100", ("GLIBC_2.36",), False),
        ("GLIBCXX_3.4.30", ("GLIBCXX_3.4.29", "CXXABI_1.3.13"), False),
        ("CXXABI_1.3.9", ("GLIBCXX_3.4.29", "CXXABI_1.3.13"), True),
        ("CXXABI_1.3.9", ("GLIBCXX_3.4.29",), False),
        ("GLIBC_PRIVATE", ("GLIBC_2.36",), False),
        ("GLIBC_PRIVATE", ("GLIBC_2.36", "GLIBC_PRIVATE"), True),
        ("libcudnn_graph.so.9", ("libcudnn.so.9",), False),
        ("GLIBC_2.100", (), True),
    ],
)
def test_of_families_that_grow_the_highest_version_provides_all_before_it(
    needed: str, provided: tuple[str, ...], holds: bool
) -> None:
    outcome = process(needs_libc(needed), lib(LIBC, provides=provided)).open("/x/liby.so")
    assert isinstance(outcome, Loaded) == holds


def test_the_one_who_lacks_a_version_is_not_forgotten_when_others_have_it() -> None:
    files = [lib("/new/libv.so", provides=("V_2",)), lib("/old/libv.so", provides=("V_1",))]
    asks = lib("/x/liba.so", "libv.so", requires={"libv.so": ("V_2",)})
    found = process(*files, asks, library_path=("/new",))
    other = found.fork()
    opened(found, "/x/liba.so")
    opened(other, "/old/libv.so")
    assert failed(other, "/x/liba.so").cause is Cause.VERSION


def test_versions_of_a_library_that_nobody_needs_end_the_process() -> None:
    # patchelf leaves that behind, if it renames a need and not the versions that belong to it.
    renamed = lib("/x/liby.so", "libz-1234.so", requires={"libz.so.1": ("ZLIB_1.2",)})
    outcome = failed(process(renamed, lib("/x/libz-1234.so"), library_path=("/x",)), "/x/liby.so")
    assert outcome.cause is Cause.INCONSISTENT
    assert outcome.text.endswith("_dl_check_map_versions: Assertion `needed != NULL' failed!")


def test_a_file_that_was_not_read_is_loaded_and_provides_what_is_asked() -> None:
    unread = Binary(path="/x/libv.so", unread="it is larger than the limit")
    asks = lib("/x/liba.so", "libv.so", rpath=("$ORIGIN",), requires={"libv.so": ("V_2",)})
    assert [found.path for found in opened(process(unread, asks), "/x/liba.so").new] == [
        "/x/liba.so",
        "/x/libv.so",
    ]


class TestExecutableStack:
    ENGINE = lib("/ct2/libengine.so", executable_stack=True)
    MODULE = lib("/ct2/_ext.so", "libengine.so", rpath=("$ORIGIN",))
    TEXT = "libengine.so: cannot enable executable stack as shared object requires: Invalid argument"

    def test_dlopen_of_it_fails_from_glibc_2_41_on(self) -> None:
        found = process(self.ENGINE, self.MODULE, glibc=(2, 41))
        outcome = failed(found, "/ct2/_ext.so")
        assert (outcome.text, outcome.cause) == (self.TEXT, Cause.EXECUTABLE_STACK)
        assert outcome.chain[-1] == Need(by="/ct2/_ext.so", name="libengine.so")
        assert failed(found, "/ct2/libengine.so").text.startswith("/ct2/libengine.so: cannot enable")
        assert found.loaded == ()

    def test_it_was_allowed_before(self) -> None:
        opened(process(self.ENGINE, self.MODULE, glibc=(2, 40)), "/ct2/_ext.so")

    @pytest.mark.parametrize("stack", [True, False])
    def test_it_is_allowed_where_the_program_has_one(self, stack: bool) -> None:
        program = Binary(path="/bin/app", executable_stack=stack)
        found = process(self.ENGINE, self.MODULE, program, glibc=(2, 41))
        found.start("/bin/app")
        assert isinstance(found.open("/ct2/_ext.so"), Loaded) == stack

    def test_it_is_allowed_while_a_program_starts_and_then_for_others_too(self) -> None:
        program = Binary(path="/bin/app", needed=("libengine.so",), rpath=("/ct2",))
        found = process(self.ENGINE, lib("/x/libother.so", executable_stack=True), program, glibc=(2, 41))
        assert isinstance(found.start("/bin/app"), Loaded)
        opened(found, "/x/libother.so")


class TestDriver:
    ABSENT = frozenset({"libcuda.so.1", "libnvidia-*.so.*"})

    @pytest.mark.parametrize("name", ["libcuda.so.1", "libnvidia-ml.so.1"])
    def test_its_libraries_are_there_and_bring_nothing(self, name: str) -> None:
        found = process(
            lib("/x/liba.so", name, "libb.so", rpath=("$ORIGIN",)), lib("/x/libb.so"), absent=self.ABSENT
        )
        new = opened(found, "/x/liba.so").new
        assert [(one.path, one.place.rule) for one in new[1:]] == [
            (DRIVER, Rule.DRIVER),
            ("/x/libb.so", Rule.RPATH),
        ]
        assert opened(found, name) == Loaded(name=name, path=DRIVER, rule=Rule.LOADED)
        assert found.loaded == ("/x/liba.so", "/x/libb.so")

    def test_two_of_them_are_two(self) -> None:
        found = process(absent=self.ABSENT)
        assert opened(found, "libcuda.so.1").rule is Rule.DRIVER
        assert opened(found, "libnvidia-ml.so.1").rule is Rule.DRIVER

    def test_others_are_not(self) -> None:
        assert failed(process(absent=self.ABSENT), "libcuda.so").text == missing("libcuda.so")

    def test_a_copy_on_the_library_path_comes_first(self) -> None:
        found = process(lib("/stubs/libcuda.so.1"), library_path=("/stubs",), absent=self.ABSENT)
        assert opened(found, "libcuda.so.1").path == "/stubs/libcuda.so.1"


# What people are told


def test_a_failure_tells_who_needs_the_name_and_where_it_was_searched() -> None:
    own = f"{SITE}/torch/lib"
    torch, cuda = f"{own}/libtorch.so", f"{own}/libtorch_cuda.so"
    rpath = ("$ORIGIN/../../nvidia/cublas/lib", "$ORIGIN", "x.libs")
    files = [lib(torch, "libtorch_cuda.so", rpath=("$ORIGIN",)), lib(cuda, "libcublas.so.12", rpath=rpath)]
    found = process(
        *files, lib(LIBC), defaults=("/usr/lib",), cache={"libcublas.so.12": "/gone/libcublas.so.12"}
    )
    assert explain(failed(found, torch)).splitlines() == [
        f"the program needs {torch}",
        f"{torch} needs libtorch_cuda.so",
        f"{cuda} needs libcublas.so.12",
        "libcublas.so.12 is not here, or not for this machine:",
        f"  RPATH of {cuda}: {own}/../../nvidia/cublas/lib (no such folder), {own}, x.libs (relative)",
        f"  RPATH of {torch}: {own}",
        "  cache: /gone/libcublas.so.12",
        "  default folder: /usr/lib",
        "  LD_LIBRARY_PATH: not set",
    ]


def test_the_places_that_are_told_are_in_the_loaders_order() -> None:
    asks = lib("/app/liba.so", "libx.so", runpath=("/runpath",))
    searched = failed(process(asks, library_path=("/env",), defaults=("/usr/lib",)), "/app/liba.so").searched
    rules = [Rule.LIBRARY_PATH, Rule.RUNPATH, Rule.CACHE, Rule.DEFAULT]
    assert [place.rule for place in searched] == rules
    text = explain(failed(process(asks, library_path=("/env",)), "/app/liba.so"))
    assert "cache: no such name" in text
    assert "not set" not in text


def test_a_path_was_searched_in_no_folder() -> None:
    assert explain(failed(process(), "/x/libx.so")).splitlines() == [
        "the program needs /x/libx.so",
        "/x/libx.so is not here, or not for this machine:",
        "  path: /x/libx.so",
    ]


# ldconfig


def cache(*files: Binary, conf: tuple[str, ...] = (), **links: str) -> dict[str, str]:
    return ldconfig.cache({file.path: file for file in files}, {path: links[path] for path in links}, conf)


def test_the_cache_has_sonames_and_file_names_where_there_is_none() -> None:
    files = [lib("/c/libx.so.1.2", soname="libx.so.1"), lib("/c/liby.so", soname="")]
    assert cache(*files, conf=("/c",)) == {"libx.so.1": "/c/libx.so.1", "liby.so": "/c/liby.so"}


@pytest.mark.parametrize("path", ["/c/x.so", "/c/libx.txt", "/c/sub/libx.so", "/d/libx.so"])
def test_the_cache_has_libraries_of_its_folders_only(path: str) -> None:
    assert cache(lib(path), lib("/c/ld-x.so.2"), conf=("/c",)) == {"ld-x.so.2": "/c/ld-x.so.2"}


def test_the_cache_has_nothing_of_other_machines() -> None:
    assert cache(lib("/c/libx.so", machine="aarch64"), conf=("/c",)) == {}


def test_the_earlier_folder_wins_and_default_folders_come_last() -> None:
    files = [lib("/d/libx.so"), lib("/c/libx.so"), lib("/usr/lib/libx.so"), lib("/usr/lib/liby.so")]
    assert cache(*files, conf=("/c/", "/d")) == {"libx.so": "/c/libx.so", "liby.so": "/usr/lib/liby.so"}
    assert cache(*files, conf=("/d", "/c"))["libx.so"] == "/d/libx.so"


def test_a_folder_by_two_paths_is_known_by_the_first() -> None:
    found = cache(lib(LIBC), conf=("/lib/x86_64-linux-gnu",), **{"/lib": "/usr/lib"})
    assert found == {"libc.so.6": "/lib/x86_64-linux-gnu/libc.so.6"}


@pytest.mark.parametrize(
    "paths", [("/c/libx.so.1.9", "/c/libx.so.1.10"), ("/c/libx.so.1.10", "/c/libx.so.1.9")]
)
def test_of_two_files_with_one_soname_the_higher_number_gets_the_link(paths: tuple[str, ...]) -> None:
    files = {path: lib(path, soname="libx.so.1") for path in paths}
    assert ldconfig.made(files, {}, ("/c",)) == {"/c/libx.so.1": "libx.so.1.10"}


def test_a_link_that_is_right_is_left_alone_and_one_that_is_wrong_is_not() -> None:
    files = {path: lib(path, soname="libx.so.1") for path in ("/c/libx.so.1.9", "/c/libx.so.1.10")}
    right, wrong = {"/c/libx.so.1": "libx.so.1.10"}, {"/c/libx.so.1": "libx.so.1.9"}
    assert ldconfig.made(files, right, ("/c",)) == {}
    assert ldconfig.made(files, wrong, ("/c",)) == right


def test_a_file_in_the_way_of_a_link_stays() -> None:
    files = {
        "/c/libx.so.1": lib("/c/libx.so.1", soname="libother.so"),
        "/c/libx.so": lib("/c/libx.so", soname="libx.so.1"),
    }
    assert "/c/libx.so.1" not in ldconfig.made(files, {}, ("/c",))


def test_the_link_that_compilers_use_is_in_the_cache_by_its_own_name() -> None:
    links = {"/c/libx.so": "libx.so.1", "/c/libx.so.1": "libx.so.1.2"}
    found = cache(lib("/c/libx.so.1.2", soname="libx.so.1"), conf=("/c",), **links)
    assert found == {"libx.so": "/c/libx.so", "libx.so.1": "/c/libx.so.1"}


def test_a_file_comes_before_a_link_of_the_same_name() -> None:
    files = [lib("/c/libx.so.1"), lib("/c/liba.so", soname="libx.so")]
    made = ldconfig.made({file.path: file for file in files}, {"/c/libx.so": "libx.so.1"}, ("/c",))
    assert made == {"/c/libx.so": "liba.so"}


def test_a_link_with_a_name_of_its_own_counts_as_a_library() -> None:
    files = {"/d/libx.so.1.2": lib("/d/libx.so.1.2", soname="libx.so.1")}
    links = {"/c/libz.so.5": "/d/libx.so.1.2"}
    assert ldconfig.cache(files, links, ("/c",)) == {"libx.so.1": "/c/libx.so.1"}
    assert ldconfig.made(files, links, ("/c",)) == {"/c/libx.so.1": "libz.so.5"}


def test_levels_of_the_processor_have_their_own_files_in_the_cache() -> None:
    paths = ("/c/libx.so", "/c/glibc-hwcaps/x86-64-v3/libx.so.2")
    files = {path: lib(path, soname="libx.so") for path in paths}
    levels = ldconfig.cache(files, {}, ("/c",), hwcaps=("x86-64-v3",))
    assert levels == {"libx.so": "/c/glibc-hwcaps/x86-64-v3/libx.so.2"}
    assert ldconfig.cache(files, {}, ("/c",)) == {"libx.so": "/c/libx.so"}


# Size


def test_a_verdict_opens_thousands_of_files_in_a_world_of_thousands() -> None:
    # Measured on 2 busy cores, CPython 3.11: index and start of the program 5 ms, the 2,000 openings in a new
    # Python 0.14 to 0.2 s (16,000 files loaded), of which 0.1 s is garbage collection.
    found = Process(WORLD)
    assert isinstance(found.start("/usr/bin/python3"), Loaded)
    modules = [path for path in WORLD.files if path.endswith(".cpython.so")]
    assert len(WORLD.files) > 5000
    assert len(modules) == 2000
    for path in modules:
        assert len(opened(found.fork(), path).new) == 8


def _large() -> World:
    system = (
        "libstdc++.so.6",
        "libgcc_s.so.1",
        "libm.so.6",
        *(f"libsys{number}.so.1" for number in range(400)),
    )
    nvidia = [f"{SITE}/nvidia/n{number}/lib" for number in range(12)]
    return world(
        lib(LIBC, provides=("GLIBC_2.36",)),
        Binary(path="/usr/bin/python3", needed=("libm.so.6", "libc.so.6")),
        *(lib(f"/usr/lib/x86_64-linux-gnu/{name}", "libc.so.6") for name in system),
        *(lib(f"{folder}/libnv.so.12", "libc.so.6", runpath=("$ORIGIN",)) for folder in nvidia),
        *(file for number in range(50) for file in _wheel(number)),
        *(lib(f"/opt/lib{number}.so") for number in range(2400)),
    )


def _wheel(number: int) -> Iterator[Binary]:
    """Forty modules and five libraries that came with them."""
    names = [f"lib{number}-{at}.so.1" for at in range(5)]
    nvidia = (f"$ORIGIN/../../nvidia/n{at}/lib" for at in range(12))
    rpath = (*nvidia, f"$ORIGIN/../../w{number}.libs")
    for at, name in enumerate(names):
        yield lib(f"{SITE}/w{number}.libs/{name}", *names[:at], "libc.so.6", rpath=("$ORIGIN",))
    for at in range(40):
        needed = (names[4], "libstdc++.so.6", "libgcc_s.so.1", "libc.so.6")
        requires = {"libc.so.6": ("GLIBC_2.17",)}
        path = f"{SITE}/w{number}/{at % 4}/m{at}.cpython.so"
        yield lib(path, *needed, soname="", rpath=rpath, requires=requires)


WORLD = _large()
