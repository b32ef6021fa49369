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


def check_bytes(files: Files, folder: str, record: FileRecord) -> bytes:
    """Return a file's bytes, which are what its record says.

    Raises:
        CorruptArtefact: the file is missing, or has another size or digest.
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
    return data


def read_tensors(files: Files, folder: str, record: FileRecord) -> dict[str, Tensor]:
    """Read tensors and check the file against its record.

    Raises:
        CorruptArtefact: the file is missing, has another digest, or is no safetensors file.
    """
    data = check_bytes(files, folder, record)
    where = files.path(f"{folder}/{record.file}")
    try:
        return load(data)
    except SafetensorError as error:
        raise CorruptArtefact(f"{where}: no safetensors file: {error}") from error


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
    return fill_network(tensors, name, classes, files.path(f"{folder}/{record.file}"))


def fill_network(tensors: Mapping[str, Tensor], name: str, classes: int, where: str) -> ResNet:
    """Build a network and fill it with weights.

    Args:
        tensors: the weights, by name.
        name: network they belong to.
        classes: its number of classes.
        where: the file they are from, for the error.

    Raises:
        CorruptArtefact: tensor names or shapes are not what they must be, or this version does not
            know the network.
    """
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


def parse_strictly(data: bytes) -> dict[str, Any]:
    """Return what JSON from anybody says, if this project could have written it.

    Python reads more than JSON: NaN, numbers without bounds, halves of a surrogate pair, one name
    twice. Whoever answers with any of these later, or computes with it, fails far from its cause.

    Raises:
        ValueError: it is no JSON object, or holds any of that, or more than 32 levels.
    """
    try:
        found = json.loads(data, parse_constant=_refuse, object_pairs_hook=_only_once)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004  # as everything else that is wrong
    _check_values(found, levels_left=32)
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"holds {constant}")


def _only_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("names a field twice")
    return found


def _check_values(value: Any, levels_left: int) -> None:
    if levels_left == 0:
        raise ValueError("is nested too deeply")
    match value:
        case dict():
            _check_values([*value, *value.values()], levels_left)
        case list():
            for each in value:
                _check_values(each, levels_left - 1)
        case str():
            value.encode()  # half a surrogate pair is a UnicodeEncodeError, which is a ValueError
        case int() | float():
            if not abs(value) < 2**63:  # beyond it no other reader need follow; nor is an infinity
                raise ValueError("holds a number out of bounds")


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
