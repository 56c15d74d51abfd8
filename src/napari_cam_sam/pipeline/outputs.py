"""What a run leaves on disk: heatmap, labels, prompts, scores, overview picture and record."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from napari_cam_sam.errors import refusal
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.hashing import image_hash
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.writing import heatmap_suffix, labels_suffix, write_heatmap, write_labels
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.metrics.summary import summarise_scores
from napari_cam_sam.pipeline.heatmaps import ExplainableModel
from napari_cam_sam.pipeline.results import RunResult
from napari_cam_sam.prompts.serialise import to_data, to_json
from napari_cam_sam.records.folders import write_folder
from napari_cam_sam.records.values import package_versions, plain
from napari_cam_sam.sam.segmenter import Segmenter
from napari_cam_sam.text import cell_text, recorded

__all__ = ["check_output", "run_record", "scores_data", "volume_data", "write_run"]


def scores_data(result: RunResult) -> dict[str, Any]:
    """Return the scores of a run as plain data.

    Parameters
    ----------
    result : RunResult

    Returns
    -------
    dict
        ``planes``: a list with ``axis``, ``index``, ``label`` (0 for all that is not 0),
        ``flags`` and the metrics, and of volumes ``source``, ``from_plane`` and ``stopped`` of
        :func:`volume_data`, of several objects joined; ``empty_planes``: how many planes have
        neither truth nor prediction; ``summary``: a metric to its mean, median, quartiles,
        interval and number; ``summary_labels``: the same for each label where there are several;
        ``volume``: the metrics of the volume, or None; ``volume_labels``: of each label of it,
        where several.
    """
    planes = [
        {
            "axis": result.parameters.axis,
            "index": index,
            "label": label,
            **({} if result.parameters.volume is None else _source_of(result, index, label)),
            "flags": scores.flags,
            **scores.values,
        }
        for (index, label), scores in result.scores.items()
    ]
    labels = sorted({label for _, label in result.scores})
    by_label = {
        label: summarise_scores(s for (_, one), s in result.scores.items() if one == label)
        for label in (labels if len(labels) > 1 else ())
    }
    out: dict[str, Any] = plain(
        {
            "planes": planes,
            "empty_planes": result.empty_planes,
            "summary": result.summary,
            "summary_labels": by_label,
            "volume": None if result.volume is None else _flat(result.volume),
            "volume_labels": {k: _flat(scores) for k, scores in result.volume_labels.items()},
        }
    )
    return out


def _flat(scores: Scores) -> dict[str, Any]:
    return {**scores.values, "flags": scores.flags}


def _source_of(result: RunResult, index: int, label: int) -> dict[str, str]:
    """Return where the mask of a plane is from: of one object, or of all where none is meant."""
    objects = result.sources.get(index, ())
    own = [one for one in objects if label in (0, one.object_id)]
    return {
        "source": " ".join(dict.fromkeys(one.source for one in own)) or "none",
        "from_plane": " ".join(dict.fromkeys(str(one.from_plane) for one in own)),
        "stopped": "; ".join(dict.fromkeys(one.stopped for one in own if one.stopped)),
    }


def volume_data(result: RunResult) -> dict[str, Any]:
    """Return what is known of the objects of a volume as plain data.

    Parameters
    ----------
    result : RunResult

    Returns
    -------
    dict
        Empty where each plane was run by itself. Else ``sources``: a list with ``axis``,
        ``index``, ``object_id``, ``source``, ``from_plane``, ``score`` and ``stopped`` for each
        object on each plane that it was looked for on. With a consensus ``consensus``: ``axes``;
        ``dice``, of each object along each of them with the consensus; and ``disagreement``, the
        part of the voxels with an object along any axis that not all axes agree on.
    """
    if result.parameters.volume is None:
        return {}
    data: dict[str, Any] = {
        "sources": [
            {"axis": result.parameters.axis, "index": index, **asdict(one)}
            for index, objects in result.sources.items()
            for one in objects
        ]
    }
    if result.consensus is not None:
        found = result.consensus
        differing = int((found.disagreement > 0).sum())
        claimed = int(((found.disagreement > 0) | (found.labels != 0)).sum())
        data["consensus"] = {
            "axes": [0, 1, 2],
            "dice": found.dice,
            "disagreement": differing / claimed if claimed else 0.0,
        }
    out: dict[str, Any] = plain(data)
    return out


def run_record(
    result: RunResult,
    segmenter: Segmenter,
    classifier: ExplainableModel | None,
    truth: Image | None,
    seed: int,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Return all that is needed to run again: files, hashes, models, parameters, versions.

    Parameters
    ----------
    result : RunResult
    segmenter : Segmenter
    classifier : Classifier, SegmentationNetwork or None
    truth : Image or None
    seed : int
    command : sequence of str
        Arguments of the command line, for paths relative to the folder that is recorded too.

    Returns
    -------
    dict
        What JSON holds.
    """
    parameters = result.parameters
    record = {
        "command": list(command),
        "folder": recorded(os.getcwd()),
        "image": _source(result.image),
        "truth": None if truth is None else _source(truth),
        "classifier": None
        if classifier is None
        else {
            "name": classifier.name,
            "sha256": classifier.sha256,
            "card": classifier.card,
            "layers": parameters.cam.layers or classifier.default_layers,
            "device": str(classifier.device),
            "heatmap_grid": result.grid_shape,
        },
        "segmenter": {
            "name": segmenter.name,
            "sha256": segmenter.model_hash,
            "device": segmenter.device,
            "frame": getattr(segmenter, "frame", None),
        },
        "parameters": parameters,
        "prompt_parameters": parameters.prompt_parameters,
        "window": result.window,
        "seed": seed,
        "probabilities": result.probabilities,
        "confidence": result.confidence,
        "seconds": result.seconds,
        "python": platform.python_version(),
        "packages": package_versions(),
    }
    out: dict[str, Any] = plain(record)
    return out


