"""The lock files: `python ops/locks.py write` makes them, `check` says whether they are current.

Four locks, all with hashes and for every platform (uv's universal resolution):

    requirements-uv.lock               the installer itself, the one thing pip installs
    requirements.lock                  what the service needs
    requirements-dev.lock              the same versions, and what the checks and tests need
    benchmarks/requirements-peers.lock the servers that we are compared with, for .venv-peers

`write` keeps the locked versions where they still fit; `write --upgrade` takes the newest.
`check` needs no network: `write` leaves a digest of all that asks for packages in
ops/locks.sha256, and a digest that no longer fits means that the locks are older.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIGEST = ROOT / "ops" / "locks.sha256"
PEERS = ROOT / "benchmarks" / "requirements-peers.in"
LOCKS = [ROOT / f"requirements{part}.lock" for part in ("-uv", "", "-dev")]
LOCKS.append(PEERS.with_suffix(".lock"))
SHARED_WITH_PEERS = ("numpy==", "pillow==")
"""They decode with the very library that we do, and hand torch, which is ours, their arrays."""

COMPILE = [
    *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"),
]


def digest_of_dependencies() -> str:
    """The sha256 of what pyproject.toml and the peers ask for, in hexadecimal."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    said = [project["requires-python"], project["dependencies"], pyproject["dependency-groups"]]
    said.append(PEERS.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def write(*, upgrade: bool) -> None:
    """Resolve the four locks anew.

    Raises:
        subprocess.CalledProcessError: if uv found no versions that fit.
    """
    # Beside this interpreter first: `make lock` runs with the virtual environment's own uv.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def compile_lock(source: str, *options: str, lock: str, text: str | None = None) -> None:
        command = [*COMPILE, source, *options, "--output-file", lock, *["--upgrade"] * upgrade]
        environment = {**os.environ, "PATH": path}
        subprocess.run(command, cwd=ROOT, env=environment, input=text, text=True, check=True)

    compile_lock("-", lock="requirements-uv.lock", text="uv\n")
    compile_lock("pyproject.toml", lock="requirements.lock")
    pinned = ("--constraints", "requirements.lock", "--group", "dev")
    compile_lock("pyproject.toml", *pinned, lock="requirements-dev.lock")
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    shared = [line.rstrip(" \\") for line in locked if line.startswith(SHARED_WITH_PEERS)]
    wanted = "\n".join([PEERS.read_text(encoding="utf-8"), *shared])
    compile_lock("-", lock=str(PEERS.with_suffix(".lock").relative_to(ROOT)), text=wanted)
    DIGEST.write_text(f"{digest_of_dependencies()}  what pyproject.toml and the peers ask for\n")


def check() -> list[str]:
    """What is wrong with the locks, one sentence each; nothing when they are current."""
    faults = [f"{lock.name} is missing" for lock in LOCKS if not lock.exists()]
    recorded = DIGEST.read_text(encoding="utf-8").split()[0] if DIGEST.exists() else "nothing"
    if recorded != digest_of_dependencies():
        faults.append("what is asked for changed after the locks were written")
    # An address would tie everyone to the package index of whoever wrote the lock.
    addressed = [lock for lock in LOCKS if lock.exists() and b"://" in lock.read_bytes()]
    return faults + [f"{lock.name} holds an address" for lock in addressed]


def main() -> int:
    """Run the command line; 1 when the locks are out of date."""
    parser = argparse.ArgumentParser(description="Write or check the lock files.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write").add_argument("--upgrade", action="store_true")
    commands.add_parser("check")
    arguments = parser.parse_args()
    if arguments.command == "write":
        write(upgrade=arguments.upgrade)
        return 0
    faults = check()
    for fault in faults:
        print(f"{fault}: run `make lock`", file=sys.stderr)
    if not faults:
        print("The locks fit pyproject.toml.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
