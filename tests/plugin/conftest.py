"""What tests of the docks share: a viewer, waiting for work, and autosaves out of the way."""

from __future__ import annotations

import gc
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QCoreApplication, QEvent, QThreadPool, QTimer
from qtpy.QtWidgets import QApplication
from superqt.utils import WorkerBase

from napari_cam_sam.plugin.session import manager
from napari_cam_sam.plugin.session.recovery import FOLDER_VARIABLE
from napari_cam_sam.plugin.state.preferences import Preferences
from napari_cam_sam.plugin.viewer.attach import _WORKSPACES, ViewerWorkspace, workspace_of
from napari_cam_sam.sam.registry import CACHE_VARIABLE
from napari_cam_sam.sam.segmenter import Cancelled, Embedding, MaskCandidates

TIMEOUT = 120_000


class Gate:
    """Hold the calls of a function until it is opened, and count them.

    Attributes
    ----------
    calls : int
        How often it was asked.
    entered : threading.Event
        Set by the first call.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.calls, self.entered = 0, threading.Event()
        self._changed, self._open = threading.Condition(), 0.0
        inner = getattr(owner, name)

        def held(*given: Any, **named: Any) -> Any:
            with self._changed:
                self.calls += 1
                self.entered.set()
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self._open > 0, timeout=60)
                self._open -= 1
            return inner(*given, **named)

        monkeypatch.setattr(owner, name, held)

    def open(self, calls: float = math.inf) -> None:
        """Let some more calls through, or all."""
        with self._changed:
            self._open += calls
            self._changed.notify_all()

    def shut(self) -> None:
        """Hold the calls from now on, and notice the next one as the first."""
        with self._changed:
            self._open = 0
            self.entered.clear()

    def wait(self, calls: int) -> None:
        """Wait until it was asked so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.calls >= calls, timeout=60)


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any, str], Gate]]:
    """Hold a function of a module or class by name; all are opened in the end."""
    made: list[Gate] = []

    def make(owner: Any, name: str) -> Gate:
        made.append(Gate(monkeypatch, owner, name))
        return made[-1]

    yield make
    for one in made:
        one.open()


@pytest.fixture(autouse=True)
def _no_widget_is_left() -> Iterator[None]:
    """Delete docks that a test made without a window, and fail where another widget is left.

    Qt keeps a widget without a parent until it is deleted: what its signals call holds it.
    """
    before = set(_windows())
    yield
    docks = [one for one in _windows() if type(one).__module__.startswith("napari_cam_sam")]
    for one in docks:
        one.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    if set(_windows()) - before:
        gc.collect()
    left = [one for one in _windows() if one not in before]
    assert not left, f"left behind: {left}"


def _windows() -> list[Any]:
    return QApplication.topLevelWidgets() if QApplication.instance() else []


@pytest.fixture(autouse=True)
def autosaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep autosaves and embeddings in folders of the test, and leave no thread behind.

    Autosaves are switched off.
    """
    folder = tmp_path / "autosaves"
    off = Preferences(autosave=False, autosave_seconds=0)
    monkeypatch.setattr(manager, "preferences", lambda: off)
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    yield folder
    QThreadPool.globalInstance().waitForDone(TIMEOUT)
    WorkerBase.await_workers(TIMEOUT)
    # A viewer that is closed may not be collected yet. What its threads told is heard now, and its
    # timers are stopped then: neither must save into the next test.
    QCoreApplication.sendPostedEvents(None, QEvent.Type.MetaCall)
    for one in list(_WORKSPACES.values()):
        for timer in one.findChildren(QTimer):
            timer.stop()
    QThreadPool.globalInstance().waitForDone(TIMEOUT)


@pytest.fixture
def viewer(make_napari_viewer_proxy: Any) -> Any:
    return make_napari_viewer_proxy()


@pytest.fixture
def finish(qtbot: Any) -> Callable[[Any], None]:
    """Wait until a row of a dock has no task any more."""

    def wait(row: Any) -> None:
        qtbot.waitUntil(lambda: not row.busy, timeout=TIMEOUT)

    return wait


@pytest.fixture
def notices() -> Iterator[list[str]]:
    """Collect what napari would show as notifications."""
    seen: list[str] = []

    def keep(notification: Any) -> None:
        seen.append(str(notification.message))

    notification_manager.notification_ready.connect(keep)
    yield seen
    notification_manager.notification_ready.disconnect(keep)


@pytest.fixture
def model(qapp: Any) -> ViewerModel:
    """Give a viewer without a window, with a small volume."""
    viewer = ViewerModel()
    pixels = np.random.default_rng(0).random((6, 20, 24))
    # Flipped, moved and of three spacings: a prompt that lies elsewhere shows at once.
    turned = np.array([[-1, 0, 0, 5], [0, 1, 0, -7], [0, 0, -1, 20], [0, 0, 0, 1.0]])
    viewer.add_image(pixels, scale=(3, 1, 0.5), affine=turned, units="mm", name="scan")
    workspace_of(viewer).show_plane(0, 2)
    return viewer


@pytest.fixture
def workspace(model: ViewerModel) -> ViewerWorkspace:
    return workspace_of(model)


@pytest.fixture
def drag() -> Callable[..., None]:
    """Press the mouse at the first position in a layer, move along the others, release.

    After each move comes what is given as ``rest``. Moves that are not ``told`` are those that the
    system leaves out while the window is at work.
    """

    def drag(
        layer: Any,
        *way: tuple[float, ...],
        rest: Callable[[], None] = lambda: None,
        told: int | None = None,
    ) -> None:
        event = SimpleNamespace(
            modifiers=(), view_direction=None, up_direction=None, dims_displayed=[1, 2], button=1,
            is_dragging=False, handled=False,
        )  # fmt: skip

        def go(callbacks: Callable[[Any, Any], None], kind: str, place: tuple[float, ...]) -> None:
            event.type, event.pos = kind, 50 * np.array(place[-2:])
            event.position = event.dims_point = layer.data_to_world(place)
            callbacks(layer, event)

        go(mouse_press_callbacks, "mouse_press", way[0])
        for place in way[1:][:told]:
            go(mouse_move_callbacks, "mouse_move", place)
            rest()
        go(mouse_release_callbacks, "mouse_release", way[-1])

    return drag


class Endless:
    """A segmenter that encodes until it is told to stop."""

    name, device, precision, model_hash = "endless", "cpu", "float32", "0" * 64

    def __init__(self) -> None:
        self.begun = threading.Event()

    def encode_many(
        self, planes: Iterable[Any], *, cancelled: Callable[[], bool] | None = None
    ) -> Iterator[Embedding]:
        assert cancelled is not None
        self.begun.set()
        while not cancelled():
            time.sleep(0.001)
        raise Cancelled
        yield

    def encode(self, plane: Any) -> Embedding:
        return next(self.encode_many([plane]))

    def decode(self, *_: Any, **__: Any) -> list[MaskCandidates]:
        raise AssertionError

    def decode_points(self, *_: Any) -> Any:
        raise AssertionError


@pytest.fixture
def endless() -> Endless:
    return Endless()
