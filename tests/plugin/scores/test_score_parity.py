"""One image, one prediction, one truth: the same numbers, whoever scores them.

The dock, a run, a study, a replayed session, the commands and Python agree to the last digit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.cli import main
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.evaluation.image_scores import score_image, score_labels, score_objects
from napari_cam_sam.evaluation.score_steps import ScoredRow
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.reading import read_image, read_labels
from napari_cam_sam.metrics.scoring import Scores
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.pipeline import RunParameters, RunResult, run_image
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.session import SINGLE, Acceptance, Session, image_record, replay
from napari_cam_sam.studies.config.plan import DatasetSource, Setting, Study
from napari_cam_sam.studies.run.runner import run_study

WAIT = 60_000
CAM = RunParameters(cam=CamParameters(target="lesion", min_probability=0.3), mask_choice="single")
BY_LABEL = RunParameters(strategy="truth-box", mask_choice="single")
ONE_LABEL = replace(BY_LABEL, truth_label=2)
RUNS = {"cam": CAM, "by label": BY_LABEL, "one label": ONE_LABEL}
OF_PROMPTS = (
    "fg_hit_rate", "bg_hit_rate", "distance_px", "distance_mm", "box_iou", "box_area",
    "n_positive", "n_negative", "n_boxes",
)  # fmt: skip

Numbers = dict[str, float]


@dataclass
class Scored:
    """What is scored: the files, what they hold, and a run of them."""

    folder: Path
    image_file: Path
    truth_file: Path
    image: Image
    truth: Image
    parameters: RunParameters
    result: RunResult

    @property
    def true(self) -> Any:
        return np.asarray(self.truth.data)


def numbers(values: Mapping[str, float | None]) -> Numbers:
    """Keep what is a finite number or infinite; NaN says that there is none."""
    return {name: v for name, v in values.items() if v is not None and not math.isnan(v)}


def without_prompts(scores: Scores) -> Numbers:
    """Leave out the scores of prompts, which the dock and `metrics` are not given."""
    return {k: v for k, v in numbers(scores.values).items() if k not in OF_PROMPTS}


@pytest.fixture(params=["volume", "plane"])
def files(request: Any, tmp_path: Path) -> tuple[Path, Path]:
    """Lay down an image and a truth of two labels.

    Of the volume some slices are empty; on another one the truth is, but not what is found there.
    """
    phantom = ct(7, shape=(9, 64, 64))
    labels = np.asarray(phantom.labels, np.uint8)
    labels[2:4, 5:15, 8:20] = 2
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    if request.param == "plane":
        plane = np.clip(phantom.hounsfield[3] + 128, 0, 255).astype(np.uint8)
        paths = tmp_path / "images" / "scan.tif", tmp_path / "masks" / "scan.tif"
        tifffile.imwrite(paths[0], plane)
        tifffile.imwrite(paths[1], labels[3])
        return paths
    labels[4] = 0
    paths = tmp_path / "images" / "scan.nii.gz", tmp_path / "masks" / "scan.nii.gz"
    affine = np.diag([0.7, 0.9, 3.3, 1])
    for path, data in zip(paths, (phantom.hounsfield, labels), strict=True):
        nib.save(nib.Nifti1Image(data.transpose(2, 1, 0), affine), path)
    return paths


@pytest.fixture(params=list(RUNS))
def scored(request: Any, files: tuple[Path, Path], tmp_path: Path) -> Scored:
    image, truth, parameters = read_image(files[0]), read_labels(files[1]), RUNS[request.param]
    classifier = None if parameters.from_truth else load_classifier("lesion", device="cpu")
    segmenter = load_segmenter("seeded", "cpu")
    result = run_image(image, segmenter, classifier, parameters, truth)
    return Scored(tmp_path, *files, image, truth, parameters, result)


def plane_of(scored: Scored, array: Any, index: int) -> Any:
    return np.asarray(array)[scored.image.plane_index(0, index)]


def of_python(scored: Scored, labels: Any) -> dict[tuple[int, int], Numbers]:
    """Score labels plane by plane in Python, with the prompts and heatmaps of the run."""
    found = {}
    spacing, wanted = scored.image.geometry.plane_spacing(0), scored.parameters.truth_label
    for prompts in scored.result.prompts:
        mask, true = (plane_of(scored, one, prompts.index) for one in (labels, scored.true))
        true = true if wanted is None else np.where(true == wanted, true, 0)
        heat = scored.result.heatmap
        values = None if heat is None else plane_of(scored, heat, prompts.index)
        if not (mask.any() or true.any()):
            continue
        if scored.parameters.by_label:
            each = score_labels(mask, true, spacing, heatmap=values, prompts=prompts)
        else:
            each = {wanted or 0: score_image(mask, true, spacing, values, prompts)}
        found |= {(prompts.index, label): numbers(one.values) for label, one in each.items()}
    return found


def test_the_run_python_and_a_replayed_session(scored: Scored) -> None:
    result, segmenter = scored.result, load_segmenter("seeded", "cpu")
    planes = {key: numbers(one.values) for key, one in result.scores.items()}
    assert planes == of_python(scored, result.labels)
    if scored.image.spatial_ndim == 3:
        assert result.empty_planes > 0
        invented = [one for one in result.scores.values() if "truth-empty" in one.flags]
        assert invented or scored.parameters.from_truth
        assert not any("prevalence" in one.values for one in invented)
    window = (result.window.low, result.window.high)
    session = Session(
        image_record(scored.image),
        accepted=tuple(
            Acceptance(
                prompts, (SINGLE,) * len(prompts.objects), "keep", "seeded",
                segmenter.model_hash, window,
            )
            for prompts in result.prompts
            if prompts.objects
        ),
    )  # fmt: skip
    labels = replay(session, scored.image, lambda name, precision: segmenter)
    np.testing.assert_array_equal(labels, result.labels)
    assert of_python(scored, labels) == planes


def test_the_study(scored: Scored) -> None:
    name = None if scored.parameters.from_truth else "lesion"
    source = DatasetSource("folders", scored.folder)
    study = Study("parity", source, (Setting("one", name, "seeded", scored.parameters),))
    table = run_study(study, scored.folder / "out").table
    known = table[table["metric"].ne("") & table["metric"].ne("probability")]
    found: dict[tuple[int, int], Numbers] = {}
    for (plane, label), rows in known.groupby(["plane", "object"]):
        found[plane, label] = dict(zip(rows["metric"], rows["value"], strict=True))
    result, whole = scored.result, scored.parameters.truth_label or 0
    expected = {key: numbers(one.values) for key, one in result.scores.items()}
    if result.volume is not None:
        expected[-1, whole] = numbers(result.volume.values)
        expected |= {(-1, label): numbers(s.values) for label, s in result.volume_labels.items()}
    # A study counts all labels of a plane together, too.
    more = {key for key in found if key not in expected}
    assert more == {(i, 0) for i, label in expected if i >= 0 and label > 0 == whole}
    # The heatmap belongs to the plane as a whole.
    assert {key: one for key, one in found.items() if key not in more} == expected


def test_the_commands(scored: Scored, capsys: pytest.CaptureFixture[str]) -> None:
    out, parameters = scored.folder / "run", scored.parameters
    how = ["--classifier", "lesion", "--target", "lesion", "--min-probability", 0.3]
    if parameters.from_truth:
        how = ["--prompts", "truth-box"]
    label = [] if parameters.truth_label is None else ["--truth-label", parameters.truth_label]
    argv = ["run", scored.image_file, "--truth", scored.truth_file, "--sam", "seeded", *how, *label]
    argv += ["--mask-choice", "single", "--output", out]
    assert main([str(one) for one in argv]) == 0
    told = json.loads((out / "run.json").read_text())["scores"]
    result, infinite = scored.result, ("hd95", "assd")
    for row in told["planes"]:
        expected = numbers(result.scores[row["index"], row["label"]].values)
        own = {name: row[name] for name in expected if name not in infinite or row[name]}
        assert own == {k: v for k, v in expected.items() if math.isfinite(v)}
    capsys.readouterr()
    (labels,) = out.glob("labels.*")
    argv = ["metrics", "--prediction", labels, "--truth", scored.truth_file, "--json", *label]
    if result.heatmap is not None:
        (heatmap,) = out.glob("heatmap.*")
        argv += ["--heatmap", heatmap]
    assert main([str(one) for one in argv]) == 0
    printed = json.loads(capsys.readouterr().out)
    whole = result.volume
    if whole is None:
        spacing = scored.image.geometry.spacing
        wanted = scored.true if not label else scored.true == label[1]
        whole = score_image(result.labels, wanted, spacing, result.heatmap)
    assert {k: printed[k] for k in without_prompts(whole)} == without_prompts(whole)


@pytest.fixture
def open_dock(qapp: Any, qtbot: Any) -> Iterator[Callable[[Scored], ScoresDock]]:
    docks = []

    def open_one(scored: Scored) -> ScoresDock:
        viewer, geometry = ViewerModel(), scored.image.geometry
        where: dict[str, Any] = {"scale": geometry.spacing, "units": geometry.unit}
        viewer.add_image(np.asarray(scored.image.data), name="scan", **where)
        viewer.add_labels(scored.true, name="truth", **where)
        viewer.add_labels(scored.result.labels, name="mine", **where)
        docks.append(dock := ScoresDock(viewer))
        if scored.result.heatmap is not None:
            viewer.add_image(scored.result.heatmap, name="map", **where)
        for name, text in (("truth", "truth"), ("prediction", "mine"), ("heatmap", "map")):
            choice = getattr(dock.choices, name)
            if choice.findText(text) >= 0:
                choice.setCurrentText(text)
                dock.choices._chosen(name)
        return dock

    yield open_one
    for dock in docks:
        qtbot.waitUntil(lambda d=dock: settled(d), timeout=WAIT)
        dock.deleteLater()


def settled(dock: ScoresDock) -> bool:
    tasks = (dock.row, dock._latest, dock.choices.label.finder)
    return not any(one.busy for one in tasks) and not dock._pause.isActive()


def scores_of(dock: ScoresDock, label: int | None, qtbot: Any) -> list[ScoredRow]:
    dock.choices.label.offer([(str(label), label)])
    with qtbot.waitSignal(dock.scored, timeout=WAIT):
        dock.score()
    qtbot.waitUntil(lambda: settled(dock), timeout=WAIT)
    return dock._state.rows  # type: ignore[union-attr]


def test_the_dock(scored: Scored, open_dock: Callable[[Scored], ScoresDock], qtbot: Any) -> None:
    dock, result, parameters = open_dock(scored), scored.result, scored.parameters
    labels: list[int | None] = [parameters.truth_label]
    if parameters.by_label:
        labels = sorted({label for _, label in result.scores})  # type: ignore[type-var]
        assert labels == [1, 2]
    for label in labels:
        rows = scores_of(dock, label, qtbot)
        planes = {r.number: numbers(r.scores.values) for r in rows if r.kind in ("plane", "image")}
        assert planes == {
            index: without_prompts(one)
            for (index, known), one in result.scores.items()
            if known == (label or 0)
        }
        volumes = [numbers(row.scores.values) for row in rows if row.kind == "volume"]
        if result.volume is not None:
            whole = result.volume_labels[label or 0] if parameters.by_label else result.volume
            assert volumes == [numbers(whole.values)]
    rows = scores_of(dock, None, qtbot)
    objects = [row.scores for row in rows if row.kind in ("object", "extra")]
    spacing = scored.image.geometry.spacing
    each = score_objects(result.labels, scored.true, spacing)
    assert len(objects) > 1
    assert [numbers(o.values) for o in objects] == [numbers(o.scores.values) for o in each]
