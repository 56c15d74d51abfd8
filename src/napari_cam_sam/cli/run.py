"""The whole way on one image: ``napari-cam-sam run`` and ``napari-cam-sam demo``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from napari_cam_sam.cli.heatmap import add_heatmap, cam_of
from napari_cam_sam.cli.report import report
from napari_cam_sam.cli.shared import (
    DEVICE_HELP,
    add_card,
    add_fields,
    add_frame,
    changed,
    given,
    load_model_of,
    print_json,
    print_note,
    print_notes,
    progress,
    prompt_parameters_class,
    read_given,
    rules_help,
    window_help,
)
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.records.folders import folder_lock
from napari_cam_sam.text import shown

if TYPE_CHECKING:
    from napari_cam_sam.cam.pixel_sets import PixelSet
    from napari_cam_sam.images.image import Image
    from napari_cam_sam.pipeline import RunParameters, VolumeParameters
    from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
    from napari_cam_sam.sam.segmenter import Segmenter

__all__ = ["add_run_commands"]


def add_run_commands(commands: Any) -> tuple[argparse.ArgumentParser, ...]:
    """Add the commands to the subparsers of the command line, and give their parsers."""
    from napari_cam_sam.images.preprocessing import PreprocessingParameters
    from napari_cam_sam.sam.cache.embeddings import CacheParameters

    demo = commands.add_parser("demo", help="the main job on a shipped sample and models")
    demo.add_argument("--sample", default="ct", help="ct, ultrasound or shapes (%(default)s)")
    demo.add_argument("--sam", default="compact-sam", help="segmenter (%(default)s)")
    demo.add_argument("--device", default="auto", help=DEVICE_HELP)
    demo.add_argument(
        "--headless", action="store_true", help="open no window, also where there is a display"
    )
    demo.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder (%(default)s)"
    )
    demo.set_defaults(command=_demo)

    run = commands.add_parser("run", help="heatmap, prompts, labels and scores of one image")
    add_heatmap(run)
    run.add_argument(
        "--classifier",
        help="classifier or segmentation network: name, checkpoint, folder of a MONAI bundle, or "
        "package.module:function",
    )
    _add_pixels(run)
    run.add_argument("--min-probability", type=float, default=0.0, help="below it: no evidence")
    run.add_argument(
        "--prompts", "--strategy", default="ours", help=rules_help() + " (%(default)s)"
    )
    add_fields(run, "prompt rule", prompt_parameters_class(), default="as --prompts says")
    run.add_argument("--sam", help="segmenter or checkpoint; by default the best one installed")
    add_frame(run)
    run.add_argument("--mask-choice", default="best", help="single, first, best or oracle")
    run.add_argument(
        "--mask-from",
        choices=["prompts", "heatmap", "automatic"],
        default="prompts",
        help="heatmap: from its own high and low regions, with seeded; automatic: the heatmap "
        "chooses among all masks that a SAM finds (%(default)s)",
    )
    run.add_argument("--planes", help="A:B (B not included) or one index; by default all")
    run.add_argument(
        "--window", help=window_help() + "; of a network whose card has a window, that one"
    )
    run.add_argument("--truth", type=Path, help="labels to compare with")
    run.add_argument("--truth-label", type=int, help="the label of the truth that is meant")
    run.add_argument("--seed", type=int, default=0, help="of whatever is random (%(default)s)")
    run.add_argument("--output", type=Path, help="folder; by default IMAGE's name + -cam-sam")
    add_fields(
        run, "preprocessing of the segmenter's planes", PreprocessingParameters, "preprocess-"
    )
    _add_volume(run)
    _add_automatic(run)
    run.add_argument(
        "--no-cache", action="store_true", help="neither look for embeddings on disk nor keep any"
    )
    add_fields(run, "embeddings on disk and in memory", CacheParameters, "cache-")
    add_card(run)
    run.set_defaults(command=_run)
    return demo, run


def _add_pixels(run: argparse.ArgumentParser) -> None:
    from napari_cam_sam.cam.pixel_sets import PixelKind, PixelSet

    title = "pixels that a segmentation network's heatmap explains"
    group = run.add_argument_group(
        title, "with --cam grad-cam that is Seg-Grad-CAM, with hires-cam Seg-HiRes-Grad-CAM"
    )
    group.add_argument(
        "--pixels",
        dest="pixels_kind",
        choices=get_args(PixelKind),
        help="the whole image; where the class is predicted (the default); where its probability "
        "is above the threshold; the truth; the region of --region; one pixel",
    )
    group.add_argument(
        "--pixel",
        dest="pixels_pixel",
        type=int,
        nargs="+",
        metavar="N",
        help="row and column, of a 3D network plane, row and column",
    )
    group.add_argument("--region", type=Path, help="labels file; what is not 0 is the region")
    add_fields(run, "more on these pixels", PixelSet, "pixels-", without=("kind", "pixel"))


def _add_volume(run: argparse.ArgumentParser) -> None:
    from napari_cam_sam.sam.volume.parameters import PropagationParameters

    title = "objects of a volume"
    volume = run.add_argument_group(title)
    volume.add_argument(
        "--propagate",
        action="store_true",
        help="from the prompts of the planes that --planes names through the volume; of heatmaps "
        "only those of the planes on which the target is most probable",
    )
    volume.add_argument(
        "--min-trust", type=float, help="least probability of such a plane (default 0.5)"
    )
    volume.add_argument(
        "--smooth", type=float, metavar="MM", help="of the objects along the axis (default 0)"
    )
    volume.add_argument(
        "--consensus",
        action="store_true",
        default=None,
        help="propagate along the two other axes as well, and take what two of three say",
    )
    add_fields(run, "propagation", PropagationParameters, "propagate-", without=("mask_choice",))


def _add_automatic(run: argparse.ArgumentParser) -> None:
    from napari_cam_sam.sam.everything.ranking import RankingParameters

    # The parameters of everything mode live beside PyTorch, which --help should not wait for.
    group = run.add_argument_group(
        "everything mode", "defaults suit the segmenter: see docs/segmenters.md"
    )
    group.add_argument("--automatic-points-per-side", type=int, help="of the grid of points")
    group.add_argument("--automatic-predicted-iou", type=float, help="least of a mask, 0 to 1")
    group.add_argument("--automatic-stability", type=float, help="least of a mask, 0 to 1")
    add_fields(run, "how the heatmap chooses of everything", RankingParameters, "ranking-")


def _seed(seed: int) -> None:
    import numpy as np
    import torch

    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from numpy's global state
    torch.manual_seed(seed)


def _run_parameters(arguments: argparse.Namespace, image: Image) -> RunParameters:
    from napari_cam_sam.cam.parameters import OcclusionParameters
    from napari_cam_sam.images.planes import parse_planes
    from napari_cam_sam.images.preprocessing import PreprocessingParameters
    from napari_cam_sam.images.windows import parse_window
    from napari_cam_sam.pipeline import RunParameters
    from napari_cam_sam.prompts.parameters import strategy_parameters
    from napari_cam_sam.sam.everything.ranking import RankingParameters
    from napari_cam_sam.sam.mask_choice import needs_multimask

    needs_multimask(arguments.mask_choice)
    if arguments.cam != "occlusion":
        for name in given(OcclusionParameters, arguments, "occlusion-"):
            raise CamSamError(f"--occlusion-{name} needs --cam occlusion: give that as well.")
    return RunParameters(
        axis=arguments.axis,
        planes=parse_planes(arguments.planes, image.n_planes(arguments.axis)),
        window=parse_window(arguments.window or "auto"),
        preprocessing=changed(PreprocessingParameters(), arguments, "preprocess-"),
        cam=cam_of(
            arguments,
            min_probability=arguments.min_probability,
            pixel_set=_pixel_set(arguments),
        ),
        strategy=arguments.prompts,
        prompts=changed(strategy_parameters(arguments.prompts), arguments),
        mask_choice=arguments.mask_choice,
        mask_from=arguments.mask_from,
        ranking=changed(RankingParameters(), arguments, "ranking-"),
        truth_label=arguments.truth_label,
        volume=_volume_parameters(arguments),
    )


def _pixel_set(arguments: argparse.Namespace) -> PixelSet | None:
    """Make the pixel set of what was given; a pixel or a region alone says its kind."""
    from napari_cam_sam.cam.pixel_sets import PixelSet

    values = given(PixelSet, arguments, "pixels-")
    if arguments.region is not None:
        values.setdefault("kind", "region")
        if values["kind"] != "region":
            raise CamSamError("--region needs --pixels region: give that as well.")
    if "pixel" in values:
        values.setdefault("kind", "pixel")
    return PixelSet(**values) if values else None


def _volume_parameters(arguments: argparse.Namespace) -> VolumeParameters | None:
    from napari_cam_sam.pipeline import VolumeParameters
    from napari_cam_sam.sam.volume.parameters import PropagationParameters

    own = given(VolumeParameters, arguments)
    rule = given(PropagationParameters, arguments, "propagate-")
    if not arguments.propagate:
        for name in (*own, *(f"propagate_{field}" for field in rule)):
            raise CamSamError(f"--{name.replace('_', '-')} needs --propagate: give that as well.")
        return None
    if arguments.mask_choice != "oracle":  # which the run refuses, with a reason
        rule["mask_choice"] = arguments.mask_choice
    return VolumeParameters(propagation=PropagationParameters(**rule), **own)


def _with_automatic(
    parameters: RunParameters, arguments: argparse.Namespace, segmenter: Segmenter
) -> RunParameters:
    """Add the parameters of everything mode, so that the record names those that hold."""
    from napari_cam_sam.pipeline.parameters import automatic_defaults
    from napari_cam_sam.sam.everything.automatic import AutomaticParameters
    from napari_cam_sam.sam.everything.ranking import RankingParameters

    if parameters.mask_from == "automatic":
        settings = changed(automatic_defaults(segmenter.name), arguments, "automatic-")
        return replace(parameters, automatic=settings)
    for prefix, group in (("automatic", AutomaticParameters), ("ranking", RankingParameters)):
        for name in given(group, arguments, f"{prefix}-"):
            raise CamSamError(
                f"--{prefix}-{name.replace('_', '-')} needs --mask-from automatic: give that as "
                "well."
            )
    return parameters


def _embeddings(arguments: argparse.Namespace) -> EmbeddingCache:
    from napari_cam_sam.sam.cache.embeddings import CacheParameters, open_cache

    settings = changed(CacheParameters(), arguments, "cache-")
    return open_cache(replace(settings, disk_mb=0) if arguments.no_cache else settings)


def _run(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.images.formats import stem_of
    from napari_cam_sam.images.reading import check_same_grid, read_labels
    from napari_cam_sam.models.names import classifier_names, shipped_networks
    from napari_cam_sam.outputs import check_output
    from napari_cam_sam.pipeline.planes import with_model_window
    from napari_cam_sam.sam.loading import load_segmenter
    from napari_cam_sam.sam.registry import default_segmenter

    if not 0 <= arguments.seed < 2**32:
        raise CamSamError(f"The seed must be 0 to {2**32 - 1}, not {arguments.seed}.")
    image = read_given(arguments)
    truth = _read_truth(arguments)
    if truth is not None:
        check_same_grid(image, truth)
    region = None if arguments.region is None else read_labels(arguments.region)
    print_notes(truth, region)
    output = arguments.output or arguments.image.with_name(f"{stem_of(arguments.image)}-cam-sam")
    inputs = [p for p in (arguments.image, arguments.truth, arguments.region) if p is not None]
    check_output(output, image, inputs)
    parameters = _run_parameters(arguments, image)
    embeddings = _embeddings(arguments)
    if arguments.classifier is None and not parameters.from_truth:
        raise CamSamError(
            f"The prompts {parameters.strategy!r} come from a heatmap: give --classifier, one of "
            f"{', '.join([*shipped_networks(), *classifier_names()])} or a checkpoint; or take "
            "--prompts truth-box."
        )
    classifier = None
    if arguments.classifier is not None:
        classifier = load_model_of(arguments, arguments.classifier, arguments.device)
        if arguments.window is None:
            parameters = with_model_window(parameters, classifier)
    name = arguments.sam or default_segmenter()
    segmenter = load_segmenter(name, arguments.device, frame=arguments.sam_frame)
    parameters = _with_automatic(parameters, arguments, segmenter)
    # Two runs into one folder would take each other's place.
    with folder_lock(output):
        _run_and_report(
            arguments, image, truth, classifier, segmenter, parameters, output, embeddings,
            region=region,
        )  # fmt: skip


def _read_truth(arguments: argparse.Namespace) -> Image | None:
    """Read the truth; of a series the frame of the image."""
    from napari_cam_sam.images.reading import read_labels

    if arguments.truth is None:
        return None
    if arguments.frame is not None:
        try:
            return read_labels(arguments.truth, arguments.frame)
        except CamSamError:
            pass  # a truth of one frame, which is read below, or fails there for its own reason
    return read_labels(arguments.truth)


def _run_and_report(
    arguments: argparse.Namespace,
    image: Image,
    truth: Image | None,
    classifier: Any,
    segmenter: Any,
    parameters: RunParameters,
    output: Path,
    embeddings: EmbeddingCache,
    seed: int = 0,
    extra: Mapping[str, Any] | None = None,
    region: Image | None = None,
) -> None:
    from napari_cam_sam.outputs import run_record, scores_data, volume_data, write_run
    from napari_cam_sam.pipeline import run_image
    from napari_cam_sam.prompts.serialise import to_data

    seed = getattr(arguments, "seed", seed)
    _seed(seed)
    update, bar = progress(arguments, image.name)
    with bar, warnings.catch_warnings():
        # The store's warning is said below, in one line.
        warnings.filterwarnings("ignore", "Embeddings are kept in memory alone")
        result = run_image(
            image, segmenter, classifier, parameters, truth, update, embeddings, region
        )
    if embeddings.store is not None and embeddings.store.trouble is not None:
        print_note(embeddings.store.trouble)
    record = run_record(result, segmenter, classifier, truth, seed, arguments.argv)
    record |= dict(extra or {})
    files = write_run(output, result, record, truth)
    if arguments.json:
        print_json(
            {
                "scores": scores_data(result),
                **volume_data(result),
                "prompts": to_data(result.prompts),
                "device": segmenter.device,
                "segmenter": segmenter.name,
                "seconds": result.seconds,
                "output": str(output),
                "files": files,
                **(extra or {}),
            }
        )
        return
    report(result, segmenter, classifier)
    print(f"\nWritten to {shown(output)}: {', '.join(files)}")


def _demo(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.cam.heatmaps import CamParameters
    from napari_cam_sam.demo.samples import make_sample
    from napari_cam_sam.images.windows import parse_window
    from napari_cam_sam.images.writing import heatmap_suffix, write_image
    from napari_cam_sam.models.classifiers import load_classifier
    from napari_cam_sam.outputs import check_output
    from napari_cam_sam.pipeline import RunParameters, run_image
    from napari_cam_sam.prompts.parameters import strategy_parameters
    from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
    from napari_cam_sam.sam.loading import load_segmenter

    sample = make_sample(arguments.sample)
    check_output(arguments.output, sample.image)
    classifier = load_classifier(sample.classifier, device=arguments.device)
    segmenter = load_segmenter(arguments.sam, arguments.device)
    parameters = RunParameters(
        window=parse_window(sample.window),
        cam=CamParameters(target=sample.target, min_probability=0.5),
    )
    # Both runs see the same planes.
    embeddings = EmbeddingCache()
    upper = run_image(
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
        _run_and_report(
            arguments,
            sample.image,
            sample.truth,
            classifier,
            segmenter,
            parameters,
            arguments.output,
            embeddings,
            extra={"truth_prompts": bound, "sample": files},
        )
        # So that `run` and the viewer have a file of known truth to be tried on.
        write_image(arguments.output / files["image"], sample.image)
        write_image(arguments.output / files["truth"], sample.truth)
    if not arguments.json:
        print(f"The sample itself: {files['image']}, {files['truth']}")
        print(f"With truth prompts the mean Dice of the planes would be {bound['dice']:.4f}.")
    if not (arguments.headless or arguments.json) and _has_display():
        print("Opening the sample in napari; press “Run all four steps” there.", flush=True)
        # -P: no module of the working folder comes in.
        demo = "napari_cam_sam.plugin.workflow.demo_window"
        window = [sys.executable, "-P", "-m", demo, arguments.sample]
        if subprocess.run(window, check=False).returncode != 0:
            raise CamSamError(
                "napari could not be opened; install it with a Qt backend: "
                'pip install "napari-cam-sam[all]".'
            )


def _has_display() -> bool:
    """Tell whether a window could be shown."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
