"""Every error Stillhouse raises on purpose, in one tree.

::

    StillhouseError
    ├── InvalidPicture            what was uploaded, or what a data set holds, is no usable picture
    │   ├── UnreadablePicture       not a picture, or a damaged one
    │   ├── PictureTooLarge         more bytes or pixels than the limit
    │   └── UnsupportedPicture      a type that is not accepted here
    ├── InvalidRecipe             a recipe that cannot work; names every bad field at once
    ├── InvalidDataset            a data set is missing or malformed; names the file or folder
    ├── InvalidArchive            what was sent is no zip, or not one of what it should hold
    ├── NotFound
    │   ├── JobNotFound
    │   ├── EnsembleNotFound
    │   └── DatasetNotFound
    ├── Conflict                  the request contradicts what already happened
    │   ├── JobFinished
    │   └── IdempotencyConflict
    ├── NoEnsemble                nothing is loaded that could answer
    ├── TooBusy                   a limit on work in hand is reached; try again later
    ├── DeadlineExceeded          not answered before the time its sender gave
    ├── StoreError
    │   ├── CorruptArtefact         digest or shape is not what the manifest says; names the file
    │   └── StoreFull               no space left; says how many bytes were needed
    ├── NotEnoughMemory           not even one network fits; says what it needs and the limit
    ├── TrainingDiverged          the loss is no longer a number; names network and epoch
    └── Stopped                   the work was asked to end; not a failure
        ├── JobCancelled            by its owner
        ├── JobEnded                by another worker that wrote the job's outcome
        ├── WorkerStopping          by the machine; another worker goes on
        └── LeaseLost               by another worker that took the work over

None of them knows HTTP: ``app/problems.py`` maps each to an answer.
"""

from dataclasses import dataclass


class StillhouseError(Exception):
    """The root of the tree: caught where any deliberate error must be told to somebody."""


class InvalidPicture(StillhouseError):
    """A picture that cannot be used; the message says which one and why."""


class UnreadablePicture(InvalidPicture):
    """The bytes are no picture, or a damaged one."""


class PictureTooLarge(InvalidPicture):
    """The picture has more bytes or pixels than the limit."""


class UnsupportedPicture(InvalidPicture):
    """The type of the upload is not one that is accepted here."""


@dataclass(frozen=True)
class FieldProblem:
    """One thing that is wrong with one field.

    Attributes:
        field: dotted name of the field, such as ``teacher.epochs``.
        reason: what is wrong and what would be right.
    """

    field: str
    reason: str


class InvalidRecipe(StillhouseError):
    """A recipe that cannot work, with every problem found in it."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.field}: {p.reason}" for p in problems))
        self.problems = problems


class InvalidDataset(StillhouseError):
    """A data set that is missing or malformed; the message names the file or folder."""


class InvalidArchive(StillhouseError):
    """An archive that cannot be taken in; the message says which entry, and why."""


class NotFound(StillhouseError):
    """Something asked for by its id does not exist."""


class JobNotFound(NotFound):
    """No job has this id."""


class EnsembleNotFound(NotFound):
    """No ensemble in the store has this id."""


class DatasetNotFound(NotFound):
    """No data set has this name, or it has no such picture."""


class Conflict(StillhouseError):
    """The request contradicts what already happened."""


class JobFinished(Conflict):
    """The job has ended and cannot be cancelled any more."""


class IdempotencyConflict(Conflict):
    """An Idempotency-Key was used before with another recipe."""


class NoEnsemble(StillhouseError):
    """No ensemble is loaded, so no picture can be answered."""


class TooBusy(StillhouseError):
    """A limit on work in hand is reached; the same request may pass later.

    Attributes:
        retry_after_seconds: when it may, where that can be estimated.
    """

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(StillhouseError):
    """Not answered before the time its sender gave."""


class StoreError(StillhouseError):
    """The store cannot give or take what it was asked to."""


class CorruptArtefact(StoreError):
    """A file of the store is not what its manifest says; the message names the file."""


class StoreFull(StoreError):
    """The store has no space left; the message says how many bytes were needed."""


class NotEnoughMemory(StillhouseError):
    """Training does not fit into the memory there is, however little is trained at once."""


class TrainingDiverged(StillhouseError):
    """The loss became infinite or not a number."""


class Stopped(StillhouseError):
    """The work was asked to end. Not a failure: what was finished is kept."""


class JobCancelled(Stopped):
    """The owner of the job asked it to stop."""


class JobEnded(Stopped):
    """Another worker has written how the job ended, so nothing is left to do."""


class WorkerStopping(Stopped):
    """This machine asks its worker to end; another one goes on with the job."""


class LeaseLost(Stopped):
    """Another worker has taken this work over, so this one must not write any more."""
