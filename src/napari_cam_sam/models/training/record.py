"""What is read back of a training: its figures, and its state, checked before they are believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from napari_cam_sam.errors import CamSamError, refusal
from napari_cam_sam.models.training.figures import Figures
from napari_cam_sam.models.training.results import Epoch
from napari_cam_sam.schemas import check_json, shorten

__all__ = ["StateRecord", "figures_in"]

# Far more than fit on a disk, and few enough for statistics.
_MOST_IMAGES = 10**12


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


def figures_in(record: Mapping[str, Any]) -> Figures | None:
    """Return the figures of a training's record: of the reported part, else of the validation.

    Parameters
    ----------
    record : mapping
        As it is in ``training.json`` or a classifier's file, where NaN is None.

    Returns
    -------
    Figures or None
        None where there are none.

    Raises
    ------
    CamSamError
        If they are not those of this program.
    """
    found = record.get("figures") or record.get("validation")
    if not found:
        return None
    source = "the record of its training"
    try:
        figures = check_json(Figures, _with_nan(found))
    except CamSamError as error:
        raise refusal(str(error), source) from None
    n = len(figures.classes)
    if len(figures.confusion) != n or any(len(row) != n for row in figures.confusion):
        raise refusal(f"The confusion should have {n} rows and columns, one a class", source)
    counts = [count for row in figures.confusion for count in row]
    if min(counts) < 0 or not 0 < sum(counts) == figures.n <= _MOST_IMAGES:
        raise refusal(f"The confusion should count {shorten(figures.n)} images", source)
    return figures


def _with_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return math.nan if value is None else value
