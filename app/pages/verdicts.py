"""An answer in words, and the command that gives the same one."""

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
    key = ["-H", '"Authorization: Bearer $KEY"'] if key_needed else []
    address = f"{service.rstrip('/')}/predict?{urlencode({**query, 'votes': 'true'})}"
    return " ".join(
        ["curl", *key, "-F", shlex.quote(f"file=@{_quoted(name)}"), shlex.quote(address)]
    )


def _quoted(name: str) -> str:
    # curl reads ; and , as the end of a file's name, unless it is in quotation marks.
    if not set(name) & set(';,"\\'):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
