"""An answer in words, and the command that asks for the same."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from app.pages.verdicts import Vote, curl_command, promote_command, verdict_of
from app.schemas import Prediction, TopClass, Uncertainty

NAMES = ["rocket", "pole", "bottle"]


def vote(id_: int, probability: float = 0.9) -> TopClass:
    return TopClass(label=NAMES[id_], class_id=id_, probability=probability)


def prediction(
    votes: list[int], probability: float = 0.95, *, outside: bool | None = None
) -> Prediction:
    """Return an answer "rocket" of members with these votes."""
    doubt = {"entropy": 0.1, "mutual_information": 0.0, "agreement": votes.count(0) / len(votes)}
    return Prediction(
        filename="a.jpg",
        label=NAMES[0],
        class_id=0,
        probability=probability,
        top_k=[vote(0, probability)],
        probabilities=[probability, (1 - probability) / 2, (1 - probability) / 2],
        calibrated_probability=probability,
        uncertainty=Uncertainty(**doubt, outside=outside),
        members_used=len(votes),
        votes=[vote(id_) for id_ in votes],
    )


@pytest.mark.parametrize(
    ("votes", "probability", "outside", "tone"),
    [
        ([0] * 10, 0.95, False, "sure"),
        ([0] * 10, 0.95, None, "sure"),
        ([0] * 9 + [1], 0.95, False, "likely"),
        ([0] * 10, 0.8, False, "likely"),
        ([0] * 6 + [1] * 4, 0.8, False, "doubtful"),
        ([0] * 10, 0.5, False, "doubtful"),
        ([0] * 10, 0.3, False, "guess"),
        ([0] * 10, 0.99, True, "outside"),
    ],
)
def test_the_fewer_agree_and_the_less_likely_the_more_doubt(
    votes: list[int], probability: float, outside: bool | None, tone: str
) -> None:
    assert verdict_of(prediction(votes, probability, outside=outside)).tone == tone


def test_it_is_told_who_says_what() -> None:
    verdict = verdict_of(prediction([0, 2, 1, 0, 2]))
    assert verdict.votes[1] == Vote("bottle", 0.9, agrees=False)
    assert [each.agrees for each in verdict.votes] == [True, False, False, True, False]
    assert verdict.agreeing == 2
    assert verdict.others == (("bottle", 2), ("pole", 1))


def test_members_that_agree_may_still_all_be_unsure() -> None:
    unsure = prediction([0, 0], 0.3).model_copy(update={"votes": [vote(0, 0.3), vote(0, 0.4)]})
    assert verdict_of(unsure).none_is_sure
    assert not verdict_of(prediction([0, 0])).none_is_sure


def test_members_need_not_have_told_their_votes() -> None:
    verdict = verdict_of(prediction([0, 0, 1, 0]).model_copy(update={"votes": None}))
    assert (verdict.agreeing, verdict.votes, verdict.none_is_sure) == (3, (), False)


def test_a_key_is_named_and_not_shown() -> None:
    command = curl_command("http://here:8000/", "a.jpg", {"top_k": "3"}, key_needed=True)
    assert command == (
        'curl -H "Authorization: Bearer $KEY" -F file=@a.jpg '
        "'http://here:8000/predict?top_k=3&votes=true'"
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
@pytest.mark.parametrize(
    "name", ["a.jpg", "a b;type=x,c.png", "$(touch gone) `id` 'x' \"y\\.png", "-é!.gif"]
)
def test_the_shell_and_curl_read_any_name_as_a_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"picture")
    command = curl_command("http://127.0.0.1:1", name, {}, key_needed=False)
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 7, done.stderr  # it found the file, and nobody listens there
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_command_that_promotes_has_the_key_where_one_is_needed() -> None:
    plain = promote_command("http://here:8000/", "tiny-1", key_needed=False)
    assert shlex.split(plain)[-2:] == [
        '{"ensemble": "tiny-1"}',
        "http://here:8000/ensembles/serving",
    ]
    assert "$KEY" not in plain
    assert '-H "Authorization: Bearer $KEY"' in promote_command("http://a", "b", key_needed=True)
