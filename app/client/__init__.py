"""A client of the HTTP contract in ``docs/http.md``, and of nothing else of the service.

>>> from app.client import Stillhouse
>>> with Stillhouse("http://127.0.0.1:8000") as service:
...     for picture in service.predict(["rocket.jpg", "coffee.png"]).predictions:
...         print(picture.filename, picture.label, picture.probability)

``AsyncStillhouse`` has the same calls to await; each is described once, in ``app/client/calls.py``.
Importing this imports neither PyTorch nor anything of the service but the shapes of its answers.
"""

from app.client.asynchronous import AsyncStillhouse
from app.client.blocking import Stillhouse
from app.client.errors import (
    BadAnswer,
    Busy,
    ClientError,
    Conflict,
    Invalid,
    Missing,
    Refused,
    Unauthorised,
    Unavailable,
    Unreachable,
)
from app.client.following import EpochFinished, Progress, StatusChanged
from app.client.pictures import Picture

__all__ = [
    "AsyncStillhouse",
    "BadAnswer",
    "Busy",
    "ClientError",
    "Conflict",
    "EpochFinished",
    "Invalid",
    "Missing",
    "Picture",
    "Progress",
    "Refused",
    "StatusChanged",
    "Stillhouse",
    "Unauthorised",
    "Unavailable",
    "Unreachable",
]
