"""Where models are loaded: in this process or on a cluster."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError
from vidx4.jobs import local
from vidx4.jobs.cluster.options import ClusterOptions
from vidx4.jobs.job import Loader
from vidx4.jobs.local import LOCAL


def check_memory(cluster: ClusterOptions, options: UpscaleOptions, width: int, height: int) -> None:
    """Do as `local.check_memory`; what the workers of a cluster have, they find out for themselves."""
    if cluster.cluster is None:
        local.check_memory(options, width, height)


@contextmanager
def loader(options: ClusterOptions, device: str) -> Iterator[Loader]:
    """Give what loads models: here, or on a cluster, which is left after the block.

    Raises:
        OptionError: Ray is not installed or does not support this system, or there is no such cluster.
    """
    if options.cluster is None:
        yield LOCAL
        return
    if sys.platform == "win32":
        raise OptionError(
            "--cluster is for Linux and macOS, since Ray's support of Windows is experimental. Without it, "
            "one GPU is used."
        )
    if find_spec("ray") is None:
        raise OptionError("A cluster needs Ray, which is not installed: pip install 'ray[client]'.")
    from vidx4.jobs.cluster.actors import connect

    with connect(options.cluster, options.workers, device, sends_model=options.send_model) as loaded:
        yield loaded
