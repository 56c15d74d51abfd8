"""``seeded``: a segmenter that needs no weights, a random walk between seeds that prompts give."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point
from napari_cam_sam.sam.seeded.contour import find_contour
from napari_cam_sam.sam.seeded.parameters import SeededParameters
from napari_cam_sam.sam.seeded.pyramid import build_pyramid, nearest_level, sample_pyramid
from napari_cam_sam.sam.seeded.random_walk import BACKGROUND, OBJECT, Crop, add_brightness, walk
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates
from napari_cam_sam.sam.validation import check_decodable, check_embedding, check_plane

__all__ = ["SeededParameters", "SeededSegmenter"]

# Side of the logits that are handed on, which cover the whole plane, stretched to a square.
_LOGITS_SIDE = 256

# The features of an encoded plane: its brightness at coarser and coarser resolution.
_Pyramid = tuple[NDArray[np.float32], ...]

# A region of a plane, and for each of its cells the probability that it is the object's.
_Walked = tuple[Crop, NDArray[np.float64]]


class SeededSegmenter:
    """Random walk in a crop around the prompt, seeded inside and outside of its outline.

    The outline is the ellipse inscribed in the box. Points without a box find theirs as the
    closed contour of strongest edge around them, see :mod:`napari_cam_sam.sam.seeded.contour`.
    Points beside a box add seeds: positive ones of the object, negative ones of the background.
    Nothing depends on whether the object is darker or brighter than its surroundings.

    It holds no state: one instance may be shared by threads.

    Parameters
    ----------
    parameters : SeededParameters, optional
    """

    name = "seeded"
    device = "cpu"
    precision = "float32"

    def __init__(self, parameters: SeededParameters | None = None) -> None:
        self.parameters = parameters or SeededParameters()
        # There are no weights: the settings are what two runs must have in common.
        text = f"seeded 1 {self.parameters}"
        self.model_hash = hashlib.sha256(text.encode()).hexdigest()

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Prepare a windowed plane.

        Parameters
        ----------
        plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
            Colour is reduced to the one mixture of the channels that varies most over the plane.

        Returns
        -------
        Embedding
            ``features`` is a tuple of float32 arrays, see
            :func:`napari_cam_sam.sam.seeded.pyramid.build_pyramid`.

        Raises
        ------
        CamSamError
            If the array is not such a plane.
        """
        check_plane(plane)
        shape = (int(plane.shape[0]), int(plane.shape[1]))
        return Embedding(build_pyramid(plane), shape, self.model_hash)

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[ObjectPrompt],
        *,
        multimask: bool = True,
        previous_logits: Sequence[NDArray[np.float32] | None] | None = None,
    ) -> list[MaskCandidates]:
        """Segment the prompted objects of one plane, each by itself.

        Parameters
        ----------
        embedding : Embedding
            From this segmenter's :meth:`encode`.
        prompts : sequence of ObjectPrompt
            One entry an object; each needs a positive point or a box.
        multimask : bool
            True for a middle, a generous and a strict mask, False for the middle one alone.
        previous_logits : sequence of ndarray of shape (256, 256) or None
            For points without a box: logits of an earlier decode, whose mask gives the scale.
            Ignored beside a box.

        Returns
        -------
        list of MaskCandidates
            In the order of ``prompts``. A box wholly outside the plane gives empty masks with
            score 0.

        Raises
        ------
        CamSamError
            If an object has neither a positive point nor a box, or the embedding is another
            segmenter's.
        """
        check_embedding(embedding, self.model_hash, self.name)
        before = check_decodable(prompts, previous_logits, (_LOGITS_SIDE, _LOGITS_SIDE))
        pyramid: _Pyramid = embedding.features
        results = []
        for prompt, logits in zip(prompts, before, strict=True):
            box = prompt.box
            if box is None and logits is not None:
                box = _box_of_logits(logits, embedding.plane_shape, prompt.points)
            if box is not None:
                walked = self._around_box(pyramid, box, prompt.points)
            else:
                walked = self._around_points(pyramid, prompt.points)
            results.append(self._candidates(prompt.object_id, walked, embedding, multimask))
        return results

    def decode_heatmap(
        self,
        embedding: Embedding,
        values: NDArray[np.float32],
        *,
        object_id: int = 1,
        multimask: bool = True,
    ) -> MaskCandidates:
        """Segment from a heatmap's own high and low regions, without points or boxes.

        Parameters
        ----------
        embedding : Embedding
            From this segmenter's :meth:`encode`.
        values : ndarray of float32, shape (rows, columns), range [0, 1]
            Heatmap at the plane's resolution.
        object_id : int
        multimask : bool

        Returns
        -------
        MaskCandidates
            Cut from :meth:`heatmap_probability`: empty masks with score 0 where the heatmap has
            no high region or no low one.

        Raises
        ------
        CamSamError
            If the heatmap is not of the plane's shape, or the embedding is another segmenter's.
        """
        walked = self._around_heatmap(embedding, values)
        return self._candidates(object_id, walked, embedding, multimask)

    def heatmap_probability(
        self, embedding: Embedding, values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Compute how probably each pixel belongs to what a heatmap points at.

        Object seeds are the region above ``heatmap_high``, less the half of it whose brightness
        is nearer to that of the background seeds, the region below ``heatmap_low``. The walks of
        each pair of these are averaged: narrow seeds miss the rim of a large object, and wide
        ones leave a small one.

        Parameters
        ----------
        embedding : Embedding
            From this segmenter's :meth:`encode`.
        values : ndarray of float32, shape (rows, columns), range [0, 1]
            Heatmap at the plane's resolution.

        Returns
        -------
        ndarray of float32, shape (rows, columns), range [0, 1]
            All 0 where the heatmap has no high region or no low one.

        Raises
        ------
        CamSamError
            As :meth:`decode_heatmap`.
        """
        crop, probability = self._around_heatmap(embedding, values)
        return crop.paste(probability, embedding.plane_shape)

    def _around_heatmap(self, embedding: Embedding, values: NDArray[np.float32]) -> _Walked:
        """Walk over the whole plane from each pair of a heatmap's high and low regions."""
        check_embedding(embedding, self.model_hash, self.name)
        if values.shape != embedding.plane_shape:
            raise CamSamError(
                f"The heatmap has shape {values.shape}, the slice {embedding.plane_shape}: "
                "they must be the same."
            )
        settings = self.parameters
        rows, columns = embedding.plane_shape
        crop = Crop(0.0, 0.0, float(rows), float(columns), settings.heatmap_side)
        at = crop.positions()
        cells = sample_pyramid(embedding.features, *at, nearest_level(crop.cell * 0.8))
        finite = np.nan_to_num(values.astype(np.float32))
        heat = ndimage.map_coordinates(finite, at, order=1, mode="nearest")
        total, walks = np.zeros(cells.shape), 0
        for above, below in zip(settings.heatmap_high, settings.heatmap_low, strict=True):
            high, low = heat > above, heat < below
            if not high.any() or not low.any():
                continue
            middle, around = float(np.median(cells[high])), float(np.median(cells[low]))
            seeds = np.zeros(cells.shape, dtype=int)
            seeds[high & ((cells <= middle) if middle < around else (cells >= middle))] = OBJECT
            seeds[low] = BACKGROUND
            total += walk(cells, seeds, settings.heatmap_beta)
            walks += 1
        return crop, total / max(walks, 1)

    def _around_box(self, pyramid: _Pyramid, box: Box, points: Sequence[Point]) -> _Walked:
        """Walk in a crop around a box; outside of the box all is background."""
        half_height, half_width = max(box.height, 1.0) / 2, max(box.width, 1.0) / 2
        row = (box.row_min + box.row_max) / 2
        column = (box.column_min + box.column_max) / 2
        crop = self._crop(row, column, half_height, half_width)
        rows, columns = crop.positions()
        y, x = (rows + 0.5 - row) / half_height, (columns + 0.5 - column) / half_width
        outside = (np.abs(y) > 1) | (np.abs(x) > 1)
        return crop, self._walks(pyramid, crop, np.hypot(y, x), outside, points)

    def _around_points(self, pyramid: _Pyramid, points: Sequence[Point]) -> _Walked:
        """Walk in a crop around the contour that the points find."""
        # A point outside the plane counts as on its border.
        border = np.array(pyramid[0].shape) - 1
        at = np.clip(np.array([(p.row, p.column) for p in points], dtype=float), 0, border)
        positive = np.array([p.positive for p in points])
        contour = find_contour(pyramid, at[positive], at[~positive], self.parameters.contour)
        top, left, bottom, right = contour.bounds()
        row, column = (top + bottom) / 2 + 0.5, (left + right) / 2 + 0.5
        crop = self._crop(row, column, (bottom - top) / 2, (right - left) / 2)
        outline = contour.relative_radius(*crop.positions())
        outside = outline > self.parameters.outer
        return crop, self._walks(pyramid, crop, outline, outside, points)

    def _crop(self, row: float, column: float, half_height: float, half_width: float) -> Crop:
        """Build the crop around an outline with its margin."""
        grow = 1 + 2 * self.parameters.margin
        down, across = half_height * grow, half_width * grow
        return Crop(row - down, column - across, row + down, column + across, self.parameters.side)

    def _walks(
        self,
        pyramid: _Pyramid,
        crop: Crop,
        outline: NDArray[np.float64],
        outside: NDArray[np.bool_],
        points: Sequence[Point],
    ) -> NDArray[np.float64]:
        """Average the walks from each size of the inner seeds and weigh in the brightness."""
        settings = self.parameters
        grow = 1 + 2 * settings.margin
        height, width = (crop.bottom - crop.top) / grow, (crop.right - crop.left) / grow
        level = nearest_level(settings.blur * np.sqrt(height * width))
        rows, columns = crop.positions()
        cells = sample_pyramid(pyramid, rows, columns, level)
        # What each point says, the negative ones last, and how far the cells are from it.
        marks = [
            (
                OBJECT if p.positive else BACKGROUND,
                np.hypot((rows - p.row) / (height / 2), (columns - p.column) / (width / 2)),
            )
            for p in sorted(points, key=lambda point: not point.positive)
        ]

        def seed(seeds: NDArray[np.int_]) -> NDArray[np.int_]:
            for label, distance in marks:
                other = (seeds != 0) & (seeds != label)
                seeds[(distance < settings.point_reach) & other] = 0
            for label, distance in marks:
                seeds[distance < settings.point_seed] = label
            return seeds

        total = np.zeros(cells.shape)
        for inner, beta in zip(settings.inner, settings.beta, strict=True):
            seeds = np.zeros(cells.shape, dtype=int)
            seeds[outline < inner] = OBJECT
            seeds[outside | (outline > settings.outer)] = BACKGROUND
            total += walk(cells, seed(seeds), beta)
        probability = add_brightness(total / len(settings.inner), cells, settings.brightness)
        # Brightness may not overrule what the user said.
        said = seed(np.zeros(cells.shape, dtype=int))
        probability[outside & (said != OBJECT)] = 0.0
        probability[said == OBJECT] = 1.0
        probability[said == BACKGROUND] = 0.0
        return probability

    def _candidates(
        self, object_id: int, walked: _Walked, embedding: Embedding, multimask: bool
    ) -> MaskCandidates:
        """Cut the probability at each threshold and estimate the masks' IoU."""
        shape = embedding.plane_shape
        thresholds = self.parameters.thresholds[: None if multimask else 1]
        crop, probability = walked
        plane = crop.paste(probability, shape)
        masks = np.stack([plane > threshold for threshold in thresholds])
        scores = np.array([_expected_iou(plane, mask) for mask in masks], dtype=np.float32)
        side = (np.arange(_LOGITS_SIDE) + 0.5) / _LOGITS_SIDE
        at = np.meshgrid(side * shape[0] - 0.5, side * shape[1] - 0.5, indexing="ij")
        small = ndimage.map_coordinates(plane, at, order=1, mode="nearest")
        logits = np.stack([_logit(small) - _logit(np.float32(t)) for t in thresholds])
        return MaskCandidates(object_id, masks, scores, logits.astype(np.float32))


def _expected_iou(probability: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Expect the IoU of a mask with an object that each pixel belongs to with a probability."""
    hit = float(probability[mask].sum())
    union = float(mask.sum()) + float(probability[~mask].sum())
    return hit / union if union > 0 and mask.any() else 0.0


def _logit(probability: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    p = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)), dtype=np.float32)


def _box_of_logits(
    logits: NDArray[np.float32], plane_shape: tuple[int, int], points: Sequence[Point]
) -> Box | None:
    """Box around an earlier mask and the positive points, a tenth larger; None if it is empty."""
    found = np.argwhere(logits > 0)
    if not len(found):
        return None
    scale = np.array(plane_shape) / _LOGITS_SIDE
    corners = [found.min(axis=0) * scale, (found.max(axis=0) + 1) * scale]
    corners += [np.array([p.row + d, p.column + d]) for p in points if p.positive for d in (0, 1)]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    grow = (high - low) * 0.05
    return Box(*(low - grow).tolist(), *(high + grow).tolist())
