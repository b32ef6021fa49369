"""The Open Inference Protocol without HTTP: what a request means, and what an answer looks like."""

import json
from typing import Any

import numpy as np
import pytest

from app.answers import Answer
from app.inference_protocol import Inference, write_inference
from models.answering import MODES
from tests.tensors import IMAGES, binary_input, input_of, read


def answer_of(probabilities: list[float], entropy: float, members_used: int) -> Answer:
    return Answer(
        probabilities=probabilities,
        likeliest=[0, 1],
        calibrated_probability=0.5,
        uncertainty=(entropy, 0.0, 1.0),
        outside=None,
        conformal_set=None,
        members_used=members_used,
        degraded=False,
    )


ANSWERS = [answer_of([0.1, 0.9], 0.325, 3), answer_of([0.75, 0.25], 0.562, 2)]


# What is sent.


@pytest.mark.parametrize("data", [IMAGES.ravel().tolist(), IMAGES.tolist()], ids=["flat", "nested"])
def test_pictures_may_be_numbers_in_row_major_order(data: list[Any]) -> None:
    images = read({"inputs": [input_of(data=data)]}).images
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, IMAGES)


def test_pictures_may_be_bytes_after_the_json() -> None:
    images = read({"inputs": [binary_input()]}, IMAGES.tobytes()).images
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, IMAGES)


def test_the_length_of_the_json_may_be_told_also_where_nothing_follows() -> None:
    np.testing.assert_array_equal(read({"inputs": [input_of()]}, b"").images, IMAGES)


def test_what_a_client_leaves_out_is_left_to_the_service() -> None:
    inference = read({"inputs": [input_of()]})
    assert (inference.id, inference.mode, inference.timeout_seconds) == (None, None, None)
    assert inference.outputs == {"probabilities": False, "entropy": False, "members_used": False}


def test_null_means_left_out() -> None:
    optional: dict[str, Any] = {"id": None, "parameters": None, "outputs": None}
    nothing = {"inputs": [{**input_of(), "parameters": None}], **optional}
    assert read(nothing).outputs == read({"inputs": [input_of()]}).outputs


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_can_be_asked_for(mode: str) -> None:
    assert read({"inputs": [input_of()], "parameters": {"mode": mode}}).mode == mode


@pytest.mark.parametrize(("microseconds", "seconds"), [(250_000, 0.25), (1, 1e-6), (0, None)])
def test_a_timeout_is_in_microseconds_and_zero_is_none(
    microseconds: int, seconds: float | None
) -> None:
    inference = read({"inputs": [input_of()], "parameters": {"timeout": microseconds}})
    assert inference.timeout_seconds == seconds


def test_parameters_nobody_here_knows_are_passed_over() -> None:
    parameters = {"priority": 1, "sequence_id": 7, "content_type": "np", "triton_x": [[]]}
    inputs = [input_of(parameters={"content_type": "np"})]
    assert read({"inputs": inputs, "parameters": parameters}).outputs


def test_outputs_come_as_named_and_their_own_word_on_binary_data_counts() -> None:
    outputs = [
        {"name": "members_used"},
        {"name": "entropy", "parameters": {"binary_data": False}},
        {"name": "probabilities", "parameters": {"binary_data": True}},
    ]
    request: dict[str, Any] = {"inputs": [input_of()], "outputs": outputs}
    told = read(request).outputs
    assert list(told) == ["members_used", "entropy", "probabilities"]
    assert told == {"members_used": False, "entropy": False, "probabilities": True}
    request["parameters"] = {"binary_data_output": True}
    assert read(request).outputs == {"members_used": True, "entropy": False, "probabilities": True}


def test_no_output_named_is_all_outputs() -> None:
    request = {"inputs": [input_of()], "outputs": [], "parameters": {"binary_data_output": True}}
    assert read(request).outputs == {"probabilities": True, "entropy": True, "members_used": True}


# What is answered.


def inference_of(**outputs: bool) -> Inference:
    return Inference("7", IMAGES, outputs, None, None)


def test_an_answer_in_json_has_flat_data() -> None:
    inference = inference_of(probabilities=False, entropy=False, members_used=False)
    body, json_bytes = write_inference("serving", inference, ANSWERS, {"mode": "exact"})
    assert json_bytes is None
    assert json.loads(body) == {
        "model_name": "serving",
        "model_version": "1",
        "id": "7",
        "parameters": {"mode": "exact"},
        "outputs": [
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 2],
                "data": pytest.approx([0.1, 0.9, 0.75, 0.25]),
            },
            {
                "name": "entropy",
                "datatype": "FP32",
                "shape": [2],
                "data": pytest.approx([0.325, 0.562]),
            },
            {"name": "members_used", "datatype": "INT32", "shape": [2], "data": [3, 2]},
        ],
    }


def test_binary_outputs_follow_the_json_in_its_order_little_endian() -> None:
    inference = inference_of(members_used=True, entropy=False, probabilities=True)
    body, json_bytes = write_inference("serving", inference, ANSWERS, {})
    assert json_bytes is not None
    members_used, entropy, probabilities = json.loads(body[:json_bytes])["outputs"]
    assert members_used["parameters"] == {"binary_data_size": 8}
    assert probabilities["parameters"] == {"binary_data_size": 16}
    assert "data" not in members_used
    assert entropy["data"] == pytest.approx([0.325, 0.562])
    rest = body[json_bytes:]
    assert rest[:8] == bytes([3, 0, 0, 0, 2, 0, 0, 0])
    assert np.frombuffer(rest[8:], "<f4").tolist() == pytest.approx([0.1, 0.9, 0.75, 0.25])


def test_no_id_is_sent_back_where_none_came() -> None:
    inference = Inference(None, IMAGES, {"entropy": True}, None, None)
    body, json_bytes = write_inference("serving", inference, ANSWERS, {})
    assert "id" not in json.loads(body[:json_bytes])
