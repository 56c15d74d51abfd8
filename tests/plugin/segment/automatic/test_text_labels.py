"""Names for the masks of a plane: shown, filtered by, and refused in words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel

from napari_cam_sam.plugin.segment.automatic import text_labels
from napari_cam_sam.plugin.segment.automatic.automatic_panel import AutomaticPanel
from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
from napari_cam_sam.sam.everything import text_labels as naming
from napari_cam_sam.sam.everything.parameters import AutomaticParameters
from napari_cam_sam.sam.everything.text_labels import (
    NAMING_CAUTION,
    NamingParameters,
    masks_named,
    name_masks,
)

Finish = Callable[[Any], None]


class Brightness:
    """Stands for a CLIP: texts with "bright" are the brightness of a crop, others its lack."""

    def embed_texts(self, texts: list[str]) -> Any:
        return torch.tensor([[1.0, 0.0] if "bright" in text else [0.0, 1.0] for text in texts])

    def embed_images(self, images: list[Any]) -> Any:
        means = torch.tensor([float(image.mean()) / 255 for image in images])
        return torch.stack([means, 1 - means], dim=1)

    def probabilities(self, images: Any, classes: Any) -> Any:
        return (5 * images @ classes.T).softmax(dim=1).numpy()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Make as if open_clip were there; give what was loaded."""
    asked: list[tuple[Any, ...]] = []

    def load(*of: Any) -> Brightness:
        asked.append(of)
        return Brightness()

    monkeypatch.setattr(naming, "load_text_model", load)
    monkeypatch.setattr(text_labels, "can_name", lambda: True)
    return asked


@pytest.fixture
def dock(qapp: Any, finish: Finish) -> Iterator[SegmentDock]:
    pixels = np.random.default_rng(0).normal(40, 4, (32, 48)).astype(np.float32)
    pixels[6:16, 7:18] += 60
    pixels[18:28, 28:42] -= 30
    viewer = ViewerModel()
    viewer.add_image(pixels, name="plane")
    made = SegmentDock(viewer)
    made.segmenter.choose("compact-sam")
    panel(made).search.set_value(
        AutomaticParameters(points_per_side=6, predicted_iou=0.3, stability=0.3, box_overlap=0.9)
    )
    yield made
    made.stop()
    finish(made.automatic.row)


def panel(dock: SegmentDock) -> AutomaticPanel:
    return dock.automatic


def names(dock: SegmentDock) -> list[str]:
    table = panel(dock).list.table
    return [table.item(row, 0).text() for row in range(table.rowCount())]


def ask(dock: SegmentDock, texts: str, model: str = "ViT-B-32", weights: str = "a.pt") -> None:
    row = panel(dock).naming
    row.classes.setText(texts)
    row.model.setText(model)
    row.weights.setText(weights)
    row.name.click()


def test_masks_are_named_and_listed_by_a_text(
    loads: list[Any], dock: SegmentDock, finish: Finish
) -> None:
    one = panel(dock)
    assert not one.naming.name.isEnabled()
    assert one.naming.reason.text() == "Find the masks of this slice first."
    assert NAMING_CAUTION in one.naming.name.toolTip()
    one.find.click()
    finish(dock.automatic.row)
    found = one.searched(0, 0).found
    assert found is not None
    assert len(found.masks) > 1
    assert one.naming.name.isEnabled()
    assert names(dock) == [""] * len(found.masks)
    ask(dock, " a bright thing, a dark thing ,")
    finish(dock.automatic.row)
    assert loads == [("ViT-B-32", "a.pt", "auto")]

    texts = NamingParameters(("a bright thing", "a dark thing"))
    plane = dock.workspace.snapshot().plane(0)
    expected = name_masks(Brightness(), plane, found.arrays(), texts)  # type: ignore[arg-type]
    assert expected[:, 0].max() > 0.5 > expected[:, 0].min()
    best = [(texts.classes[int(row.argmax())], row.max()) for row in expected]
    assert names(dock) == [f"{text} {probability:.2f}" for text, probability in best]
    assert "hint" in dock.automatic.row.words.text()

    assert one.naming.text.set_value("a dark thing")
    one.naming.text.chosen.emit()
    one.naming.threshold.set_value(0.5)
    kept = sorted(masks_named(expected, texts, "a dark thing", 0.5))
    assert 0 < len(kept) < len(found.masks)
    assert names(dock) == [f"a dark thing {expected[i, 1]:.2f}" for i in kept]
    # The arrows step through what is listed alone.
    one.list.before.click()
    shown = dock.workspace.own("preview").data
    np.testing.assert_array_equal(shown > 0, found.arrays([kept[-1]])[0])
    one.naming.threshold.set_value(1.0)
    assert names(dock) == []
    assert not one.list.before.isEnabled()

    # The model is loaded once, however often masks are named; another model is loaded.
    ask(dock, "bright, dark, gray")
    finish(dock.automatic.row)
    assert len(loads) == 1
    assert one.naming.text.value() is None
    assert len(names(dock)) == len(found.masks)
    ask(dock, "bright, dark", "hf-hub:someone/model", "")
    finish(dock.automatic.row)
    assert loads[1:] == [("hf-hub:someone/model", None, "auto")]
    # Names go with the masks that bear them.
    one.find.click()
    finish(dock.automatic.row)
    assert set(names(dock)) == {""}


