"""How our layers look: every colour, width and opacity of them stands here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from napari.utils import DirectLabelColormap
from numpy.typing import NDArray

__all__ = [
    "HEATMAP",
    "LABELS",
    "PROMPTS",
    "PROMPT_PREVIEW",
    "HeatmapStyle",
    "LabelsStyle",
    "PromptPreviewStyle",
    "PromptStyle",
]


@dataclass(frozen=True)
class HeatmapStyle:
    """How heatmaps look; the fields are those of an image layer.

    Attributes
    ----------
    colormap, blending : str
    opacity : float
        In [0, 1].
    contrast_limits : tuple of float
    """

    colormap: str
    blending: str
    opacity: float
    contrast_limits: tuple[float, float]

    def add(self, viewer: Any, data: NDArray[Any], **where: Any) -> Any:
        """Add a layer that looks so; `where` is what else ``add_image`` takes."""
        return viewer.add_image(data, **asdict(self), **where)


@dataclass(frozen=True)
class LabelsStyle:
    """How a labels layer looks.

    Attributes
    ----------
    opacity : float
        In [0, 1].
    colours : mapping of int to str, optional
        By label, all others transparent; napari's own colours if None.
    outlined : bool
        Whether labels are outlines, thicker on larger planes, and not filled.
    editable : bool
        Whether the user may paint in it.
    """

    opacity: float = 1.0
    colours: Mapping[int | None, str] | None = None
    outlined: bool = False
    editable: bool = True

    def add(self, viewer: Any, data: NDArray[Any], **where: Any) -> Any:
        """Add a layer that looks so; `where` is what else ``add_labels`` takes."""
        if self.colours is not None:
            colours = {None: "transparent"} | dict(self.colours)
            where["colormap"] = DirectLabelColormap(color_dict=colours)
        layer = viewer.add_labels(data, opacity=self.opacity, **where)
        if self.outlined:
            layer.contour = max(1, round(min(data.shape[-2:]) / 256))
        layer.editable = self.editable
        return layer


@dataclass(frozen=True)
class PromptStyle:
    """How points and boxes look.

    Attributes
    ----------
    colours, symbols : mapping of str to str
        Of points, by polarity.
    edges : mapping of str to str
        Colours of borders and boxes, by the source of the prompt.
    border_width : float
        Of a point's size.
    """

    colours: Mapping[str, str]
    symbols: Mapping[str, str]
    edges: Mapping[str, str]
    border_width: float

    def points(self, shape: Sequence[int]) -> dict[str, Any]:
        """Return the keywords of a points layer over an image of a shape."""
        return {
            "face_color": self.colours["positive"],
            "border_color": self.edges["user"],
            "border_width": self.border_width,
            "size": max(3.0, min(shape[-2:]) / 40),
        }

    def boxes(self, shape: Sequence[int]) -> dict[str, Any]:
        """Return the keywords of a shapes layer over an image of a shape."""
        return {
            "face_color": "transparent",
            "edge_color": self.edges["user"],
            "edge_width": max(1.0, min(shape[-2:]) / 240),
        }


@dataclass(frozen=True)
class PromptPreviewStyle:
    """How prompts look that are not placed yet.

    Attributes
    ----------
    colour : str
        Of outlines and boxes.
    opacity : float
        In [0, 1].
    """

    colour: str
    opacity: float

    def shapes(self, shape: Sequence[int]) -> dict[str, Any]:
        """Return the keywords of a shapes layer over an image of a shape."""
        width = max(0.4, min(shape[-2:]) / 250)
        return {"face_color": "transparent", "edge_width": width, "opacity": self.opacity}

    def circle(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Return a point at the origin as a polygon, shape (12, 2), for a plane of a shape."""
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        return max(1.0, min(shape) / 60) * np.stack([np.sin(turn), np.cos(turn)], axis=1)


HEATMAP = HeatmapStyle("inferno", blending="additive", opacity=0.6, contrast_limits=(0, 1))

LABELS = {
    "labels": LabelsStyle(opacity=0.6),
    # An outline: what is accepted is filled, and the two must not be taken for each other. What
    # the brush did here would be lost with the next mask, and not be accepted.
    "preview": LabelsStyle(outlined=True, editable=False),
    "explained": LabelsStyle(opacity=0.7, colours={1: "white"}, outlined=True),
    # Found by both, by the prediction, by the truth: all eyes tell these apart, also on gray.
    "comparison": LabelsStyle(opacity=0.7, colours={1: "#00c08b", 2: "#e8622c", 3: "#56b4e9"}),
}
"""Of our labels layers, by their role."""

PROMPTS = PromptStyle(
    colours={"positive": "#21e05c", "negative": "#ff3d3d"},
    symbols={"positive": "disc", "negative": "x"},
    edges={"cam": "#ffb000", "truth": "#35d0ff", "user": "#ffffff"},
    border_width=0.15,
)
PROMPT_PREVIEW = PromptPreviewStyle("#e040fb", opacity=0.9)
"""In a colour of no prompt that is placed."""
