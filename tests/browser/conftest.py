"""A live service with a real worker, and a browser that looks at it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from models.store import Store
from tests.browser.chromium import HOW, SIZES, Seen, browser, find_chromium, visit
from tests.launcher import Launcher
from tests.tiny import doubt, publish, write_dataset

expect.set_options(timeout=20_000)  # a worker may have the cores just now


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make browser` ask for every size."""
    parser.addoption("--every-size", action="store_true", help="phones too, not desktops alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that names a size on one of them, or on all."""
    if "size" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-size", default=False)
        metafunc.parametrize("size", SIZES if every else ["desktop"])


class Service(NamedTuple):
    """A service that runs, and what it holds.

    Attributes:
        launcher: its processes.
        usual: the ensemble that serves, of three members.
        strange: one that takes every picture for something else.
    """

    launcher: Launcher
    usual: str
    strange: str


@pytest.fixture(scope="session")
def installed() -> str:
    """Where this machine's browser is; whatever needs one is skipped where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip(HOW)
    return path


@pytest.fixture(scope="module")
def chromium(installed: str) -> Iterator[Browser]:
    """The browser of this machine.

    Not for longer than a module: as long as it is driven, an event loop runs in this thread, and
    tests of others start their own.
    """
    with browser(installed) as started:
        yield started


@pytest.fixture(scope="session")
def service(installed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with its queue and its worker, ready to answer; not started without a browser."""
    assert installed
    folder: Path = tmp_path_factory.mktemp("service")
    write_dataset(folder / "data" / "noise")
    store = Store(folder / "store")
    usual, strange = doubt(), doubt()
    usual["outside"]["threshold"], strange["outside"]["threshold"] = 100.0, 0.0
    ids = [
        publish(store, members=3, doubt=usual).id,
        publish(store, seed=1, members=2, doubt=strange).id,
    ]
    store.serve(ids[0])
    launcher = Launcher(
        folder / "store",
        folder / "data",
        STILLHOUSE_FOLLOW_SECONDS="0.1",
        STILLHOUSE_SWEEP_SECONDS="0.5",
        STILLHOUSE_ENGINE_THREADS="1",
    )
    try:
        launcher.start()
        yield Service(launcher, *ids)
    finally:
        launcher.client.close()
        assert launcher.stop() == 0


@pytest.fixture
def seen(chromium: Browser, service: Service, size: str) -> Iterator[Seen]:
    """A visitor of the service, on a screen of some size; what goes wrong unseen is a failure."""
    with visit(chromium, service.launcher.address, size) as seen:
        yield seen
        assert seen.elsewhere == []
        assert seen.faults == []
