"""What there is to train on: GET /datasets, one of them, a picture of it, and PUT of a new one."""

import asyncio
import logging
from pathlib import Path as FilePath
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from app.bodies import ZIP_BODY, received_zip
from app.data_sets import data_set, list_data_sets, need, refuse_taken, take_in_data_set, told
from app.routes.responses import problems
from app.schemas import DataSetDetail, DataSetList
from app.service import ServiceDependency
from models.errors import InvalidDataset, StoreError, TooBusy
from training.browsing import find_picture, small_png, tree_of
from training.recipe import NAME_PATTERN

_log = logging.getLogger(__name__)

router = APIRouter(prefix="/datasets", tags=["data sets"])

CHECKED = 500
"""Pictures that are decoded to look for trouble, unless told."""

_PNG = "image/png"


@router.get("", responses=problems(503))
def data_sets(service: ServiceDependency) -> DataSetList:
    """All data sets that recipes can name, and what lies beside them and is none."""
    return list_data_sets(service.settings.data)


@router.get("/{name}", responses=problems(404, 422, 429, 503))
def get_data_set(
    name: str,
    service: ServiceDependency,
    check: Annotated[
        int, Query(ge=0, le=5000, description="most pictures to decode, evenly chosen")
    ] = CHECKED,
) -> DataSetDetail:
    """Classes and counts of a data set, and what is likely to go wrong with it."""
    return data_set(name, service.settings.data, check)


@router.get(
    "/{name}/picture",
    response_class=Response,
    responses={
        200: {
            "description": "The picture",
            "content": {_PNG: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404, 422, 429, 503),
    },
)
def get_picture(
    name: str,
    service: ServiceDependency,
    label: Annotated[str, Query(max_length=1000, description="the class")],
    split: Literal["train", "val", "test"] = "train",
    index: Annotated[int, Query(ge=0, le=10**9, description="among those of its class")] = 0,
) -> Response:
    """A picture to look at: its centred square, at most 128 pixels a side."""
    folder = service.settings.data
    need(name, folder)
    try:
        tree = tree_of(name, folder)
    except InvalidDataset as error:
        raise InvalidDataset(told(error, folder)) from error
    return Response(small_png(find_picture(tree, split, label, index)), media_type=_PNG)


@router.put(
    "/{name}",
    status_code=201,
    openapi_extra=ZIP_BODY,
    responses=problems(409, 413, 415, 422, 429, 503, 507),
)
async def put_data_set(
    name: Annotated[str, Path(pattern=f"^{NAME_PATTERN}$")],
    request: Request,
    response: Response,
    service: ServiceDependency,
) -> DataSetDetail:
    """Bring pictures: a zip of `train/<class>/<picture>`, and `val` and `test` if there are any."""
    settings = service.settings
    folder = settings.data.absolute()
    await asyncio.to_thread(_prepare, name, folder)
    async with received_zip(request, service.receiving, folder) as file:
        await asyncio.to_thread(
            take_in_data_set,
            file,
            name,
            folder,
            max_bytes=settings.max_dataset_bytes,
            max_picture_bytes=settings.max_picture_bytes,
        )
    response.headers["Location"] = f"/datasets/{name}"
    try:
        return await asyncio.to_thread(data_set, name, folder, CHECKED)
    except TooBusy as error:
        # It is taken in, which must be said; `checked` tells that no picture was looked at.
        _log.warning("%s is taken in and was not looked through: %s", name, error)
        return await asyncio.to_thread(data_set, name, folder, 0)


def _prepare(name: str, folder: FilePath) -> None:
    refuse_taken(name, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}") from error
