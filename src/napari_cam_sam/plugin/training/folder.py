"""The folder that a training is kept in: whether it is free, and what it was begun with."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_sam.errors import refusal
from napari_cam_sam.parsing import parse_json, read_text
from napari_cam_sam.plugin.training.form import parameters_from

if TYPE_CHECKING:
    from napari_cam_sam.models.training.parameters import TrainingParameters

__all__ = ["free_folder", "is_unfinished", "read_parameters"]

# As the core names them; it needs PyTorch, and this does not.
_CHECKPOINT, _MODEL, _RECORD = "checkpoint.pt", "model.safetensors", "training.json"


def is_unfinished(folder: Path) -> bool:
    """Return whether a folder holds a training that can go on.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    bool
    """
    return (folder / _CHECKPOINT).exists()


def free_folder(first: Path, *, anew: bool, shown: Path | None = None) -> Path:
    """Return a folder, or the first of those numbered after it, that holds no classifier.

    Parameters
    ----------
    first : Path
    anew : bool
        Whether one with an unfinished training will not do, either.
    shown : Path, optional
        One that will do whatever it holds: the folder of the result that is shown.

    Returns
    -------
    Path
        Which need not exist.
    """
    numbered = (Path(f"{first}-{number}") for number in count(2))
    return next(
        folder
        for folder in chain([first], numbered)
        if folder == shown or not (anew if is_unfinished(folder) else (folder / _MODEL).exists())
    )


def read_parameters(folder: Path) -> TrainingParameters:
    """Read the parameters of the unfinished training in a folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    TrainingParameters

    Raises
    ------
    CamSamError
        Where the folder does not say them.
    """
    path = folder / _RECORD
    record = parse_json(read_text(path, "the record of a training"), path)
    try:
        return parameters_from(record["parameters"])
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise refusal(
            "This does not say how the training was started: choose another folder and train again",
            path,
        ) from error
