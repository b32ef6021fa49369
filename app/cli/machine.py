"""What ``stillhouse doctor`` finds out about the machine itself."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from packaging.requirements import Requirement

from models.cores import usable_cores

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
LEAST_PYTHON = (3, 11)
GB = 10**9
LEAST_MEMORY_BYTES, EASY_MEMORY_BYTES = GB, 3 * GB
"""The processes take a gigabyte before anything is trained; CIFAR-100 and its views some more."""

LEAST_DISK_BYTES, EASY_DISK_BYTES = GB // 5, 5 * GB

ASK_FOR_GPUS = """
import torch
print(torch.__version__)
for index in range(torch.cuda.device_count()):
    free, whole = torch.cuda.mem_get_info(index)
    print(f"{torch.cuda.get_device_name(index)}, {free / 1e9:.0f} of {whole / 1e9:.0f} GB free")
"""


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        what: its name.
        level: ``fail`` where nothing works before it is mended, ``warn`` where something will not.
        found: how it is.
        advice: what to do; nothing where all is well.
    """

    what: str
    level: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def look_at_machine(store: str) -> Iterator[Finding]:
    """Yield what there is to know without any service: Python, packages, cores, memory, disk, GPU.

    Args:
        store: where ensembles are kept; the disk that counts is the one it is on.
    """
    yield python()
    yield packages(LOCK)
    yield Finding("cores", "ok", f"{usable_cores()}")
    yield memory()
    if "://" not in store:
        yield disk(Path(store))
    yield gpu()


def python() -> Finding:
    """Look at the Python that runs this."""
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info < LEAST_PYTHON:
        return Finding("Python", "fail", found, "install Python 3.11 or newer, then 'make run'")
    return Finding("Python", "ok", found)


def packages(lock: Path) -> Finding:
    """Compare the packages that are installed with those of the lock."""
    if not lock.exists():
        return Finding("packages", "warn", f"there is no {lock} to compare with")
    lines = re.findall(r"^[\w.-]+==[^\\\n]+", lock.read_text(), re.MULTILINE)
    wanted = [Requirement(line) for line in lines]
    wanted = [each for each in wanted if each.marker is None or each.marker.evaluate()]
    missing, other = [], []
    for each in wanted:
        try:
            version = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            missing.append(each.name)
            continue
        if not each.specifier.contains(version.partition("+")[0], prereleases=True):
            other.append(f"{each.name} {version}")
    if missing:
        return Finding("packages", "fail", f"missing: {', '.join(missing)}", "run 'make run'")
    if other:
        found = f"{len(other)} of {len(wanted)} are not as locked: {', '.join(other)}"
        return Finding("packages", "warn", found, "'rm .venv/.installed-*' and 'make run'")
    return Finding("packages", "ok", f"{len(wanted)}, as locked")


def memory() -> Finding:
    """Look how much memory is free, within the limits of a container."""
    free = _free_memory()
    if free is None:
        return Finding("memory", "warn", "how much is free cannot be told here")
    found = f"{free / GB:.1f} GB free"
    if free < LEAST_MEMORY_BYTES:
        return Finding("memory", "fail", found, "end other programs; the service takes about 1 GB")
    if free < EASY_MEMORY_BYTES:
        return Finding("memory", "warn", found, "enough to answer pictures, little for training")
    return Finding("memory", "ok", found)


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text()
    except FileNotFoundError:  # not Linux
        return None
    free = int(re.search(r"MemAvailable:\s+(\d+) kB", lines)[1]) * 1024  # type: ignore[index]  # always
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text) - int(used.read_text()))
    return free


def disk(store: Path) -> Finding:
    """Look how much space the disk of the store has."""
    there = next(path for path in (store.absolute(), *store.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / GB:.1f} GB free for {store}"
    if free < LEAST_DISK_BYTES:
        return Finding("disk", "fail", found, "make room, or set STILLHOUSE_STORE to another disk")
    if free < EASY_DISK_BYTES:
        return Finding("disk", "warn", found, "teachers, checkpoints and kept views take gigabytes")
    return Finding("disk", "ok", found)


def gpu() -> Finding:
    """Look for GPUs that PyTorch can use, in a process of its own: to look takes some memory."""
    done = subprocess.run(
        [sys.executable, "-c", ASK_FOR_GPUS], check=False, capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return Finding("GPU", "fail", f"PyTorch does not start: {last}", "run 'make run'")
    version, *names = done.stdout.splitlines()
    if names:
        return Finding("GPU", "ok", f"{'; '.join(names)}; PyTorch {version}")
    if shutil.which("nvidia-smi") or os.path.exists("/dev/nvidia0"):  # noqa: PTH110  # a device
        advice = "install a driver as new as this PyTorch, or a PyTorch built for CUDA"
        return Finding("GPU", "warn", f"there is one, and PyTorch {version} cannot use it", advice)
    advice = "pictures are answered fast without; training large recipes takes days"
    return Finding("GPU", "warn", f"none; PyTorch {version} uses the CPU", advice)
