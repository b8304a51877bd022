"""The table of suffixes holds every kind of video that FFmpeg reads."""

from contextlib import suppress

import av
import pytest
from av.format import ContainerFormat

from vidx4.jobs.folder.kinds import PICTURE_SUFFIXES
from vidx4.media.formats.suffixes import OTHER_SUFFIXES, SHARED_SUFFIXES, VIDEO_SUFFIXES

SOUNDS = """
    302 722 aa aa3 aac aax ac3 ac4 acm adf adp ads adx aea afc aix al apc ape apl aptx aptxhd ast avr
    bcstm bfstm binka bit bonk brstm c2 cdata daud dfpwm dsf dss dtk dts dtshd eac3 ec3 fap flac fsb fwse
    g722 g723_1 g728 g729 genh gsm hca iamf ircam isma laf lc3 m2a m4a m4b mac mca mka mlp mmf mp2 mp3 mpa
    mpc msbc msf mtaf musx nist nsp oma omg osq paf pvf qcp qoa rco redspark rka rsd rso sb sbc sbg sdns
    sdr2 sds sdx sf shn sln son sph ss2 svag svs sw tak tco thd tta ub ul uw vag vpk vqe vqf vql wa way
    wsd xmd xvag
"""
TEXTS = """
    ans aqt art asc diz ice idf idx lrc mcc mks mpl2 nfo pjs rt sami scc smi srt stl sub sup txt vt vtt
    webvtt
"""
PICTURES = "avif cri heic heif ico j2k jxl mpo"
WITHOUT_SIZE = "bitpacked cif qcif rgb v210 yuv yuv10"
"""Raw pictures, whose size FFmpeg has to be told."""
OLD_VIDEOS = (
    "divx",
    "dvr-ms",
    "mod",
    "qt",
    "tod",
    "trp",
    "vro",
    "wtv",
    "m2t",
    "m2ts",
    "mts",
    "mxf",
    "gxf",
    "rmvb",
)


def extensions(name: str) -> set[str]:
    """Return the suffixes of a demuxer; none for a muxer."""
    with suppress(ValueError):
        return ContainerFormat(name, "r").extensions
    return set()


def test_every_suffix_that_ffmpeg_knows_is_known_here() -> None:
    known = {extension for name in av.formats_available for extension in extensions(name)}
    others = set(f"{SOUNDS} {TEXTS} {PICTURES} {WITHOUT_SIZE}".split())
    assert {f".{each}" for each in known - others} <= VIDEO_SUFFIXES | PICTURE_SUFFIXES
    assert not {f".{each}" for each in others} & VIDEO_SUFFIXES


@pytest.mark.parametrize("name", OLD_VIDEOS)
def test_suffixes_that_ffmpeg_does_not_list(name: str) -> None:
    assert f".{name}" in VIDEO_SUFFIXES


def test_a_suffix_is_of_one_kind() -> None:
    assert SHARED_SUFFIXES <= VIDEO_SUFFIXES
    assert not OTHER_SUFFIXES & (VIDEO_SUFFIXES | PICTURE_SUFFIXES)
    assert all(each == each.lower() for each in VIDEO_SUFFIXES | OTHER_SUFFIXES)
