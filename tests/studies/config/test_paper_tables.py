"""The papers' tables from small tables whose means are known by hand."""

import numpy as np
import pandas as pd
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.studies.config.paper_tables import paper_table


def table(*rows):
    """Make the table of a study; what a row does not say is empty."""
    texts = (
        "study", "case", "group", "split", "label", "setting", "classifier", "method", "layers",
        "target", "source", "strategy", "segmenter", "mask_choice", "status", "metric",
    )  # fmt: skip
    empty = {**dict.fromkeys(texts, ""), "plane": 0, "object": 0, "step": 0, "value": np.nan}
    return pd.DataFrame([{**empty, **row} for row in rows])


def test_s0():
    def rows(case, auprc, prevalence):
        head = {"case": case, "source": "heatmap", "setting": "heatmap/net/grad-cam"}
        return [
            {**head, "metric": "auprc", "value": auprc},
            {**head, "metric": "auc_judd", "value": 0.75},
            {**head, "metric": "prevalence", "value": prevalence},
        ]

    found = paper_table(
        "s0",
        table(
            *rows("mask/a", 0.2, 0.1), *rows("mask/b", 0.4, 0.2), *rows("mask/c", 0.9, 0.6),
            *rows("boxes/a", 0.3, 0.2), *rows("plain", 0.5, 0.2), *rows("sam/a", 0.1, 0.05),
        ),
    ).set_index("score")  # fmt: skip
    assert list(found.index) == ["mean auprc", "median auprc", "mean auc_judd", "median auc_judd"]
    assert set(found["heatmap"]) == {"net/grad-cam"}
    assert found.loc["mean auprc", "masks"] == pytest.approx(0.5)
    assert found.loc["median auprc", "masks"] == pytest.approx(0.4)
    assert found.loc["mean auprc", "masks, chance"] == pytest.approx(0.3)
    assert found.loc["mean auc_judd", "masks, chance"] == 0.5
    # Without a prefix it is a data set of boxes alone, as the malaria one.
    assert found.loc["mean auprc", "boxes"] == pytest.approx(0.4)
    assert found.loc["mean auprc", "boxes, images"] == 2
    assert found.loc["mean auprc", "SAM masks"] == pytest.approx(0.1)
    assert found.loc["mean auprc", "boxes, published"] == 0.2982
    assert found.loc["median auc_judd", "SAM masks, published"] == 0.9206


def scores(dice, **head):
    return [
        {**head, "metric": metric, "value": value}
        for metric, value in (("dice", dice), ("iou", dice / 2), ("pixel_accuracy", 1.0))
    ]


def test_s1():
    rows = []
    for case, label, cam, truth in (
        ("a", "benign", 0.2, 0.8), ("b", "benign", 0.0, 0.6), ("c", "malignant", 0.5, 1.0),
    ):  # fmt: skip
        head = {"case": case, "label": label, "segmenter": "sam"}
        model = {"classifier": "net", "method": "grad-cam"}
        rows += scores(cam, **head, **model, source="cam", strategy="s1-box")
        rows += scores(truth, **head, source="truth", strategy="truth-box")
        rows += scores(1.0, **{**head, "segmenter": "other"}, source="truth", strategy="truth-box")
    found = paper_table("s1", table(*rows)).set_index(["tumour", "prompt"])
    benign = found.loc["benign", "box"]
    assert benign["images"] == 2
    assert benign["dice, CAM"] == pytest.approx(0.1)
    assert benign["dice, truth"] == pytest.approx(0.7)
    assert benign["dice, % of truth"] == pytest.approx(100 / 7)
    assert benign["iou, truth"] == pytest.approx(0.35)
    assert (benign["dice, CAM, published"], benign["iou, truth, published"]) == (0.37, 0.78)
    assert found.loc["all", "box"]["dice, CAM"] == pytest.approx(0.7 / 3)
    assert np.isnan(found.loc["all", "box"]["dice, CAM, published"])
    assert ("all", "point") not in found.index


def test_s1_published(tmp_path):
    rows = []
    for source, folder in (("cam", "published_cam_prompts"), ("truth", "published_sam_vit_l")):
        rows += scores(0.5, case=f"{source} box-point/a", label="benign", source="prediction")
        rows += scores(0.1, case=f"{source} box-point/b", label="benign", source="prediction")
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "metrics.csv").write_text(
            "image,label,prompt,iou,dice,pixel_accuracy\n"
            "a,benign,box_point,0.25,0.5,1\nb,benign,box_point,0.05,0.1,1\n"
        )
    found = paper_table("s1-published", table(*rows), tmp_path).set_index(["tumour", "prompt"])
    for name in ("dice", "iou", "pixel_accuracy"):
        for source in ("CAM", "truth"):
            row = found.loc["benign", "box-point"]
            assert row[f"{name}, {source}"] == row[f"{name}, {source}, published"]
    assert "dice, CAM, published" not in paper_table("s1-published", table(*rows))


