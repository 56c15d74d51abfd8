"""Train a classifier from labels of whole images, and say how good it is."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.devices import choose_device
from napari_cam_sam.models.training.copies import Fingerprints, find_copies, fingerprint
from napari_cam_sam.models.training.figures import figures_of
from napari_cam_sam.models.training.frames import Frames, read_frames, windowed_planes
from napari_cam_sam.models.training.loop import StoppedError, Trainer
from napari_cam_sam.models.training.networks import card_of, starting_network
from napari_cam_sam.models.training.parameters import TrainingParameters
from napari_cam_sam.models.training.results import Epoch, TrainingProgress, TrainingResult
from napari_cam_sam.models.training.samples import LeftOut, SampleSet, name_of
from napari_cam_sam.models.training.saving import (
    CHECKPOINT,
    State,
    identity_of,
    open_folder,
    read_state,
    restore_state,
    versions,
    write_record,
    write_results,
    write_state,
)
from napari_cam_sam.models.training.split import (
    PARTS,
    Copies,
    class_indices,
    describe_copies,
    join_groups,
    split_groups,
)
from napari_cam_sam.records.folders import folder_lock
from napari_cam_sam.text import cell_text

__all__ = ["leave_out_near", "train"]

_COLUMNS = ("image", "axis", "plane", "group", "part", "label", "predicted")


def leave_out_near(
    samples: SampleSet,
    held_out: SampleSet,
    parameters: TrainingParameters,
) -> SampleSet:
    """Leave out what is near an image that will be reported elsewhere.

    Samples go with all of their group, and with copies of copies: what is near a sample that is
    near a held-out image goes, too.

    Parameters
    ----------
    samples, held_out : SampleSet
        Labels of the second do not matter.
    parameters : TrainingParameters
        The window counts, and ``join_copies`` does not.

    Returns
    -------
    SampleSet
        Without them; they are named among what was left out.

    Raises
    ------
    CamSamError
        If an image that is to be held out cannot be read: whether something is near it would
        not be known.
    """
    everything = (*samples.samples, *held_out.samples)
    found: list[Fingerprints] = []
    usable: list[int] = []
    for index, plane in enumerate(windowed_planes(everything, parameters.window)):
        if not isinstance(plane, CamSamError):
            usable.append(index)
            found.append(fingerprint(plane))
        elif index >= len(samples.samples):
            raise plane
    joined = Fingerprints.joined(found)
    groups = join_groups([everything[i].group for i in usable], find_copies(joined))
    own = np.array(usable) < len(samples.samples)
    reserved = set(groups[~own].tolist())
    gone = {i for i, group in zip(usable, groups.tolist(), strict=True) if group in reserved}
    reason = "is near an image that is held out"
    return SampleSet(
        tuple(sample for i, sample in enumerate(samples.samples) if i not in gone),
        samples.left_out
        + tuple(LeftOut(s.name, reason) for i, s in enumerate(samples.samples) if i in gone),
    )


@dataclass(frozen=True, eq=False)
class _Data:
    """Frames with their classes, groups and parts."""

    frames: Frames
    names: tuple[str, ...]
    classes: NDArray[np.intp]
    groups: NDArray[np.intp]
    parts: NDArray[np.intp]
    copies: Copies | None

    def part(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
        chosen = self.parts == PARTS.index(name)
        return self.frames.pixels[chosen], self.classes[chosen]

    def sizes(self) -> dict[str, int]:
        return {name: int((self.parts == i).sum()) for i, name in enumerate(PARTS)}


def train(
    samples: SampleSet,
    parameters: TrainingParameters,
    folder: Path,
    *,
    resume: bool = False,
    progress: Callable[[TrainingProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainingResult:
    """Train a classifier and report it on images that nothing was chosen by.

    The images are split by group, near-duplicates together, into a training part, a validation
    part that chooses the best epoch, and a reported part. After each epoch the state is kept in
    the folder. The same images, parameters and seed give the same weights, on the same CPU and
    number of threads, also where a training was stopped or killed and resumed; a GPU adds some
    gradients in any order.

    Parameters
    ----------
    samples : SampleSet
        From :mod:`models.training.samples`.
    parameters : TrainingParameters
    folder : Path
        Made where it does not exist; gets ``model.safetensors``, ``training.json`` and
        ``predictions.csv``.
    resume : bool
        Go on with the unfinished training in the folder; start where there is none.
    progress : callable, optional
        Told where the training is, after each image, batch and epoch.
    stop : callable, optional
        Asked between images and batches; once it returns True the training ends with the best
        epoch until then.

    Returns
    -------
    TrainingResult

    Raises
    ------
    CamSamError
        If there are too few images, classes or groups for the split, the folder holds another
        training or one that runs, ImageNet's weights cannot be had, the loss does not stay
        finite, or the disk is full; the state of the last complete epoch is then still there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> random = np.random.default_rng(0)
    >>> for name in ("normal", "lesion"):
    ...     Path("images", name).mkdir(parents=True)
    ...     for i in range(8):
    ...         pixels = random.integers(0, 256, (32, 32), np.uint8)
    ...         Image.fromarray(pixels).save(f"images/{name}/{i}.png")
    >>> short = ncs.TrainingParameters("small-cnn", input_size=(32, 32), epochs=1, batch_size=4)
    >>> result = ncs.train(ncs.samples_from_folder("images"), short, Path("classifier"))
    >>> ncs.load_classifier(result.model).card.class_names
    ('lesion', 'normal')
    """
    with folder_lock(folder, "training"):
        return _train(samples, parameters, folder, resume, progress, stop)


def _train(
    samples: SampleSet,
    parameters: TrainingParameters,
    folder: Path,
    resume: bool,
    progress: Callable[[TrainingProgress], None] | None,
    stop: Callable[[], bool] | None,
) -> TrainingResult:
    begin = time.monotonic()
    class_indices(samples.samples, parameters.classes)
    device = choose_device(parameters.device)
    made = not folder.exists()
    open_folder(folder, resume=resume)
    tell = progress or (lambda _: None)

    def check() -> None:
        if stop is not None and stop():
            raise StoppedError

    def read(done: int, total: int) -> None:
        tell(TrainingProgress("reading", done, total))
        check()

    try:
        data = _split(samples, parameters, read)
    except StoppedError:
        return TrainingResult(
            None, False, (), 0, None, None, {}, None, samples.left_out, "", time.monotonic() - begin
        )
    except CamSamError:
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise
    channels = parameters.channels or data.frames.pixels.shape[1]
    card = card_of(parameters, data.names, channels)
    module, start = starting_network(parameters, card)
    identity = identity_of(parameters, data.frames.data_hash(), start)
    state = read_state(folder, identity) or State(identity, (), {}, {}, {}, 0.0)
    before = state.seconds
    trainer = Trainer(module, card, parameters, device, *data.part("train"))
    if state.epochs:
        restore_state(folder / CHECKPOINT, state, trainer.module, trainer.optimiser)
    else:
        # Before hours of training, so that a folder that cannot be written is known now.
        write_record(folder, {"finished": False, "parameters": parameters})

    finished = True
    total = parameters.epochs * trainer.batches
    try:
        while len(state.epochs) < parameters.epochs and not _lost_patience(state, parameters):
            number = len(state.epochs) + 1
            started = time.monotonic()

            def after_batch(done: int, base: int = (number - 1) * trainer.batches) -> None:
                tell(TrainingProgress("training", base + done, total))
                check()

            check()
            loss, accuracy = trainer.epoch(number, after_batch)
            epoch = trainer.report(
                number, loss, accuracy, data.part("validation"), state.epochs, started
            )
            weights = _copied(trainer.module.state_dict())
            state = State(
                identity=identity,
                epochs=(*state.epochs, epoch),
                module=weights,
                best=weights if epoch.best else state.best,
                optimiser=trainer.optimiser.state_dict(),
                seconds=before + time.monotonic() - begin,
            )
            write_state(folder, state)
            tell(TrainingProgress("training", number * trainer.batches, total, epoch))
    except StoppedError:
        finished = False
    result = TrainingResult(
        model=None,
        finished=finished,
        epochs=state.epochs,
        best_epoch=_best(state.epochs),
        figures=None,
        validation=None,
        parts=data.sizes(),
        copies=data.copies,
        left_out=samples.left_out + data.frames.left_out,
        start=start,
        seconds=before + time.monotonic() - begin,
    )
    if not state.epochs:
        return result
    tell(TrainingProgress("testing", 0, 1))
    trainer.module.load_state_dict(state.best)
    values = _unseen(trainer, data)
    judged = {
        part: figures_of(part, values[chosen], data.classes[chosen], data.names)
        for part in ("validation", "test")
        if (chosen := data.parts == PARTS.index(part)).any()
    }
    result = replace(
        result,
        figures=judged.get("test"),
        validation=judged.get("validation"),
        seconds=before + time.monotonic() - begin,
    )
    record = _record(result, parameters, identity["data"], trainer)
    more = {"epochs": result.epochs, "left_out": result.left_out, "copies": result.copies}
    write_predictions = partial(_write_predictions, data, values)
    model = write_results(folder, state.best, card, record, more, write_predictions)
    tell(TrainingProgress("testing", 1, 1))
    return replace(result, model=model)


def _split(
    samples: SampleSet, parameters: TrainingParameters, read: Callable[[int, int], None]
) -> _Data:
    frames = read_frames(samples.samples, parameters.window, parameters.input_size, read)
    kept = frames.samples
    if not kept:
        raise CamSamError(
            f"None of the {len(samples.samples)} images could be read, e.g.: "
            f"{frames.left_out[0].reason}"
        )
    names, classes = class_indices(kept, parameters.classes)
    copies = find_copies(frames.fingerprints) if parameters.join_copies else None
    groups = join_groups([sample.group for sample in kept], copies)
    parts = split_groups(
        classes,
        groups,
        names,
        validation_part=parameters.validation_part,
        test_part=parameters.test_part,
        seed=parameters.seed,
    )
    found = None if copies is None else describe_copies(kept, copies)
    return _Data(frames, names, classes, groups, parts, found)


def _record(
    result: TrainingResult, parameters: TrainingParameters, data_hash: str, trainer: Trainer
) -> dict[str, Any]:
    """Return what is to be known of a training, for the classifier's file."""
    copies = result.copies
    return {
        "finished": result.finished,
        "figures": result.figures,
        "validation": result.validation,
        "warning": result.warning,
        "parts": result.parts,
        "best_epoch": result.best_epoch,
        "epochs": len(result.epochs),
        "copies": None if copies is None else {"images": copies.images, "surplus": copies.surplus},
        "left_out": len(result.left_out),
        "parameters": parameters,
        "start": result.start,
        "data_sha256": data_hash,
        "device": str(trainer.device),
        "precision": trainer.precision,
        "seconds": round(result.seconds, 1),
        "versions": versions(),
    }


