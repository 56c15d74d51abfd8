"""What a training tells while it runs, and at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_cam_sam.models.training.figures import Figures, warning_of
from napari_cam_sam.models.training.samples import LeftOut
from napari_cam_sam.models.training.split import Copies

__all__ = ["Epoch", "TrainingProgress", "TrainingResult"]


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes
    ----------
    number : int
        From 1.
    loss, accuracy : float
        Means over the images shown, as they were changed, while the weights changed.
    validation_loss, validation_accuracy, validation_f1 : float
        Cross-entropy, accuracy and mean F1 of the validation part; NaN where there is none.
    learning_rate : float
        The head's, at the end of the epoch.
    seconds : float
    best : bool
        Whether its weights are the best so far.
    """

    number: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_f1: float
    learning_rate: float
    seconds: float
    best: bool


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training is.

    Attributes
    ----------
    stage : {"reading", "training", "testing"}
    done, total : int
        Images that were read, or batches of all epochs.
    epoch : Epoch or None
        Set once, when an epoch is complete.
    """

    stage: Literal["reading", "training", "testing"]
    done: int
    total: int
    epoch: Epoch | None = None


@dataclass(frozen=True)
class TrainingResult:
    """What came out.

    Attributes
    ----------
    model : Path or None
        The classifier, for `load_classifier`; None where a stop came before the first epoch
        was complete.
    finished : bool
        False where it was stopped: it can be resumed, and the model is the best until then.
    epochs : tuple of Epoch
    best_epoch : int
        Whose weights the model has; 0 for none.
    figures, validation : Figures or None
        Of the reported part and of the validation part; None where there is no such part.
    parts : dict of str to int
        Images in ``train``, ``validation`` and ``test``.
    copies : Copies or None
        Near-duplicates; None where they were not looked for.
    left_out : tuple of LeftOut
        What was found and not used, and why.
    start : {"imagenet", "scratch", ""}
        Where the first weights were from.
    seconds : float
        All of it, of all runs where it was resumed.
    """

    model: Path | None
    finished: bool
    epochs: tuple[Epoch, ...]
    best_epoch: int
    figures: Figures | None
    validation: Figures | None
    parts: dict[str, int]
    copies: Copies | None
    left_out: tuple[LeftOut, ...]
    start: str
    seconds: float

    @property
    def warning(self) -> str:
        """What must be said where it may be no better than guessing; else empty."""
        return warning_of(self.figures or self.validation)