def test_s2():
    head = {"source": "cam", "classifier": "shapes", "method": "grad-cam", "segmenter": "sam"}
    rows = [
        {**head, "strategy": "s2-fg", "case": "a", "metric": "fg_hit_rate", "value": 1.0},
        {**head, "strategy": "s2-fg", "case": "a", "metric": "distance_px", "value": 3.0},
        {**head, "strategy": "s2-fg", "case": "a", "metric": "iou", "value": 0.9},
        # No evidence, no point: a miss, and the IoU of an empty mask, but no distance.
        {**head, "strategy": "s2-fg", "case": "b", "metric": "iou", "value": 0.0},
    ]
    found = paper_table("s2", table(*rows)).iloc[0]
    assert found["images"] == 2
    assert found["fg_hit_rate"] == 0.5
    assert found["distance_px"] == 3.0
    assert found["iou"] == pytest.approx(0.45)
    assert np.isnan(found["bg_hit_rate"])
    assert found["distance_px, published"] == 3.848


def test_s3():
    rows = [
        {
            "source": "heatmap", "case": case, "classifier": "unet", "method": method,
            "layers": "bottleneck", "target": "1", "metric": "energy_inside", "value": value,
        }
        for case, method, value in (
            ("a", "grad-cam", 0.2), ("b", "grad-cam", 0.4), ("a", "hires-cam", 0.9),
        )
    ]  # fmt: skip
    found = paper_table("s3", table(*rows)).set_index("method")
    assert found.loc["grad-cam", "energy_inside"] == pytest.approx(0.3)
    assert found.loc["hires-cam", "energy_inside"] == pytest.approx(0.9)


def test_s4():
    head = {"segmenter": "sam", "mask_choice": "best", "metric": "iou"}
    clicks = [
        {**head, "source": "annotator", "case": case, "step": step, "value": value}
        for case, values in (("a", (0.1, 0.5)), ("b", (0.3, 0.7)), ("c", (0.8, 0.9)))
        for step, value in enumerate(values, start=1)
    ]
    boxes = [{**head, "source": "truth", "case": c, "value": v} for c, v in (("a", 0.6), ("b", 1))]
    found = paper_table("s4", table(*clicks, *boxes))
    ours = found[found["segmenter"] == "sam"].set_index("statistic")
    assert ours.loc["mean", "1 point"] == pytest.approx(0.4)
    assert ours.loc["mean", "2 points"] == pytest.approx(0.7)
    assert ours.loc["50 %", "1 point"] == pytest.approx(0.3)
    assert ours.loc["25 %", "1 point"] == pytest.approx(0.2)
    assert ours.loc["mean", "box"] == pytest.approx(0.8)
    assert ours.loc["mean", "images"] == 3
    theirs = found[found["mask choice"] == "oracle"].iloc[0]
    assert (theirs["1 point"], theirs["box"]) == (0.619, 0.779)


def test_s4_classes_are_problems_of_their_own():
    head = {"segmenter": "sam", "mask_choice": "best", "metric": "iou", "source": "annotator"}
    rows = [
        {**head, "case": "a", "step": 1, "object": label, "value": value}
        for label, value in ((0, 0.0), (1, 0.2), (2, 0.6))
    ]
    found = paper_table("s4", table(*rows, {**head, "case": "b", "step": 1, "value": 1.0}))
    assert found["1 point"].iloc[0] == pytest.approx((0.2 + 0.6 + 1.0) / 3)


def test_volumes_and_failed_cases_do_not_count():
    head = {"source": "cam", "strategy": "s2-fg", "metric": "iou"}
    rows = [
        {**head, "case": "a", "value": 0.5},
        {**head, "case": "a", "plane": -1, "value": 1.0},
        {**head, "case": "b", "metric": "", "status": "failed"},
    ]
    found = paper_table("s2", table(*rows)).iloc[0]
    assert (found["images"], found["iou"]) == (1, 0.5)


def test_wrong_preset_and_empty_table():
    with pytest.raises(CamSamError, match=r"preset 's5'.*s"):
        paper_table("s5", table())
    row = {"source": "cam", "metric": "iou", "value": 1.0, "strategy": "s2-fg", "case": "a"}
    for name in ("s0", "s1", "s3", "s4", "s1-published"):
        with pytest.raises(CamSamError, match="no scores"):
            paper_table(name, table({**row, "source": "other"}))
    with pytest.raises(CamSamError, match="no scores"):
        paper_table("s2", table({**row, "metric": ""}))
