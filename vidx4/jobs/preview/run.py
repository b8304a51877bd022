"""Preview a film: moments before and after with every setting compared, and what each costs."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Self

from PIL import Image

from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.diffusion.options import UpscaleOptions, describe_level
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError, StoppedError
from vidx4.jobs.choice import chosen
from vidx4.jobs.destination import Destination, file_to_write
from vidx4.jobs.local import LOCAL, check_memory
from vidx4.jobs.moments import timecode
from vidx4.jobs.noise_level import estimate_film, estimated
from vidx4.jobs.plan import default_output, frames_of, plan_source
from vidx4.jobs.preview.clips import Clip, JobSeries, Scenes, make_clip
from vidx4.jobs.preview.crops import Comparison, crops_beside, to_picture, write_crops
from vidx4.jobs.preview.options import PreviewOptions
from vidx4.jobs.preview.page import Moment, Page, PageSetting, write_page
from vidx4.jobs.preview.samples import choose_samples
from vidx4.jobs.progress import Control
from vidx4.jobs.request import Request
from vidx4.media.pictures.read_sequence import is_pattern
from vidx4.media.place import check_writable
from vidx4.media.streams import choose_suffix
from vidx4.syntax import format_seconds
from vidx4.video import WHOLE, Source, TimeRange

MAX_RATIO = 16
"""Pixels farther from square than this are a mistake in a file, and are shown as if they were square."""
_UNFIT = re.compile(r"[\s/\\:*?\"<>|\x00-\x1f]")
"""What names of files don't hold everywhere."""
MAX_WIDENING = 4
"""How many times wider a picture of the page may get; wide pixels are made square by less height, too."""


@dataclass(frozen=True)
class Variant:
    """One of the settings that are compared."""

    label: str
    """The options in which it differs from the others; empty if it is the only one."""
    options: UpscaleOptions
    flags: Mapping[str, str]
    """All flags that the user gave, by name without dashes, with their values as typed."""
    command: str
    """The command that upscales the whole film with it."""

    def chosen_for(self, source: Source, num_frames: int) -> Self:
        """Return it with the model and the speed that are chosen for a job, also in its command."""
        options = chosen(self.options, source, num_frames, LOCAL)
        flags = {"model": options.model, "speed": options.speed}
        new = [f"--{flag}={value}" for flag, value in flags.items() if value != getattr(self.options, flag)]
        return replace(self, options=options, command=" ".join([self.command, *new]))

    @property
    def file_label(self) -> str:
        """The label as a part of the names of files; case does not count, as in some file systems."""
        return _UNFIT.sub("-", self.label.replace(", ", "_")).lower()


@dataclass(frozen=True)
class PreviewPlan:
    """The parts of a film that are shown, the settings compared, and the files to write."""

    scenes: Scenes
    variants: tuple[Variant, ...]
    videos: tuple[Path, ...]
    """The video of each variant."""
    crops: Path
    page: Path | None
    within: TimeRange = WHOLE
    """The part of the film that is to be enlarged in the end, which costs are estimated for."""
    overwrite: bool = False
    """Whether files that exist at the end are replaced."""

    @property
    def num_frames(self) -> int:
        """Number of frames to upscale, of all variants together."""
        frames = (len(span.frames(self.scenes.source)) for span in self.scenes.spans)
        return len(self.variants) * sum(frames)

    @property
    def shows_all(self) -> bool:
        """Whether every frame is shown, so that a preview takes as long as the job."""
        return self.num_frames >= len(self.variants) * len(self.within.frames(self.scenes.source))

    def facts(self) -> dict[str, Any]:
        """Return what will be shown, as JSON values."""
        return {
            "source": self.scenes.source.path,
            "outputs": self.videos,
            "num_frames": self.num_frames,
            "moments": [float(span.start or 0) for span in self.scenes.spans],
            "settings": [variant.label for variant in self.variants],
        }