@pytest.mark.parametrize(
    ("texts", "model", "words"),
    [
        ("a lesion", "ViT-B-32", "two or more different texts"),
        ("a lesion, a lesion", "ViT-B-32", "two or more different texts"),
        ("a lesion, tissue", " ", "No model"),
    ],
)
def test_what_cannot_be_named_is_refused_in_words(
    dock: SegmentDock, finish: Finish, loads: list[Any], texts: str, model: str, words: str
) -> None:
    panel(dock).find.click()
    finish(dock.automatic.row)
    ask(dock, texts, model)
    assert words in panel(dock).naming.reason.text()
    panel(dock).naming.sentence.setText("no place for it")
    ask(dock, "a lesion, tissue")
    assert "A template needs one {}" in panel(dock).naming.reason.text()
    assert loads == []


def test_naming_can_be_cancelled_between_batches(
    dock: SegmentDock, finish: Finish, loads: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = panel(dock)
    one.find.click()
    finish(dock.automatic.row)
    calls: list[int] = []
    name = naming.name_masks

    def counted(model: Any, plane: Any, masks: Any, parameters: Any) -> Any:
        calls.append(len(masks))
        dock.automatic.row.stop()
        return name(model, plane, masks, parameters)

    monkeypatch.setattr(naming, "name_masks", counted)
    ask(dock, "bright, dark")
    finish(dock.automatic.row)
    assert len(calls) == 1
    assert set(names(dock)) == {""}
    assert one.searched(0, 0).labels is None
    assert one.naming.name.isEnabled()


def test_without_the_extra_naming_is_off_and_says_what_to_install(
    dock: SegmentDock, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a computer without it, whatever is on this one.
    monkeypatch.setattr(text_labels.importlib.util, "find_spec", lambda _: None)
    panel(dock).find.click()
    finish(dock.automatic.row)
    row = panel(dock).naming
    assert not row.name.isEnabled()
    assert row.reason.text() == 'Labelling needs open_clip: pip install "napari-cam-sam[text]".'


@pytest.mark.slow
def test_pytorch_is_imported_when_masks_are_searched_for_and_not_before(tmp_path: Path) -> None:
    code = (
        "import sys, os\n"
        "from napari.components import ViewerModel\n"
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "import numpy as np\n"
        "from napari_cam_sam.plugin.segment.segment_dock import SegmentDock\n"
        "viewer = ViewerModel(); viewer.add_image(np.zeros((9, 9)))\n"
        "dock = SegmentDock(viewer)\n"
        "dock.segmenter.choose('compact-sam')\n"
        "print('torch' in sys.modules)\n"
        "dock.automatic.find.click()\n"
        "while dock.automatic.row.busy: app.processEvents()\n"
        "print('torch' in sys.modules)\n"
        "sys.stdout.flush(); os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NAPARI_CAM_SAM_SESSIONS": str(tmp_path)},
    )
    assert done.stdout.split() == ["False", "True"], done.stderr[-2000:]
