"""A self-contained page: moments before and after, the settings, and what each costs."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from vidx4.files.write import write_whole

TEMPLATE = Path(__file__).with_name("page.html")
PLACEHOLDER = "@PAGE@"
QUALITY = 92
"""WebP or JPEG quality of the pictures. Lossless ones are four times larger, and a page holds dozens."""
THUMBNAIL_WIDTH, THUMBNAIL_QUALITY = 224, 80
WEBP_LIMIT = 16383
"""Longest side of a WebP file, in pixels."""
JPEG_LIMIT = 65500
"""Longest side of a JPEG file, as libjpeg writes it."""


@dataclass(frozen=True)
class PageSetting:
    """One setting as the page shows it: a way to upscale the film, and its cost."""

    label: str
    options: Mapping[str, str]
    """All flags that the user gave, by name without dashes, with their values as typed."""
    seconds_per_frame: float
    """Measured seconds for one frame."""
    seconds_for_whole: float
    """Estimated seconds for the whole film."""
    memory: int
    """Bytes that the model and its frames are planned to take."""
    command: str
    """The command that upscales the whole film with this setting."""


@dataclass(frozen=True)
class Moment:
    """One frame of the film, before and after; all pictures have the same size."""

    seconds: float
    """Time from the film's first frame."""
    before: Image.Image
    """The frame enlarged by bicubic interpolation, RGB."""
    after: tuple[Image.Image, ...]
    """The frame upscaled with each setting, RGB."""

    def __post_init__(self) -> None:
        if any(picture.size != self.before.size for picture in self.after):
            raise ValueError(f"pictures of different sizes at {self.seconds} s")


@dataclass(frozen=True)
class Page:
    """The content of a page."""

    title: str
    """The film's file name."""
    facts: Sequence[tuple[str, str]]
    """Facts about the film and the model: name and value."""
    settings: Sequence[PageSetting]
    moments: Sequence[Moment]

    def __post_init__(self) -> None:
        if not self.settings or not self.moments:
            raise ValueError("a page needs a setting and a moment")
        if any(len(moment.after) != len(self.settings) for moment in self.moments):
            raise ValueError("every moment needs one picture for each setting")


def write_page(path: Path, page: Page, like: Path | None = None, *, overwrite: bool = True) -> None:
    """Write a page to an HTML file that loads nothing else.

    Args:
        path: the file; it appears whole or not at all.
        page: its content.
        like: its source; who may not read it may not read the page.
        overwrite: whether a file that exists is replaced.

    Raises:
        OutputError: the file can't be written.
    """
    head, tail = TEMPLATE.read_text("utf-8").split(PLACEHOLDER)
    parts = head, _as_script(_as_json(page)), tail
    with (
        write_whole(path, overwrite=overwrite, like=like) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(parts)


def _as_json(page: Page) -> str:
    settings = [vars(setting) | {"options": dict(setting.options)} for setting in page.settings]
    moments = [_moment(moment) for moment in page.moments]
    facts = [list(fact) for fact in page.facts]
    content = {"title": page.title, "facts": facts, "settings": settings, "moments": moments}
    # ASCII: a file name need not be valid Unicode, and a lone surrogate can't be written as UTF-8.
    return json.dumps(content, ensure_ascii=True, allow_nan=False)


def _as_script(text: str) -> str:
    """Escape JSON so that it can neither end its `<script>` element nor open a comment in it."""
    return text.replace("<", r"\u003c")


def _moment(moment: Moment) -> dict[str, object]:
    thumbnail = moment.before.copy()
    thumbnail.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH))
    pictures = (moment.before, *moment.after)
    return {
        "seconds": moment.seconds,
        "width": moment.before.width,
        "height": moment.before.height,
        "thumbnail": _data_uri(thumbnail, THUMBNAIL_QUALITY),
        "pictures": [_data_uri(picture, QUALITY) for picture in pictures],
    }


def _data_uri(picture: Image.Image, quality: int) -> str:
    fits = max(picture.size) <= WEBP_LIMIT
    if max(picture.size) > JPEG_LIMIT:
        picture = picture.copy()
        picture.thumbnail((JPEG_LIMIT, JPEG_LIMIT))
    file = BytesIO()
    if fits:
        picture.save(file, "WEBP", quality=quality)
    else:
        picture.save(file, "JPEG", quality=quality)
    return f"data:image/{'webp' if fits else 'jpeg'};base64,{b64encode(file.getvalue()).decode()}"
