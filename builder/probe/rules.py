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


UNRESOLVED = (
    Waiver(
        "torio/lib/*torio_ffmpeg?.so",
        "libav*.so.*",
        "torchaudio's FFmpeg integration, one build for each of FFmpeg 4, 5 and 6; none found, none used",
    ),
    Waiver(
        "torchaudio/lib/*torchaudio_sox.so",
        "libsox.so",
        "torchaudio's SoX integration; without libsox it offers its other backends",
    ),
)
"""DT_NEEDED entries that may stay unresolved."""

OPTIONAL = {
    "libnccl.so.2": "for tensor parallelism, one model over several GPUs",
    "libmpi.so.40": "for tensor parallelism, one model over several GPUs",
    "libmkl_*.so.2": "MKL is linked in statically; its code for dynamic dispatch is never reached",
    "libmemkind.so": "for high-bandwidth memory beside the processor, which MKL does without",
    "libittnotify.so": "for Intel's profiler, loaded while that one is watching",
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


CUDNN_CALLS = (
    CudnnCall("cudnnCreateTensorDescriptor", "ops_infer (8), graph and ops (9)", True),
    CudnnCall("cudnnCreateConvolutionDescriptor", "cnn_infer (8), cnn (9)", True),
    CudnnCall("cudnnCreateRNNDescriptor", "adv_infer (8), adv (9)", True),
    CudnnCall("cudnnCreateCTCLossDescriptor", "adv_train and ops_train (8), adv (9)", True),
    CudnnCall("cudnnCnnTrainVersionCheck", "cnn_train (8)", False),
    CudnnCall("cudnnGraphVersionCheck", "graph (9)", False),
)
"""In the order of CTranslate2's own first use, so that a missing library gives the message users know."""
