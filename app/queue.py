"""The queue: Celery over Redis, set up so that a message is only a hint (see ``app/jobs.py``)."""

from celery import Celery
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from app.settings import Settings

QUEUE = "stillhouse"

queue = Celery("stillhouse")
queue.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,  # results are records of our own
    # Acknowledged on receipt: with acks_late, Redis hands a task that runs for longer than its
    # visibility timeout to a second worker. What a dead worker had is found by its lease instead.
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,  # a job waits in the queue, not behind a running one
    # A child that has grown beyond 4 GB (in kB) is replaced after its job. Not after every job:
    # Celery takes up to five seconds to start the next one.
    worker_max_memory_per_child=4_000_000,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # wait for Redis as long as it takes
    broker_transport_options={"socket_connect_timeout": 5, "socket_keepalive": True},
)


def connect(settings: Settings) -> Redis:
    """Point the queue at the settings' Redis and return a client of the same.

    Raises:
        SystemExit: no Redis is named.
    """
    if settings.redis_url is None:
        raise SystemExit("STILLHOUSE_REDIS_URL is not set; `make run` starts an embedded Valkey")
    url = settings.redis_url.get_secret_value()
    queue.conf.broker_url = url
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=5,
        socket_connect_timeout=5,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
    )
