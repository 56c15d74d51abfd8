"""How a classifier is trained, as plain data: no PyTorch is needed to show or check it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.windows import WindowParameters
from napari_cam_sam.models.names import OWN_NAMES, TORCHVISION_NAMES
from napari_cam_sam.schemas import check_fields

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
        Largest rotation to either side, in degrees, 0 to 180.
    zoom : float
        Largest change of scale, between 1 / (1 + zoom) and 1 + zoom.
    aspect : float
        Largest stretch of rows against columns, as a logarithm: 0.15 is up to 16 %.
    shift : float
        Largest shift, as a fraction of the input's side, 0 to 1.
    flip : bool
        Mirror half of the images left to right.
    upside_down : bool
        Mirror half of the images top to bottom: for microscopy, not for ultrasound.
    gamma : float
        Largest gamma correction, as a logarithm: 0.4 is a gamma from 0.67 to 1.5.
    gain : float
        Largest change of brightness, as a fraction, 0 to below 1.
    blur : float
        Fraction of the images to blur (3 × 3 binomial), 0 to 1.
    noise : float
        Largest standard deviation of Gaussian noise, for gray values in 0 to 1.
    erase : float
        Fraction of the images in which a square, a quarter of the side wide, is erased.
    mixup : float
        How much pairs of images and their labels are mixed; 0 for not at all. It is the parameter
        of a beta distribution.

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
        check_fields(self)
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
        Weights to start from: ImageNet's if they are on this machine, else random ones (auto),
        ImageNet's, downloaded if necessary (imagenet), or random ones (scratch).
    input_size : tuple of int
        Rows and columns of the model's input, into which images are letterboxed.
    channels : int
        1 for gray, 3 for colour, 0 for whatever the images have.
    fine_grid : bool
        Leave out the last downsampling, where the architecture allows it, so that heatmaps have
        twice as many rows and columns.
    head : {"linear", "extra"}
        The network's own last layer (linear), or a further layer with dropout behind its 1000
        outputs, as in S1 (extra).
    dropout : float
        Dropout of the extra head, 0 to below 1.
    epochs : int
        Passes over the training images.
    batch_size : int
        Images per step, 2 or more.
    learning_rate : float
        Highest learning rate of the optimiser, AdamW; it falls along half a cosine.
    backbone_rate : float or None
        Highest learning rate of all layers but the last; without one, the same.
    weight_decay : float
        How much AdamW holds large weights back.
    warm_up : float
        Fraction of the training in which the learning rate rises, 0 to below 1.
    label_smoothing : float
        How much the labels are softened, 0 to below 1: against a network that is too sure.
    balance : {"sampling", "weights", "none"}
        What to do about classes of different size: show each as often (sampling), weigh their
        errors (weights), or nothing (none).
    patience : int or None
        Stop after this many epochs without a better one; without a number, never.
    validation_part : float
        Fraction of the images that chooses the best epoch; 0 keeps the last epoch.
    test_part : float
        Fraction of the images that is kept for the final report; may be 0.
    join_copies : bool
        Keep near-duplicates in one part; turn it off where groups are patients whose images look
        alike.
    seed : int
        Seed of the split, the first weights, the order and the augmentation.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : {"auto", "float32", "bfloat16"}
        Precision of the training; auto takes bfloat16 where the device is faster with it.
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

    Examples
    --------
    >>> parameters = ncs.TrainingParameters(architecture="small-cnn", epochs=20)
    >>> parameters.test_part  # the fraction that is kept for the report
    0.2
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
        check_fields(self)
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
        for name, least in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise _out_of_range(name, f"{least} or more", self)
        if not 0 <= self.seed < 2**64:  # more than PyTorch takes
            raise _out_of_range("seed", f"0 to {2**64 - 1}", self)
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
    """Return the parameters of a preset.

    Parameters
    ----------
    name : str
        A key of `PRESETS`.

    Returns
    -------
    TrainingParameters

    Raises
    ------
    CamSamError
        For another name, with the nearest ones.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
