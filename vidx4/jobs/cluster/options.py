"""Options of where the model runs."""

from dataclasses import dataclass
from typing import Annotated

from vidx4.errors import OptionError
from vidx4.option import Option, Panel, validate


@dataclass(frozen=True)
class ClusterOptions:
    """Where the model runs, unless in this process."""

    cluster: Annotated[
        str | None,
        Option(
            "Spread the work over GPUs and machines with Ray: local, auto (the cluster of this machine) or "
            "ray://HOST:PORT.",
            Panel.CLUSTER,
            metavar="ADDRESS",
        ),
    ] = None
    workers: Annotated[
        int | None,
        Option("Number of workers.", Panel.CLUSTER, minimum=1, default="one for each GPU, or for 4 CPUs"),
    ] = None
    send_model: Annotated[
        bool, Option("Send the model's files to machines that can't find them.", Panel.CLUSTER)
    ] = False

    def __post_init__(self) -> None:
        validate(self)
        if self.cluster is None and (self.workers is not None or self.send_model):
            raise OptionError("--workers and --send-model need a cluster: add --cluster.")
