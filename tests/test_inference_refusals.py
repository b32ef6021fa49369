"""Requests that are not of the Open Inference Protocol: each is refused with what is wrong."""

import json
import tracemalloc
from typing import Any

import pytest

from app.inference_protocol import InvalidInference
from tests.tensors import BYTES, IMAGES, MAX_PICTURES, SIZE, binary_input, input_of, read


def refusal(request: Any, binary: bytes | None = None, length: str | None = None) -> str:
    """Return why a request is refused."""
    with pytest.raises(InvalidInference) as refused:
        read(request, binary, length)
    return str(refused.value)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe{}", "Invalid JSON"),
        (b"\xef\xbb\xbf{}", "Invalid JSON"),
        (b'{"id": "\\ud800"}', "Invalid JSON"),
        (b'{"id": "a\xff"}', "Invalid JSON"),
        (b'{"id": 1' + b"9" * 5000 + b"}", "Invalid JSON"),
        (b"[" * 50_000, "recursion limit"),
        (b'{"inputs": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "recursion limit"),
        (b"null", "object"),
        (b"[]", "object"),
        (b"{}", "inputs: Field required"),
    ],
    ids=range(12),
)
def test_what_is_no_request_is_refused(body: bytes, why: str) -> None:
    assert why in refusal(body)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ([], "inputs: List should have at least 1 item"),
        ([input_of(), input_of()], "inputs: List should have at most 1 item"),
        ([None], "inputs.0: "),
        ({}, "inputs: "),
        ([input_of(name="pictures")], "inputs.0.name: Input should be 'images'"),
        ([input_of(name=None)], "inputs.0.name: Field required"),
        ([input_of(datatype="FP32")], "inputs.0.datatype: Input should be 'UINT8'"),
        ([input_of(datatype=7)], "inputs.0.datatype: "),
        ([input_of(shape=None)], "inputs.0.shape: Field required"),
        ([input_of(data=None)], "either data or a binary_data_size"),
        ([input_of(parameters={"binary_data_size": BYTES})], "either data or a binary_data_size"),
        ([input_of(parameters={"shared_memory_region": "a"})], "shared_memory_region: is not supp"),
        ([input_of(parameters=[])], "inputs.0.parameters: "),
    ],
    ids=range(13),
)
def test_inputs_must_be_the_one_that_there_is(inputs: Any, why: str) -> None:
    assert why in refusal({"inputs": inputs})


@pytest.mark.parametrize(
    "shape",
    [
        [],
        [2],
        [BYTES],
        [2, SIZE, SIZE],
        [2, 3, SIZE, SIZE],
        [2, SIZE, SIZE, 4],
        [2, SIZE, SIZE, 3, 1],
        [2, SIZE * SIZE, 1, 3],
        [0, SIZE, SIZE, 3],
        [MAX_PICTURES + 1, SIZE, SIZE, 3],
        [10**15, SIZE, SIZE, 3],
        [2**64, SIZE, SIZE, 3],
        [10**4000, SIZE, SIZE, 3],
        [-2, SIZE, SIZE, 3],
        [2.0, SIZE, SIZE, 3],
        [True, SIZE, SIZE, 3],
        ["2", SIZE, SIZE, 3],
        [2] * 10_000,
        [[2, SIZE, SIZE, 3]],
        {"0": 2},
    ],
    ids=range(20),
)
@pytest.mark.parametrize("binary", [False, True])
def test_shapes_of_anything_but_some_pictures_are_refused(shape: Any, binary: bool) -> None:
    tensor = binary_input(shape=shape) if binary else input_of(shape=shape)
    why = refusal({"inputs": [tensor]}, IMAGES.tobytes() if binary else None)
    assert why.startswith(("images has the shape ", "inputs.0.shape"))
    assert len(why) < 500


FLAT = IMAGES.ravel().tolist()
NESTED = IMAGES.tolist()