@dataclass(frozen=True)
class Cost:
    """The time that one variant takes."""

    label: str
    seconds_per_frame: float
    """Measured seconds for a frame that doesn't repeat the one before it."""
    seconds_for_whole: float
    noise_level: int | None
    """Noise level that frames are restored at; None if the model knows none."""
    estimated_noise_level: int | None
    """The estimate that it follows from, for `compact`; None if the user chose it."""
    memory: int
    """Bytes that the model and its frames are planned to take on the device."""

    def sentence(self, what: str) -> str:
        """Return a sentence on how long something takes, such as the whole video."""
        settings = f"With {self.label}" if self.label else "At these settings"
        whole, each = format_seconds(self.seconds_for_whole), f"{self.seconds_per_frame:.3g} s a frame"
        level = f", noise level {self.level}" if self.level else ""
        return f"{settings}, {what} takes about {whole} ({each}{level})."

    @property
    def level(self) -> str:
        """The noise level in words; empty if the model knows none."""
        return describe_level(self.noise_level, self.estimated_noise_level)


@dataclass(frozen=True)
class Preview:
    """The files that a preview wrote, and what it measured."""

    videos: tuple[Path, ...]
    crops: Path
    page: Path | None
    costs: tuple[Cost, ...]


def plan_preview(
    source: Source,
    variants: Sequence[Variant],
    output: Path | Destination | None = None,
    *,
    request: Request = Request(),
    shown: PreviewOptions = PreviewOptions(),
) -> PreviewPlan:
    """Plan a preview.

    Args:
        source: the film.
        variants: the settings to compare, at least one.
        output: the video to write, beside the source by default; if there are several variants, each has a
            video with its label in the name. Crops and page go beside it.
        request: the part that moments are chosen from and costs are estimated for, and how the preview is
            encoded.
        shown: which moments, and how.

    Raises:
        MemoryLimitError: frames are too large for the memory of this machine.
        OptionError: the range holds no frame.
        OutputError: a file exists already, is the source, or is of an unknown kind.
    """
    num_frames = len(frames_of(source, request.span))
    variants = [variant.chosen_for(source, num_frames) for variant in variants]
    for variant in variants:
        check_memory(variant.options, source.width, source.height)
    encode, within = request.encode, request.span
    samples = choose_samples(source, within, shown)
    copy = default_output(source.path, choose_suffix(source, encode.codec))
    named = Destination.of(output)
    output = file_to_write(named, copy.with_stem(f"{copy.stem}_preview"))
    if is_pattern(output.name):
        raise OutputError(f"A preview is a video, and {output} is a pattern for pictures: name a video.")
    spans, moments = zip(*samples, strict=True)
    plan = PreviewPlan(
        scenes=Scenes(source, spans, moments, shown.layout, encode),
        variants=tuple(variants),
        videos=tuple(_with_label(output, variant.file_label) for variant in variants),
        crops=crops_beside(output),
        page=output.with_suffix(".html") if shown.html else None,
        within=within,
        overwrite=request.overwrite,
    )
    for video, each in product(plan.videos, spans):
        wanted = Request(span=each, encode=encode, overwrite=True)
        plan_source(source, video, wanted, replaces_any=named is not None and named.is_certain)
    for file in filter(None, (plan.crops, plan.page, *plan.videos)):
        check_writable(file, source.path, request.overwrite)
    return plan


def _with_label(output: Path, label: str) -> Path:
    return output.with_stem(f"{output.stem}_{label}") if label else output


def run_preview(
    plan: PreviewPlan, upscaler: Upscaler, batch_size: int | None = None, control: Control | None = None
) -> Preview:
    """Upscale the moments with every variant, and write the videos, the crops and the page.

    Args:
        plan: the preview.
        upscaler: that of the first variant; another one loads a model only if it asks for another.
        batch_size: frames that are computed together; None for a number that suits their size.
        control: receives the progress, and stops the preview.

    Raises:
        StoppedError: the control stopped it; videos that are done are kept.
    """
    series = JobSeries(control or Control(), plan.num_frames)
    estimate = cache(partial(estimate_film, plan.scenes.source, plan.within.frames(plan.scenes.source)))
    upscalers = [_upscaler(each, upscaler, estimate) for each in plan.variants]
    clips: list[Clip] = []
    for video, each in zip(plan.videos, upscalers, strict=True):
        try:
            clips.append(make_clip(plan.scenes, video, each, batch_size, series, overwrite=plan.overwrite))
        except StoppedError as error:
            raise StoppedError(_what_is_kept(plan.videos[: len(clips)])) from error
    comparisons = [_comparison(plan, clips, i) for i in range(len(plan.scenes.moments))]
    like = plan.scenes.source.path
    write_crops(plan.crops, comparisons, like, overwrite=plan.overwrite)
    costs = tuple(map(partial(_cost, plan), plan.variants, upscalers, clips))
    if plan.page is not None:
        write_page(plan.page, _page(plan, upscalers, costs, comparisons), like, overwrite=plan.overwrite)
    return Preview(plan.videos, plan.crops, plan.page, costs)


