"""One case of damage to a picture: a damaged copy is looked at and read, and the outcome is named."""

import random
import resource
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from scripts.stress.damage_case import DONE, REFUSED, Case, Result
from scripts.stress.mutations import MUTATIONS

MEMORY = 3 << 30
"""Bytes that reading a small picture may take beyond those of the program."""


def limit_memory() -> None:
    """Let this process have little more memory than it has now."""
    with Path("/proc/self/statm").open(encoding="utf-8") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def attempt(case: Case, folder: Path) -> Result:
    """Damage a copy of a picture in a folder, and read it in all ways that there are."""
    picture = Path(case.clip)
    data = bytearray(picture.read_bytes())
    MUTATIONS[case.kind](data, random.Random(case.seed))
    source = folder / f"case{picture.suffix}"
    source.write_bytes(data)
    begun = time.monotonic()
    result = _read(source)
    if not source.exists() or sha256(source.read_bytes()).digest() != sha256(data).digest():
        result = Result("SOURCE TOUCHED", result.outcome)
    elif strays := [path.name for path in folder.iterdir() if path != source]:
        result = Result("STRAY FILE", f"{', '.join(strays)} after {result}")
    return replace(result, seconds=time.monotonic() - begun)


def _read(source: Path) -> Result:
    from vidx4.errors import Vidx4Error
    from vidx4.jobs.still.read import is_picture, read_picture, stored_size

    try:
        is_picture(source)
    except Exception as error:
        return Result("TRACEBACK", f"is_picture: {error!r}")
    try:
        stored_size(source)
        read_picture(source)
    except Vidx4Error as error:
        return Result(REFUSED, str(error))
    except Exception as error:
        return Result("TRACEBACK", f"{error!r}")
    return Result(DONE)
