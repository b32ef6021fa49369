"""POST /predict and what stands around it: pictures in, the members' average out."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import log

import httpx
import numpy as np
import pytest
import torch

from models.ensemble import Ensemble, EnsembleManifest
from models.pictures import decode_picture
from models.store import Store
from tests.service import parts, picture, problem_of, running, settings_for
from tests.tiny import COLOURS, publish

TEMPERATURE = 1.7
MAX_REQUEST_BYTES = 60_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("predict") / "store")


@pytest.fixture(scope="module")
def ensemble(store: Store) -> Ensemble:
    manifest = publish(store, members=3, temperature=TEMPERATURE)
    store.serve(manifest.id)
    return store.load(manifest.id)


@pytest.fixture
def manifest(ensemble: Ensemble) -> EnsembleManifest:
    return ensemble.manifest


@pytest.fixture(scope="module")
def client(
    store: Store, ensemble: Ensemble, valkey_url_of_module: str
) -> Iterator[httpx.Client]:
    del ensemble  # published and serving before the service starts
    settings = settings_for(
        Path(str(store.files)).parent,
        valkey_url_of_module,
        max_picture_bytes=20_000,
        max_picture_pixels=10_000,
        max_pictures_per_request=20,
        max_request_bytes=MAX_REQUEST_BYTES,
    )
    with running(settings) as client:
        yield client
