"""What a training keeps on disk: its state after each epoch, and at the end the classifier."""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.models.cards import ClassifierCard
from napari_cam_sam.models.checkpoints import check_archive
from napari_cam_sam.models.training.parameters import TrainingParameters
from napari_cam_sam.models.training.record import StateRecord
from napari_cam_sam.models.training.results import Epoch
from napari_cam_sam.parsing import parse_json
from napari_cam_sam.records.folders import remove_unfinished, write_folder
from napari_cam_sam.records.values import package_versions, plain
from napari_cam_sam.schemas import check_schema

__all__ = [
    "CHECKPOINT",
    "MODEL",
    "PREDICTIONS",
    "RECORD",
    "State",
    "identity_of",
    "open_folder",
    "read_state",
    "restore_state",
    "versions",
    "write_record",
    "write_results",
    "write_state",
]

CHECKPOINT, MODEL = "checkpoint.pt", "model.safetensors"
RECORD, PREDICTIONS = "training.json", "predictions.csv"
_PACKAGES = ("napari-cam-sam", "torch", "torchvision", "numpy", "pillow", "imagehash")


@dataclass(frozen=True, eq=False)
class State:
    """A training after a complete epoch.

    Attributes
    ----------
    identity : dict
        From `identity_of`.
    epochs : tuple of Epoch
    module, best : dict of str to Tensor
        Weights after the last epoch, and of the best one.
    optimiser : dict
        Its state.
    seconds : float
    """

    identity: dict[str, Any]
    epochs: tuple[Epoch, ...]
    module: dict[str, Tensor]
    best: dict[str, Tensor]
    optimiser: dict[str, Any]
    seconds: float


def identity_of(parameters: TrainingParameters, data_hash: str, start: str) -> dict[str, Any]:
    """Return what must be the same for a training to go on: data, and parameters but the device.

    Parameters
    ----------
    parameters : TrainingParameters
    data_hash : str
        Of the images and their labels.
    start : {"imagenet", "scratch"}
        Where the first weights are from, as they may have been downloaded since.

    Returns
    -------
    dict
        Plain values by name.
    """
    found: dict[str, Any] = plain(parameters)
    del found["device"]
    return {**found, "start": start, "data": data_hash}


def open_folder(folder: Path, *, resume: bool) -> None:
    """Make the folder of a training, and refuse one that holds another.

    Parameters
    ----------
    folder : Path
    resume : bool
        Whether an unfinished training in it goes on.

    Raises
    ------
    CamSamError
        If it cannot be made, or holds a finished classifier, or an unfinished training that is
        not to be resumed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(
            f"The folder cannot be made, {error.strerror}: name another one", folder
        ) from error
    remove_unfinished(folder, (CHECKPOINT, MODEL, RECORD, PREDICTIONS))
    unfinished = (folder / CHECKPOINT).exists()
    if unfinished and not resume:
        raise refusal(
            "This folder holds an unfinished training: resume it (--resume), or name another one",
            folder,
        )
    if (folder / MODEL).exists() and not unfinished:
        raise refusal("This folder holds a finished classifier: name another one", folder)


def read_state(folder: Path, identity: Mapping[str, Any]) -> State | None:
    """Read the state of an unfinished training.

    Parameters
    ----------
    folder : Path
    identity : mapping
        Of the training that is to go on, from `identity_of`.

    Returns
    -------
    State or None
        None where there is none.

    Raises
    ------
    CamSamError
        If it is damaged, or is of other images or parameters.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways
        raise refusal(
            "This is not the state of a training, or is damaged: remove it to start anew", path
        ) from error
    known = check_schema(StateRecord, content, path)
    said = parse_json(known.identity, path)
    if not isinstance(said, dict):
        raise refusal("This state does not say of which training it is", path)
    differing = [n for n in {**identity, **said} if identity.get(n) != said.get(n)]
    if {"input_size", "channels"} & set(differing):  # the data are hashed as they are shown then
        differing = [n for n in differing if n != "data"]
    if differing:
        raise refusal(
            f"The training there differs in {', '.join(differing)}: resume it with what it was "
            "begun with, or name another folder",
            folder,
        )
    return State(said, known.history(), known.module, known.best, known.optimiser, known.seconds)


