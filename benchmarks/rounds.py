"""The rounds of ``make bench-serve``: which server is started when, and what is measured of it."""

import json
import subprocess
import sys
from dataclasses import dataclass, field

from benchmarks.contestants import OURS, PEERS_PYTHON, Contestant, Running, ours, peers
from benchmarks.figures import ENGINE, Book
from benchmarks.material import Material
from benchmarks.measures import MEASURES, NotMeasured, Visit, cost, overload
from benchmarks.servers import ROOT, DidNotStart

SCENARIOS = {
    "throughput": "one picture a request, 32 connections",
    "fast": "the same in mode=fast",
    "cascade": "the same in mode=cascade, over the full ensemble",
    "latency": "one connection",
    "same-engine": "the other servers with our engine",
    "engine": "the engine over the arithmetic limit, the server over the engine",
    "photos": "JPEG photos of 12 megapixels, 8 connections",
    "overload": "four times what we answer at most",
    "cost": "against members and pictures a request",
}

# For which scenarios a server is measured, by its engine and by the measurement's name.
_NEEDED = {
    None: {
        "throughput": {"throughput", "cascade", "same-engine"},
        "fast": {"fast"},
        "cascade": {"cascade"},
        "latency": {"latency"},
        "photos": {"photos"},
        "batches": {"engine"},
    },
    "torch-loop": {
        "throughput": {"throughput", "fast"},
        "latency": {"latency"},
        "photos": {"photos"},
    },
    "ours": {"throughput": {"same-engine"}},
}


@dataclass(frozen=True)
class Setup:
    """What a run was asked for.

    Attributes:
        material: what is served and sent.
        scenarios: which are measured.
        peers: names of the other servers.
        rounds: how often.
        seconds: of each measurement.
        overload_seconds: of the overload.
        core: the load generator's.
        quick: whether the cost is measured at its corners only.
    """

    material: Material = field(repr=False)
    scenarios: frozenset[str]
    peers: list[str]
    rounds: int
    seconds: float
    overload_seconds: float
    core: int
    quick: bool

    def measures(self, contestant: Contestant) -> list[str]:
        """Return what is to be measured of a contestant."""
        needed = _NEEDED[contestant.engine]
        return [name for name, scenarios in needed.items() if scenarios & self.scenarios]


def run_rounds(setup: Setup, book: Book) -> None:
    """Measure everything in every round, and last what is measured once."""
    contestants = [ours(), *choose_peers(setup, book)]
    for number in range(setup.rounds):
        print(f"round {number + 1} of {setup.rounds}", flush=True)
        if "engine" in setup.scenarios:
            measure_engine(setup, book)
        turn = number % len(contestants)
        for contestant in contestants[turn:] + contestants[:turn]:
            visit(contestant, setup, book)
    once = setup.scenarios & {"overload", "cost"}
    if once:
        visit_once(setup, book, once)


def choose_peers(setup: Setup, book: Book) -> list[Contestant]:
    """Return the other servers that can take part; the book says why others cannot."""
    chosen = [
        contestant
        for engine in ("torch-loop", "ours")
        for contestant in peers(engine)
        if contestant.name in setup.peers and setup.measures(contestant)
    ]
    if not PEERS_PYTHON.exists():
        reasons = dict.fromkeys(("torch-loop", "ours"), "they are installed by `make bench-serve`")
    elif any(contestant.engine == "ours" for contestant in chosen):
        reasons = {"ours": why_not_our_engine(setup.material)}
    else:
        reasons = {}
    for contestant in chosen:
        if reason := reasons.get(str(contestant.engine)):
            book.miss("server", contestant.title, reason)
    return [contestant for contestant in chosen if not reasons.get(str(contestant.engine))]


def why_not_our_engine(material: Material) -> str:
    """Return why peers cannot run our engine, or nothing; a server would only stay silent."""
    script = (
        "import sys; from benchmarks.peers.engines import load_ours; load_ours(*sys.argv[1:], 1)"
    )
    command = [str(PEERS_PYTHON), "-c", script, str(material.store), material.ensemble]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


def measure_engine(setup: Setup, book: Book) -> None:
    """Measure our engine, and beside it the loop that users write, without a server."""
    for engine, title in (("ours", ENGINE), ("torch-loop", "torch loop alone")):
        command = [sys.executable, "-m", "benchmarks.limit", "--engine", engine]
        command += ["--store", str(setup.material.store), "--ensemble", setup.material.ensemble]
        command += ["--seconds", str(setup.seconds / 5)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            book.miss("engine", title, done.stderr.strip().rpartition("\n")[2])
            continue
        found = json.loads(done.stdout)
        rates = found["pictures_a_second"]
        limit = found["peak"][found["precision"]] / found["multiply_adds"]
        values = {
            "pictures_per_second": max(rates.values()),
            "limit_pictures_per_second": limit,
            "million_multiply_adds": found["multiply_adds"] / 1e6,
            **{f"peak_{name}_gigamacs": peak / 1e9 for name, peak in found["peak"].items()},
            **{f"batch_{batch}_ms": int(batch) / rate * 1000 for batch, rate in rates.items()},
        }
        book.add("engine", title, values)


def visit(contestant: Contestant, setup: Setup, book: Book) -> None:
    """Start a server, measure all that is asked of it, stop it.

    Raises:
        DidNotStart: ours did not; the others' failures stand in the book.
    """
    measures = setup.measures(contestant)
    if not measures:
        return
    try:
        with Running(contestant, setup.material) as running:
            here = _visit(contestant, running, setup)
            for name in measures:
                try:
                    book.add(name, contestant.title, MEASURES[name](here))
                except NotMeasured as reason:
                    book.miss(name, contestant.title, reason)
    except DidNotStart as error:
        if contestant.name == OURS:
            raise
        book.miss("server", contestant.title, error)


def visit_once(setup: Setup, book: Book, scenarios: frozenset[str]) -> None:
    """Measure what takes a minute or has many cells, of our own service only."""
    if "overload" in scenarios:
        with Running(ours(), setup.material) as running:
            here = _visit(ours(), running, setup)
            try:
                book.add("overload", OURS, overload(here, setup.overload_seconds))
            except NotMeasured as reason:
                book.miss("overload", OURS, reason)
    if "cost" in scenarios:
        members, pictures = ((1, 10), (1, 64)) if setup.quick else ((1, 2, 5, 10), (1, 8, 64))
        with Running(ours(), setup.material) as running:
            here = _visit(ours(), running, setup)
            print("pictures a second by members (rows) and pictures a request")
            print("       " + "".join(f"{count:>9}" for count in pictures))
            for number in members:
                cells = [cost(here, number, count) for count in pictures]
                row = "".join(f"{values['pictures_per_second']:>9.0f}" for values in cells)
                print(f"{number:>7}{row}", flush=True)
                for count, values in zip(pictures, cells, strict=True):
                    book.keep("cost", f"{number} members, {count} pictures", values)


def _visit(contestant: Contestant, running: Running, setup: Setup) -> Visit:
    return Visit(contestant, running.server, setup.material, setup.core, setup.seconds)
