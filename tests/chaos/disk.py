"""A small disk of its own for the store, which can be full or read-only."""

import errno
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE_MEGABYTES = 64


class NoDisk(RuntimeError):
    """This user may not mount anything here, and why."""


class Disk:
    """A file system in memory.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no byte free, whatever is deleted meanwhile by others."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
            for size in (2**20, 2**12, 1):
                with suppress(OSError):
                    while True:
                        ballast.write(bytes(size))

    def free(self) -> None:
        """Give the space back."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def forbid_writing(self) -> None:
        """Make it read-only, as soon as nobody has a file open to write."""
        self._remount("ro")

    def allow_writing(self) -> None:
        """Make it as before."""
        self._remount("rw")

    def _remount(self, how: str) -> None:
        for _ in range(1000):
            command = ["mount", "-o", f"remount,{how}", str(self.folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if not done.returncode:
                return
            time.sleep(0.005)
        raise OSError(errno.EBUSY, done.stderr.strip())


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """Give a disk.

    Raises:
        NoDisk: it cannot be had.
    """
    folder.mkdir(parents=True)
    options = f"size={SIZE_MEGABYTES}m"
    command = ["mount", "-t", "tmpfs", "-o", options, "stillhouse-chaos", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NoDisk("there is no mount here") from error
    if done.returncode:
        raise NoDisk(done.stderr.strip())
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607  # wherever it is
