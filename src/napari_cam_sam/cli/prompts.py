"""Points and boxes from a heatmap or a mask: ``napari-cam-sam prompts``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import napari_cam_sam as ncs
from napari_cam_sam.cli.heatmap_files import read_heatmap, unit_range
from napari_cam_sam.cli.printing import print_json, print_notes, print_table
from napari_cam_sam.cli.report import reasons
from napari_cam_sam.cli.shared import RULES_HELP, add_fields, add_shared, changed
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.planes import parse_planes
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.prompts.parameters import PromptParameters, strategy_parameters

__all__ = ["add_prompts_command"]


def add_prompts_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    prompts = commands.add_parser(
        "prompts",
        help="make points and boxes from a heatmap or a mask",
        description="Make points and boxes from a heatmap or a mask.",
    )
    source = prompts.add_mutually_exclusive_group(required=True)
    source.add_argument("--heatmap", type=Path, metavar="FILE", help="values in 0 to 1")
    source.add_argument("--mask", type=Path, metavar="FILE", help="labels; each is an object")
    prompts.add_argument(
        "--strategy", metavar="NAME", help=RULES_HELP + " (ours; for a mask truth-box-point)"
    )
    add_shared(prompts, "axis", "planes", "segment")
    prompts.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write")
    add_fields(prompts, "changes of the strategy", PromptParameters, default="the strategy's")
    prompts.set_command(_prompts)


def _prompts(arguments: argparse.Namespace) -> None:

    from napari_cam_sam.prompts.serialise import to_data, to_json

    from_mask = arguments.mask is not None
    name = arguments.strategy or ("truth-box-point" if from_mask else "ours")
    if name.startswith("truth-") and not from_mask:
        raise CamSamError(f"The strategy {name!r} makes prompts from a mask: give --mask.")
    strategy = changed(strategy_parameters(name), arguments)
    if from_mask:
        image = ncs.read_labels(arguments.mask, segments=arguments.segment)
    else:
        image = read_heatmap(arguments.heatmap)
    print_notes(image)
    found = []
    for index in parse_planes(arguments.planes, image.n_planes(arguments.axis)):
        plane = np.asarray(image.plane(arguments.axis, index))
        if from_mask:
            made = ncs.prompts_from_mask(plane, strategy, axis=arguments.axis, index=index)
        else:
            heat = unit_range(plane, image.name)
            made = ncs.prompts_from_heatmap(heat, strategy, axis=arguments.axis, index=index)
        found.append(made)
    if arguments.output:
        text = to_json(found)
        write_atomically(arguments.output, lambda path: path.write_text(text, encoding="utf-8"))
    if arguments.json:
        print_json(to_data(found) | {"output": arguments.output})
        return
    rows = []
    for plane_prompts in found:
        for prompt in plane_prompts.objects:
            box = prompt.box
            points = [
                f"{'+' if p.positive else '−'}({p.row:g}, {p.column:g})" for p in prompt.points
            ]
            rows.append(
                {
                    "slice": plane_prompts.index,
                    "object": prompt.object_id,
                    "rows": f"{box.row_min:g} to {box.row_max:g}" if box else None,
                    "columns": f"{box.column_min:g} to {box.column_max:g}" if box else None,
                    "points (row, column)": " ".join(points) or None,
                }
            )
    print_table(rows)
    for reason, count in reasons(found).items():
        slices = "1 slice" if count == 1 else f"{count} slices"
        print(f"{slices} without prompts, {reason}")
