"""What a model that remembers is shown before the first frame of a shot."""

from collections.abc import Sequence

from vidx4.frames import Frame

NUM_WARM_UP = 4
"""Most frames of a warm-up.

On held-out clean sequences, three bring the first frame 0.83 dB nearer to the truth, five 0.93 dB.
"""


def warm_up_of(following: Sequence[Frame]) -> tuple[Frame, ...]:
    """Return the warm-up of a shot: the first few frames after its first, played backwards.

    So the first frame is as detailed as later ones, and no picture gets sharper after a cut. The model is
    trained on sequences that are played back and forth.

    Args:
        following: the frames after the first one of the shot; `NUM_WARM_UP` of them are enough.
    """
    return tuple(reversed(following[:NUM_WARM_UP]))
