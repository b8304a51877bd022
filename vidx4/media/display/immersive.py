"""How 360-degree and stereoscopic videos are shown: read from frames, written to containers.

Boxes are those of Google's Spherical Video V2 RFC.
"""

import struct
from dataclasses import replace
from fractions import Fraction

from av.sidedata.sidedata import Type as SideDataType

from vidx4.appearance import Projection, Sphere, Stereo, StereoLayout
from vidx4.media.display.rotation import WITHOUT_MATRIX
from vidx4.media.display.side_data import SideDataOf
from vidx4.media.formats.containers import MATROSKA, format_of

STEREO_TAG = "stereo_mode"
"""Metadata of a stream from which FFmpeg's muxer of Matroska takes the layout of two views."""
_SPHERE_LAYOUT = struct.Struct("=I3i4II")
"""Layout of `AVSphericalMapping`: the projection; yaw, pitch and roll; bounds at the left, top, right and
bottom; padding."""
_STEREO_LAYOUT = struct.Struct("=Ii")
"""Layout of the beginning of `AVStereo3D`: the type, and flags."""
_HALF, _QUARTER = 3, 1 << 30
"""`AV_SPHERICAL_HALF_EQUIRECTANGULAR`: a tile of the sphere without a quarter of it (0.32 fixed point) at the
left and at the right."""
_INVERTED = 1
"""`AV_STEREO3D_FLAG_INVERT`."""
_STEREO_MODES = {StereoLayout.TOP_BOTTOM: 1, StereoLayout.SIDE_BY_SIDE: 2}
"""Values of the box `st3d`."""
_TAGS = {
    StereoLayout.SIDE_BY_SIDE: ("left_right", "right_left"),
    StereoLayout.TOP_BOTTOM: ("top_bottom", "bottom_top"),
    StereoLayout.FRAME_SEQUENCE: ("block_lr", "block_rl"),
    StereoLayout.CHECKERBOARD: ("checkerboard_lr", "checkerboard_rl"),
    StereoLayout.LINES: ("row_interleaved_lr", "row_interleaved_rl"),
    StereoLayout.COLUMNS: ("col_interleaved_lr", "col_interleaved_rl"),
}
"""Values of `STEREO_TAG`, for the left view first and for the right one."""
_SHARED_WIDTH = frozenset({StereoLayout.SIDE_BY_SIDE, StereoLayout.COLUMNS})
_SHARED_HEIGHT = frozenset({StereoLayout.TOP_BOTTOM, StereoLayout.LINES})
"""Layouts in which both views share the width, or the height, of the stored picture."""


def read_sphere(found: SideDataOf) -> Sphere | None:
    """Return how a decoded frame covers a sphere; None if it is flat, or in a way that no container tells.

    Args:
        found: the side data of the frame.
    """
    data = found.get(SideDataType.SPHERICAL)
    if data is None:
        return None
    kind, yaw, pitch, roll, *bounds, padding = _SPHERE_LAYOUT.unpack_from(data)
    if kind == _HALF:
        kind, bounds = Projection.EQUIRECTANGULAR_TILE, [_QUARTER, 0, _QUARTER, 0]
    projection = Projection(kind) if kind in set(Projection) else Projection.OTHER
    if kind == Projection.RECTILINEAR:
        return None
    return Sphere(projection, (yaw, pitch, roll), tuple(bounds), padding)


def read_stereo(found: SideDataOf) -> Stereo | None:
    """Return how a decoded frame holds two views, given its side data; None if it holds one."""
    data = found.get(SideDataType.STEREO3D)
    if data is None:
        return None
    kind, flags = _STEREO_LAYOUT.unpack_from(data)
    if kind == StereoLayout.MONO:
        return None
    layout = StereoLayout(kind) if kind in set(StereoLayout) else StereoLayout.OTHER
    return Stereo(layout, is_inverted=bool(flags & _INVERTED))


def held_sphere(sphere: Sphere | None, suffix: str, across: Fraction, *, is_turned: bool) -> Sphere | None:
    """Return how an enlarged picture covers a sphere; None if the container can't tell.

    Args:
        sphere: how the source does.
        suffix: the output's suffix, which stands for its container.
        across: by how much the stored picture grows horizontally.
        is_turned: whether the container has to tell players to rotate or mirror the picture.
    """
    muxer = format_of(suffix)
    if sphere is None or sphere.projection == Projection.OTHER or muxer in WITHOUT_MATRIX:
        return None
    if is_turned and muxer in MATROSKA:  # which has one place for both
        return None
    return replace(sphere, padding=round(sphere.padding * across))


def held_stereo(stereo: Stereo | None, suffix: str) -> Stereo | None:
    """Return the layout of two views that a container can store; None if it can't store this one."""
    muxer = format_of(suffix)
    if stereo is None or muxer in WITHOUT_MATRIX:
        return None
    if muxer in MATROSKA:
        is_held = stereo.layout in _TAGS
        if muxer == "webm":
            is_held &= stereo.layout != StereoLayout.FRAME_SEQUENCE
    else:
        is_held = stereo.layout in _STEREO_MODES and not stereo.is_inverted
    return stereo if is_held else None


def to_boxes(sphere: Sphere | None, stereo: Stereo | None) -> bytes:
    """Return what `held_sphere` and `held_stereo` gave for MP4 as boxes; empty if there is nothing."""
    boxes = b""
    if stereo is not None:
        boxes += _full_box(b"st3d", bytes([_STEREO_MODES[stereo.layout]]))
    if sphere is not None:
        boxes += sphere_box(sphere)
    return boxes


def sphere_box(sphere: Sphere) -> bytes:
    """Return how a picture covers a sphere as a box of MP4."""
    orientation = _full_box(b"prhd", struct.pack(">3i", *sphere.orientation))
    return _box(b"sv3d", _full_box(b"svhd", b"\0") + _box(b"proj", orientation + _projection(sphere)))


def _projection(sphere: Sphere) -> bytes:
    if sphere.projection == Projection.CUBEMAP:
        return _full_box(b"cbmp", struct.pack(">2I", 0, sphere.padding))
    left, top, right, bottom = sphere.bounds
    return _full_box(b"equi", struct.pack(">4I", top, bottom, left, right))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full_box(kind: bytes, content: bytes) -> bytes:
    """Return a box with a version and flags, all zero."""
    return _box(kind, bytes(4) + content)


def stereo_tag(stereo: Stereo) -> str:
    """Return the value of `STEREO_TAG` for a layout that `held_stereo` gave for Matroska."""
    return _TAGS[stereo.layout][stereo.is_inverted]


def shape_of_view(ratio: Fraction, stereo: Stereo | None) -> Fraction:
    """Return the shape of pixels by which Matroska states the size of one view alone.

    Args:
        ratio: the width over the height of a pixel of the whole picture.
        stereo: the layout of the views.
    """
    if stereo is None:
        return ratio
    if stereo.layout in _SHARED_WIDTH:
        return ratio / 2
    return 2 * ratio if stereo.layout in _SHARED_HEIGHT else ratio
