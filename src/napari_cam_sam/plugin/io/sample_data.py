"""The shipped phantoms as sample data, each with its truth."""

from __future__ import annotations

from typing import Any

from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.plugin.io.reader import LayerData
from napari_cam_sam.plugin.layers.layer_axes import KEY

__all__ = ["ct_sample", "shapes_sample", "ultrasound_sample"]


def ct_sample() -> list[LayerData]:
    """Return a CT-like volume in Hounsfield units with a lesion, in its place.

    Returns
    -------
    list of tuple
        Its layer, and the hidden one of its truth.
    """
    return _layers("ct", contrast_limits=(-150, 250))


def ultrasound_sample() -> list[LayerData]:
    """Return an ultrasound-like picture with a lesion.

    Returns
    -------
    list of tuple
        Its layer, and the hidden one of its truth.
    """
    return _layers("ultrasound")


def shapes_sample() -> list[LayerData]:
    """Return a colour picture with a geometric shape on a textured background.

    Returns
    -------
    list of tuple
        Its layer, and the hidden one of its truth.
    """
    return _layers("shapes")


def _layers(name: str, **display: Any) -> list[LayerData]:
    from napari_cam_sam.plugin.layers.layer_geometry import placed

    sample = make_sample(name)
    image, truth = sample.image, sample.truth
    where = placed(image.geometry, image.spatial_shape)

    def meta(of: Any) -> dict[str, Any]:
        return {"name": of.name, **where, "metadata": {KEY: {"image": of}}}

    # What the docks choose for it without being told.
    suited = {
        "classifier": sample.classifier,
        "target": sample.target,
        "window": sample.window,
        "segmenter": "compact-sam",
    }
    shown = meta(image)
    shown["metadata"][KEY] |= suited
    return [
        (image.data, {**shown, "rgb": image.rgb, **display}, "image"),
        (truth.data, {**meta(truth), "visible": False}, "labels"),
    ]
