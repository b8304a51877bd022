"""What the user sees of one video: the plan, what it takes, the report; and of a preview."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from vidx4.cli.progress_bar import reused
from vidx4.cli.terminal import Terminal
from vidx4.diffusion.options import describe_level, describe_others
from vidx4.syntax import format_disk, format_memory, format_rate, format_seconds, plural

if TYPE_CHECKING:
    from vidx4.jobs.estimate import Estimate
    from vidx4.jobs.job import Job
    from vidx4.jobs.plan import Plan
    from vidx4.jobs.preview.run import Preview, PreviewPlan
    from vidx4.jobs.report import Report
    from vidx4.jobs.still.upscale import PictureReport
    from vidx4.video import StreamInfo


_STAGES = "decode, follow and model run beside the others, which add up to the whole: encode, waiting, join"
_STAGES_OF_WORKERS = "decode, follow, model and encode are sums over all workers, which run side by side"


def show_plan(terminal: Terminal, plan: "Plan") -> None:
    """Show what will be done."""
    source, target, kept = plan.source, plan.written.target, plan.written.streams.kept
    terminal.event("plan", **plan.facts())
    rate = f", {format_rate(source.frame_rate)}" if source.frame_rate else ""
    length = f"{plural(plan.num_frames, 'frame')}, {format_seconds(plan.seconds)}"
    what = f"{source.width}x{source.height}, {length}{rate}"
    terminal.fact("source", f"{source.path}: {what}")
    encoded = f"{target.width}x{target.height}, {target.encoder.encoder} {target.encoder.pix_fmt}"
    terminal.fact("output", f"{plan.output}: {encoded}, with {_named(kept)}")
    for stream in kept:
        facts = (stream.kind, stream.codec, stream.language, stream.details, stream.title)
        terminal.fact("kept", f"stream {stream.index}: {' '.join(filter(None, facts))}", is_detail=True)
    for warning in plan.warnings:
        terminal.warn(warning)


def show_estimate(terminal: Terminal, estimate: "Estimate", job: "Job") -> None:
    """Show what a job takes."""
    terminal.event("estimate", **estimate.facts(job))
    settings = (f"{name} {value}" for name, value in job.identity.items() if value not in (None, ""))
    terminal.fact("settings", ", ".join(settings), is_detail=True)
    _show_level(terminal, job)
    cut = f"tiles of {tiles}" if (tiles := job.identity.get("tile-size")) else "no tiles"
    terminal.fact("memory", f"{format_memory(estimate.memory)} in batches of {job.batch_size}, {cut}")
    size, needed, free = map(format_disk, (estimate.output_size, estimate.disk_needed, estimate.disk_free))
    terminal.fact("disk", f"output about {size}, {needed} needed until it is finished, {free} free")
    each = f"{estimate.seconds_per_frame:.3g} s a frame, {estimate.basis}"
    left = f"about {format_seconds(estimate.seconds_left)}" if estimate.num_left else "all frames are made"
    terminal.fact("time", f"{left}: {each}")
    for alternative in estimate.alternatives:
        terminal.fact("or", str(alternative))


def _show_level(terminal: Terminal, made: "Job | PictureReport") -> None:
    level, estimate = made.noise_level, made.estimated_noise_level
    if level is not None:
        others = "" if estimate is None else f"; {describe_others(level, estimate)}"
        terminal.fact("noise level", f"{describe_level(level, estimate)}{others}")


def show_trial(terminal: Terminal, plan: "Plan") -> None:
    """Show what a dry run leaves."""
    terminal.finished(is_dry_run=True, work_folder=plan.work_folder)
    terminal.tell(
        f"This was a dry run: {plan.output} is not written. The frames that were measured are kept in "
        f"{plan.work_folder}, and the run itself continues from them."
    )


def show_report(terminal: Terminal, report: "Report") -> None:
    """Show what was done."""
    for warning in report.damage:
        terminal.warn(warning)
    terminal.tell(f"{_made(report)}, at most {format_memory(report.peak_memory)}")
    terminal.fact("stages", _STAGES if not report.workers else _STAGES_OF_WORKERS, is_detail=True)
    for name, seconds in asdict(report.stages).items():
        terminal.fact(name, format_seconds(seconds), is_detail=True)
    for name, share in report.workers.items():
        took = f"{plural(share.num_frames, 'frame')}, model {format_seconds(share.model_seconds)}"
        terminal.fact(name, f"{took}, at most {format_memory(share.peak_memory)}", is_detail=True)
    if report.faster_codec:
        terminal.note(
            f"The model waited for the encoder: --codec {report.faster_codec} encodes on the GPU, which is "
            "faster, but takes more space for the same quality."
        )
    terminal.done(**report.facts())


def show_picture(terminal: Terminal, report: "PictureReport") -> None:
    """Show where an enlarged picture is, and how much it was restored."""
    _show_level(terminal, report)
    terminal.done(**asdict(report))


def show_preview_plan(terminal: Terminal, plan: "PreviewPlan") -> None:
    """Show what a preview will hold."""
    source, facts = plan.scenes.source, plan.facts()
    terminal.event("plan", **facts)
    length = plural(source.num_frames, "frame")
    terminal.fact("source", f"{source.path}: {source.width}x{source.height}, {length}")
    settings = f", {len(plan.variants)} settings" if len(plan.variants) > 1 else ""
    moments = ", ".join(map(format_seconds, facts["moments"]))
    terminal.fact("shown", f"from {moments}: {plural(plan.num_frames, 'frame')}{settings}")
    if plan.shows_all:
        terminal.note("The preview shows every frame: it takes as long as the job itself.")


def show_preview(terminal: Terminal, plan: "PreviewPlan", preview: "Preview") -> None:
    """Show where a preview is, and what the job itself would take."""
    costs = [asdict(cost) for cost in preview.costs]
    terminal.finished(outputs=preview.videos, crops=preview.crops, page=preview.page, costs=costs)
    terminal.results(*filter(None, (*preview.videos, preview.crops, preview.page)))
    what = "the whole video" if plan.within.is_whole else "this part of the video"
    for cost in preview.costs:
        terminal.tell(cost.sentence(what))


def _made(report: "Report") -> str:
    """Return how many frames were made, by this run and by earlier ones, and how fast."""
    took, earlier = format_seconds(report.seconds), report.num_frames - report.num_new
    frames = plural(report.num_frames, "frame")
    if not report.num_new:
        return f"{frames}, all by an earlier run, joined in {took}"
    by_earlier = f", {earlier} of them by an earlier run," if earlier else ""
    speed = f"{report.frames_per_second:.2f} fps{reused(report.share_reused)}"
    return f"{frames}{by_earlier} in {took} ({speed})"


def _named(streams: "Sequence[StreamInfo]") -> str:
    names = (" ".join(filter(None, (stream.codec or stream.kind, stream.language))) for stream in streams)
    return ", ".join(names) or "no other stream"
