"""The same engine without a screen: ``napari-cam-sam COMMAND``."""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cam_sam import __version__
from napari_cam_sam.cli.cache import add_cache_commands
from napari_cam_sam.cli.shared import (
    AXIS_HELP,
    Parser,
    add_fields,
    cell,
    changed,
    print_json,
    print_table,
    progress,
    window_help,
)
from napari_cam_sam.errors import CamSamError

if TYPE_CHECKING:
    from napari_cam_sam.images.image import Image
    from napari_cam_sam.metrics.scoring import Scores
    from napari_cam_sam.models.classifiers import Classifier
    from napari_cam_sam.pipeline import RunParameters, RunResult
    from napari_cam_sam.prompts.data import PlanePrompts
    from napari_cam_sam.sam.segmenter import Segmenter
    from napari_cam_sam.session import Session

__all__ = ["main"]

_METHODS_HELP = (
    "method of the heatmap: layer-cam, grad-cam, grad-cam++, hires-cam, score-cam, eigen-cam, …; "
    "an unknown one lists all (%(default)s)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        By default the process's own arguments.

    Returns
    -------
    int
        0, or 2 after one line on standard error for what a user can put right.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A console of an old code page shows "?" for what it lacks, and goes on.
            stream.reconfigure(errors="replace")
    try:
        arguments = _parser().parse_args(argv)
        arguments.argv = list(sys.argv[1:] if argv is None else argv)
        command: Callable[[argparse.Namespace], None] = arguments.command
        command(arguments)
    except CamSamError as error:
        print("napari-cam-sam: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"napari-cam-sam: stopped; {stop or 'nothing was written'}.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, e.g. `head`, has seen enough.
        sys.stderr.close()
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    from napari_cam_sam.prompts.parameters import PRESETS, TRUTH_PRESETS

    rules = (
        f"rule that makes prompts: {', '.join(PRESETS)}; from the truth {', '.join(TRUTH_PRESETS)}"
    )
    parser = Parser(
        prog="napari-cam-sam",
        description="Class activation maps → prompts → Segment Anything → scores.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    demo = commands.add_parser("demo", help="the main job on a shipped sample and models")
    demo.add_argument("--sample", default="ct", help="ct, ultrasound or shapes (%(default)s)")
    demo.add_argument("--sam", default="compact-sam", help="segmenter (%(default)s)")
    demo.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    demo.add_argument(
        "--headless", action="store_true", help="open no window, also where there is a display"
    )
    demo.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="folder (%(default)s)"
    )
    demo.set_defaults(command=_demo)

    run = commands.add_parser("run", help="heatmap, prompts, labels and scores of one image")
    run.add_argument("image", type=Path, metavar="IMAGE", help=".nii, .nii.gz, .png, .jpg, .tif")
    run.add_argument("--frame", type=int, help="which frame of a 4D image")
    run.add_argument("--classifier", help="name, checkpoint or package.module:function")
    run.add_argument("--target", help="class by name or index; by default the predicted one")
    run.add_argument("--cam", default="layer-cam", help=_METHODS_HELP)
    run.add_argument("--layer", action="append", help="target layer; several are averaged")
    run.add_argument("--min-probability", type=float, default=0.0, help="below it: no evidence")
    run.add_argument("--batch-size", type=int, default=16, help="planes in one pass (%(default)s)")
    run.add_argument("--prompts", default="ours", help=rules + " (%(default)s)")
    add_fields(run, "prompt rule", _prompt_parameters_class(), default="as --prompts says")
    run.add_argument("--sam", help="segmenter or checkpoint; by default the best one installed")
    run.add_argument("--mask-choice", default="best", help="single, first, best or oracle")
    run.add_argument(
        "--mask-from",
        choices=["prompts", "heatmap"],
        default="prompts",
        help="heatmap: from its own high and low regions, with seeded (%(default)s)",
    )
    run.add_argument("--axis", type=int, default=0, help=AXIS_HELP)
    run.add_argument("--planes", help="A:B (B not included) or one index; by default all")
    run.add_argument("--window", default="auto", help=window_help())
    run.add_argument("--truth", type=Path, help="labels to compare with")
    run.add_argument("--truth-label", type=int, help="the label of the truth that is meant")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    run.add_argument("--seed", type=int, default=0, help="of whatever is random (%(default)s)")
    run.add_argument("--output", type=Path, help="folder; by default IMAGE's name + -cam-sam")
    add_fields(
        run, "preprocessing of the segmenter's planes", _preprocessing_class(), "preprocess-"
    )
    _add_card(run)
    run.set_defaults(command=_run)

    metrics = commands.add_parser("metrics", help="scores of a mask, and of a heatmap")
    metrics.add_argument("--prediction", type=Path, required=True, help="labels file to score")
    metrics.add_argument("--truth", type=Path, required=True, help="labels file that is right")
    metrics.add_argument("--heatmap", type=Path, help="its values lie in 0 to 1")
    metrics.add_argument("--truth-label", type=int, help="the label meant, in both; by default any")
    metrics.add_argument(
        "--spacing",
        type=float,
        nargs="+",
        help="mm along each array axis, planes first, then rows, columns (of a NIfTI: k, j, i); "
        "by default the truth's",
    )
    metrics.add_argument("--tolerance", type=float, help="of NSD, in mm")
    metrics.add_argument(
        "--each", choices=["plane", "label", "object"], help="score these one by one, too"
    )
    metrics.add_argument("--axis", type=int, default=0, help="for --each plane: " + AXIS_HELP)
    metrics.set_defaults(command=_metrics)

    prompts = commands.add_parser("prompts", help="points and boxes from a heatmap or a mask")
    source = prompts.add_mutually_exclusive_group(required=True)
    source.add_argument("--heatmap", type=Path, help="its values lie in 0 to 1")
    source.add_argument("--mask", type=Path, help="labels file; each value is an object")
    prompts.add_argument(
        "--strategy",
        help=rules + "; by default ours, of a mask truth-box-point",
    )
    prompts.add_argument("--axis", type=int, default=0, help=AXIS_HELP)
    prompts.add_argument("--planes", help="A:B or one index; by default all")
    prompts.add_argument("--output", type=Path, help="JSON file to write")
    add_fields(prompts, "prompt rule", _prompt_parameters_class(), default="as --strategy says")
    prompts.set_defaults(command=_prompts)

    replay = commands.add_parser("replay", help="run a saved annotation session again")
    replay.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the session")
    replay.add_argument("--image", type=Path, help="its image, where it is not where it was")
    replay.add_argument("--output", type=Path, help="labels file to write")
    replay.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    replay.set_defaults(command=_replay)

    models = commands.add_parser("models", help="list, download or describe models")
    actions = models.add_subparsers(required=True, metavar="ACTION", parser_class=Parser)
    listing = actions.add_parser("list", help="what there is, and what is installed")
    listing.set_defaults(command=_models_list)
    download = actions.add_parser("download", help="fetch a checkpoint and check its hash")
    download.add_argument("name", metavar="NAME")
    download.set_defaults(command=_models_download)
    info = actions.add_parser("info", help="card and layers of a classifier, type of a SAM")
    info.add_argument("file", metavar="FILE", help="checkpoint, name or package.module:function")
    _add_card(info)
    info.set_defaults(command=_models_info)
    added = add_cache_commands(commands)
    for command in (demo, run, metrics, prompts, replay, listing, download, info, *added):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _add_card(parser: argparse.ArgumentParser) -> None:
    """Add what a checkpoint may not say about itself."""
    card = parser.add_argument_group("classifier", "what a checkpoint does not say about itself")
    card.add_argument("--architecture", help="e.g. resnet18")
    card.add_argument("--class-names", type=lambda text: text.split(","), help="comma-separated")
    card.add_argument("--input-size", type=int, nargs=2, metavar=("ROWS", "COLUMNS"))
    card.add_argument("--channels", type=int, help="1 for gray, 3 for RGB")
    card.add_argument("--mean", type=float, nargs="+", help="a channel, of values in 0 to 1")
    card.add_argument("--std", type=float, nargs="+", help="a channel, of values in 0 to 1")


def _load_classifier(name: str, arguments: argparse.Namespace, device: str) -> Classifier:
    from napari_cam_sam.models.classifiers import load_classifier

    return load_classifier(
        name,
        architecture=arguments.architecture,
        class_names=arguments.class_names,
        input_size=arguments.input_size,
        channels=arguments.channels,
        mean=arguments.mean,
        std=arguments.std,
        device=device,
    )


def _prompt_parameters_class() -> type[Any]:
    from napari_cam_sam.prompts.parameters import PromptParameters

    return PromptParameters


def _preprocessing_class() -> type[Any]:
    from napari_cam_sam.images.preprocessing import PreprocessingParameters

    return PreprocessingParameters


def _seed(seed: int) -> None:
    import numpy as np
    import torch

    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from numpy's global state
    torch.manual_seed(seed)


def _default_parameters(arguments: argparse.Namespace, image: Image) -> RunParameters:
    from napari_cam_sam.cam.heatmaps import CamParameters
    from napari_cam_sam.images.planes import parse_planes
    from napari_cam_sam.images.windows import parse_window
    from napari_cam_sam.pipeline import RunParameters
    from napari_cam_sam.prompts.parameters import strategy_parameters
    from napari_cam_sam.sam.choice import needs_multimask

    needs_multimask(arguments.mask_choice)
    return RunParameters(
        axis=arguments.axis,
        planes=parse_planes(arguments.planes, image.n_planes(arguments.axis)),
        window=parse_window(arguments.window),
        preprocessing=changed(_preprocessing_class()(), arguments, "preprocess-"),
        cam=CamParameters(
            method=arguments.cam,
            target=arguments.target,
            layers=tuple(arguments.layer or ()),
            batch_size=arguments.batch_size,
            min_probability=arguments.min_probability,
        ),
        strategy=arguments.prompts,
        prompts=changed(strategy_parameters(arguments.prompts), arguments),
        mask_choice=arguments.mask_choice,
        mask_from=arguments.mask_from,
        truth_label=arguments.truth_label,
    )


def _run(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.images.formats import stem_of
    from napari_cam_sam.images.reading import check_same_grid, read_image
    from napari_cam_sam.models.names import classifier_names
    from napari_cam_sam.outputs import check_output
    from napari_cam_sam.sam.loading import load_segmenter
    from napari_cam_sam.sam.registry import default_segmenter

    if not 0 <= arguments.seed < 2**32:
        raise CamSamError(f"The seed must be 0 to {2**32 - 1}, not {arguments.seed}.")
    image = read_image(arguments.image, arguments.frame)
    truth = _read_truth(arguments)
    if truth is not None:
        check_same_grid(image, truth)
    output = arguments.output or arguments.image.with_name(f"{stem_of(arguments.image)}-cam-sam")
    inputs = [arguments.image, *([arguments.truth] if arguments.truth else [])]
    check_output(output, image, inputs)
    parameters = _default_parameters(arguments, image)
    if arguments.classifier is None and not parameters.from_truth:
        raise CamSamError(
            f"The prompts {parameters.strategy!r} come from a heatmap: give --classifier, one of "
            f"{', '.join(classifier_names())} or a checkpoint; or take --prompts truth-box."
        )
    classifier = None
    if arguments.classifier is not None:
        classifier = _load_classifier(arguments.classifier, arguments, arguments.device)
    segmenter = load_segmenter(arguments.sam or default_segmenter(), arguments.device)
    _run_and_report(arguments, image, truth, classifier, segmenter, parameters, output)


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
    seed: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> None:
    from napari_cam_sam.outputs import run_record, scores_data, write_run
    from napari_cam_sam.pipeline import run_image
    from napari_cam_sam.prompts.serialise import to_data

    seed = getattr(arguments, "seed", seed)
    _seed(seed)
    update, bar = progress(arguments, image.name)
    with bar:
        result = run_image(image, segmenter, classifier, parameters, truth, update)
    record = run_record(result, segmenter, classifier, truth, seed, arguments.argv)
    record |= dict(extra or {})
    files = write_run(output, result, record, truth)
    if arguments.json:
        print_json(
            {
                "scores": scores_data(result),
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
    _report(result, segmenter, classifier)
    print(f"\nWritten to {output}: {', '.join(files)}")


def _report(result: RunResult, segmenter: Any, classifier: Any) -> None:
    from napari_cam_sam.demo import shipped_models

    image, parameters = result.image, result.parameters
    size = " × ".join(str(n) for n in image.spatial_shape)
    print(f"Image       {image.name}, {size}; window {result.window.description}")
    if result.window.n_not_finite:
        print(f"            {result.window.n_not_finite} voxels are not finite and count as lowest")
    if classifier is not None:
        target = parameters.cam.target
        what = "the predicted class" if target is None else repr(target)
        where = f"{classifier.name} on {classifier.device}"
        grid = "" if result.grid_shape is None else " × ".join(map(str, result.grid_shape))
        print(f"Heatmap     {parameters.cam.method} of {what}, {where}, grid {grid}")
        if classifier.name in shipped_models():
            print("            It learned from phantoms alone: not for images of patients.")
    print(f"Prompts     {parameters.strategy}{_box_area(result)}")
    print(
        f"Segmenter   {segmenter.name} on {segmenter.device}, mask choice {parameters.mask_choice}"
    )
    with_prompts = sum(bool(p.objects) for p in result.prompts)
    seconds = result.seconds["total"]
    print(f"Planes      {len(result.prompts)} run, {with_prompts} with prompts, {seconds:.1f} s")
    for reason, count in _reasons(result.prompts).items():
        print(f"            {count} without, {reason}")
    rows = []
    for (index, label), scores in result.scores.items():
        row: dict[str, Any] = {"plane": index, "label": label or "any"}
        row |= {n: scores.values.get(n) for n in ("iou", "dice", "hd95", "nsd")}
        if result.heatmap is not None:
            row |= {n: scores.values.get(n) for n in ("auprc", "pointing_hit", "energy_inside")}
        rows.append(row | {"note": " ".join(scores.flags)})
    if rows:
        print()
        print_table(rows)
    if len(result.scores) > 1:
        print()
        shown = (
            "iou",
            "dice",
            "hd95",
            "nsd",
            "auc_judd",
            "auprc",
            "prevalence",
            "pointing_hit",
            "fg_hit_rate",
        )
        print_table(
            [
                {
                    "over planes": name,
                    "mean": s.mean,
                    "median": s.median,
                    "25 %": s.q25,
                    "75 %": s.q75,
                    "95 % interval": f"{cell(s.ci_low)} to {cell(s.ci_high)}",
                    "n": s.n,
                }
                for name, s in result.summary.items()
                if name in shown and s.n
            ]
        )
    if result.volume is not None:
        print(
            f"\nPlanes {result.prompts[0].index} to {result.prompts[-1].index} as one volume: "
            + ", ".join(
                f"{n} {cell(result.volume.values[n])}" for n in ("iou", "dice", "hd95", "nsd")
            )
        )
    if result.scores:
        from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE

        geometry = image.geometry
        print(_rule(geometry.spacing, geometry.unit, DEFAULT_TOLERANCE))


def _box_area(result: RunResult) -> str:
    """Say how much of the plane the boxes cover: a coarse heatmap makes none that is small."""
    boxes = [o.box for plane in result.prompts for o in plane.objects if o.box is not None]
    if not boxes:
        return ""
    rows, columns = result.image.plane_shape(result.parameters.axis)
    areas = sorted(box.height * box.width / (rows * columns) for box in boxes)
    return f", boxes of {areas[len(areas) // 2]:.1%} of the plane (median)"


def _rule(spacing: Sequence[float], unit: str, tolerance: float) -> str:
    from napari_cam_sam.metrics.surface import PERCENTILE_RULE

    steps = " × ".join(f"{s:g}" for s in spacing)
    unit = "pixels" if unit == "pixel" else unit
    return (
        f"Distances in {unit} with spacing {steps}; HD95: {PERCENTILE_RULE}; "
        f"NSD at {tolerance:g} {unit}."
    )


def _reasons(prompts: Sequence[PlanePrompts]) -> dict[str, int]:
    """Count planes without prompts by reason; numbers in it do not make another reason."""
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for plane in prompts:
        if not plane.objects:
            reason = plane.reason or "no prompts"
            kind = re.sub(r"[\d.]+", "#", reason)
            first.setdefault(kind, f"plane {plane.index}: {reason}")
            counts[kind] = counts.get(kind, 0) + 1
    most = sorted(counts, key=lambda kind: -counts[kind])[:3]
    return {f"e.g. {first[kind]}": counts[kind] for kind in most}


def _demo(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.cam.heatmaps import CamParameters
    from napari_cam_sam.demo.samples import make_sample
    from napari_cam_sam.images.windows import parse_window
    from napari_cam_sam.models.classifiers import load_classifier
    from napari_cam_sam.outputs import check_output
    from napari_cam_sam.pipeline import RunParameters, run_image
    from napari_cam_sam.prompts.parameters import strategy_parameters
    from napari_cam_sam.sam.loading import load_segmenter

    sample = make_sample(arguments.sample)
    check_output(arguments.output, sample.image)
    classifier = load_classifier(sample.classifier, device=arguments.device)
    segmenter = load_segmenter(arguments.sam, arguments.device)
    parameters = RunParameters(
        window=parse_window(sample.window),
        cam=CamParameters(target=sample.target, min_probability=0.5),
    )
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
    )
    bound = {name: upper.summary[name].mean for name in ("iou", "dice")}
    _run_and_report(
        arguments,
        sample.image,
        sample.truth,
        classifier,
        segmenter,
        parameters,
        arguments.output,
        extra={"truth_prompts": bound},
    )
    if not arguments.json:
        print(f"With truth prompts the mean Dice of the planes would be {bound['dice']:.4f}.")
    if not (arguments.headless or arguments.json) and _has_display():
        print("Opening the sample in napari; press “Run all four steps” there.", flush=True)
        window = [sys.executable, "-m", "napari_cam_sam.plugin.demo_window", arguments.sample]
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


def _metrics(arguments: argparse.Namespace) -> None:
    import numpy as np

    from napari_cam_sam.images.reading import check_same_grid, read_labels
    from napari_cam_sam.metrics.scoring import score_heatmap, score_masks
    from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE

    truth = read_labels(arguments.truth)
    prediction = read_labels(arguments.prediction)
    check_same_grid(prediction, truth)
    label = arguments.truth_label
    answer = np.asarray(truth.data)
    guess = np.asarray(prediction.data)
    if label is not None:
        if not (answer == label).any():
            there = ", ".join(str(v) for v in np.unique(answer) if v) or "none"
            raise CamSamError(f"The truth {arguments.truth} has no label {label}; it has: {there}.")
        answer, guess = np.where(answer == label, label, 0), np.where(guess == label, label, 0)
    spacing = tuple(arguments.spacing) if arguments.spacing else truth.geometry.spacing
    unit = "mm" if arguments.spacing else truth.geometry.unit
    tolerance = DEFAULT_TOLERANCE if arguments.tolerance is None else arguments.tolerance
    scores = score_masks(guess != 0, answer != 0, spacing, tolerance=tolerance)
    values, flags = dict(scores.values), list(scores.flags)
    if arguments.heatmap:
        heatmap = _read_heatmap(arguments.heatmap)
        check_same_grid(heatmap, truth)
        found = score_heatmap(_unit_range(np.asarray(heatmap.data), heatmap.name), answer != 0)
        values |= found.values
        flags += [flag for flag in found.flags if flag not in flags]
    each = _each(arguments, guess, answer, spacing, tolerance)
    if arguments.json:
        more = {} if arguments.each is None else {f"{arguments.each}s": each}
        settings = {"spacing": spacing, "unit": unit, "tolerance": tolerance}
        print_json(values | {"flags": flags} | settings | more)
        return
    print_table([{"metric": name, "value": value} for name, value in values.items()])
    if each:
        print()
        print_table([{**row, "flags": " ".join(row["flags"])} for row in each])
    print(_rule(spacing, unit, tolerance))
    if flags:
        print("Note: " + ", ".join(flags))


def _each(
    arguments: argparse.Namespace, guess: Any, answer: Any, spacing: Any, tolerance: float
) -> list[dict[str, Any]]:
    """Score every plane, label or object by itself, a row each."""
    import numpy as np

    from napari_cam_sam.metrics.scoring import score_labels, score_objects, score_planes

    def row(scores: Scores, **names: Any) -> dict[str, Any]:
        return {**names, **scores.values, "flags": list(scores.flags)}

    if arguments.each == "plane":
        if answer.ndim != 3:
            raise CamSamError("Scores of each plane need a volume; this is a single plane.")
        axis = arguments.axis
        others = tuple(a for a in range(3) if a != axis)
        seen = np.flatnonzero(((guess != 0) | (answer != 0)).any(axis=others)).tolist()
        planes = score_planes(guess != 0, answer != 0, spacing, axis, seen, tolerance=tolerance)
        return [row(found, plane=index) for index, found in planes.items()]
    if arguments.each == "label":
        labels = score_labels(guess, answer, spacing, tolerance=tolerance)
        return [row(found, label=value) for value, found in labels.items()]
    if arguments.each == "object":
        pairs = score_objects(guess, answer, spacing, tolerance=tolerance)
        return [row(p.scores, truth=p.truth_id, prediction=p.prediction_id) for p in pairs]
    return []


def _read_heatmap(path: Path) -> Image:
    from napari_cam_sam.images.reading import read_image

    heatmap = read_image(path)
    if heatmap.rgb:
        raise CamSamError(f"{path} is a colour picture, not a heatmap: give one value a pixel.")
    return heatmap


def _unit_range(values: Any, name: str) -> Any:
    """Bring a heatmap to [0, 1]: whole numbers by the range of their type, others as they are."""
    import numpy as np

    if values.dtype.kind in "bui":
        most = 1 if values.dtype.kind == "b" else np.iinfo(values.dtype).max
        values = values.astype(np.float32) / most
    finite = values[np.isfinite(values)]
    if finite.size and (finite.min() < 0 or finite.max() > 1 + 1e-6):
        raise CamSamError(
            f"The heatmap {name} has values from {finite.min():g} to {finite.max():g}; "
            "a heatmap lies in 0 to 1."
        )
    return values


def _prompts(arguments: argparse.Namespace) -> None:
    import numpy as np

    from napari_cam_sam.images.planes import parse_planes
    from napari_cam_sam.images.reading import read_labels
    from napari_cam_sam.images.writing import write_atomically
    from napari_cam_sam.prompts.parameters import strategy_parameters
    from napari_cam_sam.prompts.serialise import to_data, to_json
    from napari_cam_sam.prompts.strategies import prompts_from_heatmap, prompts_from_mask

    from_mask = arguments.mask is not None
    name = arguments.strategy or ("truth-box-point" if from_mask else "ours")
    if name.startswith("truth-") and not from_mask:
        raise CamSamError(f"The strategy {name!r} makes prompts from a mask: give --mask.")
    strategy = changed(strategy_parameters(name), arguments)
    image = read_labels(arguments.mask) if from_mask else _read_heatmap(arguments.heatmap)
    found = []
    for index in parse_planes(arguments.planes, image.n_planes(arguments.axis)):
        plane = np.asarray(image.plane(arguments.axis, index))
        if from_mask:
            made = prompts_from_mask(plane, strategy, axis=arguments.axis, index=index)
        else:
            heat = _unit_range(plane, image.name)
            made = prompts_from_heatmap(heat, strategy, axis=arguments.axis, index=index)
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
                    "plane": plane_prompts.index,
                    "object": prompt.object_id,
                    "rows": f"{box.row_min:g} to {box.row_max:g}" if box else None,
                    "columns": f"{box.column_min:g} to {box.column_max:g}" if box else None,
                    "points (row, column)": " ".join(points) or None,
                }
            )
    print_table(rows)
    for reason, count in _reasons(found).items():
        print(f"{count} plane(s) without prompts, {reason}")


def _replay(arguments: argparse.Namespace) -> None:
    import numpy as np

    from napari_cam_sam.images.writing import write_labels
    from napari_cam_sam.sam.loading import load_segmenter
    from napari_cam_sam.session import read_session, replay

    session = read_session(arguments.folder)
    image = _session_image(session, arguments.image)
    if arguments.output:
        _check_labels_file(arguments.output, image, arguments.folder)
    devices: dict[str, str] = {}

    def load(name: str, precision: str) -> Segmenter:
        segmenter = load_segmenter(name, arguments.device, precision=precision)
        devices[name] = segmenter.device
        return segmenter

    update, bar = progress(arguments, image.name)
    with bar:
        labels = replay(session, image, load, update)
    if arguments.output:
        write_labels(arguments.output, labels, image)
    planes = {(one.prompts.axis, one.prompts.index) for one in session.accepted}
    differing = None
    if session.labels is not None:
        differing = int(np.count_nonzero(labels != session.labels))
    if arguments.json:
        print_json(
            {
                "image": image.name,
                "saved_at": session.saved_at,
                "acceptances": len(session.accepted),
                "planes": len(planes),
                "segmenters": devices,
                "voxels": labels.size,
                "differing": differing,
                "output": arguments.output,
            }
        )
        return
    size = " × ".join(str(n) for n in image.spatial_shape)
    print(f"Session     {arguments.folder}, saved {session.saved_at}")
    print(f"Image       {image.name}, {size}")
    for name, device in devices.items():
        print(f"Segmenter   {name} on {device}")
    print(f"Planes      {len(planes)} run again, accepted {len(session.accepted)} times in all")
    if differing is None:
        print("Labels      none were saved to compare with")
    elif differing == 0:
        print(f"Labels      the same as those saved: none of {labels.size} voxels differs")
    else:
        print(f"Labels      {differing} of {labels.size} voxels differ from those saved:")
        print("            what was painted or erased by hand is not run again, and another")
        print("            device or version may decide differently at an outline")
    if arguments.output:
        print(f"\nWritten to {arguments.output}")


def _session_image(session: Session, given: Path | None) -> Image:
    """Read the image of a session from where it was, or from where the user says that it is."""
    from napari_cam_sam.images.reading import read_image

    record = session.image
    if given is None and record.path is None:
        raise CamSamError(
            f"The image of this session, {record.name}, came from no file: "
            "name a file that holds it by --image."
        )
    path = Path(record.path or "") if given is None else given
    if given is None and not path.exists():
        raise CamSamError(
            f"The image of this session is no longer at {path}: name its file by --image."
        )
    return read_image(path, record.frame)


def _check_labels_file(path: Path, image: Image, session: Path) -> None:
    """Refuse a file that labels cannot be written to, before anything is computed."""
    from napari_cam_sam.images.formats import NIFTI, TIFF, suffix_of

    pictures = (".png", *TIFF) if image.spatial_ndim == 2 else TIFF
    fitting = pictures if image.geometry.affine is None else NIFTI
    if suffix_of(path) not in fitting:
        raise CamSamError(
            f"{path} cannot hold the labels of {image.name}: use {' or '.join(fitting)}."
        )
    if not path.parent.is_dir():
        raise CamSamError(f"{path} cannot be written: there is no folder {path.parent}.")
    if path.resolve().parent == session.resolve():
        raise CamSamError(f"{path} lies in the session itself: name a file in another folder.")


def _models_list(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.demo import shipped_models
    from napari_cam_sam.models.names import classifier_names
    from napari_cam_sam.sam.registry import REGISTRY, cache_folder, default_segmenter, is_installed

    rows: list[dict[str, Any]] = []
    for name in classifier_names():
        state, note = ("shipped", "demo model, for phantoms") if name in shipped_models() else (
            "by name", "ImageNet weights, downloaded at first use"
        )  # fmt: skip
        rows.append({"name": name, "kind": "classifier", "state": state, "note": note})
    rows.append({"name": "seeded", "kind": "segmenter", "state": "ready", "note": "no weights"})
    rows.append(
        {"name": "compact-sam", "kind": "segmenter", "state": "shipped", "note": "demo model"}
    )
    for entry in REGISTRY.values():
        state = (
            "installed" if is_installed(entry.name) else f"{entry.size / 1e6:.0f} MB to download"
        )
        note = f"{entry.licence}. {entry.note}"
        rows.append({"name": entry.name, "kind": "segmenter", "state": state, "note": note})
    if arguments.json:
        for row in rows:
            known = REGISTRY.get(row["name"])
            row["hash"] = None if known is None else known.known_hash
        print_json({"models": rows, "default": default_segmenter(), "folder": str(cache_folder())})
        return
    print_table(rows)
    print(f"\nSegmenter taken where none is named: {default_segmenter()}")
    print(f"Checkpoints are kept in {cache_folder()}")


def _models_download(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.sam.registry import download, registered

    entry = registered(arguments.name)
    path = download(arguments.name)
    if arguments.json:
        print_json({"name": entry.name, "path": str(path), "hash": entry.known_hash})
    else:
        print(f"{entry.name} is at {path}. Licence: {entry.licence}. {entry.note}")


def _models_info(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.models.inspection import describe
    from napari_cam_sam.sam.loading import describe_segmenter

    name = arguments.file
    data: dict[str, Any] | None = describe_segmenter(name)
    layers: list[dict[str, Any]] = []
    if data is None:
        found = describe(_load_classifier(name, arguments, "cpu"))
        data = {"kind": "classifier", **found.pop("card"), **found}
        layers = data.pop("layers")
    if arguments.json:
        print_json(data | {"layers": layers})
        return
    for key, value in data.items():
        print(f"{key:<16}{value}")
    if layers:
        print()
        print_table(layers)
