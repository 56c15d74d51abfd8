"""Odd choices in a session of somebody else: refused before anything is replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.session.restore import check_choices
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.session import ImageRecord, Session

ODD = [
    ({"contrast_limits": [5, 5]}, "contrast_limits should be two numbers, low below high"),
    ({"contrast_limits": [0, 1, 2]}, "contrast_limits should be two numbers"),
    ({"contrast_limits": "ab"}, "contrast_limits should be a list"),
    ({"contrast_limits": [0, 10**400]}, "contrast_limits"),
    ({"contrast_limits": ["0", 1]}, r"contrast_limits\[0\] should be a number"),
    ({"contrast_limits": [None, 1, 2]}, "contrast_limits should be two numbers"),
    ({"plane": [0, 6]}, r"slice \[0, 6\]"),
    ({"plane": [3, 0]}, r"slice \[3, 0\]"),
    ({"plane": [0, -1]}, r"slice \[0, -1\]"),
    ({"plane": [0]}, r"slice \[0\]"),
    ({"plane": {"axis": 0}}, "plane should be a list"),
    ({"plane": ["0", 1]}, r"plane\[0\] should be a whole number"),
    ({"docks": [1]}, "docks should be an object"),
    ({"docks": {"segment": 3}}, r"docks\.segment should be an object"),
]


@pytest.mark.parametrize(("choices", "message"), ODD)
def test_odd_choices_are_named(choices: dict[str, Any], message: str) -> None:
    record = ImageRecord("scan", None, "0" * 64, (6, 5, 4), (1.0, 1.0, 1.0), "pixel")
    with pytest.raises(CamSamError, match=message):
        check_choices(Session(record, choices))
    check_choices(Session(record, {"contrast_limits": [0, 1.5], "plane": [2, 3], "docks": {}}))
    check_choices(Session(record))


@pytest.mark.parametrize("choices", [{"plane": [0, 99]}, {"docks": {"segment": "x"}}])
def test_a_session_with_odd_choices_replaces_nothing(
    qapp: Any, tmp_path: Path, qtbot: Any, choices: dict[str, Any]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.arange(120, dtype=np.uint8).reshape(6, 5, 4), name="scan")
    workspace = workspace_of(viewer)

    def said(call: Any) -> str:
        with qtbot.waitSignal(
            workspace.sessions.saved, timeout=60_000, check_params_cb=lambda text: "…" not in text
        ) as heard:
            call(tmp_path / "session")
        return str(heard.args[0])

    workspace.prompts.write([PlanePrompts(0, 3, (ObjectPrompt(1, (Point(2, 1),)),))])
    assert said(workspace.sessions.save).startswith("Saved")
    path = tmp_path / "session" / "session.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["choices"] |= choices
    path.write_text(json.dumps(content), encoding="utf-8")
    workspace.prompts.write([PlanePrompts(0, 4, (ObjectPrompt(1, (Point(1, 1),)),))])
    before = workspace.prompts.read_all(0)
    assert "choices of the session" in said(workspace.sessions.open)
    assert workspace.prompts.read_all(0) == before
