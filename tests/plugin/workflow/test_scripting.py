"""By these names scripts of users drive the docks: whoever changes one breaks them."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import Any

import pytest
import torchvision  # noqa: F401  # before any window, see `torch_import`

from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock

DOCK = (
    "workspace.image", "workspace.plane", "workspace.frame", "workspace.choose_image",
    "workspace.own", "workspace.masks.accept", "workspace.prompts.write",
    "workspace.prompts.read_all", "workspace.prompts.boxes", "prompts.draw_box.click",
    "segment.segmenter.choose", "segment.run.click", "segment.row.busy", "segment.row.words.text",
    "segment.through.go.click", "segment.through.result.text", "heatmap", "scores",
)  # fmt: skip
MODULES = (
    "cam.predictions:predict_planes", "errors:CamSamError", "images.windows:apply_window",
    "images.windows:parse_window", "images.windows:resolve_window",
    "models.classifiers:load_classifier", "models.loading:load_model",
    "models.segmentation:load_network", "models.volume_frames:VolumeFrame", "prompts.data:Box",
    "prompts.data:ObjectPrompt", "prompts.data:PlanePrompts", "sam.frames:Stretched",
    "sam.loading:load_segmenter", "session:read_session", "session:write_session",
)  # fmt: skip


def test_the_dock_is_driven_by_these_names(viewer: Any) -> None:
    dock = WorkflowDock(viewer)
    for name in DOCK:
        attrgetter(name)(dock)


@pytest.mark.parametrize("name", MODULES)
def test_scripts_import_these(name: str) -> None:
    module, _, what = name.partition(":")
    assert getattr(import_module(f"napari_cam_sam.{module}"), what)


def test_the_docks_are_found_by_these_titles() -> None:
    from importlib.resources import files

    import yaml

    manifest = yaml.safe_load((files("napari_cam_sam") / "napari.yaml").read_text("utf-8"))
    titles = {one["display_name"] for one in manifest["contributions"]["widgets"]}
    assert titles == {"CAM → SAM", "Heatmap", "Prompts", "Segment", "Scores", "Train"}
