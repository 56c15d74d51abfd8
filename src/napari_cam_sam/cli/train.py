"""A classifier from labels of whole images: ``napari-cam-sam train``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import napari_cam_sam as ncs
from napari_cam_sam.cli.printing import cell, print_json, print_table
from napari_cam_sam.cli.shared import add_fields, add_shared, changed
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import parse_window
from napari_cam_sam.models.training.parameters import (
    PRESETS,
    AugmentationParameters,
    TrainingParameters,
    training_preset,
)
from napari_cam_sam.models.training.results import TrainingProgress, TrainingResult
from napari_cam_sam.models.training.samples import SampleSet, images_under, samples_from_csv
from napari_cam_sam.records.values import plain
from napari_cam_sam.text import shown

__all__ = ["add_train_command", "print_figures"]

# More would push the figures off the screen; the record has them all.
_MOST_NAMED = 10


def add_train_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    train = commands.add_parser(
        "train",
        help="train a classifier from labels of whole images",
        description="Train a classifier from labels of whole images, and report how it does on "
        "images that were used neither to train nor to choose it. Near-duplicates stay together. "
        "The output folder gets model.safetensors (for --classifier), training.json and "
        "predictions.csv. Every epoch is kept, so that --resume goes on after a stop.",
    )
    train.add_argument(
        "source",
        type=Path,
        metavar="FOLDER|CSV",
        help="folder with a subfolder for each class; or a table with the columns path, label "
        "and optionally group, axis, plane; or with image and truth, where a slice is positive if "
        "the truth is in it",
    )
    train.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the classifier"
    )
    train.add_argument(
        "--preset",
        metavar="NAME",
        help=f"parameters to start from: {', '.join(PRESETS)} (default s1 if ImageNet's weights "
        "are on this machine, else scratch)",
    )
    train.add_argument("--resume", action="store_true", help="go on with the training in --output")
    train.add_argument(
        "--exclude-near",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="images or folders kept for a test elsewhere: leave them, their near-duplicates and "
        "the groups of these out",
    )
    train.add_argument(
        "--classes",
        type=lambda text: tuple(text.split(",")),
        metavar="A,B",
        help="order of the classes (default: sorted)",
    )
    add_shared(train, "axis")
    train.add_argument(
        "--truth-label", type=int, metavar="N", help="label of the truths (default: any)"
    )
    add_shared(train, "window")
    own = ("classes", "window", "augmentation")
    add_fields(train, "training", TrainingParameters, default="the preset's", without=own)
    add_fields(train, "random changes of training images", AugmentationParameters, "augment-")
    train.set_command(_train)


def _parameters(arguments: argparse.Namespace) -> TrainingParameters:
    from napari_cam_sam.models.training.networks import default_preset

    arguments.preset = arguments.preset or default_preset(arguments.architecture or "resnet18")
    start = training_preset(arguments.preset)
    parameters = changed(start, argparse.Namespace(**{**vars(arguments), "window": None}))
    return replace(
        parameters,
        window=parse_window(arguments.window),
        augmentation=changed(parameters.augmentation, arguments, "augment-"),
    )


def _samples(arguments: argparse.Namespace, parameters: TrainingParameters) -> SampleSet:
    from napari_cam_sam.models.training.run import leave_out_near

    if arguments.source.suffix.lower() == ".csv":
        samples = samples_from_csv(
            arguments.source, axis=arguments.axis, truth_label=arguments.truth_label
        )
    else:
        samples = ncs.samples_from_folder(arguments.source)
    if arguments.exclude_near:
        samples = leave_out_near(samples, images_under(arguments.exclude_near), parameters)
    return samples


def _train(arguments: argparse.Namespace) -> None:

    parameters = _parameters(arguments)
    samples = _samples(arguments, parameters)
    display = _Display(quiet=arguments.json)
    try:
        with display.bar:
            result = ncs.train(
                samples, parameters, arguments.output, resume=arguments.resume, progress=display
            )
    except KeyboardInterrupt:
        if not display.epochs:
            raise
        raise KeyboardInterrupt(
            f"{display.epochs} of {parameters.epochs} epochs are kept in {arguments.output}, and "
            "--resume goes on from there"
        ) from None
    if arguments.json:
        print_json(
            {
                "preset": arguments.preset,
                "parameters": parameters,
                "result": result,
                "warning": result.warning,
            }
        )
        return
    _report(arguments, parameters, result)


class _Display:
    """A bar on a terminal, and a line an epoch on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        from tqdm import tqdm

        self.epochs = 0
        self._quiet = quiet
        self._bar = tqdm(disable=quiet or not sys.stderr.isatty())
        self.bar: AbstractContextManager[Any] = self._bar

    def __call__(self, progress: TrainingProgress) -> None:
        self._bar.set_description(progress.stage, refresh=False)
        self._bar.total = progress.total
        self._bar.update(progress.done - self._bar.n)
        epoch = progress.epoch
        if epoch is None:
            return
        self.epochs = epoch.number
        if not self._quiet:
            self._bar.write(
                f"epoch {epoch.number:3}  loss {epoch.loss:.3f}  accuracy {epoch.accuracy:.3f}  "
                f"validation loss {epoch.validation_loss:.3f}  "
                f"accuracy {epoch.validation_accuracy:.3f}  F1 {epoch.validation_f1:.3f}  "
                f"{epoch.seconds:.1f} s" + ("  best" if epoch.best else ""),
                file=sys.stderr,
            )


