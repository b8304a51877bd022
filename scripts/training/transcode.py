"""Encode frames as old files were, in memory, and decode them."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

QUANTIZERS = {
    "mpeg1video": (2, 31),
    "mpeg2video": (2, 31),
    "mpeg4": (2, 31),
    "flv1": (2, 31),
    "wmv1": (2, 31),
    "wmv2": (2, 31),
    "msmpeg4v2": (2, 31),
    "msmpeg4": (2, 31),
    "mjpeg": (2, 31),
    "libvpx": (8, 63),
    "libx264": (20, 46),
}
"""Quantiser scale at the lowest and the highest severity; for x264 and VP8 the rate factor."""
DECODERS = {"libx264": "h264", "libvpx": "vp8"}
"""Decoders that are not called as their encoders are."""
B_FRAMES = {"mpeg1video", "mpeg2video", "mpeg4", "libx264"}
"""Encoders that can predict a frame from a later one."""
MAX_LEAD = 5
"""Number of frames that a codec may have seen before the first of a sequence."""


def coded(low_res: np.ndarray, codec: str, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Encode and decode frames, of which the first is seldom the codec's first.

    Args:
        low_res: uint8, (T, H, W, 3).
        codec: name of an encoder.
        strength: between 0 (the codec's finest quantiser) and 1 (its coarsest).
        rng: the generator whose state decides the rest.
    """
    best, worst = QUANTIZERS[codec]
    lead = int(rng.integers(MAX_LEAD + 1))
    # The frames before the first are the ones after it, in reverse, so that motion continues smoothly.
    frames = np.concatenate([low_res[1 : 1 + lead][::-1], low_res])
    num_b_frames = int(rng.choice([0, 2])) if codec in B_FRAMES else 0
    gop_size = int(rng.choice([12, 15, 250]))
    preset = str(rng.choice(["veryfast", "ultrafast"]))
    quantizer = round(best + strength * (worst - best))
    return transcode(frames, codec, quantizer, num_b_frames, gop_size, preset)[-len(low_res) :]


def transcode(
    frames: np.ndarray,
    codec: str,
    quantizer: int,
    num_b_frames: int = 0,
    gop_size: int = 12,
    preset: str = "veryfast",
) -> np.ndarray:
    """Encode frames in 4:2:0 and decode them.

    Args:
        frames: uint8, (T, H, W, 3); sides are even.
        codec: name of an encoder.
        quantizer: constant quantiser scale; for x264 and VP8 the rate factor.
        num_b_frames: highest number of B-frames in a row.
        gop_size: distance of keyframes.
        preset: trade of x264 between speed and rate.

    Returns:
        uint8, (T, H, W, 3).
    """
    options = _options(codec, quantizer, preset) | ({"bf": str(num_b_frames)} if codec in B_FRAMES else {})
    encoder = _context(codec, "w", frames)
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoder.gop_size, encoder.options = gop_size, options
    packets = [packet for picture in _pictures(frames, encoder) for packet in encoder.encode(picture)]
    packets += encoder.encode(None)
    decoder = _context(DECODERS.get(codec, codec), "r", frames)
    decoder.extradata = encoder.extradata
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    assert len(decoded) == len(frames)
    pictures = (_FROM_CODEC.reformat(frame, format="rgb24", threads=1) for frame in decoded)
    return np.stack([picture.to_ndarray() for picture in pictures])


def _options(codec: str, quantizer: int, preset: str) -> dict[str, str]:
    if codec == "libx264":
        # x264's weighing of blocks by later use ("mbtree") isn't deterministic in pictures of few blocks.
        return {"crf": str(quantizer), "preset": preset, "mbtree": "0"}
    if codec == "libvpx":
        # Without frames that aren't shown and without waiting, each frame gives one packet.
        swift = {"deadline": "realtime", "cpu-used": "4", "auto-alt-ref": "0", "lag-in-frames": "0"}
        return swift | {"crf": str(quantizer), "qmin": str(quantizer), "qmax": str(quantizer)}
    return {"qmin": str(quantizer), "qmax": str(quantizer)}


def _context(codec: str, mode: str, frames: np.ndarray) -> VideoCodecContext:
    context = av.CodecContext.create(codec, "w" if mode == "w" else "r")
    assert isinstance(context, VideoCodecContext)
    context.height, context.width = frames.shape[1:3]
    context.thread_count = 1
    return context


def _pictures(frames: np.ndarray, encoder: VideoCodecContext) -> Iterator[VideoFrame]:
    for pts, frame in enumerate(frames):
        picture = VideoFrame.from_ndarray(frame, format="rgb24")
        picture = _TO_CODEC.reformat(picture, format=encoder.pix_fmt, threads=1)
        picture.pts, picture.time_base = pts, encoder.time_base
        yield picture


# Reformatters cache the conversion for one size: setting it up takes longer than converting a frame.
_TO_CODEC, _FROM_CODEC = VideoReformatter(), VideoReformatter()
