"""Layers that lie elsewhere than the image: refused or handled in words, never wrong silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.plugin.layers.layer_geometry import transform_of
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

# Non-orthogonal slicing is what napari says of layers that are turned out of the view.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")

Finish = Callable[[Any], None]
SHAPE = (6, 48, 56)
IMAGES: dict[str, tuple[int, dict[str, Any]]] = {
    "3D in pixels": (3, {}),
    "2D in pixels": (2, {}),
    "2D in mm": (2, {"units": "mm"}),
    "3D in mm": (3, {"units": "mm"}),
    "a series": (4, {}),
    "turned": (3, {"rotate": (0, 0, 20), "scale": (3, 1, 0.5)}),
}
ELSEWHERE: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "moved": ("translate", lambda a: a + np.eye(len(a))[-1] * 10, "it is moved by "),
    "rotated": ("rotate", lambda a: a @ _turn(len(a)), "it is turned by 90°"),
    "sheared": ("shear", lambda a: a + np.eye(len(a))[-1] * 0.5, "it is sheared"),
    "by affine": ("affine", lambda a: a.affine_matrix @ _skew(a.ndim), "it is sheared"),
    "flipped": ("scale", lambda a: a * (1 - 2 * np.eye(len(a))[-1]), "it is flipped along axis "),
    "enlarged": ("scale", lambda a: a * (1 + np.eye(len(a))[-1]), "2) times as large"),
}


def _turn(ndim: int) -> Any:
    turn = np.eye(ndim)
    turn[-2:, -2:] = [[0, -1], [1, 0]]
    return turn


def _skew(ndim: int) -> Any:
    skew = np.eye(ndim + 1)
    skew[-3, -2] = 0.5
    return skew


def opened(kind: str) -> tuple[ViewerModel, ViewerWorkspace]:
    """Give a viewer with an image that has a bright box on every plane."""
    ndim, where = IMAGES[kind]
    pixels = np.random.default_rng(0).normal(20, 3, SHAPE).astype(np.float32)
    pixels[:, 15:30, 18:36] += 60
    viewer = ViewerModel()
    viewer.add_image({2: pixels[2], 3: pixels, 4: pixels[None]}[ndim], name="scan", **where)
    workspace = workspace_of(viewer)
    workspace.show_plane(0, 2)
    return viewer, workspace


def labels_there(viewer: ViewerModel, name: str, **changed: Any) -> Any:
    """Add labels of the image's shape and place, but for what is changed."""
    image = viewer.layers["scan"]
    return viewer.add_labels(
        np.ones(image.data.shape, np.uint8), name=name, **transform_of(image) | changed
    )


def labels_elsewhere(viewer: ViewerModel) -> dict[Any, str]:
    """Add labels of the image's shape in other places; give what is to be said of each."""
    image, found = viewer.layers["scan"], {}
    for name, (what, change, words) in ELSEWHERE.items():
        there = getattr(image, what)
        layer = labels_there(viewer, name, **{what: change(there)})
        found[layer] = words
    return found


def says(text: str | None, layer: Any, words: str) -> bool:
    begin = f"{layer.name} does not lie where scan does: it"
    end = "; if it belongs there, copy the scale and transforms of scan to it."
    return text is not None and text.startswith(begin) and words in text and text.endswith(end)


@pytest.mark.parametrize("kind", IMAGES)
def test_what_lies_elsewhere_is_named_and_is_no_truth(qapp: Any, kind: str) -> None:
    viewer, workspace = opened(kind)
    for layer, words in labels_elsewhere(viewer).items():
        assert says(workspace.mismatch(layer), layer, words)
    assert workspace.truth() is None
    right = labels_there(viewer, "right")
    assert workspace.mismatch(right) is None
    assert workspace.truth() is right


@pytest.mark.parametrize(
    "changed",
    [
        {"scale": (3000, 1000, 500), "translate": (0, 2000, 0), "units": "um"},
        {"scale": (3.002, 1, 0.5)},
        {"translate": (0.1, 2, 0)},
        {"scale": (1, 1, 1), "affine": np.diag([3, 1, 0.5, 1])},
    ],
    ids=["other units", "a rounded size", "a hair beside", "by affine"],
)
def test_another_way_to_say_the_same_place_is_right(qapp: Any, changed: dict[str, Any]) -> None:
    viewer = ViewerModel()
    where = {"scale": (3, 1, 0.5), "translate": (0, 2, 0), "units": "mm"}
    viewer.add_image(np.zeros(SHAPE, np.float32), name="scan", **where)
    assert workspace_of(viewer).mismatch(labels_there(viewer, "truth", **changed)) is None


@pytest.mark.parametrize(("here", "there"), [("pixel", "mm"), ("mm", "pixel")])
def test_pixels_are_not_compared_with_lengths(qapp: Any, here: str, there: str) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros(SHAPE, np.float32), name="scan", units=here)
    truth = labels_there(viewer, "truth", units=there, scale=(3, 1, 0.5), translate=(9, 9, 9))
    labels_there(viewer, "mine")
    workspace = workspace_of(viewer)
    assert workspace.mismatch(truth) is None
    assert workspace.truth() is truth
    remark = ScoresDock(viewer).choices.unit_remark()
    assert remark is not None
    assert remark.startswith(f"Distances are in {'px' if here == 'pixel' else here}")


