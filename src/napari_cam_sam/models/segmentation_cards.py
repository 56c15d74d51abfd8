"""What one must know about a segmentation network to use it: its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.cards import (
    OutputKind,
    PlaneOrder,
    Sources,
    check_normalisation,
    merge_classes,
    merge_fields,
    only_fields,
)
from napari_cam_sam.models.preparation import Preparation

__all__ = ["SegmentationCard", "merge_segmentation_cards"]

_DEFAULT_SIZE: dict[int, tuple[int, ...]] = {2: (256, 256), 3: (96, 96, 96)}


@dataclass(frozen=True)
class SegmentationCard:
    """How to build and feed a segmentation network.

    Attributes
    ----------
    architecture : str
        A name in the table of segmentation architectures, or the ``package.module:function`` of
        a factory.
    num_classes : int
        Number of maps of logits.
    class_names : tuple of str
        One a map, all different.
    spatial_dims : {2, 3}
        Whether it takes planes or volumes.
    input_size : tuple of int
        In 2D the rows and columns that a plane is letterboxed into; in 3D the size of the
        window that slides over the volume, along the network's own axes.
    mean, std : tuple of float
        Normalisation a channel, after the windowed 8-bit values were divided by 255.
    channels : {1, 3}
        Gray or RGB; 3D networks are gray.
    activation : {"softmax", "sigmoid"}
        What turns logits into probabilities. With softmax each pixel has one class, and class 0
        is the background where there are two or more; with sigmoid each class is by itself.
    standardise : {"no", "image", "nonzero"}
        Whether the mean and standard deviation of each image itself are taken instead of `mean`
        and `std`; with ``"nonzero"`` those of what is not 0, which stays 0.
    spacing : tuple of float or None
        Of 3D networks: the voxel size in mm along the network's axes that a volume is resampled
        to; None for volumes as they are.
    orientation : str or None
        Of 3D networks: what its axes point to, e.g. ``"RAS"`` as MONAI writes it; None for the
        volume's own axes (plane, row, column).
    window : str or None
        The window that it was trained with, as ``--window`` takes it; for people and the command
        line, since the network is given windowed images.
    layers : tuple of str
        Default target layers; empty for the architecture's.
    arguments : dict
        Keyword arguments of the architecture's builder, as its library names them.
    plane_order : {"rows-columns", "columns-rows"}
        How what the module sees lies; the second for one that was trained on nibabel's or MONAI's
        (i, j, k), whose first axis are the columns. A 3D network with an orientation has none.
    preparation : Preparation or None
        Of a MONAI bundle: all that happens to an image before the network. `mean`, `std` and
        `standardise` say nothing then, and `orientation`, `spacing` and `window` only repeat what
        it says.
    output : {"logits", "probabilities", "log-probabilities"}
        What the network's numbers are; see :mod:`models.classify.output_kinds`.
    """

    architecture: str
    num_classes: int
    class_names: tuple[str, ...]
    spatial_dims: Literal[2, 3]
    input_size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Literal[1, 3]
    activation: Literal["softmax", "sigmoid"] = "softmax"
    standardise: Literal["no", "image", "nonzero"] = "no"
    spacing: tuple[float, float, float] | None = None
    orientation: str | None = None
    window: str | None = None
    layers: tuple[str, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    plane_order: PlaneOrder = "rows-columns"
    preparation: Preparation | None = None
    output: OutputKind = "logits"

    @property
    def sees_volumes(self) -> bool:
        """Whether it needs a whole volume at once: a 3D network, or a bundle's of slices."""
        of_slices = self.preparation is not None and self.preparation.of_slices
        return self.spatial_dims == 3 or of_slices

    @property
    def background(self) -> bool:
        """Whether class 0 is what belongs to no other class."""
        return self.activation == "softmax" and self.num_classes > 1

    def to_json(self) -> str:
        """Write the card as the JSON that a file's metadata or a file beside it holds."""
        return json.dumps(asdict(self))


def merge_segmentation_cards(sources: Sources, what: str) -> SegmentationCard:
    """Merge several sources that must not contradict each other into a card.

    Parameters
    ----------
    sources : list of (str, mapping)
        A name for errors and the fields that the source gives, the first the most trusted.
        Fields that are None count as not given. Of ``arguments`` the numbers of input and
        output channels and of spatial dimensions count for the fields that say the same.
    what : str
        The network, for errors.

    Returns
    -------
    SegmentationCard
        Where no source says so: 2 dimensions, gray, mean 0 and standard deviation 1,
        256 × 256 pixels or windows of 96³, ``class 0``, … as names, and softmax but for a single
        class.

    Raises
    ------
    CamSamError
        If a value is not what its field needs, two sources differ, or a field is missing that
        has no default.
    """
    for source, values in list(sources):
        given = values.get("arguments")
        if isinstance(given, Mapping):
            same = {
                "spatial_dims": given.get("spatial_dims"),
                "num_classes": given.get("out_channels"),
                "channels": given.get("in_channels"),
            }
            sources = [*sources, (f"the arguments in {source}", same)]
    known = merge_fields(sources, what)
    num_classes, names = merge_classes(known, what)
    dims = known.get("spatial_dims", 2)
    channels = known.get("channels", 1)
    size = known.get("input_size", _DEFAULT_SIZE[dims])
    if len(size) != dims:
        raise CamSamError(
            f"A {dims}D network with an input size of {len(size)} numbers; "
            f"give {dims}: {'rows, columns' if dims == 2 else 'the sliding window'} ({what})."
        )
    if dims == 3 and channels != 1:
        raise CamSamError(
            f"Volumes of {channels} channels; 3D networks are supported with one ({what})."
        )
    if dims == 2 and (known.get("spacing") or known.get("orientation")):
        raise CamSamError(
            f"A 2D network with a spacing or an orientation, which 3D networks have ({what})."
        )
    defaults = {
        "spatial_dims": dims,
        "input_size": size,
        "channels": channels,
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
        "activation": "sigmoid" if num_classes == 1 else "softmax",
    }
    classes = {"num_classes": num_classes, "class_names": names}
    card = SegmentationCard(**defaults | only_fields(SegmentationCard, known) | classes)
    if dims == 3 and card.plane_order != "rows-columns" and card.orientation is not None:
        raise CamSamError(
            f"There are an orientation, {card.orientation}, and the plane order "
            f"{card.plane_order}: give one of them ({what})."
        )
    check_normalisation(channels, card.mean, card.std, what)
    if num_classes == 1 and card.activation == "softmax":
        raise CamSamError(f"There is one class, whose probability is a sigmoid's ({what}).")
    return card
