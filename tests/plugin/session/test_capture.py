"""What a session is gathered from: no prompt, wherever it lies, keeps the others from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.plugin.session.capture import capture_session
from napari_cam_sam.plugin.session.restore import check_choices, restore_session
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.session import read_session, write_session


@pytest.mark.filterwarnings("ignore::RuntimeWarning:napari")
@pytest.mark.parametrize("where", [np.nan, np.inf, -3.0, 99.0])
@pytest.mark.parametrize("shape", [(4, 20, 24), (20, 24)])
def test_a_prompt_that_lies_nowhere_does_not_hinder_saving(
    qapp: Any, tmp_path: Path, shape: tuple[int, ...], where: float
) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros(shape))
    workspace = workspace_of(viewer)
    workspace.prompts.write([PlanePrompts(0, 0, (ObjectPrompt(1, (Point(2, 3),)),))])
    points, _ = workspace.prompts.create()
    points.data = [points.data[0], np.full(len(shape), where)]
    image = workspace.image()
    write_session(tmp_path / "session", capture_session(workspace, image, None)(), image)
    (plane,) = read_session(tmp_path / "session").prompts
    assert plane.objects[0].points[0].column == 3


def test_infinite_contrast_limits_do_not_keep_a_session_from_being_opened(qapp: Any) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.random.default_rng(0).random((4, 20, 24)))
    workspace = workspace_of(viewer)
    layer.contrast_limits = (0, np.inf)
    session = capture_session(workspace, workspace.image(), None)()
    check_choices(session)
    assert "contrast_limits" not in session.choices
    layer.contrast_limits = (0.25, 0.75)
    session = capture_session(workspace, workspace.image(), None)()
    assert session.choices["contrast_limits"] == [0.25, 0.75]


@pytest.mark.parametrize("limits", [(0, np.inf), (-np.inf, 1), (-np.inf, np.inf)])
def test_a_session_that_was_saved_with_infinite_contrast_limits_is_opened_without_them(
    qapp: Any, tmp_path: Path, limits: tuple[float, float]
) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.random.default_rng(0).random((4, 20, 24)), contrast_limits=(0, 2))
    workspace = workspace_of(viewer)
    prompts = (PlanePrompts(0, 2, (ObjectPrompt(1, (Point(2, 3),)),)),)
    workspace.prompts.write(prompts)
    image = workspace.image()
    session = capture_session(workspace, image, None)()
    session = replace(session, choices=session.choices | {"contrast_limits": list(limits)})
    write_session(tmp_path / "session", session, image)
    workspace.prompts.write([PlanePrompts(0, 2)], "replace")
    words = restore_session(workspace, read_session(tmp_path / "session"))
    assert words.endswith(" Its contrast limits stayed out: they are infinite.")
    assert layer.contrast_limits == [0, 2]
    assert workspace.prompts.planes(0) == [2]
