"""The fourth step: how right a mask and a heatmap are, against a truth."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLabel,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.plugin.forms import Choice, button, form, line, listen
from napari_cam_sam.plugin.layers import frame_shown, image_of, is_own
from napari_cam_sam.plugin.score_plots import (
    AGREEMENT,
    AgreementLayer,
    CurvesPlot,
    PlanesPlot,
)
from napari_cam_sam.plugin.score_table import ComparePage, ScoreTable, as_data, as_text, from_data
from napari_cam_sam.plugin.task_row import TaskRow
from napari_cam_sam.plugin.tasks import Newest
from napari_cam_sam.plugin.workspace import workspace_of

if TYPE_CHECKING:
    import napari

    from napari_cam_sam.comparison import PlaneScored, ScoredRow, ToScore, VolumeScored

__all__ = ["ScoresDock"]

_EDITS = ("labels_update", "paint", "data")
_PLACES = ("scale", "translate", "rotate", "shear", "affine", "units")
_PAUSE_MS = 300
_MOST_LABELS = 100
_ALL_LABELS = ("all that is not 0", None)


@dataclass(eq=False)
class _Scoring:
    """What the table is of, and what was found."""

    key: tuple[Any, ...]
    about: dict[str, Any]
    job: ToScore
    agreement: Any
    marks: dict[int, int] = field(default_factory=dict)
    rows: list[ScoredRow] = field(default_factory=list)
    volume: VolumeScored | None = None
    words: str = ""

    def keep(self, step: Any) -> None:
        """Take a step of the scoring."""
        if hasattr(step, "mark"):
            self.agreement[self.job.image.slot(self.job.axis, step.index)] = step.agreement
            self.marks[step.index] = step.mark
            self.rows += [step.row] if step.row is not None else []
        else:
            self.rows += step.rows
            self.volume = step


class ScoresDock(QWidget):
    """Scores of a mask, and of a heatmap, against a truth: as a table, a layer and plots.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    scored = Signal()
    """The table is new as a whole."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        self._state: _Scoring | None = None
        self._next: _Scoring | None = None
        self._overlaid = False
        self._seen: Any = None
        self._picked: set[str] = set()
        self._heard: list[Any] = []
        self._labels_of: tuple[Any, ...] = ()
        self._agreement = AgreementLayer(self.workspace)

        self.prediction = Choice("The masks to score: a labels layer.")
        self.truth = Choice("What is right: a labels layer on the image's grid.")
        self.heatmap = Choice("A heatmap to score too: ours, or a gray layer within 0 to 1.")
        self.label = Choice("Which label of both layers is compared.")
        self.label.offer([_ALL_LABELS])
        self.run = button(
            "Score", "Every plane along the axis shown, every object, and the volume."
        )
        self.overlay = QCheckBox("Overlay")
        self.overlay.setToolTip("A layer that shows where both agree and where they do not.")
        legend = QLabel(
            " ".join(f'<span style="color:{c}">■</span>&nbsp;{n}' for n, c, _ in AGREEMENT.values())
        )
        legend.setToolTip("; ".join(f"{n}: {words}" for n, _, words in AGREEMENT.values()))
        self.copy = button("Copy", "The table to the clipboard, to paste into a spreadsheet.")
        self.save = button("Save CSV…", "The table in full precision, with what was compared.")
        self.row = TaskRow()
        self.table = ScoreTable()
        self.curves, self.along = CurvesPlot(napari_viewer), PlanesPlot(napari_viewer)
        self.comparison = ComparePage(self.workspace)
        self.tabs = QTabWidget()
        for page, name, hint in (
            (self.table, "Table", "A row a plane, an object, and the volume."),
            (self.curves, "Curves", "ROC and precision–recall of the heatmap."),
            (self.along, "Along planes", "Dice and AUROC of each plane."),
            (self.comparison, "Compare", "CAM alone, CAM → SAM, edited, and truth prompts."),
        ):
            self.tabs.setTabToolTip(self.tabs.addTab(page, name), hint)
        whole = QVBoxLayout(self)
        whole.addLayout(
            form(
                (
                    ("Prediction", self.prediction),
                    ("Truth", self.truth),
                    ("Heatmap", self.heatmap),
                    ("Label", self.label),
                )
            )
        )
        whole.addLayout(line(self.run, self.overlay, legend))
        whole.addWidget(self.row)
        whole.addWidget(self.tabs, 1)
        whole.addLayout(line(self.copy, self.save))

        self._newest = Newest(self._plane_scored, self.row.say, self)
        self._finder = Newest(self._offer_labels, self.row.say, self)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._rescore_shown)
        for name in ("prediction", "truth", "heatmap", "label"):
            getattr(self, name).chosen.connect(lambda one=name: self._chosen(one))
        self.run.clicked.connect(self.score)
        self.overlay.toggled.connect(self._show_overlay)
        self.comparison.button.clicked.connect(self.compare)
        self.copy.clicked.connect(self._copy)
        self.save.clicked.connect(self._save)
        self.row.ended.connect(self._ended)
        self.comparison.row.ended.connect(self._say)
        self.table.plane_chosen.connect(self._go)
        self.along.plane_chosen.connect(self._go)
        self.workspace.image_changed.connect(self._image_changed)
        self.workspace.plane_changed.connect(self._plane_changed)
        self.workspace.heatmaps_changed.connect(self._list_layers)
        self.workspace.truth_changed.connect(self._truth_changed)
        self.workspace.masks.accepted_changed.connect(self._accepted)
        self.workspace.segmenter_changed.connect(self._say)
        self.workspace.labels_changed.connect(self._labels_changed)
        events = napari_viewer.layers.events
        for name in ("inserted", "removed", "reordered", "renamed"):
            listen(self, getattr(events, name), self._list_layers)
        self._image_changed()
        self.workspace.register("score rows", self.rows)
        self.workspace.register("take score rows", self.take_rows)

    # What there is to choose from

    def choose_prediction(self, layer: Any | None) -> None:
        """Choose what is scored, as the user would."""
        for i in range(self.prediction.count()):
            if layer is not None and self.prediction.itemData(i) == layer:
                self.prediction.setCurrentIndex(i)
                self._chosen("prediction")

    def _chosen(self, name: str) -> None:
        self._picked.add(name)
        if name == "truth":
            self.workspace.choose_truth(self.truth.value())
        self._hear_layers()
        self._say()

    def _accepted(self) -> None:
        """Score what was accepted: the preview holds it no more."""
        workspace = self.workspace
        if workspace.masks.accepted and self.prediction.value() is workspace.own("preview"):
            self.choose_prediction(workspace.masks.target or workspace.own("labels"))

    def _truth_changed(self) -> None:
        self._picked.discard("truth")
        self._list_layers()

    def _image_changed(self) -> None:
        self.row.stop()
        self._state = None
        self._picked.clear()
        self.table.set_rows([])
        self.comparison.clear()
        self.curves.say("Choose a heatmap, then press Score.")
        self.along.say("Press Score.")
        self._list_layers()

    def _list_layers(self, _: object = None) -> None:
        workspace = self.workspace
        labels, truth = workspace.labels_layers(), workspace.truth()
        ours = [x for x in (workspace.own("labels"), workspace.own("preview")) if x is not None]
        others = [layer for layer in labels if layer not in ours]
        maps = self._heatmap_layers()
        for name, layers, default in (
            ("truth", labels, truth),
            ("prediction", ours + others, (*ours, *(x for x in others if x != truth), None)[0]),
            ("heatmap", maps, maps[0] if maps and is_own(maps[0]) else None),
        ):
            choice = getattr(self, name)
            if choice.value() not in layers:
                self._picked.discard(name)
            none = [("none", None)] if name == "heatmap" else []
            choice.offer([*none, *((layer.name, layer) for layer in layers)])
            if name not in self._picked and not choice.set_value(default):
                choice.setCurrentIndex(-1)
        if self._overlaid and not self._agreement.there():
            self.overlay.setChecked(False)  # the user deleted the layer
        self._hear_layers()
        self._say()

    def _heatmap_layers(self) -> list[Any]:
        """List heatmaps: ours along the axis shown, then gray layers within 0 to 1."""
        workspace = self.workspace
        try:
            own = workspace.own("heatmap", workspace.plane()[0])
        except CamSamError:
            return []
        return [own] * (own is not None) + [
            layer
            for layer in workspace.viewer.layers
            if isinstance(layer, ImageLayer)
            and layer != workspace.image_layer
            and not is_own(layer)
            and not layer.rgb
            and np.dtype(layer.dtype).kind == "f"
            and layer.contrast_limits_range[0] >= 0
            and layer.contrast_limits_range[1] <= 1
            and workspace.mismatch(layer) is None
        ]

    def _hear_layers(self) -> None:
        """Hear of edits in the layers chosen, and look which labels they hold."""
        layers = [x for x in (self.prediction.value(), self.truth.value()) if x is not None]
        if layers != self._heard:
            for layer in self._heard:
                for name in (*_EDITS, "set_data", *_PLACES):
                    for method in (self._edited, self._refreshed, self._say):
                        getattr(layer.events, name).disconnect(method)
            self._heard = layers
            for layer in layers:
                for name in (*_EDITS, "set_data", *_PLACES):
                    method = self._edited if name in _EDITS else self._say
                    method = self._refreshed if name == "set_data" else method
                    listen(self, getattr(layer.events, name), method)
        which = (*(layer.unique_id for layer in layers), self.workspace.frame())
        if which != self._labels_of:
            self._labels_of = which
            self._find_labels()

    def _find_labels(self) -> None:
        """Look in the background which labels there are to choose from."""
        fitting = [layer for layer in self._heard if self.workspace.mismatch(layer) is None]
        arrays = [self._array(layer) for layer in fitting]

        def find() -> set[int]:
            found: set[int] = set()
            for plane in (plane for array in arrays for plane in array):
                found.update(int(v) for v in np.unique(np.asarray(plane)) if v)
                if len(found) > _MOST_LABELS:
                    return set()
            return found

        self._finder.ask(find)

    def _offer_labels(self, values: Iterable[int]) -> None:
        self.label.offer([_ALL_LABELS, *((f"label {v}", v) for v in sorted(values))])
        self._say()

    # What will happen, in words

    def _key(self) -> tuple[Any, ...]:
        """Say what is chosen: scores are of the choices of their time."""
        chosen = (self.prediction.value(), self.truth.value(), self.heatmap.value())
        ids = [None if layer is None else layer.unique_id for layer in chosen]
        return (*ids, self.label.value(), self.workspace.plane()[0], self.workspace.frame())

    def _key_or_none(self) -> tuple[Any, ...] | None:
        try:
            return self._key()
        except CamSamError:
            return None

    def _problem(self) -> str | None:
        """Say why nothing can be scored; None where it can."""
        workspace, prediction, truth = self.workspace, self.prediction.value(), self.truth.value()
        try:
            name = workspace.image().name
            workspace.plane()
        except CamSamError as error:
            return str(error)
        if truth is None:
            return f"Open a truth: a labels layer or a mask file on the grid of {name}."
        if prediction is None:
            return "There is no prediction yet: make masks (step 3), or open a labels layer."
        if prediction == truth:
            return f"{truth.name} is chosen as prediction and as truth: choose two layers."
        reasons = (workspace.mismatch(layer) for layer in (prediction, truth))
        return next((reason for reason in reasons if reason is not None), None)

    def _say(self, _: object = None) -> None:
        problem, state = self._problem(), self._state
        self.run.setEnabled(problem is None and self._next is None)
        self.comparison.tell(problem)
        for one in (self.copy, self.save):
            one.setEnabled(bool(self.table.rows()))
        if self._next is not None:
            return
        if problem is None and state is None:
            image, (axis, _index) = self.workspace.image(), self.workspace.plane()
            along = f", {image.n_planes(axis)} planes along axis {axis}"
            self.row.say(
                f"{self.prediction.currentText()} against {self.truth.currentText()}"
                f"{along if image.spatial_ndim == 3 else ''}, distances in {image.geometry.unit}."
            )
        elif problem is None and state is not None:
            same = state.key == self._key()
            self.row.say(state.words if same else "The scores are of other choices: press Score.")
        else:
            self.row.say(str(problem))

    # Scoring

    def score(self) -> None:
        """Score all planes, objects and the volume in the background."""
        # Not row.busy: events come in while napari makes the bar, before the row has its task.
        if self._problem() is not None or self._next is not None:
            self._say()
            return
        workspace, image = self.workspace, self.workspace.image()
        chosen = [self.prediction.value(), self.truth.value(), self.heatmap.value()]
        layers = [layer for layer in chosen if layer is not None]
        job = self._job(image)
        unit = "px" if image.geometry.unit == "pixel" else image.geometry.unit
        names = [None if layer is None else layer.name for layer in chosen]
        about = {"image": image.name, "frame": workspace.frame(), "axis": job.axis}
        about |= {"label": job.label or "all"}
        about |= dict(zip(("prediction", "truth", "heatmap"), names, strict=True)) | {"unit": unit}
        found = _Scoring(self._key(), about, job, np.zeros(image.spatial_shape, np.uint8))
        self._next = found

        def steps() -> Generator[Any]:
            from napari_cam_sam.comparison import score_steps

            yield from score_steps(job.taken())

        def wanted() -> bool:
            return all(layer in workspace.viewer.layers for layer in layers)

        self._newest.drop()
        self.row.say(f"Scoring {names[0]} against {names[1]}…")
        total = image.n_planes(job.axis) + 2
        if not self.row.start(steps, total, f"Scores of {image.name}", found.keep, wanted):
            self._next = None
        self._say()

    def _job(self, image: Image) -> ToScore:
        """Say what is scored: the layers' own arrays."""
        from napari_cam_sam.comparison import ToScore

        axis, _ = self.workspace.plane()
        layer, maps = self.heatmap.value(), None
        planes: tuple[int, ...] = ()
        if layer is not None and is_own(layer):
            planes = tuple(self.workspace.noted_planes(axis))
            values = layer.data if image.spatial_ndim == 2 else np.moveaxis(layer.data, axis, 0)
            values = values[None] if image.spatial_ndim == 2 else values
            # A view where all planes have one: a large volume is copied in the thread.
            every = len(planes) == len(values)
            maps = (values if every else values[list(planes)]) if planes else None
        elif layer is not None:
            planes = tuple(range(image.n_planes(axis)))
            data = self._array(layer)
            maps = np.moveaxis(data, axis, 0) if image.spatial_ndim == 3 else data[None]
        labels = [self._array(x) for x in (self.prediction.value(), self.truth.value())]
        name = self.heatmap.currentText()
        return ToScore(image, axis, labels[0], labels[1], self.label.value(), maps, planes, name)

    def _array(self, layer: Any) -> Any:
        return image_of(layer, frame_shown(self.workspace.viewer, layer)).data

    def _ended(self, complete: bool) -> None:
        found, self._next = self._next, None
        if found is None or not found.marks:
            self._say()
            return
        self._state = found
        planes = [row for row in found.rows if row.kind in ("plane", "image")]
        best = [row for row in found.rows if row.kind in ("volume", "image")]
        done, total = len(found.marks), found.job.image.n_planes(found.job.axis)
        if not complete:
            found.words = f"Stopped after {done} of {total} planes."
        elif not planes:
            found.words = "Neither layer has anything to score."
        else:
            found.words = f"Dice {best[0].scores.values['dice']:.3f}"
            found.words += f", {len(planes)} of {total} planes are not empty." * (total > 1)
        self.table.set_unit(found.about["unit"])
        self.table.set_rows(found.rows)
        self._plot_along()
        self._plot_curves()
        if self.overlay.isChecked() and found.key == self._key_or_none():
            self._show_overlay(True)
        self._mark_plane()
        self._find_labels()
        self._say()
        if complete:
            self.scored.emit()

    def compare(self) -> None:
        """Compare CAM alone, its prompts, edited ones and the truth's, in the background."""
        if self._problem() is None and not self.comparison.row.busy:
            self.comparison.start(self._job(self.workspace.image()))
        self._say()

    # What the table is of, in pictures

    def _plot_along(self) -> None:
        state = self._state
        planes = [row for row in state.rows if row.kind == "plane"] if state is not None else []
        if state is None or not planes:
            self.along.say("There is nothing to plot along planes.")
        else:
            dice, auroc = (
                {r.number: r.scores.values.get(name, np.nan) for r in planes}
                for name in ("dice", "auc_judd")
            )
            self.along.show_scores(dice, auroc, state.job.axis)

    def _plot_curves(self) -> None:
        state = self._state
        volume = None if state is None else state.volume
        if state is None or volume is None or volume.roc is None or volume.precision_recall is None:
            self.curves.say("Choose a heatmap, then press Score.")
        elif not volume.roc.x.size:
            self.curves.say("Curves need pixels inside and outside of the truth.")
        else:
            n = len(state.job.heatmap_planes)
            title = f"{state.about['heatmap']}, {n} plane{'' if n == 1 else 's'}"
            self.curves.show_curves(volume.roc, volume.precision_recall, title)

    def _show_overlay(self, wanted: bool) -> None:
        self._overlaid = False
        state = self._state
        if not wanted:
            self._agreement.remove()
        elif self._problem() is None and state is not None and state.key == self._key():
            self._agreement.show(state.agreement, state.about["prediction"])
            self._overlaid = True
        else:
            self.score()

    def _go(self, index: int) -> None:
        if self._state is not None:
            self.workspace.show_plane(self._state.job.axis, index)

    def _plane_changed(self) -> None:
        try:
            axis, _ = self.workspace.plane()
            seen: Any = (axis, self.workspace.frame())
        except CamSamError as error:
            seen = str(error)
        if seen != self._seen:  # each step of the scrollbar comes here
            self._seen = seen
            self._list_layers()
        self._mark_plane()

    def _mark_plane(self) -> None:
        key, state = self._key_or_none(), self._state
        here = None
        if key is not None and state is not None and key[-2] == state.job.axis:
            here = self.workspace.plane()[1]
        self.table.select_plane(here)
        self.along.show_plane(here)

    # Edits

    def _edited(self, _: object = None) -> None:
        self.table.set_older()
        self._pause.start()

    def _refreshed(self, _: object = None) -> None:
        # An undo refreshes the layer and says no more, but so does each step of the scrollbar.
        self._pause.start()

    def _labels_changed(self) -> None:
        preview = self.workspace.own("preview")
        if preview is not None and preview == self.prediction.value():
            self._edited()
        self._pause.start()

    def _rescore_shown(self) -> None:
        """Score the plane shown again, where it is not what it was."""
        state = self._state
        if self._problem() is not None or state is None or state.key != self._key():
            self._say()
            return
        if self._next is not None:
            self._pause.start()
            return
        axis, index = self.workspace.plane()
        job, layers = state.job, (self.prediction.value(), self.truth.value())
        slot = job.image.slot(axis, index)
        live = [self._array(layer)[slot] for layer in layers]
        cuts = [np.array(one) if isinstance(one, np.ndarray) else one for one in live]
        heat = job.heat(index)
        geometry = job.image.geometry
        flat = Geometry(geometry.plane_spacing(axis), unit=geometry.unit)
        one = replace(
            job, image=Image(cuts[0], False, flat, job.image.name), axis=0, prediction=cuts[0],
            truth=cuts[1], heatmap=None if heat is None else heat[None],
            heatmap_planes=() if heat is None else (0,),
        )  # fmt: skip

        def ask() -> tuple[_Scoring, int, PlaneScored]:
            from napari_cam_sam.comparison import score_plane

            return state, index, score_plane(one, 0)

        self._newest.ask(ask)

    def _plane_scored(self, answer: tuple[_Scoring, int, PlaneScored]) -> None:
        state, index, found = answer
        if state is not self._state or state.marks.get(index) == found.mark:
            return
        row, flat = found.row, state.job.image.spatial_ndim == 2
        if row is not None and not flat:
            row = replace(row, kind="plane", number=index, plane=index)
        mine = ("image", 0) if flat else ("plane", index)
        state.rows = [r for r in state.rows if (r.kind, r.number) != mine]
        state.rows += [row] if row is not None else []
        state.marks[index] = found.mark
        state.agreement[state.job.image.slot(state.job.axis, index)] = found.agreement
        self.table.set_older()
        self.table.set_plane(index, row)
        self._agreement.refresh()
        self._plot_along()
        dice = "nothing in either" if row is None else f"Dice {row.scores.values['dice']:.3f}"
        where = "" if flat else f"Plane {index}: "
        state.words = f"{where}{dice}, after your edit. Press Score for all else."
        self._say()

    # Out of the viewer

    def rows(self) -> list[dict[str, Any]]:
        """Give the table as plain data, each row with what was compared."""
        rows, about = self.table.rows(), {} if self._state is None else self._state.about
        return as_data(rows, about, filter(self.table.is_older, rows))

    def take_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Show rows of a session."""
        self.table.set_rows(from_data(rows))

    def table_text(self) -> str:
        """Give the table as it is sorted, with tabs between its columns."""
        shown = self.table.shown()
        return as_text(shown, {}, filter(self.table.is_older, shown), "\t")

    def to_csv(self, path: str | Path) -> None:
        """Write the table, each row with what was compared.

        Raises
        ------
        CamSamError
            If the file cannot be written.
        """
        rows, about = self.table.rows(), {} if self._state is None else self._state.about
        text = as_text(rows, about, filter(self.table.is_older, rows))
        write_atomically(path, lambda hidden: hidden.write_text(text, encoding="utf-8"))

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.table_text())

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save scores", "scores.csv", "CSV (*.csv)")
        if path:
            try:
                self.to_csv(path)
            except CamSamError as error:
                show_error(str(error))
