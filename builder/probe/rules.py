"""What the checks take for granted, as data: every exception stands here, with its reason.

File patterns are relative to site-packages; `*` matches within and across folders (fnmatch). A waiver excuses
one pair of file and library, so one that no longer matches anything hides nothing.
"""

from __future__ import annotations

from typing import NamedTuple

DRIVER_LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")
"""They come with the host's driver and are mounted into a container, never part of an image."""

CUDA_LIBRARY = r"lib(cu(?!rl)|nv|nccl)[^/]*\.so(\.[^/]*)?"
"""Names of files that belong to CUDA (cu*, nv*) and NCCL; libcurl only looks alike."""

MODULES = ("torch", "ctranslate2", "onnxruntime", "pyannote.audio")
"""Those whose order of import has broken environments: each brings or opens CUDA libraries."""


class After(NamedTuple):
    """Libraries that find what they need because Python has loaded something else before.

    What a file needs and what lies beside it counts as loaded too: those who rely on an earlier import load
    their own libraries by path.

    Attributes:
        files: Pattern of the libraries concerned.
        seed: A library that is loaded first, with everything it needs in turn.
        reason: Who sees to it that it is.
    """

    files: str
    seed: str
    reason: str


AFTER = (
    After("torchaudio/lib/*.so", "torch/lib/libtorch_python.so", "`import torchaudio` imports torch first"),
    After("torio/lib/*.so", "torch/lib/libtorch_python.so", "`import torio` imports torch first"),
    After("torchvision/*.so", "torch/lib/libtorch_python.so", "`import torchvision` imports torch first"),
    After("torchcodec/*.so", "torch/lib/libtorch_python.so", "`import torchcodec` imports torch first"),
    After("nvfuser/*.so", "torch/lib/libtorch_python.so", "torch's own modules import nvfuser, after torch"),
    After(
        "nvidia/*/libcufile_rdma.so.*",
        "nvidia/*/libcufile.so.*",
        "libcufile opens it, as its part for remote storage",
    ),
    After(
        "nvidia/cu13/lib/libcusolverMg.so.*",
        "torch/lib/libtorch_python.so",
        "CUDA 13's wheel gives it no RPATH; torch has loaded what it needs, and nothing here uses it",
    ),
)


class Waiver(NamedTuple):
    """A library that a file asks for and that need not be there.

    Attributes:
        files: Pattern of the files that ask.
        libraries: Pattern of the libraries' names.
        reason: Why everything works without.
    """

    files: str
    libraries: str
    reason: str


_RDMA = "libcufile's part for storage over InfiniBand, which only hosts with such a network have"
_NVSHMEM = "a plugin of NVSHMEM for one kind of cluster; it opens those that it finds a network for"
_TORIO = "torchaudio's FFmpeg integration, one build for each of FFmpeg 4, 5 and 6; it does without"
_THREADS = "one of numba's ways to run threads; it takes the first that loads, and has one that needs nothing"

