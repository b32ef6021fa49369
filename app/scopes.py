"""What each call asks of a key: one table, and whatever is not in it is for administrators."""

import re
from typing import Literal

from app.keys import Scope

Need = Scope | Literal["any key", "nothing"]
"""A scope, any key that is known, or no key at all."""

TABLE: tuple[tuple[str, str, Need], ...] = (
    ("POST", "/predict", "predict"),
    ("GET", "/classes", "predict"),
    ("*", "/v2", "predict"),
    ("*", "/v2/.*", "predict"),
    ("GET", "/presets", "any key"),
    ("*", "/jobs", "train"),
    ("*", "/jobs/.*", "train"),
    # Who may have networks trained may bring what they are trained on.
    ("*", "/datasets", "train"),
    ("*", "/datasets/.*", "train"),
    ("GET", "/ensembles", "any key"),
    ("POST", "/ensembles", "admin"),
    # Weights are worth more than a look at them.
    ("GET", "/ensembles/[^/]*/archive", "train"),
    ("GET", "/ensembles/.*", "any key"),
    ("PUT", "/ensembles/serving", "admin"),
    # For whoever uses it; whoever does not need not know which flaws to look for.
    ("GET", "/version", "any key"),
    # Who scrapes needs no right to do anything: the least of all keys will do.
    ("GET", "/metrics", "any key"),
    # Probes have no keys.
    ("*", "/healthz", "nothing"),
    ("*", "/readyz", "nothing"),
    # Pages do nothing by themselves: they call the service with the key in a visitor's cookie.
    ("GET", "/", "nothing"),
    ("*", "/pages/.*", "nothing"),
    # What these tell is public with the code, and a browser that opens one sends no key.
    ("GET", "/docs", "nothing"),
    ("GET", "/docs/oauth2-redirect", "nothing"),
    ("GET", "/redoc", "nothing"),
    ("GET", "/openapi.json", "nothing"),
    ("HEAD", "/openapi.json", "nothing"),
    ("GET", "/static-offline-docs/.*", "nothing"),
    ("HEAD", "/static-offline-docs/.*", "nothing"),
)
"""Method (``*`` for all), pattern of the path, need; the first line that fits counts."""

_EXACT = {(method, path): need for method, path, need in TABLE if "*" not in method + path}
_PATTERNS = [
    (method, re.compile(path, re.DOTALL), need)
    for method, path, need in TABLE
    if "*" in method + path
]


def need_of(method: str, path: str) -> Need:
    """Return what a call asks of its key."""
    return find_need(method, path) or "admin"  # a new route is never open by accident


def find_need(method: str, path: str) -> Need | None:
    """Return what the table says of a call; none where it says nothing."""
    if need := _EXACT.get((method, path)):
        return need
    for known, pattern, need in _PATTERNS:
        if known in {"*", method} and pattern.fullmatch(path):
            return need
    return None
