"""Which planes masks may come to."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image as ImageLayer

from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.layers.conversion import image_of
from napari_cam_sam.plugin.segment.volume.propagation_form import reachable
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.volume.parameters import PropagationParameters


def test_the_planes_within_reach_of_many_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    count = Image.n_planes

    def n_planes(image: Image, axis: int = 0) -> int:
        asked.append(axis)
        return count(image, axis)

    monkeypatch.setattr(Image, "n_planes", n_planes)
    image = image_of(ImageLayer(np.zeros((40, 8, 8))))

    def reached(*indices: int, more: int = 0) -> list[int]:
        prompts = tuple(PlanePrompts(0, i) for i in indices)
        return sorted(reachable(image, prompts, PropagationParameters(max_planes=2), more))

    assert reached(10, 3, 5) == list(range(1, 13))
    assert reached(1, 38) == [0, 1, 2, 3, 36, 37, 38, 39]
    assert reached(20, 20, more=1) == list(range(17, 24))
    assert len(asked) == 3