def _lost_patience(state: State, parameters: TrainingParameters) -> bool:
    without = len(state.epochs) - _best(state.epochs)
    return parameters.patience is not None and without >= parameters.patience


def _best(epochs: tuple[Epoch, ...]) -> int:
    """Return the number of the best epoch, 0 for none."""
    return max((epoch.number for epoch in epochs if epoch.best), default=0)


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


def _unseen(trainer: Trainer, data: _Data) -> NDArray[np.float32]:
    """Return the probabilities of images that were not trained on, NaN for the others."""
    values = np.full((len(data.classes), len(data.names)), np.nan, dtype=np.float32)
    for part in ("validation", "test"):
        pixels, classes = data.part(part)
        if len(classes):
            values[data.parts == PARTS.index(part)] = trainer.probabilities(pixels)
    return values


def _write_predictions(data: _Data, values: NDArray[np.float32], path: Path) -> None:
    """Write every image's part, and what it was taken for where it was not trained on."""
    texts = [cell_text(name) for name in data.names]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*_COLUMNS, *texts])
        for i, (sample, own) in enumerate(zip(data.frames.samples, values, strict=True)):
            plane = "" if sample.plane is None else sample.plane
            found = ["", *[""] * len(texts)]
            if np.isfinite(own).all():
                found = [texts[int(own.argmax())], *(f"{value:.6f}" for value in own)]
            part, label = PARTS[data.parts[i]], cell_text(sample.label)
            place = [cell_text(name_of(sample.image)), sample.axis, plane]
            writer.writerow([*place, int(data.groups[i]), part, label, *found])
