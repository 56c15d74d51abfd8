"""The same engine without a screen: ``napari-cam-sam COMMAND``."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cam_sam import __version__
from napari_cam_sam.cli.cache import add_cache_commands
from napari_cam_sam.cli.demo import add_demo_command
from napari_cam_sam.cli.report import distance_rule, reasons
from napari_cam_sam.cli.run import add_run_command
from napari_cam_sam.cli.shared import (
    AXIS_HELP,
    DEVICE_HELP,
    PLANES_HELP,
    Parser,
    add_card,
    add_fields,
    changed,
    load_model_of,
    print_json,
    print_notes,
    print_table,
    progress,
    prompt_parameters_class,
    rules_help,
    warnings_as_notes,
)
from napari_cam_sam.cli.study import add_study_command
from napari_cam_sam.cli.study_report import add_report_command
from napari_cam_sam.cli.train import add_train_command, print_figures
from napari_cam_sam.cli.trust import add_trust_command
from napari_cam_sam.errors import DEBUG_VARIABLE, CamSamError, refusal, show_traceback
from napari_cam_sam.text import PRINTED, shown

if TYPE_CHECKING:
    from napari_cam_sam.images.image import Image
    from napari_cam_sam.metrics.scoring import Scores
    from napari_cam_sam.sam.segmenter import Segmenter
    from napari_cam_sam.session import Session

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        By default the process's own arguments.

    Returns
    -------
    int
        0; 2 after one line on standard error for what a user can put right; 1 after one line for
        a fault of ours, see `DEBUG_VARIABLE`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A console of an old code page shows "?" for what it lacks, and goes on.
            stream.reconfigure(errors=PRINTED)
    try:
        arguments = _parser().parse_args(argv)
        arguments.argv = list(sys.argv[1:] if argv is None else argv)
        command: Callable[[argparse.Namespace], None] = arguments.command
        with warnings_as_notes():
            command(arguments)
    except CamSamError as error:
        return _refused(str(error), error, 2)
    except KeyboardInterrupt as stop:
        print(f"napari-cam-sam: stopped; {str(stop) or 'nothing was written'}.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, e.g. `head`, has seen enough.
        sys.stderr.close()
        return 0
    except MemoryError as error:
        return _refused("The memory does not suffice: close other programs.", error, 2)
    except OSError as error:
        where = "" if error.filename is None else f" ({error.filename})"
        return _refused(f"{error.strerror or error}{where}.", error, 2)
    except Exception as error:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _refused(
            f"unexpected {text[:300].rstrip('.')}. Please report it with what "
            f"{DEBUG_VARIABLE}=1 shows before this line.",
            error,
            1,
        )
    return 0


def _refused(sentence: str, error: BaseException, status: int) -> int:
    """Print one line on standard error, after the traceback where it is asked for."""
    if status == 1 or not isinstance(error, CamSamError):
        show_traceback(error)
    print("napari-cam-sam: " + " ".join(sentence.split()), file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="napari-cam-sam",
        description="From an image to class activation maps, prompts, Segment Anything masks and "
        "scores, without a window.",
        epilog="napari-cam-sam COMMAND --help shows the options of a command.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", title="commands", parser_class=Parser
    )
    added = add_demo_command(commands) + add_run_command(commands) + add_trust_command(commands)

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
    metrics.add_argument(
        "--axis", type=int, default=0, metavar="N", help="for --each plane: " + AXIS_HELP
    )
    metrics.set_defaults(command=_metrics)

    prompts = commands.add_parser(
        "prompts",
        help="make points and boxes from a heatmap or a mask",
        description="Make points and boxes from a heatmap or a mask.",
    )
    source = prompts.add_mutually_exclusive_group(required=True)
    source.add_argument("--heatmap", type=Path, metavar="FILE", help="values in 0 to 1")
    source.add_argument("--mask", type=Path, metavar="FILE", help="labels; each is an object")
    prompts.add_argument(
        "--strategy",
        metavar="NAME",
        help=rules_help() + " (ours; for a mask truth-box-point)",
    )
    prompts.add_argument("--axis", type=int, default=0, metavar="N", help=AXIS_HELP)
    prompts.add_argument("--planes", metavar="A:B", help=PLANES_HELP)
    prompts.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write")
    add_fields(
        prompts,
        "changes of the strategy",
        prompt_parameters_class(),
        default="the strategy's",
    )
    prompts.set_defaults(command=_prompts)

    replay = commands.add_parser(
        "replay",
        help="repeat a saved annotation session",
        description="Segment again what was accepted in a saved session, and compare the labels.",
    )
    replay.add_argument("folder", type=Path, metavar="FOLDER", help="of the session")
    replay.add_argument("--image", type=Path, metavar="FILE", help="its image, if it was moved")
    replay.add_argument("--output", type=Path, metavar="FILE", help="labels file to write")
    replay.add_argument("--device", default="auto", help=DEVICE_HELP)
    replay.set_defaults(command=_replay)

    models = commands.add_parser("models", help="list, download or describe models")
    actions = models.add_subparsers(
        required=True, metavar="ACTION", title="actions", parser_class=Parser
    )
    listing = actions.add_parser("list", help="list models, and which are installed")
    listing.set_defaults(command=_models_list)
    download = actions.add_parser("download", help="download a checkpoint and check its hash")
    download.add_argument("name", metavar="NAME", help="from models list")
    download.set_defaults(command=_models_download)
    info = actions.add_parser("info", help="show the card and layers of a model")
    info.add_argument(
        "file", metavar="FILE", help="name, checkpoint, bundle folder or package.module:function"
    )
    add_card(info)
    info.set_defaults(command=_models_info)
    added += add_cache_commands(commands)
    added += add_study_command(commands)
    added += add_report_command(commands)
    added += add_train_command(commands)
    for command in (metrics, prompts, replay, listing, download, info, *added):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _metrics(arguments: argparse.Namespace) -> None:
    import numpy as np

    from napari_cam_sam.evaluation.image_scores import score_image
    from napari_cam_sam.evaluation.truth import check_truth_label, keep_label
    from napari_cam_sam.images.reading import check_same_grid, read_labels
    from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE

    truth = read_labels(arguments.truth)
    prediction = read_labels(arguments.prediction)
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
        heatmap = _read_heatmap(arguments.heatmap)
        check_same_grid(heatmap, truth)
        heat = _unit_range(np.asarray(heatmap.data), heatmap.name)
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


def _read_heatmap(path: Path) -> Image:
    from napari_cam_sam.images.reading import read_image

    heatmap = read_image(path)
    if heatmap.rgb:
        raise refusal("This is a colour picture, not a heatmap: give one value a pixel", path)
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
    print_notes(image)
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
    print(f"Session     {shown(arguments.folder)}, saved {session.saved_at}")
    print(f"Image       {image.name}, {size}")
    for name, device in devices.items():
        print(f"Segmenter   {name} on {device}")
    print(f"Slices      {len(planes)} run again, accepted {len(session.accepted)} times in all")
    if differing is None:
        print("Labels      none were saved to compare with")
    elif differing == 0:
        print(f"Labels      the same as those saved: none of {labels.size} voxels differs")
    else:
        print(f"Labels      {differing} of {labels.size} voxels differ from those saved:")
        print("            what was painted or erased by hand is not run again, and another")
        print("            device or version may decide differently at an outline")
    if arguments.output:
        print(f"\nWritten to {shown(arguments.output)}")


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
            f"The image of this session is no longer there: name its file by --image ({path})."
        )
    return read_image(path, record.frame, channel=record.channel, axes=record.axes)


def _check_labels_file(path: Path, image: Image, session: Path) -> None:
    """Refuse a file that labels cannot be written to, before anything is computed."""
    from napari_cam_sam.images.formats import NIFTI, TIFF, suffix_of

    pictures = (".png", *TIFF) if image.spatial_ndim == 2 else TIFF
    fitting = pictures if image.geometry.affine is None else NIFTI
    if suffix_of(path) not in fitting:
        raise refusal(
            f"This format cannot hold the labels of {image.name}: use {' or '.join(fitting)}", path
        )
    if not path.parent.is_dir():
        raise refusal("This cannot be written: there is no folder for it", path)
    if path.resolve().parent == session.resolve():
        raise refusal("This lies in the session itself: name a file in another folder", path)


def _models_list(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.demo import shipped_models
    from napari_cam_sam.models.names import classifier_names, shipped_networks
    from napari_cam_sam.sam.registry import REGISTRY, cache_folder, default_segmenter, is_installed

    rows: list[dict[str, Any]] = []
    for name in classifier_names():
        state, note = ("shipped", "demo model, for phantoms") if name in shipped_models() else (
            "by name", "ImageNet weights, downloaded at first use"
        )  # fmt: skip
        rows.append({"name": name, "kind": "classifier", "state": state, "note": note})
    for name in shipped_networks():
        note = "demo model, for phantoms"
        rows.append({"name": name, "kind": "network", "state": "shipped", "note": note})
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
    print(f"Checkpoints are kept in {shown(cache_folder())}")


def _models_download(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.sam.registry import download, registered

    entry = registered(arguments.name)
    path = download(arguments.name)
    if arguments.json:
        print_json({"name": entry.name, "path": str(path), "hash": entry.known_hash})
    else:
        print(f"{entry.name} is at {shown(path)}. Licence: {entry.licence}. {entry.note}")


def _models_info(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.models.inspection import describe
    from napari_cam_sam.sam.loading import describe_segmenter

    name = arguments.file
    data: dict[str, Any] | None = describe_segmenter(name)
    layers: list[dict[str, Any]] = []
    if data is None:
        found = describe(load_model_of(arguments, name, "cpu"))
        data = {"kind": found.pop("kind"), **found.pop("card"), **found}
        layers = data.pop("layers")
    if arguments.json:
        print_json(data | {"layers": layers})
        return
    training = data.pop("training", None)
    for key, value in data.items():
        print(f"{key:<16}{shown(str(value))}")
    if training is not None:
        print_figures(training)
    if layers:
        print()
        print_table(layers)
