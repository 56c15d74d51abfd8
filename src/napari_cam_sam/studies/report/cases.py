"""Cases of a study run again, for the pictures of its report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.truth import truth_plane
from napari_cam_sam.images.geometry import hanging
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import resolve_window
from napari_cam_sam.pipeline import run_image
from napari_cam_sam.pipeline.heatmaps import planes_with_heatmaps, with_model_window
from napari_cam_sam.pipeline.planes import (
    checked_planes,
    encoder,
    make_prompts,
    read_truth,
    run_plane,
)
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.studies.cases import Case, read_case, read_prediction
from napari_cam_sam.studies.config.plan import DatasetSource, Study, plan_hash
from napari_cam_sam.studies.config.settings import PREDICTION, Setting
from napari_cam_sam.studies.data.datasets import read_dataset
from napari_cam_sam.studies.report.figures import CaseView
from napari_cam_sam.studies.run.models import Models
from napari_cam_sam.text import find_file, restored

__all__ = ["case_renderer", "restore_study", "view_case"]


def restore_study(record: Mapping[str, Any], allowed: Collection[str] = ()) -> Study:
    """Make the study that a record is of.

    Parameters
    ----------
    record : mapping
        The content of ``study.json``.
    allowed : collection of str
        Factories that it may name, see `Study`.

    Returns
    -------
    Study

    Raises
    ------
    CamSamError
        If the record has no study, or is of a version that knew other parameters.
    """
    try:
        data = record["study"]
        # A path may be elsewhere by now, or a value be one that is refused today.
        settings = tuple(_restored(Setting, one) for one in data["settings"].values())
        dataset = _restored(DatasetSource, data["dataset"])
        study = Study(
            data["name"], dataset, settings, data["seed"], (), data["threads"], data["trust"],
            allowed=tuple(allowed),
        )  # fmt: skip
        plan = plan_hash(study)
    except (CamSamError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CamSamError(f"The study cannot be made again from its record ({error}).") from error
    if plan != record.get("plan"):
        raise CamSamError(
            "The record of the study is of another version of napari-cam-sam, so its cases are "
            "not run again."
        )
    return study


def _restored(kind: Any, data: Any) -> Any:
    """Make a value of a type from plain data: the inverse of `records.values.plain`."""
    if get_origin(kind) in (Union, UnionType):
        if data is None:
            return None
        kinds = [one for one in get_args(kind) if one is not NoneType]
        fitting = [one for one in kinds if isinstance(one, type) and isinstance(data, one)]
        return _restored((fitting or kinds)[0], data)
    if get_origin(kind) is tuple:
        if not isinstance(data, list):  # a text has items, too
            raise TypeError(f"{data!r} is no list"[:80])
        inner = [one for one in get_args(kind) if one is not Ellipsis]
        several = inner if len(inner) == len(data) else inner * len(data)
        return tuple(_restored(one, item) for one, item in zip(several, data, strict=False))
    if kind is range:
        if set(data) != {"start", "stop"}:  # all that `plain` writes
            raise TypeError(f"{data!r} is no range"[:80])
        return range(_restored(int, data["start"]), _restored(int, data["stop"]))
    if kind is Path:
        return find_file(Path(), data)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        values = {f.name: _restored(hints[f.name], data[f.name]) for f in fields(kind) if f.init}
        for name in ("classifier", "segmenter"):  # the path of a model, or its name
            text = values.get(name)
            if isinstance(text, str) and restored(text) != text:
                values[name] = str(find_file(Path(), text))
        return kind(**values)
    if kind in (str, bool, int, float):
        wide = (int, float) if kind is float else kind
        if not isinstance(data, wide) or (isinstance(data, bool) and kind is not bool):
            raise TypeError(f"{data!r} is no {kind.__name__}"[:80])
    return data


def case_renderer(
    record: Mapping[str, Any], device: str = "auto", allowed: Collection[str] = ()
) -> Callable[[str, str], CaseView]:
    """Make what runs a case of a study again.

    Parameters
    ----------
    record : mapping
        The content of ``study.json``.
    device : str
    allowed : collection of str
        Factories that may be imported for it; the cases of others have a reason, and no picture.

    Returns
    -------
    callable
        Of a case's id and a setting's name, giving a `CaseView`; see
        :data:`napari_cam_sam.studies.report.page.Render`.

    Raises
    ------
    CamSamError
        If the study cannot be made again, or its images are not where they were.
    """
    study = restore_study(record, allowed)
    source = study.dataset
    cases = {
        case.image_id: case
        # A report is read: that it draws phantoms where its record says would be none.
        for case in read_dataset(source.layout, source.path, draw=False, **source.options).cases
    }
    settings = {one.name: one for one in study.settings}
    # A heatmap has a name of its own, which all settings share that start from it.
    for one in study.settings:
        if one.classifier is not None:
            alone = replace(one, segmenter="", annotator=None)
            settings.setdefault(one.heatmap_columns()["setting"], alone)
    models = Models(device, study.allowed)

    def render(case: str, setting: str) -> CaseView:
        if case not in cases:
            raise CamSamError(f"The case {case!r} is no longer among the images.")
        return view_case(cases[case], settings[setting], models)

    return render


def view_case(case: Case, setting: Setting, models: Models) -> CaseView:
    """Run one setting on one case, and give what is to be drawn.

    Parameters
    ----------
    case : Case
    setting : Setting
    models : Models

    Returns
    -------
    CaseView
        Of a volume the plane with most of the truth, or without a truth the middle one.

    Raises
    ------
    CamSamError
        For a file that is missing or damaged, and for a simulated annotator, of whose steps
        there is no one picture.
    """
    if setting.annotator is not None:
        raise CamSamError("A simulated annotator's steps are not drawn.")
    image, truth = read_case(case)
    run = setting.run
    index = _plane_to_show(image, truth, setting)
    classifier = None if setting.classifier is None else models.classifier(setting.classifier)
    run = with_model_window(run, classifier)
    window = resolve_window(image, run.window)
    answer = read_truth(truth, run, index)
    one = range(index, index + 1)
    _, plane, heatmap = next(planes_with_heatmaps(image, classifier, run, one, window, truth))
    prompts, labels = PlanePrompts(run.axis, index), np.zeros(plane.shape[:2], np.uint8)
    if setting.segmenter == PREDICTION:
        prediction = read_prediction(case, image)
        if prediction is not None:
            labels = np.asarray(prediction.plane(run.axis, index))
    elif not setting.segmenter:
        prompts = make_prompts(index, heatmap, answer, run)
    elif run.volume is not None:
        segmenter = models.segmenter(setting.segmenter)
        whole = run_image(image, segmenter, classifier, run, truth)
        prompts = next((p for p in whole.prompts if p.index == index), prompts)
        labels = whole.labels[image.plane_index(run.axis, index)]
    else:
        segmenter = models.segmenter(setting.segmenter)
        found = run_plane(plane, index, heatmap, answer, segmenter, encoder(segmenter, None), run)
        prompts, labels = found.prompts, found.labels
    rows, columns = image.geometry.plane_spacing(run.axis)
    return CaseView(
        plane,
        None if heatmap is None else heatmap.values,
        prompts,
        labels > 0,
        None if answer is None else answer > 0,
        rows / columns,
        hanging(image.geometry, run.axis),
    )


def _plane_to_show(image: Image, truth: Image | None, setting: Setting) -> int:
    indices = checked_planes(image, setting.run)
    if truth is None or len(indices) == 1:
        return indices[len(indices) // 2]

    axis = setting.run.axis

    def area(index: int) -> int:
        return int(np.count_nonzero(truth_plane(truth, axis, index, setting.run.truth_label)))

    return max(indices, key=area)
