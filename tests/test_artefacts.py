"""What is read back is what was written, or an error that names the file and what is wrong."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.artefacts import (
    FileRecord,
    read_json,
    read_network,
    read_tensors,
    write_json,
    write_tensors,
)
from models.errors import CorruptArtefact
from models.files import Files
from models.resnet import build_network
from tests.tiny import same_weights

TENSORS = {"x": torch.arange(12.0).view(3, 4), "n": torch.tensor(7)}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_tensors_come_back_as_they_were(files: Files) -> None:
    record = write_tensors(files, "folder", "x.safetensors", TENSORS)
    read = read_tensors(files, "folder", record)
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[key], tensor) for key, tensor in TENSORS.items())


def test_the_record_vouches_for_the_file(files: Files, tmp_path: Path) -> None:
    record = write_tensors(files, "folder", "x.safetensors", TENSORS)
    data = (tmp_path / "folder/x.safetensors").read_bytes()
    assert record == FileRecord("x.safetensors", hashlib.sha256(data).hexdigest(), len(data))


def test_tensors_of_any_memory_layout_are_written(files: Files) -> None:
    wide = torch.rand(2, 3, 4, 5)
    last = wide.to(memory_format=torch.channels_last)
    odd = {"last": last, "part": wide[:, 1:, ::2].transpose(1, 2)}
    read = read_tensors(files, "", write_tensors(files, "", "x", odd))
    assert all(torch.equal(read[key], tensor) for key, tensor in odd.items())


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (one_bit, "its sha256 is [0-9a-f]{64}, its manifest says"),
        (cut_short, "has [0-9,]+ bytes, its manifest says"),
        (removed, "missing, though its manifest names it"),
    ],
)
def test_a_damaged_file_is_named_with_its_damage(
    damage: Callable[[Path], None], reason: str, files: Files, tmp_path: Path
) -> None:
    record = write_tensors(files, "folder", "x.safetensors", TENSORS)
    damage(tmp_path / "folder/x.safetensors")
    with pytest.raises(CorruptArtefact, match=rf"folder/x\.safetensors: {reason}"):
        read_tensors(files, "folder", record)


def test_another_kind_of_file_is_refused_though_its_digest_is_right(files: Files) -> None:
    data = b"these are no tensors"
    files.write("folder/x.safetensors", data)
    record = FileRecord("x.safetensors", hashlib.sha256(data).hexdigest(), len(data))
    with pytest.raises(CorruptArtefact, match=r"x\.safetensors: no safetensors file"):
        read_tensors(files, "folder", record)


# Networks.


def weights() -> dict[str, Tensor]:
    return dict(build_network("resnet8", 5).state_dict())


def test_a_network_comes_back_ready_to_answer(files: Files) -> None:
    network = build_network("resnet8", 5)
    record = write_tensors(files, "", "x", network.state_dict())
    read = read_network(files, "", record, "resnet8", 5)
    assert same_weights(network, read)
    assert not read.training
    assert not any(parameter.requires_grad for parameter in read.parameters())


def test_reading_a_network_draws_no_random_numbers(files: Files) -> None:
    record = write_tensors(files, "", "x", weights())
    before = torch.random.get_rng_state()
    read_network(files, "", record, "resnet8", 5)
    assert torch.equal(before, torch.random.get_rng_state())


def without_classifier(tensors: dict[str, Tensor]) -> None:
    del tensors["classifier.bias"]


def with_another(tensors: dict[str, Tensor]) -> None:
    tensors["attention"] = torch.zeros(1)


def for_other_classes(tensors: dict[str, Tensor]) -> None:
    tensors["classifier.bias"] = torch.zeros(6)


def in_half_precision(tensors: dict[str, Tensor]) -> None:
    tensors["classifier.bias"] = tensors["classifier.bias"].half()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_classifier, "lacks tensor classifier.bias for a resnet8"),
        (with_another, "has the unknown tensor attention for a resnet8"),
        (for_other_classes, r"classifier.bias is torch.float32 \[6\], .* torch.float32 \[5\]"),
        (in_half_precision, r"classifier.bias is torch.float16 \[5\], .* torch.float32 \[5\]"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    change: Callable[[dict[str, Tensor]], None], reason: str, files: Files
) -> None:
    tensors = weights()
    change(tensors)
    record = write_tensors(files, "folder", "x.safetensors", tensors)
    with pytest.raises(CorruptArtefact, match=rf"folder/x\.safetensors: {reason}"):
        read_network(files, "folder", record, "resnet8", 5)


def test_weights_of_a_network_from_the_future_are_named(files: Files) -> None:
    record = write_tensors(files, "folder", "x.safetensors", weights())
    with pytest.raises(CorruptArtefact, match=r"x\.safetensors: weights of 'vit5'"):
        read_network(files, "folder", record, "vit5", 5)


# JSON.


def test_json_comes_back_and_a_person_can_read_it(files: Files, tmp_path: Path) -> None:
    data = {"a": [1, 2.5, None], "b": {"c": "ä"}}
    write_json(files, "x.json", data)
    assert read_json(files, "x.json") == data
    assert len((tmp_path / "x.json").read_text().splitlines()) > 5


def test_json_holds_no_nan(files: Files) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(files, "x.json", {"loss": float("nan")})
    assert not files.exists("x.json")


@pytest.mark.parametrize("data", [b"", b'{"a": 1', b"\xff\xfe", json.dumps([1]).encode(), b"null"])
def test_what_is_no_json_object_is_named(data: bytes, files: Files) -> None:
    files.write("folder/x.json", data)
    with pytest.raises(CorruptArtefact, match=r"folder/x\.json: not (a )?JSON"):
        read_json(files, "folder/x.json")


def test_missing_json_is_not_found(files: Files) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(files, "x.json")
