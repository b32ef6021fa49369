"""``python -m app``: the API process alone; ``python -m app.up`` starts everything."""

import logging

import uvicorn

from app.connections import bounded
from app.logs import configure
from app.service import create_app
from app.settings import read_settings


def main() -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    settings = read_settings()
    configure(settings.log_format)
    if settings.host not in {"127.0.0.1", "::1", "localhost"}:
        logging.getLogger(__name__).warning(
            "listening on %s: everybody who reaches it may predict and train", settings.host
        )
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=bounded(settings.max_receive_seconds),
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
