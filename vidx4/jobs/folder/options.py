"""Options of a folder."""

from dataclasses import dataclass
from typing import Annotated

from vidx4.diffusion.options import UpscaleOptions
from vidx4.jobs.request import JobOptions, Request
from vidx4.option import Option, OptionField, Panel, options_of, validate

QUIET_SECONDS = 10.0
"""How long a file must not have changed to count as whole; programs write in bursts of a few seconds."""
NO_OPTIONS = ("start", "stop", "frame_rate")
"""Fields of a request that files of a folder can't have."""
_OF_THE_FOLDER = ("overwrite", "strict", "ignore_memory")
"""Options that are the same for all files."""


@dataclass(frozen=True)
class FolderOptions:
    """Which files of a folder are enlarged."""

    include: Annotated[
        tuple[str, ...],
        Option("Only files like this; may be repeated.", Panel.INPUT, metavar="PATTERN", is_common=True),
    ] = ()
    exclude: Annotated[
        tuple[str, ...],
        Option("No files like this; may be repeated.", Panel.INPUT, metavar="PATTERN", is_common=True),
    ] = ()
    watch: Annotated[
        bool, Option("Keep looking for new files, until Ctrl-C.", Panel.INPUT, is_common=True)
    ] = False
    settled_after: Annotated[
        float,
        Option(
            "Seconds without a change after which a file is not being written any more.",
            Panel.INPUT,
            minimum=0,
            metavar="SECONDS",
        ),
    ] = QUIET_SECONDS
    full_names: Annotated[
        bool,
        Option("Name outputs after whole names: film.avi_x4.mkv, not film_x4.mkv.", Panel.OUTPUT),
    ] = False
    trust_folder: Annotated[
        bool,
        Option("Let its vidx4.toml set every option, and follow links that lead out of it.", Panel.INPUT),
    ] = False

    def __post_init__(self) -> None:
        validate(self)


def file_options() -> dict[str, OptionField]:
    """Return the options that the vidx4.toml of a folder that the user trusts may give to files, by key."""
    options = {**options_of(UpscaleOptions), **options_of(Request)}
    own = {key: each for key, each in options.items() if each.name not in (*NO_OPTIONS, *_OF_THE_FOLDER)}
    return {**own, "batch-size": options_of(JobOptions)["batch-size"]}
