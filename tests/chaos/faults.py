"""What is done to a cluster while it works on a job."""

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from redis import Redis

from app.pieces import PREFIX
from tests.chaos.cluster import Cluster
from tests.chaos.disk import Disk
from tests.launcher import Worker
from tests.service import wait_until

Fault = Callable[[Cluster, str, random.Random], str | None]
"""Is told the job's id; says what it hit, or none where there was nothing to hit."""


def kill_child(cluster: Cluster, _: str, rng: random.Random) -> str | None:
    """Kill a process that trains."""
    worker = _busy(cluster, rng)
    worker.kill_child()
    return "the child of a worker"


def kill_parent(cluster: Cluster, _: str, rng: random.Random) -> str | None:
    """Kill a worker's parent, whose child goes on alone."""
    cluster.kill_parent(_busy(cluster, rng))
    return "the parent of a worker"


def kill_worker(cluster: Cluster, _: str, rng: random.Random) -> str | None:
    """Kill a worker whole."""
    cluster.kill(worker=_busy(cluster, rng))
    return "a worker, parent and child"


def kill_api(cluster: Cluster, _: str, __: random.Random) -> str | None:
    """Kill the API."""
    cluster.kill(api=True)
    return "the API"


def kill_valkey(cluster: Cluster, _: str, __: random.Random) -> str | None:
    """Kill Valkey, which has its append-only file."""
    cluster.kill(valkey=True)
    return "Valkey"


def wipe_valkey(cluster: Cluster, _: str, __: random.Random) -> str | None:
    """Let Valkey forget everything."""
    with _redis(cluster) as redis:
        redis.flushall()
    return "all that Valkey knows"


def kill_all(cluster: Cluster, _: str, rng: random.Random) -> str | None:
    """Kill a worker, the API and Valkey at once."""
    cluster.kill(valkey=True, api=True, worker=_busy(cluster, rng))
    return "a worker, the API and Valkey"


def stop_child(cluster: Cluster, _: str, rng: random.Random) -> str | None:
    """Hold up a process that trains for longer than its lease."""
    child = wait_until(lambda: _busy(cluster, rng).child)
    assert child is not None
    os.kill(child, signal.SIGSTOP)
    seconds = cluster.lease_seconds * rng.uniform(1.1, 1.5)
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGCONT)
    return f"the child of a worker, for {seconds:.0f} s"


def cut_wire(cluster: Cluster, _: str, rng: random.Random) -> str | None:
    """Cut the network to Valkey, for less or more than a lease."""
    seconds = cluster.lease_seconds * rng.choice([0.3, 1.3])
    cluster.wire.cut()
    time.sleep(seconds)
    cluster.wire.mend()
    return f"the network to Valkey, for {seconds:.0f} s"


def skew_leases(cluster: Cluster, id_: str, _: random.Random) -> str | None:
    """Let the clock of a job's leases run ahead, so that they end while their holders live."""
    with _redis(cluster) as redis:
        names = [*redis.scan_iter(f"{PREFIX}{id_}:part:*:lease")]
        for name in names:
            redis.pexpire(name, 1)
    return f"the clock of {len(names)} leases" if names else None


def fill_disk(cluster: Cluster, _: str, rng: random.Random) -> str | None:
    """Leave no space in the store for a while."""
    return _for_a_while(cluster, Disk.fill, Disk.free, rng)


def forbid_writing(cluster: Cluster, _: str, rng: random.Random) -> str | None:
    """Let nobody write to the store for a while."""
    return _for_a_while(cluster, Disk.forbid_writing, Disk.allow_writing, rng)


def damage_checkpoint(cluster: Cluster, id_: str, rng: random.Random) -> str | None:
    """Damage the newest checkpoint of a network and kill whoever would not have needed it."""
    worker = _busy(cluster, rng)
    pattern = f"runs/{id_}/*/member-*/epoch-*{rng.choice(['.json', '.safetensors'])}"
    found = wait_until(lambda: sorted(cluster.store.glob(pattern)))
    newest = max(found, key=lambda path: path.name)
    how = _damage(newest, rng)
    worker.kill_child()
    return how


def damage_member(cluster: Cluster, id_: str, rng: random.Random) -> str | None:
    """Damage a file of a member that is finished."""
    kinds = ("finished.json", "finished.*.safetensors", "validation.*.safetensors")
    pattern = f"runs/{id_}/*/member-*/{rng.choice(kinds)}"
    done = f"jobs/{id_}/outcome.json"
    wait_until(lambda: [*cluster.store.glob(pattern)] or (cluster.store / done).exists())
    found = sorted(cluster.store.glob(pattern))
    return _damage(rng.choice(found), rng) if found else None


def damage_ensemble(cluster: Cluster, _: str, rng: random.Random) -> str | None:
    """Damage a published ensemble that does not serve, and ask for it."""
    client = cluster.client
    listed = [each["id"] for each in client.get("/ensembles").json()["ensembles"]]
    serving = client.get("/classes").json()["ensemble"]
    others = [
        id_
        for id_ in listed
        if id_ != serving and (cluster.store / "ensembles" / id_ / "manifest.json").exists()
    ]
    if not others:
        return None
    folder = cluster.store / "ensembles" / rng.choice(others)
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    how = _damage(rng.choice([folder / "manifest.json", folder / "member-00.safetensors"]), rng)
    answer = client.put("/ensembles/serving", json={"ensemble": folder.name})
    assert answer.status_code in {404, 503}, f"{how}, and it was promoted: {answer.text}"
    assert client.get("/classes").json()["ensemble"] == serving
    for path, data in kept.items():
        path.write_bytes(data)
    return how


FAULTS: Mapping[str, Fault] = {
    fault.__name__.replace("_", " "): fault
    for fault in (
        kill_child,
        kill_parent,
        kill_worker,
        kill_api,
        kill_valkey,
        wipe_valkey,
        kill_all,
        stop_child,
        cut_wire,
        skew_leases,
        fill_disk,
        forbid_writing,
        damage_checkpoint,
        damage_member,
        damage_ensemble,
    )
}


def _for_a_while(
    cluster: Cluster,
    begin: Callable[[Disk], None],
    end: Callable[[Disk], None],
    rng: random.Random,
) -> str | None:
    if cluster.disk is None:
        return None
    seconds = rng.uniform(0.5, 4)
    begin(cluster.disk)
    time.sleep(seconds)
    end(cluster.disk)
    return f"the disk, for {seconds:.1f} s"


def _busy(cluster: Cluster, rng: random.Random) -> Worker:
    """Return a worker that has said last that it has a piece; any, if none has."""
    busy = [
        worker
        for worker in cluster.workers
        if any(" begins" in line or " goes on" in line for line in worker.lines[-20:])
    ]
    return rng.choice(busy or cluster.workers)


def _redis(cluster: Cluster) -> Redis:
    return Redis(port=cluster.valkey_port, decode_responses=True)


def _damage(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        how, data = "truncated", data[: rng.randrange(len(data))]
    else:
        how = "with a bit flipped"
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"{path.parent.name}/{path.name}, {how}"
