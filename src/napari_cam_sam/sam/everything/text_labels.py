"""Names for masks, from texts: CLIP, or a medical CLIP, on a crop of each mask.

Zero-shot classification as CLIP's authors do it (Radford et al., 2021): a class is the mean of
the embeddings of its templates, and the softmax over the scaled cosines gives its probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.models.checkpoints import load_into, read_checkpoint, weights_sha256
from napari_cam_sam.models.devices import choose_device
from napari_cam_sam.sam.everything.parameters import NAMING_CAUTION, NamingParameters
from napari_cam_sam.sam.validation import check_plane

__all__ = [
    "NAMING_CAUTION",
    "NamingParameters",
    "TextModel",
    "load_text_model",
    "mask_crop",
    "masks_named",
    "name_masks",
]

Progress = Callable[[int, int], None]

_SCHEMES = ("hf-hub:", "local-dir:")
_SUFFIXES = (".pth", ".pt", ".safetensors")


class TextModel:
    """A CLIP of open_clip, ready to compare images with texts; may be shared by threads.

    Parameters
    ----------
    model : torch.nn.Module
        With ``encode_image``, ``encode_text`` and ``logit_scale``; is moved to ``device`` and
        set to evaluate.
    prepare : callable
        From a Pillow image to the tensor that the model takes.
    tokenize : callable
        From texts to tokens.
    name : str
    device : torch.device
    """

    def __init__(
        self,
        model: Any,
        prepare: Callable[[Any], Tensor],
        tokenize: Callable[[list[str]], Tensor],
        name: str,
        device: torch.device,
    ) -> None:
        self.name = name
        self.model_hash = weights_sha256(model)
        self._model = model.to(device).eval().requires_grad_(False)
        self._prepare, self._tokenize, self._device = prepare, tokenize, device

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts, as unit vectors of shape (number of texts, width)."""
        tokens = self._tokenize(list(texts)).to(self._device)
        return self._unit(self._model.encode_text(tokens))

    @torch.no_grad()
    def embed_images(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Embed RGB images, as unit vectors of shape (number of images, width)."""
        from PIL import Image

        batch = torch.stack([self._prepare(Image.fromarray(image)) for image in images])
        return self._unit(self._model.encode_image(batch.to(self._device)))

    @torch.no_grad()
    def probabilities(self, images: Tensor, classes: Tensor) -> NDArray[np.float32]:
        """Compute probabilities of classes for images, (images, classes), from unit vectors."""
        scaled = self._model.logit_scale.exp().float() * images @ classes.T
        out: NDArray[np.float32] = scaled.softmax(dim=1).cpu().numpy()
        return out

    @staticmethod
    def _unit(vectors: Tensor) -> Tensor:
        return torch.nn.functional.normalize(vectors.float(), dim=1)


def load_text_model(
    name: str, weights: str | Path | None = None, device: str = "auto"
) -> TextModel:
    """Load a model that compares images with texts.

    Parameters
    ----------
    name : str
        An architecture of open_clip, e.g. ``"ViT-B-32"``, together with `weights`; or, alone,
        ``"local-dir:FOLDER"`` with an ``open_clip_config.json`` and weights, or
        ``"hf-hub:OWNER/MODEL"``, which is downloaded (and with it whatever its owner put there
        last: unlike a checkpoint of the segmenters, it has no known hash).
    weights : str or Path, optional
        A .pth, .pt or .safetensors file of that architecture, or a tag of open_clip, e.g.
        ``"laion2b_s34b_b79k"``, which is downloaded.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.

    Returns
    -------
    TextModel

    Raises
    ------
    CamSamError
        If open_clip is not installed, the architecture or tag is unknown, or the weights are
        damaged, hold code, do not fit or cannot be downloaded.
    """
    try:
        import open_clip
    except ImportError as error:
        raise CamSamError(
            'Names from texts come from open_clip: pip install "napari-cam-sam[text]".'
        ) from error
    chosen = choose_device(device)
    is_file = weights is not None and (
        Path(weights).suffix.lower() in _SUFFIXES or Path(weights).exists()
    )
    if not name.startswith(_SCHEMES):
        if name not in open_clip.list_models():
            raise unknown_name("architecture of open_clip", name, open_clip.list_models())
        if weights is None:
            raise CamSamError(f"{name} is an architecture without weights: give a file or a tag.")
        tags = open_clip.list_pretrained_tags_by_model(name)
        if not is_file and str(weights) not in tags:
            raise unknown_name(f"weights of {name}", str(weights), tags)
    elif weights is not None:
        raise CamSamError(f"{name} brings its own weights: give none beside it.")
    checkpoint = read_checkpoint(Path(str(weights)).expanduser()) if is_file else None
    try:
        model, _, prepare = open_clip.create_model_and_transforms(
            name,
            pretrained=None if checkpoint else weights,
            load_weights=checkpoint is None,
            pretrained_text=checkpoint is None,
            require_pretrained=checkpoint is None,
            weights_only=True,
        )
        tokenize = open_clip.get_tokenizer(name)
    except Exception as error:  # whatever a hub, a folder or a missing text library may raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CamSamError(f"{name} could not be loaded by open_clip: {reason[0]}") from error
    if checkpoint:
        load_into(model, checkpoint, what=f"{name} of open_clip")
    return TextModel(model, prepare, tokenize, name, chosen)


def name_masks(
    model: TextModel,
    plane: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    parameters: NamingParameters,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Compute how probable each class is for each mask. Mind :data:`NAMING_CAUTION`.

    Parameters
    ----------
    model : TextModel
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        A windowed plane.
    masks : sequence of ndarray of bool, shape (rows, columns)
    parameters : NamingParameters
    progress : callable, optional
        Called after each batch with the number of masks done and of all. What it raises ends
        the work.

    Returns
    -------
    ndarray of float32, shape (number of masks, number of classes)
        Each row adds up to 1.

    Raises
    ------
    CamSamError
        For an array that is no such plane, or a mask that is empty or of another shape.
    """
    check_plane(plane)
    if not masks:
        return np.zeros((0, len(parameters.classes)), np.float32)
    classes = torch.stack(
        [
            model.embed_texts([t.replace("{}", text) for t in parameters.templates]).mean(dim=0)
            for text in parameters.classes
        ]
    )
    classes = torch.nn.functional.normalize(classes, dim=1)
    parts = []
    for start in range(0, len(masks), parameters.batch_size):
        batch = masks[start : start + parameters.batch_size]
        images = model.embed_images([mask_crop(plane, mask, parameters) for mask in batch])
        parts.append(model.probabilities(images, classes))
        if progress is not None:
            progress(start + len(batch), len(masks))
    return np.concatenate(parts)


def masks_named(
    probabilities: NDArray[np.floating[Any]],
    parameters: NamingParameters,
    text: str,
    threshold: float = 0.5,
) -> list[int]:
    """Filter masks by a text. Mind :data:`NAMING_CAUTION`.

    Parameters
    ----------
    probabilities : ndarray of float, shape (number of masks, number of classes)
        From :func:`name_masks`.
    parameters : NamingParameters
        Those that it was given.
    text : str
        One of the classes.
    threshold : float
        Masks with at least this probability are kept, 0 to 1.

    Returns
    -------
    list of int
        Indices of the masks that are kept, the most probable first.

    Raises
    ------
    CamSamError
        For a text that is not among the classes, or a threshold out of its range.
    """
    if text not in parameters.classes:
        raise unknown_name("class", text, parameters.classes)
    if not 0 <= threshold <= 1:
        raise CamSamError(f"The threshold is a probability from 0 to 1, not {threshold!r}.")
    column = probabilities[:, parameters.classes.index(text)]
    return [int(i) for i in np.argsort(-column, kind="stable") if column[i] >= threshold]


def mask_crop(
    plane: NDArray[np.uint8], mask: NDArray[np.bool_], parameters: NamingParameters
) -> NDArray[np.uint8]:
    """Return what the model is shown of a mask.

    Parameters
    ----------
    plane : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
    mask : ndarray of bool, shape (rows, columns)
    parameters : NamingParameters
        Their margin, background and blur count.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
        The square around the mask; where it leaves the plane, the plane's edge is repeated.

    Raises
    ------
    CamSamError
        For a mask that is empty or of another shape than the plane.
    """
    if mask.shape != plane.shape[:2]:
        raise CamSamError(
            f"The slice has shape {plane.shape[:2]}, a mask {mask.shape}: they must be the same."
        )
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        raise CamSamError("A mask to name is empty.")
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = max(1, round(longest * (1 + 2 * parameters.margin)))
    row, column = ((found[0] + found[-1] + 1 - side) // 2 for found in (rows, columns))
    # Taking clipped indices repeats the edge, without a copy of the plane with a frame.
    at = np.ix_(
        np.clip(np.arange(row, row + side), 0, plane.shape[0] - 1),
        np.clip(np.arange(column, column + side), 0, plane.shape[1] - 1),
    )
    crop, inside = plane[at], mask[at]
    if crop.ndim == 2:
        crop = np.repeat(crop[:, :, None], 3, axis=2)
    if parameters.background == "keep":
        return np.ascontiguousarray(crop)
    around = np.zeros_like(crop)
    if parameters.background == "blur":
        sigma = parameters.blur * side
        around = ndimage.gaussian_filter(crop, (sigma, sigma, 0), mode="nearest")
    return np.asarray(np.where(inside[:, :, None], crop, around))
