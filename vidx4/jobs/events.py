"""What the JSON events hold that `--json` prints, one object a line."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that the command line starts without what these need
    from vidx4.jobs.estimate import Estimate
    from vidx4.jobs.folder.files import FileReport, Item
    from vidx4.jobs.folder.passes import Total
    from vidx4.jobs.job import Job
    from vidx4.jobs.plan import Plan
    from vidx4.jobs.preview.run import PreviewPlan
    from vidx4.jobs.progress import Progress
    from vidx4.video import Source

Facts = dict[str, Any]


def plan_facts(plan: "Plan") -> Facts:
    """Return what will be done with a video."""
    return {
        "source": plan.source.path,
        "output": plan.output,
        "num_frames": plan.num_frames,
        "seconds": plan.seconds,
        "width": plan.written.target.width,
        "height": plan.written.target.height,
        "codec": plan.encoder.encoder,
        "pixel_format": plan.encoder.pix_fmt,
        "fields": plan.source.fields.value,
        "kept": [asdict(stream) for stream in plan.kept],
        "lost": [asdict(stream) for stream in plan.lost],
    }


def estimate_facts(estimate: "Estimate", job: "Job") -> Facts:
    """Return what a job takes."""
    return {
        **asdict(estimate),
        "seconds_left": estimate.seconds_left,
        "batch_size": job.batch_size,
        "tile_size": job.identity.get("tile-size"),
    }


def progress_facts(progress: "Progress") -> Facts:
    """Return how much of a job is done."""
    return {
        "num_done": progress.num_done,
        "num_frames": progress.num_frames,
        "frames_per_second": round(1 / progress.seconds_per_frame, 4),
        "seconds_left": round(progress.seconds_left, 1),
        "share_reused": round(progress.share_reused, 4),
        "memory": progress.memory,
        "num_shots": progress.num_shots,
        "shot_seconds": round(progress.shot_seconds, 3),
    }


def total_facts(total: "Total") -> Facts:
    """Return how much of a folder is done."""
    return {
        "number": total.number,
        "num_files": total.num_files,
        "share_done_of_all": round(total.share_done, 4),
        "seconds_left_of_all": round(total.seconds_left, 1),
    }


def preview_facts(plan: "PreviewPlan") -> Facts:
    """Return what a preview will show."""
    return {
        "source": plan.scenes.source.path,
        "outputs": plan.videos,
        "num_frames": plan.num_frames,
        "moments": [float(span.start or 0) for span in plan.scenes.spans],
        "settings": [choice.label for choice in plan.choices],
    }


def file_facts(look: "Item | FileReport") -> Facts:
    """Return what will be done with a file of a folder, or why nothing is."""
    from vidx4.jobs.folder.files import Item

    facts = {"path": str(look.path), "output": str(look.output or ""), "num_left": 0, "num_kept": 0}
    if not isinstance(look, Item):
        return {**facts, "status": look.outcome.value, "frames": "", "notes": look.message}
    facts |= {"num_left": look.num_left, "num_kept": look.num_kept}
    status = "resumes" if look.num_kept else "to do"
    return {**facts, "status": status, "frames": _frames(look), "notes": look.options.changed}


def _frames(item: "Item") -> str:
    if item.plan is None:
        return "a picture"
    kept = f", {item.num_kept} of them done" if item.num_kept else ""
    return f"{item.plan.num_frames} of {item.plan.source.width}x{item.plan.source.height}{kept}"


def source_facts(source: "Source") -> Facts:
    """Return what a video file holds."""
    color = source.color
    return {
        "path": source.path,
        "container": source.container,
        "video_stream": source.video_index,
        "size": f"{source.width}x{source.height}",
        "sample_aspect_ratio": source.sample_aspect_ratio,
        "rotation": source.rotation,
        "margins": " ".join(f"{side} {width}" for side, width in asdict(source.margins).items() if width)
        or "none",
        "num_frames": source.num_frames,
        "duration": f"{float(source.duration):.3f} s",
        "frame_rate": f"{float(source.frame_rate):.3f} fps" if source.frame_rate else None,
        "is_constant_rate": source.is_constant_rate,
        "time_base": source.time_base,
        "first_pts": source.pts[0],
        "pixel_format": source.pix_fmt,
        "bit_depth": source.bit_depth,
        "color": f"matrix {color.matrix}, primaries {color.primaries}, transfer {color.transfer}",
        "full_range": color.full_range,
        "chroma_location": color.chroma_location,
        "hdr_metadata": _hdr(source),
        "is_interlaced": source.is_interlaced,
        "fields": source.fields.value,
        "streams": [asdict(stream) for stream in source.streams],
    }


def _hdr(source: "Source") -> str:
    static = {"mastering display": source.hdr.mastering_display, "content light": source.hdr.content_light}
    return ", ".join([*(name for name, value in static.items() if value), *source.hdr.dropped]) or "none"
