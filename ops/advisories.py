"""What is known of flaws in packages: a snapshot of published advisories, ops/advisories.json.

`python -m ops.advisories all.zip` makes it anew for the packages that are locked now, from the
archive of all advisories for PyPI that OSV publishes (https://osv.dev, `PyPI/all.zip`).
"""

import argparse
import json
import sys
import textwrap
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ops.locks import LOCKS, ROOT

SNAPSHOT = ROOT / "ops" / "advisories.json"

Events = tuple[tuple[str, str], ...]
"""Of one range: ``introduced``, ``fixed`` or ``last_affected``, and the version where."""


@dataclass(frozen=True)
class Advisory:
    """One flaw of one package.

    Attributes:
        id: its own, such as ``PYSEC-2024-60``.
        aliases: what others call it.
        ranges: of versions that have it.
        versions: that have it, each by itself.
        told_by: the public thread that quotes it; none if it was read itself.
    """

    id: str
    aliases: tuple[str, ...]
    ranges: tuple[Events, ...] = ()
    versions: tuple[str, ...] = ()
    told_by: str | None = None

    @property
    def link(self) -> str:
        """Where it can be read."""
        return f"https://osv.dev/vulnerability/{self.id}"

    def affects(self, version: str) -> bool:
        """Say whether a version has the flaw; a build of our own (``2.11.0+cpu``) as the plain one.

        Raises:
            packaging.version.InvalidVersion: a version is none.
        """
        here = _public(version)
        listed = here in map(_public, self.versions)
        return listed or any(_within(here, events) for events in self.ranges)

    def fixed_in(self, version: str) -> str | None:
        """Return the first version after an affected one that has the flaw no longer, if known."""
        here = _public(version)
        fixes = [
            at
            for events in self.ranges
            if _within(here, events)
            for kind, at in events
            if kind == "fixed" and _public(at) > here
        ]
        return min(fixes, key=_public, default=None)


@dataclass(frozen=True)
class Snapshot:
    """All that is known.

    Attributes:
        sources: where it is from: ``name``, ``licence``, ``newest`` (a date) and more.
        looked_for: names of the packages that were looked for.
        advisories: by the package's name.
    """

    sources: tuple[Mapping[str, str], ...]
    looked_for: frozenset[str]
    advisories: Mapping[str, tuple[Advisory, ...]]

    @property
    def newest(self) -> str:
        """The day of the last news in it, ISO 8601."""
        return max(source["newest"] for source in self.sources)


def locked(lock: Path) -> Iterator[tuple[str, str]]:
    """Yield name and version of each package in a lock, as often as it is there.

    Raises:
        ValueError: a package is not pinned to one version.
    """
    for line in lock.read_text(encoding="utf-8").splitlines():
        if not line or line[0] in " #":  # hashes and remarks
            continue
        requirement = Requirement(line.rstrip(" \\"))
        pins = [each.version for each in requirement.specifier if each.operator == "=="]
        if len(pins) != 1:
            raise ValueError(f"{lock.name}: {line!r} pins no version")
        yield canonicalize_name(requirement.name), pins[0]


