"""The largest videos that are read. A file of a few bytes may claim to hold more than any memory does."""

MAX_PIXELS = 40_000_000
"""Pixels of a frame: 8K fits. The RGB of 16 times as many has to be less than 2 GiB, FFmpeg's limit."""
MAX_FRAMES = 4_000_000
"""Frames of a video: 37 hours at 30 a second. To know the time of each takes about 300 bytes."""
