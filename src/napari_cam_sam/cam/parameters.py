"""Parameters of heatmaps and of their trust, known before PyTorch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from napari_cam_sam.cam.names import METHOD_NAMES
from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.schemas import check_fields

__all__ = ["OcclusionParameters", "TrustParameters", "count_steps"]


@dataclass(frozen=True)
class OcclusionParameters:
    """How occlusion covers the model's input.

    Attributes
    ----------
    patch : int
        Side of the covered square, in pixels of the model's input.
    stride : int
        Step from one square to the next, at most its side.
    fill : float or None
        Gray value of the square, 0 to 255; without one, the mean of each plane.

    Raises
    ------
    CamSamError
        For a value out of its range.

    Examples
    --------
    >>> ncs.CamParameters("occlusion", occlusion=ncs.OcclusionParameters(patch=32)).occlusion.stride
    8
    """

    patch: int = 16
    stride: int = 8
    fill: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.patch < 1:
            raise CamSamError(f"The patch is {self.patch} pixels wide; expected 1 or more.")
        if not 1 <= self.stride <= self.patch:
            raise CamSamError(
                f"The stride is {self.stride}; expected 1 to the patch's side, {self.patch}, so "
                "that no pixel is left out."
            )
        if self.fill is not None and not 0 <= self.fill <= 255:
            raise CamSamError(f"The fill is {self.fill}; expected a gray value from 0 to 255.")


@dataclass(frozen=True)
class TrustParameters:
    """How far a heatmap is put to the test.

    Attributes
    ----------
    stages : int
        Steps in which the layers' weights are randomised, from the last layer to all.
    draws : int
        Draws of random weights, and of noise, to average over.
    methods : tuple of str
        Other methods that the heatmap is compared with.
    removed : tuple of int
        Percentages of the pixels that ROAD removes.
    shift : float
        Shift of the plane in four directions, as a fraction of its shorter side.
    noise : float
        Standard deviation of the added noise, as a fraction of the gray range.
    top : float
        Fraction of the pixels, the highest of a heatmap, whose overlap is measured.
    seed : int
        Seed of weights and noise.

    Raises
    ------
    CamSamError
        For a value out of its range, or an unknown method.

    Examples
    --------
    >>> ncs.TrustParameters(draws=1).others("layer-cam")
    ('grad-cam', 'hires-cam', 'occlusion')
    """

    stages: int = 5
    draws: int = 3
    methods: tuple[str, ...] = ("grad-cam", "hires-cam", "layer-cam", "occlusion")
    removed: tuple[int, ...] = (10, 20, 40, 60, 80)
    shift: float = 0.03
    noise: float = 0.02
    top: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        percent = bool(self.removed) and all(0 < one < 100 for one in self.removed)
        for good, is_so, expected in (
            (self.stages >= 2, f"There are {self.stages} stages", "2 or more"),
            (self.draws >= 1, f"There are {self.draws} draws", "1 or more"),
            (percent, f"ROAD removes {self.removed}", "percentages between 0 and 100"),
            (0 < self.shift <= 0.25, f"The shift is {self.shift}", "a fraction up to 0.25"),
            (0 < self.noise <= 1, f"The noise is {self.noise}", "a fraction up to 1"),
            (0 < self.top < 1, f"The top is {self.top}", "a fraction between 0 and 1"),
            (0 <= self.seed < 2**32, f"The seed is {self.seed}", f"0 to {2**32 - 1}"),
        ):
            if not good:
                raise CamSamError(f"{is_so}; expected {expected}.")
        for name in self.methods:
            if name not in METHOD_NAMES:
                raise unknown_name("method", name, METHOD_NAMES)

    def others(self, method: str) -> tuple[str, ...]:
        """Return the methods that a map of this method is compared with."""
        return tuple(name for name in dict.fromkeys(self.methods) if name != method)


def count_steps(method: str, parameters: TrustParameters) -> int:
    """Return in how many steps a heatmap is tested, where there is one to test.

    Parameters
    ----------
    method : str
        Of the heatmap.
    parameters : TrustParameters

    Returns
    -------
    int
    """
    return 4 + parameters.draws * parameters.stages + len(parameters.others(method))
