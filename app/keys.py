"""Who may do what: keys, the names they go by, and what each of them allows."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from app.settings import Settings

Scope = Literal["predict", "train", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_KEY = re.compile(r"[A-Za-z0-9._~+/-]{20,}=*")
"""What `Authorization: Bearer` can carry (RFC 6750), and no fewer characters than 120 bits take."""

_FORM = "name:scope:key, or name:scope+scope:key"


class InvalidKeys(ValueError):
    """The keys in the settings cannot be used; the message tells the place and never a key."""


@dataclass(frozen=True)
class Key:
    """A key, of which only the digest is kept.

    Attributes:
        name: what logs and metrics call it.
        scopes: what its owner may do.
        digest: sha256 of the key. Keys are long and random, so nothing slower is needed.
    """

    name: str
    scopes: frozenset[Scope]
    digest: bytes

    def allows(self, scope: Scope) -> bool:
        """Say whether its owner may do this; who may administrate may do all."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True)
class Keyring:
    """All keys that are known."""

    keys: tuple[Key, ...]

    def find(self, presented: bytes) -> Key | None:
        """Return the key that somebody presents, in a time that tells nothing about the keys."""
        digest, found = digest_of(presented), None
        for key in self.keys:  # to the end: where the loop ended would tell which key is near
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def digest_of(key: bytes) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(key).digest()


def read_keyring(settings: Settings) -> Keyring | None:
    """Return the keys that the settings name, in the environment, in a file or in both.

    Returns:
        None where the settings name no keys at all.

    Raises:
        InvalidKeys: the file cannot be read, or an entry is no key.
    """
    sources: list[tuple[str, str]] = []
    if settings.api_keys is not None:
        sources.append(("STILLHOUSE_API_KEYS", settings.api_keys.get_secret_value()))
    if settings.api_keys_file is not None:
        sources.append(("STILLHOUSE_API_KEYS_FILE", _read(settings.api_keys_file)))
    if not sources:
        return None
    keys: list[Key] = []
    for source, text in sources:
        before = len(keys)
        for number, entry in enumerate(_entries(text), 1):
            keys.append(_parse(entry, keys, f"{source}, entry {number}"))
        if len(keys) == before:
            raise InvalidKeys(f"{source} holds no key; unset it, or write {_FORM}")
    return Keyring(tuple(keys))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        reason = f"STILLHOUSE_API_KEYS_FILE: {path} cannot be read ({error.strerror})"
        raise InvalidKeys(reason) from error
    except UnicodeDecodeError:
        reason = f"STILLHOUSE_API_KEYS_FILE: {path} has other characters than ASCII"
        raise InvalidKeys(reason) from None  # which would tell what it cannot read


def _entries(text: str) -> Iterable[str]:
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield from line.replace(",", " ").split()


def _parse(entry: str, others: Iterable[Key], place: str) -> Key:
    # No message quotes what was written: where the parts are mixed up, any of them is the key.
    parts = entry.split(":")
    if len(parts) != 3:
        raise InvalidKeys(f"{place}: write {_FORM}")
    name, scopes, key = parts[0], parts[1].split("+"), parts[2]
    if not _NAME.fullmatch(name):
        raise InvalidKeys(f"{place}: a name has 1 to 32 of a-z, 0-9, _ and -")
    if not set(scopes) <= set(SCOPES):
        raise InvalidKeys(f"{place}: the scopes are {', '.join(SCOPES)}, joined by +")
    if not _KEY.fullmatch(key):
        raise InvalidKeys(f"{place}: a key has at least 20 of A-Z, a-z, 0-9 and . _ ~ + / -")
    new = Key(name, frozenset(cast("list[Scope]", scopes)), digest_of(key.encode()))
    for other in others:
        if other.name == name:
            raise InvalidKeys(f"{place}: another key has this name")
        if other.digest == new.digest:
            raise InvalidKeys(f"{place}: another name has this key")
    return new
