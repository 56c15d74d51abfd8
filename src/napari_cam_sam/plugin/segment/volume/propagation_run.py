"""From the prompts of some planes to masks through the volume, in a thread."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.plugin.segment.segment_run import decode, encode
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, single_candidate
from napari_cam_sam.prompts.data import ObjectPrompt, PlanePrompts
from napari_cam_sam.sam.segmenter import Cancelled, MaskCandidates
from napari_cam_sam.session import SINGLE
from napari_cam_sam.wording import listed

if TYPE_CHECKING:
    from napari_cam_sam.plugin.segment.segmenter_job import SegmenterJob
    from napari_cam_sam.plugin.state.mask_layers import MaskLayers
    from napari_cam_sam.plugin.state.snapshot import Snapshot
    from napari_cam_sam.sam.segmenter import Embedding, Segmenter
    from napari_cam_sam.sam.volume.parameters import PropagationParameters
    from napari_cam_sam.sam.volume.propagation import PropagatedObject, PropagatedPlane

__all__ = ["PlaneStep", "VolumeJob", "chosen_candidates", "propagate_steps"]


@dataclass(frozen=True, eq=False)
class VolumeJob:
    """What a run through the volume needs, read on the main thread before it starts.

    Attributes
    ----------
    run : SegmenterJob
    prompts : tuple of PlanePrompts
        Of the planes that it goes out from.
    picked : mapping of int to tuple of int
        By plane which candidate each entry of its prompts takes, where that is chosen already;
        elsewhere the best.
    parameters : PropagationParameters
    heatmap : ndarray of float32, shape of the image's grid, or None
        For ``min_evidence``.
    sigma : float or None
        To smooth along the axis with, in mm; None leaves the masks as they are.
    """

    run: SegmenterJob
    prompts: tuple[PlanePrompts, ...]
    picked: Mapping[int, tuple[int, ...]]
    parameters: PropagationParameters
    heatmap: NDArray[np.float32] | None = None
    sigma: float | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The image as it was when the run started."""
        return self.run.snapshot


def chosen_candidates(
    masks: MaskLayers, prompts: Iterable[PlanePrompts], segmenter: str
) -> dict[int, tuple[int, ...]]:
    """Return, by plane, which candidates of its prompts were chosen by hand or accepted.

    Parameters
    ----------
    masks : MaskLayers
    prompts : iterable of PlanePrompts
    segmenter : str
        Candidates of another one do not count.

    Returns
    -------
    dict of int to tuple of int
        As ``VolumeJob.picked``.
    """
    chosen: dict[int, tuple[int, ...]] = {}
    for plane in prompts:
        known = masks.get(plane.axis, plane.index)
        if known is not None and known.source == "prompted":
            if known.picked and known.segmenter == segmenter and _same(known.prompts, plane):
                chosen[plane.index] = known.chosen
            continue
        for one in masks.accepted:
            whole = SINGLE not in one.candidates
            if whole and one.segmenter == segmenter and _same(one.prompts, plane):
                chosen[plane.index] = one.candidates
    return chosen


def _same(before: PlanePrompts, now: PlanePrompts) -> bool:
    """Check whether prompts are of one plane and lie at the same places."""
    here = (before.axis, before.index) == (now.axis, now.index)
    return here and before.coordinates() == now.coordinates()


@dataclass(frozen=True, eq=False)
class PlaneStep:
    """One step of a run.

    Attributes
    ----------
    masks : tuple of PlaneMasks
        Of one plane; of all that smoothing changed, in the last step.
    index : int
    objects : tuple of PropagatedObject
        Where the masks come from, or why there are none.
    gone : tuple of int
        Planes that smoothing left without a mask.
    """

    masks: tuple[PlaneMasks, ...]
    index: int
    objects: tuple[PropagatedObject, ...] = ()
    gone: tuple[int, ...] = ()


def propagate_steps(job: VolumeJob) -> Generator[Segmenter | PlaneStep]:
    """Load the segmenter where it is not, segment the prompted planes, and go out from them.

    Parameters
    ----------
    job : VolumeJob

    Yields
    ------
    Segmenter or PlaneStep
        The segmenter that was loaded; the prompted planes, as the dock makes them; each plane that
        was reached; and, with `sigma`, what smoothing made of them.

    Raises
    ------
    Cancelled
        Once ``job.run.stop`` is set.
    """
    segmenter = yield from job.run.loaded()
    from napari_cam_sam.sam.volume.propagation import propagate

    run, snapshot = job.run, job.snapshot
    starts: list[PlaneMasks] = []
    for prompts in job.prompts:
        embedding, _ = encode(run, segmenter, prompts)
        masks = decode(segmenter, run.name, embedding, snapshot.window(), prompts)
        picked = job.picked.get(prompts.index)
        if picked is not None:
            masks = replace(masks, chosen=picked, picked=True)
        starts.append(masks)
        yield PlaneStep((masks,), prompts.index)

    def read(index: int) -> NDArray[np.uint8]:
        if run.stop.is_set():
            raise Cancelled
        return snapshot.plane(index)

    found: dict[int, PropagatedPlane] = {}
    planes = propagate(
        snapshot.image,
        _FromShown(segmenter, starts),
        job.prompts,
        read,
        job.parameters,
        encode=partial(run.embeddings.encode, segmenter, cancelled=run.stop.is_set),
        heatmap=job.heatmap,
    )
    for plane in planes:
        if job.sigma is not None:
            found[plane.index] = plane
        yield PlaneStep(_new_masks(job, segmenter, plane), plane.index, plane.objects)
    if job.sigma is not None:
        yield _smoothed(job, segmenter, found, job.sigma)


