"""Which image layers are masks, and the labels in them."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

import numpy as np

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.labels import mask_in
from napari_cam_sam.plugin.layers.conversion import image_of

__all__ = ["MaskFinder"]


class MaskFinder:
    """Tells masks among the image layers of a viewer; each array is read through once.

    Parameters
    ----------
    layers : napari.components.LayerList
    """

    def __init__(self, layers: Any) -> None:
        # By layer: the array that was looked at, whether it is a mask, and the labels in it.
        self._seen: dict[Any, tuple[Any, bool, Image | None]] = {}
        self.taken: dict[Any, Any] = {}
        """By the id of an image layer that is a mask, the labels that were made of it."""
        layers.events.removed.connect(self._forget)

    def is_mask(self, layer: Any) -> bool:
        """Return whether an image layer looks like a mask, see `mask_in`; the answer is kept."""
        return self._looked_at(layer)[0]

    def take_labels(self, layer: Any) -> Image | None:
        """Return the labels of a layer that is a mask, once: they are not kept any longer."""
        is_mask, labels = self._looked_at(layer)
        if is_mask:
            seen, _, _ = self._seen[layer.unique_id]
            self._seen[layer.unique_id] = seen, True, None
        return labels

    def _looked_at(self, layer: Any) -> tuple[bool, Image | None]:
        data = layer.data
        # Large files, which are not in memory, are not read through for it.
        if not isinstance(data, np.ndarray) or layer.ndim > 3:
            return False, None
        seen, is_mask, labels = self._seen.get(layer.unique_id, (None, False, None))
        if seen is None or seen() is not data:
            labels = None
            with suppress(CamSamError):
                labels = mask_in(image_of(layer))
            is_mask = labels is not None
            # To read through a volume takes a second: what came of it is kept until it is taken.
            self._seen[layer.unique_id] = weakref.ref(data), is_mask, labels
        return is_mask, labels

    def _forget(self, event: Any) -> None:
        self._seen.pop(event.value.unique_id, None)
