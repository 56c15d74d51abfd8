"""The presets: what they make of a folder, and the papers' tables by studies of real files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import WindowParameters, resolve_window
from napari_cam_sam.models.segmentation import load_network
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.pipeline.annotation import annotate
from napari_cam_sam.pipeline.heatmaps import window_plane
from napari_cam_sam.prompts.annotator import AnnotatorParameters
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.studies.cases import read_case
from napari_cam_sam.studies.config.papers import (
    PRESETS,
    PUBLISHED_MASKS,
    PresetParameters,
    paper_table,
    preset_study,
)
from napari_cam_sam.studies.config.plan import DatasetSource, Setting, Study
from napari_cam_sam.studies.report.cases import view_case
from napari_cam_sam.studies.run.models import Models
from napari_cam_sam.studies.run.runner import read_cases, run_study

BUSI = Path(__file__).resolve().parents[3].parent / "shared/data/busi"

needs_busi = pytest.mark.skipif(
    not BUSI.exists(), reason="the BUSI images are not beside the project"
)


def test_every_preset_is_a_study(tmp_path):
    parameters = PresetParameters(classifiers=("lesion",))
    for name in PRESETS:
        study = preset_study(name, tmp_path, parameters)
        assert study.name == name
        assert study.settings


def test_s0_takes_the_layout_that_is_there(tmp_path):
    assert preset_study("s0", tmp_path).dataset.options["truth_as"] == "both"
    (tmp_path / "training.json").write_text("[]")
    assert preset_study("s0", tmp_path).dataset == DatasetSource("bbbc041", tmp_path)
    given = DatasetSource("folders", tmp_path)
    assert preset_study("s0", given).dataset == given
    methods = {one.run.cam.method for one in preset_study("s0", tmp_path).settings}
    assert methods == {"grad-cam", "layer-cam"}


def test_s1_is_the_protocol(tmp_path):
    parameters = PresetParameters(classifiers=("a.pt", "lesion"), segmenters=("seeded",))
    study = preset_study("s1", tmp_path, parameters)
    assert len(study.settings) == 3 * (1 + 2)
    by_name = {setting.name: setting for setting in study.settings}
    box = by_name["lesion/grad-cam/s1-box/seeded"]
    assert (box.run.prompt_parameters.kind, box.run.prompt_parameters.margin) == ("box", 5)
    assert box.run.prompt_parameters.threshold == 0.8
    assert {one.run.mask_choice for one in study.settings} == {"single"}
    assert by_name["truth-point/seeded"].run.from_truth
    assert ("lesion/grad-cam/s1-box/seeded", "truth-box/seeded") in study.compare


def test_s4_has_the_three_choices_and_a_box(tmp_path):
    study = preset_study("s4", tmp_path, PresetParameters(points=3, seed=5))
    clicks = [one for one in study.settings if one.annotator is not None]
    assert [one.run.mask_choice for one in clicks] == ["first", "best", "oracle"] * 2
    assert {(one.annotator.points, one.annotator.seed) for one in clicks} == {(3, 5)}
    boxes = [one.run.prompt_parameters for one in study.settings if one.annotator is None]
    assert {(one.kind, one.margin) for one in boxes} == {("box", 0)}


def test_wrong_preset(tmp_path):
    with pytest.raises(CamSamError, match="preset 's5'"):
        preset_study("s5", tmp_path)


def test_s2_on_phantoms(tmp_path):
    parameters = PresetParameters(images=3, methods=("layer-cam",))
    study = preset_study("s2", tmp_path / "phantoms", parameters)
    found = paper_table("s2", run_study(study, tmp_path / "out").table)
    assert list(found["strategy"]) == ["s2-fg", "s2-fg-bg", "s2-adaptive"]
    assert (found["images"] == 3).all()
    assert (found["iou"] > 0.7).all()
    backgrounds = dict(zip(found["strategy"], found["bg_hit_rate"], strict=True))
    assert backgrounds["s2-fg-bg"] == 1.0
    assert np.isnan(backgrounds["s2-fg"])


def test_s3_on_phantoms(tmp_path):
    parameters = PresetParameters(images=2)
    study = preset_study("s3", tmp_path / "phantoms", parameters)
    assert len(study.settings) == 3 * 3 * 2
    found = paper_table("s3", run_study(study, tmp_path / "out").table)
    assert set(found["layers"]) == {"bottleneck", "decoder3", "decoder2"}
    assert set(found["target"]) == {
        f"lesion on {name}" for name in ("whole image", "predicted region", "truth")
    }
    assert len(found) == 18
    assert found["energy_inside"].between(0, 1).all()
    own = preset_study("s3", tmp_path, PresetParameters(classifiers=("own.pth",)))
    assert {one.run.cam.target for one in own.settings} == {None}


def test_energy_inside_is_that_of_the_heatmap_itself(tmp_path):
    cam = CamParameters("hires-cam", target="lesion", layers=("decoder3",))
    setting = Setting("map", "phantom-unet", "", RunParameters(cam=cam))
    source = DatasetSource("phantoms", tmp_path / "phantoms", {"kind": "ultrasound", "count": 2})
    study = Study("s3", source, (setting,))
    result = run_study(study, tmp_path / "out")
    (row,) = paper_table("s3", result.table).to_dict("records")
    expected = []
    for case in read_cases(study).cases:
        image, truth = read_case(case)
        seen = window_plane(image, 0, 0, resolve_window(image, WindowParameters()))
        network = load_network("phantom-unet", device="cpu")
        (heatmap,) = compute_heatmaps(network, [seen], cam)
        inside = np.asarray(truth.data) > 0
        expected.append(heatmap.values[inside].sum() / heatmap.values.sum())
    assert row["energy_inside"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert result.record["models"]["phantom-unet"][0]["kind"] == "segmentation network"


def test_settings_that_differ_in_the_pixels_they_explain_have_heatmaps_of_their_own(tmp_path):
    settings = tuple(
        Setting(kind, "phantom-unet", "", RunParameters(cam=CamParameters(pixel_set=pixels)))
        for kind, pixels in (("predicted", None), ("truth", PixelSet("truth")))
    )
    source = DatasetSource("phantoms", tmp_path / "phantoms", {"kind": "ultrasound", "count": 1})
    table = run_study(Study("pixels", source, settings), tmp_path / "out").table
    maps = table[table["source"] == "heatmap"].dropna(subset=["value"])
    assert set(maps["target"]) == {"predicted", "predicted on truth"}
    assert not maps.duplicated(["setting", "metric"]).any()
    (case,) = read_cases(Study("pixels", source, settings)).cases
    drawn = view_case(case, settings[1], Models("cpu"))
    inside = maps[maps["target"].str.contains("truth") & (maps["metric"] == "energy_inside")]
    found = drawn.heatmap[drawn.truth].sum() / drawn.heatmap.sum()
    assert found == pytest.approx(inside["value"].item(), abs=1e-6)


@pytest.mark.real_data
@needs_busi
def test_published_means_to_the_last_digit(tmp_path):
    """Of one of the three prompts; benchmarks/papers.py does them all."""
    predictions = {name: path for name, path in PUBLISHED_MASKS.items() if name.endswith(" point")}
    options = {"classes": ["benign", "malignant"], "predictions": predictions}
    study = preset_study("s1-published", DatasetSource("busi", BUSI / "images", options))
    found = paper_table("s1-published", run_study(study, tmp_path).table, BUSI)
    assert dict(zip(found["tumour"], found["images"], strict=True)) == {
        "benign": 21, "malignant": 30, "all": 51,
    }  # fmt: skip
    for name in ("dice", "iou", "pixel_accuracy"):
        for source in ("CAM", "truth"):
            ours, theirs = found[f"{name}, {source}"], found[f"{name}, {source}, published"]
            assert list(ours) == list(theirs)


def test_s4_on_phantoms(tmp_path):
    source = DatasetSource("phantoms", tmp_path / "phantoms", {"kind": "ultrasound", "count": 2})
    parameters = PresetParameters(segmenters=("seeded",), points=3)
    result = run_study(preset_study("s4", source, parameters), tmp_path / "out")
    found = paper_table("s4", result.table)
    ours = found[(found["segmenter"] == "seeded") & (found["statistic"] == "mean")]
    assert list(ours["mask choice"]) == ["first", "best", "oracle"]
    curve = ours.set_index("mask choice")
    # The oracle's first mask is the best of the three that the others choose from.
    assert curve.loc["oracle", "1 point"] >= curve.loc[["best", "first"], "1 point"].max()
    assert ours[["1 point", "3 points", "box"]].notna().all(axis=None)


def test_each_class_is_a_problem_of_its_own(tmp_path):
    """Masks of two classes that overlap are scored as they are, and what is empty is said."""
    rows, columns = np.indices((60, 80))
    inner = (rows - 30) ** 2 + (columns - 30) ** 2 <= 8**2
    outer = ((rows - 30) ** 2 + (columns - 30) ** 2 <= 22**2) & ~inner
    picture = (40 + 80 * outer + 160 * inner).astype(np.uint8)
    labels = np.where(inner, 1, 2 * outer).astype(np.uint8)
    for folder, name, values in (
        ("images", "a", picture), ("masks", "a", labels),
        ("images", "b", picture), ("masks", "b", np.zeros_like(labels)),
    ):  # fmt: skip
        (tmp_path / folder).mkdir(exist_ok=True)
        Picture.fromarray(values).save(tmp_path / folder / f"{name}.png")
    parameters = PresetParameters(segmenters=("seeded",), points=3)
    source = DatasetSource("folders", tmp_path)
    table = run_study(preset_study("s4", source, parameters), tmp_path / "out").table
    table = table[table["setting"] == "points/first/seeded"]
    assert set(table.loc[table["case"] == "b", "status"]) == {"no-truth"}
    segmenter = load_segmenter("seeded")
    embedding = segmenter.encode(picture)
    overlap = False
    for label, truth in ((1, inner), (2, outer)):
        steps = list(annotate(segmenter, embedding, truth, AnnotatorParameters(3), object_id=label))
        overlap |= bool((steps[-1].mask & (labels == 3 - label)).any())
        expected = [(s.mask & truth).sum() / (s.mask | truth).sum() for s in steps]
        ious = table[(table["metric"] == "iou") & (table["object"] == label)].sort_values("step")
        np.testing.assert_allclose(ious["value"], expected, rtol=1e-12)
    assert overlap
