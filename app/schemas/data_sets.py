"""What is told of data sets."""

from typing import Literal

from pydantic import BaseModel, Field

DataSetKind = Literal["folder", "archive", "builtin"]
WarningKind = Literal["few", "unbalanced", "unreadable", "duplicate", "near-duplicate", "no-test"]


class SplitCounts(BaseModel):
    """How many pictures there are in each split; 0 where there is no such split."""

    train: int = 0
    val: int = 0
    test: int = 0


class DataSetSummary(BaseModel):
    """A data set at a glance."""

    name: str
    kind: DataSetKind = Field(description="`builtin`: downloaded when a job first needs it")
    classes: int
    pictures: SplitCounts


class DataSetProblem(BaseModel):
    """Something in the folder of data sets that is none, and why."""

    name: str
    reason: str


class DataSetList(BaseModel):
    """All data sets, and what cannot be used as one, by name."""

    datasets: list[DataSetSummary]
    problems: list[DataSetProblem]


class ClassCounts(BaseModel):
    """A class and how many pictures it has."""

    label: str
    pictures: SplitCounts


class DataSetWarning(BaseModel):
    """Something that is likely to go wrong with a job on this data set."""

    kind: WarningKind
    detail: str
    pictures: list[str] = Field(description="the first of those it is about: `train/cat/1.png`")


class LookedAt(BaseModel):
    """How many pictures were decoded to find what only decoding tells."""

    pictures: int
    of: int


class DataSetDetail(BaseModel):
    """A data set, its classes, and what is likely to go wrong with it."""

    name: str
    kind: DataSetKind
    classes: list[ClassCounts]
    pictures: SplitCounts
    warnings: list[DataSetWarning]
    checked: LookedAt
