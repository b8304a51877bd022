"""Moments of a film before and after, with every setting that is considered, and what each costs."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

from PIL import Image

from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OptionError
from vidx4.jobs.plan import plan_source
from vidx4.jobs.preview.clips import Scenes, Take, Watch, make_take
from vidx4.jobs.preview.crops import Shown, crops_beside, to_picture, write_crops
from vidx4.jobs.preview.moments import choose_moments, seconds_of, timecode
from vidx4.jobs.preview.options import NUM_SAMPLES, PreviewOptions
from vidx4.jobs.preview.page import Moment, Page, Setting, write_page
from vidx4.jobs.progress import Control
from vidx4.jobs.request import Request
from vidx4.media.atomic import check_writable
from vidx4.media.streams import choose_suffix
from vidx4.video import WHOLE, Source, TimeRange


@dataclass(frozen=True)
class Choice:
    """A setting that is considered."""

    label: str
    """Empty for the only one."""
    options: UpscaleOptions
    flags: Mapping[str, str]
    """What the user gave: names and values."""
    command: str
    """What enlarges the whole film so."""


@dataclass(frozen=True)
class PreviewPlan:
    """What is shown of a film, and where it goes."""

    scenes: Scenes
    choices: tuple[Choice, ...]
    videos: tuple[Path, ...]
    """One for each choice."""
    crops: Path
    page: Path | None
    within: TimeRange = WHOLE
    """The part of the film that is to be enlarged in the end, which costs are estimated for."""

    @property
    def num_frames(self) -> int:
        """Number of frames that are enlarged, for all choices."""
        frames = (len(_frames(self.scenes.source, span)) for span in self.scenes.spans)
        return len(self.choices) * sum(frames)


@dataclass(frozen=True)
class Cost:
    """What a setting costs."""

    label: str
    seconds_per_frame: float
    """Measured; if no frame repeats the one before it."""
    seconds_for_whole: float


@dataclass(frozen=True)
class Preview:
    """What a preview made and measured."""

    videos: tuple[Path, ...]
    crops: Path
    page: Path | None
    costs: tuple[Cost, ...]


def plan_preview(
    source: Source,
    choices: Sequence[Choice],
    output: Path | None = None,
    *,
    request: Request = Request(),
    shown: PreviewOptions = PreviewOptions(),
) -> PreviewPlan:
    """Decide on a preview.

    Args:
        source: the film.
        choices: the settings, one or more.
        output: where the video goes, with the label of each setting in its name if there are several; None
            for beside the source. Crops and page lie beside it.
        request: the part that moments are chosen from and costs are estimated for, and how the preview is
            encoded.
        shown: which moments, and how.

    Raises:
        OptionError: the range holds no frame.
        OutputError: a file exists, is the source, or is of an unknown kind.
    """
    encode, within = request.encode, request.span
    span = shown.moment(within)
    if output is None:
        output = source.path.with_name(f"{source.path.stem}_x4_preview{choose_suffix(source, encode.codec)}")
    moments = [_middle(source, span)] if span else _moments(source, within, shown)
    spans, stills = zip(*moments, strict=True)
    plan = PreviewPlan(
        scenes=Scenes(source, spans, stills, shown.layout, encode),
        choices=tuple(choices),
        videos=tuple(_with_label(output, choice.label) for choice in choices),
        crops=crops_beside(output),
        page=output.with_suffix(".html") if shown.html else None,
        within=within,
    )
    for file in filter(None, (plan.crops, plan.page, *plan.videos)):
        check_writable(file, source.path, request.overwrite)
    for video, each in product(plan.videos, spans):
        plan_source(source, video, Request(span=each, encode=encode, overwrite=True))
    return plan


def _with_label(output: Path, label: str) -> Path:
    name = label.replace(", ", "_").replace(" ", "-").replace("/", "-")
    return output.with_stem(f"{output.stem}_{name}") if name else output


def _middle(source: Source, span: TimeRange) -> tuple[TimeRange, int]:
    frames = _frames(source, span)
    return span, min((frames.start + frames.stop) // 2, source.num_frames - 1)


def _frames(source: Source, span: TimeRange) -> range:
    return range(*(bisect_left(source.pts, pts) for pts in span.pts_bounds(source)))


def _moments(source: Source, within: TimeRange, shown: PreviewOptions) -> list[tuple[TimeRange, int]]:
    """Return spans about the moments of a part of a film; none of the spans overlap."""
    frames = _frames(source, within)
    if not frames:
        raise OptionError(f"{source.path} has no frame between --start and --stop.")
    begin, end = (source.seconds_of(pts) for pts in within.pts_bounds(source))
    duration = shown.duration or Fraction(1)
    num_samples = max(1, min(shown.samples or NUM_SAMPLES, int((end - begin) / duration)))
    moments = choose_moments(source, num_samples, frames)
    times = [seconds_of(source, index) for index in moments]
    borders = [begin, *((a + b) / 2 for a, b in pairwise(times)), end]
    spans = []
    for moment, when, (first, last) in zip(moments, times, pairwise(borders), strict=True):
        start = max(first, min(when - duration / 2, last - duration))
        spans.append((TimeRange(start, min(start + duration, last)), moment))
    return spans


def run_preview(
    plan: PreviewPlan, upscaler: Upscaler, batch_size: int | None = None, control: Control | None = None
) -> Preview:
    """Enlarge what is shown with every setting, and write the videos, the crops and the page.

    Args:
        plan: what is shown.
        upscaler: of the first setting; others load a model only if it is another.
        batch_size: frames that are computed together; chosen by their size where None.
        control: hears of the progress and stops it.

    Raises:
        StoppedError: the control said so; videos that are done are kept.
    """
    watch = Watch(control or Control(), plan.num_frames)
    upscalers = [upscaler.with_options(choice.options) for choice in plan.choices]
    takes = [
        make_take(plan.scenes, video, each, batch_size, watch)
        for video, each in zip(plan.videos, upscalers, strict=True)
    ]
    shown = [_shown(plan, takes, i) for i in range(len(plan.scenes.stills))]
    write_crops(plan.crops, shown)
    costs = tuple(_cost(plan, choice, take) for choice, take in zip(plan.choices, takes, strict=True))
    if plan.page is not None:
        write_page(plan.page, _page(plan, upscaler, costs, shown))
    return Preview(plan.videos, plan.crops, plan.page, costs)


def _shown(plan: PreviewPlan, takes: Sequence[Take], still: int) -> Shown:
    """Return a moment with what each setting makes of it."""
    names = [choice.label or "vidx4" for choice in plan.choices]
    upscaled = {name: take.stills[still].after for name, take in zip(names, takes, strict=True)}
    seconds = float(seconds_of(plan.scenes.source, plan.scenes.stills[still]))
    return Shown(timecode(seconds), takes[0].stills[still].before, upscaled)


def _cost(plan: PreviewPlan, choice: Choice, take: Take) -> Cost:
    num_frames = len(_frames(plan.scenes.source, plan.within))
    return Cost(choice.label, take.seconds_per_frame, take.seconds_per_frame * num_frames)


def _page(plan: PreviewPlan, upscaler: Upscaler, costs: Sequence[Cost], shown: Sequence[Shown]) -> Page:
    source, identity = plan.scenes.source, upscaler.identity
    rate = f", {float(source.frame_rate):.5g} fps" if source.frame_rate else ""
    size, length = f"{source.width}x{source.height}", timecode(float(source.duration))
    film = f"{size}, {length}{rate}, {source.num_frames} frames"
    settings = [_setting(choice, cost) for choice, cost in zip(plan.choices, costs, strict=True)]
    moments = [_moment(source, index, each) for index, each in zip(plan.scenes.stills, shown, strict=True)]
    model = f"{identity['model']} on {identity['device']} in {identity['dtype']}"
    return Page(source.path.name, [("film", film), ("model", model)], settings, moments)


def _setting(choice: Choice, cost: Cost) -> Setting:
    label = choice.label or "as chosen"
    return Setting(label, choice.flags, cost.seconds_per_frame, cost.seconds_for_whole, choice.command)


def _moment(source: Source, index: int, shown: Shown) -> Moment:
    before, *after = (
        _upright(to_picture(batch), source)
        for batch in (enlarge_frames(shown.low_res), *shown.upscaled.values())
    )
    return Moment(float(seconds_of(source, index)), before, tuple(after))


def _upright(picture: Image.Image, source: Source) -> Image.Image:
    """Show a picture as a player does: with its shape of pixels, turned."""
    if source.sample_aspect_ratio != 1:
        size = round(picture.width * source.sample_aspect_ratio), picture.height
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture.rotate(source.rotation, expand=True) if source.rotation else picture
