"""Of what this version consists."""

from importlib import metadata

import torch


def openvino_version() -> str | None:
    """Return the version of OpenVINO; none where it is not installed."""
    try:
        return metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return None


def torch_version() -> str:
    """Return the version of PyTorch, with the kind of device it was built for."""
    return str(torch.__version__)
