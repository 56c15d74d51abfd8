"""What tests of the docks share: a viewer, waiting for work, and autosaves out of the way."""

from __future__ import annotations

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
from qtpy.QtCore import QThreadPool, QTimer
from superqt.utils import WorkerBase

from napari_cam_sam.plugin.session import manager
from napari_cam_sam.plugin.session.recovery import FOLDER_VARIABLE
from napari_cam_sam.plugin.state.preferences import Preferences
from napari_cam_sam.plugin.viewer.attach import _WORKSPACES, ViewerWorkspace, workspace_of
from napari_cam_sam.sam.registry import CACHE_VARIABLE
from napari_cam_sam.sam.segmenter import Cancelled, Embedding, MaskCandidates

TIMEOUT = 120_000


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
    # A viewer that is closed may not be collected yet: its timers must not save into the next test.
    for one in list(_WORKSPACES.values()):
        for timer in one.findChildren(QTimer):
            timer.stop()
    QThreadPool.globalInstance().waitForDone(TIMEOUT)
    WorkerBase.await_workers(TIMEOUT)


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

    After each move comes what is given as ``rest``.
    """

    def drag(layer: Any, *way: tuple[float, ...], rest: Callable[[], None] = lambda: None) -> None:
        event = SimpleNamespace(
            modifiers=(), view_direction=None, up_direction=None, dims_displayed=[1, 2], button=1,
            is_dragging=False, handled=False,
        )  # fmt: skip

        def go(callbacks: Callable[[Any, Any], None], kind: str, place: tuple[float, ...]) -> None:
            event.type, event.pos = kind, 50 * np.array(place[-2:])
            event.position = event.dims_point = layer.data_to_world(place)
            callbacks(layer, event)

        go(mouse_press_callbacks, "mouse_press", way[0])
        for place in way[1:]:
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
