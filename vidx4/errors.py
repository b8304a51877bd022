"""Errors written for the user: one sentence that says what is wrong, where, and what to do.

Vidx4Error
├── SourceError         a file that can't be read as a video or a picture
├── OutputError         a file that can't be written
│   ├── ContainerError  a container that can't hold what it should
│   └── DiskFullError   a disk that is full
├── OptionError         options that don't fit together, the model, or the source
├── ModelError          a model that can't be had
├── MemoryLimitError    a device that is too small for the settings
├── WorkerError         workers of a cluster that can't begin, or die again and again
└── StoppedError        a job that was told to stop
"""


class Vidx4Error(Exception):
    """What the user can cause and mend; its message is for them. Everything else stays a traceback."""


class SourceError(Vidx4Error):
    """A file can't be read as a video or a picture."""


class OutputError(Vidx4Error):
    """A file can't be written."""


class ContainerError(OutputError):
    """The wanted container can't hold what it should."""


class DiskFullError(OutputError):
    """A disk is full."""


class OptionError(Vidx4Error):
    """Options don't fit together, the model, or the source."""


class ModelError(Vidx4Error):
    """A model can't be had: not found, not reachable, incomplete, or of another architecture."""


class MemoryLimitError(Vidx4Error):
    """A device has too little memory for the settings."""


class StoppedError(Vidx4Error):
    """A job was told to stop; what is whole of it is kept."""


class WorkerError(Vidx4Error):
    """The workers of a cluster can't begin, differ from each other, or die again and again."""
