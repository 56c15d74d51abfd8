"""Masks that were opened as images, and masks from files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from PIL import Image as PillowImage
from PIL import ImageFilter
from qtpy.QtWidgets import QApplication

from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.labels import mask_in
from napari_cam_sam.images.writing import write_labels
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.scores.score_inputs import ScoreInputs
from napari_cam_sam.plugin.state import mask_finder, mask_images
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

SHAPE = (64, 80)


def scan(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, SHAPE).astype(np.uint8)


def disc() -> Any:
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - 30, columns - 40) < 14


def soft() -> Any:
    picture = PillowImage.fromarray(disc().astype(np.uint8) * 255)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(1)))


MASKS = {
    "black and white": disc().astype(np.uint8) * 255,
    "two labels": disc().astype(np.uint8) + (np.indices(SHAPE)[1] > 70),
    "as floats": disc().astype(np.float32),
    "in colour": np.repeat(disc()[..., None].astype(np.uint8) * 255, 3, axis=2),
    "soft edges": soft(),
    "bool": disc(),
}


def settle() -> None:
    for _ in range(5):
        QApplication.processEvents()


@pytest.fixture
def viewer(qapp: Any) -> Iterator[ViewerModel]:
    yield ViewerModel()
    settle()


@pytest.mark.parametrize("data", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("order", list(itertools.permutations(("scan", "mask", "docks"))), ids=str)
def test_a_mask_that_was_opened_as_an_image_is_the_truth_and_never_the_image(
    viewer: ViewerModel, data: Any, order: tuple[str, ...]
) -> None:
    for what in order:
        if what == "scan":
            viewer.add_image(scan(), name="scan", scale=(2, 3), units="mm")
        elif what == "mask":
            viewer.add_image(data, name="mask", rgb=data.ndim == 3, scale=(2, 3), units="mm")
        else:
            workspace_of(viewer)
        settle()
    workspace = workspace_of(viewer)
    settle()
    assert workspace.image_layer is viewer.layers["scan"]
    truth = workspace.truth()
    assert isinstance(truth, Labels)
    assert truth.name == "mask, truth"
    expected = soft() > 127 if data is MASKS["soft edges"] else disc()
    if data is MASKS["two labels"]:
        np.testing.assert_array_equal(truth.data, data)
    else:
        np.testing.assert_array_equal(truth.data > 0, expected)
    assert workspace.mismatch(truth) is None
    assert truth.scale.tolist() == [2, 3]
    assert not viewer.layers["mask"].visible
    # Whoever deletes the labels does not get them again.
    viewer.layers.remove(truth)
    settle()
    viewer.add_image(scan(1), name="other")
    settle()
    assert workspace.truth() is None


def test_images_stay_images(viewer: ViewerModel, notices: list[str]) -> None:
    workspace = workspace_of(viewer)
    viewer.add_image(scan(), name="scan")
    viewer.add_image(scan(1), name="noise")
    viewer.add_image(np.indices(SHAPE)[1].astype(np.uint8), name="ramp")
    viewer.add_image(np.zeros(SHAPE, np.uint8), name="empty")
    viewer.add_image(disc()[:-1].astype(np.uint8), name="elsewhere")
    viewer.add_image(np.random.default_rng(0).random(SHAPE) * disc(), name="heat")
    settle()
    assert [one.name for one in viewer.layers] == [
        "scan", "noise", "ramp", "empty", "elsewhere", "heat",
    ]  # fmt: skip
    assert all(one.visible for one in viewer.layers)
    assert workspace.image_layer.name == "scan"
    assert notices == []


def test_a_mask_is_worked_on_where_the_user_says_so(viewer: ViewerModel) -> None:
    workspace = workspace_of(viewer)
    mask = viewer.add_image(MASKS["bool"], name="mask")
    assert workspace.image_layer is mask  # there is no other
    # With work on it, it is the user's image.
    workspace.prompts.write([PlanePrompts(0, 0, (ObjectPrompt(1, (), Box(4, 5, 12, 15)),))])
    image = viewer.add_image(scan(), name="scan")
    settle()
    assert workspace.image_layer is mask
    workspace.choose_image(image)
    settle()
    assert workspace.truth() is None
    other = viewer.add_image(~MASKS["bool"], name="other")
    settle()
    workspace.choose_image(other)
    viewer.add_image(scan(1), name="third")
    settle()
    assert workspace.image_layer is other


def test_gray_values_that_nobody_called_a_mask() -> None:
    blurred = PillowImage.fromarray(disc().astype(np.uint8) * 255)
    vague = np.asarray(blurred.filter(ImageFilter.GaussianBlur(9)))
    for data in (vague, np.arange(64 * 80).reshape(SHAPE) % 40, scan(), -disc().astype(np.int16)):
        assert mask_in(image_from_array(data)) is None


@pytest.fixture(params=["prompts", "scores"])
def row(request: Any, viewer: ViewerModel) -> Iterator[Any]:
    """Give the row of the truth in both docks, and the list in it."""
    viewer.add_image(scan(), name="scan", scale=(2, 3))
    if request.param == "prompts":
        dock = PromptsDock(viewer)
        yield dock.truth.truth_row, dock.truth.layer
    else:
        inputs = ScoreInputs(workspace_of(viewer))
        yield inputs.truth_row, inputs.truth


def opened(row: Any, path: Path, qtbot: Any) -> None:
    row.open_file(path)
    qtbot.waitUntil(lambda: not row.busy, timeout=60_000)
    settle()


def test_a_mask_is_opened_from_disk_and_is_the_truth(
    viewer: ViewerModel, row: Any, tmp_path: Path, qtbot: Any
) -> None:
    line, choice = row
    workspace: ViewerWorkspace = workspace_of(viewer)
    write_labels(tmp_path / "lesion.png", disc().astype(np.uint8), image_from_array(disc()))
    workspace.prompts.create()
    opened(line, tmp_path / "lesion.png", qtbot)
    truth = workspace.truth()
    assert truth is not None
    assert truth is choice.value() is viewer.layers["lesion"]
    np.testing.assert_array_equal(truth.data > 0, disc())
    assert workspace.mismatch(truth) is None
    assert viewer.layers.index(truth) < viewer.layers.index(workspace.prompts.boxes)
    assert line.words.text() == ""
    # What reading decided is said.
    PillowImage.fromarray(soft()).save(tmp_path / "soft.png")
    opened(line, tmp_path / "soft.png", qtbot)
    assert "cut at half" in line.words.text()


def test_what_is_wrong_with_a_mask_is_said_in_the_dock(
    viewer: ViewerModel, row: Any, tmp_path: Path, qtbot: Any, notices: list[str]
) -> None:
    line, _ = row
    workspace = workspace_of(viewer)
    PillowImage.fromarray(scan()).save(tmp_path / "gray.png")
    PillowImage.fromarray(scan()).save(tmp_path / "gray.jpg")
    PillowImage.fromarray(disc()[:-2]).save(tmp_path / "small.png")
    (tmp_path / "broken.nii.gz").write_bytes(b"no")
    for name, words in (
        ("gray.png", "A gray picture, not labels"), ("gray.jpg", "cannot hold labels"),
        ("small.png", "they must have the same grid"), ("broken.nii.gz", "broken.nii.gz"),
        ("none.png", "none.png"),
    ):  # fmt: skip
        opened(line, tmp_path / name, qtbot)
        assert words in line.words.text()
        assert workspace.truth() is None
    assert notices == []
    viewer.layers.clear()
    line.open_file(tmp_path / "gray.png")
    assert "Open an image first" in line.words.text()


def test_a_mask_is_read_through_once(viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(image: Any) -> Any:
        read.append(image.name)
        return mask_in(image)

    for module in (mask_finder, mask_images):
        monkeypatch.setattr(module, "mask_in", counted, raising=False)
    workspace = workspace_of(viewer)
    for name, data in (("mask", MASKS["bool"]), ("scan", scan()), ("other", ~MASKS["bool"])):
        viewer.add_image(data, name=name)
        settle()
    assert sorted(read) == ["mask", "other", "scan"]
    assert {one.name for one in workspace.labels_layers()} == {"mask, truth", "other, truth"}


def test_new_labels_are_no_truth_until_the_user_says_so(viewer: ViewerModel) -> None:
    workspace = workspace_of(viewer)
    viewer.add_image(scan(), name="scan", scale=(2, 3))
    viewer._new_labels()  # as napari's button does
    new = viewer.layers[-1]
    settle()
    inputs = ScoreInputs(workspace)
    assert workspace.truth() is None
    # What is painted is an answer, and a truth that is opened is found beside it.
    new.data_setitem((np.arange(4), np.arange(4)), 1)
    assert workspace.truth() is None
    assert inputs.prediction.value() is new
    truth = viewer.add_labels(disc().astype(np.uint8), name="lesion", scale=(2, 3))
    settle()
    assert workspace.truth() is truth
    viewer.layers.remove(truth)
    assert workspace.truth() is None
    workspace.choose_truth(new)
    assert workspace.truth() is new
    workspace.choose_truth(None)
    # One that is called so is the truth before anything is painted.
    named = viewer.add_labels(np.zeros(SHAPE, np.uint8), name="my truth", scale=(2, 3))
    assert workspace.truth() is named