def _upscaler(variant: Variant, base: Upscaler, estimate: Callable[[], int]) -> Upscaler:
    """Return the upscaler of a variant; its noise level is estimated if its model knows one."""
    upscaler = base.with_options(variant.options)
    return upscaler.with_options(estimated(upscaler.options, estimate))


def _what_is_kept(videos: Sequence[Path]) -> str:
    """Return the message of a preview that was stopped, given the videos that it has finished."""
    kept = f"kept are {', '.join(map(str, videos))}" if videos else "nothing of it is kept"
    return f"The preview was stopped, and can't be resumed: {kept}."


def _comparison(plan: PreviewPlan, clips: Sequence[Clip], number: int) -> Comparison:
    """Return a moment before, and after by every variant."""
    names = [_name(variant) for variant in plan.variants]
    upscaled = {name: clip.pairs[number].after for name, clip in zip(names, clips, strict=True)}
    source = plan.scenes.source
    seconds = float(source.seconds_of(source.pts[plan.scenes.moments[number]]))
    return Comparison(timecode(seconds), clips[0].pairs[number].before, upscaled)


def _name(variant: Variant) -> str:
    return variant.label or "vidx4"


def _cost(plan: PreviewPlan, variant: Variant, upscaler: Upscaler, clip: Clip) -> Cost:
    num_frames, each = len(plan.within.frames(plan.scenes.source)), clip.seconds_per_frame
    levels = upscaler.noise_level, upscaler.estimated_noise_level
    return Cost(variant.label, each, each * num_frames, *levels, clip.memory)


def _page(
    plan: PreviewPlan, upscalers: Sequence[Upscaler], costs: Sequence[Cost], comparisons: Sequence[Comparison]
) -> Page:
    source = plan.scenes.source
    rate = f", {float(source.frame_rate):.5g} fps" if source.frame_rate else ""
    size, length = f"{source.width}x{source.height}", timecode(float(source.duration))
    film = f"{size}, {length}{rate}, {source.num_frames} frames"
    settings = [_setting(variant, cost) for variant, cost in zip(plan.variants, costs, strict=True)]
    indices = plan.scenes.moments
    moments = [_moment(source, index, each) for index, each in zip(indices, comparisons, strict=True)]
    models = dict.fromkeys("{model} on {device} in {dtype}".format(**each.identity) for each in upscalers)
    facts = [("film", film), ("model", "; ".join(models)), *_levels(costs)]
    return Page(source.path.name, facts, settings, moments)


def _levels(costs: Sequence[Cost]) -> Iterator[tuple[str, str]]:
    """Yield the noise levels as a fact of the page, unless no model knows any."""
    if known := [cost.level for cost in costs if cost.level]:
        yield "noise level", "; ".join(dict.fromkeys(known))


def _setting(variant: Variant, cost: Cost) -> PageSetting:
    seconds = cost.seconds_per_frame, cost.seconds_for_whole
    return PageSetting(_name(variant), variant.flags, *seconds, cost.memory, variant.command)


def _moment(source: Source, index: int, comparison: Comparison) -> Moment:
    before, *after = (
        _upright(to_picture(batch), source)
        for batch in (enlarge_frames(comparison.low_res), *comparison.upscaled.values())
    )
    return Moment(float(source.seconds_of(source.pts[index])), before, tuple(after))


def _upright(picture: Image.Image, source: Source) -> Image.Image:
    """Return a picture as a player shows it: its pixels made square, and turned."""
    size = _square(picture.size, source.sample_aspect_ratio)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return picture.rotate(source.rotation, expand=True) if source.rotation else picture


def _square(size: tuple[int, int], ratio: Fraction) -> tuple[int, int]:
    """Return the size of a picture whose pixels are made square."""
    if not Fraction(1, MAX_RATIO) <= ratio <= MAX_RATIO:
        return size
    wider = min(ratio, Fraction(MAX_WIDENING))
    width, height = size
    return max(1, round(width * wider)), max(1, round(height * wider / ratio))
