"""What is right after a disturbance: the end of the job, and every answer meanwhile."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import torch
from torch import Tensor

from models.pictures import decode_picture
from models.store import Store
from tests.service import picture

PICTURE = picture(7)
TOLERANCE = 1e-3
"""Between an answer and the reference: the serving engine may round otherwise."""

PAUSE_SECONDS = 0.1


def reference(store: Path, id_: str) -> Tensor:
    """Return what an ensemble answers to the picture, float32 [k]."""
    ensemble = Store(store).load(id_)
    pixels = decode_picture(PICTURE, ensemble.manifest.size)
    probabilities: Tensor = ensemble(torch.from_numpy(pixels).permute(2, 0, 1)[None]).mean(dim=0)[0]
    return probabilities


@dataclass
class Answers:
    """What ``POST /predict`` answered.

    Attributes:
        right: how often.
        wrong: what was answered otherwise, or not at all, and when.
    """

    right: int = 0
    wrong: list[tuple[float, str]] = field(default_factory=list)

    def unexcused(self, down: list[tuple[float, float]]) -> list[str]:
        """Return what was wrong while the API was not away."""
        return [
            what
            for when, what in self.wrong
            if not any(killed - 1 <= when <= up + 1 for killed, up in down)
        ]


class Asker:
    """Asks about one picture, over and over, and compares what it is told.

    Args:
        port: the API's.
        expected: what each ensemble may answer, float32 [k], by its id.
    """

    def __init__(self, port: int, expected: dict[str, Tensor]) -> None:
        self.answers = Answers()
        self._url = f"http://127.0.0.1:{port}/predict"
        self._expected = expected
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Asker":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        headers = {"Content-Type": "image/png"}
        with httpx.Client(timeout=20) as client:
            while not self._end.wait(PAUSE_SECONDS):
                asked = time.monotonic()
                try:
                    wrong = self._judge(client.post(self._url, content=PICTURE, headers=headers))
                except httpx.TransportError as error:
                    wrong = f"no answer: {error!r}"
                if wrong:
                    self.answers.wrong.append((asked, wrong))
                else:
                    self.answers.right += 1

    def _judge(self, response: httpx.Response) -> str:
        if response.status_code != 200:
            return f"{response.status_code}: {response.text}"
        answer = response.json()
        if answer["ensemble"] not in self._expected:
            return f"an answer of {answer['ensemble']}"
        found = torch.tensor(answer["predictions"][0]["probabilities"])
        away = (found - self._expected[answer["ensemble"]]).abs().max().item()
        return "" if away < TOLERANCE else f"{answer['ensemble']} answers {away:.3g} away"


def judge(job: dict[str, Any], expected: str, excuses: tuple[str, ...]) -> list[str]:
    """Return what is wrong about a job that has ended.

    Args:
        job: as ``GET /jobs/<id>`` tells it.
        expected: id, and with it the digest of the weights, of the undisturbed ensemble.
        excuses: types of problems that it may have failed with.
    """
    if job["status"] == "failed":
        error = job["error"]
        if error["type"].rpartition(":")[2] in excuses:
            return []
        return [f"failed: {error['type']}: {error['detail']}"]
    if job["status"] != "succeeded":
        return [f"ended {job['status']}"]
    wrong = []
    if job["ensemble"] != expected:
        wrong.append(f"the ensemble is {job['ensemble']}, not {expected}")
    for member in job["members"]:
        epochs = [epoch["epoch"] for epoch in member["curve"]]
        if member["status"] != "succeeded" or epochs != [*range(1, member["epochs"] + 1)]:
            wrong.append(f"member {member['index']}: {member['status']}, epochs {epochs}")
    return wrong


def repeated(epochs: list[tuple[str, int, int]]) -> int:
    """Return how often the epoch that was told most often was repeated."""
    return max(Counter(epochs).values(), default=1) - 1
