"""The prompts dock: from heatmaps and truths into the layers, with a question and a preview."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from numpy.typing import NDArray

from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.viewer.attach import ViewerWorkspace, workspace_of
from napari_cam_sam.prompts import strategies
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.prompts.parameters import PRESETS
from napari_cam_sam.prompts.strategies import (
    prompts_from_heatmap,
    prompts_from_mask,
    pseudo_mask,
    strategy_parameters,
)

Finish = Callable[[Any], None]


@pytest.fixture
def dock(model: ViewerModel, qtbot: Any) -> PromptsDock:
    widget = PromptsDock(model)
    qtbot.addWidget(widget)
    widget.show()
    qtbot.waitExposed(widget)
    return widget


def hill(shape: tuple[int, int], row: float, column: float, width: float = 4) -> NDArray[Any]:
    """Draw a heatmap with one summit."""
    rows, columns = np.indices(shape)
    distance = (rows - row) ** 2 + (columns - column) ** 2
    return np.exp(-distance / width**2).astype(np.float32)


def put_heatmap(
    workspace: ViewerWorkspace, axis: int, index: int, values: Any, reason: str | None = None
) -> None:
    layer = workspace.heatmaps.layer(axis, create=True)
    layer.data[workspace.image().plane_index(axis, index)] = values
    workspace.heatmaps.set_record(layer, index, HeatmapRecord("a", {"a": 1.0}, reason, {}))
    workspace.heatmaps_changed.emit()


def sketch(workspace: ViewerWorkspace) -> Any:
    return workspace.own("sketch")


@pytest.mark.parametrize("strategy", ["ours", "s2-fg-bg", "s4-mode4"])
def test_a_plane_gets_what_the_core_takes_from_its_heatmap(
    dock: PromptsDock, finish: Finish, strategy: str
) -> None:
    heat = np.maximum(hill((20, 24), 6, 8), 0.9 * hill((20, 24), 14, 17, 3))
    put_heatmap(dock.workspace, 0, 2, heat)
    dock.choose_strategy(strategy)
    dock.place.click()
    finish(dock.row)
    expected = prompts_from_heatmap(heat, strategy, axis=0, index=2)
    assert expected.objects
    found = dock.workspace.prompts.read(0, 2)
    assert [o.box for o in found.objects] == [o.box for o in expected.objects]
    assert [p for o in found.objects for p in o.points] == [
        p for o in expected.objects for p in o.points
    ]
    assert dock.row.words.text() == "Prompts of a on 1 slice."
    assert dock.workspace.prompts.touched() == set()


def test_every_plane_with_a_heatmap_and_those_without_evidence_say_so(
    dock: PromptsDock, finish: Finish
) -> None:
    workspace = dock.workspace
    assert not dock.extract()
    assert "No heatmap on this slice" in dock.row.words.text()
    put_heatmap(workspace, 0, 1, hill((20, 24), 6, 8))
    put_heatmap(workspace, 0, 2, 0, reason="'a' has 0.03, less than 0.50.")
    put_heatmap(workspace, 0, 4, hill((20, 24), 12, 9))
    put_heatmap(workspace, 2, 7, hill((6, 20), 3, 9, 2))
    assert dock.extract(everywhere=True)
    finish(dock.row)
    assert workspace.prompts.planes(0) == [1, 4]
    assert workspace.prompts.planes(2) == []
    words = dock.row.words.text()
    assert words.startswith("Prompts of a on 2 slices, none on 1")
    assert "'a' has 0.03, less than 0.50." in words
    assert dock.extract()
    finish(dock.row)
    assert "No prompts of a on slice 2: 'a' has 0.03" in dock.row.words.text()
    workspace.show_plane(2, 7)
    assert dock.extract()
    finish(dock.row)
    assert workspace.prompts.read(2, 7) == prompts_from_heatmap(
        hill((6, 20), 3, 9, 2), axis=2, index=7
    )


@pytest.mark.parametrize("answer", ["keep", "replace", "add"])
def test_where_the_user_edited_the_dock_asks_first(
    dock: PromptsDock, finish: Finish, answer: str
) -> None:
    workspace = dock.workspace
    heat = hill((20, 24), 6, 8)
    put_heatmap(workspace, 0, 2, heat)
    put_heatmap(workspace, 0, 3, heat)
    mine = Point(18, 19, True, "user", float(heat[18, 19]))
    workspace.prompts.create()[0].add(np.array([[2.0, 18, 19]]))
    dock.extract(everywhere=True)
    finish(dock.row)
    assert dock.question.isVisible()
    assert dock.question.words.text() == "Slice 2 has prompts that you edited."
    assert workspace.prompts.planes(0) == [2]
    getattr(dock.question, answer).click()
    assert not dock.question.isVisible()
    (made,) = prompts_from_heatmap(heat, axis=0, index=2).objects
    expected = {
        "keep": ObjectPrompt(1, (mine,)),
        "replace": made,
        "add": ObjectPrompt(1, (mine, *made.points), made.box),
    }
    assert workspace.prompts.read(0, 2).objects == (expected[answer],)
    assert workspace.prompts.read(0, 3).objects == (made,)


def test_edits_of_another_object_are_not_asked_for(dock: PromptsDock, finish: Finish) -> None:
    workspace = dock.workspace
    put_heatmap(workspace, 0, 2, hill((20, 24), 6, 8))
    workspace.prompts.create()[0].add(np.array([[2.0, 18, 19]]))
    workspace.prompts.points.selected_data = set()
    dock.object.setValue(2)
    dock.extract()
    finish(dock.row)
    assert not dock.question.isVisible()
    assert [one.object_id for one in workspace.prompts.read(0, 2).objects] == [1, 2]


def test_a_rule_of_more_objects_leaves_those_of_another_class(
    dock: PromptsDock, finish: Finish
) -> None:
    workspace = dock.workspace
    heat = np.maximum(hill((20, 24), 4, 5, 3), 0.9 * hill((20, 24), 14, 17, 3))
    put_heatmap(workspace, 0, 2, heat)
    dock.object.setValue(2)
    dock.extract()
    finish(dock.row)
    before = workspace.prompts.read(0, 2).objects
    dock.object.setValue(1)
    dock.rule.set_value(_with(dock.rule.value(), components="largest", max_objects=2))
    dock.extract()
    finish(dock.row)
    assert workspace.prompts.read(0, 2).objects == before
    assert dock.row.words.text() == (
        "Object 2 has other prompts on slice 2: choose object 3, or clear that slice first."
    )
    dock.object.setValue(3)
    dock.extract()
    finish(dock.row)
    assert [one.object_id for one in workspace.prompts.read(0, 2).objects] == [2, 3, 4]
    # With fewer objects the same rule takes back what it placed before.
    dock.rule.set_value(_with(dock.rule.value(), max_objects=1))
    dock.extract()
    finish(dock.row)
    assert [one.object_id for one in workspace.prompts.read(0, 2).objects] == [2, 3]


def test_two_docks_show_the_same_object(model: ViewerModel, dock: PromptsDock, qtbot: Any) -> None:
    other = PromptsDock(model)
    qtbot.addWidget(other)
    dock.object.setValue(7)
    assert other.object.value() == dock.workspace.prompts.object_id == 7


def test_a_question_of_another_image_is_not_asked_on(dock: PromptsDock, finish: Finish) -> None:
    workspace = dock.workspace
    put_heatmap(workspace, 0, 2, hill((20, 24), 6, 8))
    workspace.prompts.create()[0].add(np.array([[2.0, 18, 19]]))
    dock.extract()
    finish(dock.row)
    other = workspace.viewer.add_image(np.zeros((6, 20, 24)), name="other")
    workspace.choose_image(other)
    assert not dock.question.isVisible()
    assert workspace.prompts.read_all(0) == ()


@pytest.mark.parametrize(("axis", "take"), [(0, "truth-box"), (1, "truth-box-point")])
def test_the_truth_of_all_planes_gives_what_the_core_takes_from_it(
    model: ViewerModel, dock: PromptsDock, finish: Finish, axis: int, take: str
) -> None:
    image = model.layers["scan"]
    truth = np.zeros(image.data.shape, np.uint8)
    truth[1:4, 3:9, 4:12] = 1
    truth[2, 12:18, 14:20] = 7
    model.add_labels(truth, name="truth", scale=image.scale, affine=image.affine, units="mm")
    dock.workspace.show_plane(axis, 3)
    assert dock.truth.layer.value().name == "truth"
    assert dock.truth.rule.set_value(take)
    dock.truth.place_all.click()
    finish(dock.row)
    planes = [np.take(truth, i, axis=axis) for i in range(truth.shape[axis])]
    for i, plane in enumerate(planes):
        expected = prompts_from_mask(plane, take, axis=axis, index=i)
        found = dock.workspace.prompts.read(axis, i)
        assert found.objects == expected.objects
        assert all(o.box.source == "truth" for o in found.objects)
    filled = sum(plane.any() for plane in planes)
    assert f"Prompts on {filled} slices, none on {len(planes) - filled}" in dock.row.words.text()


def test_every_part_of_the_truth_above_a_size_is_prompted(
    model: ViewerModel, dock: PromptsDock, finish: Finish
) -> None:
    image = model.layers["scan"]
    truth = np.zeros(image.data.shape, np.uint8)
    truth[2, 2:8, 3:9] = truth[2, 12:15, 14:20] = truth[2, 18, 1] = 1
    truth[3, 5, 5] = 1
    model.add_labels(truth, name="truth", scale=image.scale, affine=image.affine, units="mm")
    dock.truth.margin.setValue(0)

    def placed(index: int = 2) -> list[tuple[int, float]]:
        dock.truth.place_all.click()
        finish(dock.row)
        objects = dock.workspace.prompts.read(0, index).objects
        return [(one.object_id, one.box.row_min) for one in objects if one.box is not None]

    assert placed() == [(1, 2), (1, 12), (1, 18)]
    assert dock.row.words.text().startswith("Prompts on 2 slices, none on 4")
    dock.rule.set_value(_with(dock.rule.value(), min_area=2))
    assert placed() == [(1, 2), (1, 12)]
    assert dock.row.words.text().endswith("2 parts below 2 pixels were left out.")
    # What a heatmap gives leaves nothing of the truth out.
    put_heatmap(dock.workspace, 0, 4, hill((20, 24), 6, 8))
    dock.extract(everywhere=True)
    finish(dock.row)
    assert "left out" not in dock.row.words.text()


def test_margins_are_said_in_mm_of_the_slice_that_is_shown(
    model: ViewerModel, dock: PromptsDock
) -> None:
    # Of 3, 1 and 0.5 mm.
    assert dock.truth.in_mm.text() == "5 pixels are 5 mm above and below, 2.5 mm left and right."
    assert dock.in_mm.text() == ""
    dock.choose_strategy("s1")
    dock.truth.margin.setValue(1)
    assert dock.in_mm.text() == "5 pixels are 5 mm above and below, 2.5 mm left and right."
    assert dock.truth.in_mm.text() == "1 pixel is 1 mm above and below, 0.5 mm left and right."
    for order in ((1, 0, 2), (1, 2, 0)):
        model.dims.order = order
        sides = ["15 mm", "2.5 mm"] if order[1] == 0 else ["2.5 mm", "15 mm"]
        words = f"5 pixels are {sides[0]} above and below, {sides[1]} left and right."
        assert dock.in_mm.text() == words
    dock.truth.margin.setValue(0)
    assert dock.truth.in_mm.text() == ""
    model.dims.ndisplay = 3
    dock.workspace.shown.look_at_plane()
    assert dock.in_mm.text() == ""
    model.dims.ndisplay = 2
    dock.workspace.choose_image(model.add_image(np.zeros((8, 9)), scale=(2, 2), units="mm"))
    assert dock.in_mm.text() == ""  # the volume beside it is turned, and it is seen from its side
    model.dims.order = (0, 1, 2)
    dock.workspace.choose_image(model.add_image(np.zeros((8, 9)), scale=(0.4, 0.4), units="mm"))
    assert dock.in_mm.text() == "5 pixels are 2 mm on each side."
    dock.workspace.choose_image(model.add_image(np.zeros((8, 9))))
    assert dock.in_mm.text() == ""


@pytest.mark.parametrize("margin", [0, 2])
def test_the_margin_of_truth_boxes_is_chosen_and_goes_with_the_session(
    model: ViewerModel, dock: PromptsDock, finish: Callable[[Any], None], margin: int
) -> None:
    image = model.layers["scan"]
    truth = np.zeros(image.data.shape, np.uint8)
    truth[1:4, 6:9, 7:12] = 1
    model.add_labels(truth, name="truth", scale=image.scale, affine=image.affine, units="mm")
    assert dock.truth.margin.value() == 5
    dock.truth.margin.setValue(margin)
    dock.truth.place.click()
    finish(dock.row)
    (found,) = dock.workspace.prompts.read(0, 2).objects
    assert found.box is not None
    assert (found.box.row_min, found.box.column_min) == (6 - margin, 7 - margin)
    state = dock.state()
    dock.truth.margin.setValue(9)
    dock.set_state(state)
    assert dock.truth.margin.value() == margin


def test_one_label_of_the_truth_can_be_taken_alone(
    model: ViewerModel, dock: PromptsDock, finish: Finish, qtbot: Any
) -> None:
    image, label = model.layers["scan"], dock.truth.label
    assert [label.itemData(i) for i in range(label.count())] == [None]
    truth = np.zeros(image.data.shape, np.uint8)
    truth[1:4, 3:9, 4:12] = 1
    truth[2, 12:18, 14:20] = 7
    model.add_labels(truth, name="truth", scale=image.scale, affine=image.affine, units="mm")
    qtbot.waitUntil(lambda: label.count() == 3)
    assert [label.itemData(i) for i in range(3)] == [None, 1, 7]
    dock.workspace.prompts.write([PlanePrompts(0, 2, (ObjectPrompt(1, (Point(1, 2),)),))])
    label.set_value(7)
    dock.truth.place_all.click()
    finish(dock.row)
    (seven,) = prompts_from_mask(7 * (truth[2] == 7), "truth-box", index=2).objects
    assert dock.workspace.prompts.read(0, 2).objects == (ObjectPrompt(1, (Point(1, 2),)), seven)
    assert dock.workspace.prompts.planes(0) == [2]
    dock.workspace.show_plane(0, 3)
    dock.truth.place.click()
    finish(dock.row)
    assert dock.row.words.text() == "No prompts on slice 3: the ground truth has no label 7 there."
    # What is painted is listed when the section is opened.
    model.layers["truth"].data[4, 1, 1] = 9
    dock.truth.show()
    qtbot.waitUntil(lambda: label.count() == 4)
    assert label.value() == 7
    # Another truth has other labels.
    model.layers.remove("truth")
    qtbot.waitUntil(lambda: label.count() == 1)
    assert label.value() is None


@pytest.mark.parametrize(
    ("shape", "changed", "words"),
    [
        ((6, 20, 23), {}, "must be of one grid"),
        ((6, 20, 24), {"translate": (0, 4, 0)}, "does not lie where scan does"),
        ((6, 20, 24), {"scale": (3, 1, 1)}, "does not lie where scan does"),
        ((6, 20, 24), {"units": "um"}, "does not lie where scan does"),
    ],
    ids=["shape", "place", "spacing", "units"],
)
def test_a_truth_that_lies_elsewhere_is_refused_in_words(
    model: ViewerModel, dock: PromptsDock, shape: Any, changed: dict[str, Any], words: str
) -> None:
    image = model.layers["scan"]
    where = {"scale": image.scale, "affine": image.affine, "units": "mm"} | changed
    truth = model.add_labels(np.ones(shape, np.uint8), name="truth", **where)
    assert dock.truth.layer.value() is None
    assert dock.truth.layer.set_value(truth)
    assert not dock.extract_from_truth(everywhere=True)
    assert words in dock.row.words.text()
    assert dock.workspace.prompts.read_all(0) == ()


def test_without_a_truth_the_dock_asks_for_one(model: ViewerModel, dock: PromptsDock) -> None:
    dock.truth.place.click()
    assert "No ground truth" in dock.row.words.text()
    image = model.layers["scan"]
    same = {"scale": image.scale, "affine": image.affine, "units": "mm"}
    truth = model.add_labels(np.ones((6, 20, 24), np.uint8), name="truth", **same)
    assert dock.truth.layer.value() is truth
    model.layers.remove(truth)
    assert dock.truth.layer.value() is None


def test_the_preview_follows_the_threshold_and_disappears(dock: PromptsDock, qtbot: Any) -> None:
    workspace = dock.workspace
    heat = hill((20, 24), 9, 11)
    put_heatmap(workspace, 0, 2, heat)
    qtbot.waitUntil(lambda: sketch(workspace) is not None)
    assert not sketch(workspace).editable

    def bounds() -> list[float]:
        """Rows and columns that the box of the preview spans."""
        boxes = [
            np.asarray(v)
            for v, kind in zip(sketch(workspace).data, sketch(workspace).shape_type, strict=True)
            if kind == "polygon" and len(v) == 4
        ]
        assert len(boxes) == 1
        assert set(boxes[0][:, 0]) == {2}
        return [*boxes[0][:, 1:].min(axis=0), *boxes[0][:, 1:].max(axis=0)]

    for threshold in (0.2, 0.7):
        dock.threshold.slider.setValue(round(100 * threshold))
        rule = workspace.prompt_parameters
        assert rule.threshold == threshold
        rows, columns = np.nonzero(pseudo_mask(heat, rule))
        assert np.array_equal(pseudo_mask(heat, rule), heat > threshold * heat.max())
        edges = [rows.min() - 0.5, columns.min() - 0.5, rows.max() + 0.5, columns.max() + 0.5]
        qtbot.waitUntil(lambda edges=edges: bounds() == edges)
    # It is no prompt, and gone with its reason.
    assert workspace.prompts.read_all(0) == ()
    workspace.show_plane(0, 4)
    qtbot.waitUntil(lambda: not sketch(workspace).visible)
    workspace.show_plane(0, 2)
    qtbot.waitUntil(lambda: sketch(workspace).visible)
    dock.preview.setChecked(False)
    qtbot.waitUntil(lambda: sketch(workspace) is None)
    dock.preview.setChecked(True)
    qtbot.waitUntil(lambda: sketch(workspace) is not None)
    workspace.viewer.layers.remove(workspace.own("heatmap", 0))
    qtbot.waitUntil(lambda: not sketch(workspace).visible)


def test_the_preview_goes_when_the_dock_is_hidden(dock: PromptsDock, qtbot: Any) -> None:
    put_heatmap(dock.workspace, 0, 2, hill((20, 24), 9, 11))
    qtbot.waitUntil(lambda: sketch(dock.workspace) is not None)
    dock.hide()
    qtbot.waitUntil(lambda: sketch(dock.workspace) is None)
    dock.show()
    qtbot.waitUntil(lambda: sketch(dock.workspace) is not None)


def test_the_threshold_says_what_it_is_of(dock: PromptsDock) -> None:
    said = {}
    for name in ("ours", "s1"):
        dock.choose_strategy(name)
        said[name] = dock.threshold.number.text()
    assert said == {"ours": "0.30 of max", "s1": "0.80 absolute"}
    dock.rule.widget("threshold_rule").set_value("otsu")
    dock.rule.changed.emit()
    assert not dock.threshold.isEnabled()
    assert dock.threshold.number.text() == "0.80"


def test_changed_settings_say_of_which_strategy_they_were(dock: PromptsDock) -> None:
    dock.choose_strategy("s4-mode3")
    dock.threshold.set_value(0.4)
    dock.threshold.changed.emit()
    assert dock.strategy.currentIndex() == -1
    assert dock.strategy.placeholderText() == "custom (from Largest region: a box)"
    # What a session brings is nobody's.
    state = dock.state()
    dock.choose_strategy("ours")
    dock.set_state(state)
    assert dock.strategy.placeholderText() == "custom"


def test_what_was_placed_is_still_said_when_the_plane_is_told_late(
    dock: PromptsDock, finish: Finish
) -> None:
    put_heatmap(dock.workspace, 0, 2, hill((20, 24), 6, 8))
    dock.extract()
    finish(dock.row)
    dock.workspace.plane_changed.emit()
    assert dock.row.words.text() == "Prompts of a on 1 slice."
    dock.workspace.show_plane(0, 4)
    dock.workspace.plane_changed.emit()
    assert dock.row.words.text() == ""


def test_strategy_and_rule_say_the_same(dock: PromptsDock) -> None:
    for name, preset in PRESETS.items():
        dock.choose_strategy(name)
        assert dock.workspace.prompt_parameters == preset
        assert dock.strategy.value() == name
    dock.choose_strategy("s1")
    dock.threshold.set_value(0.55)
    assert dock.strategy.value() is None
    assert dock.workspace.prompt_parameters == _with(strategy_parameters("s1"), threshold=0.55)
    dock.rule.widget("grid").setValue(2)
    assert "must be odd" in dock.row.words.text()
    assert dock.workspace.prompt_parameters.grid == 1


def _with(rule: Any, **changes: Any) -> Any:
    return type(rule)(**{**vars(rule), **changes})


def test_buttons_edit_the_plane_shown(model: ViewerModel, dock: PromptsDock, qtbot: Any) -> None:
    prompts = dock.workspace.prompts
    dock.draw_box.click()
    assert model.layers.selection.active is prompts.boxes
    assert prompts.boxes.mode == "add_rectangle"
    dock.add_point.click()
    assert model.layers.selection.active is prompts.points
    assert prompts.points.mode == "add"
    dock.polarity.click()
    assert dock.polarity.text() == "New points: negative (T)"
    dock.object.setValue(3)
    prompts.points.add(np.array([[2.0, 5, 6]]))
    expected = PlanePrompts(0, 2, (ObjectPrompt(3, (Point(5, 6, False),)),))
    assert prompts.read(0, 2) == expected
    dock.clear.click()
    assert prompts.read(0, 2).objects == ()
    dock.undo.click()
    dock.redo.click()
    assert prompts.read(0, 2).objects == ()
    with qtbot.waitSignal(prompts.settled, timeout=10_000):
        new = (ObjectPrompt(1, (Point(3, 3),), Box(1, 2, 5, 6)), ObjectPrompt(2, (Point(9, 9),)))
        prompts.write([PlanePrompts(0, 2, new), PlanePrompts(0, 4, new)], "replace")
    assert (
        dock.found.text() == "Slice 2 (the slider shows 3): 1 box, 2 points; 2 slices with prompts."
    )


def test_three_dimensions_show_no_plane_to_place_on(model: ViewerModel, dock: PromptsDock) -> None:
    put_heatmap(dock.workspace, 0, 2, hill((20, 24), 9, 11))
    model.dims.ndisplay = 3
    for button in (dock.place, dock.place_all, dock.truth.place, dock.draw_box, dock.clear):
        dock.row.set_message("")
        button.click()
        assert "switch to 2D" in dock.row.words.text()
    assert dock.workspace.prompts.read_all(0) == ()


def test_each_frame_of_a_series_has_its_own_prompts(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 6, 20, 24)))
    workspace = workspace_of(viewer)
    viewer.dims.set_point(range(2), (1, 2))
    one = PlanePrompts(0, 2, (ObjectPrompt(1, (Point(5, 6),)),))
    workspace.prompts.write([one])
    assert workspace.prompts.points.ndim == 3
    viewer.dims.set_point(0, 2)
    assert workspace.prompts.read_all(0) == ()
    viewer.dims.set_point(0, 1)
    assert workspace.prompts.read_all(0) == (one,)


@pytest.fixture
def gate(hold: Any) -> Any:
    """Hold the making of prompts."""
    return hold(strategies, "prompts_from_heatmap")


def test_a_second_press_places_nothing_more(
    dock: PromptsDock, finish: Finish, qtbot: Any, gate: Any
) -> None:
    dock.preview.setChecked(False)
    heat = hill((20, 24), 6, 8)
    for index in (2, 3):
        put_heatmap(dock.workspace, 0, index, heat)
    dock.place.click()
    qtbot.waitUntil(gate.entered.is_set, timeout=60_000)
    for button in (dock.place, dock.place_all, dock.truth.place):
        button.click()
    gate.open()
    finish(dock.row)
    assert gate.calls == 1
    assert dock.workspace.prompts.planes(0) == [2]
    assert not dock.question.isVisible()
    dock.place_all.click()
    finish(dock.row)
    assert dock.workspace.prompts.planes(0) == [2, 3]


def test_prompts_of_one_frame_are_not_placed_on_another(
    qapp: Any, qtbot: Any, finish: Finish, gate: Any
) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 6, 20, 24)))
    workspace = workspace_of(viewer)
    viewer.dims.set_point(range(2), (1, 2))
    dock = PromptsDock(viewer)
    put_heatmap(workspace, 0, 2, hill((20, 24), 6, 8))
    assert dock.extract()
    qtbot.waitUntil(gate.entered.is_set, timeout=60_000)
    viewer.dims.set_point(0, 2)
    gate.open()
    finish(dock.row)
    for frame in (2, 1):
        viewer.dims.set_point(0, frame)
        assert workspace.prompts.read_all(0) == ()
