"""Mutated pictures over HTTP, side by side with good ones."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.mutations import Hostile, hostile
from tests.service import PROBLEM, ask, picture, same_answer

SIDE_BY_SIDE = 8
REFUSALS = {413, 415, 422, 429}


@dataclass(frozen=True)
class AskingRun:
    """What a run came to.

    Attributes:
        requests: how many hostile ones were sent.
        good: how many good ones were answered meanwhile.
        findings: what was wrong, each with the file that repeats it.
    """

    requests: int
    good: int
    findings: tuple[str, ...]


def ask_many(client: httpx.Client, count: int, seed: int, folder: Path) -> Iterator[AskingRun]:
    """Send pictures of a seed, and yield what there is to say after each round and at the end.

    Args:
        client: of the service.
        count: how many.
        seed: of the mutations.
        folder: where pictures that were answered wrongly are kept.
    """
    rng = random.Random(seed)
    files = [picture(number) for number in range(SIDE_BY_SIDE)]
    expected = [ask(client, file) for file in files]
    findings: list[str] = []
    done = good = 0
    with ThreadPoolExecutor(SIDE_BY_SIDE + 2) as pool:
        while done < count:
            batch = [hostile(rng) for _ in range(min(8 * SIDE_BY_SIDE, count - done))]
            over = threading.Event()
            # Two ask politely all the while, and once more when the others have been answered.
            polite = [pool.submit(_stay_the_same, client, files, expected, over) for _ in "ab"]
            multipart = [rng.random() < 0.5 for _ in batch]
            for number, wrong in enumerate(
                pool.map(lambda *it: _send(client, *it), batch, multipart)
            ):
                if wrong:
                    file = folder / f"seed-{seed}-request-{done + number}.bin"
                    file.write_bytes(batch[number].data)
                    findings.append(f"{file}: {batch[number].filename!r}: {wrong}")
            over.set()
            for each in polite:
                answered, wrong = each.result()
                good += answered
                findings += [wrong] if wrong else []
            done += len(batch)
            yield AskingRun(done, good, tuple(findings))


def _send(client: httpx.Client, sent: Hostile, multipart: bool) -> str:
    """Send a picture; return what is wrong with the answer, or nothing."""
    if multipart:
        part = (sent.filename, sent.data, sent.media_type)
        response = client.post("/predict", files=[("file", part)])
    else:
        headers = {"Content-Type": sent.media_type}
        response = client.post("/predict", content=sent.data, headers=headers)
    if response.status_code == 200:
        return "" if len(response.json()["predictions"]) == 1 else response.text
    told = response.headers.get("content-type")
    fine = response.status_code in REFUSALS and told == PROBLEM and response.json()["detail"]
    return "" if fine else f"{response.status_code} {told} {response.text[:300]}"


def _stay_the_same(
    client: httpx.Client, files: list[bytes], expected: list[Any], over: threading.Event
) -> tuple[int, str]:
    answered, last = 0, False
    while not last:
        last = over.is_set()
        number = answered % len(files)
        response = client.post("/predict", files=[("file", ("0.png", files[number]))])
        if response.status_code == 429:
            continue  # too much at once, which is no harm
        if response.status_code != 200 or not same_answer(response.json(), expected[number]):
            return answered, f"a good picture beside them was answered {response.text[:300]}"
        answered += 1
    return answered, ""
