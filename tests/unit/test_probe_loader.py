from __future__ import annotations

from builder.probe import libraries
from builder.probe.loader import Trace, parse_trace

COMPLETE = """\
\tlinux-vdso.so.1 (0x00007fd1c5ea6000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fd1c561e000)
\tlibtorch.so => /opt/a b/torch/lib/libtorch.so (0x00007fd1c561e000)
\t/opt/preloaded.so (0x00007fd1c561e000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007fd1c5ea8000)
"""


def test_a_trace_gives_the_path_of_every_library() -> None:
    assert parse_trace(COMPLETE, "").found == {
        "libc.so.6": "/lib/x86_64-linux-gnu/libc.so.6",
        "libtorch.so": "/opt/a b/torch/lib/libtorch.so",
        "/opt/preloaded.so": "/opt/preloaded.so",
        "/lib64/ld-linux-x86-64.so.2": "/lib64/ld-linux-x86-64.so.2",
    }


def test_a_complete_trace_lacks_nothing() -> None:
    assert libraries.lacks(parse_trace(COMPLETE, "")) == ()


def test_all_missing_names_are_reported_once_and_not_only_the_first() -> None:
    text = "\tlibtorch.so => not found\n\tlibc10.so => not found\n\tlibtorch.so => not found\n"
    assert parse_trace(text, "").missing == ("libtorch.so", "libc10.so")


def test_a_missing_symbol_version_is_a_fault_although_the_library_is_found() -> None:
    words = "./b.so: /lib/libc.so.6: version `GLIBC_2.38' not found (required by ./b.so)"
    assert libraries.lacks(parse_trace(COMPLETE, words + "\n")) == (words,)


def test_the_drivers_libraries_are_not_the_images_to_bring() -> None:
    answer = Trace({}, ("libcuda.so.1", "libnvidia-ml.so.1", "libcublas.so.12"), ())
    assert libraries.lacks(answer) == ("libcublas.so.12",)


def test_a_bundled_library_is_judged_in_the_company_of_the_module_that_loads_it() -> None:
    module = Trace({"libav.so": "/site/av.libs/../av.libs/libav.so"}, (), ())
    broken = Trace({"libx.so": "/site/x.libs/libx.so"}, ("liby.so",), ())
    assert libraries.carried_by([module, broken]) == {"/site/av.libs/libav.so"}
