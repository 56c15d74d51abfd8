"""What each dock says in each state: a table. A sentence that outlives its state fails here."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image as Pillow

from napari_cam_sam.cam import heatmaps
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation import score_steps
from napari_cam_sam.models.training import samples
from napari_cam_sam.plugin.segment import segment_run
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.training.training_dock import TrainingDock
from napari_cam_sam.plugin.workflow.workflow_dock import WorkflowDock
from napari_cam_sam.prompts import strategies
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

OPEN = "Open an image first: drop a file, or File → Open Sample."
MASK = "Open an image first: only a mask is open."
FOLDER = "Choose a folder with one subfolder of images per class."
CHOOSE = "No classifier? Go to step 2: draw a box."
OR_TRUTH = "No classifier? Go to step 2: draw a box, or take boxes from a truth."
NOT_NEEDED = "No classifier chosen; boxes need none."
PLAN = "Heatmap of … for all 3 slices along axis 0, on the CPU"
ONLY_A_TRY = " Trained on phantoms only: for trying out, not for patient images."
TO_TRAIN = "8 images, 2 classes: blot 4, none 4. small-cnn from scratch …"
ANYWHERE = "seeded on the CPU"
# What the docks say beside it is left out: "…" stands for it.
TABLE = {
    "nothing open": {
        "CAM → SAM": OPEN, "Heatmap": OPEN, "Prompts": OPEN, "Segment": OPEN, "Scores": OPEN,
        "Train": FOLDER,
    },
    "truth alone": {
        "CAM → SAM": MASK, "Heatmap": MASK, "Prompts": MASK, "Segment": MASK, "Scores": MASK,
        "Train": FOLDER,
    },
    "image alone": {
        "CAM → SAM": CHOOSE,
        "Heatmap": CHOOSE,
        "Prompts": "Slice 1: no boxes, no points. Draw a box.",
        "Segment": f"No prompts on this slice. {ANYWHERE}.",
        "Scores": "No ground truth: press Open mask…, or add a labels layer on the grid of scan.",
        "Train": FOLDER,
    },
    "no classifier": {
        "CAM → SAM": OR_TRUTH,
        "Heatmap": OR_TRUTH,
        "Prompts": "Slice 1: no boxes, no points. Draw a box, or place boxes From ground truth.",
        "Segment": f"No prompts on this slice. {ANYWHERE}.",
        "Scores": "No prediction yet: make masks (step 3), or open a labels layer.",
    },
    "a box": {
        "CAM → SAM": NOT_NEEDED,
        "Heatmap": NOT_NEEDED,
        "Prompts": "Slice 1: 1 box, no points; 1 slice with prompts.",
        "Segment": f"No mask on this slice yet: press S. {ANYWHERE}; 1 slice with prompts.",
        "Scores": "No prediction yet: make masks (step 3), or open a labels layer.",
    },
    "running": {
        "CAM → SAM": "Step 4 of 4: scores…",
        "Heatmap": f"{PLAN}.{ONLY_A_TRY}",
        "Prompts": "Prompts from heatmaps on 3 slices… Slice 1: heatmap of …",
        "Segment": f"The mask of this slice is being made… Masks of 3 slices: {ANYWHERE}, …",
        "Scores": "Scoring mask preview of scan against truth…",
        "Train": f"{TO_TRAIN} Loading PyTorch and listing the images…",
    },
    "done": {
        "CAM → SAM": "Done. Mean Dice …",
        "Heatmap": f"{PLAN}, …",
        "Prompts": "Prompts of … on 3 slices. Slice 1: heatmap of …, 1 box, 1 point; 3 slices …",
        "Segment": f"Preview (C accepts): … {ANYWHERE}; 3 slices with prompts, …",
        "Scores": "Dice …, 3 of 3 slices are not empty.",
        "Train": f"{TO_TRAIN} Done, … in all. The classifier is in …/pictures-classifier.",
    },
    "stale": {
        "CAM → SAM": "Before your last changes: Mean Dice …",
        "Prompts": "Prompts of … The heatmap is newer than the prompts: press Place on this slice.",
        "Segment": "Preview (C accepts): … Out of date: prompts changed. Press S. …",
        "Scores": "Scores are out of date: press Score.",
    },
    "another axis": {
        "CAM → SAM": "Heatmaps of …",
        "Prompts": "Slice 12: no boxes, no points. Draw a box, or place boxes From ground truth.",
        "Segment": f"No prompts on this slice. {ANYWHERE}.",
        "Scores": "Scores are of slices along axis 0: press Score for axis 1.",
    },
    "failed": {
        "CAM → SAM": "Stopped while computing heatmaps.",
        "Heatmap": "The model is damaged.",
        "Prompts": "The rule is damaged. Slice 1: heatmap of …",
        "Segment": "The segmenter is damaged.",
        "Scores": "The scores are damaged.",
        "Train": f"{TO_TRAIN} The pictures are damaged.",
    },
    "refused": {
        "Prompts": "No heatmap on this slice: compute one first (step 1), or draw a box. Slice …",
        "Segment": "No prompts on this slice. This slice has no prompts: place some (step 2), or …",
        "Train": f"{FOLDER} Choose a folder for the classifier.",
    },
}  # fmt: skip


class Docks(NamedTuple):
    """All docks of a viewer, and what each says."""

    viewer: ViewerModel
    way: WorkflowDock
    train: TrainingDock
    finish: Callable[[Any], None]
    until: Callable[[Callable[[], bool]], None]
    hold: Callable[[Any, str], Any]
    patch: pytest.MonkeyPatch
    folder: Path

    def says(self, *names: str) -> dict[str, str]:
        """Return the sentences of the docks, of all where none is named."""
        way, review = self.way, self.way.segment.review
        parts = {
            "CAM → SAM": (way.words if way.words.text() else way.plan,),
            "Heatmap": (way.heatmap.row.words,),
            "Prompts": (way.prompts.row.words, way.prompts.found),
            "Segment": (review.shown, way.segment.row.words),
            "Scores": (way.scores.row.words,),
            "Train": (self.train.plan, self.train.row.words),
        }
        said = {
            name: " ".join(one.text() for one in labels if one.text())
            for name, labels in parts.items()
        }
        return {name: said[name] for name in names or said}

    def open_image(self) -> None:
        pixels = np.random.default_rng(0).random((3, 24, 24))
        self.viewer.add_image(pixels, name="scan")
        self.settle()

    def open_truth(self) -> None:
        truth = np.zeros((3, 24, 24), int)
        truth[:, 4:14, 4:14] = 1
        self.viewer.add_labels(truth, name="truth")
        self.settle()

    def settle(self) -> None:
        """Let the docks hear at once of what they would hear of in a moment."""
        self.way.workspace.prompts.settle()
        self.way.workspace.shown.look_at_plane()
        self.way.segment._refresh()

    def draw_box(self) -> None:
        box = ObjectPrompt(1, (), Box(4, 4, 13, 13))
        self.way.workspace.prompts.write((PlanePrompts(0, 1, (box,)),), "add")
        self.settle()

    def run(self) -> None:
        self.open_image()
        self.open_truth()
        self.way.heatmap.choose("lesion")
        self.way.heatmap.load()
        self.finish(self.way.heatmap.row)
        self.way.run.click()

    def put_heatmap(self) -> None:
        workspace = self.way.workspace
        workspace.heatmaps.set_record(
            workspace.heatmaps.layer(0, create=True), 1, HeatmapRecord("a", {"a": 1.0}, None, {})
        )
        workspace.heatmaps_changed.emit()

    def choose_pictures(self) -> None:
        """Let the Train dock train the smallest network, on the smallest pictures."""
        for name, number in product(("blot", "none"), range(4)):
            (self.folder / "pictures" / name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 120, (36, 36)).astype(np.uint8)
            Pillow.fromarray(pixels).save(self.folder / "pictures" / name / f"{number}.png")
        form = self.train.parameters
        form.architecture.set_value("small-cnn")
        form.rows.setValue(32)
        form.epochs.setValue(2)
        form.device.set_value("cpu")
        form.rest.widget("batch_size").setValue(4)
        self.train.source.folder.text.setText(str(self.folder / "pictures"))
        self.until(lambda: "2 classes" in self.train.plan.text())

    def wait_for_end(self) -> None:
        self.until(self.way.run.isEnabled)
        self.settle()


def nothing_open(docks: Docks) -> dict[str, str]:
    return docks.says()


def truth_alone(docks: Docks) -> dict[str, str]:
    docks.open_truth()
    return docks.says()


def image_alone(docks: Docks) -> dict[str, str]:
    docks.open_truth()
    docks.viewer.layers.clear()
    docks.open_image()
    return docks.says()


def no_classifier(docks: Docks) -> dict[str, str]:
    docks.open_image()
    docks.way.prompts.extract_from_truth()
    assert "No ground truth" in docks.says("Prompts")["Prompts"]
    docks.open_truth()
    return docks.says()


def a_box(docks: Docks) -> dict[str, str]:
    docks.open_image()
    docks.open_truth()
    docks.draw_box()
    return docks.says()


def running(docks: Docks) -> dict[str, str]:
    way, said = docks.way, {}
    gates = {
        "Heatmap": docks.hold(heatmaps, "compute_heatmaps"),
        "Prompts": docks.hold(strategies, "prompts_from_heatmap"),
        "Segment": docks.hold(segment_run, "decode"),
        "Scores": docks.hold(score_steps, "score_slice"),
    }
    docks.run()
    for step, (name, gate) in enumerate(gates.items(), start=1):
        docks.until(gate.entered.is_set)
        docks.until(lambda: "Loading" not in way.segment.row.words.text())
        docks.settle()
        assert way.words.text().startswith(f"Step {step} of 4: ")
        said |= docks.says("CAM → SAM", name)
        gate.open()
    docks.wait_for_end()
    docks.choose_pictures()
    gate = docks.hold(samples, "samples_from_folder")
    docks.train.train()
    docks.until(gate.entered.is_set)
    said |= docks.says("Train")
    gate.open()
    docks.finish(docks.train.row)
    return said


def done(docks: Docks) -> dict[str, str]:
    docks.run()
    docks.wait_for_end()
    docks.choose_pictures()
    docks.train.train()
    docks.finish(docks.train.row)
    return docks.says()


def stale(docks: Docks) -> dict[str, str]:
    done(docks)
    docks.way.segment.live.setChecked(False)
    docks.draw_box()
    docks.way.scores.choices.heatmap.set_value(None)
    docks.way.scores.choices.changed.emit()
    said = docks.says("Segment", "Scores")
    docks.way.segment.review.flip(1)
    said |= docks.says("CAM → SAM")
    docks.way.heatmap.method.set_value("hires-cam")
    docks.way.heatmap.compute()
    docks.finish(docks.way.heatmap.row)
    return said | docks.says("Prompts")


def another_axis(docks: Docks) -> dict[str, str]:
    done(docks)
    docks.way.segment.review.accept_masks()
    docks.way.workspace.show_plane(1, 12)
    docks.settle()
    return docks.says()


def failed(docks: Docks) -> dict[str, str]:
    way, said = docks.way, {}

    def breaks(owner: Any, name: str, words: str) -> None:
        def fail(*_: Any, **__: Any) -> Any:
            raise CamSamError(words)

        docks.patch.setattr(owner, name, fail)

    breaks(heatmaps, "compute_heatmaps", "The model is damaged.")
    docks.run()
    docks.wait_for_end()
    said |= docks.says("CAM → SAM", "Heatmap")
    docks.draw_box()
    breaks(segment_run, "encode", "The segmenter is damaged.")
    way.segment.segment()
    docks.finish(way.segment.row)
    said["Segment"] = way.segment.row.words.text()
    docks.viewer.add_labels(np.ones((3, 24, 24), int), name="other")
    breaks(score_steps, "score_steps", "The scores are damaged.")
    way.scores.score()
    docks.finish(way.scores.row)
    said |= docks.says("Scores")
    breaks(strategies, "prompts_from_heatmap", "The rule is damaged.")
    docks.put_heatmap()
    way.prompts.extract()
    docks.finish(way.prompts.row)
    said |= docks.says("Prompts")
    docks.choose_pictures()
    breaks(samples, "samples_from_folder", "The pictures are damaged.")
    docks.train.train()
    docks.finish(docks.train.row)
    return said | docks.says("Train")


def refused(docks: Docks) -> dict[str, str]:
    docks.open_image()
    docks.way.prompts.extract()
    docks.way.segment.segment()
    docks.train.train()
    said = docks.says("Prompts", "Segment", "Train")
    # Each goes once it is no longer so, whichever dock it was done in.
    docks.way.workspace.show_plane(0, 0)
    docks.settle()
    assert "No heatmap" in docks.says("Prompts")["Prompts"]
    assert "This slice has no prompts" in docks.says("Segment")["Segment"]
    docks.way.heatmap.choose("lesion")
    docks.way.heatmap.compute()
    docks.finish(docks.way.heatmap.row)
    assert "No heatmap" not in docks.says("Prompts")["Prompts"]
    docks.draw_box()
    docks.way.workspace.show_plane(0, 1)
    docks.settle()
    assert "This slice has no prompts" not in docks.says("Segment")["Segment"]
    return said


STATES = {
    "nothing open": nothing_open, "truth alone": truth_alone, "image alone": image_alone,
    "no classifier": no_classifier, "a box": a_box, "running": running, "done": done,
    "stale": stale, "another axis": another_axis, "failed": failed, "refused": refused,
}  # fmt: skip


@pytest.fixture
def docks(
    qapp: Any, qtbot: Any, finish: Any, hold: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Docks:
    viewer = ViewerModel()
    way, train = WorkflowDock(viewer), TrainingDock(viewer)
    for dock in (way, train):
        qtbot.addWidget(dock)
    way.workspace.device = "cpu"
    way.segment.segmenter.choose("seeded")

    def until(so: Callable[[], bool]) -> None:
        qtbot.waitUntil(so, timeout=120_000)

    return Docks(viewer, way, train, finish, until, hold, monkeypatch, tmp_path)


@pytest.mark.parametrize("state", TABLE)
def test_each_dock_says_the_state_that_it_is_in(docks: Docks, state: str) -> None:
    said = STATES[state](docks)
    for name, sentence in TABLE[state].items():
        assert _is(said[name], sentence), f"{name} says: {said[name]}"


def _is(said: str, sentence: str) -> bool:
    """Check a sentence, in which "…" between words stands for anything."""
    at = 0
    parts = sentence.replace("made…", "made...").replace("scores…", "scores...")
    said = said.replace("made…", "made...").replace("scores…", "scores...")
    for part in parts.split("…"):
        found = said.find(part, at)
        if found < 0 or (at == 0 and found > 0):
            return False
        at = found + len(part)
    return sentence.endswith("…") or at == len(said)
