"""How work is stopped or paused from outside: by the user, or because its time is up."""

import time
from threading import Event

from vidx4.errors import StoppedError
from vidx4.working_time import waiting

_POLL_SECONDS = 0.1


class Stop(Event):
    """Stops work after the frames at hand once it is set; until then it may be paused there.

    A signal handler may call all of this: nothing here takes a lock but `set`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.error = StoppedError("Stopped.")
        """What the work ends with."""
        self.is_paused = False
        """Whether work waits where it checks; also set by those who pause it."""

    def set_because(self, error: StoppedError) -> None:
        """Stop the work with an error of one's own, unless it is stopped already."""
        if not self.is_set():
            self.error = error
            self.set()

    def check(self) -> None:
        """Wait while the work is paused, and raise if it should stop.

        Raises:
            StoppedError: it should.
        """
        if self.is_paused:
            with waiting():
                while self.is_paused and not self.is_set():
                    time.sleep(_POLL_SECONDS)
        if self.is_set():
            raise type(self.error)(*self.error.args)  # each thread gets one of its own
