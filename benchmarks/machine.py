"""On what it was measured, as far as a figure depends on it."""

import json
import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.contestants import PEERS_PYTHON

OUR_PACKAGES = ("torch", "numpy", "pillow", "fastapi", "uvicorn")
PEERS_PACKAGES = ("litserve", "bentoml", "mosec", "fastapi", "uvicorn", "numpy", "pillow")
USEFUL_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd")


def describe(cores: list[int]) -> dict[str, Any]:
    """Return date, processor, cores used, what else keeps them busy, and versions."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.split("\n\n")[0].splitlines() if ":" in line)
    found = {key.strip(): value.strip() for key, value in fields.items()}
    flags = found.get("flags", found.get("Features", "")).split()
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpu": found.get("model name", platform.processor() or platform.machine()),
        "instructions": [flag for flag in USEFUL_FLAGS if flag in flags],
        "cores": cores,
        "cores_of_the_machine": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in OUR_PACKAGES},
        "openvino": _version("openvino"),
        "peers": _versions_of_peers(),
    }


def _version(package: str) -> str | None:
    with suppress(ImportError):  # what importlib.metadata raises is one
        return version(package)
    return None


def _versions_of_peers() -> dict[str, str]:
    if not PEERS_PYTHON.exists():
        return {}
    script = "import json, sys; from importlib.metadata import version as v\n"
    script += "print(json.dumps({name: v(name) for name in sys.argv[1:]}))"
    command = [str(PEERS_PYTHON), "-c", script, *PEERS_PACKAGES]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions
