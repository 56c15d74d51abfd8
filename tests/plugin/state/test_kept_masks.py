"""Masks that are not accepted, as a session keeps them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.state.kept_masks import data_of, plane_from
from napari_cam_sam.plugin.state.plane_masks import PlaneMasks, candidates
from napari_cam_sam.prompts.data import ObjectPrompt, PlanePrompts, Point

SHAPE = (4, 5, 6)


def plane() -> PlaneMasks:
    """Return three candidates of one object on plane 3 of axis 1."""
    masks = np.arange(3 * 4 * 6).reshape(3, 4, 6) % 5 == 0
    prompts = PlanePrompts(1, 3, (ObjectPrompt(4, (Point(1, 2),)),))
    found = (candidates(4, masks, [0.5, None, 0.25]),)
    # A name of a file that is no text: as Python keeps it.
    return PlaneMasks(prompts, found, (2,), "a\udcff.pt", "ab", (-1.5, 20), True)


def test_masks_come_back_as_they_were() -> None:
    masks = plane()
    back = plane_from(json.loads(json.dumps(data_of(masks))), SHAPE)
    assert back.prompts == masks.prompts
    assert (back.chosen, back.window, back.picked) == ((2,), (-1.5, 20), True)
    assert (back.segmenter, back.source) == ("a\udcff.pt", "prompted")
    assert np.array_equal(back.found[0].masks, masks.found[0].masks)
    assert np.array_equal(back.found[0].scores, masks.found[0].scores, equal_nan=True)


ODD: list[dict[str, Any]] = [
    {"prompts": {"axis": 1, "index": 5}}, {"prompts": {"axis": 3, "index": 0}}, {"prompts": None},
    {"objects": []}, {"objects": [{"object": 0, "masks": ["24"], "scores": [1]}]},
    {"objects": [{"object": True, "masks": ["24"], "scores": [1]}]},
    {"objects": [{"object": 4, "masks": ["25"], "scores": [1]}], "chosen": [0]},
    {"objects": [{"object": 4, "masks": ["-1 25"], "scores": [1]}], "chosen": [0]},
    {"objects": [{"object": 4, "masks": ["9" * 5000], "scores": [1]}], "chosen": [0]},
    {"objects": [{"object": 4, "masks": ["24"], "scores": []}], "chosen": [0]},
    {"objects": [{"object": 4, "masks": [], "scores": []}], "chosen": [0]},
    {"objects": [{"object": 4, "masks": ["24"], "scores": [1]}] * 2, "chosen": [0, 0]},
    {"chosen": [3]}, {"chosen": [-1]}, {"chosen": []}, {"chosen": ["0"]}, {"window": [2, 2]},
    {"window": [0]}, {"source": "guessed"}, {"picked": "yes"}, {"segmenter": None},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_odd_masks_are_refused(odd: dict[str, Any]) -> None:
    with pytest.raises(CamSamError):
        plane_from(data_of(plane()) | odd, SHAPE)


def test_masks_of_a_flat_image_lie_on_its_one_plane() -> None:
    data = data_of(plane())
    flat = data | {"prompts": data["prompts"] | {"axis": 0, "index": 0}}
    assert plane_from(flat, (4, 6)).found[0].masks.shape == (3, 4, 6)
    with pytest.raises(CamSamError):
        plane_from(flat | {"prompts": data["prompts"] | {"axis": 1, "index": 0}}, (4, 6))
    with pytest.raises(CamSamError):
        plane_from(flat, (5, 6))
