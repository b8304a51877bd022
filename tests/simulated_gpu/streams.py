"""Streams and events of the simulated device, where everything is done at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tests.simulated_gpu.functions import GPU


class Stream:
    """A queue of work, which is always empty."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device = GPU

    def wait_stream(self, other: "Stream") -> None:
        """Do nothing: the other one has finished."""

    def record_event(self, event: Any = None) -> Any:
        """Record an event, and return it."""
        event = event or torch.cuda.Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        """Count a wait."""
        torch.cuda.synchronize()


def new_event(wait: Callable[[], None]) -> type:
    """Return the class of events, whose waits are counted."""

    class Event:
        def __init__(self, enable_timing: bool = False, blocking: bool = False) -> None:
            self.is_recorded = False

        def record(self, stream: Stream | None = None) -> None:
            self.is_recorded = True

        def query(self) -> bool:
            return True

        def synchronize(self) -> None:
            if not self.is_recorded:
                raise AssertionError("an event that was never recorded is waited for")
            wait()

    return Event


@contextmanager
def use(stream: Stream) -> Iterator[None]:
    """Let operations go to a stream, which changes nothing."""
    yield