def _source(image: Image) -> dict[str, Any]:
    return {
        "path": None if image.path is None else recorded(image.path.resolve()),
        "name": image.name,
        "sha256": image_hash(image),
        "shape": image.spatial_shape,
        "spacing": image.geometry.spacing,
        "unit": image.geometry.unit,
        **({"series": image.source.series_uid} if isinstance(image.source, DicomSource) else {}),
        **({"notes": list(image.notes)} if image.notes else {}),
    }


def _output_names(image: Image) -> tuple[str, ...]:
    """Return the names of all files that a run of an image may write into its folder."""
    return (
        f"heatmap{heatmap_suffix(image)}",
        f"labels{labels_suffix(image)}",
        f"disagreement{heatmap_suffix(image)}",
        "prompts.json",
        "scores.csv",
        "overview.png",
        "run.json",
    )


def check_output(folder: Path, image: Image, inputs: Iterable[Path] = ()) -> None:
    """Refuse a folder that cannot be written, before anything is computed.

    Parameters
    ----------
    folder : Path
    image : Image
        Decides the names of the files.
    inputs : iterable of Path
        Files that must not be written over.

    Raises
    ------
    CamSamError
        If it is a file, it or its nearest existing parent cannot be written, one of the names is
        a folder there, or one of them is an input.
    """
    if folder.exists() and not folder.is_dir():
        raise refusal("The output is a file: name a folder", folder)
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise refusal(f"The output cannot be made, as {nearest.name} is not a folder", folder)
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise refusal(
            f"The output cannot be written, {error.strerror}: name another folder", folder
        ) from error
    given = [path for path in inputs if path.exists()]
    for target in (folder / name for name in _output_names(image)):
        if target.is_dir():
            raise refusal("A file would take the place of a folder: name another output", target)
        if any(target.exists() and target.samefile(path) for path in given):
            raise refusal(
                "An input of this run would be written over: name another output folder", target
            )


def write_run(
    folder: Path, result: RunResult, record: Mapping[str, Any], truth: Image | None
) -> list[str]:
    """Write a run: heatmap, labels, prompts, scores, the overview picture and its record.

    Parameters
    ----------
    folder : Path
    result : RunResult
    record : mapping
        From `run_record`.
    truth : Image or None
        Drawn into the overview.

    Returns
    -------
    list of str
        Names of the files; heatmap, disagreement and scores only where there are any.

    Raises
    ------
    CamSamError
        If they cannot all be written; then none is.
    """
    from matplotlib import rc_context

    from napari_cam_sam.pipeline.overview import draw_overview

    def overview(path: Path) -> None:
        # A matplotlibrc in the working folder may ask for LaTeX, which would be run.
        with rc_context({"text.usetex": False}):
            draw_overview(path, result, truth)

    image = result.image
    writers: dict[str, Callable[[Path], object]] = {}
    if result.heatmap is not None:
        heatmap = result.heatmap
        writers[f"heatmap{heatmap_suffix(image)}"] = lambda p: write_heatmap(p, heatmap, image)
    writers[f"labels{labels_suffix(image)}"] = lambda p: write_labels(p, result.labels, image)
    if result.consensus is not None:
        against = result.consensus.disagreement
        writers[f"disagreement{heatmap_suffix(image)}"] = lambda p: write_heatmap(p, against, image)
    writers["prompts.json"] = lambda p: p.write_text(to_json(result.prompts), encoding="utf-8")
    if truth is not None:
        table = pd.DataFrame(scores_data(result)["planes"])
        if "flags" in table:
            table["flags"] = table["flags"].map(" ".join)
        table = table.map(lambda value: cell_text(value) if isinstance(value, str) else value)
        writers["scores.csv"] = lambda p: table.to_csv(p, index=False)
    writers["overview.png"] = overview
    whole = {
        **record,
        **volume_data(result),
        "scores": scores_data(result),
        "prompts": to_data(result.prompts),
    }
    text = json.dumps(whole, indent=2, allow_nan=False) + "\n"
    writers["run.json"] = lambda p: p.write_text(text, encoding="utf-8")
    # Only beside a record of ours is a file of one of our names ours to remove.
    ours = [
        *(f"{name}{s}" for name in ("heatmap", "disagreement") for s in (".nii.gz", ".tif")),
        *(f"labels{suffix}" for suffix in (".nii.gz", ".tif", ".png")),
        *_output_names(image),
    ]
    stale = [name for name in ours if name not in writers] if (folder / "run.json").exists() else ()
    write_folder(folder, writers, stale)
    return list(writers)
