from __future__ import annotations

from builder.probe import maps

NINE = "/env/nvidia/cudnn/lib/libcudnn{}.so.9"
SHIM = "/env/ctranslate2.libs/libcudnn-463fd6d5.so.8.9.7"

MAPS = """\
7f1c00000000-7f1c00001000 r--p 00000000 fe:00 1234   /env/nvidia/cudnn/lib/libcudnn.so.9
7f1c00001000-7f1c00002000 r-xp 00001000 fe:00 1234   /env/nvidia/cudnn/lib/libcudnn.so.9
7f1c00002000-7f1c00003000 rw-p 00000000 00:00 0
7f1c00003000-7f1c00004000 rw-p 00000000 00:00 0      [heap]
7f1c00004000-7f1c00005000 r--p 00000000 fe:00 99     /a folder/libx.so (deleted)
"""


def test_mapped_files_stand_once_and_anonymous_memory_is_left_out() -> None:
    assert maps.mapped_files(MAPS) == [NINE.format(""), "/a folder/libx.so (deleted)"]


def test_cudnn_from_two_folders_shows() -> None:
    paths = [NINE.format(""), NINE.format("_ops"), "/usr/lib/libcudnn_cnn.so.9.8.0"]
    assert maps.cudnn_folders(paths) == {"9": ["/env/nvidia/cudnn/lib", "/usr/lib"]}


def test_two_majors_of_cudnn_may_come_from_two_folders() -> None:
    paths = [NINE.format(""), "/overlay/libcudnn_ops_infer.so.8"]
    assert maps.cudnn_folders(paths) == {"8": ["/overlay"], "9": ["/env/nvidia/cudnn/lib"]}


def test_the_front_that_ctranslate2_bundles_is_no_second_cudnn() -> None:
    assert maps.cudnn_folders([SHIM, "/overlay/libcudnn_ops_infer.so.8"]) == {"8": ["/overlay"]}


def test_fronts_are_the_bundled_one_and_the_real_one_and_no_sub_library() -> None:
    assert maps.fronts([SHIM, NINE.format(""), NINE.format("_ops")]) == [SHIM, NINE.format("")]
