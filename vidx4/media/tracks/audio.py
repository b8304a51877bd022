"""Sound that is compressed anew."""

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
"""Bits per second and channel."""
_ENCODERS: Mapping[str, str] = {"opus": "libopus"}
"""FFmpeg's encoder of a codec where it has another name."""
_BIT_RATES: Mapping[str, int] = {"aac": AAC_RATE, "opus": OPUS_RATE}
_USUAL_RATE = 48_000
_NO_PLACES = " channels"
"""How the name of a layout ends that only tells how many channels there are."""
_JITTER = Fraction(1, 200)
"""Seconds by which times may be wrong without the sound having a gap."""


def add_sound_stream(output: OutputContainer, stream: AudioStream, codec: str) -> AudioStream:
    """Add a stream of sound that is compressed anew to an output whose header is not written yet.

    Channels and sample rate are those of the source, if the codec knows them; else as many channels in its
    own places, and 48 kHz.

    Args:
        output: takes the codec.
        stream: of the source.
        codec: FFmpeg's name of the codec.
    """
    encoder, given = Codec(_ENCODERS.get(codec, codec), "w"), stream.codec_context
    copy = output.add_stream(encoder.name, rate=_rate(encoder, given.sample_rate))
    assert isinstance(copy, AudioStream)
    context = copy.codec_context
    context.format = _format(encoder, given.format)
    context.layout = _layout(encoder, given.layout, given.format)
    context.time_base = Fraction(1, context.sample_rate)
    if codec in _BIT_RATES:
        context.bit_rate = _BIT_RATES[codec] * context.channels
    return copy


def _rate(encoder: Codec, given: int) -> int:
    return given if given in (encoder.audio_rates or (given or _USUAL_RATE,)) else _USUAL_RATE


def _format(encoder: Codec, given: AudioFormat) -> AudioFormat:
    """Return a format of an encoder that is as fine as the given one, if it has such."""
    formats = encoder.audio_formats or (given,)
    return next((each for each in formats if (each.bytes > 2) == (given.bytes > 2)), formats[0])


def _layout(encoder: Codec, given: AudioLayout, given_format: AudioFormat) -> AudioLayout:
    context = CodecContext.create(encoder, "w")
    assert isinstance(context, AudioCodecContext)
    context.format = _format(encoder, given_format)
    context.sample_rate, context.layout = _rate(encoder, _USUAL_RATE), given
    with suppress(FFmpegError):
        context.open()
        return _with_places(given)
    return _usual(given)


def name_channels(copy: AudioStream) -> None:
    """Give the channels of a copied stream their usual places where none are stated: MP4 takes no others."""
    copy.codec_context.layout = _with_places(copy.codec_context.layout)


def _with_places(layout: AudioLayout) -> AudioLayout:
    return _usual(layout) if layout.name.endswith(_NO_PLACES) else layout


def _usual(layout: AudioLayout) -> AudioLayout:
    return AudioLayout(f"{layout.nb_channels}c")


def convert_sound(
    packets: Iterable[AnyPacket], stream: AudioStream, copy: AudioStream, cut: Cut
) -> Iterator[AnyPacket]:
    """Yield sound that is compressed anew: the samples of a cut, each at its time on the output's clock.

    Gaps, and packets that can't be decoded, become silence.

    Args:
        packets: those of one stream, in order, from before the cut on.
        stream: where they are from.
        copy: what `add_sound_stream` made; the header of its container must be written.
        cut: what is kept of the source.
    """
    context = copy.codec_context
    rate = stream.codec_context.sample_rate or context.sample_rate
    resampler = AudioResampler(context.format, context.layout, context.sample_rate)
    for frame in _cut(_fill_gaps(_decode(packets, stream), rate), rate, cut):
        for part in resampler.resample(frame):
            yield from copy.encode(part)
    for part in resampler.resample(None):
        yield from copy.encode(part)
    yield from copy.encode(None)


def _decode(packets: Iterable[AnyPacket], stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in packets:
        with suppress(FFmpegError):
            yield from stream.decode(packet)
    with suppress(FFmpegError):
        yield from stream.decode(None)


def _fill_gaps(frames: Iterable[AudioFrame], rate: int) -> Iterator[AudioFrame]:
    """Yield frames each of which begins where the one before ends, with a pts in samples."""
    following: int | None = None
    for frame in frames:
        begin = following or 0 if frame.pts is None else round(frame.pts * (frame.time_base or 1) * rate)
        if following is None or abs(begin - following) <= _JITTER * rate:
            following = begin if following is None else following
            begin = following
        for place in range(following, begin, rate):
            yield _at(_silence(frame, min(rate, begin - place)), place, rate)
        following = max(following, begin)
        if begin + frame.samples > following:
            yield _at(_crop(frame, following - begin, frame.samples), following, rate)
            following = begin + frame.samples


def _cut(frames: Iterable[AudioFrame], rate: int, cut: Cut) -> Iterator[AudioFrame]:
    """Yield what is inside a cut, on the output's clock."""
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
    middle = 128 if like.format.name.startswith("u8") else 0
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
