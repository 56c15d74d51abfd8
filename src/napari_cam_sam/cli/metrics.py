"""Scores of masks and heatmaps that are there: ``napari-cam-sam metrics``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_cam_sam as ncs
from napari_cam_sam.cli.heatmap_files import read_heatmap, unit_range
from napari_cam_sam.cli.printing import print_json, print_notes, print_table
from napari_cam_sam.cli.report import distance_rule
from napari_cam_sam.cli.shared import SHARED, add_shared
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.truth import check_truth_label, keep_label
from napari_cam_sam.images.dicom.drawn import is_drawn
from napari_cam_sam.images.reading import check_same_grid

if TYPE_CHECKING:
    from napari_cam_sam.metrics.scoring import Scores

__all__ = ["add_metrics_command"]


def add_metrics_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    metrics = commands.add_parser(
        "metrics",
        help="score a mask, and a heatmap, against a truth",
        description="Score a mask, and a heatmap, against a ground truth.",
    )
    metrics.add_argument(
        "--prediction", type=Path, required=True, metavar="FILE", help="labels to score"
    )
    metrics.add_argument(
        "--truth", type=Path, required=True, metavar="FILE", help="ground truth labels"
    )
    metrics.add_argument(
        "--heatmap", type=Path, metavar="FILE", help="heatmap to score, with values in 0 to 1"
    )
    metrics.add_argument(
        "--truth-label", type=int, metavar="N", help="score this label alone (default: all as one)"
    )
    add_shared(metrics, "truth-segment")
    add_shared(
        metrics, "segment", help=SHARED["segment"]["help"].replace("labels", "a prediction", 1)
    )
    metrics.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="image that DICOM segmentations and contours lie on (default: the grid of the other "
        "file)",
    )
    metrics.add_argument(
        "--spacing",
        type=float,
        nargs="+",
        metavar="MM",
        help="mm along each array axis: slices, rows, columns; k, j, i of a NIfTI file (default: "
        "the truth's)",
    )
    metrics.add_argument("--tolerance", type=float, metavar="MM", help="of NSD (default 2)")
    metrics.add_argument(
        "--each",
        choices=["plane", "label", "object"],
        help="also score each of these (a plane is a slice)",
    )
    add_shared(metrics, "axis", help=f"for --each plane: {SHARED['axis']['help']}")
    metrics.set_command(_metrics)


def _both(arguments: argparse.Namespace) -> tuple[ncs.Image, ncs.Image]:
    """Read truth and prediction: what was drawn on slices gets their grid, or the other's."""
    like = None if arguments.image is None else ncs.read_image(arguments.image)
    segments = arguments.truth_segment
    if like is None and is_drawn(arguments.truth):
        prediction = ncs.read_labels(arguments.prediction, segments=arguments.segment)
        return ncs.read_labels(arguments.truth, like=prediction, segments=segments), prediction
    truth = ncs.read_labels(arguments.truth, like=like, segments=segments)
    return truth, ncs.read_labels(
        arguments.prediction, like=like or truth, segments=arguments.segment
    )


def _metrics(arguments: argparse.Namespace) -> None:

    from napari_cam_sam.evaluation.image_scores import score_image
    from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE

    truth, prediction = _both(arguments)
    check_same_grid(prediction, truth)
    print_notes(prediction, truth)
    check_truth_label(truth, arguments.truth_label)
    guess, answer = (
        keep_label(np.asarray(one.data), arguments.truth_label) for one in (prediction, truth)
    )
    spacing = tuple(arguments.spacing) if arguments.spacing else truth.geometry.spacing
    unit = "mm" if arguments.spacing else truth.geometry.unit
    tolerance = DEFAULT_TOLERANCE if arguments.tolerance is None else arguments.tolerance
    heat = None
    if arguments.heatmap:
        heatmap = read_heatmap(arguments.heatmap)
        check_same_grid(heatmap, truth)
        heat = unit_range(np.asarray(heatmap.data), heatmap.name)
    scores = score_image(guess, answer, spacing, heat, tolerance=tolerance)
    each = _each(arguments, guess, answer, spacing, tolerance)
    if arguments.json:
        more = {} if arguments.each is None else {f"{arguments.each}s": each}
        settings = {"spacing": spacing, "unit": unit, "tolerance": tolerance}
        both = (prediction, truth)
        notes = {"notes": [f"{one.name}: {note}" for one in both for note in one.notes]}
        print_json(scores.values | {"flags": list(scores.flags)} | settings | notes | more)
        return
    print_table([{"metric": name, "value": value} for name, value in scores.values.items()])
    if each:
        print()
        print_table([{**row, "flags": " ".join(row["flags"])} for row in each])
    print(distance_rule(spacing, unit, tolerance))
    if scores.flags:
        print("Note: " + ", ".join(scores.flags))


def _each(
    arguments: argparse.Namespace, guess: Any, answer: Any, spacing: Any, tolerance: float
) -> list[dict[str, Any]]:
    """Score every plane, label or object by itself, a row each."""
    from napari_cam_sam.evaluation.image_scores import score_labels, score_objects, score_planes

    def row(scores: Scores, **names: Any) -> dict[str, Any]:
        return {**names, **scores.values, "flags": list(scores.flags)}

    if arguments.each == "plane":
        if answer.ndim != 3:
            raise CamSamError("Scores of each slice need a volume; this is a single slice.")
        planes = score_planes(guess, answer, spacing, arguments.axis, tolerance=tolerance)
        return [row(found, plane=index) for index, found in planes.items()]
    if arguments.each == "label":
        labels = score_labels(guess, answer, spacing, tolerance=tolerance)
        return [row(found, label=value) for value, found in labels.items()]
    if arguments.each == "object":
        pairs = score_objects(guess, answer, spacing, tolerance=tolerance)
        return [row(p.scores, truth=p.truth_id, prediction=p.prediction_id) for p in pairs]
    return []
