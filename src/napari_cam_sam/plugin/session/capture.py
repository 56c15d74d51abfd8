"""The session of a workspace at one moment, read on the main thread and finished in another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.state.kept_masks import data_of
from napari_cam_sam.session import ImageRecord, Session, image_record

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["LabelledPart", "capture_session", "record_of"]


def capture_session(
    workspace: Workspace, image: Image, known: ImageRecord | None
) -> Callable[[], Session]:
    """Read all of the session now, on the main thread: what is done later is not in it.

    Parameters
    ----------
    workspace : Workspace
    image : Image
        The workspace's.
    known : ImageRecord or None
        Of the image; None where it is not hashed yet.

    Returns
    -------
    callable
        Gives the session, in a thread: it joins the labels, brings masks to run lengths, and
        hashes the image if need be. It looks at nothing that can change.
    """
    frame = workspace.frame()
    session = _without_labels(workspace, image, known or _unknown(image, frame))
    # Copied here: painted on, or worked on for another image, they would be others in a thread.
    parts = [LabelledPart.copied(layer.data) for layer in workspace.masks.work_layers()]
    held = workspace.masks.held()

    def take() -> Session:
        record = known or record_of(image, frame)
        labels = _joined(parts)
        choices = session.choices | {"masks": [data_of(masks) for masks in held]}
        choices["labelled"] = _labelled(labels)
        return replace(session, image=record, choices=choices, labels=labels)

    return take


def record_of(image: Image, frame: int | None) -> ImageRecord:
    """Return the record of an image: of its file, or of its values where that was moved away.

    Parameters
    ----------
    image : Image
    frame : int or None
        Of a series.

    Returns
    -------
    ImageRecord
        With the hash; to compute it takes a while.
    """
    try:
        return image_record(image, frame)
    except CamSamError:
        return image_record(replace(image, path=None), frame)


def _unknown(image: Image, frame: int | None) -> ImageRecord:
    """Stand in for a record until the thread has hashed the image."""
    spacing = tuple(float(v) for v in image.geometry.spacing)
    return ImageRecord(
        image.name, None, "0" * 64, image.spatial_shape, spacing, image.geometry.unit, frame
    )


def _without_labels(workspace: Workspace, image: Image, record: ImageRecord) -> Session:
    # One that lies off every plane is no part of the work, and must not hinder its saving.
    there = {(axis, index) for axis in image.axes for index in range(image.n_planes(axis))}
    prompts = (plane for axis in image.axes for plane in workspace.prompts.read_all(axis))
    choices: dict[str, Any] = {"docks": copy.deepcopy(workspace.docks.states())}
    layer = workspace.image_layer
    if layer is not None and not getattr(layer, "rgb", False):
        limits = [float(limit) for limit in layer.contrast_limits]
        if np.isfinite(limits).all():  # else it could not be opened again
            choices["contrast_limits"] = limits
    with suppress(CamSamError):  # in three dimensions no plane is shown
        choices["plane"] = list(workspace.plane())
    return Session(
        record,
        choices,
        tuple(plane for plane in prompts if (plane.axis, plane.index) in there),
        tuple(sorted(workspace.prompts.touched() & there)),
        workspace.masks.standing(),
        tuple(copy.deepcopy(workspace.docks.score_rows())),
    )


@dataclass(frozen=True, eq=False)
class LabelledPart:
    """A copy of labels without the margins where there are none: most of a volume is empty.

    Attributes
    ----------
    shape : tuple of int
        Of all labels.
    start : tuple of int
        Where the part that was copied begins, along each axis.
    values : ndarray
        That part.
    """

    shape: tuple[int, ...]
    start: tuple[int, ...]
    values: NDArray[Any]

    @classmethod
    def copied(cls, labels: Any) -> LabelledPart:
        """Copy the smallest part that holds all labels; an empty one where there are none."""
        part = np.asarray(labels)
        shape, start = part.shape, []
        for axis in range(part.ndim):
            there = np.flatnonzero(part.any(axis=tuple(a for a in range(part.ndim) if a != axis)))
            first, stop = (int(there[0]), int(there[-1]) + 1) if there.size else (0, 0)
            start.append(first)
            part = part[(slice(None),) * axis + (slice(first, stop),)]
        return cls(shape, tuple(start), np.array(part))

    def whole(self) -> NDArray[Any]:
        """Return the labels in their whole shape."""
        labels = np.zeros(self.shape, self.values.dtype)
        box = tuple(slice(a, a + n) for a, n in zip(self.start, self.values.shape, strict=True))
        labels[box] = self.values
        return labels


def _joined(parts: list[LabelledPart]) -> NDArray[Any] | None:
    """Join the labels of several layers; where two have some, those of the later one count."""
    if not parts:
        return None
    return reduce(
        lambda labels, later: np.where(later != 0, later, labels), (part.whole() for part in parts)
    )


def _labelled(labels: NDArray[Any] | None) -> list[list[int]]:
    """List the planes along the first axis that have labels, each as a list of its own."""
    if labels is None:
        return []
    planes = labels if labels.ndim == 3 else labels[np.newaxis]
    return np.argwhere(planes.any(axis=(1, 2))).tolist()
