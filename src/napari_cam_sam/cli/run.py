"""The whole way on one image: ``napari-cam-sam run``."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_cam_sam as ncs
from napari_cam_sam.cli.printing import print_json, print_note, print_notes, progress
from napari_cam_sam.cli.report import report
from napari_cam_sam.cli.shared import (
    CLASSIFIER_HELP,
    IMAGE_HELP,
    IMAGE_OPTIONS,
    RULES_HELP,
    WINDOW_HELP,
    add_shared,
    read_given,
)
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.formats import has_suffix, stem_of
from napari_cam_sam.images.planes import parse_planes
from napari_cam_sam.images.reading import check_same_grid
from napari_cam_sam.models.names import classifier_names, shipped_networks
from napari_cam_sam.prompts.parameters import PromptParameters
from napari_cam_sam.records.folders import folder_lock
from napari_cam_sam.sam.registry import default_segmenter
from napari_cam_sam.sam.segmenter import Segmenter
from napari_cam_sam.text import shown

if TYPE_CHECKING:
    from napari_cam_sam.pipeline.heatmaps import ExplainableModel
    from napari_cam_sam.pipeline.results import RunResult
    from napari_cam_sam.studies.config.run_settings import RunSettings

__all__ = ["add_run_command", "run_and_report"]

# What had an option once, and the key of --config that has it now.
_MOVED = {
    "odds": "odds", "mirrored": "mirrored", "batch-size": "batch_size", "region": "region",
    "pixels": "pixel_set.kind", "pixel": "pixel_set.pixel", "no-cache": "embeddings.disk_mb: 0",
    "min-trust": "volume.min_trust", "smooth": "volume.smooth", "input-size": "card.input_size",
    "channels": "card.channels", "mean": "card.mean", "std": "card.std",
    "spatial-dims": "card.spatial_dims",
}  # fmt: skip
_MOVED_GROUPS = {
    "occlusion-": "occlusion", "preprocess-": "preprocessing", "pixels-": "pixel_set",
    "propagate-": "volume.propagation", "ranking-": "ranking", "automatic-": "automatic",
    "cache-": "embeddings",
}  # fmt: skip


def add_run_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    run = commands.add_parser(
        "run",
        help="compute heatmap, prompts, masks and scores of one image",
        description="Compute the heatmaps of an image, turn them into prompts, segment, and score "
        "the masks. The options are the usual settings; --config takes all of them.",
    )
    run.moved = _moved
    run.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help=IMAGE_HELP)
    image = run.add_argument_group("image")
    add_shared(image, *IMAGE_OPTIONS, "axis", "planes", default=None)
    window = WINDOW_HELP.format("a network's own window; ")
    add_shared(image, "window", default=None, help=window)

    heatmap = run.add_argument_group("heatmap")
    heatmap.add_argument("--classifier", metavar="MODEL", help=CLASSIFIER_HELP)
    heatmap.add_argument(
        "--architecture", metavar="NAME", help="of a checkpoint that does not name it: resnet18, …"
    )
    heatmap.add_argument(
        "--class-names",
        type=lambda text: text.split(","),
        metavar="A,B",
        help="of a checkpoint that does not name its classes",
    )
    add_shared(heatmap, "output-kind", "plane-order")
    add_shared(heatmap, "target", "cam", "layer", default=None)
    heatmap.add_argument(
        "--min-probability",
        type=float,
        metavar="P",
        help="no prompts where the class is less probable than this (default 0)",
    )

    masks = run.add_argument_group("prompts and masks")
    masks.add_argument(
        "--prompts", "--strategy", dest="strategy", metavar="NAME", help=RULES_HELP + " (ours)"
    )
    add_shared(masks, "segmenter")
    masks.add_argument(
        "--mask-choice",
        metavar="RULE",
        help="which of the masks that a segmenter proposes: single, first, best, or oracle, the "
        "one nearest to the truth (best)",
    )
    masks.add_argument(
        "--mask-from",
        choices=["prompts", "heatmap", "automatic"],
        help="heatmap: seeded starts from its high and low regions; automatic: a SAM finds all "
        "masks, and the heatmap chooses (prompts)",
    )
    masks.add_argument(
        "--propagate",
        action=argparse.BooleanOptionalAction,
        help="follow the objects from the prompted slices through the volume",
    )
    masks.add_argument(
        "--consensus",
        action=argparse.BooleanOptionalAction,
        help="propagate along all three axes, and keep what two of them agree on",
    )

    scores = run.add_argument_group("scores")
    scores.add_argument("--truth", type=Path, metavar="FILE", help="ground truth labels")
    scores.add_argument(
        "--truth-label", type=int, metavar="N", help="score this label alone (default: all)"
    )
    add_shared(scores, "truth-segment")

    more = run.add_argument_group("settings and output")
    more.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML file of settings; options win over it"
    )
    more.add_argument(
        "--print-config",
        action="store_true",
        help="print all settings as YAML for --config, and do nothing else",
    )
    more.add_argument("--seed", type=int, metavar="N", help="of random numbers (default 0)")
    add_shared(more, "device", default=None)
    more.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for results (default IMAGE-cam-sam)"
    )
    run.set_command(_run)


def _moved(option: str) -> str | None:
    """Say what is given instead of an option of former days; None if it never was one."""
    if option == "--sam-frame":
        return "write --segmenter medsam:FILE or sam:FILE"
    key = _moved_key(option.removeprefix("--")) or _moved_key(option.removeprefix("--no-"))
    if key is None:
        return None
    *groups, last = key.split(".")
    inner = last if ":" in last else f"{last}: …"
    for group in reversed(groups):
        inner = f"{group}: {{{inner}}}"
    return f"write {inner} into a file for --config"


def _moved_key(name: str) -> str | None:
    """Return the key of --config that has what an option gave once, groups before a dot."""
    if name in _MOVED:
        return _MOVED[name]
    field = name.replace("-", "_")
    if field in {one.name for one in fields(PromptParameters)}:
        return f"prompts.{field}"
    for prefix, group in _MOVED_GROUPS.items():
        if name.startswith(prefix):
            return f"{group}.{field[len(prefix) :]}"
    return None


def _settings(arguments: argparse.Namespace) -> RunSettings:
    """Read the file of settings, and what the options say instead."""
    from napari_cam_sam.studies.config.run_settings import CARD_KEYS, KEYS, read_run_settings

    said = {key: value for key, value in vars(arguments).items() if value is not None}
    flags: dict[str, Any] = {key: said[key] for key in KEYS if key in said}
    # "output" is the folder of results on the command line, and the network's in a card.
    said["output"] = said.get("output_kind")
    card = {key: said[key] for key in CARD_KEYS if said.get(key) is not None}
    if card:
        flags["card"] = card
    if arguments.propagate is not None:
        flags["volume"] = {} if arguments.propagate else None
    settings = read_run_settings(arguments.config, flags)
    if arguments.consensus is None:
        return settings
    volume = settings.run.volume
    if volume is None:
        raise CamSamError("--consensus needs --propagate: give that as well.")
    run = replace(settings.run, volume=replace(volume, consensus=arguments.consensus))
    return replace(settings, run=run)


def _run(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.pipeline.heatmaps import with_model_window
    from napari_cam_sam.pipeline.outputs import check_output
    from napari_cam_sam.studies.config.run_settings import settings_text

    settings = _settings(arguments)
    if arguments.print_config:
        print(settings_text(settings), end="")
        return
    if arguments.image is None:
        raise CamSamError("The image is missing: give its file (see napari-cam-sam run --help).")
    image = read_given(arguments)
    truth = _read_truth(arguments, image)
    if truth is not None:
        check_same_grid(image, truth)
    region = None if settings.region is None else ncs.read_labels(settings.region, like=image)
    print_notes(truth, region)
    output = arguments.output or _results_folder(arguments.image, arguments.series)
    inputs = [p for p in (arguments.image, arguments.truth, settings.region) if p is not None]
    check_output(output, image, inputs)
    parameters = replace(
        settings.run, planes=parse_planes(settings.planes, image.n_planes(settings.run.axis))
    )
    embeddings = ncs.open_cache(settings.embeddings)
    if settings.classifier is None and not parameters.from_truth:
        raise CamSamError(
            f"The prompts {parameters.strategy!r} come from a heatmap: give --classifier, one of "
            f"{', '.join([*shipped_networks(), *classifier_names()])} or a checkpoint; or take "
            "--prompts truth-box."
        )
    classifier = None
    if settings.classifier is not None:
        classifier = ncs.load_model(settings.classifier, device=settings.device, **settings.card)
        parameters = with_model_window(parameters, classifier)
    segmenter = ncs.load_segmenter(settings.segmenter or default_segmenter(), settings.device)
    parameters = replace(parameters, automatic=settings.automatic_for(segmenter.name))
    # Two runs into one folder would take each other's place.
    with folder_lock(output):
        run_and_report(
            arguments, output, image, segmenter, classifier, parameters, truth, embeddings,
            region, settings.seed,
        )  # fmt: skip


def _results_folder(image: Path, series: str | None) -> Path:
    """Return the folder of results beside an image, or beside the folder of its series."""
    if has_suffix(image):
        return image.with_name(f"{stem_of(image)}-cam-sam")
    place = image.resolve()  # of "." too
    stem = place.name if place.is_dir() else re.sub(r"\.(dcm|dicom|zip)$", "", place.name)
    return place.with_name(f"{stem}-{series}-cam-sam" if series else f"{stem}-cam-sam")


def _read_truth(arguments: argparse.Namespace, image: ncs.Image) -> ncs.Image | None:
    """Read the truth; of a series the frame of the image."""
    if arguments.truth is None:
        return None
    segments = arguments.truth_segment
    if arguments.frame is not None:
        try:
            return ncs.read_labels(arguments.truth, arguments.frame, like=image, segments=segments)
        except CamSamError:
            pass  # a truth of one frame, which is read below, or fails there for its own reason
    return ncs.read_labels(arguments.truth, like=image, segments=segments)


def run_and_report(
    arguments: argparse.Namespace,
    output: Path,
    image: ncs.Image,
    segmenter: Segmenter,
    classifier: ExplainableModel | None,
    parameters: ncs.RunParameters,
    truth: ncs.Image | None,
    embeddings: ncs.EmbeddingCache,
    region: ncs.Image | None = None,
    seed: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> RunResult:
    """Run, write the results, print what was found, and return it.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of which ``json`` and ``argv`` count.
    output : Path
        Folder that is locked.
    image : Image
    segmenter : Segmenter
    classifier : Classifier, SegmentationNetwork or None
    parameters : RunParameters
    truth : Image or None
        On the image's grid, as `region`.
    embeddings : EmbeddingCache
    region : Image, optional
        Of the pixel set ``"region"``.
    seed : int
    extra : mapping, optional
        Further entries of the record and of the JSON object.

    Returns
    -------
    RunResult
    """
    import torch

    from napari_cam_sam.pipeline.outputs import run_record, scores_data, volume_data, write_run
    from napari_cam_sam.prompts.serialise import to_data

    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from numpy's global state
    torch.manual_seed(seed)
    update, bar = progress(arguments, image.name)
    with bar, warnings.catch_warnings():
        # The store's warning is said below, in one line.
        warnings.filterwarnings("ignore", "Embeddings are kept in memory alone")
        result = ncs.run_image(
            image, segmenter, classifier, parameters, truth, update, embeddings, region
        )
    store = embeddings.store
    if store is not None and store.trouble is not None:
        print_note(store.trouble)
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
        return result
    report(result, segmenter, classifier)
    print(f"\nWritten to {shown(output)}: {', '.join(files)}")
    return result
