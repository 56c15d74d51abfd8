"""The second step: prompts from heatmaps or from the truth, as layers that can be edited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.forms import (
    Choice,
    FractionSlider,
    ParameterForm,
    Section,
    button,
    form,
    line,
    listen,
)
from napari_cam_sam.plugin.layers import frame_shown, image_of
from napari_cam_sam.plugin.prompt_layers import Conflict
from napari_cam_sam.plugin.sketch import Proposal, Sketch, propose
from napari_cam_sam.plugin.task_row import TaskRow
from napari_cam_sam.plugin.tasks import Newest
from napari_cam_sam.plugin.workspace import workspace_of
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.parameters import PRESETS, TRUTH_PRESETS, PromptParameters

if TYPE_CHECKING:
    import napari

__all__ = ["PromptsDock"]

_HINTS = {
    "ours": "The part with the maximum, above a third of it: box and point.",
    "s1": "Box and point of the largest part above .8 (Dhamale and Pawar).",
    "s2-fg": "Nine points at the centre of mass (Paradowski).",
    "s2-fg-bg": "The same with four background points.",
    "s2-adaptive": "The same, background points only where the mask leaks.",
    "s4-mode1": "One point in the largest part (Mazurowski et al.).",
    "s4-mode2": "One point in each of up to three parts.",
    "s4-mode3": "A box round the largest part.",
    "s4-mode4": "A box round each of up to three parts.",
    "s4-mode5": "One box round everything.",
}
_WITH_THRESHOLD = ("fixed", "fraction-of-max", "percentile")


class PromptsDock(QWidget):
    """Choose a strategy, see what it would place, place it, and edit it in the layers.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        self._sketch = Sketch(self.workspace)
        self._pending: tuple[PlanePrompts, ...] = ()
        self._rule_moved = False

        self.strategy = Choice("The rule that turns a heatmap into points and boxes.")
        self.threshold = FractionSlider("How much of the heatmap counts; drag it and watch.")
        self.rule = ParameterForm(PromptParameters)
        self.preview = QCheckBox("Show what the rule would place")
        self.preview.setChecked(True)
        self.preview.setToolTip("Outline of the heatmap's part, box and points; nothing is placed.")
        self.place = button("Place on this plane", "Takes the heatmap of the plane shown.")
        self.place_all = button("…on all with a heatmap", "Along the axis that is shown.")
        self.truth = Choice("A labels layer that holds the right answer.")
        self.truth_rule = Choice("What is taken from it: the best that prompts can be.")
        self.from_truth = button("Place on this plane", "Takes the truth of the plane shown.")
        self.from_truth_all = button("…on all with a truth", "Along the axis that is shown.")
        self.object = QSpinBox()
        self.object.setRange(1, 65535)
        self.object.setToolTip("New prompts, and those selected now, belong to this object.")
        self.draw_box = button("Draw a box", "Then drag a rectangle in the image.")
        self.add_point = button("Add a point", "Then click into the image.")
        self.polarity = button("New points: positive (T)", "T switches; also selected points.")
        self.clear = button("Clear plane (Shift-C)", "Removes all prompts of the plane shown.")
        self.undo = button("Undo (Ctrl-Z)", "Takes back the last edit of prompts.")
        self.redo = button("Redo (Ctrl-Shift-Z)", "Takes back the last undo.")
        self.found = QLabel()
        self.found.setWordWrap(True)
        self.row = TaskRow()
        self.question = _Question()

        self.strategy.offer((name, name, _HINTS.get(name, "")) for name in PRESETS)
        self.truth_rule.offer((name.removeprefix("truth-"), name) for name in TRUTH_PRESETS)
        whole = QVBoxLayout(self)
        whole.addLayout(form((("Strategy", self.strategy), ("Threshold", self.threshold))))
        whole.addWidget(Section("The rule in detail", self.rule, opened=False))
        whole.addWidget(self.preview)
        whole.addLayout(line(self.place, self.place_all))
        truth = QWidget()
        inner = QVBoxLayout(truth)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addLayout(form((("Truth", self.truth), ("Take", self.truth_rule))))
        inner.addLayout(line(self.from_truth, self.from_truth_all))
        whole.addWidget(Section("From the truth", truth, opened=False))
        edit = QGridLayout()
        for i, widget in enumerate(
            (self.draw_box, self.add_point, self.polarity, self.clear, self.undo, self.redo)
        ):
            edit.addWidget(widget, i // 2, i % 2)
        whole.addLayout(form((("Object", self.object),)))
        whole.addLayout(edit)
        whole.addWidget(self.question)
        whole.addWidget(self.row)
        whole.addWidget(self.found)
        whole.addStretch()

        self._proposals = Newest(self._drawn, self.row.say, self)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(15)
        self._redraw.timeout.connect(self._draw)
        self.strategy.chosen.connect(self._strategy_chosen)
        self.truth.chosen.connect(lambda: self.workspace.choose_truth(self.truth.value()))
        self.workspace.truth_changed.connect(self._list_truths)
        self.threshold.changed.connect(self._threshold_moved)
        self.rule.changed.connect(self._rule_changed)
        self.preview.toggled.connect(self._draw_soon)
        self.place.clicked.connect(lambda: self.extract())
        self.place_all.clicked.connect(lambda: self.extract(everywhere=True))
        self.from_truth.clicked.connect(lambda: self.extract_from_truth())
        self.from_truth_all.clicked.connect(lambda: self.extract_from_truth(everywhere=True))
        prompts = self.workspace.prompts
        self.object.valueChanged.connect(prompts.set_object)
        self.draw_box.clicked.connect(lambda: self._edit_mode(1, "add_rectangle"))
        self.add_point.clicked.connect(lambda: self._edit_mode(0, "add"))
        self.polarity.clicked.connect(self.switch_polarity)
        self.clear.clicked.connect(self.clear_plane)
        self.undo.clicked.connect(lambda: prompts.undo())
        self.redo.clicked.connect(lambda: prompts.redo())
        self.question.answered.connect(self._answered)
        prompts.settled.connect(self._tell)
        prompts.changed.connect(self._tell_polarity)
        prompts.settled.connect(self._draw_soon)
        workspace = self.workspace
        workspace.plane_changed.connect(self._leave_rule)
        for signal in (workspace.plane_changed, workspace.heatmaps_changed):
            signal.connect(self._draw_soon)
            signal.connect(self._tell)
        workspace.image_changed.connect(self._image_changed)
        events = napari_viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            listen(self, event, self._list_truths)
        self.rule.set_value(workspace.prompt_parameters)
        self._rule_changed()
        self._image_changed()
        workspace.register("clear", self.clear_plane)
        workspace.register("switch", self.switch_polarity)
        workspace.register_state("prompts", self.state, self.set_state)

    # What there is to choose from

    def _image_changed(self) -> None:
        self.question.hide()
        self._pending = ()
        self._list_truths()
        self._tell()
        self._draw_soon()

    def _list_truths(self, _: object = None) -> None:
        before = self.truth.value()
        layers = self.workspace.labels_layers()
        self.truth.offer([("choose one…", None), *((layer.name, layer) for layer in layers)])
        if before is None or before not in layers or before is not self.workspace.truth():
            self.truth.set_value(self.workspace.truth())

    def _strategy_chosen(self) -> None:
        self.rule.set_value(PRESETS[self.strategy.value()])

    def choose_strategy(self, name: str) -> None:
        """Choose a strategy by its name."""
        self.strategy.set_value(name)
        self._strategy_chosen()

    def _threshold_moved(self) -> None:
        self.rule.set_value(replace(self._parameters(), threshold=self.threshold.value()))

    def _rule_changed(self) -> None:
        try:
            parameters = self._parameters()
        except CamSamError as error:
            self.row.say(str(error))
            return
        self.row.say("")
        self.workspace.prompt_parameters = parameters
        self.threshold.blockSignals(True)
        self.threshold.set_value(parameters.threshold)
        self.threshold.blockSignals(False)
        self.threshold.setEnabled(parameters.threshold_rule in _WITH_THRESHOLD)
        named = [name for name, preset in PRESETS.items() if preset == parameters]
        if named:
            self.strategy.set_value(named[0])
        else:
            self.strategy.setCurrentIndex(-1)
            self.strategy.setPlaceholderText("my own rule")
        self._rule_moved = True
        self._draw_soon()

    def _parameters(self) -> PromptParameters:
        value: PromptParameters = self.rule.value()
        return value

    def state(self) -> dict[str, Any]:
        """Give the choices as plain data, for the session."""
        return {"rule": asdict(self.workspace.prompt_parameters), "take": self.truth_rule.value()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take choices from a session."""
        if "rule" in state:
            self.rule.set_value(PromptParameters(**state["rule"]))
        self.truth_rule.set_value(state.get("take"))

    # The preview

    def _leave_rule(self) -> None:
        self._rule_moved = False
        if not self.row.busy:
            self.row.say("")

    def _draw_soon(self, _: object = None) -> None:
        self._redraw.start()

    def _draw(self) -> None:
        """Ask what the rule would place on the plane shown."""
        workspace = self.workspace
        if not self.preview.isChecked() or not self.isVisible():
            self._proposals.drop()
            self._sketch.remove()
            return
        try:
            axis, index = workspace.plane()
            values = workspace.heatmap_values(axis, index)
            parameters = self._parameters()
        except CamSamError:
            values = None
        if values is None:
            self._proposals.drop()
            self._sketch.hide()
            return
        copied = values.copy()
        self._proposals.ask(lambda: propose(copied, parameters, axis, index))

    def _drawn(self, proposal: Proposal) -> None:
        """Draw it, unless it is there already, or the user has made it better."""
        workspace, there = self.workspace, proposal.prompts
        try:
            if workspace.plane() != (there.axis, there.index):
                return
            placed = workspace.prompts.read(there.axis, there.index)
        except CamSamError:
            return
        edited = (there.axis, there.index) in workspace.prompts.touched()
        if placed.objects == there.objects or (edited and not self._rule_moved):
            self._sketch.hide()
        else:
            self._sketch.show(proposal)

    def hideEvent(self, event: object) -> None:  # noqa: N802 - Qt calls it so
        """Leave no preview behind when the dock is folded or closed."""
        super().hideEvent(event)
        self._redraw.start()

    def showEvent(self, event: object) -> None:  # noqa: N802 - Qt calls it so
        """Bring the preview back."""
        super().showEvent(event)
        self._redraw.start()

    # Placing

    @property
    def asking(self) -> bool:
        """Whether prompts wait for an answer on what is to happen to edited ones."""
        return bool(self._pending)

    def extract(self, everywhere: bool = False) -> bool:
        """Place prompts from the heatmap of the plane shown, or of all that have one.

        Returns
        -------
        bool
            False where nothing could be started; why is said.
        """
        from napari_cam_sam.prompts.strategies import prompts_from_heatmap

        workspace = self.workspace
        try:
            axis, shown = workspace.plane()
            parameters = self._parameters()
        except CamSamError as error:
            self.row.say(str(error))
            return False
        indices = workspace.noted_planes(axis) if everywhere else [shown]
        values = [workspace.heatmap_values(axis, i) for i in indices]
        given = [(i, v) for i, v in zip(indices, values, strict=True) if v is not None]
        if not given:
            which = "on any plane" if everywhere else "on this plane"
            self.row.say(f"There is no heatmap {which}: compute one first (step 1).")
            return False
        reasons = {i: n.reason for i in indices if (n := workspace.note(axis, i)) is not None}

        def one(index: int, heat: NDArray[np.float32]) -> PlanePrompts:
            if reasons.get(index):
                return PlanePrompts(axis, index, (), reasons[index])
            # A copy: the layer may be written meanwhile.
            return prompts_from_heatmap(heat.copy(), parameters, axis=axis, index=index)

        jobs = [partial(one, i, v) for i, v in given]
        return self._extract(jobs, "Prompts from heatmaps")

    def extract_from_truth(self, everywhere: bool = False) -> bool:
        """Place prompts from the truth of the plane shown, or of all planes; as `extract`."""
        from napari_cam_sam.prompts.strategies import prompts_from_mask, strategy_parameters

        workspace, layer = self.workspace, self.truth.value()
        try:
            axis, shown = workspace.plane()
            if layer is None or layer not in workspace.viewer.layers:
                raise CamSamError("Open a truth first: a labels layer on the image's grid.")
            reason = workspace.mismatch(layer)
            if reason is not None:
                raise CamSamError(reason)
            truth = image_of(layer, frame_shown(workspace.viewer, layer))
        except CamSamError as error:
            self.row.say(str(error))
            return False
        rule = replace(strategy_parameters(self.truth_rule.value()), one_object=True)
        indices = range(truth.n_planes(axis)) if everywhere else [shown]

        def one(index: int) -> PlanePrompts:
            plane = np.asarray(truth.plane(axis, index))
            return prompts_from_mask(plane, rule, axis=axis, index=index)

        return self._extract([partial(one, i) for i in indices], "Prompts from the truth")

    def _extract(self, jobs: Sequence[Callable[[], PlanePrompts]], description: str) -> bool:
        workspace, image_layer = self.workspace, self.workspace.image_layer
        found: list[PlanePrompts] = []

        def keep(plane: PlanePrompts) -> None:
            found.append(plane)
            if len(found) == len(jobs):
                self._place_or_ask(tuple(found))

        return self.row.start(
            lambda: (job() for job in jobs),
            len(jobs),
            description,
            keep,
            lambda: workspace.image_layer is image_layer,
        )

    def _place_or_ask(self, planes: tuple[PlanePrompts, ...]) -> None:
        """Place prompts; where the user has edited planes, ask what is to happen there."""
        touched = self.workspace.prompts.touched()
        mine = [plane for plane in planes if (plane.axis, plane.index) in touched and plane.objects]
        if mine:
            self._pending = planes
            where = f"Plane {mine[0].index} has" if len(mine) == 1 else f"{len(mine)} planes have"
            self.question.ask(f"{where} prompts that you edited.")
            return
        self._write(planes, "keep")

    def _answered(self, answer: str) -> None:
        pending, self._pending = self._pending, ()
        self._write(pending, cast(Conflict, answer))

    def _write(self, planes: tuple[PlanePrompts, ...], conflict: Conflict) -> None:
        try:
            count = self.workspace.prompts.write(planes, conflict)
        except CamSamError as error:
            self.row.say(str(error))
            return
        self._rule_moved = False
        self._edit_mode(1 if any(o.box for p in planes for o in p.objects) else 0, "select")
        empty = [plane for plane in planes if not plane.objects]
        if len(planes) == 1 and empty:
            self.row.say(
                f"No prompt on plane {planes[0].index}: {planes[0].reason}".rstrip(".") + "."
            )
        else:
            reasons = {plane.reason for plane in empty}
            why = f": {reasons.pop()}" if len(reasons) == 1 else " without evidence"
            without = f", none on {len(empty)}{why}".rstrip(".") if empty else ""
            self.row.say(f"Prompts on {count} plane{'s' if count != 1 else ''}{without}.")

    # Editing

    def _edit_mode(self, which: int, mode: str) -> None:
        try:
            self.workspace.plane()
            layer = self.workspace.prompts.create()[which]
        except CamSamError as error:
            self.row.say(str(error))
            return
        self.workspace.viewer.layers.selection.active = layer
        layer.mode = mode

    def switch_polarity(self) -> None:
        """Turn the selected points, or what new points will be."""
        try:
            self.workspace.prompts.switch_polarity()
        except CamSamError as error:
            self.row.say(str(error))

    def clear_plane(self) -> None:
        """Remove the prompts of the plane shown."""
        try:
            self.workspace.prompts.clear(*self.workspace.plane())
        except CamSamError as error:
            self.row.say(str(error))

    def _tell_polarity(self) -> None:
        self.polarity.setText(f"New points: {self.workspace.prompts.polarity} (T)")

    def _tell(self) -> None:
        """Say what lies on the plane shown."""
        try:
            axis, index = self.workspace.plane()
            prompts = self.workspace.prompts.read(axis, index)
            planes = self.workspace.prompts.planes(axis)
        except CamSamError as error:
            self.found.setText(str(error))
            return
        points = sum(len(prompt.points) for prompt in prompts.objects)
        boxes = sum(prompt.box is not None for prompt in prompts.objects)
        text = f"Plane {index}: {_count(boxes, 'box', 'boxes')}, {_count(points, 'point')}"
        if planes:
            text += f"; {_count(len(planes), 'plane')} with prompts"
        self.found.setText(text + ".")


class _Question(QWidget):
    """Asks what is to happen to prompts that the user edited."""

    answered = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.keep = button("Keep mine", "New prompts go only to planes that you did not edit.")
        self.replace = button("Replace", "Your edits on these planes are lost; undo brings them.")
        self.add = button("Add", "New prompts are placed beside yours.")
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.words)
        whole.addLayout(line(self.keep, self.replace, self.add))
        for name in ("keep", "replace", "add"):
            getattr(self, name).clicked.connect(lambda _=False, name=name: self._answer(name))
        self.hide()

    def ask(self, words: str) -> None:
        """Show the question."""
        self.words.setText(words)
        self.show()

    def _answer(self, name: str) -> None:
        self.hide()
        self.answered.emit(name)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number or 'no'} {one if number == 1 else many or one + 's'}"
