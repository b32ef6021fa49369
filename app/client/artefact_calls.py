"""The calls about what is kept: ensembles and data sets."""

import os
from pathlib import Path
from typing import Any, Literal

from app.client.requests import LOADING_SECONDS, Call, Request, json_object, quoted
from app.schemas import (
    DataSetDetail,
    DataSetList,
    EnsembleDetail,
    EnsembleList,
    EnsembleSummary,
    ServingChange,
)

Split = Literal["train", "val", "test"]


class ArtefactCalls:
    """What can be asked of ensembles and data sets."""

    @Call
    def ensembles(self) -> Request[EnsembleList]:
        """Return all ensembles that can be served, newest first, and which one serves."""
        return Request("GET", "/ensembles", EnsembleList.model_validate_json)

    @Call
    def ensemble(self, id: str) -> Request[EnsembleDetail]:  # noqa: A002
        """Return everything there is to know about an ensemble."""
        return Request("GET", f"/ensembles/{quoted(id)}", EnsembleDetail.model_validate_json)

    @Call
    def report(self, id: str) -> Request[dict[str, Any]]:  # noqa: A002
        """Return an ensemble's learning curves, reliability and confusion, as JSON.

        Raises:
            Missing: there is no such ensemble, or it keeps no report.
        """
        return Request("GET", f"/ensembles/{quoted(id)}/report", json_object)

    @Call
    def promote(self, id: str) -> Request[ServingChange]:  # noqa: A002
        """Make an ensemble the serving one: promotion and rollback are the same call."""
        return Request(
            "PUT",
            "/ensembles/serving",
            ServingChange.model_validate_json,
            json={"ensemble": id},
            silence_seconds=LOADING_SECONDS,
        )

    @Call
    def export(self, id: str, path: str | os.PathLike[str]) -> Request[Path]:  # noqa: A002
        """Write an ensemble into one file, a zip, and return where it is.

        Args:
            id: of the ensemble.
            path: the file, or a folder to put ``<id>.zip`` into.

        Raises:
            OSError: it cannot be written.
        """
        file = Path(path)
        if file.is_dir():
            file /= f"{quoted(id)}.zip"
        return Request(
            "GET",
            f"/ensembles/{quoted(id)}/archive",
            lambda _: file,
            download=file,
            silence_seconds=LOADING_SECONDS,
        )

    @Call
    def import_(self, path: str | os.PathLike[str]) -> Request[EnsembleSummary]:
        """Bring in an ensemble that was exported and return what it is; it does not serve by that.

        Raises:
            OSError: the file cannot be read.
            Conflict: another ensemble has its id.
        """
        return Request(
            "POST",
            "/ensembles",
            EnsembleSummary.model_validate_json,
            upload=Path(path),
            silence_seconds=LOADING_SECONDS,
        )

    @Call
    def datasets(self) -> Request[DataSetList]:
        """Return the data sets that recipes can name, and what cannot be used as one."""
        return Request("GET", "/datasets", DataSetList.model_validate_json)

    @Call
    def dataset(self, name: str, *, check: int | None = None) -> Request[DataSetDetail]:
        """Return the classes and counts of a data set, and what is likely to go wrong with it.

        Args:
            name: of the data set.
            check: most pictures to decode for that, 0 to 5000; 500 unless told.
        """
        return Request(
            "GET",
            f"/datasets/{quoted(name)}",
            DataSetDetail.model_validate_json,
            query={"check": check},
            silence_seconds=LOADING_SECONDS,
        )

    @Call
    def dataset_picture(
        self, name: str, label: str, *, split: Split = "train", index: int = 0
    ) -> Request[bytes]:
        """Return a picture of a data set to look at, as a PNG file of at most 128 pixels a side."""
        asked = {"label": label, "split": split, "index": index}
        return Request("GET", f"/datasets/{quoted(name)}/picture", bytes, query=asked)

    @Call
    def upload_dataset(self, name: str, path: str | os.PathLike[str]) -> Request[DataSetDetail]:
        """Send pictures as a data set and return what it holds.

        Args:
            name: what recipes are to call it.
            path: a zip with ``train/<class>/<picture>``, or a folder with the same.

        Raises:
            OSError: it cannot be read.
            Conflict: the name is taken; by this call, if the answer to a first try was lost.
        """
        return Request(
            "PUT",
            f"/datasets/{quoted(name)}",
            DataSetDetail.model_validate_json,
            upload=Path(path),
            silence_seconds=LOADING_SECONDS,
        )
