"""The main job on a shipped sample: ``napari-cam-sam demo``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shlex import quote
from shutil import which
from typing import Any

import napari_cam_sam as ncs
from napari_cam_sam.cli.run import run_and_report
from napari_cam_sam.cli.shared import add_shared
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.result_words import result_words
from napari_cam_sam.images.windows import parse_window
from napari_cam_sam.images.writing import heatmap_suffix, write_image
from napari_cam_sam.prompts.parameters import strategy_parameters
from napari_cam_sam.records.folders import folder_lock
from napari_cam_sam.text import shown

__all__ = ["add_demo_command"]


def add_demo_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    demo = commands.add_parser(
        "demo",
        help="run a sample with models that come with the package",
        description="Run the whole way on a sample, write the results, and open it in napari.",
    )
    demo.add_argument("--sample", default="ct", help="ct, ultrasound or shapes (%(default)s)")
    demo.add_argument(
        "--segmenter", "--sam", default="compact-sam", metavar="MODEL", help="(%(default)s)"
    )
    add_shared(demo, "device")
    demo.add_argument("--headless", action="store_true", help="do not open napari")
    demo.add_argument(
        "--output", type=Path, default=Path("demo-output"), metavar="DIR",
        help="folder for results (%(default)s)",
    )  # fmt: skip
    demo.set_command(_demo)


def _demo(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.demo.samples import make_sample
    from napari_cam_sam.pipeline.outputs import check_output

    sample = make_sample(arguments.sample)
    check_output(arguments.output, sample.image)
    classifier = ncs.load_classifier(sample.classifier, device=arguments.device)
    segmenter = ncs.load_segmenter(arguments.segmenter, arguments.device)
    parameters = ncs.RunParameters(
        window=parse_window(sample.window),
        cam=ncs.CamParameters(target=sample.target, min_probability=0.5),
    )
    # Both runs see the same planes.
    embeddings = ncs.EmbeddingCache()
    upper = ncs.run_image(
        sample.image,
        segmenter,
        None,
        # With the margin of the rule that it is to be the bound of.
        replace(
            parameters,
            strategy="truth-box-point",
            prompts=replace(
                strategy_parameters("truth-box-point"), margin=parameters.prompt_parameters.margin
            ),
        ),
        sample.truth,
        embeddings=embeddings,
    )
    bound = {name: upper.summary[name].mean for name in ("iou", "dice")}
    suffix = heatmap_suffix(sample.image)
    files = {
        "image": f"sample-{arguments.sample}{suffix}",
        "truth": f"sample-{arguments.sample}-truth{suffix}",
    }
    with folder_lock(arguments.output):
        result = run_and_report(
            arguments, arguments.output, sample.image, segmenter, classifier, parameters,
            sample.truth, embeddings, extra={"truth_prompts": bound, "sample": files},
        )  # fmt: skip
        # So that `run` and the viewer have a file of known truth to be tried on.
        write_image(arguments.output / files["image"], sample.image)
        write_image(arguments.output / files["truth"], sample.truth)
    if arguments.json:
        return
    said = result_words(
        {index: scores for (index, _), scores in result.scores.items()},
        flat=sample.image.spatial_ndim == 2,
    )
    names = files["image"], files["truth"], "overview.png"
    image, truth, overview = (quote(shown(arguments.output / name)) for name in names)
    print(
        f"The sample itself: {files['image']}, {files['truth']}\n\n"
        f"Result: {said} With prompts from the ground truth Dice would be {bound['dice']:.3f}.\n"
        f"Next: look at {overview}. The same with boxes from the ground truth, or with files of "
        f"your own:\n    {_program()} run {image} --truth {truth} --prompts truth-box "
        f"--window {sample.window}"
    )
    if arguments.headless:
        return
    if not _has_display():
        print("There is no display, so napari is not opened.")
        return
    print(
        "Opening napari, which runs the four steps again: the result is at the top of the dock on "
        "the right.",
        flush=True,
    )
    # -P: no module of the working folder comes in.
    demo = "napari_cam_sam.plugin.workflow.demo_window"
    window = [sys.executable, "-P", "-m", demo, arguments.sample]
    if subprocess.run(window, check=False).returncode != 0:
        raise CamSamError(
            "napari could not be opened; install it with a Qt backend: "
            'pip install "napari-cam-sam[all]".'
        )


def _program() -> str:
    """Return what to type for this program, which `make` starts where no path leads."""
    name, started = "napari-cam-sam", Path(sys.argv[0])
    if which(name):
        return name
    if started.name == "__main__.py":
        return f"{quote(shown(Path(sys.executable)))} -m napari_cam_sam"
    return quote(shown(started))


def _has_display() -> bool:
    """Tell whether a window could be shown."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
