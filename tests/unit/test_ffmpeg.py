"""Where FFmpeg comes from in an image."""

from __future__ import annotations

from pathlib import PurePosixPath as Posix

from builder.abi.facts import Summary
from builder.ffmpeg import Link, libraries, program
from builder.lock.record import Environment, Package

SITE = Posix("/opt/site")
PREFIX = Posix("/opt")
INSIDE = (
    "av.libs/libavcodec-7ee0753d.so.61.19.101",
    "av.libs/libswresample-f1bdf0d4.so.5.3.100",
    "av.libs/libx264-b1bb65f5.so.165",
    "av.libs/libavif.so.16",
)


def environment(name: str, **facts: tuple[str, ...]) -> Environment:
    package = Package(
        name=name, version="1", file=f"{name}-1-py3-none-any.whl", sha256="0", size=1, facts=Summary(**facts)
    )
    return Environment(name="main", packages=(package,))


def test_the_program_in_a_wheel_is_called_ffmpeg() -> None:
    part = environment("imageio-ffmpeg", binaries=("imageio_ffmpeg/ffmpeg-v7",))
    assert [*program(part, PREFIX, SITE)] == [
        Link(path=Posix("/opt/bin/ffmpeg"), target=Posix("/opt/site/imageio_ffmpeg/ffmpeg-v7"))
    ]


def test_the_libraries_inside_pyav_get_the_names_that_others_ask_for() -> None:
    part = environment("av", libraries=INSIDE)
    assert [*libraries(part, SITE)] == [
        Link(path=Posix("/usr/lib/libavcodec.so.61"), target=SITE / INSIDE[0]),
        Link(path=Posix("/usr/lib/libswresample.so.5"), target=SITE / INSIDE[1]),
    ]


def test_an_environment_without_them_has_no_links() -> None:
    part = environment("numpy")
    assert [*program(part, PREFIX, SITE), *libraries(part, SITE)] == []
