"""How many files the process may have open: each connection is one."""

import logging
import resource

SPARE_FILES = 200
"""Beside connections and followers: the store, Redis, libraries, and what is about to be closed."""

_log = logging.getLogger(__name__)


def allow_open_files(connections: int) -> int:
    """Raise the process's own limit, as far as it may, to what so many connections take.

    Args:
        connections: at most open at once, followers' ways to Redis included.

    Returns:
        The limit that holds from now on. Where that is too low, which only who runs the machine can
        change, it is logged.
    """
    needed = connections + SPARE_FILES
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != resource.RLIM_INFINITY and now < needed:
        now = needed if most == resource.RLIM_INFINITY else min(needed, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (now, most))
        if now < needed:
            told = (
                "the machine allows %d open files, and %d connections take %d: raise `ulimit -Hn`"
            )
            _log.warning(f"{told} or lower STILLHOUSE_MAX_CONNECTIONS", now, connections, needed)
    return now
