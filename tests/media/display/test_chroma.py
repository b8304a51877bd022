"""Where chroma samples lie, as FFmpeg's frame states it."""

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av.logging
import pytest
from av.filter import Graph
from av.video.frame import VideoFrame

from vidx4.media.display.chroma import chroma_location

LOCATIONS = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")


def located(location: int, pix_fmt: str = "yuv420p") -> VideoFrame:
    """Return a frame with a chroma location; PyAV can't set it, FFmpeg's filter `setparams` can."""
    frame, graph = VideoFrame(48, 32, pix_fmt), Graph()
    source = graph.add_buffer(width=48, height=32, format=frame.format, time_base=Fraction(1))
    name = LOCATIONS[location]
    nodes = graph.add("setparams", f"chroma_location={name}"), graph.add("buffersink")
    graph.link_nodes(source, *nodes).configure()
    graph.vpush(frame)
    return graph.vpull()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "nv12", "yuv411p"])
@pytest.mark.parametrize("location", range(len(LOCATIONS)))
def test_location_is_read(location: int, pix_fmt: str) -> None:
    assert chroma_location(located(location, pix_fmt)) == location


@pytest.mark.parametrize("pts", [None, 7])
def test_frame_is_left_as_it_is(pts: int | None) -> None:
    frame = VideoFrame(48, 32, "yuv420p")
    frame.time_base = Fraction(1, 25)
    if pts is not None:
        frame.pts = pts
    chroma_location(frame)
    assert (frame.pts, frame.time_base) == (pts, Fraction(1, 25))


def test_four_threads_at_once() -> None:
    """No process-wide state is touched: every answer is right, and FFmpeg's log level stays."""
    level, wanted = av.logging.get_level(), [index % len(LOCATIONS) for index in range(800)]
    frames = [located(location) for location in range(len(LOCATIONS))]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda location: chroma_location(frames[location]), wanted))
    assert found == wanted
    assert av.logging.get_level() == level
