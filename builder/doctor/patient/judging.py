"""All judges in their order, and the order of what they find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.doctor.patient import of_gpus, of_libraries, of_packages, of_place
from builder.doctor.patient.case import SEVERITIES

if TYPE_CHECKING:
    from builder.doctor.patient.case import Case, Finding

JUDGES = (
    of_place.foreign_system,
    of_packages.executable_stack,
    of_packages.glibc_too_old,
    of_packages.imports,
    of_gpus.driver_too_old,
    of_gpus.libcuda_not_found,
    of_gpus.driver_refuses,
    of_gpus.gpus_hidden,
    of_gpus.no_kernel_image,
    of_gpus.ptx_too_new,
    of_gpus.without_cuda,
    of_libraries.cudnn_of_another_version,
    of_libraries.cudnn_mixed,
    of_libraries.cudnn_not_found,
    of_libraries.cublas_not_found,
    of_libraries.cublaslt_not_found,
    of_libraries.cudnn_of_two_folders,
    of_place.set_too_late,
    of_packages.codec_without_ffmpeg,
    of_packages.combinations,
    of_gpus.float16_unsupported,
    of_gpus.driver_absent,
    of_place.stubs_first,
    of_place.entries_missing,
    of_place.preloads_missing,
    of_place.host_refused,
    of_packages.twice_installed,
    of_libraries.several_copies,
    of_packages.nothing_installed,
)
"""Causes before their echoes: within one severity this is the order in which findings are told."""


def findings(case: Case) -> tuple[Finding, ...]:
    """All findings, worst first; of those that matter on a GPU only this is said where none is visible."""
    found = _judged(case)
    if not case.gpu:
        graver = {(one.id, one.found): one.severity for one in _judged(case._replace(for_gpu=True))}
        found = [
            _of_gpus_only(one) if graver.get((one.id, one.found), one.severity) != one.severity else one
            for one in found
        ]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def _judged(case: Case) -> list[Finding]:
    foreign = list(of_place.foreign_system(case))
    return foreign or [finding for judge in JUDGES for finding in judge(case)]


def _of_gpus_only(finding: Finding) -> Finding:
    return finding._replace(sure=f"{finding.sure}; it matters on a GPU only, and none is visible here")
