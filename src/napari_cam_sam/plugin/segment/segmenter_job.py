"""What every run of a segmenter in a thread needs: it is read once, before the run starts."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.torch_import import import_torch
from napari_cam_sam.plugin.state.preferences import preferences

if TYPE_CHECKING:
    from napari_cam_sam.plugin.state.prompt_layers import PromptLayers
    from napari_cam_sam.plugin.state.snapshot import Snapshot
    from napari_cam_sam.prompts.data import PlanePrompts
    from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
    from napari_cam_sam.sam.segmenter import Segmenter

__all__ = ["SegmenterJob", "load", "read_prompts"]


def read_prompts(prompts: PromptLayers, axis: int, index: int | None) -> tuple[PlanePrompts, ...]:
    """Return the prompts that masks are to be made of, by plane.

    Parameters
    ----------
    prompts : PromptLayers
    axis : int
    index : int or None
        The plane; None for every plane along the axis that has some.

    Returns
    -------
    tuple of PlanePrompts

    Raises
    ------
    CamSamError
        If there are none.
    """
    there = prompts.read_all(axis) if index is None else (prompts.read(axis, index),)
    found = tuple(plane for plane in there if plane.objects)
    if not found:
        where = "No slice along this axis has" if index is None else "This slice has no"
        raise CamSamError(f"{where} prompts: place some (step 2), or draw a box.")
    return found


def load(name: str, device: str) -> Segmenter:
    """Load a segmenter, downloading it where it is not there; in a thread.

    Parameters
    ----------
    name, device : str
        As of :func:`~napari_cam_sam.sam.loading.load_segmenter`.

    Returns
    -------
    Segmenter
    """
    import_torch()
    from napari_cam_sam.sam.loading import load_segmenter

    return load_segmenter(name, device, preferences().cache_folder or None)


@dataclass(frozen=True, eq=False)
class SegmenterJob:
    """The image and the segmenter of a run, read on the main thread before it starts.

    Attributes
    ----------
    snapshot : Snapshot
    segmenter : Segmenter or None
        None where it is to be loaded.
    name, device : str
        Of the segmenter.
    embeddings : EmbeddingCache
    stop : threading.Event
        Set to end the run within a plane.
    """

    snapshot: Snapshot
    segmenter: Segmenter | None
    name: str
    device: str
    embeddings: EmbeddingCache
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def loads(self) -> bool:
        """Whether the first step of the run is to load the segmenter."""
        return self.segmenter is None

    def loaded(self) -> Generator[Segmenter, None, Segmenter]:
        """Return the segmenter; where it had to be loaded, yield it first. In a thread."""
        if self.segmenter is not None:
            return self.segmenter
        segmenter = load(self.name, self.device)
        yield segmenter
        return segmenter
