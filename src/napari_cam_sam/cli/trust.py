"""How far a heatmap can be trusted: ``napari-cam-sam trust``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import napari_cam_sam as ncs
from napari_cam_sam.cam.parameters import OcclusionParameters, TrustParameters, count_steps
from napari_cam_sam.cli.printing import print_json, print_table, progress
from napari_cam_sam.cli.shared import (
    SHARED,
    add_card,
    add_fields,
    add_image,
    add_shared,
    changed,
    load_model_of,
    read_given,
)
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.planes import parse_planes
from napari_cam_sam.images.windows import parse_window

if TYPE_CHECKING:
    from napari_cam_sam.cam.trust import HeatmapTrust
    from napari_cam_sam.models.classifiers import Classifier

__all__ = ["add_trust_command"]


def add_trust_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    trust = commands.add_parser(
        "trust",
        help="test how far a heatmap can be trusted",
        description="Test whether a classifier's heatmap depends on its weights, agrees with other "
        "methods, marks the pixels that matter, and stays the same under shifts and noise.",
    )
    add_image(trust)
    add_shared(trust, "axis")
    where = "(default: where --target is most probable)"
    add_shared(trust, "planes", help=SHARED["planes"]["help"].replace("(default: all)", where))
    add_shared(trust, "window")
    heatmap = trust.add_argument_group("heatmap")
    heatmap.add_argument(
        "--classifier", required=True, metavar="MODEL",
        help="name, checkpoint or package.module:function",
    )  # fmt: skip
    add_shared(heatmap, "target", "cam", "layer")
    heatmap.add_argument(
        "--odds", action="store_true", help="explain the target against all other classes"
    )
    heatmap.add_argument(
        "--mirrored", action="store_true", help="average with the heatmaps of mirrored slices"
    )
    heatmap.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="slices in one pass (%(default)s)"
    )
    add_shared(heatmap, "device")
    add_fields(trust, "heatmap by occlusion", OcclusionParameters, "occlusion-")
    defaults = TrustParameters()
    add_fields(trust, "tests", TrustParameters, without=("methods", "removed"))
    trust.add_argument(
        "--methods",
        type=lambda text: tuple(text.split(",")),
        metavar="A,B",
        help=f"methods to compare with (default {','.join(defaults.methods)})",
    )
    trust.add_argument(
        "--removed",
        type=_percentages,
        metavar="N,N",
        help="percentages of the pixels that ROAD removes (default "
        f"{','.join(str(one) for one in defaults.removed)})",
    )
    add_card(trust)
    trust.set_command(_trust)


def _percentages(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers, comma-separated, not {text!r}"
        ) from None


def _trust(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.models.classifiers import Classifier

    parameters = changed(TrustParameters(), arguments)
    image = read_given(arguments)
    occlusion = changed(OcclusionParameters(), arguments, "occlusion-")
    cam = replace(changed(ncs.CamParameters(), arguments), occlusion=occlusion)
    window = ncs.resolve_window(image, parse_window(arguments.window))
    classifier = load_model_of(arguments, arguments.classifier, arguments.device)
    if not isinstance(classifier, Classifier):
        raise CamSamError(
            f"{classifier.name} is a segmentation network; trust is tested of a classifier's "
            "heatmaps."
        )

    def plane(index: int) -> NDArray[np.uint8]:
        return ncs.apply_window(image.plane(arguments.axis, index), window)

    indices = _planes(arguments, image, classifier, cam, plane)
    update, bar = progress(arguments, image.name, "step")
    steps = count_steps(cam.method, parameters)
    found: dict[int, HeatmapTrust] = {}
    with bar:
        for done, index in enumerate(indices):

            def step(at: int, _: int, done: int = done) -> None:
                update(done * steps + at, len(indices) * steps)

            found[index] = ncs.assess_trust(classifier, plane(index), cam, parameters, step)
    if arguments.json:
        print_json(
            {
                "image": image.name,
                "classifier": classifier.name,
                "classifier_sha256": classifier.sha256,
                "method": cam.method,
                "odds": cam.odds,
                "mirrored": cam.mirrored,
                "axis": arguments.axis,
                "parameters": vars(parameters),
                "planes": [_as_data(index, one) for index, one in found.items()],
            }
        )
        return
    for index, one in found.items():
        _report(image, index, one, len(indices) == 1 and arguments.planes is None)


def _planes(
    arguments: argparse.Namespace,
    image: ncs.Image,
    classifier: Classifier,
    cam: ncs.CamParameters,
    plane: Any,
) -> range:
    """Give the planes that are asked for, or the one on which the target is most probable."""
    from napari_cam_sam.cam.heatmaps import check_request

    indices = parse_planes(arguments.planes, image.n_planes(arguments.axis))
    if arguments.planes is not None or len(indices) == 1:
        return indices
    if cam.target is None:
        raise CamSamError(
            f"{image.name} has {len(indices)} slices: name some by --planes, or a class by "
            "--target for the slice on which it is most probable."
        )
    _, target, _ = check_request(classifier, cam)
    members = list(target) if isinstance(target, tuple) else [target]
    likely = [
        float(row[members].sum())
        for i in range(0, len(indices), cam.batch_size)
        for row in classifier.probabilities(
            [plane(index) for index in indices[i : i + cam.batch_size]], cam.batch_size
        )
    ]
    best = indices[likely.index(max(likely))]
    return range(best, best + 1)


def _as_data(index: int, trust: HeatmapTrust) -> dict[str, Any]:
    from napari_cam_sam.cam.trust_words import CAVEAT, findings

    similar = trust.agreement
    return {
        "plane": index,
        "target": trust.target,
        "probability": trust.probability,
        "reason": trust.reason,
        "scores": trust.scores(),
        "randomised": [vars(one) for one in trust.randomised],
        "agreement": {name: vars(one) for name, one in similar.items()},
        "road": None if trust.road is None else vars(trust.road),
        "findings": [vars(one) for one in findings(trust)],
        "caveat": CAVEAT,
    }


def _report(image: ncs.Image, index: int, trust: HeatmapTrust, chosen: bool) -> None:
    from napari_cam_sam.cam.trust_words import CAVEAT, findings, table

    where = image.name if image.spatial_ndim == 2 else f"{image.name}, slice {index}"
    why = ", where it is most probable" if chosen and image.spatial_ndim == 3 else ""
    print(f"{trust.method} of {trust.target!r} ({trust.probability:.3f}) on {where}{why}")
    if trust.reason is not None:
        print(f"There is no heatmap to test. {trust.reason}\n")
        return
    print()
    print_table(
        [
            {
                "test": row.name,
                "top area": _figure(row.top_iou),
                "SSIM": _figure(row.ssim),
                "rank": _figure(row.rank),
                "ROAD": _figure(row.road),
            }
            for row in table(trust)
        ]
    )
    print()
    for one in findings(trust):
        print(f"{one.level:<5}  {one.words}")
    print(f"\n{CAVEAT}\n")


def _figure(value: float) -> str | None:
    return None if isnan(value) else f"{value:.3f}"
