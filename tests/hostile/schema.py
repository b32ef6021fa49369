"""Schemathesis against a living service: what /openapi.json says, and what is answered."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]

# What the checks would call a finding, and is none:
# - a recipe may be fine by its schema and contradict itself or the data, and so may a picture;
# - 504 is the right answer to who gave one millisecond, and 507 to a full store;
# - DELETE asks a job to stop, and the job stays to be looked at.
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503, 504, 507]

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 409, 413, 415, 422, 429, 503, 504]

[checks.use_after_free]
enabled = false

[dictionaries.models]
values = ["serving", "%(ensemble)s"]

[dictionaries.ensembles]
values = ["%(ensemble)s"]

[dictionaries.datasets]
values = ["cifar100", "pets"]

[[operations]]
include-path-regex = "^/datasets/[{]"
parameters = { "path.name" = { dictionary = "datasets", probability = 0.8 } }

[[operations]]
include-path-regex = "^/v2/models/"
parameters = { "path.name" = { dictionary = "models", probability = 0.8 } }

[[operations]]
include-path-regex = "^/ensembles/[{]"
parameters = { "path.id" = { dictionary = "ensembles", probability = 0.8 } }
"""

STREAMS = "/events$"
"""Answers that go on for as long as a job does; their refusals have tests of their own."""


@dataclass(frozen=True)
class SchemaRun:
    """What a run came to.

    Attributes:
        requests: how many were sent.
        findings: how many different failures were found.
        report: what was printed, with a command that repeats each failure.
    """

    requests: int
    findings: int
    report: str


def check_schema(
    client: httpx.Client,
    ensemble: str,
    folder: Path,
    *,
    examples: int,
    seed: int,
    key: str | None = None,
    show: Callable[[str], None] = lambda _: None,
) -> SchemaRun:
    """Send what the schema of a service allows, and what it does not, and check every answer.

    All checks and all phases: boundary values, random ones, and calls in the order of their links.

    Args:
        client: of the service.
        ensemble: the id of one that it has.
        folder: for the configuration.
        examples: most requests for each call and phase.
        seed: the same requests for the same service.
        key: of a service that asks for keys: what is answered with it, and not without.
        show: takes each line as it is printed.

    Raises:
        RuntimeError: it did not run to its end.
    """
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG % {"ensemble": ensemble})
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    command += [str(client.base_url.join("/openapi.json")), "--exclude-path-regex", STREAMS]
    command += ["--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"]
    command += ["--no-color", "--generation-database", "none", "--request-timeout", "20"]
    if key is not None:
        command += ["--header", f"Authorization: Bearer {key}", "--checks", "ignored_auth"]
        command += ["--phases", "examples,fuzzing", "--mode", "positive"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.hostile.schema_hooks"}
    environment["PYTHONPATH"] = str(ROOT)
    lines = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            show(line.rstrip())
    report = "".join(lines)
    counted = re.search(r"(\d+) generated", report)
    if counted is None or process.returncode not in {0, 1}:
        raise RuntimeError(f"schemathesis ended with {process.returncode}:\n{report}")
    found = re.search(r"found (\d+) unique failures?|(\d+) unique failures?", report)
    findings = int(found[1] or found[2]) if found else process.returncode
    return SchemaRun(int(counted[1]), findings, report)
