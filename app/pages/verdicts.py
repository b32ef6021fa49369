"""An answer in words, and the command that gives the same one."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from app.schemas import Prediction

Tone = Literal["sure", "likely", "doubtful", "guess", "outside"]

SURE, LIKELY, DOUBTFUL = 0.9, 0.7, 0.4
"""How probable the answer is, calibrated, from which on it is called so."""

MOST_AGREE = 0.7


@dataclass(frozen=True)
class Vote:
    """What one member finds likeliest; ``agrees`` if that is the answer."""

    label: str
    probability: float
    agrees: bool


@dataclass(frozen=True)
class Verdict:
    """How far an answer is to be doubted, for people.

    Attributes:
        tone: the same in one word, which styles know.
        title: in a few words.
        votes: of the members asked, in their order; empty if they were not told.
        agreeing: how many of them give the answer.
        others: what the others say, and how many of them; most votes first.
        none_is_sure: whether each member finds even its own vote doubtful.
    """

    tone: Tone
    title: str
    votes: tuple[Vote, ...]
    agreeing: int
    others: tuple[tuple[str, int], ...]
    none_is_sure: bool


def verdict_of(prediction: Prediction) -> Verdict:
    """Return how far a prediction is to be doubted, by its probability and its members' votes."""
    doubt = prediction.uncertainty
    votes = tuple(
        Vote(vote.label, vote.probability, vote.class_id == prediction.class_id)
        for vote in prediction.votes or ()
    )
    others = Counter(vote.label for vote in votes if not vote.agrees)
    tone = _tone(prediction.calibrated_probability, doubt.agreement, outside=bool(doubt.outside))
    return Verdict(
        tone=tone,
        title=_TITLES[tone],
        votes=votes,
        agreeing=round(doubt.agreement * prediction.members_used),
        others=tuple(others.most_common()),
        none_is_sure=bool(votes) and max(vote.probability for vote in votes) < LIKELY,
    )


_TITLES: Mapping[Tone, str] = {
    "sure": "Hardly any doubt",
    "likely": "Some doubt",
    "doubtful": "Doubtful",
    "guess": "Hardly more than a guess",
    "outside": "Perhaps nothing it knows",
}


def _tone(probability: float, agreement: float, *, outside: bool) -> Tone:
    if outside:
        return "outside"
    if probability >= SURE and agreement == 1:
        return "sure"
    if probability >= LIKELY and agreement >= MOST_AGREE:
        return "likely"
    return "doubtful" if probability >= DOUBTFUL else "guess"


def curl_command(service: str, name: str, query: Mapping[str, str], *, key_needed: bool) -> str:
    """Return the command that asks what a page has asked, to be pasted into a shell.

    Args:
        service: its address.
        name: of the picture's file.
        query: of ``POST /predict``, besides the votes.
        key_needed: whether the service asks for a key, which is then taken from ``$KEY``.
    """
    address = f"{service.rstrip('/')}/predict?{urlencode({**query, 'votes': 'true'})}"
    file = shlex.quote(f"file=@{_quoted(name)}")
    return " ".join(["curl", *_key(needed=key_needed), "-F", file, shlex.quote(address)])


def promote_command(service: str, ensemble: str, *, key_needed: bool) -> str:
    """Return the command that lets an ensemble answer, to be pasted into a shell.

    Args:
        service: its address.
        ensemble: its id.
        key_needed: whether the service asks for a key, which is then taken from ``$KEY``.
    """
    body = shlex.quote(json.dumps({"ensemble": ensemble}))
    address = shlex.quote(f"{service.rstrip('/')}/ensembles/serving")
    kind = "'Content-Type: application/json'"
    key = _key(needed=key_needed)
    return " ".join(["curl", "-X", "PUT", *key, "-H", kind, "-d", body, address])


def _key(*, needed: bool) -> list[str]:
    return ["-H", '"Authorization: Bearer $KEY"'] if needed else []


def _quoted(name: str) -> str:
    # curl reads ; and , as the end of a file's name, unless it is in quotation marks.
    if not set(name) & set(';,"\\'):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
