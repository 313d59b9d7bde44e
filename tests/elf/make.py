"""Make the tiny libraries that the tests read: `python tests/elf/make.py`, on Linux x86-64 with gcc.

Each is what one library in a real wheel is, as far as the tests look. They are committed, so that the tests
need no compiler.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from builder.shell import SYSTEM

HERE = Path(__file__).parent

# Sorted as the linker sees them: what depends on another comes after it.
SHIM_9 = "libcudnn-74a4c495.so.9.1.0"
SHIM_8 = "libcudnn-463fd6d5.so.8.9.7"
ENGINE = "libctranslate2-d3638643.so.4.4.0"
TORCH = "libtorch_python.so"

SOURCES = {
    # Names stand whole. The symbol's version is named like a library: the real trap in `strings | grep`.
    SHIM_8: r"""
        const char *open_8[] = {"libcudnn_ops_infer.so.8", "libcudnn_cnn_infer.so.8"};
        void front_8(void) {}
    """,
    # Names are made by templates, beside the symbol that the templates end in.
    SHIM_9: r"""
        const char *templates[] = {"%s.%d.%d.%d", "%s.%d.%d", "%s.%d"};
        const char *open_9[] = {"libcudnn_graph.so", "libcudnn_ops.so"};
        void front_9(void) {}
    """,
    # Its own name and DT_NEEDED stand among the constants too; a path and a message hold names not opened.
    ENGINE: r"""
        const char *open_engine[] = {
            "libcublas.so.12", "libcuda.so.1", "libmemkind.so",
            "libctranslate2-d3638643.so.4.4.0", "libcudnn-463fd6d5.so.8.9.7",
            "/opt/vendor/libpath.so.1", "cannot open libmessage.so.1", "libsuffix.so.1.txt",
        };
        extern void front_8(void);
        void engine(void) { front_8(); }
        // Two fat binaries, each of machine code for 53 and 86 and of PTX for 86, with padding between.
        #define ENTRY(kind, sm) \
            ".short " #kind ", 0x101\n .long 32\n .quad 5\n .long 0, 0, 0\n .long " #sm "\n .byte 1,2,3,4,5\n"
        #define FATBIN(entries) ".long 0xba55ed50\n .short 1, 16\n .quad 3 * 37\n" entries ".balign 8\n"
        __asm__(".section .nv_fatbin,\"a\"\n .balign 8\n"
            FATBIN(ENTRY(2, 86) ENTRY(2, 53) ENTRY(1, 86)) ".quad 0\n"
            FATBIN(ENTRY(2, 53) ENTRY(2, 86) ENTRY(1, 86)) ".previous");
    """,
    # A compiler may put a piece of another constant right before the list, as in torch 2.8.0.
    TORCH: r"""
        __asm__(".section .rodata\n .ascii \"std::string ipc_h\"\n"
            ".asciz \"sm_70 sm_75 sm_90a compute_120\"\n .asciz \"sm_70 of a message\"\n .previous");
        void torch(void) {}
    """,
}
VERSIONS = {SHIM_8: "libcudnn.so.8 { front_8; };", SHIM_9: "libcudnn.so.9 { front_9; };"}
NEEDED = {ENGINE: (SHIM_8,)}

FLAGS = ("-shared", "-fPIC", "-nostdlib", "-O1", "-s", "-x", "c", "-Wl,--build-id=none,-z,noseparate-code")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name in SOURCES:
            _link(name, Path(scratch))


def _link(name: str, scratch: Path) -> None:
    script = scratch / "versions"
    script.write_text(VERSIONS.get(name, "{};"))
    needed = [f"-l:{other}" for other in NEEDED.get(name, ())]
    names = (f"-Wl,-soname,{name}", f"-Wl,--version-script,{script}", f"-L{HERE}")
    done = SYSTEM.run(["gcc", *FLAGS, "-", *names, *needed, "-o", str(HERE / name)], stdin=SOURCES[name])
    if not done.ok:
        raise SystemExit(done.err)


if __name__ == "__main__":
    main()
