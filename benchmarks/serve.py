"""``make bench-serve``: our service against the servers that its users would pick.

The same ten networks behind each, the same two cores, one server at a time. The load generator is
pinned to one of the two, and what it takes of it is printed. Every round measures everything once
and starts with another server, so that what slows the machine for a while slows all of them.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from benchmarks.contestants import peers
from benchmarks.figures import Book, ratios
from benchmarks.machine import describe
from benchmarks.material import make_material
from benchmarks.rounds import SCENARIOS, Setup, run_rounds
from benchmarks.servers import ROOT, end_on_signals

RESULTS = ROOT / "benchmarks" / "results" / "serve.json"
PICTURES = 256


def main() -> int:
    """Print every figure, the ratios last, and keep them all."""
    names = [contestant.name for contestant in peers("torch-loop")]
    options = read_command_line(names, sys.argv[1:])
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)  # and with it whatever is started from here
    end_on_signals()
    machine = describe(cores)
    print(f"servers on cores {cores}; the load generator on core {cores[-1]}, which it shares")
    print(json.dumps(machine), flush=True)
    if machine["load_average"] > 0.5:
        print("NOTE: something else uses these cores; only ratios mean anything, and those little")
    book = Book()
    with tempfile.TemporaryDirectory() as folder:
        given = (options.store, options.ensemble) if options.ensemble else None
        material = make_material(Path(folder), PICTURES, given, options.data)
        setup = Setup(
            material,
            scenarios=frozenset(options.only),
            peers=options.peers,
            rounds=options.rounds,
            seconds=options.seconds,
            overload_seconds=options.overload_seconds,
            core=cores[-1],
            quick=options.quick,
        )
        run_rounds(setup, book)
    print("median of the rounds (from the lowest to the highest)")
    print(*book.table(), sep="\n")
    found = ratios(book, names)
    kept = {"machine": machine, "rounds": options.rounds, "seconds": options.seconds}
    kept |= {"ensemble": material.ensemble, "ratios": found, **book.to_dict()}
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(rounded(kept), indent=1) + "\n", encoding="utf-8")
        print(f"kept: {options.out}")
    for name, value in found.items():
        print(f"ratio {name} {value:.2f}")
    return 0


def read_command_line(names: list[str], arguments: list[str]) -> argparse.Namespace:
    """Return the options; ``--quick`` sets those that were not given."""
    parser = argparse.ArgumentParser(
        prog="make bench-serve ARGS=…",
        description="Measure our service against the servers that its users would pick.",
        epilog="Scenarios: " + "; ".join(f"{name}: {text}" for name, text in SCENARIOS.items()),
    )
    scenarios, all_peers = comma_separated(SCENARIOS), comma_separated(names)
    parser.add_argument("--only", type=scenarios, default=list(SCENARIOS), help="scenarios, …")
    known = f"of {', '.join(names)}; or none"
    parser.add_argument("--peers", type=all_peers, default=names, help=known)
    parser.add_argument("--rounds", type=int, help="5")
    parser.add_argument("--seconds", type=float, help="of each measurement: 5")
    parser.add_argument("--overload-seconds", type=float, help="60")
    parser.add_argument("--ensemble", help="id of one to serve instead of random networks")
    parser.add_argument("--store", type=Path, default=Path("store"), help="where that is")
    parser.add_argument("--data", type=Path, help="its data set, to send validation pictures")
    parser.add_argument("--out", type=Path, help=f"else {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--quick", action="store_true", help="does it all work? keeps no results")
    options = parser.parse_args(arguments)
    defaults = (1, 1.0, 3.0) if options.quick else (5, 5.0, 60.0)
    durations = ("rounds", "seconds", "overload_seconds")
    for name, default in zip(durations, defaults, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, default)
    if options.out is None and not options.quick:
        options.out = RESULTS
    return options


def comma_separated(known: Collection[str]) -> Callable[[str], list[str]]:
    """Return what turns ``one,other`` into a list of known names, and ``none`` into none."""

    def names(text: str) -> list[str]:
        found = [] if text == "none" else text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return found

    return names


def rounded(value: Any) -> Any:
    """Return JSON-ready data with numbers of five digits: the rest is noise in every diff."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {str(key): rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value


if __name__ == "__main__":
    sys.exit(main())
