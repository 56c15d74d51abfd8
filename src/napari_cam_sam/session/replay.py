"""A session's acceptances run again, to the same labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import Window, apply_window
from napari_cam_sam.images.writing import labels_dtype
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.segmenter import Segmenter
from napari_cam_sam.session.data import SINGLE, Acceptance, Session, check_session_image
from napari_cam_sam.session.masks import Written, accept_masks, chosen_masks

__all__ = ["replay"]


def replay(
    session: Session,
    image: Image,
    load: Callable[[str, str], Segmenter] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Accept every plane of a session again, in its order, with the segmenters that it names.

    Without strokes of the reviewer's own hand, the same machine gives the same labels.

    Parameters
    ----------
    session : Session
    image : Image
        The session's; of a series its frame.
    load : callable, optional
        From a segmenter's name or path, and its precision, to the segmenter; by default
        `load_segmenter`.
    progress : callable, optional
        Called after each acceptance with the number done and the number of all.

    Returns
    -------
    ndarray of uint8, uint16 or int32, shape of the image's grid

    Raises
    ------
    CamSamError
        If the image or a segmenter is not the session's, or a candidate does not exist.

    Examples
    --------
    >>> from napari_cam_sam.session import image_record
    >>> image = ncs.image_from_array(np.zeros((24, 64, 48), np.uint8), name="scan")
    >>> labels = ncs.replay(ncs.Session(image_record(image)), image)
    >>> labels.shape, int(labels.max())  # nothing was accepted
    ((24, 64, 48), 0)
    """
    check_session_image(session, image, session.image.frame)
    segmenters = _load_segmenters(session, load or _load)
    ids = [i for one in session.accepted for i in one.object_ids]
    labels = np.zeros(image.spatial_shape, labels_dtype(max(ids, default=0)))
    embeddings = EmbeddingCache()
    earlier: list[Written] = []
    for done, acceptance in enumerate(session.accepted, start=1):
        axis, index = acceptance.prompts.axis, acceptance.prompts.index
        masks = {one.object_id: one.mask() for one in acceptance.masks}
        if acceptance.prompts.objects:
            plane = _windowed(image.plane(axis, index), acceptance.window)
            segmenter = segmenters[acceptance.segmenter, acceptance.precision]
            masks = _decode(segmenter, embeddings, plane, acceptance)
        if masks:
            where = image.plane_index(axis, index)
            one = accept_masks(labels, axis, index, masks, acceptance.overlap, earlier)
            labels[where].flat[one.where] = one.after
            earlier.append(one)
        if progress is not None:
            progress(done, len(session.accepted))
    return labels


def _load(name: str, precision: str) -> Segmenter:
    from napari_cam_sam.sam.loading import load_segmenter  # brings PyTorch, which takes seconds

    return load_segmenter(name, precision=precision)


def _load_segmenters(
    session: Session, load: Callable[[str, str], Segmenter]
) -> dict[tuple[str, str], Segmenter]:
    """Load each segmenter once, and refuse one that changed before anything is computed."""
    loaded: dict[tuple[str, str], Segmenter] = {}
    for acceptance in session.accepted:
        if acceptance.masks:
            continue  # nothing is decoded
        name, wanted = acceptance.segmenter, acceptance.segmenter_sha256
        key = name, acceptance.precision
        if key not in loaded:
            loaded[key] = load(*key)
        found = loaded[key].model_hash
        if found != wanted:
            raise CamSamError(
                f"The segmenter {name} is not the one of the session: its sha256 is "
                f"{found[:12]}…, and was {wanted[:12]}…."
            )
    return loaded


def _windowed(plane: NDArray[Any], window: tuple[float, float] | None) -> NDArray[np.uint8]:
    if window is not None:
        return apply_window(plane, Window(*window, 0, "of the session"))
    if plane.dtype != np.uint8:
        raise CamSamError(
            f"The session names no window, but the image is of type {plane.dtype}: "
            "only 8-bit pixels can be taken as they are."
        )
    return apply_window(plane, Window(0, 255, 0, "as it is"))


def _decode(
    segmenter: Segmenter,
    embeddings: EmbeddingCache,
    plane: NDArray[np.uint8],
    acceptance: Acceptance,
) -> dict[int, NDArray[np.bool_]]:
    """Decode an acceptance's prompts as the viewer does: all objects in one call."""
    embedding = embeddings.encode(segmenter, plane)
    decoded = {
        multimask: segmenter.decode(embedding, acceptance.prompts.objects, multimask=multimask)
        for multimask in {chosen != SINGLE for chosen in acceptance.candidates}
    }
    found = [decoded[chosen != SINGLE][i] for i, chosen in enumerate(acceptance.candidates)]
    return chosen_masks(found, acceptance.candidates)
