"""The list of windows holds what the file of the image proposes."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from napari.components import ViewerModel

from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.windows import WindowParameters
from napari_cam_sam.plugin.heatmap.window_choice import WindowChoice
from napari_cam_sam.plugin.layers.layer_axes import KEY
from napari_cam_sam.plugin.layers.layer_geometry import placed
from napari_cam_sam.plugin.viewer.attach import workspace_of


def test_presets_of_the_file_can_be_chosen(qapp: Any) -> None:
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    geometry = Geometry((2.0, 0.5, 0.5), np.diag([2.0, 0.5, 0.5, 1]), "mm")
    windows = (("LUNG", -1350.0, 150.0), ("", -160.0, 240.0))
    image = Image(data, False, geometry, "CT", windows=windows)
    viewer = ViewerModel()
    where = placed(geometry, data.shape)
    mark = {KEY: {"image": image, "read": weakref.ref(data)}}
    viewer.add_image(data, name="CT", metadata=mark, **where)
    workspace = workspace_of(viewer)
    choice = WindowChoice(workspace)
    choice.fill()
    texts = [choice.itemText(i) for i in range(choice.count())]
    assert "LUNG: -1350 to 150" in texts
    assert "file: -160 to 240" in texts
    lung = WindowParameters("limits", -1350.0, 150.0)
    workspace.choose_window(lung)
    choice.fill()
    assert choice.value() == lung
    assert [choice.itemText(i) for i in range(choice.count())] == texts
    assert workspace.image().windows == windows
