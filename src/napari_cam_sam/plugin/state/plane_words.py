"""The plane shown in words, numbered as in the image and as by napari's slider."""

from __future__ import annotations

from napari_cam_sam.plugin.state.shown_image import ShownImage

__all__ = ["slider_label"]


def slider_label(shown: ShownImage) -> str:
    """Return what napari's slider shows on this plane, where that is not the plane's number.

    Parameters
    ----------
    shown : ShownImage

    Returns
    -------
    str
        E.g. ``" (slider: 12)"``; empty where both numbers are one, and without a slider.

    Raises
    ------
    CamSamError
        Without an image, or where the viewer shows no single plane of it.
    """
    axis, index = shown.plane()
    image, dims = shown.image(), shown.viewer.dims
    if image.spatial_ndim == 2:
        return ""
    # The last of those that are not shown: time, where there is one, comes before space.
    hidden = dims.not_displayed[-1]
    step = dims.current_step[hidden]
    # Steps of another layer's grid: the slider's number is of no plane.
    if dims.nsteps[hidden] != image.n_planes(axis) or step == index:
        return ""
    return f" (slider: {step})"