def restore_state(
    path: Path, state: State, module: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Load a state into a network and its optimiser.

    Parameters
    ----------
    path : Path
        Of the state, for errors.
    state : State
    module : nn.Module
    optimiser : torch.optim.Optimizer
        Of the module's parameters.

    Raises
    ------
    CamSamError
        If its weights or what the optimiser remembers are of another network.
    """
    own = module.state_dict()
    for weights in (state.module, state.best):
        same = weights.keys() == own.keys() and all(
            weights[key].shape == value.shape and weights[key].dtype == value.dtype
            for key, value in own.items()
        )
        if not same:
            raise refusal("The weights of this state are of another network: train anew", path)
    module.load_state_dict(state.module)

    def options() -> list[dict[str, Any]]:
        return [one | {"lr": 0, "params": []} for one in optimiser.param_groups]

    fresh = options()
    try:
        optimiser.load_state_dict(state.optimiser)
        fits = options() == fresh
        for parameter, remembered in optimiser.state.items():
            shapes = {name: tuple(value.shape) for name, value in remembered.items()}
            mean = tuple(parameter.shape)
            fits = fits and shapes == {"step": (), "exp_avg": mean, "exp_avg_sq": mean}
    except Exception as error:  # PyTorch checks little, and fails in many ways
        raise refusal("The optimiser of this state cannot be read: train anew", path) from error
    if not fits:
        raise refusal("The optimiser of this state is of another training: train anew", path)


def write_state(folder: Path, state: State) -> None:
    """Save a state, in place of the one before it and only once it is on disk.

    Parameters
    ----------
    folder : Path
        Of the training.
    state : State

    Raises
    ------
    CamSamError
        If it cannot be written.
    """
    stream = io.BytesIO()
    content = {
        "identity": json.dumps(state.identity),
        "epochs": [asdict(epoch) for epoch in state.epochs],
        "module": state.module,
        "best": state.best,
        "optimiser": state.optimiser,
        "seconds": state.seconds,
    }
    torch.save(content, stream)
    write_atomically(folder / CHECKPOINT, lambda path: path.write_bytes(stream.getbuffer()))


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record that people and scripts read.

    Parameters
    ----------
    folder : Path
        Of the training.
    record : mapping
        Data classes and numbers that are not finite become plain values.

    Raises
    ------
    CamSamError
        If it cannot be written.
    """
    write_atomically(folder / RECORD, lambda path: _write_record(path, record))


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps(plain(record), indent=2, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def write_results(
    folder: Path,
    weights: Mapping[str, Tensor],
    card: ClassifierCard,
    record: Mapping[str, Any],
    more: Mapping[str, Any],
    predictions: Callable[[Path], object],
) -> Path:
    """Write the classifier, the record and the predictions: all of them, or none.

    Parameters
    ----------
    folder : Path
    weights : mapping of str to Tensor
    card : ClassifierCard
    record : mapping
        What is to be known of the training, for the classifier's file. Of a finished training
        the state goes in the same step.
    more : mapping
        What the record has besides.
    predictions : callable
        Writes them at a path.

    Returns
    -------
    Path
        The classifier: weights, card and record in one file.
    """
    tensors = {name: value.cpu().contiguous() for name, value in weights.items()}
    metadata = {"card": card.to_json(), "training": json.dumps(plain(record), allow_nan=False)}
    content = to_safetensors(tensors, metadata)
    writers: dict[str, Callable[[Path], object]] = {
        PREDICTIONS: predictions,
        MODEL: lambda path: path.write_bytes(content),
        RECORD: lambda path: _write_record(path, {**record, **more}),
    }
    write_folder(folder, writers, [CHECKPOINT] if record["finished"] else ())
    return folder / MODEL


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of what makes the numbers.

    Returns
    -------
    dict of str to (str or None)
        By name; None for what is not installed.
    """
    return {"python": platform.python_version(), **package_versions(_PACKAGES)}
