"""Errors for the user. Their message is one sentence: what is wrong, where, and what to do.

Vidx4Error
├── SourceError         a file that can't be read as a video or a picture
│   └── SourceChangedError  a source that is not the one that the work began with
├── OutputError         a file that can't be written
│   ├── ContainerError  a container that can't hold what it should
│   ├── DiskFullError   a disk that is full
│   ├── InUseError      an output that another process makes
│   └── LossError       an output that would lack something of its source
├── OptionError         options that don't fit together, the model, or the source
│   └── CompileError    a denoiser that can't be compiled
├── ModelError          a model that is not available
│   └── UnknownModelError   a name that no model has
├── MemoryLimitError    a device that is too small for the settings
├── DeviceError         a device that has failed
├── NotFiniteError      a model that gives no finite numbers
├── WorkerError         workers of a cluster that can't start, or keep dying
├── BatchError          files of a folder that failed, or are left
└── StoppedError        a job that was stopped
    └── TimeUpError     a job whose time was up
"""


class Vidx4Error(Exception):
    """An error that the user can cause and fix; its message is for them. Others keep their traceback."""


class SourceError(Vidx4Error):
    """A file can't be read as a video or a picture."""


class SourceChangedError(SourceError):
    """A source is not the one that the work began with."""


class OutputError(Vidx4Error):
    """A file can't be written."""


class ContainerError(OutputError):
    """The wanted container can't hold what it should."""


class DiskFullError(OutputError):
    """A disk is full."""


class LossError(OutputError):
    """An output would lack something that its source holds; it is written if the user accepts that."""


class InUseError(OutputError):
    """Another process makes the same output."""


class OptionError(Vidx4Error):
    """Options don't fit together, the model, or the source."""


class CompileError(OptionError):
    """A denoiser can't be compiled."""


class ModelError(Vidx4Error):
    """A model is not available: not found, not reachable, incomplete, or of another architecture."""


class UnknownModelError(ModelError):
    """A name that no model has, or no file."""


class MemoryLimitError(Vidx4Error):
    """A device has too little memory for the settings."""


class DeviceError(Vidx4Error):
    """A device has failed: this process can't use it any more, but another may."""


class NotFiniteError(Vidx4Error):
    """A model gives no finite numbers for a frame, in any precision.

    Args:
        message: the sentence for the user.
        pts: presentation time of the frame.
    """

    def __init__(self, message: str, pts: int) -> None:
        super().__init__(message, pts)
        self.pts = pts

    def __str__(self) -> str:
        return str(self.args[0])


class StoppedError(Vidx4Error):
    """A job was stopped; its finished parts are kept."""


class TimeUpError(StoppedError):
    """A job was stopped because the time that it was given is up."""


class BatchError(Vidx4Error):
    """Files of a folder failed, or are left."""


class WorkerError(Vidx4Error):
    """The workers of a cluster can't start, differ from each other, or keep dying."""
