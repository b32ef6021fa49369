"""Fences: whoever takes over a piece shuts out the one before, who may only seem to be dead.

A process that was held up for longer than its lease wakes up without knowing, perhaps between a
look at its lease and a write. So each taker of a piece leaves a file with a higher number than all
before, looks whether it is still the last before each write, and puts its number into the names of
what it writes: what a late writer still writes stands beside the files of its successor, and is
found only where there is nothing newer. (Kleppmann 2016, "How to do distributed locking".)

The numbers are in the store, so they go on rising where Redis has lost all it knew.
"""

import uuid
from dataclasses import dataclass

from models.errors import LeaseLost
from models.files import Files

_FOLDER = "fences"


@dataclass(frozen=True)
class Fence:
    """One taker's right to write a piece's files.

    Attributes:
        files: the store.
        folder: of the piece.
        name: unlike any other's, and greater than that of all takers before.
    """

    files: Files
    folder: str
    name: str

    def check(self) -> None:
        """Look whether nobody has come after.

        Raises:
            LeaseLost: somebody has, or the piece's folder was deleted.
        """
        if self.files.list(f"{self.folder}/{_FOLDER}")[-1:] != [self.name]:
            raise LeaseLost(f"{self.files.path(self.folder)} is another process's now")


def take_fence(files: Files, folder: str) -> Fence:
    """Shut out all who took a piece before.

    Of two who take it at the same moment one is shut out too, by its own next check.

    Raises:
        StoreFull: no space left.
    """
    taken = files.list(f"{folder}/{_FOLDER}")
    number = int(taken[-1].partition("-")[0]) + 1 if taken else 1
    name = f"{number:06d}-{uuid.uuid4().hex[:8]}"
    files.write(f"{folder}/{_FOLDER}/{name}", b"")
    return Fence(files, folder, name)
