"""The trust page of the scores dock: the core's figures, never in the way."""

from __future__ import annotations

import csv
import io
import runpy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.colormaps.standardize_color import transform_color
from napari.utils.theme import get_theme
from qtpy.QtGui import QGuiApplication

from napari_cam_sam.cam import trust
from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.cam.parameters import TrustParameters, count_steps
from napari_cam_sam.cam.trust import assess_trust
from napari_cam_sam.cam.trust_words import CAVEAT, findings, table
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.plugin.heatmap.heatmap_dock import HeatmapDock
from napari_cam_sam.plugin.io.sample_data import ct_sample
from napari_cam_sam.plugin.scores import trust_page
from napari_cam_sam.plugin.scores.scores_dock import ScoresDock
from napari_cam_sam.plugin.viewer.attach import workspace_of

Finish = Callable[[Any], None]
QUICK = TrustParameters(stages=2, draws=1, methods=("hires-cam",), removed=(20, 50))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_page, "TrustParameters", lambda: QUICK)


@pytest.fixture
def viewer(qapp: Any) -> ViewerModel:
    """A viewer without a window with the CT sample, at plane 11."""
    viewer = ViewerModel()
    (data, meta, _), _ = ct_sample()
    viewer.add_image(data, **meta)
    workspace_of(viewer).show_plane(0, 11)
    return viewer


@pytest.fixture
def heatmaps(viewer: ViewerModel, finish: Finish) -> HeatmapDock:
    """The heatmap dock, with an Eigen-CAM of the plane shown."""
    dock = HeatmapDock(viewer)
    dock.method.set_value("eigen-cam")
    dock.run.click()
    finish(dock.row)
    return dock


@pytest.fixture
def dock(heatmaps: HeatmapDock, viewer: ViewerModel, finish: Finish) -> Iterator[ScoresDock]:
    widget = ScoresDock(viewer)
    widget.tabs.setCurrentWidget(widget.trust)
    yield widget
    widget.trust.row.stop()
    finish(widget.trust.row)


def expected(viewer: ViewerModel) -> trust.HeatmapTrust:
    """What the library finds for the same heatmap."""
    data = viewer.layers[0].data
    from napari_cam_sam.images.image import image_from_array

    window = resolve_window(image_from_array(data), parse_window("ct-abdomen"))
    cam = CamParameters("eigen-cam", target="lesion", min_probability=0.5)
    plane = apply_window(data[11], window)
    return assess_trust(load_classifier("lesion", device="cpu"), plane, cam, QUICK)


def test_figures_and_words_are_the_cores(
    viewer: ViewerModel, dock: ScoresDock, finish: Finish, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    page = dock.trust
    assert "eigen-cam of lesion, slice 11" in page.row.words.text()
    assert not dock.save.isEnabled()
    weights = [p.clone() for p in page._workspace.classifier.module.parameters()]
    page.button.click()
    assert not page.button.isEnabled()
    finish(page.row)
    core = expected(viewer)
    for row, known in zip(page.rows(), table(core), strict=True):
        assert (row.test, row.name) == (known.test, known.name)
        for name in ("top_iou", "ssim", "rank", "road"):
            assert getattr(row, name) == pytest.approx(getattr(known, name), abs=1e-3, nan_ok=True)
    assert page.table.rowCount() == len(table(core))
    assert [page.table.item(at, 1).text() for at in range(2)] == ["1.000", "0.011"]
    for one in findings(core):
        assert one.words.replace("'", "&#x27;") in page.words.text()
    assert CAVEAT in page.words.text()
    assert page.button.isEnabled()
    after = page._workspace.classifier.module.parameters()
    assert all(np.array_equal(a.detach(), b.detach()) for a, b in zip(weights, after, strict=True))

    dock.copy.click()
    copied = QGuiApplication.clipboard().text().splitlines()
    assert copied[0].split("\t")[:4] == ["test", "name", "top_iou", "ssim"]
    path = tmp_path / "trust.csv"
    monkeypatch.setattr(
        "napari_cam_sam.plugin.qt.saving.QFileDialog.getSaveFileName",
        lambda *_: (str(path), ""),
    )
    dock.save.click()
    finish(dock.saving.row)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert len(rows) == len(copied) - 1 == len(table(core))
    assert rows[0]["plane"] == "11"
    assert rows[0]["method"] == "eigen-cam"
    assert float(rows[0]["top_iou"]) == 1
    assert "hardly changes" in rows[0]["words"]
    assert float(rows[3]["road"]) == pytest.approx(core.road.score)  # type: ignore[union-attr]


def test_what_is_missing_is_said(viewer: ViewerModel, dock: ScoresDock) -> None:
    page, workspace = dock.trust, dock.workspace
    workspace.show_plane(0, 3)
    workspace.shown.look_at_plane()
    assert not page.button.isEnabled()
    assert "Compute the heatmap of this slice first" in page.row.words.text()
    workspace.show_plane(0, 11)
    workspace.shown.look_at_plane()
    assert page.button.isEnabled()
    workspace.classifier = load_classifier("shapes", device="cpu")
    workspace.classifier_changed.emit()
    assert not page.button.isEnabled()
    assert "The heatmap was made by lesion" in page.row.words.text()
    viewer.layers.remove(viewer.layers[0])
    assert "Open an image" in page.row.words.text()
    page.start()
    assert not page.row.busy


def held_steps(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Hold the tests after the model was random, until told."""
    begun, go_on = threading.Event(), threading.Event()
    steps = trust.trust_steps

    def held(*given: Any, **options: Any) -> Iterator[trust.HeatmapTrust]:
        for done, one in enumerate(steps(*given, **options)):
            yield one
            if done == 2:
                begun.set()
                assert go_on.wait(60)

    monkeypatch.setattr(trust, "trust_steps", held)
    return begun, go_on


def test_cancelled_it_keeps_what_is_done(
    dock: ScoresDock, finish: Finish, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = held_steps(monkeypatch)
    page = dock.trust
    page.button.click()
    qtbot.waitUntil(lambda: begun.is_set() and len(page.rows()) == 2, timeout=60_000)
    page.row.cancel.click()
    go_on.set()
    finish(page.row)
    assert len(page.rows()) == 2
    assert "Stopped" in page.words.text()
    assert page.button.isEnabled()


def test_another_image_ends_it(
    viewer: ViewerModel, dock: ScoresDock, finish: Finish, qtbot: Any,
    monkeypatch: pytest.MonkeyPatch, notices: list[str],
) -> None:  # fmt: skip
    begun, go_on = held_steps(monkeypatch)
    page = dock.trust
    page.button.click()
    qtbot.waitUntil(begun.is_set, timeout=60_000)
    other = viewer.add_image(np.zeros((20, 20), np.uint8), name="other")
    dock.workspace.choose_image(other)
    go_on.set()
    finish(page.row)
    assert page.rows() == []
    assert page.words.text() == ""
    assert notices == []


def test_as_many_steps_as_the_bar_counts(dock: ScoresDock, finish: Finish) -> None:
    page = dock.trust
    page.button.click()
    total = page.row.bar.maximum()
    finish(page.row)
    assert total == count_steps("eigen-cam", QUICK) == 7


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("level", ["good", "mixed", "bad"])
def test_signs_are_seen_in_both_themes(theme: str, level: str) -> None:
    contrast = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "contrast.py"))
    _, colour = trust_page._SIGNS[level]
    light = [
        contrast["luminance"](transform_color(one)[0][:3])
        for one in (colour, get_theme(theme).background.as_hex())
    ]
    assert contrast["ratio"](*light) >= contrast["LEAST"]