@pytest.mark.parametrize(
    "data",
    [
        [],
        FLAT[:-1],
        [*FLAT, 0],
        NESTED[:1],
        [*NESTED, NESTED[0]],
        [NESTED],
        [[]] * 2,
        [NESTED[0], NESTED[1][:-1]],
        [NESTED[0], [*NESTED[1][:-1], NESTED[1][0][:-1]]],
        [NESTED[0], [*NESTED[1][:-1], [*NESTED[1][0][:-1], [1, 2]]]],
        IMAGES.reshape(2, -1).tolist(),
        IMAGES.reshape(2, SIZE * 2, SIZE // 2, 3).tolist(),
        IMAGES.reshape(2, SIZE * SIZE, 1, 3).tolist(),
        IMAGES.transpose(0, 3, 1, 2).tolist(),
        [*FLAT[:-1], [1]],
        [*FLAT[:-1], 256],
        [*FLAT[:-1], -1],
        [*FLAT[:-1], 10**100],
        [*FLAT[:-1], 1.5],
        [*FLAT[:-1], 1.0],
        [*FLAT[:-1], float("nan")],
        [*FLAT[:-1], float("inf")],
        [*FLAT[:-1], "1"],
        [*FLAT[:-1], True],
        [*FLAT[:-1], None],
        [*FLAT[:-1], {}],
        "A" * BYTES,
        {"0": 1},
        7,
    ],
    ids=range(29),
)
def test_data_that_is_not_as_its_shape_says_is_refused(data: Any) -> None:
    assert "data" in refusal({"inputs": [input_of(data=data)]})


@pytest.mark.parametrize(
    ("size", "binary"),
    [
        (BYTES, b""),
        (BYTES, IMAGES.tobytes()[:-1]),
        (BYTES, IMAGES.tobytes() + b"0"),
        (BYTES - 1, IMAGES.tobytes()[:-1]),
        (BYTES + 1, IMAGES.tobytes() + b"0"),
        (0, b""),
        (-BYTES, IMAGES.tobytes()),
        (2**63 - 1, IMAGES.tobytes()),
        (2**70, IMAGES.tobytes()),
        (float(BYTES), IMAGES.tobytes()),
        (str(BYTES), IMAGES.tobytes()),
    ],
    ids=range(11),
)
def test_binary_data_must_be_as_long_as_the_shape_and_its_size_say(
    size: Any, binary: bytes
) -> None:
    assert "binary_data_size" in refusal({"inputs": [binary_input(size)]}, binary)


def test_no_pictures_are_no_request() -> None:
    nothing = [0, SIZE, SIZE, 3]
    assert "n from 1" in refusal({"inputs": [input_of(shape=nothing, data=[])]})
    assert "n from 1" in refusal({"inputs": [binary_input(0, shape=nothing)]}, b"")


def test_bytes_that_no_input_claims_are_refused() -> None:
    assert "belong to no input" in refusal({"inputs": [input_of()]}, b"\0")


@pytest.mark.parametrize(
    "length", ["", "NaN", "-1", "+5", "1e3", "5.0", " 5", "0x5", "\u0665", "9" * 19, "9" * 5000]
)
def test_the_length_of_the_json_must_be_a_number_within_the_body(length: str) -> None:
    why = refusal({"inputs": [binary_input()]}, IMAGES.tobytes(), length)
    assert "Inference-Header-Content-Length" in why


@pytest.mark.parametrize("length", ["0", "1", str(BYTES)])
def test_a_length_that_cuts_the_json_is_refused(length: str) -> None:
    assert "Invalid JSON" in refusal({"inputs": [binary_input()]}, IMAGES.tobytes(), length)


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ([{"name": "logits"}], "outputs.0.name: "),
        ([{}], "outputs.0.name: Field required"),
        ([{"name": "entropy"}, {"name": "entropy"}], "entropy is asked for twice"),
        ([{"name": "entropy"}] * 1000, "outputs: List should have at most 3"),
        ([{"name": "entropy", "parameters": {"binary_data": 1}}], "outputs.0.parameters.binary"),
        ([{"name": "entropy", "parameters": {"classification": 2}}], "classification: is not supp"),
        ([{"name": "entropy", "parameters": {"shared_memory_region": "a"}}], "region: is not supp"),
        ("entropy", "outputs: "),
    ],
    ids=range(8),
)
def test_outputs_that_there_are_not_are_refused(outputs: Any, why: str) -> None:
    assert why in refusal({"inputs": [input_of()], "outputs": outputs})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "slow"),
        ("mode", 1),
        ("timeout", -1),
        ("timeout", 600_000_001),
        ("timeout", 1.5),
        ("timeout", "1"),
        ("binary_data_output", "yes"),
    ],
)
def test_parameters_that_are_known_must_be_right(field: str, value: Any) -> None:
    why = refusal({"inputs": [input_of()], "parameters": {field: value}})
    assert why.startswith(f"parameters.{field}: ")


def test_several_faults_are_told_at_once() -> None:
    why = refusal({"id": 1, "inputs": [input_of(datatype="FP32", data="A")]})
    assert [part.split(":")[0] for part in why.split("; ")] == [
        "id", "inputs.0.datatype", "inputs.0.data",
    ]  # fmt: skip


def test_json_that_could_hold_more_pictures_than_are_taken_is_not_even_parsed() -> None:
    room = 2**16 + 8 * MAX_PICTURES * SIZE * SIZE * 3
    request = json.dumps({"inputs": [input_of()]}).encode()
    assert read(request.ljust(room)).outputs
    assert "send binary data" in refusal(request.ljust(room + 1))


@pytest.mark.parametrize("piece", [b"[],", b"[[[[]]]],", b"{},", b'"",', b"0.5,", b"null,"])
def test_a_list_of_faults_becomes_no_list_of_errors(piece: bytes) -> None:
    head = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,4,4,3],"data":['
    for start in (head, b'{"outputs":[', b'{"inputs":[', b'{"inputs":[{"shape":['):
        body = start + piece * (60_000 // len(piece)) + b"0]" + (b"}]}" if b"[{" in start else b"}")
        tracemalloc.start()
        why = refusal(body)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(why) < 500
        assert peak_bytes < 64 * len(body)
