"""``make soak``: mixed work for a long time, after which nothing may have grown or gone wrong.

Pictures, photos that are damaged, jobs that succeed and jobs that are cancelled, and swaps, all at
once; every process's memory, file descriptors and threads are looked at meanwhile.
"""

import argparse
import itertools
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx

from models.store import Store
from tests.chaos.cluster import Cluster, running
from tests.launcher import all_processes
from tests.service import parts, picture
from tests.tiny import RECIPE, publish, write_dataset

LOOK_SECONDS = 5.0
WARM_UP = 1 / 3
"""Of the time: caches fill, and allocators find their size."""

MOST_GROWTH = 1.05


class Look(NamedTuple):
    """A process at one moment."""

    resident_bytes: int
    descriptors: int
    threads: int


@dataclass
class Soak:
    """What is done to a cluster, and what came of it.

    Attributes:
        cluster: ready.
        recipe: of its jobs.
        ensembles: to swap between.
        answers: how often each kind of call was answered with each status.
        unexpected: calls that were answered otherwise than they may be.
        looks: at each process, by its role and number.
    """

    cluster: Cluster
    recipe: dict[str, object]
    ensembles: list[str]
    answers: Counter[tuple[str, int]]
    unexpected: list[str]
    looks: dict[tuple[str, int], list[Look]]

    def run(self, seconds: float) -> None:
        """Do everything at once for so long."""
        end = time.monotonic() + seconds
        work = [self._predict] * 4 + [self._predict_hostile, self._swap, self._train, self._cancel]
        over = threading.Event()
        with ThreadPoolExecutor(len(work)) as pool:
            done = [pool.submit(self._repeat, each, over, n) for n, each in enumerate(work)]
            while (left := end - time.monotonic()) > 0:
                over.wait(min(LOOK_SECONDS, left))
                self.look()
                print(f"\r{left / 60:5.1f} min left, {len(self.unexpected)} unexpected", end="")
            over.set()
            for each in done:
                each.result()
        print()

    def look(self) -> None:
        """Take a look at every process."""
        (api, *workers) = self.cluster.commands
        roles = {api.process.pid: "api"} | {each.process.pid: "worker" for each in workers}
        for process in all_processes():
            role = roles.get(process.pid)
            if role is None and process.parent in roles and roles[process.parent] == "worker":
                role = "child of a worker"
            if role:
                with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                    self.looks[role, process.pid].append(look_at(process.pid))

    def _repeat(
        self, do: Callable[[httpx.Client, random.Random], None], over: threading.Event, seed: int
    ) -> None:
        rng = random.Random(seed)
        with httpx.Client(base_url=self.cluster.client.base_url, timeout=60) as client:
            while not over.is_set():
                try:
                    do(client, rng)
                except httpx.TransportError as error:
                    self.unexpected.append(f"{do.__name__}: {error!r}")

    def _note(self, kind: str, response: httpx.Response, *expected: int) -> None:
        self.answers[kind, response.status_code] += 1
        if response.status_code not in expected:
            self.unexpected.append(f"{kind}: {response.status_code}: {response.text[:200]}")

    def _predict(self, client: httpx.Client, rng: random.Random) -> None:
        files = [picture(rng.randrange(50)) for _ in range(rng.choice([1, 1, 1, 8]))]
        self._note("predict", client.post("/predict", files=parts(*files)), 200, 429)
        time.sleep(rng.uniform(0, 0.05))

    def _predict_hostile(self, client: httpx.Client, rng: random.Random) -> None:
        kind = rng.choice(["PNG", "JPEG", "GIF", "WEBP", "BMP"])
        data = bytearray(picture(rng.randrange(50), kind))
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        del data[rng.randrange(len(data) // 2, 2 * len(data)) :]
        response = client.post("/predict", files=parts(bytes(data)))
        self._note("hostile", response, 200, 413, 415, 422, 429)
        time.sleep(rng.uniform(0, 0.1))

    def _swap(self, client: httpx.Client, rng: random.Random) -> None:
        chosen = {"ensemble": rng.choice(self.ensembles)}
        self._note("swap", client.put("/ensembles/serving", json=chosen), 200)
        time.sleep(rng.uniform(1, 4))

    def _train(self, client: httpx.Client, _: random.Random) -> None:
        response = client.post("/jobs/distill", json=self.recipe)
        self._note("job", response, 202)
        id_ = response.json()["id"]
        while not (job := client.get(f"/jobs/{id_}").json())["finished_at"]:
            time.sleep(0.5)
        if job["status"] != "succeeded":
            self.unexpected.append(f"job {id_} {job['status']}: {job['error']}")
        time.sleep(2)

    def _cancel(self, client: httpx.Client, rng: random.Random) -> None:
        endless = {**self.recipe, "epochs": 5000}
        response = client.post("/jobs/distill", json=endless)
        self._note("job", response, 202)
        id_ = response.json()["id"]
        time.sleep(rng.uniform(0, 6))
        try:
            response = client.delete(f"/jobs/{id_}")
        except httpx.TransportError as error:
            self.unexpected.append(f"cancel: {error!r}")
            response = client.delete(f"/jobs/{id_}")  # or it would keep the workers for ever
        self._note("cancel", response, 202)
        asked = time.monotonic()
        while not (job := client.get(f"/jobs/{id_}").json())["finished_at"]:
            if time.monotonic() - asked > 60:
                self.unexpected.append(f"job {id_} is {job['status']} a minute after its cancel")
                return
            time.sleep(0.2)

    def growth(self) -> list[str]:
        """Return what has grown, after the warm-up, in processes that lived through it."""
        grown = []
        for (role, pid), looks in sorted(self.looks.items()):
            warm = looks[int(len(looks) * WARM_UP) :]
            if len(warm) < 6:
                continue
            third = len(warm) // 3
            before, between, after = (
                Look(*(median(values) for values in zip(*part, strict=True)))
                for part in (warm[:third], warm[third:-third], warm[-third:])
            )
            growth = after.resident_bytes / before.resident_bytes
            line = (
                f"{role} {pid}: {before.resident_bytes / 2**20:.0f} MiB, then "
                f"{between.resident_bytes / 2**20:.0f}, "
                f"{after.resident_bytes / 2**20:.0f} ({growth - 1:+.1%}); descriptors "
                f"{before.descriptors:g}, {after.descriptors:g}; threads "
                f"{before.threads:g}, {after.threads:g}"
            )
            print(line)
            if (
                growth > MOST_GROWTH
                or after.descriptors > before.descriptors + 2
                or after.threads > before.threads + 2
            ):
                grown.append(line)
        return grown


def look_at(pid: int) -> Look:
    """Look at a process."""
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    )
    return Look(
        resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=int(status["Threads"]),
    )


def main() -> int:
    """Soak, print, and say by the exit status whether nothing grew or went wrong."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=…", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        data = write_dataset(folder / "data" / "noise").parent
        with running(folder, data, lease_seconds=30) as cluster:
            store = Store(cluster.store)
            ensembles = [publish(store, seed=seed).id for seed in range(3)]
            store.serve(ensembles[0])
            cluster.start()
            recipe = replace(RECIPE, epochs=8, promote="always").to_dict()
            soak = Soak(cluster, recipe, ensembles, Counter(), [], defaultdict(list))
            soak.run(options.minutes * 60)
            grown = soak.growth()
    for (kind, status), count in sorted(soak.answers.items()):
        print(f"{kind}: {status} {count} times")
    for what in itertools.islice(soak.unexpected, 20):
        print(f"unexpected: {what}")
    print(
        f"soak {options.minutes:g} minutes, {len(soak.unexpected)} unexpected, {len(grown)} grown"
    )
    return 1 if soak.unexpected or grown else 0


if __name__ == "__main__":
    sys.exit(main())
