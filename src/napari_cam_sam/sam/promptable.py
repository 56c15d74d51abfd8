"""segment-anything's models, and those built of its parts, as segmenters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import Sam
from torch import Tensor

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import ObjectPrompt
from napari_cam_sam.sam.checks import check_embedding, check_plane, check_prompts
from napari_cam_sam.sam.frames import InputFrame, LongestSide
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates

__all__ = ["SamSegmenter"]

# Objects decoded at once: their masks pass through three planes of 1024² float32 each.
_OBJECTS_AT_ONCE = 16


class SamSegmenter:
    """A :class:`segment_anything.modeling.Sam` that holds no image.

    Unlike ``SamPredictor`` it keeps no state between calls and decodes the prompts of many
    objects in one batch. The modules have no hooks and run without gradients, so one instance
    may be shared by threads.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        Is moved to ``device`` and set to evaluate.
    name : str
        E.g. ``"sam-vit-b"``.
    model_hash : str
        SHA-256 of its weights, hexadecimal.
    device : torch.device
    frame : InputFrame, optional
        :class:`~napari_cam_sam.sam.frames.LongestSide` by default, as segment-anything does.
    boxes_only : bool
        Refuse prompts without a box: the model learned from boxes alone.
    """

    def __init__(
        self,
        sam: Sam,
        name: str,
        model_hash: str,
        device: torch.device,
        frame: InputFrame | None = None,
        *,
        boxes_only: bool = False,
    ) -> None:
        self.name = name
        self.model_hash = model_hash
        self.device = str(device)
        self.precision = "float32"
        self._sam = sam.to(device).eval().requires_grad_(False)
        self._frame = frame or LongestSide()
        self._boxes_only = boxes_only

    @torch.no_grad()
    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Encode a windowed plane.

        Parameters
        ----------
        plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
            Gray is repeated to three channels.

        Returns
        -------
        Embedding
            ``features`` is a float32 tensor of shape (1, C, h, w) on the segmenter's device.

        Raises
        ------
        CamSamError
            If the array is not such a plane, or the device has not enough memory.
        """
        check_plane(plane)
        rgb = plane if plane.ndim == 3 else np.repeat(plane[:, :, None], 3, axis=2)
        try:
            features = self._sam.image_encoder(self._frame.prepare(self._sam, rgb))
        except torch.OutOfMemoryError as error:
            raise CamSamError(
                f"{self.name} does not fit into the memory of {self.device}: "
                "use a smaller model or device cpu."
            ) from error
        shape = (int(plane.shape[0]), int(plane.shape[1]))
        return Embedding(features, shape, self.model_hash)

    @torch.no_grad()
    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[ObjectPrompt],
        *,
        multimask: bool = True,
        previous_logits: Sequence[NDArray[np.float32] | None] | None = None,
    ) -> list[MaskCandidates]:
        """Decode the prompts of one or many objects of one plane.

        Boxes are fed with their ends as they are, exclusive and not clipped to the plane.

        Parameters
        ----------
        embedding : Embedding
            From this segmenter's :meth:`encode`.
        prompts : sequence of ObjectPrompt
            One entry an object; each needs a positive point or a box.
        multimask : bool
            True for the model's three candidates, False for its single mask.
        previous_logits : sequence of ndarray of shape (h, w) or None
            For each object the logits of an earlier candidate to refine, or None.

        Returns
        -------
        list of MaskCandidates
            In the order of ``prompts``. The scores are the model's own figures, which a poor fit
            can put outside of [0, 1].

        Raises
        ------
        CamSamError
            For an object without a positive point or box, logits of another shape, or another
            model's embedding.
        """
        check_embedding(embedding, self.model_hash, self.name)
        height, width = self._sam.prompt_encoder.mask_input_size
        before = check_prompts(prompts, previous_logits, (height, width))
        if self._boxes_only and any(prompt.box is None for prompt in prompts):
            raise CamSamError(
                f"{self.name} knows boxes only: take a rule that makes boxes, e.g. s1 or kind box."
            )
        # A batch must be even: as many points each, a box or none, logits or none.
        groups: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for i, (prompt, logits) in enumerate(zip(prompts, before, strict=True)):
            groups[len(prompt.points), prompt.box is not None, logits is not None].append(i)
        results: dict[int, MaskCandidates] = {}
        for members in groups.values():
            for start in range(0, len(members), _OBJECTS_AT_ONCE):
                batch = members[start : start + _OBJECTS_AT_ONCE]
                decoded = self._decode_even(
                    embedding,
                    [prompts[i] for i in batch],
                    [logits for i in batch if (logits := before[i]) is not None],
                    multimask,
                )
                results.update(zip(batch, decoded, strict=True))
        return [results[i] for i in range(len(prompts))]

    def _decode_even(
        self,
        embedding: Embedding,
        prompts: Sequence[ObjectPrompt],
        previous: Sequence[NDArray[np.float32]],
        multimask: bool,
    ) -> list[MaskCandidates]:
        """Decode objects that all have the same kinds of prompts, as one batch."""
        sam = self._sam
        scale = np.array(self._frame.scale(sam, embedding.plane_shape))
        points: tuple[Tensor, Tensor] | None = None
        boxes: Tensor | None = None
        masks: Tensor | None = None
        if prompts[0].points:
            xy = np.array([[(p.column, p.row) for p in o.points] for o in prompts], dtype=float)
            labels = np.array([[int(p.positive) for p in o.points] for o in prompts])
            points = self._tensor(xy * scale), self._tensor(labels, torch.int)
        if prompts[0].box is not None:
            corners = np.array(
                [
                    (b.column_min, b.row_min, b.column_max, b.row_max)
                    for o in prompts
                    if (b := o.box) is not None
                ],
                dtype=float,
            )
            boxes = self._tensor(corners * np.tile(scale, 2))
        if previous:
            masks = self._tensor(np.stack(previous)[:, None])
        logits, scores = self._predict(embedding, points, boxes, masks, multimask)
        full = self._frame.masks(sam, logits, embedding.plane_shape)
        arrays = (full.cpu().numpy(), scores.float().cpu().numpy(), logits.float().cpu().numpy())
        return [
            MaskCandidates(prompt.object_id, mask, score, low)
            for prompt, mask, score, low in zip(prompts, *arrays, strict=True)
        ]

    @torch.no_grad()
    def decode_points(
        self, embedding: Embedding, points: NDArray[np.floating]
    ) -> tuple[Tensor, Tensor]:
        """Decode points, each an object of its own, as far as the low-resolution logits.

        Most masks of a grid of points are dropped for their scores; only the others need
        :meth:`upscale`, which is the greater part of the work.

        Parameters
        ----------
        embedding : Embedding
            From this segmenter's :meth:`encode`.
        points : ndarray of float, shape (n, 2)
            Rows and columns, in pixel indices of the plane.

        Returns
        -------
        logits : Tensor of float, shape (n, 3, h, w)
        scores : Tensor of float, shape (n, 3)
            The model's estimates of each mask's IoU.

        Raises
        ------
        CamSamError
            For another model's embedding, or a model that knows boxes only.
        """
        check_embedding(embedding, self.model_hash, self.name)
        if self._boxes_only:
            raise CamSamError(f"{self.name} knows boxes only and makes nothing of points.")
        scale = np.array(self._frame.scale(self._sam, embedding.plane_shape))
        xy = self._tensor(points[:, None, ::-1] * scale)
        labels = torch.ones(len(points), 1, dtype=torch.int, device=self._sam.device)
        return self._predict(embedding, (xy, labels), None, None, True)

    @torch.no_grad()
    def upscale(self, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        """Bring logits (B, C, h, w) to the plane, (B, C, rows, columns); masks are above 0."""
        return self._frame.upscale(self._sam, logits, plane_shape)

    def _predict(
        self,
        embedding: Embedding,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Run prompt encoder and mask decoder: logits (n, c, h, w) and scores (n, c)."""
        sam = self._sam
        sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
        logits, scores = sam.mask_decoder(
            image_embeddings=embedding.features.to(sam.device),
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        return logits, scores

    def _tensor(self, values: NDArray[np.generic], dtype: torch.dtype = torch.float) -> Tensor:
        # In two steps: MPS has no float64, which an array's coordinates are.
        return torch.as_tensor(values).to(dtype).to(self._sam.device)
