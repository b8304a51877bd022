"""Recognise a video by the first bytes of its file."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vidx4.files.read import open_file
from vidx4.media.formats import ebml

_HEAD = 4096
"""Bytes that are read; those of several packets of MPEG-TS."""
_SIGNATURES = (
    b"\x00\x00\x01\xb0",  # MPEG-4 and Chinese AVS
    b"\x00\x00\x01\xb3",  # MPEG-1 and MPEG-2
    b"\x00\x00\x01\xba",  # MPEG-PS
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02",  # MXF
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",  # ASF, dvr-ms
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11\xa6\x4e\x00\x07\xe9\x5e\xad\x8d",  # WTV
    b"\x84\x10\xff\xff\xff\xff",  # RoQ
    b"\xf5\x46\x7a\xbd",  # TiVo
    *(
        b".RMF",
        b"BBCD",
        b"BIKf",
        b"BIKg",
        b"BIKi",
        b"CRID",
        b"DHAV",
        b"DKIF",
        b"GIF8",
        b"NSVf",
        b"NSVs",
    ),
    *(b"SMK2", b"SMK4", b"THP\0", b"pmpm", b"LUCAM-RECORDER", b"MythTVVideo", b"NuppelVideo", b"YUV4MPEG2 "),
    *(b"nut/multimedia container\0", b"Interplay MVE File\x1a"),
)
_BOXES = frozenset(b"ftyp mdat moov pnot skip wide".split())
"""Kinds of boxes that MP4 and QuickTime files begin with."""
_OTHER_BRANDS = (
    b"M4A",
    b"M4B",
    b"M4P",
    b"F4A",
    b"F4B",
    b"avif",
    b"hei",
    b"hev",
    b"mif1",
    b"msf1",
    b"jxl ",
    b"crx ",
)
"""Beginnings of the brands of MP4 files that hold sounds or pictures."""
_JPEG_2000 = b"\0\0\0\x0cjP  "
"""The box that JPEG 2000 pictures and Motion JPEG 2000 begin with."""
_RIFF_FORMS = frozenset({b"AVI ", b"AMV ", b"CDXA", b"ON2 "})
"""Kinds of RIFF files that hold videos; CDXA is a track of a Video CD."""
_OGG_VIDEOS = (b"\x80theora", b"\x01video", b"BBCD", b"OVP80")
"""First bytes of streams of Theora, OGM, Dirac and VP8 in Ogg."""
_TS_SYNC, _NUM_SYNCS = 0x47, 5
"""First byte of each packet of MPEG-TS, and number of packets after which it is no coincidence."""
_TS_PACKETS = (188, 192, 204)
"""Sizes of a packet: plain, with the time of its arrival (M2TS), and with error correction."""
_DV_MASK: Mapping[int, int] = {0: 0xFF, 1: 0xFF, 2: 0xFF, 3: 0x7F}
_DV_HEADER = b"\x1f\x07\x00\x3f"
"""Header of a frame of DV, and the bits of it that are fixed."""


def holds_video(path: Path) -> bool:
    """Return whether a file begins like a video; one that can't be read does not."""
    with suppress(OSError), open_file(path) as file:
        return begins_like_video(file.read(_HEAD))
    return False


def begins_like_video(head: bytes) -> bool:
    """Return whether some bytes are the beginning of a file of a known video format."""
    return (
        head.startswith(_SIGNATURES)
        or _is_matroska(head)
        or _is_mp4(head)
        or (head.startswith(b"RIFF") and head[8:12] in _RIFF_FORMS)
        or (head.startswith(b"FLV\x01") and bool(head[4:5] and head[4] & 1))
        or (head.startswith(b"OggS") and any(name in head for name in _OGG_VIDEOS))
        or (head.startswith(b"SIFF") and head[8:12] == b"VBV1")
        or (head.startswith(b"AV") and head[4:5] == b"\x55" and head[2:3] in (b"\x01", b"\x02"))  # PVA
        or (head.startswith(b"\0\0\0\0\x01\xbc") and head[14:16] == b"\xe1\xe2")  # GXF
        or _is_dv(head)
        or _is_flic(head)
        or _is_annex_b(head)
        or _is_transport_stream(head)
    )


def _is_matroska(head: bytes) -> bool:
    return head.startswith(ebml.HEADER) and any(kind in head[:64] for kind in (b"matroska", b"webm"))


def _is_mp4(head: bytes) -> bool:
    if head.startswith(_JPEG_2000):
        return head[16:24] == b"ftypmjp2"
    if head[4:8] == b"ftyp":
        return not head[8:12].startswith(_OTHER_BRANDS)
    # The size of a box counts its header; 1 stands for a size of 64 bits, 0 for the rest of the file.
    size = int.from_bytes(head[:4])
    return head[4:8] in _BOXES and (size in (0, 1) or size >= 8)


def _is_dv(head: bytes) -> bool:
    return len(head) >= len(_DV_HEADER) and all(
        head[i] & mask == _DV_HEADER[i] for i, mask in _DV_MASK.items()
    )


def _is_flic(head: bytes) -> bool:
    """Return whether this is an animation of Autodesk: type, width, height and depth are as they can be."""
    width, height, depth = (int.from_bytes(head[i : i + 2], "little") for i in (8, 10, 12))
    return (
        head[4:6] in (b"\x11\xaf", b"\x12\xaf") and 0 < width <= 4096 and 0 < height <= 4096 and depth <= 24
    )


def _is_annex_b(head: bytes) -> bool:
    """Return whether this is a bare stream of H.264 or HEVC: its first unit has parameters or delimits."""
    if not head.startswith(b"\0\0\0\1") or len(head) < 6:
        return False
    is_h264 = head[4] in (0x09, 0x27, 0x47, 0x67)
    return is_h264 or (head[4] in (0x40, 0x42, 0x46) and head[5] == 1)


def _is_transport_stream(head: bytes) -> bool:
    # A recording may begin in the middle of a packet.
    return any(
        len(head) > start + (_NUM_SYNCS - 1) * size
        and all(head[start + i * size] == _TS_SYNC for i in range(_NUM_SYNCS))
        for size in _TS_PACKETS
        for start in range(size)
    )
