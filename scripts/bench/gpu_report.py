"""What was found on a GPU as Markdown, the aims beside the results, ready for the documentation."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from scripts.bench.gpu_parts import SPEED_AIM_SIZE, TESTS, against_diffusers
from scripts.bench.pictures import HEIGHT, WIDTH
from scripts.bench.tables import Row
from scripts.bench.tables import markdown as table

Record = Mapping[str, Any]
"""What `scripts.bench.gpu` writes as JSON."""
SPEED_AIM, SHARE_AIM, RATE_AIM = 1.5, 0.5, 10
SIZES = [(WIDTH, HEIGHT), SPEED_AIM_SIZE, (128, 128), (640, 480)]
EQUAL_PICTURES = 2.0
"""Mean difference in 8-bit levels up to which pictures in half precision count as equal."""


class Measured(NamedTuple):
    """A result that an aim is compared with."""

    text: str
    is_enough: bool | None
    """Whether the aim is reached; None if this can't be said."""


def markdown(record: Record) -> str:
    """Return a section of the documentation."""
    where = f"a GPU: {record['gpu']}" if record["gpu"] else f"a CPU: {record['processor']}"
    blocks = [f"## On {where}", _where(record), _aims(record)]
    for name, part in record["parts"].items():
        found = list(_part(part))
        blocks += [f"### {name}", *found] if found else []
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def _where(record: Record) -> str:
    known = {
        "compute capability": record.get("capability"),
        "GiB": round(record["memory"] / 2**30, 1) if record.get("memory") else None,
        "driver": record.get("driver"),
        "CUDA": record.get("cuda"),
        "cuDNN": record.get("cudnn"),
        "PyTorch": record["torch"],
        "processor": record["processor"],
        "vidx4": record["version"],
    }
    facts = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
    small = "**At a tiny size: no figure here means anything.** " if record["identity"]["setting"][2] else ""
    return f"{small}Measured on {record['date']} by `scripts/gpu` ({facts})."


def _aims(record: Record) -> str:
    lines = ["| aim | result | |", "|---|---|---|"]
    for what, measure in AIMS.items():
        found = list(measure(record))
        text = "; ".join(each.text for each in found) or "not measured"
        lines.append(f"| {what} | {text} | {_verdict(found)} |")
    return "\n".join(lines)


def _verdict(found: list[Measured]) -> str:
    if not found or any(each.is_enough is None for each in found):
        return ""
    return "reached" if all(each.is_enough for each in found) else "**missed**"


def _tested(record: Record) -> Iterator[Measured]:
    tests = record["parts"].get(TESTS, {})
    if "summary" not in tests:
        return  # they were never run to their end
    is_done = tests["state"] == "done"
    if is_done and " passed" not in tests["summary"]:
        yield Measured("not run here: no GPU", None)  # all were skipped
    else:
        yield Measured(tests["summary"], is_done)


def _against_diffusers(record: Record) -> Iterator[Measured]:
    for width, height in SIZES:
        for row in _rows(record, width, height, "vidx4, "):
            if row.ratio is not None:
                difference = row.mean_different or 0
                text = f"{row.ratio:.2f} at {width}x{height}, {difference:.2g} levels apart on average"
                yield Measured(text, row.ratio >= SPEED_AIM and difference <= EQUAL_PICTURES)


def _share(record: Record) -> Iterator[Measured]:
    for row in _rows(record, WIDTH, HEIGHT, "vidx4, "):
        if row.denoising_share is not None:
            yield Measured(f"{row.denoising_share:.0%}", row.denoising_share >= SHARE_AIM)


def _rate(record: Record) -> Iterator[Measured]:
    for row in _rows(record, *SPEED_AIM_SIZE, "vidx4: 4 steps"):
        if row.frames_per_second is not None:
            yield Measured(f"{row.frames_per_second:.3g}", row.frames_per_second >= RATE_AIM)


AIMS: Mapping[str, Callable[[Record], Iterator[Measured]]] = {
    "all tests pass": _tested,
    f"at least {SPEED_AIM} times as fast as diffusers at equal settings and pictures": _against_diffusers,
    f"at least {SHARE_AIM:.0%} of the matrix rate in the UNet at {WIDTH}x{HEIGHT}": _share,
    f"{RATE_AIM} frames a second for 320x180 at 4 steps": _rate,
}
"""What is aimed at, and what finds the results."""


def _rows(record: Record, width: int, height: int, start: str) -> Iterator[Row]:
    """Yield the lines of a size whose name starts with a text."""
    for comparison in ("equal", "defaults"):
        part = record["parts"].get(against_diffusers(width, height, comparison), {})
        for rows in part.get("tables", {}).values():
            yield from (Row(**row) for row in rows if row["what"].startswith(start))


def _part(part: Mapping[str, Any]) -> Iterator[str]:
    for heading, rows in part.get("tables", {}).items():
        yield table(heading, [Row(**row) for row in rows])
    rates = part.get("operations_per_second", {})
    if rates:
        yield (
            ", ".join(f"{rate / 1e12:.3g} T operations a second in {name}" for name, rate in rates.items())
            + "."
        )
    if part.get("summary"):
        yield part["summary"]
    if part["state"] != "done":
        output = part["output"].strip()
        ended = f"**{part['state']}** after {part['seconds']:.0f} s"
        yield f"{ended}:\n\n```\n{output}\n```" if output else f"{ended}."
