"""The papers' tables from the tidy table of a study, each figure beside the published one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_cam_sam.errors import CamSamError, unknown_name

__all__ = ["paper_table"]

# Dhamale and Pawar, table 2: ResNet-18 and ViT-L on their validation images, by class and prompt:
# Dice, IoU and pixel accuracy, each by CAM prompts and by truth prompts.
S1_TABLE = {
    ("benign", "box"): (0.37, 0.86, 0.30, 0.78, 0.94, 0.98),
    ("malignant", "box"): (0.32, 0.82, 0.23, 0.71, 0.87, 0.95),
    ("benign", "box-point"): (0.33, 0.87, 0.27, 0.79, 0.93, 0.98),
    ("malignant", "box-point"): (0.33, 0.83, 0.24, 0.72, 0.87, 0.96),
    ("benign", "point"): (0.40, 0.67, 0.35, 0.59, 0.67, 0.90),
    ("malignant", "point"): (0.35, 0.58, 0.27, 0.46, 0.65, 0.81),
}
S1_METRICS = ("dice", "iou", "pixel_accuracy")
# Paradowski, table 1: hit rates, distance and mIoU; the adaptive negatives are proposed there.
S2_TABLE = {
    "s2-fg": (0.815, np.nan, 3.848, 0.860),
    "s2-fg-bg": (0.815, 1.000, 3.848, 0.831),
    "s2-adaptive": (np.nan,) * 4,
}
S2_METRICS = ("fg_hit_rate", "bg_hit_rate", "distance_px", "iou")
# 886 blood smears: masks that SAM made of the boxes, and the boxes.
S0_TABLE = {
    ("auprc", "mean"): (0.2212, 0.2982),
    ("auprc", "median"): (0.1752, 0.2642),
    ("auc_judd", "mean"): (0.7846, 0.7832),
    ("auc_judd", "median"): (0.9206, 0.9164),
}
# Mazurowski et al., Segment Anything ViT-H on BUSI: mean IoU of points, and of a box.
S4_POINTS = {1: 0.469, 9: 0.597}
S4_BOX = {"first": 0.641, "oracle": 0.779}
S4_ONE_POINT = {"first": 0.471, "oracle": 0.619}


def paper_table(name: str, table: pd.DataFrame, published: Path | None = None) -> pd.DataFrame:
    """Make a paper's table in its rows and columns, our figures beside the published ones.

    An image without prompts counts with the Dice of its empty mask, 0; one that failed is not
    counted, as ``images`` shows.

    Parameters
    ----------
    name : str
        A preset: ``s0``, ``s1``, ``s1-published``, ``s2``, ``s3`` or ``s4``.
    table : DataFrame
        Of the study of this preset, see `studies.table`.
    published : Path, optional
        For ``s1-published``: the folder with ``published_sam_vit_l/metrics.csv`` and
        ``published_cam_prompts/metrics.csv``, whose means of the same images stand beside.

    Returns
    -------
    DataFrame
        Columns that end in ``, published`` are the paper's.

    Raises
    ------
    CamSamError
        If there is no such preset, or the table holds no score for it.
    """
    tables: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "s0": _s0,
        "s1": _s1,
        "s1-published": lambda scores: _s1_published(scores, published),
        "s2": _s2,
        "s3": _s3,
        "s4": _s4,
    }
    if name not in tables:
        raise unknown_name("preset", name, tables)
    # Planes, not volumes: the papers have images alone.
    scores = table[(table["metric"] != "") & (table["plane"] >= 0)]
    made = tables[name](scores) if len(scores) else pd.DataFrame()
    if made.empty:
        raise CamSamError(f"The table holds no scores for {name}: run the preset {name} first.")
    return made


def _s0(scores: pd.DataFrame) -> pd.DataFrame:
    """Heatmaps, metrics and statistics by what they are compared with."""
    maps = scores[scores["source"] == "heatmap"]
    truth = maps["case"].str.extract(r"^(mask|sam)/", expand=False)
    maps = maps.assign(truth=truth.map({"mask": "masks", "sam": "SAM masks"}).fillna("boxes"))
    rows = []
    for heatmap, part in maps.groupby("setting"):
        for (metric, statistic), theirs in S0_TABLE.items():
            row: dict[str, Any] = {
                "heatmap": str(heatmap).removeprefix("heatmap/"), "score": f"{statistic} {metric}",
            }  # fmt: skip
            for name in ("masks", "SAM masks", "boxes"):
                of_truth = part[part["truth"] == name]
                values = of_truth.loc[of_truth["metric"] == metric, "value"].dropna()
                if len(values):
                    prevalence = of_truth.loc[of_truth["metric"] == "prevalence", "value"]
                    chance = prevalence.agg(statistic) if metric == "auprc" else 0.5
                    row |= {name: values.agg(statistic), f"{name}, chance": chance}
                    row[f"{name}, images"] = len(values)
            rows.append(row | {"SAM masks, published": theirs[0], "boxes, published": theirs[1]})
    return pd.DataFrame(rows)


def _s1(scores: pd.DataFrame) -> pd.DataFrame:
    """Classes and prompts by scores from CAM prompts and from truth prompts."""
    masks = scores[scores["source"].isin(["cam", "truth"])]
    masks = masks.assign(prompt=masks["strategy"].str.replace(r"^(s1|truth)-", "", regex=True))
    truth = masks[masks["source"] == "truth"]
    rows = []
    for keys, part in masks[masks["source"] == "cam"].groupby(
        ["classifier", "method", "segmenter"], sort=False
    ):
        other = truth[truth["segmenter"] == keys[-1]]
        head = dict(zip(("classifier", "method", "segmenter"), keys, strict=True))
        rows += [head | row for row in _s1_rows(part, other)]
    made = pd.DataFrame(rows)
    if made.empty:
        return made
    theirs = [
        S1_TABLE.get((tumour, prompt)) for tumour, prompt in made[["tumour", "prompt"]].values
    ]
    return _beside(made, theirs)


def _s1_published(scores: pd.DataFrame, published: Path | None) -> pd.DataFrame:
    """Lay out the same of masks that others made, beside the means of the scores they published."""
    parts = scores["case"].str.extract(r"^(?P<source>truth|cam) (?P<prompt>[a-z-]+)/")
    masks = scores.assign(source=parts["source"], prompt=parts["prompt"])
    made = pd.DataFrame(
        _s1_rows(masks[masks["source"] == "cam"], masks[masks["source"] == "truth"])
    )
    if made.empty or published is None:
        return made
    csv = {
        source: pd.read_csv(published / folder / "metrics.csv")
        for source, folder in (("cam", "published_cam_prompts"), ("truth", "published_sam_vit_l"))
    }
    theirs = []
    for tumour, prompt in made[["tumour", "prompt"]].values:
        means = {}
        for source, rows in csv.items():
            kept = rows[rows["prompt"] == prompt.replace("-", "_")]
            means[source] = kept if tumour == "all" else kept[kept["label"] == tumour]
        theirs.append(tuple(_mean(means[s][m]) for m in S1_METRICS for s in ("cam", "truth")))
    return _beside(made, theirs)


def _s1_rows(cam: pd.DataFrame, truth: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for tumour in (*sorted(set(cam["label"])), "all"):
        for prompt in ("box", "box-point", "point"):
            row: dict[str, Any] = {"tumour": tumour, "prompt": prompt}
            for metric in S1_METRICS:
                means = []
                for part in (cam, truth):
                    kept = part[(part["prompt"] == prompt) & (part["metric"] == metric)]
                    kept = kept if tumour == "all" else kept[kept["label"] == tumour]
                    means.append(_mean(kept["value"]))
                    row["images"] = min(row.get("images", len(kept)), len(kept))
                row[f"{metric}, CAM"], row[f"{metric}, truth"] = means
                row[f"{metric}, % of truth"] = 100 * means[0] / means[1] if means[1] else math.nan
            if row["images"]:
                rows.append(row)
    return rows


def _mean(values: pd.Series[float]) -> float:
    """Give the mean without rounding on the way, so that it depends on no order."""
    return math.fsum(values) / len(values) if len(values) else math.nan


def _beside(made: pd.DataFrame, theirs: Sequence[tuple[float, ...] | None]) -> pd.DataFrame:
    """Put the published figures of S1 beside ours."""
    names = [f"{metric}, {source}" for metric in S1_METRICS for source in ("CAM", "truth")]
    for i, name in enumerate(names):
        published = [np.nan if row is None else row[i] for row in theirs]
        made.insert(list(made).index(name) + 1, f"{name}, published", published)
    return made


def _s2(scores: pd.DataFrame) -> pd.DataFrame:
    """Ways to make points by hit rates, distance and mIoU."""
    names = ["classifier", "method", "segmenter", "strategy"]
    points = _ordered(scores[scores["source"] == "cam"], "strategy", S2_TABLE)
    rows = []
    for keys, part in points.groupby(names, observed=True):
        row: dict[str, Any] = dict(zip(names, keys, strict=True))
        n = row["images"] = part["case"].nunique()
        for metric, theirs in zip(
            S2_METRICS, S2_TABLE.get(str(keys[-1]), (np.nan,) * 4), strict=True
        ):
            values = part.loc[part["metric"] == metric, "value"].dropna()
            # An image without points has missed.
            row[metric] = values.sum() / n if metric == "fg_hit_rate" else values.mean()
            row[f"{metric}, published"] = theirs
        rows.append(row)
    return pd.DataFrame(rows)


def _s3(scores: pd.DataFrame) -> pd.DataFrame:
    """Heatmaps of segmentation networks by scores; the paper shows pictures alone."""
    maps = scores[scores["source"] == "heatmap"]
    names = ["energy_inside", "pointing_hit", "auprc", "auc_judd", "prevalence"]
    means = maps.pivot_table(
        index=["classifier", "method", "layers", "target"], columns="metric", values="value"
    )
    return means.reindex(columns=names).reset_index().rename_axis(columns=None)


def _s4(scores: pd.DataFrame) -> pd.DataFrame:
    """Segmenters and choices of the mask by the number of points: mean IoU and quartiles."""
    ious = scores[(scores["metric"] == "iou") & scores["source"].isin(["annotator", "truth"])]
    # Of several classes each is a problem of its own; all of them together are none.
    ious = ious[(ious["object"] > 0) | ~ious["case"].isin(ious.loc[ious["object"] > 0, "case"])]
    rows: list[dict[str, Any]] = []
    ious = _ordered(ious, "mask_choice", ("first", "best", "oracle"))
    for keys, part in ious.groupby(["segmenter", "mask_choice"], observed=True):
        about = dict(zip(("segmenter", "mask choice"), keys, strict=True))
        clicks, boxes = (part[part["source"] == one] for one in ("annotator", "truth"))
        by_step = clicks.groupby("step")["value"]
        for name, curve in (
            ("mean", by_step.mean()),
            *((f"{100 * q:.0f} %", by_step.quantile(q)) for q in (0.25, 0.5, 0.75)),
        ):
            row = {**about, "statistic": name, "images": clicks["case"].nunique()}
            steps = zip(curve.index.tolist(), curve.tolist(), strict=True)
            row |= {_points(step): value for step, value in steps}
            box = boxes["value"]
            row["box"] = box.mean() if name == "mean" else box.quantile(float(name[:-2]) / 100)
            rows.append(row)
    if not rows:
        return pd.DataFrame()
    theirs = {"segmenter": "SAM on BUSI, published", "statistic": "mean"}
    rows.append(theirs | {"mask choice": "curve"} | {_points(n): v for n, v in S4_POINTS.items()})
    rows += [
        theirs | {"mask choice": choice, _points(1): S4_ONE_POINT[choice], "box": box}
        for choice, box in S4_BOX.items()
    ]
    made = pd.DataFrame(rows).astype({"images": "Int64"})
    columns = [_points(step) for step in range(1, int(ious["step"].max()) + 1)]
    return made[["segmenter", "mask choice", "statistic", "images", *columns, "box"]]


def _ordered(scores: pd.DataFrame, column: str, order: Iterable[str]) -> pd.DataFrame:
    """Let the texts of a column be grouped in the paper's order; others come after."""
    known = list(order)
    others = sorted(set(scores[column]) - set(known))
    return scores.assign(**{column: pd.Categorical(scores[column], [*known, *others])})


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"
