"""Whether the service may start: nobody listens to a network without keys by accident."""

import ipaddress

from app.keys import InvalidKeys, read_keyring
from app.settings import Settings


def refuse_exposure(settings: Settings) -> None:
    """Let a service start that only this machine reaches, or that asks for keys.

    Raises:
        SystemExit: with one line that says what to set.
    """
    try:
        keyring = read_keyring(settings)
    except InvalidKeys as error:
        raise SystemExit(str(error)) from error
    if keyring is None and settings.max_key_requests_per_second is not None:
        raise SystemExit(
            "STILLHOUSE_MAX_KEY_REQUESTS_PER_SECOND limits each key, and there is none: "
            "set STILLHOUSE_API_KEYS"
        )
    if is_open(settings) and not settings.open_to_all:
        raise SystemExit(
            f"{_reached_at(settings)} is reached from other machines: set STILLHOUSE_API_KEYS to "
            "name:scope:key (docs/operations.md), or STILLHOUSE_OPEN_TO_ALL=on to let everybody in"
        )


def is_open(settings: Settings) -> bool:
    """Say whether other machines reach a service that asks for no key.

    Raises:
        InvalidKeys: the keys cannot be read.
    """
    return read_keyring(settings) is None and not is_loopback(_reached_at(settings))


def _reached_at(settings: Settings) -> str:
    return settings.published_at or settings.host


def is_loopback(address: str) -> bool:
    """Say whether only this machine reaches an address: a host, with a port or without."""
    host = address
    if address.startswith("["):  # [::1]:8000
        host = address[1:].partition("]")[0]
    elif address.count(":") == 1:  # 127.0.0.1:8000
        host = address.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name, or a port alone, which is published everywhere
        return False
