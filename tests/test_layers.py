"""Importing touches no GPU, and training runs where no web or queue library is installed."""

import subprocess
import sys

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
