"""What ``run`` and ``demo`` print for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import napari_cam_sam as ncs
from napari_cam_sam.cli.printing import cell, print_table
from napari_cam_sam.demo import shipped_models
from napari_cam_sam.prompts.bounds import clip_box

if TYPE_CHECKING:
    from napari_cam_sam.pipeline import RunResult

__all__ = ["distance_rule", "reasons", "report"]

_MOST_ENDS = 6
_SUMMARISED = (
    "iou", "dice", "hd95", "nsd", "auc_judd", "auprc", "prevalence", "pointing_hit", "fg_hit_rate",
)  # fmt: skip


def report(result: RunResult, segmenter: Any, classifier: Any) -> None:
    """Print what was run, the scores, and how distances were measured.

    Parameters
    ----------
    result : RunResult
    segmenter : Segmenter
    classifier : Classifier, SegmentationNetwork or None
    """
    from napari_cam_sam.models.segmentation import SegmentationNetwork
    from napari_cam_sam.pipeline.outputs import scores_data

    image, parameters = result.image, result.parameters
    size = " × ".join(str(n) for n in image.spatial_shape)
    print(f"Image       {image.name}, {size}; window {result.window.description}")
    if result.window.n_not_finite:
        print(f"            {result.window.n_not_finite} voxels are not finite and count as lowest")
    if classifier is not None:
        target = parameters.cam.target
        what = "the predicted class" if target is None else repr(target)
        if isinstance(classifier, SegmentationNetwork):
            what += f" on its {(parameters.cam.pixel_set or ncs.PixelSet()).description}"
        where = f"{classifier.name} on {classifier.device}"
        grid = "" if result.grid_shape is None else " × ".join(map(str, result.grid_shape))
        print(f"Heatmap     {parameters.cam.method} of {what}, {where}, grid {grid}")
        if classifier.name in shipped_models():
            print("            It learned from phantoms alone: not for images of patients.")
    strategy = parameters.strategy
    rule = "strongest region (ours)" if strategy == "ours" else strategy
    print(f"Prompts     {rule}{_box_area(result)}")
    how = {
        "prompts": f"mask choice {parameters.mask_choice}",
        "heatmap": f"from the heatmap, mask choice {parameters.mask_choice}",
        "automatic": f"everything mode, chosen by {parameters.ranking.rule}",
    }[parameters.mask_from]
    print(f"Segmenter   {segmenter.name} on {segmenter.device}, {how}")
    with_prompts = sum(bool(p.objects) for p in result.prompts)
    seconds = result.seconds["total"]
    print(f"Slices      {len(result.prompts)} run, {with_prompts} with prompts, {seconds:.1f} s")
    if parameters.volume is None or not result.sources:
        for reason, count in reasons(result.prompts).items():
            print(f"            {count} without, {reason}")
    if parameters.volume is not None:
        _report_volume(result)
    sources = {
        (row["index"], row["label"]): row.get("source") for row in scores_data(result)["planes"]
    }
    rows = []
    for (index, label), scores in result.scores.items():
        row: dict[str, Any] = {"slice": index, "label": label or "any"}
        if parameters.volume is not None:
            row["source"] = sources[index, label]
        row |= {n: scores.values.get(n) for n in ("iou", "dice", "hd95", "nsd")}
        if result.heatmap is not None:
            row |= {n: scores.values.get(n) for n in ("auprc", "pointing_hit", "energy_inside")}
        rows.append(row | {"note": " ".join(scores.flags)})
    if rows:
        print()
        print_table(rows)
    if len(result.scores) > 1:
        print()
        print_table(
            [
                {
                    "over slices": name,
                    "mean": s.mean,
                    "median": s.median,
                    "25 %": s.q25,
                    "75 %": s.q75,
                    "95 % interval": f"{cell(s.ci_low)} to {cell(s.ci_high)}",
                    "n": s.n,
                }
                for name, s in result.summary.items()
                if name in _SUMMARISED and s.n
            ]
        )
    if result.volume is not None:
        print(
            f"\nSlices {result.prompts[0].index} to {result.prompts[-1].index} as one volume: "
            + ", ".join(
                f"{n} {cell(result.volume.values[n])}" for n in ("iou", "dice", "hd95", "nsd")
            )
        )
    if result.scores:
        from napari_cam_sam.metrics.surface import DEFAULT_TOLERANCE

        geometry = image.geometry
        print(distance_rule(geometry.spacing, geometry.unit, DEFAULT_TOLERANCE))


def _report_volume(result: RunResult) -> None:
    """Say where the masks of a volume are from, why they end, and what the axes agree on."""
    from napari_cam_sam.pipeline.outputs import volume_data

    data = volume_data(result)
    counts = Counter(one["source"] for one in data["sources"] if one["source"] != "none")
    kinds = ("prompted", "propagated", "interpolated")
    print("Masks       " + ", ".join(f"{counts[kind]} {kind}" for kind in kinds))
    ends = [one for one in data["sources"] if one["stopped"]]
    for one in ends[:_MOST_ENDS]:
        print(f"            object {one['object_id']} stops at slice {one['index']}: "
              f"{one['stopped']}")  # fmt: skip
    if len(ends) > _MOST_ENDS:
        print(f"            and {len(ends) - _MOST_ENDS} more, in run.json")
    if "consensus" in data:
        found = data["consensus"]
        print(
            f"Consensus   the axes disagree on {found['disagreement']:.1%} of what any of them has"
        )
        for label, dice in found["dice"].items():
            along = ", ".join(f"{cell(d)} along {a}" for a, d in zip("012", dice, strict=True))
            print(f"            object {label}: Dice with the consensus {along}")


def _box_area(result: RunResult) -> str:
    """Say how much of the plane the boxes cover: a coarse heatmap makes none that is small."""
    rows, columns = result.image.plane_shape(result.parameters.axis)
    boxes = [
        clip_box(o.box, (rows, columns))  # a margin may leave the plane
        for plane in result.prompts
        for o in plane.objects
        if o.box is not None
    ]
    if not boxes:
        return ""
    areas = sorted(box.height * box.width / (rows * columns) for box in boxes)
    return f", boxes of {areas[len(areas) // 2]:.1%} of the slice (median)"


def distance_rule(spacing: Sequence[float], unit: str, tolerance: float) -> str:
    """Say how the distances of a table were measured.

    Parameters
    ----------
    spacing : sequence of float
    unit : str
        ``mm`` or ``pixel``.
    tolerance : float
        Of NSD.

    Returns
    -------
    str
    """
    from napari_cam_sam.metrics.surface import PERCENTILE_RULE

    steps = " × ".join(f"{s:g}" for s in spacing)
    unit = "pixels" if unit == "pixel" else unit
    return (
        f"Distances in {unit} with spacing {steps}; HD95: {PERCENTILE_RULE}; "
        f"NSD at {tolerance:g} {unit}."
    )


def reasons(prompts: Sequence[ncs.PlanePrompts]) -> dict[str, int]:
    """Count planes without prompts by reason; numbers in it do not make another reason.

    Parameters
    ----------
    prompts : sequence of PlanePrompts

    Returns
    -------
    dict of str to int
    """
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for plane in prompts:
        if not plane.objects:
            reason = plane.reason or "no prompts"
            kind = re.sub(r"[\d.]+", "#", reason)
            first.setdefault(kind, f"slice {plane.index}: {reason}")
            counts[kind] = counts.get(kind, 0) + 1
    most = sorted(counts, key=lambda kind: -counts[kind])[:3]
    return {f"e.g. {first[kind]}": counts[kind] for kind in most}
