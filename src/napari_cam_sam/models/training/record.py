"""What is read back of a training: its figures, and its state, checked before they are believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from napari_cam_sam.models.training.results import Epoch
from napari_cam_sam.schemas import check_schema

__all__ = ["FiguresRecord", "StateRecord", "figures_in"]


class _Class(BaseModel):
    name: str
    n: int
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    auroc: float | None = None


class _Bin(BaseModel):
    low: float
    high: float
    n: int
    confidence: float | None = None
    accuracy: float | None = None


class FiguresRecord(BaseModel):
    """`Figures` as they stand in a record, where NaN is None."""

    part: str
    n: int
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    f1: float | None = None
    auroc: float | None = None
    ece: float | None = None
    classes: list[_Class]
    confusion: list[list[int]]
    reliability: list[_Bin]

    @model_validator(mode="after")
    def _square(self) -> FiguresRecord:
        n = len(self.classes)
        if len(self.confusion) != n or any(len(row) != n for row in self.confusion):
            raise ValueError(f"figures of {n} classes with a confusion of {n} rows and columns")
        return self


class _Epoch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_f1: float
    learning_rate: float
    seconds: float
    best: bool


class StateRecord(BaseModel):
    """The content of a training's ``checkpoint.pt``."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    identity: str
    epochs: list[_Epoch]
    module: dict[str, Tensor]
    best: dict[str, Tensor]
    optimiser: dict[str, Any]
    seconds: float

    @model_validator(mode="after")
    def _whole(self) -> StateRecord:
        if [one.number for one in self.epochs] != list(range(1, len(self.epochs) + 1)):
            raise ValueError("a state whose epochs count from 1")
        if not any(one.best for one in self.epochs):
            raise ValueError("a state with a best epoch")
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError("a state with seconds of 0 or more")
        return self

    def history(self) -> tuple[Epoch, ...]:
        """Return the epochs."""
        return tuple(Epoch(**one.model_dump()) for one in self.epochs)


def figures_in(record: Mapping[str, Any]) -> FiguresRecord | None:
    """Return the figures of a training's record: of the reported part, else of the validation.

    Raises
    ------
    CamSamError
        If they are not those of this program.
    """
    figures = record.get("figures") or record.get("validation")
    if not figures:
        return None
    return check_schema(FiguresRecord, figures, "the record of its training")
