"""No option of an encoder makes it read or write a file outside the output's folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from av.codec import CodecContext

from tests.capabilities import CAN_LINK, needs_links
from tests.video_files import write_video
from vidx4.errors import OptionError
from vidx4.media.formats.encoder_files import (
    FILE_OPTIONS,
    PARAMETER_LISTS,
    PLAIN_OPTIONS,
    check_files,
)
from vidx4.media.formats.encoders import ENCODERS, is_installed
from vidx4.media.options import EncodeOptions
from vidx4.media.output import plan_output
from vidx4.media.probe import probe

TEXTS = {"BINARY", "DICT", "STRING"}

NAMES = (
    "stats={}",
    "passlogfile={}",
    "x265-stats={}",
    "x264-params=stats={}",
    "x264-params=bframes=2:dump-yuv={}",
    "x264-params=dump_yuv={}",
    "x264-params=DUMP-YUV={}",
    "x264-params=du\\mp-yuv={}",
    "x264-params='dump'-yuv={}",
    "x264-params= dump-yuv = {}",
    "x264-params=cqm={}",
    "x264-params=no-stats={}",
    "x264opts=cqmfile={}",
    "x264opts=bframes=2:opencl-clbin={}",
    "x265-params=csv={}",
    "x265-params=analysis_save={}",
    "x265-params=scaling-list={}",
    "x265-params=zones=0,9,q=20:lambda-file={}",
    "svtav1-params=fgs-table={}",
    "svtav1-params=stat_file={}",
    "ts-parameters=ts_log_file={}",
)
"""Ways to name a file."""

HARMLESS = (
    "g=12",
    "flags=+cgop-psnr",
    "psy-rd=1.0:0.15",
    "tune=film",
    "x264opts=no-cabac:bframes=2",
    "x264-params=level=4.1:fps=24000/1001:zones=0,9,crf=20/10,19,q=10:cqm=jvt:opencl=0",
    "x264-params=mastering-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(1000,1)",
    "x265-params=profile=main10:scaling-list=default:csv-log-level=2:no-info=1:dolby-vision-profile=8.1",
    "svtav1-params=tune=0:film-grain-denoise=1:enable-stat-report=0:scm=0",
)


def string_options() -> Iterator[tuple[str, str]]:
    for encoder in ENCODERS.values():
        if is_installed(encoder.name):
            supported = CodecContext.create(encoder.name, "w").supported_options
            for option in (*supported.generic, *supported.private):
                if getattr(option.type, "name", "STRING") in TEXTS:
                    yield encoder.name, option.name


def test_every_text_that_an_encoder_takes_is_known_to_name_a_file_or_not() -> None:
    found = {name for _, name in string_options()}
    kinds = (FILE_OPTIONS, PARAMETER_LISTS, PLAIN_OPTIONS)
    assert found <= frozenset.union(*kinds)
    assert sum(map(len, kinds)) == len(frozenset.union(*kinds))
    lists = {name for name in found if name.endswith(("-params", "-parameters", "opts"))}
    assert lists <= PARAMETER_LISTS


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    if CAN_LINK:
        (tmp_path / "out" / "link").symlink_to(tmp_path / "home")
    source, output = tmp_path / "out" / "film.mp4", tmp_path / "out" / "film_x4.mp4"
    source.write_text("a film")
    os.link(source, tmp_path / "out" / "twin.mp4")
    return output, source


@needs_links
@pytest.mark.parametrize("name", NAMES)
def test_files_lie_in_the_folder_of_the_output(name: str, places: tuple[Path, Path]) -> None:
    folder = places[0].parent
    inside, outside = folder / "sub" / "a file.log", folder.parent / "home" / "thesis.txt"
    forbidden = (outside, folder / "link" / "thesis.txt", folder / ".." / "home" / "x", *places, folder)
    for path in (*forbidden, folder / "twin.mp4", "thesis", "", "~/thesis.txt", f"'{inside}'", "/dev/fd/1"):
        with pytest.raises(OptionError, match="may name only a file below"):
            check_files((name.format(path),), *places)
    if "\\" not in name and "'" not in name:
        check_files((name.format(inside),), *places)


def test_a_parameter_that_nobody_knows_names_no_path(places: tuple[Path, Path]) -> None:
    for value in ("/etc/passwd", "../thesis", "thesis.txt", "~thesis"):
        with pytest.raises(OptionError, match="may name only a file below"):
            check_files((f"svtav1-params=unknown-map={value}",), *places)


@pytest.mark.parametrize("text", HARMLESS)
def test_other_options_are_taken(text: str, places: tuple[Path, Path]) -> None:
    check_files((text,), *places)


@pytest.mark.parametrize(
    "text",
    [
        "x264-params=pass=1",
        "x264opts=opencl",
        "x265-params=pa\\ss=3",
        "flags=+pass1",
        "flags=512",
        "flags=+pass2",
    ],
)
def test_files_without_a_name_are_not_written(text: str, places: tuple[Path, Path]) -> None:
    with pytest.raises(OptionError, match="leave it out"):
        check_files((text,), *places)


def test_no_encoder_starts_before_its_files_are_checked(tmp_path: Path) -> None:
    source, precious = tmp_path / "in.mp4", tmp_path / "home" / "thesis.txt"
    write_video(source, num_frames=2, width=32, height=24, num_audio=0)
    precious.parent.mkdir()
    precious.write_text("precious")
    options = EncodeOptions("h264", encoder_options=(f"x264-params=dump-yuv={precious}",))
    with pytest.raises(OptionError, match="dump-yuv"):
        plan_output(probe(source), tmp_path / "out" / "out.mp4", encode=options)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("there", ["log", "log.temp"])
def test_files_that_exist_are_read_but_not_written(there: str, places: tuple[Path, Path]) -> None:
    path = places[0].parent / "log"
    path.with_name(there).touch()
    with pytest.raises(OptionError, match="nor one to write that exists"):
        check_files((f"x265-params=analysis-save={path}",), *places)
    check_files((f"x265-params=qpfile={path}",), *places)
