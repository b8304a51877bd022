"""What the enlarged video stream will be, decided before any work."""

from dataclasses import dataclass, replace
from fractions import Fraction

from av.video.format import VideoFormat

from vidx4.appearance import ColorDescription, HdrMetadata, Margins, Sphere, Stereo
from vidx4.errors import ContainerError, OptionError
from vidx4.frames import SCALE
from vidx4.media.display.aperture import enlarged
from vidx4.media.display.hdr import encoder_options
from vidx4.media.display.immersive import held_sphere, held_stereo
from vidx4.media.display.rotation import WITHOUT_MATRIX, Turn, needed_turn, output_matrix
from vidx4.media.encoder import EncoderSettings, merged, resolve, try_out
from vidx4.media.formats.containers import MATROSKA, check_codec, format_of, held_codecs
from vidx4.media.formats.encoders import CODECS
from vidx4.media.formats.matroska import holds_shape
from vidx4.media.options import EncodeOptions
from vidx4.video import Source

_MAX_RATIO = 1 << 15
"""The largest term of a pixel's shape; H.264 and HEVC write terms of up to 16 bits."""
_LIMITED_RANGE_ONLY = frozenset({"prores"})
"""Codecs that can't signal the full range."""
_WITHOUT_SHAPE = frozenset({"libsvtav1", "libvpx-vp9", "av1_nvenc", "ffv1"})
"""Encoders that don't write the shape of pixels into their stream: the container has to."""
_WITHOUT_FCC = frozenset({"libvpx-vp9"})
"""Encoders that can't signal the matrix of the FCC."""
_FCC, _BT601 = 4, 6
"""Codes of MatrixCoefficients (ITU-T H.273)."""
_LEFT, _TOP_LEFT = 1, 3
_SITINGS_OF = {"libx264": range(1, 7), "libx265": range(1, 7), "libsvtav1": (_LEFT, _TOP_LEFT)}
"""Chroma locations that an encoder can signal; others signal none."""
_SITINGS = {1: "left", 2: "center", 3: "topleft", 4: "top", 5: "bottomleft", 6: "bottom"}
"""FFmpeg's names of the values of `AVChromaLocation`."""


@dataclass(frozen=True)
class Target:
    """The enlarged video stream of an output."""

    encoder: EncoderSettings
    width: int
    """Width of the stored picture in pixels."""
    height: int
    sample_aspect_ratio: Fraction
    """Width of a pixel over its height."""
    turn: Turn
    """What is done to the frames, because the container can't tell players to do it."""
    display_matrix: tuple[int, ...] | None
    """What the container tells players to do, in FFmpeg's layout."""
    color: ColorDescription
    hdr: HdrMetadata
    margins: Margins
    """The edges of the picture that the container tells players to hide."""
    sphere: Sphere | None = None
    """How pictures cover a sphere, as the container tells players."""
    stereo: Stereo | None = None
    """How pictures hold the views of both eyes, as the container tells players."""

    @property
    def part_format(self) -> str:
        """FFmpeg's name of the format of parts: NUT holds any codec but ProRes, with any time base."""
        return "mov" if self.encoder.codec == "prores" else "nut"

    def side_by_side(self, num_pictures: int) -> "Target":
        """Return the target of several pictures side by side, with no edges hidden, and shown flat."""
        flat = replace(self, margins=Margins(), sphere=None, stereo=None)
        if self.turn.is_transposed:
            return replace(flat, height=num_pictures * self.height)
        return replace(flat, width=num_pictures * self.width)