def _report(
    arguments: argparse.Namespace, parameters: TrainingParameters, result: TrainingResult
) -> None:
    parts, copies = result.parts, result.copies
    print(
        f"Images      {sum(parts.values())}: {parts['train']} for training, "
        f"{parts['validation']} for validation, {parts['test']} reported"
    )
    if copies is not None and copies.images:
        print(
            f"Copies      {copies.images} images have near-duplicates, {copies.surplus} more than "
            "one of each; all copies of a picture are in one part"
        )
        for names in copies.contradictions[:_MOST_NAMED]:
            print(f"            one picture, several labels: {', '.join(names)}")
    for one in result.left_out[:_MOST_NAMED]:
        print(f"Left out    {one.name}: {one.reason}")
    if len(result.left_out) > _MOST_NAMED:
        print(f"            and {len(result.left_out) - _MOST_NAMED} more, see training.json")
    begun = "ImageNet's weights" if result.start == "imagenet" else "random weights"
    if result.start == "scratch" and parameters.start == "auto":
        begun += " (ImageNet's are not on this machine)"
    print(f"Model       {parameters.architecture} from {begun}, preset {arguments.preset}")
    print(f"Epochs      {len(result.epochs)}, the best {result.best_epoch}; {result.seconds:.0f} s")

    print_figures(plain(result))
    print(f"\nWritten to {shown(str(result.model))}")


def print_figures(record: Mapping[str, Any]) -> None:
    """Print what a record of a training says about unseen images, as tables.

    Parameters
    ----------
    record : mapping
        From ``training.json``, or of a checkpoint.
    """
    from napari_cam_sam.models.training.figures import warning_of
    from napari_cam_sam.models.training.record import figures_in

    try:
        figures = figures_in(record)
    except CamSamError as error:
        print(f"\nThe figures of its training are not shown. {error}")
        return
    if figures is None:
        return
    what = "reported part" if figures.part == "test" else "validation part, which chose the epoch"
    print(f"\n{figures.n} images of the {what}")
    print_table([vars(row) for row in figures.classes])
    print(
        f"accuracy {cell(figures.accuracy)}, balanced {cell(figures.balanced_accuracy)}; "
        f"means of the classes: F1 {cell(figures.f1)}, AUROC {cell(figures.auroc)}"
    )
    names = [row.name for row in figures.classes]
    print("\nLabels in rows, predictions in columns")
    print_table(
        [
            {"": name, **dict(zip(names, counts, strict=True))}
            for name, counts in zip(names, figures.confusion, strict=True)
        ]
    )
    print(f"\nCalibration: expected error {cell(figures.ece)}")
    print_table(
        [
            {
                "probability": f"{row.low:.1f} to {row.high:.1f}",
                "n": row.n,
                "mean": row.confidence,
                "right": row.accuracy,
            }
            for row in figures.reliability
        ]
    )
    warning = warning_of(figures)
    if warning:
        print(f"\nWarning: {warning}")