@pytest.mark.parametrize("shear", [[0, 0, 0, 0.1, 0.2, 0.3], np.eye(4) + np.diag([0, 0, 0.5], -1)])
def test_our_layers_lie_over_a_series_that_is_sheared(qapp: Any, shear: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        np.zeros((2, *SHAPE), np.float32), shear=shear, scale=(1, 3, 1, 0.5), name="scan"
    )
    workspace = workspace_of(viewer)
    labels = workspace.layers.labels("labels")
    np.testing.assert_allclose(
        labels.data_to_world((1, 2, 3)), image.data_to_world((0, 1, 2, 3))[1:]
    )
    assert workspace.mismatch(labels) is None


@pytest.mark.parametrize("kind", IMAGES)
def test_prompts_are_taken_of_no_truth_that_lies_elsewhere(
    qapp: Any, finish: Finish, kind: str
) -> None:
    viewer, workspace = opened(kind)
    dock = PromptsDock(viewer)
    for layer, words in labels_elsewhere(viewer).items():
        assert dock.truth.layer.value() is None
        assert dock.truth.layer.set_value(layer)
        dock.truth.place.click()
        assert not dock.row.busy
        assert says(dock.row.words.text(), layer, words)
        viewer.layers.remove(layer)
    assert not workspace.prompts.read(*workspace.plane()).objects
    right = labels_there(viewer, "right")
    assert dock.truth.layer.value() is right
    dock.truth.place.click()
    finish(dock.row)
    (found,) = workspace.prompts.read(*workspace.plane()).objects
    assert found.box.source == "truth"


@pytest.mark.parametrize("kind", IMAGES)
def test_nothing_is_accepted_into_labels_that_lie_elsewhere(
    qapp: Any, finish: Finish, kind: str
) -> None:
    viewer, workspace = opened(kind)
    dock = SegmentDock(viewer)
    dock.segmenter.choose("seeded")
    axis, index = workspace.plane()
    box = Box(15, 18, 29, 35)
    workspace.prompts.write([PlanePrompts(axis, index, (ObjectPrompt(2, (), box),))])
    dock.run.click()
    finish(dock.row)
    for layer, words in labels_elsewhere(viewer).items():
        dock.masks.target = layer
        dock.review.accept.click()
        assert says(dock.row.words.text(), layer, words)
        assert (np.asarray(layer.data) == 1).all()
    masks = dock.masks.get(axis, index)
    assert masks is not None
    mask = masks.masks()[2]
    assert mask[20, 20]
    if kind == "a series":
        return  # what is accepted of a frame goes into labels without time
    right = labels_there(viewer, "right")
    dock.masks.target = right
    assert dock.review.overlap.set_value("overwrite")
    dock.review.accept.click()
    written = right.data if right.ndim == 2 else right.data[index]
    np.testing.assert_array_equal(written == 2, mask)


@pytest.mark.parametrize("kind", IMAGES)
def test_nothing_is_scored_that_lies_elsewhere(
    qapp: Any, qtbot: Any, finish: Finish, kind: str
) -> None:
    viewer, _ = opened(kind)
    labels_there(viewer, "truth")
    dock = ScoresDock(viewer)
    for layer, words in labels_elsewhere(viewer).items():
        dock.choices.choose_prediction(layer)
        assert says(dock.row.words.text(), layer, words)
        assert not dock.run.isEnabled()
        dock.score()
        assert not dock.row.busy
    dock.choices.choose_prediction(labels_there(viewer, "mine"))
    with qtbot.waitSignal(dock.scored, timeout=60_000):
        dock.run.click()
    finish(dock.row)
    assert {row["dice"] for row in dock.table.as_data()} == {1}


def test_labels_that_are_put_in_their_place_are_scored(qapp: Any, qtbot: Any) -> None:
    viewer, _ = opened("2D in pixels")
    truth = labels_there(viewer, "truth", translate=(5, 0))
    truth.data[:] = 7
    labels_there(viewer, "mine")
    dock = ScoresDock(viewer)
    assert dock.choices.truth.set_value(truth)
    dock.choices.truth.chosen.emit()
    assert "it is moved by (5, 0) pixels" in dock.row.words.text()
    truth.translate = (0, 0)
    assert dock.run.isEnabled()
    qtbot.waitUntil(lambda: dock.choices.label.count() == 3, timeout=10_000)


def test_a_heatmap_that_is_moved_is_scored_no_more(qapp: Any) -> None:
    viewer, _ = opened("2D in pixels")
    labels_there(viewer, "truth")
    labels_there(viewer, "mine")
    heat = viewer.add_image(np.linspace(0, 1, 48 * 56).reshape(48, 56), name="heat")
    dock = ScoresDock(viewer)
    assert dock.choices.heatmap.set_value(heat)
    heat.translate = (0, 5)
    dock.score()
    assert not dock.row.busy
    assert says(dock.row.words.text(), heat, "it is moved by (0, 5) pixels")


def test_layers_of_a_second_image_lie_above_it_and_below_its_own_prompts() -> None:
    """Prompts of the first image lie below the second one, which would cover what is found on it"""
    viewer, workspace = opened("3D in mm")
    box = ObjectPrompt(1, box=Box(15, 18, 30, 36, "user", None))
    for name in ("scan", "second"):
        if name == "second":
            viewer.add_image(np.zeros(SHAPE, np.float32), name=name, units="mm")
            workspace.choose_image(viewer.layers[name])
        workspace.prompts.write([PlanePrompts(0, 2, (box,))], "replace")
        made = [
            workspace.heatmaps.layer(0, create=True),
            workspace.layers.labels("preview"),
            workspace.layers.labels("labels"),
        ]
        order = list(viewer.layers)
        prompts = order.index(workspace.prompts.points), order.index(workspace.prompts.boxes)
        for layer in made:
            assert order.index(viewer.layers[name]) < order.index(layer) < min(prompts)
