"""Damage videos in many ways: each must give frames or one clear sentence, and nothing else.

    python -m scripts.stress.damage FOLDER --cases 2000 --seed 2026

Each case damages a copy of one of ten small videos of a folder, by flipping bits, cutting the end off,
shuffling packets, or by blocks that are zeroed, swapped, repeated or random. It runs `vidx4 probe` on the
copy, then enlarges at most 24 frames by repeating pixels. Cases run in processes of their own, with a time
limit each, so that crashes and hangs are seen as such.
"""

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.stress.damage_case import BAD, GOOD, REFUSED, REFUSED_LATE, Case, attempt
from scripts.stress.damage_workers import run_all, work
from scripts.stress.mutations import MUTATIONS

NUM_CLIPS = 10
MAX_SIZE = 5_000_000
"""Bytes of a clip."""


def cases(clips: Sequence[Path], num_cases: int, seed: int) -> list[Case]:
    """Choose cases at random; each clip has about the same number."""
    rng = random.Random(seed)
    return [
        Case(str(clips[index % len(clips)]), rng.choice(list(MUTATIONS)), rng.getrandbits(32))
        for index in range(num_cases)
    ]


def small_clips(folder: Path) -> list[Path]:
    """Return small videos of a folder, of as many kinds of containers as possible, small pictures first."""
    by_kind: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size <= MAX_SIZE and (num_pixels := _num_pixels(path)):
            by_kind.setdefault(path.suffix, []).append((num_pixels, path))
    ranked = ((rank, *sized) for paths in by_kind.values() for rank, sized in enumerate(sorted(paths)))
    return [path for _, _, path in sorted(ranked)[:NUM_CLIPS]]


def _num_pixels(path: Path) -> int:
    """Return the pixels of a frame; 0 if the file is not a video."""
    from vidx4.errors import SourceError
    from vidx4.media.probe import probe

    try:
        source = probe(path)
    except SourceError:
        return 0
    return source.width * source.height


def reason(sentence: str) -> str:
    """Return the first line of a message without names and numbers."""
    return re.sub(r"/\S+", "FILE", re.sub(r"(?<![\w.])\d[\d.x]*", "N", sentence.splitlines()[0]))


def main() -> None:
    """Parse the arguments and run the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(attempt)
        return
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    slowest = 0.0
    clips = small_clips(arguments.folder)
    print("clips:", ", ".join(clip.name for clip in clips), flush=True)
    for case, result in run_all(cases(clips, arguments.cases, arguments.seed), "scripts.stress.damage"):
        counts[result.outcome] += 1
        slowest = max(slowest, result.seconds)
        if result.outcome in (REFUSED, REFUSED_LATE):
            reasons[reason(result.detail)] += 1
        if result.outcome in (REFUSED_LATE, *BAD):
            print(f"{result.outcome}: {case}: {result.detail}", flush=True)
        if sum(counts.values()) % 100 == 0:
            print(dict(counts), flush=True)
    print_tables(counts, reasons)
    print(f"\nThe slowest case took {slowest:.1f} s.")
    sys.exit(any(counts[outcome] for outcome in BAD))


def print_tables(counts: Counter[str], reasons: Counter[str]) -> None:
    """Print how often each outcome, and each reason of a refusal, was met."""
    for title, rows in (
        ("outcome", [(outcome, counts[outcome]) for outcome in (*GOOD, *BAD)]),
        ("reason of refusal", reasons.most_common()),
    ):
        print(f"\n| {title} | cases |\n|---|--:|")
        for name, count in rows:
            print(f"| {name} | {count} |")


if __name__ == "__main__":
    main()
