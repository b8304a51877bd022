"""How large the enlarged frames get, told from a few of them."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from statistics import fmean

from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.jobs.folder import WorkFolder
from vidx4.jobs.job import CHUNK_FRAMES
from vidx4.jobs.plan import Plan
from vidx4.media.decode import can_seek, read_batches
from vidx4.media.encode import encode_part, frame_sizes
from vidx4.video import TimeRange

NUM_PLACES, NUM_FRAMES = 4, 6
"""In how many places of a long video frames are compressed for this, and how many in each."""
FRAMES_PER_PLACE = 250
"""A video that is shorter than so many for each has fewer places, or none."""
ENOUGH_PARTS = 8
"""Parts from which on they tell enough by themselves."""
MAX_GROWTH = 3.0
"""By how much a model's detail can make frames larger than plainly enlarged ones."""

Sizes = tuple[list[int], list[int]]
"""In bytes, of keyframes and of other frames."""


def frames_size(plan: Plan, folder: WorkFolder) -> int:
    """Return about how many bytes the frames of a plan take, from the parts that are there: one at least.

    While there are few, frames of other places are enlarged plainly and compressed, since a film may begin
    with black. The first part, compared with its own frames enlarged plainly, tells what the model adds.
    """
    starts = sorted(folder.parts)
    if len(starts) >= ENOUGH_PARTS:
        return folder.size_of_parts * plan.num_frames // folder.num_done
    made = _sum(frame_sizes(folder.part_path(start)) for start in starts)
    places = list(_places(plan))
    if not places:
        return _extrapolate(made, plan.num_frames)
    first = folder.parts[starts[0]]
    plain = _total(_plain(plan, folder, first.start, first.num_frames))
    growth = _total(frame_sizes(folder.part_path(first.start))) / max(plain, 1)
    sampled = _sum(_plain(plan, folder, place, NUM_FRAMES) for place in places)
    return round(min(max(growth, 1.0), MAX_GROWTH) * _extrapolate(sampled, plan.num_frames))


def _places(plan: Plan) -> Iterator[int]:
    """Yield the indices of frames at equal distances."""
    num_places = min(NUM_PLACES, plan.num_frames // FRAMES_PER_PLACE) if can_seek(plan.source) else 0
    return (plan.frames[(2 * i + 1) * plan.num_frames // (2 * num_places)] for i in range(num_places))


def _plain(plan: Plan, folder: WorkFolder, start: int, num_frames: int) -> Sizes:
    """Return the sizes of some frames that are enlarged without a model."""
    source = plan.source
    seconds = Fraction(source.pts[start] - source.pts[0]) * source.time_base
    batches = read_batches(source, 1, TimeRange(start=seconds))
    frames = (enlarge_frames(batch) for batch, _ in zip(batches, range(num_frames), strict=False))
    encode_part(folder.sample_path, frames, source, plan.written.target)
    return frame_sizes(folder.sample_path)


def _sum(sizes: Iterable[Sizes]) -> Sizes:
    keyframes, others = zip(*sizes, strict=True)
    return list(chain(*keyframes)), list(chain(*others))


def _total(sizes: Sizes) -> int:
    return sum(map(sum, sizes))


def _extrapolate(sizes: Sizes, num_frames: int) -> int:
    keyframes, others = sizes
    num_keyframes = -(-num_frames // CHUNK_FRAMES)
    return round(num_keyframes * fmean(keyframes) + (num_frames - num_keyframes) * fmean(others or keyframes))
