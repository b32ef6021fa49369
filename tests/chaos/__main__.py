"""``make chaos``: many disturbed jobs, one line each, and ``chaos RIGHT/RUNS`` at the end."""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from tests.chaos.faults import FAULTS
from tests.chaos.runs import Chaos, Run, chaos


def main() -> int:
    """Run, print, and say by the exit status whether all ended right."""
    parser = argparse.ArgumentParser(prog="make chaos ARGS=…", description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, help="of the first run; drawn unless given")
    parser.add_argument("--only", choices=list(FAULTS), help="one kind of fault")
    parser.add_argument("--lease-seconds", type=float, default=30.0, help="30, as the service's")
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}, and one more for each run; lease {options.lease_seconds:g} s", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        chaos(
            Path(folder), lease_seconds=options.lease_seconds, epochs=options.epochs
        ) as disturbed,
    ):
        if disturbed.cluster.disk is None:
            print("no disk of our own can be mounted here: it is never full or read-only")
        runs = list(run_all(disturbed, range(seed, seed + options.runs), options.only))
        away = [up - killed for killed, up in disturbed.cluster.down]
    resumed = [run.resumed_seconds for run in runs if run.resumed_seconds is not None]
    for what, seconds in (("a fault to work resumed", resumed), ("an API killed to ready", away)):
        if seconds:
            print(f"from {what}: median {median(seconds):.1f} s, worst {max(seconds):.1f} s")
    print(f"an epoch was repeated at most {max(run.repeated for run in runs)} times")
    print(f"answers meanwhile: {sum(run.answers.right for run in runs)} right")
    right = sum(not run.wrong for run in runs)
    print(f"chaos {right}/{len(runs)}")
    return 0 if right == len(runs) else 1


def run_all(disturbed: Chaos, seeds: Sequence[int], only: str | None) -> Iterator[Run]:
    """Run once for each seed, and say how it went and how long the rest will take."""
    began = time.monotonic()
    for done, seed in enumerate(seeds, 1):
        run = disturbed.run(seed, only or fault_of(seed))
        left = (time.monotonic() - began) / done * (len(seeds) - done)
        print(f"  {line_of(run)}  ({left / 60:.0f} min left)", flush=True)
        if run.wrong:
            print(*(f"    {line.rstrip()}" for line in run.lines), sep="\n")
        yield run


def fault_of(seed: int) -> str:
    """Return the kind of fault of a run; each comes once before any comes again."""
    names = list(FAULTS)
    round_, place = divmod(seed, len(names))
    random.Random(round_).shuffle(names)
    return names[place]


def line_of(run: Run) -> str:
    """Return a run in one line."""
    right = "; ".join(run.wrong) if run.wrong else "right"
    resumed = "" if run.resumed_seconds is None else f", resumed after {run.resumed_seconds:.1f} s"
    hit = run.hit or "nothing"
    return f"{run.seed} {run.fault}: hit {hit}{resumed}, {run.seconds:.0f} s: {right}"


if __name__ == "__main__":
    sys.exit(main())
