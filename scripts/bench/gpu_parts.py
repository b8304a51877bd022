"""What is tested and measured on a GPU, the most valuable first: each part is a command with a time limit."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.pictures import HEIGHT, WIDTH

TESTS, INPUTS = "tests", "random weights"
COMPACT_COMMAND, SD_X4_COMMAND = "the command with compact", "the command with sd-x4"
MEMORY, COMPACT, COMPILED, GRAPHS = "memory", "compact", "compiled", "CUDA graphs"
"""Names of parts that are asked for elsewhere."""
SPEED_AIM_SIZE = (320, 180)
"""Width and height of the frames that `--speed fast` should enlarge ten of in a second."""


def against_diffusers(width: int, height: int, comparison: str = "equal") -> str:
    """Return the name of the part that compares sd-x4 with diffusers on frames of a size."""
    name = f"sd-x4 and diffusers at {width}x{height}"
    return name if comparison == "equal" else f"{name}, {comparison}"


@dataclass(frozen=True)
class Part:
    """A command, which writes its results as JSON; it is done or not as a whole, so it measures one thing."""

    name: str
    seconds: float
    """The most that it may take on its first try; later ones may take longer."""
    command: tuple[str, ...]
    """Arguments of Python."""
    result: str = ""
    """Name of the file with its results, in the folder of `--out`; empty if its output is the result."""
    needs: tuple[Path, ...] = ()
    """Files and folders without which the command can't start."""
    makes: tuple[Path, ...] = ()
    """Those that it makes for later parts: it has to run again if they are gone."""

    @property
    def least_seconds(self) -> float:
        """What it hardly gets through in less than."""
        return self.seconds / 2

    def is_ready(self) -> bool:
        """Return whether everything is there that the command needs."""
        return all(path.exists() for path in self.needs)


@dataclass(frozen=True)
class Setting:
    """Where and at what size everything runs."""

    device: str
    dtype: str
    is_small: bool
    model: Path
    """Folder with the random weights of sd-x4."""
    clip: Path
    """A video for the whole command."""

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Sizes of the frames that sd-x4 is compared with diffusers on; the first is that of the aims."""
        if self.is_small:
            return [(32, 24)]
        return [(WIDTH, HEIGHT), SPEED_AIM_SIZE, (128, 128), (640, 480)]

    @property
    def usual_size(self) -> str:
        """The first of `sizes`, as the benchmarks take it."""
        width, height = self.sizes[0]
        return f"{width}x{height}"


def parts(setting: Setting) -> Iterator[Part]:
    """Yield all parts in the order of their value."""
    first, *others = setting.sizes
    weights = "--model", str(setting.model), *(["--small"] if setting.is_small else [])
    yield _tests()
    yield _inputs(setting)
    yield _against_diffusers(setting, first, "equal")
    yield _pipeline(COMPACT_COMMAND, 45, setting, "--model", "compact")
    for size in others[:1]:
        yield _against_diffusers(setting, size, "equal")
        yield _against_diffusers(setting, size, "defaults")
    yield _bench(MEMORY, 75, setting, "memory", "--tables", "plan", *weights)
    yield _compact(setting)
    # The defaults of diffusers take 75 steps: minutes for large frames on a slow card.
    yield _against_diffusers(setting, first, "defaults")
    for size in others[1:]:
        yield _against_diffusers(setting, size, "equal")
    yield _pipeline(
        SD_X4_COMMAND, 60, setting, "--model", str(setting.model), "--speed", "fast", "--stop", "0.5"
    )
    # On a CPU, generating code takes minutes, and nothing can be recorded.
    compilers = {COMPILED: "eager"} if setting.is_small else {COMPILED: "inductor", GRAPHS: "cudagraphs"}
    for name, compiler in compilers.items():
        arguments = "--sizes", setting.usual_size, "--compare", "compiled", "--compiler", compiler
        yield _bench(name, 150, setting, "denoiser", *arguments, *weights)


def _tests() -> Part:
    # Only files with such tests: collecting all takes longer than running these.
    marked = [path for path in sorted(Path("tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    return Part(TESTS, 150, ("pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *map(str, marked)))


def _inputs(setting: Setting) -> Part:
    made = setting.model, setting.clip
    arguments = ["--model", str(setting.model), "--clip", str(setting.clip)]
    arguments += ["--small"] if setting.is_small else []
    return Part(INPUTS, 90, ("scripts.bench.gpu_inputs", *arguments), makes=made)


def _against_diffusers(setting: Setting, size: tuple[int, int], comparison: str) -> Part:
    width, height = size
    arguments = ["--sizes", f"{width}x{height}", "--compare", comparison, "--model", str(setting.model)]
    arguments += ["--small"] if setting.is_small else []
    return _bench(against_diffusers(width, height, comparison), 75, setting, "denoiser", *arguments)


def _compact(setting: Setting) -> Part:
    arguments = ["--sizes", setting.usual_size] if setting.is_small else ["batches"]
    return _bench(COMPACT, 45, setting, "scale", "--tables", "pixels", *arguments)


def _pipeline(name: str, seconds: float, setting: Setting, *arguments: str) -> Part:
    return _bench(name, seconds, setting, "pipeline", "--clip", str(setting.clip), *arguments)


def _bench(name: str, seconds: float, setting: Setting, benchmark: str, *arguments: str) -> Part:
    command = "scripts.bench", benchmark, "--device", setting.device, "--dtype", setting.dtype, *arguments
    needs = tuple(path for path in (setting.model, setting.clip) if str(path) in command)
    return Part(name, seconds, command, f"bench_{benchmark}.json", needs)
