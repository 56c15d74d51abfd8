"""How a classifier is trained, as plain data: no PyTorch is needed to show or check it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.windows import WindowParameters
from napari_cam_sam.models.names import OWN_NAMES, TORCHVISION_NAMES

__all__ = [
    "PRESETS",
    "AugmentationParameters",
    "Balance",
    "Head",
    "Precision",
    "Start",
    "TrainingParameters",
    "training_preset",
]

Start = Literal["auto", "imagenet", "scratch"]
Head = Literal["linear", "extra"]
Balance = Literal["sampling", "weights", "none"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class AugmentationParameters:
    """How far training images are changed at random, so that the network sees each only once.

    Every image gets its own affine transform, gamma, gain, blur and noise. What comes in from
    outside the image is black, as in the letterbox.

    Attributes
    ----------
    rotation : float
        Degrees to either side, 0 to 180.
    zoom : float
        Scales lie between 1 / (1 + zoom) and 1 + zoom.
    aspect : float
        Rows against columns: the logarithm of their scales' ratio is up to this far from 0.
    shift : float
        Part of the input's side by which an image moves at most, 0 to 1.
    flip : bool
        Left and right are exchanged in half of the images.
    upside_down : bool
        Top and bottom are exchanged in half of the images: for microscopy, not for ultrasound.
    gamma : float
        The logarithm of the exponent of the gray values is up to this far from 0.
    gain : float
        Brightness changes by up to this part, 0 to below 1.
    blur : float
        Part of the images that is blurred (3 × 3 binomial), 0 to 1.
    noise : float
        Highest standard deviation of added Gaussian noise, of a range of 1.
    erase : float
        Part of the images in which a square of a quarter of their side becomes one gray.
    mixup : float
        Parameter of the beta distribution by which pairs of images and their labels are mixed;
        0 for none.

    Raises
    ------
    CamSamError
        For a value out of its range.
    """

    rotation: float = 15.0
    zoom: float = 0.25
    aspect: float = 0.15
    shift: float = 0.1
    flip: bool = True
    upside_down: bool = False
    gamma: float = 0.4
    gain: float = 0.2
    blur: float = 0.3
    noise: float = 0.03
    erase: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (
            ("rotation", 180.0), ("zoom", 4.0), ("aspect", 2.0), ("shift", 1.0), ("gamma", 2.0),
            ("gain", 0.99), ("blur", 1.0), ("noise", 1.0), ("erase", 1.0),
            ("mixup", 10.0),
        ):  # fmt: skip
            if not 0 <= getattr(self, name) <= most:
                raise _out_of_range(f"augmentation {name}", f"in 0 to {most:g}", self, name)


@dataclass(frozen=True)
class TrainingParameters:
    """How a classifier is trained from labels of whole images.

    The defaults are the preset ``scratch``: for a few hundred images and no downloaded weights.

    Attributes
    ----------
    architecture : str
        ``small-cnn``, ``resnet18-narrow``, or one of torchvision's that ``models list`` names.
    start : {"auto", "imagenet", "scratch"}
        ImageNet's weights where they are on this machine, else random ones; ImageNet's weights,
        downloaded where they are not; or random ones.
    input_size : tuple of int
        Rows and columns that images are letterboxed into.
    channels : int
        1 for gray, 3 for colour, 0 for 3 where an image has colours.
    fine_grid : bool
        Leave out the last halving of the grid, so that heatmaps have twice as many rows and
        columns; architectures that have none to leave out stay as they are.
    head : {"linear", "extra"}
        The architecture's last layer, or S1's behind its 1000 outputs: ReLU, dropout, linear.
    dropout : float
        Of the extra head, 0 to below 1.
    epochs : int
        Times that as many images as there are in training are shown.
    batch_size : int
        Images a step, 2 or more.
    learning_rate : float
        Highest rate, of AdamW; it falls along half a cosine.
    backbone_rate : float or None
        Highest rate of all layers but the head, none for the same.
    weight_decay : float
        Of AdamW.
    warm_up : float
        Part of the training in which the rate rises, 0 to below 1.
    label_smoothing : float
        Of the cross-entropy, 0 to below 1.
    balance : {"sampling", "weights", "none"}
        Against classes of different size: every class is shown as often, or its errors weigh as
        much as those of every other, or neither.
    patience : int or None
        Stop after so many epochs without a better one, none for never; needs a validation part.
    validation_part : float
        Part of the images that chooses the best epoch, 0 for none: then the last one is kept.
    test_part : float
        Part of the images that is not looked at before the end and is reported; may be 0.
    join_copies : bool
        Look for near-duplicates and keep them in one part; leave it off where groups are
        patients whose images look alike.
    seed : int
        Of the split, the first weights, the order and the augmentation.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : {"auto", "float32", "bfloat16"}
        Of the products in training: bfloat16 where the device multiplies it faster.
    classes : tuple of str
        Order of the classes; empty for all labels, sorted.
    window : WindowParameters
        How intensities become gray.
    augmentation : AugmentationParameters
        How training images are changed at random.

    Raises
    ------
    CamSamError
        For an unknown choice or a value out of its range.
    """

    architecture: str = "resnet18"
    start: Start = "auto"
    input_size: tuple[int, int] = (128, 128)
    channels: int = 0
    fine_grid: bool = True
    head: Head = "linear"
    dropout: float = 0.7
    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 1e-3
    backbone_rate: float | None = None
    weight_decay: float = 0.01
    warm_up: float = 0.1
    label_smoothing: float = 0.1
    balance: Balance = "sampling"
    patience: int | None = None
    validation_part: float = 0.15
    test_part: float = 0.2
    join_copies: bool = True
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    classes: tuple[str, ...] = ()
    window: WindowParameters = field(default_factory=WindowParameters)
    augmentation: AugmentationParameters = field(default_factory=AugmentationParameters)

    def __post_init__(self) -> None:
        known = (*OWN_NAMES, *TORCHVISION_NAMES)
        if self.architecture not in known:
            raise unknown_name("architecture", self.architecture, known)
        for name, choices in (
            ("start", get_args(Start)), ("head", get_args(Head)), ("balance", get_args(Balance)),
            ("precision", get_args(Precision)),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise unknown_name(name, str(getattr(self, name)), choices)
        if len(self.input_size) != 2 or not all(16 <= side <= 4096 for side in self.input_size):
            raise _out_of_range("input_size", "rows and columns from 16 to 4096", self)
        if self.channels not in (0, 1, 3):
            raise _out_of_range("channels", "1, 3, or 0 for as the images are", self)
        for name, least in (("epochs", 1), ("batch_size", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise _out_of_range(name, f"{least} or more", self)
        if self.patience is not None and self.patience < 1:
            raise _out_of_range("patience", "1 or more, or none", self)
        for name in ("dropout", "warm_up", "label_smoothing", "validation_part", "test_part"):
            if not 0 <= getattr(self, name) < 1:
                raise _out_of_range(name, "from 0 to below 1", self)
        if self.validation_part + self.test_part > 0.8:
            raise CamSamError(
                f"A validation part of {self.validation_part:g} and a test part of "
                f"{self.test_part:g} leave too little for training: together at most 0.8."
            )
        if self.patience is not None and not self.validation_part:
            raise CamSamError("Early stopping (patience) needs a validation part above 0.")
        for name in ("learning_rate", "backbone_rate"):
            rate = getattr(self, name)
            if rate is not None and not (math.isfinite(rate) and rate > 0):
                raise _out_of_range(name, "above 0", self)
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise _out_of_range("weight_decay", "0 or more", self)
        if len(set(self.classes)) != len(self.classes) or len(self.classes) == 1:
            raise _out_of_range("classes", "two or more different names", self)


def _out_of_range(name: str, right: str, group: object, attribute: str = "") -> CamSamError:
    value = getattr(group, attribute or name)
    return CamSamError(f"The training parameter {name} must be {right}, not {value!r}.")


_SCRATCH = TrainingParameters()
_S1 = TrainingParameters(
    input_size=(224, 224), channels=3, fine_grid=False, head="extra", epochs=20,
    learning_rate=9e-4, backbone_rate=9e-5, label_smoothing=0.0, balance="weights", warm_up=0.0,
)  # fmt: skip
PRESETS: dict[str, TrainingParameters] = {
    "scratch": _SCRATCH,
    "s1": _S1,
    "s0": TrainingParameters(
        architecture="mobilenet_v3_large", input_size=(224, 224), channels=3, fine_grid=False,
        epochs=20, learning_rate=9e-4, backbone_rate=9e-5, label_smoothing=0.0, balance="none",
        warm_up=0.0,
    ),
}  # fmt: skip
"""Parameters by name.

``scratch`` is ours. ``s1``: Dhamale and Pawar, "Weakly supervised automated extraction of optimal
visual prompts": ResNet from ImageNet with an extra head (dropout .5 for their ResNet-50) and
weighted classes. ``s0``: the MobileNetV3 of "SAM to assess Grad-CAM".
"""


def training_preset(name: str) -> TrainingParameters:
    """Give the parameters of a preset, or raise a CamSamError with the near names."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
