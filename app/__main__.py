"""``python -m app``: the API process alone; ``python -m app.up`` starts everything."""

import logging

import uvicorn

from app.connections import KEEP_ALIVE_SECONDS, bounded
from app.exposure import is_open, refuse_exposure
from app.logs import configure
from app.open_files import allow_open_files
from app.service import create_app
from app.settings import read_settings


def main() -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    settings = read_settings()
    configure(settings.log_format)
    refuse_exposure(settings)
    if is_open(settings):
        logging.getLogger(__name__).warning(
            "listening on %s: everybody who reaches it may predict and train", settings.host
        )
    allow_open_files(settings.max_connections + settings.max_followers)
    application = create_app(settings)
    uvicorn.run(
        application,
        host=settings.host,
        port=settings.port,
        http=bounded(application.state.service),
        log_config=None,
        access_log=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
