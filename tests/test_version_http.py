"""What runs here is told to whoever has a key."""

import tomllib
from importlib import metadata
from pathlib import Path

import httpx
import torch

from app import __version__


def test_versions_are_those_that_run(client: httpx.Client) -> None:
    response = client.get("/version")
    assert response.status_code == 200
    assert response.json() == {
        "version": __version__,
        "torch": torch.__version__,
        "openvino": metadata.version("openvino"),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }
    assert client.get("/openapi.json").json()["info"]["version"] == __version__


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
