"""``python -m app.worker``: one process that trains jobs, one after the other."""

import logging
import warnings
from typing import Any

from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_ready, worker_shutting_down

from app import tasks
from app.logs import configure
from app.queue import connect, queue
from app.settings import read_settings
from training.heap import use_one_heap


@setup_logging.connect  # type: ignore[untyped-decorator]
def _keep_logging(**_: Any) -> None:
    """Keep Celery from changing handlers and levels, which it does unless somebody listens."""


@worker_ready.connect  # type: ignore[untyped-decorator]
def _ready(**_: Any) -> None:
    logging.getLogger(__name__).info("worker ready")


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_: Any) -> None:
    # The child that trains sees it before its next batch, keeps its checkpoint and hands the job
    # back; Celery's warm shutdown waits for that.
    tasks.stopping.value = 1


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    use_one_heap()
    settings = read_settings()
    configure(settings.log_format)
    logging.getLogger("celery").setLevel(logging.WARNING)  # our own lines say it by job
    # Celery warns of root because of pickled messages; ours are JSON and name a job's id.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    connect(settings)
    queue.worker_main(
        [
            "--quiet",
            "worker",
            "--concurrency=1",
            "--pool=prefork",
            "--loglevel=WARNING",
            # Workers need not know of each other, and talking about it is what goes silent after
            # a reconnect (celery#8030).
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
    )


if __name__ == "__main__":
    main()
