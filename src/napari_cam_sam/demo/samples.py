"""The samples that ship: an image with truth, and which shipped classifier looks at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_cam_sam.demo import phantoms
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.errors import unknown_name
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image, image_from_array

__all__ = ["SAMPLES", "Sample", "make_sample"]

SAMPLES = ("ct", "ultrasound", "shapes")
# Seeds below one million, which no training draws.
_SEEDS = {"ct": 11, "ultrasound": 4, "shapes": 3}


@dataclass(frozen=True, eq=False)
class Sample:
    """A generated image and how it is meant to be run.

    Attributes
    ----------
    image, truth : Image
    classifier : str
        Name of a shipped classifier.
    target : str
        The class that its heatmap explains.
    window : str
        As the command line writes windows.
    """

    image: Image
    truth: Image
    classifier: str
    target: str
    window: str


def make_sample(name: str, seed: int | None = None) -> Sample:
    """Draw a sample.

    Parameters
    ----------
    name : {"ct", "ultrasound", "shapes"}
    seed : int, optional
        By default one that shows the workflow well; seeds from one million up were used in
        training.

    Returns
    -------
    Sample

    Raises
    ------
    CamSamError
        If there is no such sample.
    """
    if name not in SAMPLES:
        raise unknown_name("sample", name, SAMPLES)
    chosen = _SEEDS[name] if seed is None else seed
    if name == "ct":
        volume = ct(chosen)
        geometry = Geometry(spacing=volume.spacing, affine=volume.affine, unit="mm")
        return Sample(
            image_from_array(volume.hounsfield, geometry=geometry, name="CT-like phantom"),
            image_from_array(volume.labels, geometry=geometry, name="CT-like phantom, truth"),
            "lesion",
            "lesion",
            "ct-abdomen",
        )
    if name == "ultrasound":
        drawn = phantoms.ultrasound(chosen, lesion=True)
        classifier, target = "lesion", phantoms.ULTRASOUND_CLASSES[drawn.class_index]
    else:
        drawn = phantoms.shapes(chosen)
        classifier, target = "shapes", phantoms.SHAPE_CLASSES[drawn.class_index]
    return Sample(
        image_from_array(drawn.image, rgb=drawn.image.ndim == 3, name=f"{name} phantom"),
        image_from_array(np.asarray(drawn.labels), name=f"{name} phantom, truth"),
        classifier,
        target,
        "auto",
    )
