"""Encode audio again, for containers that can't hold the source's codec."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fractions import Fraction

from av.audio.codeccontext import AudioCodecContext
from av.audio.format import AudioFormat
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec import Codec
from av.codec.context import CodecContext
from av.container import OutputContainer
from av.error import FFmpegError

from vidx4.media.container import AnyPacket
from vidx4.media.tracks.timeline import Cut

AAC_RATE, OPUS_RATE = 128_000, 96_000
"""Bits per second for each channel."""
_ENCODERS: Mapping[str, str] = {"opus": "libopus"}
"""FFmpeg's encoders whose names differ from their codecs'."""
_BIT_RATES: Mapping[str, int] = {"aac": AAC_RATE, "opus": OPUS_RATE}
_USUAL_RATE = 48_000
"""Sample rate for an encoder that doesn't take the source's, in Hz."""
_UNNAMED = " channels"
"""End of the name of a layout that has a number of channels, but no positions for them."""
_JITTER = Fraction(1, 200)
"""Seconds by which timestamps may be off without being taken for a gap."""


def add_sound_stream(output: OutputContainer, stream: AudioStream, codec: str) -> AudioStream:
    """Add an audio stream that is encoded again to an output whose header is not written yet.

    It keeps the source's channels and sample rate if the codec supports them; otherwise it has the codec's
    usual layout for as many channels, and 48 kHz.

    Args:
        output: an output whose container holds the codec.
        stream: the source's audio stream.
        codec: FFmpeg's name of the codec.
    """
    encoder, given = Codec(_ENCODERS.get(codec, codec), "w"), stream.codec_context
    copy = output.add_stream(encoder.name, rate=_choose_rate(encoder, given.sample_rate))
    assert isinstance(copy, AudioStream)
    context = copy.codec_context
    context.format = _choose_format(encoder, given.format)
    context.layout = _choose_layout(encoder, given.layout, given.format)
    context.time_base = Fraction(1, context.sample_rate)
    if codec in _BIT_RATES:
        context.bit_rate = _BIT_RATES[codec] * context.channels
    return copy


def _choose_rate(encoder: Codec, given: int) -> int:
    return given if given in (encoder.audio_rates or (given or _USUAL_RATE,)) else _USUAL_RATE


def _choose_format(encoder: Codec, given: AudioFormat) -> AudioFormat:
    """Return an encoder's sample format that, like the given one, has more than 16 bits or has not."""
    formats = encoder.audio_formats or (given,)
    return next((each for each in formats if (each.bytes > 2) == (given.bytes > 2)), formats[0])


def _choose_layout(encoder: Codec, given: AudioLayout, given_format: AudioFormat) -> AudioLayout:
    """Return the given layout if the encoder takes it, otherwise the usual one of as many channels."""
    # FFmpeg lists no layouts for some encoders that refuse most of them, so opening one is the only test.
    context = CodecContext.create(encoder, "w")
    assert isinstance(context, AudioCodecContext)
    context.format = _choose_format(encoder, given_format)
    context.sample_rate, context.layout = _choose_rate(encoder, _USUAL_RATE), given
    with suppress(FFmpegError):
        context.open()
        return _name_positions(given)
    return _usual_layout(given)


def name_channels(copy: AudioStream) -> None:
    """Give the channels of a copied stream their usual positions if it has none; MP4 needs them."""
    copy.codec_context.layout = _name_positions(copy.codec_context.layout)


def _name_positions(layout: AudioLayout) -> AudioLayout:
    return _usual_layout(layout) if layout.name.endswith(_UNNAMED) else layout


def _usual_layout(layout: AudioLayout) -> AudioLayout:
    return AudioLayout(f"{layout.nb_channels}c")


def convert_sound(
    packets: Iterable[AnyPacket], stream: AudioStream, copy: AudioStream, cut: Cut
) -> Iterator[AnyPacket]:
    """Yield audio that is encoded again: the samples of a cut, each at its time on the output's clock.

    Gaps, and packets that can't be decoded, become silence.

    Args:
        packets: the stream's packets in order, beginning before the cut.
        stream: the source's audio stream.
        copy: the output's stream, from `add_sound_stream`; the header of its container must be written.
        cut: the part of the source that is kept.
    """
    context = copy.codec_context
    rate = stream.codec_context.sample_rate or context.sample_rate
    resampler = AudioResampler(context.format, context.layout, context.sample_rate)
    for frame in _clip(_fill_gaps(_decode(packets, stream), rate), rate, cut):
        for resampled in resampler.resample(frame):
            yield from copy.encode(resampled)
    for resampled in resampler.resample(None):
        yield from copy.encode(resampled)
    yield from copy.encode(None)


def _decode(packets: Iterable[AnyPacket], stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in packets:
        with suppress(FFmpegError):
            yield from stream.decode(packet)
    with suppress(FFmpegError):
        yield from stream.decode(None)


def _fill_gaps(frames: Iterable[AudioFrame], rate: int) -> Iterator[AudioFrame]:
    """Yield frames that each begin where the one before ends, with pts in samples.

    Gaps are filled with silence, and samples that overlap earlier ones are dropped.
    """
    following: int | None = None
    for frame in frames:
        begin = following or 0 if frame.pts is None else round(frame.pts * (frame.time_base or 1) * rate)
        if following is None or abs(begin - following) <= _JITTER * rate:
            following = begin if following is None else following
            begin = following
        # A second at a time: a gap may last for hours.
        for start in range(following, begin, rate):
            yield _at(_silence(frame, min(rate, begin - start)), start, rate)
        following = max(following, begin)
        if begin + frame.samples > following:
            yield _at(_crop(frame, following - begin, frame.samples), following, rate)
            following = begin + frame.samples


def _clip(frames: Iterable[AudioFrame], rate: int, cut: Cut) -> Iterator[AudioFrame]:
    """Yield the samples inside a cut, on the output's clock."""
    moved = cut.ticks(Fraction(1, rate))
    for frame in frames:
        begin = end = frame.pts or 0
        end += frame.samples
        start, stop = (begin, end) if cut.is_whole else (round(cut.start * rate), round(cut.stop * rate))
        first, last = max(begin, start), min(end, stop)
        if first < last:
            yield _at(_crop(frame, first - begin, last - begin), first - moved, rate)


def _at(frame: AudioFrame, pts: int, rate: int) -> AudioFrame:
    frame.sample_rate, frame.pts, frame.time_base = rate, pts, Fraction(1, rate)
    return frame


def _silence(like: AudioFrame, samples: int) -> AudioFrame:
    middle = 128 if like.format.name.startswith("u8") else 0  # the only unsigned format
    silence = AudioFrame(like.format, like.layout, samples)
    for plane in silence.planes:
        plane.update(bytes([middle]) * plane.buffer_size)
    return silence


def _crop(frame: AudioFrame, start: int, stop: int) -> AudioFrame:
    if (start, stop) == (0, frame.samples):
        return frame
    step = frame.format.bytes * (1 if frame.format.is_planar else frame.layout.nb_channels)
    cropped = AudioFrame(frame.format, frame.layout, stop - start)
    for plane, whole in zip(cropped.planes, frame.planes, strict=True):
        plane.update(bytes(whole)[start * step : stop * step])
    return cropped
