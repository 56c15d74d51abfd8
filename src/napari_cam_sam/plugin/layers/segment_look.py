"""How a labels layer shows what its labels are called: names on the status bar, own colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from napari.utils import DirectLabelColormap

from napari_cam_sam.images.dicom.naming import colour_for
from napari_cam_sam.images.image import Image

__all__ = ["segment_look"]

_UNNAMED = "yellow"  # of labels that are painted later


def segment_look(labels: Image) -> dict[str, Any]:
    """Return the names and colours of segments as keywords of a labels layer.

    Parameters
    ----------
    labels : Image

    Returns
    -------
    dict
        Empty where its labels have no names.
    """
    if not labels.segments:
        return {}
    numbers = [one.number for one in labels.segments]
    names = [one.name for one in labels.segments]
    colours: dict[int | None, Any] = {None: _UNNAMED, 0: "transparent"}
    for one in labels.segments:
        colours[one.number] = np.array(colour_for(one)) / 255
    return {
        "features": pd.DataFrame({"index": [0, *numbers], "name": ["background", *names]}),
        "colormap": DirectLabelColormap(color_dict=colours),
    }
