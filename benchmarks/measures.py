"""What is measured of one running server."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.contestants import Contestant, pictures_request
from benchmarks.load import Plan, generate
from benchmarks.material import Material
from benchmarks.servers import Server
from benchmarks.tally import Outcome
from benchmarks.wire import ask, post

Values = dict[str, float]
"""What a measurement found, by name and unit."""

CLEAR = 0.02
"""By how much a class must lead for every precision to have to name it."""

KEPT = 16
"""Answers of each measurement that are compared with the reference."""


class NotMeasured(RuntimeError):
    """There is nothing to measure here, and why."""


class WrongAnswer(RuntimeError):
    """A server names another class than the reference, where that is not close."""


@dataclass(frozen=True)
class Visit:
    """A running server, and how to measure it.

    Attributes:
        contestant: whose it is.
        server: its processes.
        material: what it serves.
        core: the load generator's.
        seconds: how long each measurement counts.
    """

    contestant: Contestant
    server: Server
    material: Material
    core: int
    seconds: float

    @property
    def plan(self) -> Plan:
        """One picture a request, 32 connections."""
        pictures = self.material.pictures
        requests = tuple(self.contestant.request(each, "image/png") for each in pictures)
        return Plan(self.server.port, requests, self.seconds, warmup_seconds=2, core=self.core)

    def run(self, plan: Plan, pictures: int = 1) -> tuple[Outcome, Values]:
        """Run a plan with so many pictures a request."""
        before = self.server.cpu_seconds()
        outcome = generate(plan)
        cpu = self.server.cpu_seconds() - before
        if not outcome.statuses.get(200):
            raise NotMeasured(f"no answer with status 200 in {plan.seconds:g} s")
        latencies = outcome.latencies_ms[200]
        return outcome, {
            "pictures_per_second": outcome.rate * pictures,
            "p50_ms": latencies["p50"],
            "p99_ms": latencies["p99"],
            "failures": outcome.failures,
            "pictures_per_cpu_second": outcome.answered * pictures / max(cpu, 0.01),
            "generator_cpu_seconds": outcome.cpu_seconds,
        }

    def check(self, answers: Mapping[int, str]) -> float:
        """Return how many of the answers name the class that the reference names.

        Raises:
            WrongAnswer: one does not, and the reference was sure.
        """
        agreed = 0
        for index, answer in answers.items():
            expected = self.material.reference[index]
            found = np.asarray(self.contestant.probabilities(json.loads(answer)))
            second, first = np.sort(expected)[-2:]
            if found.argmax() == expected.argmax():
                agreed += 1
            elif first - second > CLEAR:
                name = self.contestant.title
                raise WrongAnswer(f"{name}: class {found.argmax()}, not {expected.argmax()}")
        return agreed / max(1, len(answers))


def throughput(visit: Visit) -> Values:
    """Measure one picture a request, 32 connections."""
    outcome, values = visit.run(replace(visit.plan, keep=KEPT))
    return {**values, "agreement": visit.check(outcome.answers)}


def throughput_in_mode(visit: Visit, mode: str) -> Values:
    """Measure the same in a mode that may answer otherwise, if there is such a mode.

    Raises:
        NotMeasured: the service does not know the mode.
    """
    picture = visit.material.pictures[0]
    for asked, known in ((mode, True), ("no-such-mode", False)):
        status, _ = ask(visit.server.port, post(f"/predict?mode={asked}", picture, "image/png"))
        if (status == 200) != known:
            raise NotMeasured(f"status {status} to mode={asked}")
    pictures = visit.material.pictures
    requests = tuple(post(f"/predict?mode={mode}", each, "image/png") for each in pictures)
    outcome, values = visit.run(replace(visit.plan, requests=requests, keep=len(requests)))
    same, used = [], []
    for index, text in outcome.answers.items():
        (prediction,) = json.loads(text)["predictions"]
        same.append(prediction["class_id"] == visit.material.reference[index].argmax())
        used.append(prediction["members_used"])
    return {**values, "agreement": float(np.mean(same)), "members_used": float(np.mean(used))}


def latency(visit: Visit) -> Values:
    """Measure one connection."""
    return visit.run(replace(visit.plan, connections=1, warmup_seconds=1))[1]


def photos(visit: Visit) -> Values:
    """Measure JPEG photos of 12 megapixels, 8 connections."""
    request = visit.contestant.request(visit.material.photo, "image/jpeg")
    return visit.run(replace(visit.plan, requests=(request,), connections=8))[1]


def batches(visit: Visit, pictures: int = 64, query: str = "") -> Values:
    """Measure our own service with several pictures a request, 4 connections."""
    files = visit.material.pictures
    starts = range(0, len(files), pictures)
    # As many as asked for in each, however many there are.
    groups = [[files[(start + n) % len(files)] for n in range(pictures)] for start in starts]
    requests = tuple(pictures_request(group, query) for group in groups[:8])
    plan = replace(visit.plan, requests=requests, connections=4, warmup_seconds=1)
    return visit.run(plan, pictures)[1]


def overload(visit: Visit, seconds: float) -> Values:
    """Measure the open loop at four times what the closed one reached."""
    peak = visit.run(visit.plan)[1]["pictures_per_second"]
    before = visit.server.resident_bytes()
    flood = replace(visit.plan, rate=4 * peak, seconds=seconds, connections=2048)
    outcome, values = visit.run(flood)
    refused = outcome.latencies_ms.get(429, {})
    return {
        **values,
        "peak_per_second": peak,
        "due_per_second": outcome.due / outcome.seconds,
        "share_429": outcome.statuses.get(429, 0) / max(1, sum(outcome.statuses.values())),
        **{f"{name}_429_ms": refused[name] for name in ("p50", "p99") if refused},
        "other_failures": outcome.failures - outcome.statuses.get(429, 0),
        "backlog": outcome.backlog,
        "resident_before_bytes": before,
        "resident_after_bytes": visit.server.resident_bytes(),
    }


def cost(visit: Visit, members: int, pictures: int) -> Values:
    """Measure our own service with so many members and pictures a request, 4 connections."""
    short = replace(visit, seconds=min(visit.seconds, 2.0))
    return batches(short, pictures, f"max_members={members}")


MEASURES: dict[str, Callable[[Visit], Values]] = {
    "throughput": throughput,
    "fast": lambda visit: throughput_in_mode(visit, "fast"),
    "cascade": lambda visit: throughput_in_mode(visit, "cascade"),
    "latency": latency,
    "photos": photos,
    "batches": batches,
}
"""By name; each may raise ``NotMeasured``."""
