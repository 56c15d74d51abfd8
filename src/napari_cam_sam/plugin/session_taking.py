"""The session of a workspace as it is now, read on the main thread and finished in another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.session import ImageRecord, Session, image_record

if TYPE_CHECKING:
    from napari_cam_sam.plugin.workspace import Workspace

__all__ = ["record_of", "session_taker"]


def session_taker(
    workspace: Workspace, image: Image, known: ImageRecord | None
) -> Callable[[], Session]:
    """Read the session as it is now, on the main thread.

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
        Gives the session, in a thread: it copies the labels, and hashes the image if need be.
    """
    frame = workspace.frame()
    session = _without_labels(workspace, known or _unknown(image, frame))
    parts = [layer.data for layer in workspace.masks.work_layers()]

    def take() -> Session:
        record = known or record_of(image, frame)
        return replace(session, image=record, labels=_joined(parts))

    return take


def record_of(image: Image, frame: int | None) -> ImageRecord:
    """Hash the image: its file, or its values where the file was moved away since."""
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


def _without_labels(workspace: Workspace, record: ImageRecord) -> Session:
    prompts: list[PlanePrompts] = []
    for axis in range(len(record.shape) if len(record.shape) == 3 else 1):
        count = record.shape[axis] if len(record.shape) == 3 else 1
        # One that lies off every plane is no part of the work, and must not hinder its saving.
        prompts.extend(p for p in workspace.prompts.read_all(axis) if 0 <= p.index < count)
    choices: dict[str, Any] = {"docks": workspace.docks.states()}
    layer = workspace.image_layer
    if layer is not None and not getattr(layer, "rgb", False):
        choices["contrast_limits"] = [float(v) for v in layer.contrast_limits]
    with suppress(CamSamError):  # in three dimensions no plane is shown
        choices["plane"] = list(workspace.plane())
    return Session(
        record,
        choices,
        tuple(prompts),
        tuple(sorted(workspace.prompts.touched())),
        workspace.masks.standing(),
        tuple(workspace.docks.score_rows()),
    )


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any] | None:
    """Join the labels of several layers; where two have some, those of the later one count."""
    if not parts:
        return None
    labels = np.array(parts[0])
    for part in parts[1:]:
        labels = np.where(part != 0, part, labels)
    return labels
