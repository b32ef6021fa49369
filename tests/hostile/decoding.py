"""Mutated pictures through the decoder, in a process of its own, since a decoder may crash."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from models.errors import InvalidPicture
from models.pictures import decode_picture
from tests.hostile.memory import peak_bytes
from tests.mutations import hostile, specimens

SIZE = 16
LONGEST_SECONDS = 10.0
EVERY = 50
"""After so many hostile pictures a good one is decoded, and must be what it was before."""


@dataclass(frozen=True)
class DecodingRun:
    """What a run came to.

    Attributes:
        pictures: how many were tried.
        decoded: how many of them were pictures after all.
        findings: what was wrong, each with the file that repeats it.
        peak_bytes: largest resident memory of the process.
    """

    pictures: int
    decoded: int
    findings: tuple[str, ...]
    peak_bytes: int


def decode_many(count: int, seed: int, folder: Path) -> Iterator[DecodingRun]:
    """Decode pictures of a seed, and yield what there is to say after each hundred and at the end.

    Args:
        count: how many.
        seed: of the mutations.
        folder: where the picture in hand is, should the process end, and those that were wrong.
    """
    rng = random.Random(seed)
    good = {name: (data, decode_picture(data, SIZE)) for name, data in specimens().items()}
    findings: list[str] = []
    decoded = 0
    for number in range(1, count + 1):
        picture = hostile(rng)
        in_hand = folder / "in-hand.bin"
        in_hand.write_bytes(picture.data)
        started = time.perf_counter()
        wrong = ""
        try:
            pixels = decode_picture(picture.data, SIZE)
        except InvalidPicture:
            pass
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is a finding
            wrong = repr(error)
        else:
            decoded += 1
            if pixels.shape != (SIZE, SIZE, 3) or pixels.dtype != np.uint8:
                wrong = f"{pixels.dtype} {pixels.shape}"
        if (seconds := time.perf_counter() - started) > LONGEST_SECONDS:
            wrong = f"{seconds:.1f} s"
        if number % EVERY == 0:
            name = rng.choice(list(good))
            data, expected = good[name]
            if not np.array_equal(decode_picture(data, SIZE), expected):
                wrong = f"{name} is decoded to something else afterwards"
        if wrong:
            file = in_hand.rename(folder / f"seed-{seed}-picture-{number}.bin")
            findings.append(f"{file}: {picture.origin}: {wrong}")
        if number % 100 == 0 or number == count:
            yield DecodingRun(number, decoded, tuple(findings), peak_bytes())


def fuzz(seconds: int, seed: int, folder: Path) -> tuple[int, str]:
    """Let atheris look for pictures that the decoder fails on; it learns from what they reach.

    Args:
        seconds: how long.
        seed: of libFuzzer.
        folder: of its corpus, which begins with whole pictures, and of what it finds.

    Returns:
        How many pictures it tried, and where what it found is or nothing.

    Raises:
        RuntimeError: it did not run.
    """
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for name, data in specimens().items():
        (corpus / name.replace(" ", "-")).write_bytes(data)
    command = [sys.executable, "-m", "tests.hostile.fuzzing", str(corpus)]
    command += [f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={folder}/"]
    command += [f"-timeout={LONGEST_SECONDS:.0f}", "-rss_limit_mb=3000", "-print_final_stats=1"]
    command += ["-max_len=20000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    tried = [line for line in lines if line.startswith("stat::number_of_executed_units")]
    if not tried:
        raise RuntimeError(f"atheris ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found = [line for line in lines if "Test unit written to" in line]
    if done.returncode and not found:
        found = [done.stderr[-2000:]]
    return int(tried[0].split()[-1]), "\n".join(found)


def main() -> int:
    """Decode: arguments are how many, the seed, and the folder for what is found."""
    count, seed, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    last = DecodingRun(0, 0, (), 0)
    with tqdm(total=count, desc="pictures") as bar:
        for last in decode_many(count, seed, folder):
            bar.update(last.pictures - bar.n)
    for finding in last.findings:
        print(finding)
    peak = f"peak {last.peak_bytes / 2**20:.0f} MiB"
    figures = f"{last.pictures} decoded {last.decoded} {peak} findings {len(last.findings)}"
    print(f"hostile pictures {figures}", flush=True)
    return 1 if last.findings else 0


if __name__ == "__main__":
    sys.exit(main())