def read_snapshot(path: Path) -> Snapshot:
    """Return a snapshot as it was written."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    advisories = {
        name: tuple(
            Advisory(
                id=each["id"],
                aliases=tuple(each["aliases"]),
                ranges=_ranges(each.get("ranges", [])),
                versions=tuple(each.get("versions", [])),
                told_by=each.get("from"),
            )
            for each in found
        )
        for name, found in kept["advisories"].items()
    }
    return Snapshot(tuple(kept["sources"]), frozenset(kept["looked_for"]), advisories)


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot down, an advisory a line, so that a later one can be compared with it."""
    names = ", ".join(json.dumps(name) for name in sorted(snapshot.looked_for))
    looked_for = textwrap.wrap(names, 94, break_on_hyphens=False)
    packages = [
        f"    {json.dumps(name)}: [\n{_lines(map(_fields, snapshot.advisories[name]), 6)}\n    ]"
        for name in sorted(snapshot.advisories)
    ]
    parts = [
        f'  "sources": [\n{_lines(snapshot.sources, 4)}\n  ]',
        '  "looked_for": [\n' + "\n".join(f"    {line}" for line in looked_for) + "\n  ]",
        '  "advisories": {\n' + ",\n".join(packages) + "\n  }",
    ]
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def from_osv(archive: Path, names: Collection[str]) -> Snapshot:
    """Return what OSV's archive says of these packages, without what was withdrawn.

    Where several advisories are one by their aliases, the first by its id is kept, with what all
    say about versions.
    """
    found: dict[str, dict[str, Advisory]] = {}
    newest = ""
    for record in _records(archive):
        newest = max(newest, record["modified"][:10])
        for affected in record.get("affected", []):
            package = affected.get("package", {})
            name = canonicalize_name(package.get("name", ""))
            if "withdrawn" in record or package.get("ecosystem") != "PyPI" or name not in names:
                continue
            ranges = [each["events"] for each in affected.get("ranges", ()) if _counts(each)]
            advisory = Advisory(
                id=record["id"],
                aliases=tuple(sorted(record.get("aliases", ()))),
                ranges=_ranges(ranges),
                versions=() if ranges else tuple(affected.get("versions", ())),
            )
            _add(found.setdefault(name, {}), advisory)
    advisories = {name: tuple(by_id[id_] for id_ in sorted(by_id)) for name, by_id in found.items()}
    source = {"name": "OSV, PyPI/all.zip", "licence": "CC-BY-4.0", "newest": newest}
    return Snapshot((source,), frozenset(names), advisories)


def _records(archive: Path) -> Iterator[dict[str, Any]]:
    with zipfile.ZipFile(archive) as zipped:
        for name in sorted(zipped.namelist()):
            record = json.loads(zipped.read(name))
            if record["id"].startswith("MAL-"):  # packages that are themselves the attack
                continue
            yield record


def _add(known: dict[str, Advisory], advisory: Advisory) -> None:
    same = {advisory.id, *advisory.aliases}
    for other in [each for each in known.values() if same & {each.id, *each.aliases}]:
        del known[other.id]
        ids = sorted({advisory.id, *advisory.aliases, other.id, *other.aliases})
        first = min(advisory.id, other.id, key=lambda id_: (not id_.startswith("PYSEC"), id_))
        advisory = Advisory(
            id=first,
            aliases=tuple(id_ for id_ in ids if id_ != first),
            ranges=tuple(dict.fromkeys((*other.ranges, *advisory.ranges))),
            versions=tuple(dict.fromkeys((*other.versions, *advisory.versions))),
        )
    known[advisory.id] = advisory


def _counts(found: Mapping[str, Any]) -> bool:
    return bool(found["type"] == "ECOSYSTEM")  # and not commits


def _ranges(found: Any) -> tuple[Events, ...]:
    return tuple(tuple(item for event in events for item in event.items()) for events in found)


def _fields(advisory: Advisory) -> dict[str, Any]:
    ranges = [[{kind: at} for kind, at in events] for events in advisory.ranges]
    fields = {"ranges": ranges, "versions": list(advisory.versions), "from": advisory.told_by}
    told = {name: value for name, value in fields.items() if value}
    return {"id": advisory.id, "aliases": list(advisory.aliases), **told}


def _lines(items: Any, indent: int) -> str:
    return ",\n".join(" " * indent + json.dumps(item, ensure_ascii=False) for item in items)


def _public(version: str) -> Version:
    return Version(Version(version).public)


def _within(here: Version, events: Events) -> bool:
    affected = False
    for kind, at in sorted(events, key=lambda event: _public(event[1])):
        if kind == "introduced":
            affected = affected or at == "0" or here >= _public(at)
        elif kind == "fixed":
            affected = affected and here < _public(at)
        elif kind == "last_affected":
            affected = affected and here <= _public(at)
    return affected


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m ops.advisories", description=__doc__)
    parser.add_argument("archive", type=Path, help="OSV's PyPI/all.zip")
    archive: Path = parser.parse_args().archive
    snapshot = from_osv(archive, {name for lock in LOCKS for name, _ in locked(lock)})
    try:
        for found in snapshot.advisories.values():
            for advisory in found:
                advisory.affects("0")
    except InvalidVersion as error:
        print(f"{advisory.id}: {error}", file=sys.stderr)
        return 1
    write_snapshot(SNAPSHOT, snapshot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
