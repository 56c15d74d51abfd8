"""The heatmap dock: what the core computes, in the right place, and never in the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_cam_sam.cam import heatmaps
from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.plugin.heatmap import heatmap_run
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.io.sample_data import ct_sample, shapes_sample
from napari_cam_sam.plugin.layers.layer_axes import KEY
from napari_cam_sam.plugin.state.plane_words import slider_label, slider_number
from napari_cam_sam.plugin.viewer.attach import workspace_of

Finish = Callable[[Any], None]


@pytest.fixture
def ct(qapp: Any) -> ViewerModel:
    """Give a viewer without a window with the CT sample, at plane 11."""
    viewer = ViewerModel()
    (data, meta, _), _ = ct_sample()
    viewer.add_image(data, **meta)
    workspace_of(viewer).show_plane(0, 11)
    return viewer


@pytest.fixture
def dock(ct: ViewerModel, finish: Finish) -> Iterator[HeatmapDock]:
    widget = HeatmapDock(ct)
    yield widget
    widget.follow.setChecked(False)
    finish(widget.row)


def core(plane: Any, name: str = "lesion", target: str | None = "lesion") -> Heatmap:
    """Heatmap of a windowed plane as the library computes it."""
    parameters = CamParameters(target=target, min_probability=0.5)
    (found,) = compute_heatmaps(load_classifier(name, device="cpu"), [plane], parameters)
    return found


def windowed(plane: Any, whole: Any, window: str = "ct-abdomen", rgb: bool = False) -> Any:
    image = image_from_array(whole, rgb=rgb)
    return apply_window(plane, resolve_window(image, parse_window(window)))


def heat(dock: HeatmapDock, axis: int = 0) -> Any:
    return dock.workspace.own("heatmap", axis)


def at_first_heatmap(dock: HeatmapDock, act: Callable[[], object]) -> None:
    """Do something once, when the first plane is there and the others are computed."""
    dock.workspace.show_plane(0, 0)
    done: list[bool] = []

    def once() -> None:
        if not done:
            done.append(True)
            act()

    dock.workspace.heatmaps_changed.connect(once)


def test_the_plane_shown_gets_the_heatmap_that_the_core_computes(
    ct: ViewerModel, dock: HeatmapDock, finish: Finish
) -> None:
    assert "Heatmap of lesion for axial slice 11" in dock.row.words.text()
    dock.run.click()
    finish(dock.row)
    data = ct.layers[0].data
    expected = core(windowed(data[11], data))
    assert expected.evidence
    np.testing.assert_allclose(heat(dock).data[11], expected.values, atol=1e-5)
    assert not np.delete(heat(dock).data, 11, axis=0).any()
    # The sample's file counts from the head, as napari's slider does.
    assert f"Slice 11: lesion {expected.probability:.2f}" in dock.found.text()
    note = dock.workspace.heatmaps.record(0, 11)
    assert note is not None
    assert note.target == "lesion"
    assert note.probabilities["lesion"] == pytest.approx(expected.probability, abs=1e-5)
    loaded = dock.workspace.classifier
    assert note.made_by == {
        "classifier": "lesion",
        "classifier_sha256": load_classifier("lesion", device="cpu").sha256,
        "target": "lesion",
        "method": "layer-cam",
        "layers": [loaded.default_layers[0]],
        "min_probability": 0.5,
        "window": asdict(parse_window("ct-abdomen")),
        "pixels": None,
        "region": None,
    }


def test_the_layer_lies_exactly_over_its_image(
    ct: ViewerModel, dock: HeatmapDock, finish: Finish
) -> None:
    slanted = np.eye(4)
    slanted[:3, :3] += np.random.default_rng(1).normal(0, 0.1, (3, 3))
    oblique = ct.add_image(
        ct.layers[0].data[8:14], scale=(5, 1, 1), translate=(3, 4, 5), affine=slanted, units="mm"
    )
    for image in (ct.layers[0], oblique):
        dock.workspace.choose_image(image)
        dock.choose("lesion", "lesion")
        for _ in range(2):
            dock.compute()
            finish(dock.row)
        layer = heat(dock)
        for point in np.random.default_rng(0).uniform(0, 20, (5, 3)):
            np.testing.assert_allclose(layer.data_to_world(point), image.data_to_world(point))
        assert layer.units == image.units
        # Saved, it has the header of the image's file.
        assert layer.metadata[KEY].get("image") is image.metadata.get(KEY, {}).get("image")
    # A second run fills the same layer.
    assert sum(x.metadata.get(KEY, {}).get("role") == "heatmap" for x in ct.layers) == 2


def test_all_planes_of_the_axis_in_view(ct: ViewerModel, dock: HeatmapDock, finish: Finish) -> None:
    ct.dims.order = (1, 0, 2)
    dock.planes.scope.set_value("all")
    assert "128 coronal slices" in dock.row.words.text()
    dock.run.click()
    assert dock.row.cancel.isVisibleTo(dock)
    assert not dock.run.isEnabled()
    finish(dock.row)
    assert dock.workspace.heatmaps.computed_planes(1) == list(range(128))
    assert heat(dock) is None
    data = ct.layers[0].data
    for index in (40, 64, 90):
        expected = core(windowed(data[:, index], data))
        np.testing.assert_allclose(heat(dock, 1).data[:, index], expected.values, atol=1e-4)
    assert dock.run.isEnabled()


def test_a_range_of_planes(dock: HeatmapDock, finish: Finish) -> None:
    dock.planes.scope.set_value("range")
    dock.planes.first.setValue(12)
    dock.planes.last.setValue(10)
    dock.compute()
    finish(dock.row)
    assert dock.workspace.heatmaps.computed_planes(0) == [10, 11, 12]


def test_cancel_keeps_what_is_done(dock: HeatmapDock, finish: Finish) -> None:
    dock.planes.scope.set_value("all")
    ended: list[bool] = []
    dock.computed.connect(ended.append)
    at_first_heatmap(dock, dock.row.cancel.click)
    dock.compute()
    finish(dock.row)
    assert ended == [False]
    assert dock.workspace.heatmaps.computed_planes(0) == [0]
    assert dock.run.isEnabled()


@pytest.mark.parametrize("what", ["image", "heatmap"])
def test_a_layer_that_goes_away_ends_the_work_quietly(
    ct: ViewerModel, dock: HeatmapDock, finish: Finish, notices: list[str], what: str
) -> None:
    dock.planes.scope.set_value("all")
    image = ct.layers[0]
    at_first_heatmap(dock, lambda: ct.layers.remove(image if what == "image" else heat(dock)))
    dock.compute()
    finish(dock.row)
    assert notices == []
    assert heat(dock) is None
    assert dock.workspace.heatmaps.computed_planes(0) == []
    if what == "image":
        assert "Open an image first" in dock.row.words.text()


def test_another_image_is_not_written_into(
    ct: ViewerModel, dock: HeatmapDock, finish: Finish, notices: list[str]
) -> None:
    first = ct.layers[0]
    other = ct.add_image(first.data.copy(), name="other")
    dock.planes.scope.set_value("all")
    at_first_heatmap(dock, lambda: dock.workspace.choose_image(other))
    dock.compute()
    finish(dock.row)
    assert notices == []
    assert heat(dock) is None
    dock.workspace.choose_image(first)
    assert dock.workspace.heatmaps.computed_planes(0) == [0]


def test_a_second_press_starts_nothing(
    dock: HeatmapDock, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*given: Any, **more: Any) -> Any:
        calls.append(given)
        return compute_heatmaps(*given, **more)

    monkeypatch.setattr(heatmaps, "compute_heatmaps", counted)
    dock.compute()
    dock.compute()
    dock.run.click()
    finish(dock.row)
    assert len(calls) == 1


def test_what_is_missing_is_said_and_nothing_can_be_pressed(qapp: Any) -> None:
    viewer = ViewerModel()
    dock = HeatmapDock(viewer)
    assert not dock.run.isEnabled()
    assert "Open an image" in dock.row.words.text()
    viewer.add_image(np.random.default_rng(0).random((4, 40, 40)))
    assert dock.row.words.text() == "No classifier? Go to step 2: draw a box."
    assert not dock.saving.button.isEnabled()
    assert dock.saving.button.toolTip() == "No heatmap along this axis yet: compute one first."
    # What only a classifier needs is not in the way to step 2.
    for_classifiers = (
        dock.classifier.target, dock.least, dock.method, dock.classifier.layer, dock.planes,
        dock.follow,
    )  # fmt: skip
    assert not any(one.isVisibleTo(dock) for one in for_classifiers)
    assert dock.classifier.device.isVisibleTo(dock)
    dock.choose("lesion")
    assert all(one.isVisibleTo(dock) for one in for_classifiers)
    assert dock.run.isEnabled()
    viewer.dims.ndisplay = 3
    workspace_of(viewer).plane_changed.emit()
    assert not dock.run.isEnabled()
    assert "switch to 2D" in dock.row.words.text()
    dock.compute()
    assert not dock.row.busy


@pytest.mark.parametrize("kind", ["series", "dask", "pyramid"])
def test_series_lazy_and_multiscale_volumes(qapp: Any, finish: Finish, kind: str) -> None:
    (data, _meta, _), _ = ct_sample()
    viewer = ViewerModel()
    if kind == "series":
        viewer.add_image(np.stack([data * 0, data]))
        viewer.dims.set_point(range(2), (1, 11))
    elif kind == "dask":
        viewer.add_image(da.from_array(data, chunks=(1, 128, 128)))
    else:
        viewer.add_image([data, data[:, ::2, ::2]], multiscale=True)
    workspace = workspace_of(viewer)
    workspace.choose_window(parse_window("ct-abdomen"))
    workspace.show_plane(0, 11)
    dock = HeatmapDock(viewer)
    dock.choose("lesion", "lesion")
    dock.compute()
    finish(dock.row)
    assert heat(dock).data.shape == data.shape
    expected = core(windowed(data[11], data))
    np.testing.assert_allclose(heat(dock).data[11], expected.values, atol=1e-5)
    if kind == "series":
        viewer.dims.set_point(0, 0)
        assert heat(dock) is None


@pytest.mark.parametrize("alpha", [False, True], ids=["RGB", "RGBA"])
def test_colour_pictures(qapp: Any, finish: Finish, alpha: bool) -> None:
    (data, meta, _), _ = shapes_sample()
    clear = np.random.default_rng(0).integers(0, 256, (128, 128, 1), dtype=np.uint8)
    viewer = ViewerModel()
    viewer.add_image(np.concatenate([data, clear], axis=-1) if alpha else data, **meta)
    dock = HeatmapDock(viewer)
    target = workspace_of(viewer).suggestion("target")
    dock.compute()
    finish(dock.row)
    expected = core(windowed(data, data, "auto", rgb=True), "shapes", target)
    assert heat(dock).data.shape == (128, 128)
    np.testing.assert_allclose(heat(dock).data, expected.values, atol=1e-5)


def test_following_computes_the_newest_plane_and_again_for_another_class(
    dock: HeatmapDock, finish: Finish, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = dock.workspace
    entered, opened = threading.Event(), threading.Event()

    def held(*given: Any, **more: Any) -> Any:
        entered.set()
        assert opened.wait(60)
        return compute_heatmaps(*given, **more)

    monkeypatch.setattr(heatmaps, "compute_heatmaps", held)
    try:
        dock.follow.setChecked(True)
        qtbot.waitUntil(entered.is_set, timeout=60_000)
        for index in (5, 6, 7):
            workspace.show_plane(0, index)
    finally:
        opened.set()
    qtbot.waitUntil(lambda: workspace.heatmaps.record(0, 7) is not None, timeout=60_000)
    assert set(workspace.heatmaps.computed_planes(0)) <= {7, 11}
    finish(dock.row)
    first = heat(dock).data[7].copy()
    assert workspace.heatmaps.record(0, 7).target == "lesion"
    others = [name for name in workspace.classifier.card.class_names if name != "lesion"]
    dock.classifier.target.set_value(others[0])
    dock.classifier.target.chosen.emit()
    qtbot.waitUntil(lambda: workspace.heatmaps.record(0, 7).target == others[0], timeout=60_000)
    finish(dock.row)
    assert not np.array_equal(heat(dock).data[7], first)


def listed(dock: HeatmapDock) -> list[str]:
    target = dock.classifier.target
    return [target.itemText(i) for i in range(target.count())]


def test_each_class_is_listed_with_its_probability_on_the_plane_shown(
    dock: HeatmapDock, finish: Finish
) -> None:
    workspace, target = dock.workspace, dock.classifier.target
    dock.load()
    finish(dock.row)
    assert listed(dock) == ["the predicted class", "normal", "lesion"]
    chosen: list[bool] = []
    target.currentIndexChanged.connect(lambda _: chosen.append(True))
    dock.planes.scope.set_value("range")
    dock.planes.first.setValue(10)
    dock.planes.last.setValue(11)
    dock.compute()
    finish(dock.row)
    for index in (11, 10):
        workspace.show_plane(0, index)
        workspace.shown.look_at_plane()
        likely = workspace.heatmaps.record(0, index).probabilities
        texts = [f"{name} ({likely[name]:.2f})" for name in ("normal", "lesion")]
        assert listed(dock) == ["the predicted class", *texts]
    # The choice stays, and is no other one.
    assert target.value() == "lesion"
    assert chosen == []
    workspace.show_plane(0, 3)
    workspace.shown.look_at_plane()
    assert listed(dock) == ["the predicted class", "normal", "lesion"]
    workspace.show_plane(0, 11)
    workspace.shown.look_at_plane()
    # What another classifier found is not said of the classes of this one.
    dock.choose("shapes")
    dock.load()
    finish(dock.row)
    assert not any("(" in text for text in listed(dock))


def test_the_highest_probability_of_a_network_is_no_more_than_that(
    dock: HeatmapDock, finish: Finish
) -> None:
    dock.choose("phantom-unet")
    dock.load()
    finish(dock.row)
    dock.compute()
    finish(dock.row)
    assert all(" (up to 0." in text or " (up to 1." in text for text in listed(dock)[1:])


def test_a_heatmap_of_another_class_than_the_one_chosen_is_named(
    dock: HeatmapDock, finish: Finish
) -> None:
    dock.compute()
    finish(dock.row)
    assert "chosen" not in dock.found.text()
    other = "The heatmap is of the class lesion, but normal is chosen"
    target = dock.classifier.target
    for name, there in (("normal", True), ("lesion", False)):
        target.set_value(name)
        target.chosen.emit()
        assert (other in dock.found.text()) == there
    # The same for what is computed after another class was chosen.

    def choose() -> None:
        target.set_value("normal")
        target.chosen.emit()

    dock.planes.scope.set_value("all")
    at_first_heatmap(dock, choose)
    dock.compute()
    finish(dock.row)
    dock.workspace.show_plane(0, 11)
    dock.workspace.shown.look_at_plane()
    assert {dock.workspace.heatmaps.record(0, i).target for i in range(24)} == {"lesion"}
    assert other in dock.found.text()
    assert "Heatmap of normal for all 24 axial slices" in dock.row.words.text()
    dock.least.set_value(0)
    dock.compute()
    finish(dock.row)
    assert {dock.workspace.heatmaps.record(0, i).target for i in range(24)} == {"normal"}
    assert "chosen" not in dock.found.text()


def test_a_plane_without_evidence_says_so_and_stays_clear(
    dock: HeatmapDock, finish: Finish
) -> None:
    dock.workspace.show_plane(0, 0)
    dock.compute()
    finish(dock.row)
    note = dock.workspace.heatmaps.record(0, 0)
    assert note is not None
    assert note.probabilities["lesion"] < 0.5
    assert note.reason is not None
    assert f"No evidence: {note.reason}" in dock.found.text()
    assert "lower Min. probability and compute again" in dock.found.text()
    assert not heat(dock).data.any()
    # Once it is lowered, that is past: what is left to do is said.
    dock.least.set_value(0)
    assert "No evidence" not in dock.found.text()
    assert "it is 0.00 now: compute the heatmap again" in dock.found.text()
    # It adds nothing to what lies below, and takes nothing away.
    assert heat(dock).colormap.map(np.zeros(1))[0, 3] == 0


def test_a_checkpoint_that_is_refused_is_not_chosen_any_more(
    dock: HeatmapDock, finish: Finish, notices: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "notes.pth"
    path.write_text("no weights, only words")
    dock.choose(str(path))
    dock.load()
    finish(dock.row)
    assert any("notes.pth" in notice for notice in notices)
    assert dock.classifier.name.value() is None
    assert not dock.run.isEnabled()
    dock.choose("lesion", "lesion")
    dock.compute()
    finish(dock.row)
    assert dock.workspace.heatmaps.record(0, 11) is not None


def test_a_checkpoint_that_is_refused_leaves_the_one_that_is_loaded(
    dock: HeatmapDock, finish: Finish, notices: list[str], tmp_path: Path
) -> None:
    dock.load()
    finish(dock.row)
    path = tmp_path / "notes.pth"
    path.write_text("no weights, only words")
    dock.choose(str(path), "words")
    dock.load()
    finish(dock.row)
    assert any("notes.pth" in notice for notice in notices)
    assert dock.classifier.name.value() == "lesion"
    assert dock.classifier.target.value() == "lesion"


def test_the_class_of_another_classifier_is_not_asked_of_this_one(
    ct: ViewerModel, dock: HeatmapDock, finish: Finish, notices: list[str]
) -> None:
    dock.load()
    finish(dock.row)
    (data, meta, _), _ = shapes_sample()
    ct.add_image(data, **meta)
    dock.workspace.choose_image(ct.layers[-1])
    # The dock is folded: the classifier that suits the image is loaded when it is needed.
    assert dock.classifier.loaded() is None
    wanted = dock.workspace.suggestion("target")
    assert wanted not in (None, "lesion")
    assert f"Heatmap of {wanted} for" in dock.row.words.text()
    dock.compute()
    finish(dock.row)
    assert notices == []
    assert dock.workspace.heatmaps.record(0, 0).target == wanted


def test_layer_and_class_of_a_session_are_taken_once_the_classifier_is_there(
    dock: HeatmapDock, finish: Finish
) -> None:
    state = dock.state() | {"layer": "stage2", "target": "normal"}
    dock.set_state(state)
    dock.least.set_value(0)
    dock.compute()
    finish(dock.row)
    made_by = dock.workspace.heatmaps.record(0, 11).made_by
    assert (made_by["layers"], made_by["target"]) == (["stage2"], "normal")
    assert dock.classifier.layer.value() == "stage2"
    # Loaded again, as for another device, what the user chose since then stays.
    dock.classifier.layer.set_value("stage3")
    dock.workspace.classifier_changed.emit()
    assert dock.classifier.layer.value() == "stage3"
    assert dock.classifier.target.value() == "normal"


def test_scrolling_while_the_classifier_loads_does_not_stop_that(
    dock: HeatmapDock, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, opened = threading.Event(), threading.Event()
    load = heatmap_run.load

    def held(*given: Any, **more: Any) -> Any:
        entered.set()
        assert opened.wait(60)
        return load(*given)

    monkeypatch.setattr(heatmap_run, "load", held)
    try:
        dock.follow.setChecked(True)
        qtbot.waitUntil(entered.is_set, timeout=60_000)
        dock.workspace.show_plane(0, 7)
        with qtbot.waitSignal(dock.workspace.plane_changed):
            pass
        dock._follower.look()
    finally:
        opened.set()
    qtbot.waitUntil(lambda: dock.workspace.heatmaps.record(0, 7) is not None, timeout=60_000)
    assert dock.classifier.name.value() == "lesion"


def test_the_slider_is_named_only_where_it_counts_otherwise(qapp: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((6, 8, 9)), affine=np.diag([-3.0, 1, 1, 1]))
    workspace = workspace_of(viewer)
    workspace.show_plane(0, 1)
    assert viewer.dims.current_step[0] == 4
    assert slider_label(workspace.shown) == " (the slider shows 4)"
    assert [slider_number(workspace.shown, i) for i in range(6)] == [5, 4, 3, 2, 1, 0]
    workspace.show_plane(1, 3)
    assert slider_label(workspace.shown) == ""
    # Two grids: the slider's steps are those of neither.
    workspace.show_plane(0, 1)
    viewer.add_image(np.zeros((60, 8, 9)), scale=(0.3, 1, 1))
    assert slider_label(workspace.shown) == ""
    workspace.choose_image(viewer.add_image(np.zeros((8, 9))))
    assert slider_label(workspace.shown) == ""


def test_another_choice_while_planes_are_computed_leaves_these_as_they_are(
    dock: HeatmapDock, finish: Finish, notices: list[str]
) -> None:
    def choose_none() -> None:
        dock.classifier.name.set_value(None)
        dock.classifier.name.chosen.emit()

    dock.planes.scope.set_value("all")
    at_first_heatmap(dock, choose_none)
    dock.compute()
    finish(dock.row)
    assert notices == []
    assert dock.workspace.heatmaps.computed_planes(0) == list(range(24))
    assert dock.workspace.classifier is None
    note = dock.workspace.heatmaps.record(0, 11)
    assert note is not None
    assert set(note.probabilities) == {"lesion", "normal"}


def test_occlusion_has_a_form_of_its_own(
    ct: ViewerModel, dock: HeatmapDock, finish: Finish
) -> None:
    assert dock.occlusion.isHidden()
    assert dock.classifier.layer.isEnabled()
    dock.method.set_value("occlusion")
    dock.method.chosen.emit()
    assert not dock.occlusion.isHidden()
    assert not dock.classifier.layer.isEnabled()
    dock.occlusion.widget("patch").setValue(32)
    dock.occlusion.widget("stride").setValue(33)
    assert "no pixel is left out" in dock.row.words.text()
    assert not dock.run.isEnabled()
    assert dock.state()["occlusion"]["stride"] == 8
    chosen = OcclusionParameters(32, 32, 0)
    dock.occlusion.set_value(chosen)
    dock.run.click()
    finish(dock.row)
    data = ct.layers[0].data
    parameters = CamParameters("occlusion", target="lesion", occlusion=chosen)
    plane = windowed(data[11], data)
    (expected,) = compute_heatmaps(load_classifier("lesion", device="cpu"), [plane], parameters)
    assert expected.evidence
    np.testing.assert_allclose(heat(dock).data[11], expected.values, atol=1e-5)
    note = dock.workspace.heatmaps.record(0, 11)
    assert note is not None
    assert note.made_by["occlusion"] == asdict(chosen)
    state = dock.state()
    dock.occlusion.set_value(OcclusionParameters())
    dock.set_state(state)
    assert dock.occlusion.value() == chosen


def test_a_method_of_many_passes_is_cancelled_within_a_plane(
    dock: HeatmapDock, finish: Finish, qtbot: Any
) -> None:
    dock.run.click()
    finish(dock.row)
    dock.method.set_value("occlusion")
    dock.occlusion.set_value(OcclusionParameters(2, 2))
    passes: list[int] = []
    handle = dock.workspace.classifier.module.register_forward_hook(lambda *_: passes.append(1))
    dock.run.click()
    qtbot.waitUntil(lambda: len(passes) > 2, timeout=60_000)
    dock.row.stop()
    finish(dock.row)
    handle.remove()
    assert len(passes) < 4096 / 16


def test_a_classifier_that_is_another_one_since_the_session_is_told(
    dock: HeatmapDock, finish: Finish, notices: list[str]
) -> None:
    dock.load()
    finish(dock.row)
    state = dock.state()
    assert state["classifier_sha256"] == dock.workspace.classifier.sha256
    dock.set_state(state)
    assert notices == []
    dock.set_state(state | {"classifier_sha256": "0" * 64})
    assert len(notices) == 1
    assert "lesion has changed since the session was saved" in notices[0]
    # The same where it is loaded only then; until then the session keeps what it knows.
    other = state | {"classifier": "phantom-unet", "classifier_sha256": "0" * 64}
    dock.set_state(other)
    assert dock.state()["classifier_sha256"] == "0" * 64
    dock.load()
    finish(dock.row)
    assert [one.split()[0] for one in notices] == ["lesion", "phantom-unet"]


@pytest.mark.parametrize(("device", "taken"), [("cuda:1", "cuda:1"), ("cuda:7", "auto")])
def test_the_device_of_a_session_is_kept_until_the_devices_are_known(
    dock: HeatmapDock, finish: Finish, notices: list[str], monkeypatch: pytest.MonkeyPatch,
    device: str, taken: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", "GPU {}".format)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    dock.set_state(dock.state() | {"device": device, "classifier": "lesion"})
    assert dock.state()["device"] == device
    dock.load()
    finish(dock.row)
    assert (
        dock.workspace.device == dock.classifier.device.value() == dock.state()["device"] == taken
    )
    told = [one for one in notices if device in one]
    assert len(told) == (taken != device)
    assert all(one.endswith("is not available: models run on auto.") for one in told)


def test_the_device_of_a_session_is_taken_if_it_is_there(dock: HeatmapDock) -> None:
    state = dock.state()
    assert state["device"] == "auto"
    for device, taken in (("cpu", "cpu"), ("cuda:7", "cpu")):
        dock.set_state(state | {"device": device})
        assert dock.workspace.device == dock.classifier.device.value() == taken
