"""All masks of a plane, and which of them a heatmap means: the work in a thread."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, single_candidate
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.everything.ranking import (
    RankingParameters,
    choose_by_heatmap,
    heatmap_scores,
)
from napari_cam_sam.sam.registry import knows_boxes_only
from napari_cam_sam.sam.run_length import RunLengthMask, encode_mask
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    from napari_cam_sam.plugin.segment.segmenter_job import SegmenterJob
    from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
    from napari_cam_sam.plugin.state.workspace import Workspace
    from napari_cam_sam.sam.everything.parameters import AutomaticParameters, NamingParameters
    from napari_cam_sam.sam.segmenter import Segmenter

__all__ = [
    "FoundMasks",
    "Picked",
    "Search",
    "SearchedPlane",
    "TextLabels",
    "heatmaps_to_pick_by",
    "outcome",
    "unsupported_reason",
]

_REFUSED = {
    "seeded": "seeded makes masks from prompts only: choose a SAM, e.g. compact-sam.",
}


def unsupported_reason(name: str, segmenter: Segmenter | None = None) -> str | None:
    """Return why a segmenter cannot search for all masks; None where it can, or may.

    Parameters
    ----------
    name : str
        As it was chosen.
    segmenter : Segmenter, optional
        The same, where it is loaded: a file may hold a model that has a name.

    Returns
    -------
    str or None
    """
    if segmenter is not None:
        if getattr(segmenter, "frame", None) == "medsam":
            return f"{segmenter.name} accepts boxes only: choose another SAM, e.g. sam-vit-b."
        if segmenter.name in _REFUSED:
            return _REFUSED[segmenter.name]
        if not hasattr(segmenter, "decode_points"):
            return f"{segmenter.name} cannot search for masks: choose a SAM."
    if knows_boxes_only(name):
        return "MedSAM accepts boxes only: choose another SAM, e.g. sam-vit-b."
    return _REFUSED.get(name)


@dataclass(frozen=True, eq=False)
class FoundMasks:
    """The masks that were found on a plane.

    Attributes
    ----------
    axis, index : int
    masks : tuple of RunLengthMask
        The greatest expected IoU first. Runs, as a hundred planes of arrays would fill the memory.
    predicted_iou, stability : tuple of float
        Of each mask.
    parameters : AutomaticParameters
        What was searched with.
    segmenter, segmenter_sha256 : str
    window : tuple of float
        Raw intensities that became 0 and 255.
    """

    axis: int
    index: int
    masks: tuple[RunLengthMask, ...]
    predicted_iou: tuple[float, ...]
    stability: tuple[float, ...]
    parameters: AutomaticParameters
    segmenter: str
    segmenter_sha256: str
    window: tuple[float, float]

    def arrays(self, members: Sequence[int] | None = None) -> list[NDArray[np.bool_]]:
        """Return masks as arrays of shape (rows, columns); all without `members`."""
        return [
            self.masks[i].mask() for i in (range(len(self.masks)) if members is None else members)
        ]

    def area(self, member: int) -> int:
        """Count the pixels of a mask."""
        return sum(self.masks[member].runs[1::2])

    def shown(
        self, members: Sequence[int], object_id: int, about: str, apart: bool = False
    ) -> PlaneMasks:
        """Make some of the masks ready for the preview.

        Parameters
        ----------
        members : sequence of int
            Which masks, the one that comes first first.
        object_id : int
            Of their union; with `apart` of the first, and the others count on.
        about : str
            For the user.
        apart : bool
            Whether each is an object of its own.
        """
        arrays = self.arrays(members)
        scores = [self.predicted_iou[i] for i in members]
        if not apart and len(arrays) > 1:
            # What the model expects of each says nothing of them all.
            arrays, scores = [np.logical_or.reduce(arrays)], [math.nan]
        candidates = tuple(
            single_candidate(object_id + i, mask, score)
            for i, (mask, score) in enumerate(zip(arrays, scores, strict=True))
        )
        return PlaneMasks(
            PlanePrompts(self.axis, self.index),
            candidates,
            (0,) * len(candidates),
            self.segmenter,
            self.segmenter_sha256,
            self.window,
            source="automatic",
            about=about,
        )


@dataclass(frozen=True, eq=False)
class TextLabels:
    """What the masks of a plane were named.

    Attributes
    ----------
    parameters : NamingParameters
    probabilities : ndarray of float32, shape (masks, classes)
    """

    parameters: NamingParameters
    probabilities: NDArray[np.float32]

    def labels(self, text: str | None = None) -> list[tuple[str, float]]:
        """Return a name of each mask, and its probability: the likeliest, or the one asked for."""
        classes = self.parameters.classes
        columns = [int(row.argmax()) if text is None else classes.index(text)
                   for row in self.probabilities]  # fmt: skip
        rows = zip(columns, self.probabilities, strict=True)
        return [(classes[column], float(row[column])) for column, row in rows]

    def members(self, text: str, threshold: float) -> list[int]:
        """List the masks that are named so, with at least this probability."""
        from napari_cam_sam.sam.everything.text_labels import masks_named

        return masks_named(self.probabilities, self.parameters, text, threshold)


@dataclass(eq=False)
class SearchedPlane:
    """The masks of a plane, their labels, and which of them are in the preview.

    Attributes
    ----------
    found : FoundMasks
    ids : set of int
        The objects that were put into the preview, also of a search before.
    members : tuple of int
        Which masks were put there last.
    labels : TextLabels or None
    """

    found: FoundMasks
    ids: set[int] = field(default_factory=set)
    members: tuple[int, ...] = ()
    labels: TextLabels | None = None
    _scored: tuple[HeatmapRecord, str, NDArray[np.float64]] | None = None

    def order(self, scores: NDArray[np.float64] | None) -> list[int]:
        """Return the numbers of the masks, that of the highest score first; else as found."""
        if scores is None:
            return list(range(len(self.found.masks)))
        return [int(i) for i in np.argsort(-scores, kind="stable")]

    def share_words(self, members: Sequence[int], apart: bool = False) -> str:
        """Return in words how many of the masks are shown, e.g. ``"2 of 7 merged"``."""
        several = " separate" if apart else " merged"
        return f"{len(members)} of {len(self.found.masks)}{several * (len(members) > 1)}"

    def scores(
        self, record: HeatmapRecord, heatmap: NDArray[Any], rule: Any
    ) -> NDArray[np.float64]:
        """Return how well each mask matches a heatmap, computed once for a heatmap and a rule.

        Raises
        ------
        CamSamError
            If the rule cannot be used.
        """
        if self._scored is None or self._scored[0] is not record or self._scored[1] != rule:
            self._scored = record, rule, heatmap_scores(self.found.arrays(), heatmap, rule)
        return self._scored[2]


@dataclass(frozen=True, eq=False)
class Picked:
    """One plane is done: its masks, and which of them the heatmap means.

    Attributes
    ----------
    found : FoundMasks
    members : tuple of int or None
        The best first, empty where the heatmap means none; None where nothing was to be picked.
    """

    found: FoundMasks
    members: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class Search:
    """All that a thread needs to look for the masks of planes.

    Attributes
    ----------
    job : SegmenterJob
    indices : tuple of int
        Planes along the axis of its snapshot.
    parameters : AutomaticParameters
    known : mapping of int to FoundMasks
        Planes that are not searched again.
    heatmaps : mapping of int to ndarray
        Of the planes on which a mask is to be picked.
    ranking : RankingParameters
    """

    job: SegmenterJob
    indices: tuple[int, ...]
    parameters: AutomaticParameters
    known: Mapping[int, FoundMasks]
    heatmaps: Mapping[int, NDArray[Any]]
    ranking: RankingParameters

    @property
    def total(self) -> int:
        """How many steps there are; a plane of few rows may have less."""
        sought = [i for i in self.indices if i not in self.known]
        each = 1 + _batches(self.parameters)
        return self.job.loads + each * len(sought) + len(self.indices)

    def steps(self) -> Generator[Segmenter | Picked | None]:
        """Search and pick, in a thread.

        Yields
        ------
        Segmenter, Picked or None
            The segmenter once it is loaded, each plane once it is done, and None in between.
        """
        segmenter = yield from self.job.loaded()
        for index in self.indices:
            found = self.known.get(index)
            if found is None:
                found = yield from self._find(segmenter, index)
            heatmap = self.heatmaps.get(index)
            members = None
            if heatmap is not None:
                members = choose_by_heatmap(found.arrays(), heatmap, self.ranking).members
            yield Picked(found, members)

    def _find(self, segmenter: Segmenter, index: int) -> Generator[None, None, FoundMasks]:
        from napari_cam_sam.sam.everything.automatic import automatic_steps

        job = self.job
        plane = job.snapshot.plane(index)
        embedding = job.embeddings.encode(segmenter, plane, cancelled=job.stop.is_set)
        yield
        steps = automatic_steps(segmenter, plane, self.parameters, embedding)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                masks = end.value
                break
            yield
        window = job.snapshot.window()
        return FoundMasks(
            job.snapshot.axis,
            index,
            tuple(encode_mask(1, one.mask) for one in masks),
            tuple(one.predicted_iou for one in masks),
            tuple(one.stability for one in masks),
            self.parameters,
            job.name,
            segmenter.model_hash,
            (window.low, window.high),
        )


def heatmaps_to_pick_by(workspace: Workspace, everywhere: bool) -> dict[int, NDArray[Any]]:
    """Return copies of the heatmaps to pick by, by slice: the layer may be written meanwhile.

    Parameters
    ----------
    workspace : Workspace
    everywhere : bool
        Of all slices along the axis shown, not only of the slice shown.

    Returns
    -------
    dict of int to ndarray

    Raises
    ------
    CamSamError
        Where none has evidence.
    """
    heatmaps, (axis, shown) = workspace.heatmaps, workspace.plane()
    indices = heatmaps.computed_planes(axis) if everywhere else [shown]
    known = {index: heatmaps.evidence(axis, index) for index in indices}
    found = {index: one[1].copy() for index, one in known.items() if one is not None}
    if not found:
        which = "No slice along this axis has" if everywhere else "This slice has no"
        raise CamSamError(f"{which} heatmap with evidence: compute one first (step 1).")
    return found


def outcome(done: Sequence[Picked]) -> str:
    """Return in words what came of a search.

    Parameters
    ----------
    done : sequence of Picked
        One a slice.

    Returns
    -------
    str
    """
    if len(done) == 1:
        (one,) = done
        n = len(one.found.masks)
        if n == 0:
            return (
                "No mask is good enough: lower the predicted IoU, then the stability, under Search "
                "settings."
            )
        words = f"{counted(n, 'mask')} on slice {one.found.index}"
        if one.members is None:
            return words + "."
        return words + (
            "; picked by the heatmap (C accepts)." if one.members else "; none matches the heatmap."
        )
    picked = sum(bool(one.members) for one in done)
    return f"Picked by the heatmap on {picked} of {len(done)} slices: review them, then accept (C)."


def _batches(parameters: AutomaticParameters) -> int:
    """Count the batches of points of a plane and its crops."""
    count = 0
    for layer in range(parameters.crop_layers + 1):
        side = parameters.points_per_side // parameters.crop_points_divisor**layer
        count += 4**layer * math.ceil(side**2 / parameters.points_per_batch)
    return count
