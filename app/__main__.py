"""``python -m app``: the API process alone; ``python -m app.up`` starts everything."""

import logging
import sys

import uvicorn

from app.exposure import is_open, refuse_exposure
from app.service import create_app
from app.settings import read_settings


def main() -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settings = read_settings()
    refuse_exposure(settings)
    if is_open(settings):
        logging.getLogger(__name__).warning(
            "listening on %s: everybody who reaches it may predict and train", settings.host
        )
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