def target_of(source: Source, suffix: str, options: EncodeOptions) -> Target:
    """Decide what becomes of the frames of a source in a container.

    Raises:
        OptionError: the options don't fit each other or the picture, or the encoder is not available.
        ContainerError: the container can't hold video of the codec, or the shape of its pixels.
    """
    if options.codec in CODECS:
        check_codec(options.codec, suffix)
    turn = needed_turn(source.display_matrix, suffix)
    width, height = (SCALE * source.width, SCALE * source.height)
    ratio = source.sample_aspect_ratio
    if turn.is_transposed:
        width, height, ratio = height, width, 1 / ratio
    size = _final_size(width, height, options)
    settings = resolve(options, *size, source.bit_depth, held=held_codecs(suffix))
    _check_size(size, settings.pix_fmt)
    ratio = (ratio * Fraction(width, size[0]) / Fraction(height, size[1])).limit_denominator(_MAX_RATIO)
    if settings.encoder in _WITHOUT_SHAPE and format_of(suffix) in MATROSKA and not holds_shape(ratio):
        raise ContainerError(
            f"The pixels of {source.path} have an aspect ratio of {ratio}, which a {suffix} file with "
            f"{settings.codec} can't store: use .mp4, or the codec h264 or hevc, or make the pixels square "
            "with --width and --height."
        )
    color = _color(source.color, settings)
    matrix = output_matrix(source.display_matrix, suffix, *_factors(source, size))
    if options.encoder_options or "nvenc" in settings.encoder:
        try_out(settings, *size)
    return Target(
        encoder=replace(settings, options=_with_metadata(settings, color, source.hdr)),
        width=size[0],
        height=size[1],
        sample_aspect_ratio=ratio,
        turn=turn,
        display_matrix=matrix,
        color=color,
        hdr=source.hdr,
        margins=Margins()
        if format_of(suffix) in WITHOUT_MATRIX
        else enlarged(source.margins, *_factors(source, size)),
        sphere=held_sphere(source.sphere, suffix, _factors(source, size)[0], is_turned=matrix is not None),
        stereo=held_stereo(source.stereo, suffix),
    )


def _factors(source: Source, size: tuple[int, int]) -> tuple[Fraction, Fraction]:
    return Fraction(size[0], source.width), Fraction(size[1], source.height)


def _final_size(width: int, height: int, options: EncodeOptions) -> tuple[int, int]:
    """Return the size that is wanted; if only one side is given, the other keeps the picture's shape."""
    match options.width, options.height:
        case None, None:
            return width, height
        case int(wanted), None:
            return wanted, _even(Fraction(height * wanted, width))
        case None, int(wanted):
            return _even(Fraction(width * wanted, height)), wanted
    assert options.width is not None
    assert options.height is not None
    return options.width, options.height


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))


def _check_size(size: tuple[int, int], pix_fmt: str) -> None:
    stored = VideoFormat(pix_fmt)
    steps = 16 // stored.chroma_width(16), 16 // stored.chroma_height(16)
    if any(length < 1 or length % step for length, step in zip(size, steps, strict=True)):
        raise OptionError(f"{size[0]}x{size[1]} can't be stored as {pix_fmt}: use an even width and height.")


def _color(color: ColorDescription, settings: EncoderSettings) -> ColorDescription:
    """Return the colours of the output, with chroma on the left if the encoder can't signal its location."""
    can_tell = color.chroma_location in _SITINGS_OF.get(settings.encoder, ())
    is_subsampled = VideoFormat(settings.pix_fmt).chroma_width(16) < 16
    location = (color.chroma_location if can_tell else _LEFT) if is_subsampled else 0
    if settings.encoder in _WITHOUT_FCC and color.matrix == _FCC:
        color = replace(color, matrix=_BT601)  # pixels are converted to it
    is_full = color.full_range and settings.codec not in _LIMITED_RANGE_ONLY
    full_range = is_full or settings.pix_fmt.startswith("yuvj") or VideoFormat(settings.pix_fmt).is_rgb
    return replace(color, full_range=full_range, chroma_location=location)


def _with_metadata(settings: EncoderSettings, color: ColorDescription, hdr: HdrMetadata) -> dict[str, str]:
    """Return the encoder's options with the metadata of colours that a codec context has no tags for."""
    options = merged(settings.options, encoder_options(hdr, settings.encoder))
    if color.chroma_location in _SITINGS_OF.get(settings.encoder, ()):
        options["chroma_sample_location"] = _SITINGS[color.chroma_location]
    return options
