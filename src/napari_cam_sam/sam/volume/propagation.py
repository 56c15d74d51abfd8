"""From prompts on one or several planes to objects of a volume, plane by plane.

A plane's mask makes the prompt of its neighbour, both ways from every prompted plane, until a
rule says that the object has ended. Between two prompted planes the ways meet in the middle; a
plane that is as far from the one as from the other belongs to the way whose prompted mask has the
higher score, then the larger area, the stronger contrast and the more brightness, and only if all
are equal to that of the lower index. So a volume that is turned end for end gives the same masks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.writing import labels_dtype
from napari_cam_sam.prompts.data import ObjectPrompt, PlanePrompts
from napari_cam_sam.sam.labels import merge_masks
from napari_cam_sam.sam.mask_choice import choose_mask, needs_multimask
from napari_cam_sam.sam.segmenter import Embedding, Segmenter
from napari_cam_sam.sam.volume.brightness import blurred_gray, follow_brightness, measure_brightness
from napari_cam_sam.sam.volume.neighbours import neighbour_prompt, uses_logits
from napari_cam_sam.sam.volume.parameters import PropagationParameters
from napari_cam_sam.sam.volume.smoothing import interpolate_masks
from napari_cam_sam.sam.volume.way import Way

__all__ = [
    "PropagatedObject",
    "PropagatedPlane",
    "PropagationSource",
    "propagate",
]

PropagationSource = Literal["prompted", "propagated", "interpolated", "none"]


@dataclass(frozen=True)
class PropagatedObject:
    """Where an object's mask on one plane comes from.

    Attributes
    ----------
    object_id : int
    source : {"prompted", "propagated", "interpolated", "none"}
        ``"none"``: no mask, for the reason in `stopped`.
    from_plane : int
        The prompted plane that it comes from; the nearer of two for ``"interpolated"``.
    score : float or None
        The segmenter's own estimate of the mask's IoU; None where it gave no mask.
    stopped : str or None
        Why a way ended on this plane, if one did. Another way may still have given the mask.
    """

    object_id: int
    source: PropagationSource
    from_plane: int
    score: float | None = None
    stopped: str | None = None


@dataclass(frozen=True, eq=False)
class PropagatedPlane:
    """One plane of the volume, with all of its objects; nothing is added to it later.

    Attributes
    ----------
    axis, index : int
    labels : ndarray of uint8, uint16 or int32, shape (rows, columns)
        0 is background, else the object's id. Of two objects the one with the lower id keeps the
        pixels that both claim.
    objects : tuple of PropagatedObject
        Those that were looked for on this plane, by id.
    """

    axis: int
    index: int
    labels: NDArray[Any]
    objects: tuple[PropagatedObject, ...]


def propagate(
    image: Image,
    segmenter: Segmenter,
    prompts: Sequence[PlanePrompts],
    read_plane: Callable[[int], NDArray[np.uint8]],
    parameters: PropagationParameters | None = None,
    *,
    encode: Callable[[NDArray[np.uint8]], Embedding] | None = None,
    heatmap: NDArray[np.float32] | None = None,
) -> Iterator[PropagatedPlane]:
    """Segment objects through a volume, from the planes on which they are prompted.

    Parameters
    ----------
    image : Image
        The volume: its planes and spacing. Its values are read by `read_plane` alone.
    segmenter : Segmenter
    prompts : sequence of PlanePrompts
        All along one axis, each plane once; planes without objects are left out. Entries of the
        same object id on one plane are united; on several planes they are one object.
    read_plane : callable
        Gives the windowed plane of an index along that axis, uint8.
    parameters : PropagationParameters, optional
    encode : callable, optional
        Makes a plane's embedding, e.g. ``functools.partial(cache.encode, segmenter)`` of an
        :class:`~napari_cam_sam.sam.cache.embeddings.EmbeddingCache`; by default
        ``segmenter.encode``. It is called once for each plane, however many objects pass it.
    heatmap : ndarray of float32, shape of the image's grid, optional
        Heatmaps of the planes, in [0, 1], for ``min_evidence``.

    Returns
    -------
    iterator of PropagatedPlane
        Each plane once, when all of its objects are decided: the prompted ones first, then
        outwards. Planes that no object reached are not among them. The iterator may be closed at
        any time.

    Raises
    ------
    CamSamError
        Before the first plane, if the image is no volume, or prompts or parameters do not fit.

    Examples
    --------
    >>> from napari_cam_sam.demo.samples import make_sample
    >>> image, segmenter = make_sample("ct").image, ncs.load_segmenter("seeded")
    >>> window = ncs.resolve_window(image, ncs.WindowParameters("ct-abdomen"))
    >>> lesion = ncs.ObjectPrompt(1, box=ncs.Box(60, 60, 76, 76))
    >>> planes = ncs.propagate(
    ...     image,
    ...     segmenter,
    ...     [ncs.PlanePrompts(0, 11, (lesion,))],
    ...     lambda index: ncs.apply_window(image.plane(0, index), window),
    ...     ncs.PropagationParameters(max_planes=1),
    ... )
    >>> {plane.index: plane.objects[0].source for plane in planes}[11]
    'prompted'
    """
    parameters = parameters or PropagationParameters()
    given = _checked_prompts(image, prompts)
    if parameters.min_evidence is not None and heatmap is None:
        raise CamSamError("To stop without evidence of a heatmap, give one, or no min_evidence.")
    if heatmap is not None and heatmap.shape != image.spatial_shape:
        raise CamSamError(
            f"The heatmap has shape {heatmap.shape}, {image.name} {image.spatial_shape}: "
            "they must be the same."
        )
    return _Propagation(
        image, segmenter, given, read_plane, parameters, encode or segmenter.encode, heatmap
    ).planes()


def _checked_prompts(image: Image, prompts: Sequence[PlanePrompts]) -> list[PlanePrompts]:
    if image.spatial_ndim != 3:
        raise CamSamError(f"{image.name} is a single slice: propagation needs a volume.")
    given = sorted((p for p in prompts if p.objects), key=lambda p: p.index)
    if not given:
        raise CamSamError("No slice has a prompt to propagate from: prompt at least one.")
    axis = given[0].axis
    if any(p.axis != axis for p in given):
        raise CamSamError("The prompts lie along different axes: propagate one axis at a time.")
    count = image.n_planes(axis)
    for before, plane in zip([None, *given], given, strict=False):
        if not 0 <= plane.index < count:
            raise CamSamError(
                f"{image.name} has no slice {plane.index} along axis {axis} to propagate from: "
                f"its slices are 0 to {count - 1}."
            )
        if before is not None and before.index == plane.index:
            raise CamSamError(f"Slice {plane.index} is given twice: join its prompts.")
        if min(prompt.object_id for prompt in plane.objects) < 1:
            raise CamSamError(f"An object of slice {plane.index} has no label: ids count from 1.")
    return given


def _reach(image: Image, axis: int, parameters: PropagationParameters) -> int | None:
    """Planes that a mask may go from its prompted plane; None for all."""
    reaches = [] if parameters.max_planes is None else [parameters.max_planes]
    if parameters.max_distance_mm is not None:
        if image.geometry.unit != "mm":
            raise CamSamError(
                f"{image.name} has no spacing in mm: give the range in slices, as max_planes."
            )
        # A hair more, so that 15 mm are three steps of 5 mm whatever the rounding.
        steps = parameters.max_distance_mm / image.geometry.spacing[axis]
        reaches.append(math.floor(steps * (1 + 1e-6)))
    return min(reaches, default=None)


@dataclass(frozen=True, eq=False)
class _Answer:
    """The candidate that was taken of those that the segmenter gave."""

    mask: NDArray[np.bool_]
    logits: NDArray[np.float32]
    score: float


@dataclass(eq=False)
class _Found:
    """What is known of one plane until it is yielded."""

    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    objects: dict[int, PropagatedObject] = field(default_factory=dict)
    plane: NDArray[np.uint8] | None = None
    embedding: Embedding | None = None
    gray: NDArray[np.float32] | None = None


@dataclass(eq=False)
class _Propagation:
    """The state of one run: the ways that are open and the planes not yet yielded."""

    image: Image
    segmenter: Segmenter
    prompts: Sequence[PlanePrompts]
    read_plane: Callable[[int], NDArray[np.uint8]]
    parameters: PropagationParameters
    encode: Callable[[NDArray[np.uint8]], Embedding]
    heatmap: NDArray[np.float32] | None

    def __post_init__(self) -> None:
        self.axis = self.prompts[0].axis
        self.shape = self.image.plane_shape(self.axis)
        self.reach = _reach(self.image, self.axis, self.parameters)
        self.dtype = labels_dtype(max(o.object_id for p in self.prompts for o in p.objects))
        self.ways: list[Way] = []
        self.pending: defaultdict[int, _Found] = defaultdict(_Found)

    def planes(self) -> Iterator[PropagatedPlane]:
        """Go all ways to their ends, each step on one plane for all objects that pass it."""
        yield from self._start()
        yield from self._decided()
        moved = True
        while moved:
            moved = False
            for direction in (1, -1):
                ready = [w for w in self.ways if w.direction == direction and w.may_step()]
                if not ready:
                    continue
                # Those behind go first, so that objects pass a plane together.
                index = min(w.position * direction for w in ready) * direction
                self._step(index, [w for w in ready if w.position == index])
                yield from self._decided()
                moved = True

    def _start(self) -> Iterator[PropagatedPlane]:
        """Decode the prompted planes and open the ways between and beyond them."""
        ids = {prompt.object_id for plane in self.prompts for prompt in plane.objects}
        starts: dict[int, list[Way]] = {}
        for plane in self.prompts:
            for way in self._prompted(plane):
                starts.setdefault(way.object_id, []).append(way)
            if self.pending[plane.index].masks.keys() == ids:
                yield self._finish(plane.index)
        for _, ups in sorted(starts.items()):  # in the same order from either end
            below: Way | None = None
            for up in ups:
                end = below.origin if below else -1
                down = replace(up, direction=-1, end=end, opposite=below)
                if below is not None:
                    below.end, below.opposite = up.origin, down
                self.ways += [down, up]
                below = up
        for way in self.ways:
            way.done = way.position == way.end

    def _prompted(self, plane: PlanePrompts) -> Iterator[Way]:
        """Segment a prompted plane; an object that gives no mask there is not prompted there."""
        found, index = self.pending[plane.index], plane.index
        count = self.image.n_planes(self.axis)
        parts: defaultdict[int, list[_Answer]] = defaultdict(list)
        for prompt, answer in zip(plane.objects, self._decode(index, plane.objects), strict=True):
            parts[prompt.object_id].append(answer)
        for object_id, answers in sorted(parts.items()):
            mask = np.any([answer.mask for answer in answers], axis=0)
            if not mask.any():
                found.objects[object_id] = PropagatedObject(
                    object_id, "none", index, None, "its prompts give an empty mask"
                )
                continue
            score = max(answer.score for answer in answers)
            found.masks[object_id] = mask
            found.objects[object_id] = PropagatedObject(object_id, "prompted", index, score)
            logits = np.max([answer.logits for answer in answers], axis=0)
            gray = self._gray(index)
            bright = measure_brightness(gray, mask)
            contrast = 0.0 if bright is None else abs(bright.inside - bright.around)
            strength = (score, float(mask.sum()), contrast, math.fsum(gray[mask].tolist()))
            yield Way(object_id, index, 1, mask, logits, bright, strength, count)

    def _step(self, index: int, ways: Sequence[Way]) -> None:
        """Take all objects that pass a plane in one direction one step on, in one decode."""
        found, p = self.pending[index], self.parameters
        moving: list[Way] = []
        prompts: list[ObjectPrompt] = []
        for way in ways:
            if self.reach is not None and abs(index - way.origin) > self.reach:
                slices = f"{self.reach} slice{'s' * (self.reach != 1)}"
                self._stop(way, found, f"its range of {slices} ends")
                continue
            mask = way.mask
            if p.follow_brightness and way.brightness is not None:
                mask = follow_brightness(mask, way.brightness.likeness(self._gray(index)))
                if not mask.any():
                    self._stop(way, found, "nothing is as bright as the object")
                    continue
            prompt = neighbour_prompt(
                way.object_id, mask, p.rule, p.margin, points=p.points, negatives=p.negatives
            )
            prompts.append(prompt)
            moving.append(way)
        if moving:
            logits = [w.logits for w in moving] if uses_logits(p.rule) else None
            for way, answer in zip(moving, self._decode(index, prompts, logits), strict=True):
                reason = self._why_stop(way, index, answer.mask, answer.score)
                if reason is not None:
                    self._stop(way, found, reason)
                    continue
                self._give(
                    index, way.object_id, answer.mask, "propagated", way.origin, answer.score
                )
                way.mask, way.logits = answer.mask, answer.logits
                way.position += way.direction
        for way in ways:
            self._meet(way)

    def _why_stop(self, way: Way, index: int, mask: NDArray[np.bool_], score: float) -> str | None:
        """Say by which rule a mask is not the object any more, if by any."""
        p = self.parameters
        area, before = int(mask.sum()), int(way.mask.sum())
        if area == 0:
            return "the mask is empty"
        if p.min_score is not None and score < p.min_score:
            return f"the model's score {score:.2f} is below {p.min_score:g}"
        ratio = max(area / before, before / area)
        if p.max_area_ratio is not None and ratio > p.max_area_ratio:
            return f"the area goes from {before} to {area} pixels"
        if p.min_iou is not None:
            shared = int((mask & way.mask).sum())
            iou = shared / (area + before - shared)
            if iou < p.min_iou:
                return f"the IoU with the neighbour, {iou:.2f}, is below {p.min_iou:g}"
        if p.min_contrast is not None and way.brightness is not None:
            likeness = way.brightness.likeness(self._gray(index)[mask])
            contrast = float(np.median(likeness))
            if contrast < p.min_contrast:
                return f"the contrast, {contrast:.2f} of that at the prompt, is too low"
        if p.min_evidence is not None and self.heatmap is not None:
            heat = self.heatmap[self.image.plane_index(self.axis, index)]
            evidence = float(heat[mask].max())
            # NaN is no evidence either.
            if not evidence >= p.min_evidence:
                return f"the heatmap's evidence {evidence:.2f} is below {p.min_evidence:g}"
        return None

    def _stop(self, way: Way, found: _Found, reason: str) -> None:
        way.done = True
        known = found.objects.get(way.object_id)
        if known is None or (known.source == "none" and way.owns(way.position)):
            found.objects[way.object_id] = PropagatedObject(
                way.object_id, "none", way.origin, None, reason
            )

    def _meet(self, way: Way) -> None:
        """End a way at its end or where the opposite one has been, and fill what lies between."""
        other = way.opposite
        if way.position == way.end:
            way.done = True
        if other is None:
            return
        if (other.last - way.last) * way.direction <= 1:
            way.done = other.done = True
        elif way.done and other.done and self.parameters.fill_gaps:
            self._fill(*((way, other) if way.direction == 1 else (other, way)))

    def _fill(self, up: Way, down: Way) -> None:
        """Interpolate the planes between the last masks of two ways that have both ended."""
        rows, columns = self.image.geometry.plane_spacing(self.axis)
        for index in range(up.last + 1, down.last):
            fraction = (index - up.last) / (down.last - up.last)
            mask = interpolate_masks(up.mask, down.mask, fraction, (rows, columns))
            if mask.any():
                origin = up.origin if up.owns(index) else down.origin
                self._give(index, up.object_id, mask, "interpolated", origin)

    def _give(
        self,
        index: int,
        object_id: int,
        mask: NDArray[np.bool_],
        source: PropagationSource,
        from_plane: int,
        score: float | None = None,
    ) -> None:
        """Give an object its mask on a plane, where another way may have stopped before."""
        found = self.pending[index]
        before = found.objects.get(object_id)
        stopped = before.stopped if before else None
        found.masks[object_id] = mask
        found.objects[object_id] = PropagatedObject(object_id, source, from_plane, score, stopped)

    def _decided(self) -> Iterator[PropagatedPlane]:
        """Yield the planes whose objects all are decided, and forget them."""
        for index in sorted(self.pending):
            given = self.pending[index].masks
            if not any(w.may_reach(index) and w.object_id not in given for w in self.ways):
                yield self._finish(index)

    def _finish(self, index: int) -> PropagatedPlane:
        found = self.pending.pop(index)
        labels = np.zeros(self.shape, self.dtype)
        merge_masks(labels, sorted(found.masks.items()))
        objects = tuple(found.objects[i] for i in sorted(found.objects))
        return PropagatedPlane(self.axis, index, labels, objects)

    def _decode(
        self,
        index: int,
        prompts: Sequence[ObjectPrompt],
        previous_logits: Sequence[NDArray[np.float32]] | None = None,
    ) -> list[_Answer]:
        found = self.pending[index]
        if found.embedding is None:
            found.embedding = self.encode(self._plane(index))
        choice = self.parameters.mask_choice
        every = self.segmenter.decode(
            found.embedding,
            prompts,
            multimask=needs_multimask(choice),
            previous_logits=previous_logits,
        )
        return [
            _Answer(one.masks[i], one.logits[i], float(one.scores[i]))
            for one in every
            for i in [choose_mask(one, choice)]
        ]

    def _plane(self, index: int) -> NDArray[np.uint8]:
        found = self.pending[index]
        if found.plane is None:
            found.plane = self.read_plane(index)
            if found.plane.shape[:2] != self.shape:
                raise CamSamError(
                    f"Slice {index} was read with shape {found.plane.shape}, {self.image.name} "
                    f"has slices of {self.shape}: read them along axis {self.axis}."
                )
        return found.plane

    def _gray(self, index: int) -> NDArray[np.float32]:
        found = self.pending[index]
        if found.gray is None:
            found.gray = blurred_gray(self._plane(index))
        return found.gray
