"""Everything mode: the masks that a SAM finds on a plane from a grid of points, unasked.

The steps and their order are those of segment-anything's ``SamAutomaticMaskGenerator``, and so
are the parts that it offers as functions. Other than there, the plane may be encoded already,
small regions are removed without OpenCV, and the work can be watched and stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from segment_anything.utils.amg import (
    MaskData,
    batch_iterator,
    batched_mask_to_box,
    build_all_layer_point_grids,
    calculate_stability_score,
    generate_crop_boxes,
    is_box_near_crop_edge,
    mask_to_rle_pytorch,
    rle_to_mask,
    uncrop_boxes_xyxy,
    uncrop_masks,
    uncrop_points,
)
from torch import Tensor
from torchvision.ops.boxes import batched_nms, box_area

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.everything.parameters import AutomaticParameters, recommended_parameters
from napari_cam_sam.sam.segmenter import Embedding, Segmenter
from napari_cam_sam.sam.validation import check_plane

__all__ = [
    "AutomaticMask", "AutomaticParameters", "automatic_masks", "automatic_steps",
    "recommended_parameters",
]  # fmt: skip

Progress = Callable[[int, int], None]


# Masks that are upscaled at once: each passes through two planes of 1024² float32.
_MASKS_AT_ONCE = 48


@dataclass(frozen=True, eq=False)
class AutomaticMask:
    """One mask that nobody asked for.

    Attributes
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Never empty.
    box : tuple of int
        First row, first column, last row + 1, last column + 1.
    area : int
        Pixels.
    predicted_iou : float
        The model's own estimate, about 0 to 1.
    stability : float
        IoU of the logits cut above and below 0, in [0, 1], before small regions were removed.
    point : tuple of float
        Row and column of the point that made it, in pixel indices of the plane.
    """

    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    area: int
    predicted_iou: float
    stability: float
    point: tuple[float, float]


class _PointSegmenter(Segmenter, Protocol):
    """A segmenter that gives a point's logits before they are upscaled."""

    def decode_points(
        self, embedding: Embedding, points: NDArray[np.floating]
    ) -> tuple[Tensor, Tensor]: ...

    def upscale(self, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor: ...


def automatic_masks(
    segmenter: Segmenter,
    plane: NDArray[np.uint8],
    parameters: AutomaticParameters | None = None,
    embedding: Embedding | None = None,
    progress: Progress | None = None,
) -> tuple[AutomaticMask, ...]:
    """Find the masks of a plane.

    Parameters
    ----------
    segmenter : Segmenter
        A SAM that takes points.
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        A windowed plane.
    parameters : AutomaticParameters, optional
    embedding : Embedding, optional
        Of this plane, from this segmenter; it is encoded where not given. Crops are encoded in
        any case.
    progress : callable, optional
        Called after each batch of points with the number done and the number of all. What it
        raises ends the search.

    Returns
    -------
    tuple of AutomaticMask
        The greatest ``predicted_iou`` first; empty where none is good enough.

    Raises
    ------
    CamSamError
        For an array that is no such plane, an embedding of another plane or model, or a
        segmenter that is not made for points.

    Examples
    --------
    >>> from napari_cam_sam.demo.samples import make_sample
    >>> plane = make_sample("shapes").image.plane(0, 0)
    >>> few = ncs.AutomaticParameters(points_per_side=4, predicted_iou=0.5, stability=0.5)
    >>> found = ncs.automatic_masks(ncs.load_segmenter("compact-sam"), plane, few)
    >>> len(found) > 0, found[0].mask.shape == plane.shape[:2]
    (True, True)
    """
    steps = automatic_steps(segmenter, plane, parameters, embedding)
    while True:
        try:
            done = next(steps)
        except StopIteration as end:
            found: tuple[AutomaticMask, ...] = end.value
            return found
        if progress is not None:
            progress(*done)


def automatic_steps(
    segmenter: Segmenter,
    plane: NDArray[np.uint8],
    parameters: AutomaticParameters | None = None,
    embedding: Embedding | None = None,
) -> Generator[tuple[int, int], None, tuple[AutomaticMask, ...]]:
    """Find the masks of a plane batch by batch, for work that can be cancelled.

    ``masks = yield from automatic_steps(…)`` in a generator hands its steps on.

    Parameters
    ----------
    segmenter, plane, parameters, embedding
        As for :func:`automatic_masks`.

    Yields
    ------
    tuple of int
        Batches of points that are done, and all of them.

    Returns
    -------
    tuple of AutomaticMask

    Raises
    ------
    CamSamError
        As :func:`automatic_masks`, before the first step.
    """
    parameters = parameters or AutomaticParameters()
    check_plane(plane)
    if not hasattr(segmenter, "decode_points"):
        raise CamSamError(
            f"{segmenter.name} cannot look for masks by itself: take a SAM, e.g. compact-sam."
        )
    if embedding is not None and embedding.plane_shape != plane.shape[:2]:
        raise CamSamError(
            f"The embedding is of a slice of shape {embedding.plane_shape}, not "
            f"{plane.shape[:2]}: give the embedding of this slice, or none."
        )
    able = cast(_PointSegmenter, segmenter)
    shape = (int(plane.shape[0]), int(plane.shape[1]))
    grids = build_all_layer_point_grids(
        parameters.points_per_side, parameters.crop_layers, parameters.crop_points_divisor
    )
    boxes, layers = generate_crop_boxes(shape, parameters.crop_layers, parameters.crop_overlap)
    # A plane of one row has no lower half.
    crops = [
        (box, grids[layer])
        for box, layer in zip(boxes, layers, strict=True)
        if box[0] < box[2] and box[1] < box[3]
    ]
    total = sum(math.ceil(len(grid) / parameters.points_per_batch) for _, grid in crops)
    done = 0
    found = MaskData()
    for crop, grid in crops:
        x0, y0, x1, y1 = crop
        if crop != [0, 0, shape[1], shape[0]] or embedding is None:
            cut = able.encode(np.ascontiguousarray(plane[y0:y1, x0:x1]))
        else:
            cut = embedding
        here = MaskData()
        for (points,) in batch_iterator(parameters.points_per_batch, grid * (x1 - x0, y1 - y0)):
            for part in _batch(able, cut, points, crop, shape, parameters):
                here.cat(part)
            done += 1
            yield done, total
        if not _count(here):
            continue
        _suppress(here, here["iou_preds"], parameters.box_overlap)
        here["boxes"] = uncrop_boxes_xyxy(here["boxes"], crop)
        here["points"] = uncrop_points(here["points"], crop)
        here["crop_boxes"] = torch.tensor([crop] * _count(here))
        found.cat(here)
    if not _count(found):
        return ()
    if len(crops) > 1:
        smaller_first = 1 / box_area(found["crop_boxes"]).to(found["boxes"].device)
        _suppress(found, smaller_first, parameters.crop_box_overlap)
    if parameters.min_area > 0:
        overlap = max(parameters.box_overlap, parameters.crop_box_overlap)
        _remove_small_regions(found, parameters.min_area, overlap)
    return tuple(sorted(_records(found), key=lambda mask: -mask.predicted_iou))


def _batch(
    segmenter: _PointSegmenter,
    embedding: Embedding,
    points: NDArray[np.float64],
    crop: list[int],
    shape: tuple[int, int],
    parameters: AutomaticParameters,
) -> Generator[Any, None, None]:
    """Decode a batch of points (x, y) of a crop and yield what passes the filters."""
    logits, scores = segmenter.decode_points(embedding, points[:, ::-1])
    candidates = MaskData(
        logits=logits.flatten(0, 1),
        iou_preds=scores.flatten(0, 1),
        points=torch.as_tensor(points.repeat(logits.shape[1], axis=0)),
    )
    if parameters.predicted_iou > 0:
        candidates.filter(candidates["iou_preds"] > parameters.predicted_iou)
    for (part,) in batch_iterator(_MASKS_AT_ONCE, torch.arange(len(candidates["logits"]))):
        data = MaskData(**dict(candidates.items()))
        data.filter(part)
        full = segmenter.upscale(data["logits"][:, None], embedding.plane_shape)[:, 0]
        del data["logits"]
        data["masks"] = full > 0
        data["stability_score"] = calculate_stability_score(full, 0.0, parameters.stability_offset)
        # An empty mask has no stability (0/0), and is no mask even where all are kept.
        data.filter(
            (data["stability_score"] >= parameters.stability) & data["masks"].flatten(1).any(dim=1)
        )
        data["boxes"] = batched_mask_to_box(data["masks"])
        data.filter(~is_box_near_crop_edge(data["boxes"], crop, [0, 0, shape[1], shape[0]]))
        data["rles"] = mask_to_rle_pytorch(uncrop_masks(data["masks"], crop, *shape))
        del data["masks"]
        yield data


def _count(data: Any) -> int:
    """Count the masks in a MaskData, which knows no keys before the first ones come."""
    return len(dict(data.items()).get("rles", ()))


def _suppress(data: Any, scores: Tensor, overlap: float) -> None:
    """Of masks whose boxes overlap keep the one of the greatest score, and sort by score."""
    boxes = data["boxes"].float()
    data.filter(batched_nms(boxes, scores.float(), torch.zeros(len(boxes)), overlap))


def _remove_small_regions(data: Any, min_area: int, overlap: float) -> None:
    """Fill holes and drop parts below an area, then suppress masks that became alike."""
    unchanged, boxes = [], []
    for i, rle in enumerate(data["rles"]):
        mask = rle_to_mask(rle)
        cleaned = _without_small(~_without_small(~mask, min_area), min_area, keep_one=True)
        unchanged.append(float(np.array_equal(cleaned, mask)))
        tensor = torch.from_numpy(np.ascontiguousarray(cleaned))[None]
        data["rles"][i] = mask_to_rle_pytorch(tensor)[0]
        boxes.append(batched_mask_to_box(tensor))
    data["boxes"] = torch.cat(boxes).to(data["boxes"].device)
    # Masks that needed no repair are preferred.
    _suppress(data, torch.tensor(unchanged, device=data["boxes"].device), overlap)


def _without_small(
    mask: NDArray[np.bool_], min_area: int, keep_one: bool = False
) -> NDArray[np.bool_]:
    """Drop 8-connected parts with fewer pixels, but keep the largest one where that is wanted."""
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    large = areas >= min_area
    if keep_one and not large.any():
        large[np.argmax(areas)] = True
    return np.asarray(large[parts] & mask)


def _records(data: Any) -> Generator[AutomaticMask, None, None]:
    names = ("boxes", "iou_preds", "stability_score", "points")
    rows = zip(data["rles"], *(data[name].tolist() for name in names), strict=True)
    for rle, (x0, y0, x1, y1), predicted, stability, (x, y) in rows:
        mask = np.ascontiguousarray(rle_to_mask(rle))
        box = (int(y0), int(x0), int(y1) + 1, int(x1) + 1)
        yield AutomaticMask(mask, box, int(mask.sum()), predicted, stability, (y, x))
