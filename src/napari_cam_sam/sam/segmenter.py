"""The protocol of a promptable model: encode a plane once, decode many prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import Cancelled
from napari_cam_sam.prompts.data import ObjectPrompt

__all__ = [
    "Cancelled",
    "Embedding",
    "MaskCandidates",
    "Segmenter",
    "encode_planes",
]


@dataclass(frozen=True)
class Embedding:
    """What a segmenter keeps of one encoded plane.

    Attributes
    ----------
    features : object
        The segmenter's own: a tensor of shape (1, C, h, w) for SAM, the plane for ``seeded``.
    plane_shape : tuple of int
        Rows and columns of the plane that was encoded.
    model_hash : str
        SHA-256 of the weights that made it; the decoder refuses another model's embedding.
    """

    features: Any
    plane_shape: tuple[int, int]
    model_hash: str


@dataclass(frozen=True)
class MaskCandidates:
    """Candidate masks for one object on one plane, best guess of the model not yet chosen.

    Attributes
    ----------
    object_id : int
    masks : ndarray of bool, shape (n, rows, columns)
    scores : ndarray of float32, shape (n,)
        The model's own estimate of each mask's IoU, in [0, 1].
    logits : ndarray of float32, shape (n, h, w)
        Low-resolution logits in the model's input frame, to refine with in a next decode.
    """

    object_id: int
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    logits: NDArray[np.float32]


class Segmenter(Protocol):
    """A model that turns prompts into masks.

    An instance may be shared by threads only where it says so; ``encode`` and ``decode`` keep
    no state between calls.
    """

    @property
    def name(self) -> str:
        """Registry name, e.g. ``"sam-vit-b"``."""
        ...

    @property
    def model_hash(self) -> str:
        """SHA-256 of the weights, hexadecimal."""
        ...

    @property
    def precision(self) -> str:
        """Type of the numbers in which a plane is encoded, e.g. ``"float32"``."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, e.g. ``"cpu"``, ``"cuda:0"``."""
        ...

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Encode a windowed plane of shape (rows, columns) or (rows, columns, 3), uint8."""
        ...

    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[ObjectPrompt],
        *,
        multimask: bool = True,
        previous_logits: Sequence[NDArray[np.float32] | None] | None = None,
    ) -> list[MaskCandidates]:
        """Decode the prompts of one or many objects of one plane.

        Parameters
        ----------
        embedding : Embedding
            From this segmenter's ``encode``.
        prompts : sequence of ObjectPrompt
            One entry an object; each needs a positive point or a box.
        multimask : bool
            True for the model's several candidates (three for SAM), False for its single mask.
        previous_logits : sequence of ndarray of shape (h, w) or None
            For each object the logits of an earlier decode to refine, or None.

        Returns
        -------
        list of MaskCandidates
            In the order of ``prompts``.
        """
        ...


def encode_planes(
    segmenter: Segmenter,
    planes: Iterable[NDArray[np.uint8]],
    *,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Embedding]:
    """Encode windowed planes one after the other, or in batches where the segmenter can.

    Parameters
    ----------
    segmenter : Segmenter
        Where it has a method ``encode_many``, which takes planes and ``cancelled`` as this
        function does, that encodes them in batches.
    planes : iterable of ndarray of uint8
        As ``Segmenter.encode`` takes them; read a batch at a time.
    cancelled : callable, optional
        Asked before each plane, and by ``encode_many`` within one too.

    Yields
    ------
    Embedding
        One a plane, in their order.

    Raises
    ------
    Cancelled
        As soon as ``cancelled`` says so.
    CamSamError
        As the segmenter's ``encode``.
    """
    encode_many = getattr(segmenter, "encode_many", None)
    if encode_many is not None:
        yield from encode_many(planes, cancelled=cancelled)
        return
    for plane in planes:
        if cancelled is not None and cancelled():
            raise Cancelled
        yield segmenter.encode(plane)