class _FromShown:
    """A segmenter whose answers on the prompted planes are the masks that are shown there.

    Parameters
    ----------
    segmenter : Segmenter
        Answers everything else.
    starts : sequence of PlaneMasks
    """

    def __init__(self, segmenter: Segmenter, starts: Sequence[PlaneMasks]) -> None:
        self._segmenter, self._starts = segmenter, starts
        self.name, self.model_hash = segmenter.name, segmenter.model_hash
        self.precision, self.device = segmenter.precision, segmenter.device

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Encode as the segmenter does."""
        return self._segmenter.encode(plane)

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[ObjectPrompt],
        *,
        multimask: bool = True,
        previous_logits: Sequence[NDArray[np.float32] | None] | None = None,
    ) -> list[MaskCandidates]:
        """Return the candidates shown, where the prompts are those of a prompted plane."""
        for start in self._starts:
            # The same, not equal: two planes may have prompts at the same place.
            if start.prompts.objects is prompts:
                return [_only(*pair) for pair in zip(start.found, start.chosen, strict=True)]
        return self._segmenter.decode(
            embedding, prompts, multimask=multimask, previous_logits=previous_logits
        )


def _only(found: MaskCandidates, chosen: int) -> MaskCandidates:
    one = slice(chosen, chosen + 1)
    return replace(
        found, masks=found.masks[one], scores=found.scores[one], logits=found.logits[one]
    )


def _new_masks(
    job: VolumeJob, segmenter: Segmenter, plane: PropagatedPlane
) -> tuple[PlaneMasks, ...]:
    """Return what a plane has beyond the masks of its own prompts."""
    there = [one for one in plane.objects if one.source != "none"]
    if all(one.source == "prompted" for one in there):
        return ()
    masks = {one.object_id: plane.labels == one.object_id for one in there}
    scores = {one.object_id: one.score for one in there}
    made = "interpolated" if all(o.source == "interpolated" for o in there) else "propagated"
    return (_masks(job, segmenter, plane.index, masks, _about(there), made, scores),)


def _masks(
    job: VolumeJob,
    segmenter: Segmenter,
    index: int,
    masks: Mapping[int, NDArray[np.bool_]],
    about: str,
    made: Any = "propagated",
    scores: Mapping[int, float | None] | None = None,
) -> PlaneMasks:
    window = job.snapshot.window()
    known = scores or {}
    return PlaneMasks(
        PlanePrompts(job.snapshot.axis, index),
        tuple(single_candidate(i, mask, known.get(i)) for i, mask in sorted(masks.items())),
        (0,) * len(masks),
        job.run.name,
        segmenter.model_hash,
        (window.low, window.high),
        source=made,
        precision=segmenter.precision,
        about=about,
    )


def _about(there: Sequence[PropagatedObject]) -> str:
    """Return in words where the masks of a plane come from, each way once."""
    ids: dict[str, list[int]] = {}
    for one in there:
        words = f"{one.source} from slice {one.from_plane}"
        if one.source == "interpolated":
            words = f"interpolated near slice {one.from_plane}"
        if one.source == "prompted":
            words = "from its prompts here"
        ids.setdefault(words, []).append(one.object_id)
    if len(ids) == 1:
        return next(iter(ids))
    return ", ".join(f"{listed('object', those)} {words}" for words, those in ids.items())


def _smoothed(
    job: VolumeJob, segmenter: Segmenter, found: Mapping[int, PropagatedPlane], sigma: float
) -> PlaneStep:
    """Smooth along the axis; the prompted planes stay as they are."""
    from napari_cam_sam.sam.volume.smoothing import smooth_along_axis

    snapshot = job.snapshot
    image, axis = snapshot.image, snapshot.axis
    dtype = next(iter(found.values())).labels.dtype
    labels = np.zeros(image.spatial_shape, dtype)
    for index, plane in found.items():
        labels[image.plane_index(axis, index)] = plane.labels
    smooth = smooth_along_axis(labels, axis, sigma, image.geometry.spacing)
    prompted = {prompts.index for prompts in job.prompts}
    changed: list[PlaneMasks] = []
    gone: list[int] = []
    for index in range(image.n_planes(axis)):
        now = smooth[image.plane_index(axis, index)]
        if index in prompted or np.array_equal(now, labels[image.plane_index(axis, index)]):
            continue
        masks = {int(i): now == i for i in np.unique(now[now != 0])}
        if not masks:
            gone.append(index)
            continue
        there = [o for o in found[index].objects if o.source != "none"] if index in found else []
        about = f"{_about(there)}, smoothed" if there else "filled in by smoothing"
        changed.append(_masks(job, segmenter, index, masks, about))
    return PlaneStep(tuple(changed), snapshot.index, (), tuple(gone))
