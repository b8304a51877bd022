"""Damage videos in many ways, and see what becomes of them: frames, or one clear sentence, and nothing else.

    python -m scripts.stress.damage FOLDER --cases 2000 --seed 2026

Each case damages a copy of one of ten small videos of a folder, by bits that are flipped, an end that is cut
off, packets that are shuffled, blocks that are zeroed, swapped, repeated or random, and looks at it by
`vidx4 probe`, then enlarges at most 24 frames by repeating pixels. Cases run in processes of their own, with
a time limit each, so that crashes and hangs are seen as such.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue

import psutil

NUM_CLIPS = 10
NUM_FRAMES = 24
"""Enlarged of each at most; fewer where damage has made the picture large."""
MAX_PIXELS = 120_000
"""Of all frames together, 24 of so many pixels."""
MAX_SIZE = 5_000_000
"""Of a clip, in bytes."""
LIMIT = 20.0
"""Seconds of a processor for a case."""
CLOCK_LIMIT = 6 * LIMIT
"""Seconds by the clock, since other programs may run beside: what waits for ever is found by these."""
NUM_WORKERS = 2
CASES_PER_WORKER = 100
"""After which a worker gives way to a new one."""
BLOCK = 2048
GOOD = ("done", "done, told of damage", "refused with a sentence", "refused after the work")
BAD = ("TRACEBACK", "HANG", "KILLED", "SOURCE TOUCHED", "STRAY FILE")


@dataclass(frozen=True)
class Case:
    clip: str
    kind: str
    seed: int


@dataclass(frozen=True)
class Result:
    outcome: str
    detail: str = ""
    seconds: float = 0.0
    """By the clock."""


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 10, 100, 1000))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 5, 20))):
        data[rng.randrange(min(len(data), BLOCK))] = rng.randrange(256)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(1, len(data)) :]


def cut_out(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 4 * BLOCK)]


def zero_blocks(data: bytearray, rng: random.Random) -> None:
    for block in _blocks(data, rng):
        data[block] = bytes(len(data[block]))


def random_blocks(data: bytearray, rng: random.Random) -> None:
    for block in _blocks(data, rng):
        data[block] = rng.randbytes(len(data[block]))


def swap_blocks(data: bytearray, rng: random.Random) -> None:
    first, *others = _blocks(data, rng)
    for other in others:
        length = min(len(data[first]), len(data[other]))
        a, b = (slice(each.start, each.start + length) for each in (first, other))
        data[a], data[b] = data[b], data[a]


def shuffle_packets(data: bytearray, rng: random.Random) -> None:
    places = _packet_places(bytes(data))
    first = rng.randrange(len(places) - 1)
    places = places[first : first + rng.randrange(3, 12)]
    pieces = [bytes(data[start:stop]) for start, stop in pairwise(places)]
    data[places[0] : places[-1]] = b"".join(rng.sample(pieces, len(pieces)))


def _packet_places(data: bytes) -> list[int]:
    """Return where packets begin, and where the data ends."""
    import av

    with av.open(BytesIO(data), "r") as container:
        places = {packet.pos for packet in container.demux() if packet.pos is not None and packet.pos >= 0}
    return [*sorted(places), len(data)]


def repeat_block(data: bytearray, rng: random.Random) -> None:
    block = next(_blocks(data, rng))
    data[block.stop : block.stop] = data[block]


def add_garbage(data: bytearray, rng: random.Random) -> None:
    place = rng.choice((0, len(data)))
    data[place:place] = rng.randbytes(rng.randrange(1, BLOCK))


def _blocks(data: bytearray, rng: random.Random) -> Iterator[slice]:
    for _ in range(rng.randrange(2, 12)):
        start = rng.randrange(len(data))
        yield slice(start, min(len(data), start + rng.randrange(16, BLOCK)))


DAMAGES: dict[str, Callable[[bytearray, random.Random], None]] = {
    damage.__name__.replace("_", " "): damage
    for damage in (
        *(flip_bits, flip_header, cut, cut_out, zero_blocks),
        *(random_blocks, swap_blocks, shuffle_packets, repeat_block, add_garbage),
    )
}


def cases(clips: Sequence[Path], num_cases: int, seed: int) -> list[Case]:
    rng = random.Random(seed)
    return [
        Case(str(clips[index % len(clips)]), rng.choice(list(DAMAGES)), rng.getrandbits(32))
        for index in range(num_cases)
    ]


def attempt(case: Case, folder: Path) -> Result:
    """Damage a copy, look at it and enlarge it."""
    clip = Path(case.clip)
    data = bytearray(clip.read_bytes())
    DAMAGES[case.kind](data, random.Random(case.seed))
    source = folder / f"case{clip.suffix}"
    source.write_bytes(data)
    digest = sha256(data).digest()
    begun = time.monotonic()
    result = _looked_at(source) or _enlarged(source, folder)
    if not source.exists() or sha256(source.read_bytes()).digest() != digest:
        result = Result("SOURCE TOUCHED", result.outcome)
    elif strays := _strays(folder, source, result):
        result = Result("STRAY FILE", f"{', '.join(strays)} after {result}")
    return replace(result, seconds=time.monotonic() - begun)


def _strays(folder: Path, source: Path, result: Result) -> list[str]:
    """Return what should not be there: a job that ends well leaves its output, another its parts if any."""
    expected = {source.name, "out.mkv" if result.outcome in GOOD[:2] else "out.mkv.vidx4"}
    strays = [path.name for path in folder.iterdir() if path.name not in expected]
    parts = folder / "out.mkv.vidx4"
    return strays if any(parts.glob("0*")) or not parts.exists() else [*strays, parts.name]


def _looked_at(source: Path) -> Result | None:
    """Run `vidx4 probe`; return what is wrong with it, not with the file."""
    from typer.testing import CliRunner

    from vidx4.cli.commands import app

    answer = CliRunner().invoke(app, ["probe", str(source)])
    if answer.exit_code in (0, 2):
        return None
    return Result("TRACEBACK", f"probe: exit code {answer.exit_code}, {answer.exception!r}")


def _enlarged(source: Path, folder: Path) -> Result:
    from scripts.stress.containers import nearest
    from vidx4.errors import OutputError, Vidx4Error
    from vidx4.jobs.job import Job
    from vidx4.jobs.local import LocalExecutor
    from vidx4.jobs.plan import plan_video
    from vidx4.jobs.request import Request
    from vidx4.jobs.run import run
    from vidx4.media.options import EncodeOptions
    from vidx4.media.probe import probe
    from vidx4.video import TimeRange

    encode = EncodeOptions("h264", encoder_preset="ultrafast", crf=40)
    refused = GOOD[2]
    try:
        known = probe(source)
        num_frames = max(1, min(NUM_FRAMES, NUM_FRAMES * MAX_PIXELS // (known.width * known.height)))
        last = known.seconds_of(known.pts[num_frames]) if known.num_frames > num_frames else None
        plan = plan_video(source, folder / "out.mkv", Request(span=TimeRange(stop=last), encode=encode))
        refused = GOOD[3]
        report = run(Job(plan, LocalExecutor(nearest), 8))  # not forced: a loss is an error
    except Vidx4Error as error:
        return Result(refused if isinstance(error, OutputError) else GOOD[2], str(error))
    except Exception as error:
        return Result("TRACEBACK", f"{type(error).__name__}: {error}")
    return Result(GOOD[1 if report.damage else 0], " ".join(report.damage))


def work() -> None:
    """Do the cases that are read, one a line, and print what becomes of each."""
    from scripts.stress import containers as kept  # noqa: F401  # takes seconds, which are not those of the first case

    print(flush=True)
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            result = attempt(Case(**json.loads(line)), Path(folder))
        print(json.dumps(asdict(result)), flush=True)


class Worker:
    """A process that does cases, and is replaced where it hangs or dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._num_done = 0

    def do(self, case: Case) -> Result:
        process = self._ready()
        assert process.stdin is not None
        assert process.stdout is not None
        answers: SimpleQueue[str] = SimpleQueue()
        is_over = _limits(process)
        process.stdin.write(json.dumps(asdict(case)) + "\n")
        process.stdin.flush()
        reader = threading.Thread(target=lambda: answers.put(process.stdout.readline()))  # type: ignore[union-attr]
        reader.start()
        self._num_done += 1
        while reader.is_alive():
            reader.join(0.5)
            if reader.is_alive() and is_over():
                self.close()
                return Result("HANG")
        answer = answers.get()
        if not answer:
            code = process.wait()
            self.close()
            return Result("KILLED", f"exit code {code}")
        return Result(**json.loads(answer))

    def _ready(self) -> "subprocess.Popen[str]":
        if self._process is None or self._num_done >= CASES_PER_WORKER:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "scripts.stress.damage", "--worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._process.stdout is not None
            self._process.stdout.readline()
            self._num_done = 0
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _limits(process: "subprocess.Popen[str]") -> Callable[[], bool]:
    """Return what tells whether a process has had more time than a case may take, from now on."""

    def used() -> float:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(process.pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    begun, before = time.monotonic(), used()
    return lambda: used() - before > LIMIT or time.monotonic() - begun > CLOCK_LIMIT


def run_all(todo: Sequence[Case]) -> Iterator[tuple[Case, Result]]:
    """Yield what becomes of each case, by workers that do one after another."""
    local = threading.local()
    workers: list[Worker] = []

    def do(case: Case) -> Result:
        if not hasattr(local, "worker"):
            local.worker = Worker()
            workers.append(local.worker)
        worker: Worker = local.worker
        return worker.do(case)

    try:
        with ThreadPoolExecutor(NUM_WORKERS) as pool:
            yield from zip(todo, pool.map(do, todo), strict=True)
    finally:
        for worker in workers:
            worker.close()


def small_clips(folder: Path) -> list[Path]:
    """Return small videos of as many kinds of containers as there are, those with small pictures first."""
    by_kind: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size <= MAX_SIZE and (num_pixels := _num_pixels(path)):
            by_kind.setdefault(path.suffix, []).append((num_pixels, path))
    ranked = ((rank, *sized) for paths in by_kind.values() for rank, sized in enumerate(sorted(paths)))
    return [path for _, _, path in sorted(ranked)[:NUM_CLIPS]]


def _num_pixels(path: Path) -> int:
    """Return how large the picture is, 0 where the file is no video."""
    from vidx4.errors import SourceError
    from vidx4.media.probe import probe

    try:
        source = probe(path)
    except SourceError:
        return 0
    return source.width * source.height


def _reason(sentence: str) -> str:
    """Return what a sentence says, without names and numbers."""
    return re.sub(r"/\S+", "FILE", re.sub(r"(?<![\w.])\d[\d.x]*", "N", sentence.splitlines()[0]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work()
        return
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    slowest = 0.0
    clips = small_clips(arguments.folder)
    print("clips:", ", ".join(clip.name for clip in clips), flush=True)
    for case, result in run_all(cases(clips, arguments.cases, arguments.seed)):
        counts[result.outcome] += 1
        slowest = max(slowest, result.seconds)
        if result.outcome in GOOD[2:]:
            reasons[_reason(result.detail)] += 1
        if result.outcome in (GOOD[3], *BAD):
            print(f"{result.outcome}: {case}: {result.detail}", flush=True)
        if sum(counts.values()) % 100 == 0:
            print(dict(counts), flush=True)
    _show(counts, reasons)
    print(f"\nThe slowest took {slowest:.1f} s by the clock.")
    sys.exit(any(counts[outcome] for outcome in BAD))


def _show(counts: Counter[str], reasons: Counter[str]) -> None:
    for title, rows in (
        ("outcome", [(outcome, counts[outcome]) for outcome in (*GOOD, *BAD)]),
        ("refused, since", reasons.most_common()),
    ):
        print(f"\n| {title} | cases |\n|---|--:|")
        for name, count in rows:
            print(f"| {name} | {count} |")


if __name__ == "__main__":
    main()
