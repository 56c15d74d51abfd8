"""segment-anything's models, and those built of its parts, as segmenters."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import Tensor

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import ObjectPrompt
from napari_cam_sam.sam.frames import InputFrame, LongestSide
from napari_cam_sam.sam.models.decoder import decode_logits, image_tokens
from napari_cam_sam.sam.models.encoder import bytes_of_a_plane, cast_blocks, encode_images
from napari_cam_sam.sam.segmenter import Cancelled, Embedding, MaskCandidates
from napari_cam_sam.sam.validation import check_decodable, check_embedding, check_plane

__all__ = ["SamSegmenter"]

# Coordinates (x, y) of shape (B, n, 2) and labels, 1 for positive, of shape (B, n).
_Points = tuple[Tensor, Tensor]

# Objects decoded at once. On a CPU, what one object needs stays in its caches.
_OBJECTS_AT_ONCE_ON_CPU = 1
_OBJECTS_AT_ONCE = 16

# Planes encoded at once on a GPU at most: more are no faster.
_PLANES_AT_ONCE = 16


class SamSegmenter:
    """A :class:`segment_anything.modeling.Sam` that holds no image.

    Unlike ``SamPredictor`` it keeps no state between calls and decodes the prompts of many
    objects in one batch. The modules have no hooks and run without gradients, so one instance
    may be shared by threads.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        Is moved to ``device`` and set to evaluate; the linear layers of its image encoder are
        brought to ``precision``.
    name : str
        E.g. ``"sam-vit-b"``.
    model_hash : str
        SHA-256 of its weights, hexadecimal.
    device : torch.device
    frame : InputFrame, optional
        :class:`~napari_cam_sam.sam.frames.LongestSide` by default, as segment-anything does.
    boxes_only : bool
        Refuse prompts without a box: the model learned from boxes alone.
    precision : torch.dtype
        For a vision transformer; other encoders are small, gain nothing, and stay at float32.
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
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.name = name
        self.model_hash = model_hash
        self.device = str(device)
        self._sam = sam.to(device).eval().requires_grad_(False)
        self._frame = frame or LongestSide()
        self.frame = self._frame.name
        self._boxes_only = boxes_only
        self._is_vit = isinstance(sam.image_encoder, ImageEncoderViT)
        if self._is_vit:
            cast_blocks(sam.image_encoder, precision)
        self.precision = str(precision if self._is_vit else torch.float32).removeprefix("torch.")

    def encode(
        self, plane: NDArray[np.uint8], *, cancelled: Callable[[], bool] | None = None
    ) -> Embedding:
        """Encode a windowed plane.

        Parameters
        ----------
        plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
            Gray is repeated to three channels.
        cancelled : callable, optional
            Asked before each block of the encoder, of which ViT-B has 12 and ViT-H 32.

        Returns
        -------
        Embedding
            ``features`` is a float32 tensor of shape (1, C, h, w) on the segmenter's device.

        Raises
        ------
        Cancelled
            As soon as ``cancelled`` says so.
        CamSamError
            If the array is not such a plane, the device has not enough memory, or the features
            leave the range of float16.
        """
        return next(self.encode_many([plane], cancelled=cancelled))

    def encode_many(
        self,
        planes: Iterable[NDArray[np.uint8]],
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[Embedding]:
        """Encode windowed planes, on a GPU as many at a time as its free memory holds.

        Where that proves too many, half of them are tried, with a warning.

        Parameters
        ----------
        planes : iterable of ndarray of uint8
            As :meth:`encode` takes them; read a batch at a time.
        cancelled : callable, optional
            See :meth:`encode`.

        Yields
        ------
        Embedding
            One a plane, in their order.

        Raises
        ------
        Cancelled, CamSamError
            As :meth:`encode`.
        """
        source = iter(planes)
        at_once = self._planes_at_once()
        waiting: list[NDArray[np.uint8]] = []
        while waiting := waiting or list(islice(source, at_once)):
            batch = waiting[:at_once]
            features = self._features(batch, cancelled)
            if features is None:
                at_once = self._fewer(len(batch), "slices")
                continue
            waiting = waiting[at_once:]
            for plane, own in zip(batch, features[:, None], strict=True):
                # A copy: a plane that is kept must not keep its batch.
                shape = (int(plane.shape[0]), int(plane.shape[1]))
                yield Embedding(own.clone(), shape, self.model_hash)

    @torch.no_grad()
    def _features(
        self, planes: Sequence[NDArray[np.uint8]], cancelled: Callable[[], bool] | None
    ) -> Tensor | None:
        """Features of planes, (B, C, h, w), or None where memory does not suffice."""
        for plane in planes:
            check_plane(plane)
        colours = (p if p.ndim == 3 else np.repeat(p[:, :, None], 3, axis=2) for p in planes)
        encoder = self._sam.image_encoder
        try:
            images = torch.cat([self._frame.prepare(self._sam, rgb) for rgb in colours])
            if self._is_vit:
                features = encode_images(encoder, images, cancelled)
            elif cancelled is not None and cancelled():
                raise Cancelled
            else:
                features = encoder(images)
        except RuntimeError as error:
            if not _says_out_of_memory(error):
                raise
            return None
        if self.precision == "float16" and not bool(features.isfinite().all()):
            raise CamSamError(
                f"The features of {self.name} leave the range of float16: "
                "use precision bfloat16 or float32."
            )
        return features

    def _fewer(self, count: int, what: str) -> int:
        """Note that so many at once were too many for the memory, and halve them."""
        if count == 1:
            raise CamSamError(
                f"{self.name} does not fit into the memory of {self.device}: "
                "use a smaller model or device cpu."
            )
        warnings.warn(
            f"{self.device} has not enough memory for {count} {what} at once: "
            f"{self.name} takes {count // 2} from here on.",
            stacklevel=3,
        )
        return count // 2

    def _planes_at_once(self) -> int:
        device = self._sam.device
        if device.type != "cuda" or not self._is_vit:
            return 1
        free = torch.cuda.mem_get_info(device)[0]
        # What PyTorch holds without using it is free too.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        at_once = int(free * 0.8) // bytes_of_a_plane(self._sam.image_encoder)
        return max(1, min(at_once, _PLANES_AT_ONCE))

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
        before = check_decodable(prompts, previous_logits, (height, width))
        if self._boxes_only and any(prompt.box is None for prompt in prompts):
            raise CamSamError(
                f"{self.name} knows boxes only: take a rule that makes boxes, e.g. s1 or kind box."
            )
        # A batch must be even: as many points each, a box or none, logits or none.
        groups: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for i, (prompt, logits) in enumerate(zip(prompts, before, strict=True)):
            groups[len(prompt.points), prompt.box is not None, logits is not None].append(i)
        on_cpu = self._sam.device.type == "cpu"
        at_once = _OBJECTS_AT_ONCE_ON_CPU if on_cpu else _OBJECTS_AT_ONCE
        tokens = self._tokens(embedding)
        results: dict[int, MaskCandidates] = {}
        for members in groups.values():
            while members:
                batch = members[:at_once]
                try:
                    decoded = self._decode_even(
                        tokens,
                        embedding.plane_shape,
                        [prompts[i] for i in batch],
                        [logits for i in batch if (logits := before[i]) is not None],
                        multimask,
                    )
                except RuntimeError as error:
                    if not _says_out_of_memory(error):
                        raise
                    decoded = []
                if not decoded:
                    at_once = self._fewer(len(batch), "objects")
                    continue
                members = members[at_once:]
                results.update(zip(batch, decoded, strict=True))
        return [results[i] for i in range(len(prompts))]

    def _decode_even(
        self,
        tokens: tuple[Tensor, Tensor],
        plane_shape: tuple[int, int],
        prompts: Sequence[ObjectPrompt],
        previous: Sequence[NDArray[np.float32]],
        multimask: bool,
    ) -> list[MaskCandidates]:
        """Decode objects that all have the same kinds of prompts, as one batch."""
        scale = np.array(self._frame.scale(self._sam, plane_shape))
        points: _Points | None = None
        boxes: Tensor | None = None
        masks: Tensor | None = None
        if prompts[0].points:
            xy = np.array([[(p.column, p.row) for p in o.points] for o in prompts], dtype=float)
            labels = np.array([[int(p.positive) for p in o.points] for o in prompts])
            points = self._tensor(xy * scale), self._tensor(labels, torch.int)
        corners = [
            (b.column_min, b.row_min, b.column_max, b.row_max)
            for o in prompts
            if (b := o.box) is not None
        ]
        if corners:
            boxes = self._tensor(np.array(corners, dtype=float) * np.tile(scale, 2))
        if previous:
            masks = self._tensor(np.stack(previous)[:, None])
        logits, scores = self._predict(tokens, points, boxes, masks, multimask)
        full = self._frame.masks(self._sam, logits, plane_shape)
        arrays = (full.numpy(), scores.float().cpu().numpy(), logits.float().cpu().numpy())
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
        return self._predict(self._tokens(embedding), (xy, labels), None, None, True)

    @torch.no_grad()
    def upscale(self, logits: Tensor, plane_shape: tuple[int, int]) -> Tensor:
        """Resample logits to the plane.

        Parameters
        ----------
        logits : Tensor, shape (B, C, h, w)
        plane_shape : tuple of int

        Returns
        -------
        Tensor, shape (B, C, rows, columns)
            Masks are where it is above 0.
        """
        return self._frame.upscale(self._sam, logits, plane_shape)

    def _tokens(self, embedding: Embedding) -> tuple[Tensor, Tensor]:
        """Return the tokens of a plane's features and of the positions of its grid."""
        features = embedding.features.to(self._sam.device)
        return image_tokens(features), image_tokens(self._sam.prompt_encoder.get_dense_pe())

    def _predict(
        self,
        tokens: tuple[Tensor, Tensor],
        points: _Points | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Run prompt encoder and mask decoder: logits (n, c, h, w) and scores (n, c)."""
        sparse, dense = self._sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
        return decode_logits(self._sam.mask_decoder, *tokens, sparse, dense, multimask=multimask)

    def _tensor(self, values: NDArray[np.generic], dtype: torch.dtype = torch.float) -> Tensor:
        # In two steps: MPS has no float64, which an array's coordinates are.
        return torch.as_tensor(values).to(dtype).to(self._sam.device)


def _says_out_of_memory(error: RuntimeError) -> bool:
    # CUDA has an exception of its own, MPS and the CPU have words only.
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        word in str(error).lower() for word in words
    )
