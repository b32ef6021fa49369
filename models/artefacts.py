"""Tensors and JSON as files with digests, and networks read back from them with every check.

Weights are safetensors, descriptions are JSON; nothing here can run code from a file. Whoever
writes tensors gets a ``FileRecord`` and puts it into a manifest; whoever reads hands it back, so
a file is checked against the manifest that vouches for it, on the very bytes that are then used.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from models.errors import CorruptArtefact
from models.files import Files
from models.names import is_network
from models.resnet import ResNet, build_network


@dataclass(frozen=True)
class FileRecord:
    """A file as a manifest knows it.

    Attributes:
        file: path relative to the manifest's folder.
        sha256: hex digest of the whole file.
        bytes: size.
    """

    file: str
    sha256: str
    bytes: int


def write_tensors(
    files: Files, folder: str, file: str, tensors: Mapping[str, Tensor]
) -> FileRecord:
    """Write tensors as one safetensors file and return the record that vouches for it."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    files.write(f"{folder}/{file}", data)
    return FileRecord(file, hashlib.sha256(data).hexdigest(), len(data))


def read_tensors(files: Files, folder: str, record: FileRecord) -> dict[str, Tensor]:
    """Read tensors and check the file against its record.

    Raises:
        CorruptArtefact: the file is missing, has another digest, or is no safetensors file.
    """
    path = f"{folder}/{record.file}"
    try:
        data = files.read(path)
    except FileNotFoundError as error:
        raise CorruptArtefact(
            f"{files.path(path)}: missing, though its manifest names it"
        ) from error
    if len(data) != record.bytes:
        reason = f"has {len(data):,} bytes, its manifest says {record.bytes:,}"
        raise CorruptArtefact(f"{files.path(path)}: {reason}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != record.sha256:
        reason = f"its sha256 is {digest}, its manifest says {record.sha256}"
        raise CorruptArtefact(f"{files.path(path)}: {reason}")
    try:
        return load(data)
    except SafetensorError as error:
        raise CorruptArtefact(f"{files.path(path)}: no safetensors file: {error}") from error


def read_network(files: Files, folder: str, record: FileRecord, name: str, classes: int) -> ResNet:
    """Build a network and fill it with weights read from a file.

    Args:
        files: where to read.
        folder: folder of the manifest.
        record: the manifest's entry for the weights.
        name: network the weights belong to.
        classes: its number of classes.

    Raises:
        CorruptArtefact: digest, tensor names or shapes are not what they must be, or this version
            does not know the network.
    """
    tensors = read_tensors(files, folder, record)
    where = files.path(f"{folder}/{record.file}")
    if not is_network(name):
        raise CorruptArtefact(f"{where}: weights of {name!r}, which is no network known here")
    # Initial weights are drawn to be replaced: torch's way around that, its meta device, imports
    # 900 modules first, which takes longer than a hundred small networks.
    with torch.random.fork_rng(devices=[]):
        network = build_network(name, classes)
    expected = network.state_dict()
    for difference, names in (
        ("lacks", expected.keys() - tensors.keys()),
        ("has the unknown", tensors.keys() - expected.keys()),
    ):
        if names:
            raise CorruptArtefact(f"{where}: {difference} tensor {min(names)} for a {name}")
    for key, tensor in expected.items():
        if tensors[key].shape != tensor.shape or tensors[key].dtype != tensor.dtype:
            found = f"{tensors[key].dtype} {list(tensors[key].shape)}"
            wanted = f"{tensor.dtype} {list(tensor.shape)}"
            raise CorruptArtefact(f"{where}: {key} is {found}, a {name} needs {wanted}")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def write_json(files: Files, name: str, data: Mapping[str, Any]) -> None:
    """Write data as indented JSON, which a person may read too."""
    files.write(name, json_bytes(data))


def json_bytes(data: Mapping[str, Any]) -> bytes:
    """Return data as UTF-8 JSON that ends with a newline."""
    return (json.dumps(data, indent=1, allow_nan=False) + "\n").encode()


def read_json(files: Files, name: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptArtefact: it holds something else than a JSON object.
    """
    try:
        data = json.loads(files.read(name))
    except ValueError as error:
        raise CorruptArtefact(f"{files.path(name)}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise CorruptArtefact(f"{files.path(name)}: not a JSON object")
    return data
