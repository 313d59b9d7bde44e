"""Make the tiny binaries that the tests read: `python tests/elf/make.py`, on Linux x86-64 with gcc.

Each is what a binary in a real wheel is, as far as the tests look. They are committed, so that the tests need
no compiler.
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
SYSTEM_LIBRARY = "libsystem.so.6"
PROGRAM = "program"

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
        // Two fat binaries, with padding between: machine code of CUDA 12.2 for 53 and 86 and PTX 8.1 for 86,
        // with the sizes and, as LZ4 leaves it, the beginning of real ones; and PTX for 52 that is a stub.
        #define CUBIN ".byte 0xa2,127,69,76,70,2,1,1,0x33,7,0, 1,0, 0x66,2,0,0xbe,0,122,0, 1,0, 0,0,0,0,0\n"
        #define TEXT ".ascii \"<.version 8.1 .target sm_86\"\n"
        #define ENTRY(kind, sm, plain, code) \
            ".short " #kind ", 0x101\n .long 64\n .quad 27\n .long 25, 0\n .short 1, 8\n .long " #sm "\n" \
            ".quad 0, 0x2011, 0, " #plain "\n" code
        #define FATBIN(entries) ".long 0xba55ed50\n .short 1, 16\n .quad 4 * 91\n" entries ".balign 8\n"
        __asm__(".section .nv_fatbin,\"a\"\n .balign 8\n"
            FATBIN(ENTRY(2, 86, 4096, CUBIN) ENTRY(2, 53, 4096, CUBIN)
                ENTRY(1, 86, 4096, TEXT) ENTRY(1, 52, 147, TEXT)) ".quad 0\n"
            FATBIN(ENTRY(2, 53, 4096, CUBIN) ENTRY(2, 86, 4096, CUBIN)
                ENTRY(1, 86, 4096, TEXT) ENTRY(1, 52, 147, TEXT))
            ".previous");
    """,
    # A compiler may put a piece of another constant right before the list, as in torch 2.8.0.
    TORCH: r"""
        __asm__(".section .rodata\n .ascii \"std::string ipc_h\"\n"
            ".asciz \"sm_70 sm_75 sm_90a compute_120\"\n .asciz \"sm_70 of a message\"\n .previous");
        void torch(void) {}
    """,
    # Two versions of a family that only grows, two that stand for themselves, and a private one.
    SYSTEM_LIBRARY: r"""
        void old(void) {}  void new(void) {}  void quad(void) {}  void relr(void) {}  void secret(void) {}
    """,
    # A program: it names its loader and where to search, and asks for an executable stack.
    PROGRAM: r"""
        extern void old(void), new(void), quad(void), relr(void), secret(void);
        __asm__(".section .note.GNU-stack,\"x\",@progbits\n .previous");
        void _start(void) { old(); new(); quad(); relr(); secret(); }
    """,
}
VERSIONS = {
    SHIM_8: "libcudnn.so.8 { front_8; };",
    SHIM_9: "libcudnn.so.9 { front_9; };",
    SYSTEM_LIBRARY: (
        "GLIBC_2.9 { old; }; GLIBC_2.17 { new; } GLIBC_2.9; GLIBC_ABI_DT_RELR { relr; };"
        "CXXABI_FLOAT128 { quad; }; GLIBC_PRIVATE { secret; };"
    ),
}
NEEDED = {ENGINE: (SHIM_8,), PROGRAM: (SYSTEM_LIBRARY,)}

FLAGS = ("-nostdlib", "-O1", "-s", "-x", "c", "-Wl,--build-id=none,-z,noseparate-code")
LIBRARY = ("-shared", "-fPIC")
KINDS = {
    # One binary says where to search in the old way (RPATH), one in the new (RUNPATH).
    ENGINE: (*LIBRARY, "-Wl,--disable-new-dtags,-rpath,ctranslate2.libs"),
    PROGRAM: (
        *("-fPIE", "-pie", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../lib:/opt/lib"),
        "-Wl,--dynamic-linker=/lib64/ld-linux-x86-64.so.2",
    ),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name in SOURCES:
            _link(name, Path(scratch))


def _link(name: str, scratch: Path) -> None:
    script = scratch / "versions"
    script.write_text(VERSIONS.get(name, "{};"))
    needed = [f"-l:{other}" for other in NEEDED.get(name, ())]
    names = (f"-Wl,-soname,{name}", f"-Wl,--version-script,{script}", f"-L{HERE}")
    flags = (*FLAGS, *KINDS.get(name, LIBRARY))
    done = SYSTEM.run(["gcc", *flags, "-", *names, *needed, "-o", str(HERE / name)], stdin=SOURCES[name])
    if not done.ok:
        raise SystemExit(done.err)
    (HERE / name).chmod(0o644)  # nobody runs them


if __name__ == "__main__":
    main()
