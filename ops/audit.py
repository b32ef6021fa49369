"""Known flaws of the locked versions: `python -m ops.audit`, a part of `make check`.

Needs no network, only the snapshot in ops/advisories.json, so it can know no more than that; `make
audit` asks for what is published today.
"""

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

from ops.advisories import SNAPSHOT, Snapshot, locked, read_snapshot
from ops.locks import LOCKS

EXCEPTIONS: Mapping[str, str] = {
    "PYSEC-2021-427": (
        "names no fixed version, but mpmath's maintainers do, 1.3.0 (mpmath/mpmath#648); nor does "
        "a stranger's text reach it, which torch has for its own formulas"
    ),
}
"""Advisories that do not apply, by id, and why. One that finds nothing any more is told, too."""


def audit(
    locks: Iterable[Path], snapshot: Snapshot, exceptions: Mapping[str, str] = EXCEPTIONS
) -> list[str]:
    """Return what is wrong with the locked versions, a line each; nothing if they are fine.

    Args:
        locks: files of pinned packages.
        snapshot: what is known of flaws.
        exceptions: advisories that do not apply, and why.
    """
    found: dict[str, None] = {}  # in order, and a version that several locks name once
    excused = set()
    for lock in locks:
        for name, version in locked(lock):
            for advisory in snapshot.advisories.get(name, ()):
                if not advisory.affects(version):
                    continue
                if advisory.id in exceptions:
                    excused.add(advisory.id)
                    continue
                fixed = advisory.fixed_in(version)
                take = f"take {fixed}" if fixed else "no version without it is known"
                ids = ", also ".join([advisory.id, *advisory.aliases])
                found[f"{name} {version} has {ids}: {take}; {advisory.link}"] = None
    idle = [f"{id_} is excused and found nowhere" for id_ in exceptions if id_ not in excused]
    return [*found, *idle]


def summary(locks: Iterable[Path], snapshot: Snapshot, today: date) -> str:
    """Return what was looked at, and how old the snapshot is."""
    pins = {pin for lock in locks for pin in locked(lock)}
    names = {name for name, _ in pins}
    known = sum(len(found) for name, found in snapshot.advisories.items() if name in names)
    age = (today - date.fromisoformat(snapshot.newest)).days
    unseen = len(names - snapshot.looked_for)
    return (
        f"{len(names)} locked packages in {len(pins)} versions, {known} advisories about them: "
        f"none applies.\nThe newest is {age} days old ({snapshot.newest}), and {unseen} packages "
        "were never looked for: `make audit` knows more."
    )


def main() -> int:
    """Audit the locks; 1 if there is something wrong."""
    snapshot = read_snapshot(SNAPSHOT)
    faults = audit(LOCKS, snapshot)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(summary(LOCKS, snapshot, datetime.now(UTC).date()))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
