"""Everything this project raises on purpose.

FsrError                      what a user did or has cannot work; the message says got, expected, do this
├── UsageError                the command line or an argument is wrong
├── InputError                a picture, folder or video cannot be used
│   └── NoFaceError           a picture was read but holds no face
├── GeometryError             landmarks or sizes that no transform fits
├── BundleError               a bundle is damaged, newer than this program, or points outside itself
├── CalibrationError          a calibration set is damaged, too small, or made for something else
├── EngineUnavailableError    the engine, precision or device asked for is not here
├── PackError                 a pack of prepared faces is damaged or does not fit the job
├── CheckpointError           a checkpoint is damaged or belongs to another network
├── TrainingDivergedError     the loss is no longer a finite number
├── TrainingStoppedError      Ctrl-C during training; what was trained is saved
├── OutputError               a result cannot be written
└── ParityError               what is deployed differs from what was trained
"""

from __future__ import annotations


class FsrError(Exception):
    """A failure with a one-sentence message meant for the user; `exit_code` ends the command line."""

    exit_code = 2


class UsageError(FsrError):
    """The command line or an argument is wrong."""


class InputError(FsrError):
    """A picture, folder or video cannot be used."""


class NoFaceError(InputError):
    """A picture was read but holds no face."""


class GeometryError(FsrError):
    """Landmarks or sizes that no transform fits."""


class BundleError(FsrError):
    """A bundle is damaged, newer than this program, or points outside itself."""


class CalibrationError(FsrError):
    """A calibration set is damaged, too small, or made for something else."""


class EngineUnavailableError(FsrError):
    """The engine, precision or device asked for is not on this machine."""


class PackError(FsrError):
    """A pack of prepared faces is damaged or does not fit the job."""


class CheckpointError(FsrError):
    """A checkpoint is damaged or belongs to another network."""


class TrainingDivergedError(FsrError):
    """The loss is no longer a finite number."""


class TrainingStoppedError(FsrError):
    """Ctrl-C during training; what was trained is saved."""

    exit_code = 130


class OutputError(FsrError):
    """A result cannot be written."""


class ParityError(FsrError):
    """What is deployed differs from what was trained."""

    exit_code = 3
