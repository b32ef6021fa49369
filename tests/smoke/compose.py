"""The compose file for real: built, started, asked, stopped half-way and started again.

`make smoke-compose` runs this. It needs a Docker engine and Compose (v2 or docker-compose 1.29).
Where there is no engine or no way to the base images, a script that makes both is used, named by
STANDIN_IMAGES or lying at ../shared/docker/standin-images; where that fails too, it says SKIPPED
and why. Only the standard library is used, so it runs before anything is installed.
"""

import signal
import sys
import tempfile
from pathlib import Path
from random import Random

from tests.smoke.containers import (
    Json,
    Service,
    Skipped,
    find_compose,
    output_of,
    ready_engine,
    say,
)
from tests.smoke.squares import COLOURS, draw_dataset, square

QUICK_JOB = {
    "name": "smoke-quick",
    "dataset": "squares",
    "student": "resnet8",
    "teacher": None,
    "members": 2,
    "epochs": 1,
    "batch_size": 16,
}
# Long enough to be stopped half-way, short enough to be waited for.
LONG_JOB = {**QUICK_JOB, "name": "smoke-long", "epochs": 20}


def succeeded(job: Json) -> bool:
    """Whether a job is finished."""
    return bool(job["status"] == "succeeded")


def predict(service: Service) -> str:
    """Check `POST /predict` of one picture; return the id of the ensemble that answered."""
    status, answer = service.call("POST", "/predict", square(COLOURS["red"], Random(1)))
    assert status == 200, f"POST /predict answers {status}: {answer}"
    probabilities = answer["predictions"][0]["probabilities"]
    assert abs(sum(probabilities) - 1) < 1e-4, f"probabilities add up to {sum(probabilities)}"
    members = answer["members"]
    say(f"✓ /predict: {answer['ensemble']}, {members} members, {len(probabilities)} classes")
    return str(answer["ensemble"])


def start_job(service: Service, recipe: Json) -> str:
    """Check `POST /jobs/distill`; return the job's id."""
    status, job = service.call("POST", "/jobs/distill", recipe)
    assert status == 202, f"POST /jobs/distill answers {status}: {job}"
    return str(job["id"])


def stop_gently(service: Service) -> None:
    """`down`, after checking that every process ended at SIGTERM and none had to be killed."""
    users = {
        name: output_of("docker", "exec", container, "id", "-u").strip()
        for name, container in service.containers().items()
        if name != "redis"
    }
    assert "0" not in users.values(), f"processes run as root: {users}"
    service.compose("stop", quiet=True)
    for name, container in service.containers().items():
        code = output_of("docker", "inspect", "-f", "{{.State.ExitCode}}", container).strip()
        assert code in {"0", "143"}, f"{name} ended with {code} at SIGTERM (137: it was killed)"
    service.compose("down", quiet=True)
    assert not service.containers(), "containers are left after down"


def exercise(service: Service) -> None:
    """Everything that must hold, in order."""
    say("building the images (the first time several minutes: PyTorch is 5 GB) …")
    service.compose("build", quiet=True)
    say("✓ images built")

    service.compose("up", "-d", quiet=True)
    service.wait_ready()
    say(f"✓ up: ready on port {service.port}")
    release = predict(service)

    quick = service.wait_job(start_job(service, QUICK_JOB), succeeded)
    status, ensemble = service.call("GET", f"/ensembles/{quick['ensemble']}")
    assert status == 200, f"GET /ensembles/{quick['ensemble']} answers {status}: {ensemble}"
    say(f"✓ a job ran to its end: ensemble {quick['ensemble']}")

    long = start_job(service, LONG_JOB)
    before = service.wait_job(long, lambda job: job["status"] == "running" and job["progress"] > 0)
    say(f"a longer job is at {before['progress']:.0%}: down …")
    stop_gently(service)
    say("✓ down: no process was root, none had to be killed, nothing is left running")

    service.compose("up", "-d", quiet=True)
    service.wait_ready()
    say("✓ up again: ready")
    after = service.call("GET", f"/jobs/{quick['id']}")[1]
    assert after == quick, f"the finished job changed over down and up: {quick} → {after}"
    after = service.call("GET", f"/ensembles/{quick['ensemble']}")[1]
    assert after == ensemble, f"its ensemble changed over down and up: {ensemble} → {after}"
    say("✓ the finished job and its ensemble are still there, unchanged")
    status, job = service.call("GET", f"/jobs/{long}")
    assert status == 200, f"the unfinished job is lost: {status} {job}"
    assert not succeeded(job), "the longer job was too short to be stopped half-way"
    say(f"✓ the unfinished job is still there, {job['status']} at {job['progress']:.0%}")
    service.wait_job(long, succeeded)
    say("✓ … and it ran to its end")
    assert predict(service) == release, "another ensemble serves than before"


def main() -> int:
    """Run it all; 0 when it held or was skipped."""
    # SIGTERM as an exception, so that what was started is removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        ready_engine()
        compose = find_compose()
    except Skipped as reason:
        print(f"SKIPPED: {reason}")
        return 0
    say(f"using `{' '.join(compose)}`")
    with tempfile.TemporaryDirectory(prefix="stillhouse-smoke-") as data:
        draw_dataset(Path(data))
        service = Service(compose, Path(data))
        try:
            exercise(service)
        except AssertionError as fault:
            service.compose("logs", "--tail", "60", "--no-color")
            print(f"\nFAILED: {fault}", file=sys.stderr)
            return 1
        finally:
            service.remove()
    say("✓ all of it held; containers, volumes and tags of this run are removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
