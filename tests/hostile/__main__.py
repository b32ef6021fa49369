"""``make hostile``: schema, mutated pictures decoded and sent, and a fuzz that learns.

Prints its seed first, how far it is, and a line of figures for each part at the end. What is found
is kept in a folder, and ends it with status 1.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from tests.hostile.asking import AskingRun, ask_many
from tests.hostile.decoding import fuzz
from tests.hostile.living import living
from tests.hostile.memory import peak_bytes, resident_bytes
from tests.hostile.schema import check_schema


def main() -> int:
    """Run all parts, print what they came to, and say whether anything was found."""
    parser = argparse.ArgumentParser(prog="make hostile", description=__doc__)
    parser.add_argument("--examples", type=int, default=300, help="most requests a call and phase")
    parser.add_argument("--pictures", type=int, default=20_000, help="mutated pictures to decode")
    parser.add_argument("--requests", type=int, default=5_000, help="mutated pictures to send")
    parser.add_argument("--fuzz-seconds", type=int, default=300, help="time for atheris")
    parser.add_argument("--seed", type=int, default=None, help="the same input as before")
    parser.add_argument("--keep", type=Path, default=None, help="folder for what is found")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if asked.seed is None else asked.seed
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="hostile-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}; what is found is kept in {folder}", flush=True)
    findings = _serve(asked, seed, folder)
    command = [sys.executable, "-m", "tests.hostile.decoding"]
    command += [str(asked.pictures), str(seed), str(folder)]
    status = subprocess.run(command, check=False).returncode
    if status:
        findings += 1
        print(f"decoding ended with {status}; the picture in hand is {folder / 'in-hand.bin'}")
    if asked.fuzz_seconds:
        print(f"atheris looks for {asked.fuzz_seconds} s", flush=True)
        tried, found = fuzz(asked.fuzz_seconds, seed, folder)
        findings += bool(found)
        print(found or f"hostile fuzz {tried} seconds {asked.fuzz_seconds} findings 0")
    return 1 if findings else 0


def _serve(asked: argparse.Namespace, seed: int, folder: Path) -> int:
    with living(folder) as service:
        schema = check_schema(
            service.client,
            service.ensemble,
            folder,
            examples=asked.examples,
            seed=seed,
            show=lambda line: print(line, flush=True),
        )
        print(f"hostile schema {schema.requests} findings {schema.findings}")
        process = service.process.pid
        before = resident_bytes(process)
        runs: Iterable[AskingRun] = ask_many(service.client, asked.requests, seed, folder)
        last = AskingRun(0, 0, ())
        with tqdm(total=asked.requests, desc="requests") as bar:
            for last in runs:
                bar.update(last.requests - bar.n)
        print(*last.findings, sep="\n", end="\n" if last.findings else "")
        memory = f"memory {before / 2**20:.0f} MiB peak {peak_bytes(process) / 2**20:.0f} MiB"
        figures = f"{last.requests} good {last.good} {memory} findings {len(last.findings)}"
        print(f"hostile requests {figures}")
    return schema.findings + len(last.findings)


if __name__ == "__main__":
    sys.exit(main())