UNRESOLVED = (
    Waiver("torio/lib/*torio_ffmpeg?.so", "libav*.so.*", _TORIO),
    Waiver("torchaudio/lib/*torchaudio_ffmpeg.so", "libav*.so.*", _TORIO),
    Waiver(
        "torchaudio/lib/*torchaudio_sox.so",
        "libsox.so",
        "torchaudio's SoX integration; without libsox it offers its other backends",
    ),
    Waiver("nvidia/*/libcufile_rdma.so.*", "libmlx5.so.*", _RDMA),
    Waiver("nvidia/*/libcufile_rdma.so.*", "librdmacm.so.*", _RDMA),
    Waiver("nvidia/*/libcufile_rdma.so.*", "libibverbs.so.*", _RDMA),
    Waiver("nvidia/nvshmem/lib/nvshmem_bootstrap_mpi.so.*", "libmpi.so.*", _NVSHMEM),
    Waiver("nvidia/nvshmem/lib/nvshmem_bootstrap_pmix.so.*", "libpmix.so.*", _NVSHMEM),
    Waiver("nvidia/nvshmem/lib/nvshmem_bootstrap_shmem.so.*", "liboshmem.so.*", _NVSHMEM),
    Waiver("nvidia/nvshmem/lib/nvshmem_transport_ib*.so.*", "libmlx5.so.*", _NVSHMEM),
    Waiver("nvidia/nvshmem/lib/nvshmem_transport_gpunetio.so.*", "libmlx5.so.*", _NVSHMEM),
    Waiver("nvidia/nvshmem/lib/nvshmem_transport_libfabric.so.*", "libfabric.so.*", _NVSHMEM),
    Waiver("nvidia/nvshmem/lib/nvshmem_transport_ucx.so.*", "libuc[ps].so.*", _NVSHMEM),
    Waiver("numba/np/ufunc/omppool.*.so", "libgomp.so.*", _THREADS),
    Waiver("numba/np/ufunc/tbbpool.*.so", "libtbb.so.*", _THREADS),
    Waiver(
        "torch/lib/libgfortran.so.5",
        "libquadmath.so.0",
        "Fortran's runtime lies in torch's wheel, and none of its libraries is linked with it",
    ),
    Waiver("torch/bin/nvfuser_tests", "*", "torch's own tests, a program that nobody runs"),
)
"""DT_NEEDED entries that may stay unresolved."""


class Alternatives(NamedTuple):
    """Builds of one thing of which one has to work.

    Attributes:
        files: A regular expression for the files; its group names the build.
        reason: Why one is enough.
    """

    files: str
    reason: str


ALTERNATIVES = (
    Alternatives(
        r"torchcodec/libtorchcodec_[a-z_]+(\d+)\.so",
        "torchcodec carries a build for each FFmpeg and takes the newest that loads",
    ),
)

COPIES = (
    Waiver(
        "triton/backends/nvidia/lib/cupti/*",
        "*",
        "Triton's own CUPTI, opened by its profiler alone; a wheel has no links, so one file has three names",
    ),
    Waiver(
        "torchvision.libs/libcudart.*",
        "libcudart.so.*",
        "torchvision's wheel bundles a CUDA runtime; several may serve one process",
    ),
)
"""Files that may be second copies of a library, by path and soname."""

OPTIONAL = {
    "libnccl.so.2": "for tensor parallelism, one model over several GPUs",
    "libmpi.so.40": "for tensor parallelism, one model over several GPUs",
    "libmkl_*.so.2": "MKL is linked in statically; these are its parts where it is not",
    "libmemkind.so": "for high-bandwidth memory; without it MKL takes ordinary memory",
    "libittnotify.so": "for Intel's profiler; without it nothing is recorded",
}
"""Names, as patterns, that CTranslate2's binaries hold and that need not open, with the reason."""


class CudnnCall(NamedTuple):
    """A function of cuDNN that makes it open one of its sub-libraries and needs no GPU.

    Attributes:
        function: Its name. A library that does not export it is not asked.
        opens: The sub-libraries that it opens, in cuDNN 8 and in cuDNN 9.
        makes: Whether it takes a pointer to a descriptor to fill in; the others take nothing.
    """

    function: str
    opens: str
    makes: bool


WHISPER_CALLS = (
    CudnnCall("cudnnCreateTensorDescriptor", "ops_infer (8), graph and ops (9)", makes=True),
    CudnnCall("cudnnCreateConvolutionDescriptor", "cnn_infer (8), cnn (9)", makes=True),
)
"""All that Whisper needs in CTranslate2; pyannote.audio on torch needs more (adv)."""

CUDNN_CALLS = (
    *WHISPER_CALLS,
    CudnnCall("cudnnCreateRNNDescriptor", "adv_infer (8), adv (9)", makes=True),
    CudnnCall("cudnnCreateCTCLossDescriptor", "adv_train and ops_train (8), adv (9)", makes=True),
    CudnnCall("cudnnCnnTrainVersionCheck", "cnn_train (8)", makes=False),
    CudnnCall("cudnnGraphVersionCheck", "graph (9)", makes=False),
)
"""In the order of CTranslate2's own first use, so that a missing library gives the message users know."""
