"""Locked versions are checked against a snapshot of published advisories, without a network."""

import json
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ops.advisories import (
    SNAPSHOT,
    Advisory,
    Events,
    Snapshot,
    from_osv,
    locked,
    read_snapshot,
    write_snapshot,
)
from ops.audit import EXCEPTIONS, audit, summary
from ops.locks import LOCKS, ROOT

UNTIL_2 = (("introduced", "0"), ("fixed", "2.0"))
SEVERAL = (  # as written, not in order
    *(("introduced", "2.0"), ("fixed", "2.0.7")),
    *(("introduced", "0"), ("fixed", "1.26.18")),
)


def of(*ranges: Events, **fields: Any) -> Advisory:
    """Return an advisory about versions in these ranges."""
    return Advisory("PYSEC-2026-1", ("CVE-2026-2",), ranges, **fields)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock as uv writes it, of a package in two versions and another."""
    path = tmp_path / "some.lock"
    path.write_text(
        "some-package==1.9 ; python_full_version < '3.12' \\\n    --hash=sha256:00 \\\n"
        "    --hash=sha256:01\n# a remark\nsome-package==2.1 ; python_full_version >= '3.12' \\\n"
        "    --hash=sha256:02\nzope.event==6.2 \\\n    --hash=sha256:03\n"
    )
    return path


def snapshot(*advisories: Advisory) -> Snapshot:
    """Return what is known if these are all that is known of ``some-package``."""
    source = {"name": "a test", "licence": "none", "newest": "2026-01-31"}
    return Snapshot((source,), frozenset({"some-package"}), {"some-package": advisories})


@pytest.mark.parametrize(
    ("version", "events", "fixed"),
    [
        ("1.9", UNTIL_2, "2.0"),
        ("2.0rc1", UNTIL_2, "2.0"),  # before what fixes it
        ("1.9.post1", UNTIL_2, "2.0"),
        ("1.9+cpu", UNTIL_2, "2.0"),
        ("1.26.17", SEVERAL, "1.26.18"),
        ("2.0.3", SEVERAL, "2.0.7"),
        ("2.0.3+cu130", SEVERAL, "2.0.7"),
        ("2.0", (("introduced", "0"), ("last_affected", "2.0")), None),
        ("2.0+cpu", (("introduced", "0"), ("last_affected", "2.0")), None),
        ("99", (("introduced", "0"),), None),
    ],
)
def test_a_version_within_a_range_has_the_flaw(
    version: str, events: Events, fixed: str | None
) -> None:
    assert of(events).affects(version)
    assert of(events).fixed_in(version) == fixed


@pytest.mark.parametrize(
    ("version", "events"),
    [
        ("2.0", UNTIL_2),
        ("2.0+cpu", UNTIL_2),
        ("10.0", UNTIL_2),  # no comparison of letters
        ("1.26.18", SEVERAL),
        ("1.99", SEVERAL),
        ("2.0.7", SEVERAL),
        ("2.0.0", (("introduced", "2.0.1"), ("fixed", "2.1"))),
        ("2.0.1", (("introduced", "0"), ("last_affected", "2.0"))),
        ("2.0.post1", (("introduced", "0"), ("last_affected", "2.0"))),
    ],
)
def test_a_version_outside_has_not(version: str, events: Events) -> None:
    assert not of(events).affects(version)


def test_a_version_of_several_ranges_is_in_one_of_them() -> None:
    advisory = of((("introduced", "1.8"), ("fixed", "1.8.2")), (*UNTIL_2[:1], ("fixed", "1.6.2")))
    assert [advisory.affects(version) for version in ("1.6.1", "1.7", "1.8.1")] == [1, 0, 1]
    assert advisory.fixed_in("1.6.1") == "1.6.2"


def test_versions_may_be_named_one_by_one() -> None:
    assert of(versions=("1.0", "1.2")).affects("1.2.0")
    assert not of(versions=("1.0", "1.2")).affects("1.1")


def test_a_lock_is_read_with_its_markers_and_without_its_hashes(lock: Path) -> None:
    pins = [("some-package", "1.9"), ("some-package", "2.1"), ("zope-event", "6.2")]
    assert list(locked(lock)) == pins


def test_a_package_without_a_version_cannot_be_audited(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("some-package>=1.9\n")
    with pytest.raises(ValueError, match="pins no version"):
        list(locked(lock))


def test_a_locked_version_with_a_flaw_is_told_with_what_to_take(lock: Path) -> None:
    assert audit([lock, lock], snapshot(of(UNTIL_2)), {}) == [
        "some-package 1.9 has PYSEC-2026-1, also CVE-2026-2: take 2.0; "
        "https://osv.dev/vulnerability/PYSEC-2026-1"
    ]
    (fault,) = audit([lock], snapshot(of(versions=("2.1",))), {})
    assert "2.1 has PYSEC-2026-1, also CVE-2026-2: no version without it is known" in fault


def test_locked_versions_without_flaws_are_summed_up(lock: Path) -> None:
    known = snapshot(of((("introduced", "3"),)))
    assert audit([lock], known, {}) == []
    told = summary([lock], known, date(2026, 2, 10))
    assert told == (
        "2 locked packages in 3 versions, 1 advisories about them: none applies.\n"
        "The newest is 10 days old (2026-01-31), and 1 packages were never looked for: "
        "`make audit` knows more."
    )


def test_an_exception_is_passed_over_and_told_when_it_is_idle(lock: Path) -> None:
    excused = {"PYSEC-2026-1": "never called"}
    assert audit([lock], snapshot(of(UNTIL_2)), excused) == []
    idle = ["PYSEC-2026-1 is excused and found nowhere"]
    assert audit([lock], snapshot(), excused) == idle


def test_our_locks_have_no_known_flaws() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.audit"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len({name for lock in LOCKS for name, _ in locked(lock)})} locked" in done.stdout
    assert all(EXCEPTIONS.values())


def test_a_flaw_fails_the_command(tmp_path: Path) -> None:
    known = json.loads(SNAPSHOT.read_text())
    flaw = {"id": "PYSEC-1", "aliases": [], "ranges": [[{"introduced": "0"}]]}
    known["advisories"]["starlette"].append(flaw)
    (tmp_path / "advisories.json").write_text(json.dumps(known))
    script = (
        "import pathlib, sys, ops.audit as audit;"
        "audit.SNAPSHOT = pathlib.Path(sys.argv[1]); sys.exit(audit.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "advisories.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "has PYSEC-1: no version without it is known" in done.stderr


def test_the_snapshot_is_written_as_it_was_read(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "again.json", read_snapshot(SNAPSHOT))
    assert (tmp_path / "again.json").read_bytes() == SNAPSHOT.read_bytes()


def test_every_advisory_of_the_snapshot_can_be_compared() -> None:
    for found in read_snapshot(SNAPSHOT).advisories.values():
        for advisory in found:
            assert advisory.ranges or advisory.versions
            advisory.affects("1.0")


def affected(*events: dict[str, str], name: str = "Some.Package") -> dict[str, Any]:
    commits = {"type": "GIT", "events": [{"introduced": "0"}, {"fixed": "46d44c3c"}]}
    ranges = [commits, {"type": "ECOSYSTEM", "events": list(events)}] if events else [commits]
    package = {"ecosystem": "PyPI", "name": name}
    return {"package": package, "ranges": ranges, "versions": ["1.9"]}


def test_a_snapshot_is_made_from_osvs_archive(tmp_path: Path) -> None:
    until, later = {"fixed": "2.0"}, {"introduced": "3", "fixed": "3.1"}
    mentioned = {"modified": "2026-01-02T03:04:05Z", "affected": [affected({"introduced": "0"})]}
    records: list[dict[str, Any]] = [
        {
            "id": "GHSA-1",
            "aliases": ["CVE-1"],
            "modified": "2026-11-01T00:00:00.5Z",
            "affected": [
                affected({"introduced": "0"}, until),
                affected({"introduced": "3"}, {"fixed": "3.1"}),
            ],
        },
        {
            "id": "PYSEC-1",
            "aliases": ["CVE-1"],
            "modified": "2026-01-01T00:00:00Z",
            "affected": [affected({"introduced": "0"}, until)],
        },
        {"id": "PYSEC-2", "modified": "2026-01-01T00:00:00Z", "affected": [affected()]},
        {"id": "PYSEC-3", "withdrawn": "2026-01-02T00:00:00Z", **mentioned},
        {"id": "MAL-4", **mentioned},
        {**mentioned, "id": "PYSEC-5", "affected": [affected(later, name="another")]},
    ]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for record in records:
            archive.writestr(f"{record['id']}.json", json.dumps(record))
    made = from_osv(tmp_path / "all.zip", {"some-package"})
    assert made.newest == "2026-11-01"
    assert set(made.looked_for) == {"some-package"}
    assert made.advisories.keys() == {"some-package"}
    first, second = made.advisories["some-package"]
    assert (first.id, first.aliases) == ("PYSEC-1", ("CVE-1", "GHSA-1"))
    versions = ("1.9", "2.0", "3.0", "3.1")
    assert [first.affects(version) for version in versions] == [1, 0, 1, 0]
    assert second == Advisory("PYSEC-2", (), versions=("1.9",))
