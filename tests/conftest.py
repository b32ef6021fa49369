"""What tests of many modules start from; what they are made of is in ``tests.tiny``."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side, and start processes of their own

import pytest
import torch

from models.store import Store
from tests.tiny import write_dataset

torch.set_num_threads(1)


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
