"""Images as a format can hold them, and what it does not keep: for conversion from any to any."""

from __future__ import annotations

from dataclasses import replace

from napari_cam_sam.images.formats import JPEG, MGH, NIFTI, TIFF, VOLUMES
from napari_cam_sam.images.geometry import Geometry, standing_affine
from napari_cam_sam.images.image import Image

__all__ = ["fitted"]


def fitted(image: Image, suffix: str) -> tuple[Image, tuple[str, ...]]:
    """Return an image in a place that a format can hold.

    Parameters
    ----------
    image : Image
    suffix : str
        Of the file to write.

    Returns
    -------
    image : Image
        Without its place in the world for pictures; with the one that it is shown in for formats
        that need one.
    notes : tuple of str
        What was changed.
    """
    geometry = image.geometry
    name = "TIFF" if suffix in TIFF else "JPEG" if suffix in JPEG else "PNG"
    if suffix not in VOLUMES and geometry.affine is not None:
        return (
            replace(image, geometry=Geometry(geometry.spacing, None, geometry.unit)),
            (f"{name} holds no place in the world: it is lost.",),
        )
    if suffix in (*NIFTI, *MGH) and geometry.affine is None:
        name = "NIfTI" if suffix in NIFTI else "MGH"
        return (
            replace(image, geometry=standing_affine(geometry), source=None),
            (f"{name} needs a place in the world, and it has none: it is written upright.",),
        )
    return image, ()
