"""What the commands that compute heatmaps have in common: their options, and what these say."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from napari_cam_sam.cli.shared import AXIS_HELP, DEVICE_HELP, add_fields, add_image, changed

if TYPE_CHECKING:
    from napari_cam_sam.cam.heatmaps import CamParameters

__all__ = ["add_heatmap", "cam_of"]

_METHODS_HELP = (
    "method of the heatmap: layer-cam, grad-cam, grad-cam++, hires-cam, score-cam, lrp, occlusion, "
    "…; an unknown one lists all (%(default)s)"
)
_TARGET_HELP = (
    "class by name or index, or several as one: benign+malignant; by default the predicted one"
)


def add_heatmap(parser: argparse.ArgumentParser) -> None:
    """Add the image, its planes' axis, and what is computed of it."""
    from napari_cam_sam.cam.parameters import OcclusionParameters

    add_image(parser)
    parser.add_argument("--axis", type=int, default=0, help=AXIS_HELP)
    parser.add_argument("--target", help=_TARGET_HELP)
    parser.add_argument("--cam", default="layer-cam", help=_METHODS_HELP)
    parser.add_argument("--layer", action="append", help="target layer; given twice: their mean")
    parser.add_argument(
        "--odds", action="store_true", help="explain the target against all other classes"
    )
    parser.add_argument(
        "--mirrored", action="store_true", help="average heatmaps with those of mirrored planes"
    )
    parser.add_argument(
        "--batch-size", type=int, default=16, help="planes in one pass (%(default)s)"
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    add_fields(parser, "heatmap by occlusion", OcclusionParameters, "occlusion-")


def cam_of(arguments: argparse.Namespace, **more: Any) -> CamParameters:
    """Give what the options of `add_heatmap` say, with further fields."""
    from napari_cam_sam.cam.heatmaps import CamParameters
    from napari_cam_sam.cam.parameters import OcclusionParameters

    return CamParameters(
        method=arguments.cam,
        target=arguments.target,
        layers=tuple(arguments.layer or ()),
        batch_size=arguments.batch_size,
        occlusion=changed(OcclusionParameters(), arguments, "occlusion-"),
        odds=arguments.odds,
        mirrored=arguments.mirrored,
        **more,
    )
