"""How our layers look: every width of them stands here.

The colours that pictures of a run have too are those of `napari_cam_sam.colours`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils import Colormap, CyclicLabelColormap, DirectLabelColormap
from napari.utils.colormaps import label_colormap
from numpy.typing import NDArray

from napari_cam_sam import colours
from napari_cam_sam.plugin.layers.outlined_labels import OutlinedLabels, with_rim

__all__ = [
    "HEATMAP",
    "LABELS",
    "PROMPTS",
    "PROMPT_PREVIEW",
    "TRUTH",
    "HeatmapStyle",
    "LabelsStyle",
    "PromptPreviewStyle",
    "PromptStyle",
    "TruthStyle",
    "line_width",
    "outline_steps",
]


def line_width(pixels: Sequence[float], wanted: float) -> float:
    """Return the width of a shape's edges in pixels of the data, for one on the screen.

    Where pixels are longer than wide, napari draws lines across them wider than lines along them:
    the wider ones are as wanted, unless the others could not be seen then.

    Parameters
    ----------
    pixels : sequence of float
        Screen pixels that a pixel of the data takes, along the two axes shown.
    wanted : float
        In screen pixels.

    Returns
    -------
    float
    """
    return max(wanted / max(pixels), min(1.0, wanted) / min(pixels))


def outline_steps(
    pixels: Sequence[float], wanted: float, finest: Sequence[int]
) -> tuple[int, tuple[int, ...]]:
    """Return the width of an outline of labels for one on the screen, and the steps it is made of.

    Parameters
    ----------
    pixels : sequence of float
        Screen pixels that a pixel of the data takes, along the two axes shown.
    wanted : float
        In screen pixels.
    finest : sequence of int
        The most steps that a pixel of the data can be cut into along each axis.

    Returns
    -------
    width : int
        In steps, one at least.
    parts : tuple of int
        Steps that a pixel of the data is cut into along each axis: of half the width where pixels
        are that large, but not below a pixel of the screen, which would not always be drawn.
    """
    parts = tuple(
        max(1, min(most, int(size), round(2 * size / wanted)))
        for size, most in zip(pixels, finest, strict=True)
    )
    step = max(size / steps for size, steps in zip(pixels, parts, strict=True))
    return max(1, round(wanted / step)), parts


@dataclass(frozen=True)
class HeatmapStyle:
    """How heatmaps look.

    Attributes
    ----------
    colours : tuple of str
        From 0 to 1, with their opacity.
    opacity : float
        In [0, 1], of all of it.
    """

    colours: tuple[str, ...]
    opacity: float

    def add(self, viewer: Any, data: NDArray[Any], **where: Any) -> Any:
        """Add a layer that looks so; `where` is what else ``add_image`` takes."""
        return viewer.add_image(
            data,
            colormap=Colormap(list(self.colours), name="heatmap"),
            blending="translucent",
            opacity=self.opacity,
            contrast_limits=(0, 1),
            **where,
        )


@dataclass(frozen=True)
class LabelsStyle:
    """How a labels layer looks.

    Attributes
    ----------
    colours : sequence of str, or mapping of int to str
        Of labels 1, 2, ..., and those beyond begin with the first again; or by label, and all
        others are transparent.
    opacity : float
        In [0, 1].
    line : float
        Width of outlines in screen pixels, with a dark rim around them; 0 for labels that are
        filled.
    editable : bool
        Whether the user may paint in it.
    """

    colours: Sequence[str] | Mapping[int, str]
    opacity: float = 1.0
    line: float = 0.0
    editable: bool = True

    def add(self, viewer: Any, data: NDArray[Any], **where: Any) -> Any:
        """Add a layer that looks so; `where` is what else ``add_labels`` takes."""
        if isinstance(self.colours, Mapping):
            others: dict[int | None, str] = {None: "transparent"}
            where["colormap"] = DirectLabelColormap(color_dict=others | dict(self.colours))
        elif self.line:
            where["colormap"] = with_rim(self.colours, data.dtype)
        else:
            where["colormap"] = CyclicLabelColormap(colors=["transparent", *self.colours])
        layer = OutlinedLabels(data, opacity=self.opacity, **where)
        if self.line:
            # Until it is known how large its pixels are on the screen.
            layer.contour = max(1, round(min(data.shape[-2:]) / 256))
        viewer.add_layer(layer)
        layer.editable = self.editable
        return layer


@dataclass(frozen=True)
class TruthStyle:
    """How the layer looks that is the truth: an outline, of all labels in one colour.

    Attributes
    ----------
    colour : str
    line : float
        Width in screen pixels.
    """

    colour: str
    line: float

    def give(self, layer: Any) -> bool:
        """Set the look of a labels layer; say whether: one that the user gave a look keeps it."""
        usual = label_colormap(49).colors
        if type(layer) not in (Labels, OutlinedLabels) or layer.contour or layer.opacity != 0.7:
            return False
        if not np.array_equal(layer.colormap.colors, usual):
            return False
        # It stays the user's layer, with all that it holds: only its outlines are drawn by us.
        layer.__class__ = OutlinedLabels
        layer.contour, layer.opacity = 1, 1.0
        layer.colormap = with_rim((self.colour,), layer.dtype)
        return True


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
    line : float
        Width of a box's lines in screen pixels.
    """

    colours: Mapping[str, str]
    symbols: Mapping[str, str]
    edges: Mapping[str, str]
    border_width: float
    line: float

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
            "opacity": 1.0,
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
    line : float
        Width of lines in screen pixels.
    """

    colour: str
    opacity: float
    line: float

    def shapes(self, shape: Sequence[int]) -> dict[str, Any]:
        """Return the keywords of a shapes layer over an image of a shape."""
        width = max(0.4, min(shape[-2:]) / 250)
        return {"face_color": "transparent", "edge_width": width, "opacity": self.opacity}

    def circle(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Return a point at the origin as a polygon, shape (12, 2), for a plane of a shape."""
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        return max(1.0, min(shape) / 60) * np.stack([np.sin(turn), np.cos(turn)], axis=1)


HEATMAP = HeatmapStyle(colours.HEATMAP, colours.HEATMAP_OPACITY)

LABELS = {
    "labels": LabelsStyle(colours.MASKS, opacity=0.6),
    # An outline: what is accepted is filled, and the two must not be taken for each other. What
    # the brush did here would be lost with the next mask, and not be accepted.
    "preview": LabelsStyle(colours.MASKS, line=3.0, editable=False),
    "explained": LabelsStyle(("white",), opacity=0.7, line=2.0),
    # Found by both, by the prediction, by the truth: all eyes tell these apart, also on gray.
    "comparison": LabelsStyle({1: "#00c08b", 2: "#e8622c", 3: "#56b4e9"}, opacity=0.7),
}
"""Of our labels layers, by their role."""

# Any thinner, and it is not seen on a thumbnail of the window.
TRUTH = TruthStyle(colours.TRUTH, line=1.9)

PROMPTS = PromptStyle(
    colours=colours.POINTS,
    symbols={"positive": "disc", "negative": "x"},
    edges=colours.SOURCES,
    border_width=0.15,
    line=2.0,
)
PROMPT_PREVIEW = PromptPreviewStyle("#e040fb", opacity=0.9, line=1.5)
"""In a colour of no prompt that is placed."""
