"""Importing touches no GPU, training needs no web or queue library, and the lock holds the rest."""

import re
import subprocess
import sys
from pathlib import Path

IMPORT_ALL = """
import importlib, importlib.util, pkgutil, sys

def import_all(package):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        importlib.import_module(module.name)
        print(module.name)
"""

NO_GPU = """
import torch

def touched(*_):
    raise AssertionError("importing a module asked for a GPU")

torch.cuda.is_available = torch.cuda.device_count = torch.cuda._lazy_init = touched
for package in sys.argv[1:]:
    import_all(package)
assert not torch.cuda.is_initialized()
"""

# A bare GPU machine has none of these; there, importing them would fail.
BARE = """
for name in "fastapi starlette uvicorn pydantic pydantic_settings celery kombu redis".split():
    sys.modules[name] = None
"""

# What a worker and the API import at their start beyond our own modules' imports.
DISTRIBUTIONS = """
for name in ("brotli", "greenlet"):  # of Triton's client; celery uses them where it finds them
    sys.modules[name] = None
import celery.apps.worker, celery.concurrency.prefork, kombu.transport.redis
import uvicorn.loops.auto, uvicorn.protocols.http.auto
from importlib.metadata import packages_distributions

for package in sys.argv[1:]:
    import_all(package)
imported = {name.partition(".")[0] for name, module in sys.modules.items() if module}
for package, distributions in packages_distributions().items():
    if package in imported:
        print(*distributions, sep="\\n")
"""


def run(script: str, *packages: str) -> list[str]:
    """Run a script in a Python of its own; return the names of the modules it imported."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL + script, *packages],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_importing_models_and_training_needs_no_gpu_no_web_and_no_queue() -> None:
    modules = run(BARE + NO_GPU, "models", "training")
    assert {"models.store", "training.distill", "training.__main__"} <= set(modules)


def test_importing_the_service_touches_no_gpu() -> None:
    assert "app.settings" in run(NO_GPU, "app")


def test_the_service_imports_nothing_that_its_lock_lacks() -> None:
    # What the tests need is installed beside it here, and would hide that.
    imported = {name.lower().replace("_", "-") for name in run(DISTRIBUTIONS, "app")}
    lock = (Path(__file__).parents[1] / "requirements.lock").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z][a-z0-9-]*)==", lock, re.MULTILINE))
    modules = {name for name in imported if "." in name}  # printed by import_all
    assert imported - modules <= locked, imported - modules - locked


# Not of rich and click, which httpx imports where it finds them.
LIGHT = """
import app.client, app.schemas, app.recipe_request
heavy = "torch numpy PIL celery kombu redis fastapi starlette uvicorn fsspec matplotlib"
found = [name for name in heavy.split() if name in sys.modules]
assert not found, found
"""


def test_importing_the_client_imports_nothing_of_the_service() -> None:
    run(LIGHT)
