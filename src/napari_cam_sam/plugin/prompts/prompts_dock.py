"""The second step: prompts from heatmaps or from the truth, as layers that can be edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QAbstractButton, QVBoxLayout, QWidget
from superqt.utils import signals_blocked

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.prompts.conflict_panel import ConflictPanel
from napari_cam_sam.plugin.prompts.heatmap_prompts import HeatmapPrompts
from napari_cam_sam.plugin.prompts.margin_words import MarginWords
from napari_cam_sam.plugin.prompts.prompt_words import found_words, placed_words
from napari_cam_sam.plugin.prompts.strategy_names import STRATEGIES, UNITS
from napari_cam_sam.plugin.prompts.strategy_preview import StrategyPreview
from napari_cam_sam.plugin.prompts.truth_prompts import TruthPrompts
from napari_cam_sam.plugin.qt.dock import Dock, connect_to_layers
from napari_cam_sam.plugin.qt.messages import WrappingLabel
from napari_cam_sam.plugin.qt.parameter_form import ParameterForm
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.widgets import (
    FractionSlider,
    Section,
    SpinBox,
    ValueComboBox,
    allow,
    button,
    form_layout,
    hbox,
    vbox,
)
from napari_cam_sam.plugin.qt.wording import why_not
from napari_cam_sam.plugin.state.heatmap_record import HeatmapRecord
from napari_cam_sam.plugin.state.image_notice import ImageNotice
from napari_cam_sam.plugin.state.plane_words import PictureWords
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.prompts.parameters import PRESETS, PromptParameters
from napari_cam_sam.wording import counted

if TYPE_CHECKING:
    import napari

__all__ = ["PromptsDock"]


class PromptsDock(Dock):
    """Choose a strategy, see what it would place, place it, and edit it in the layers.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    """

    help_section = "Prompts"

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace = workspace_of(napari_viewer)
        # Where prompts were placed last, and which slices had prompts then.
        self._placed_on: tuple[int, int] | None = None
        self._placed_then: set[int] = set()
        # The strategy that was listed last, before its settings were changed.
        self._named = ""
        # What the last prompts leave out, in words.
        self._left_out: Callable[[], str] = str
        self._build()
        ImageNotice(self.workspace, self)
        truth = self.truth
        all_slices: list[QWidget] = [self.place_all, truth.place_all]
        of_pictures: dict[QAbstractButton, str] = {
            self.place: "Place on this picture",
            truth.place: "Place on this picture",
            self.clear: "Clear prompts (Shift-C)",
        }
        PictureWords(self.workspace.shown, all_slices, of_pictures, self)
        self._connect()
        self.rule.set_value(self.workspace.prompt_parameters)
        self._rule_changed()
        self._image_changed()
        docks = self.workspace.docks
        docks.register("draw", self.begin_box)
        docks.register("clear", self.clear_plane)
        docks.register("switch", self.switch_polarity)
        docks.take_over("prompts", self, self._beside, self._begin_with)

    def _build(self) -> None:
        self.strategy = ValueComboBox("The rule that turns a heatmap into points and boxes.")
        self.threshold = FractionSlider(
            "Heatmap values above it count: a fraction of the slice's maximum, an absolute value "
            "or a quantile, as chosen under Rule settings."
        )
        self.rule = ParameterForm(PromptParameters)
        self.in_mm = MarginWords(self.workspace, lambda: self.workspace.prompt_parameters.margin)
        self.place = button("Place on this slice", "Places prompts from the heatmap of this slice.")
        self.place_all = button(
            "…on all with heatmaps", "Places prompts on every slice with a heatmap along this axis."
        )
        self.object = SpinBox(minimum=1, maximum=65535, value=self.workspace.prompts.object_id)
        self.object.setToolTip(
            "New and selected prompts belong to this object. Use another number for another "
            "class; prompts of other objects stay."
        )
        self.draw_box = button("Draw a box (R)", "Then drag one rectangle in the image.")
        self.add_point = button("Add a point", "Then click in the image.")
        self.polarity = button(
            "New points: positive (T)",
            "T switches new and selected points between positive and negative.",
        )
        self.clear = button("Clear slice (Shift-C)", "Removes all prompts on this slice.")
        self.undo = button("Undo (Ctrl-Z)", "Undoes the last edit of prompts.")
        self.redo = button("Redo (Ctrl-Shift-Z)", "Redoes what was undone last.")
        self.found = WrappingLabel()
        self.row = TaskProgress()
        self.preview = StrategyPreview(self.workspace, self.row)
        self.heatmaps, self.truth = HeatmapPrompts(self.workspace), TruthPrompts(self.workspace)
        self.question = ConflictPanel(self.workspace)
        self.asks = vbox(None, self.question)

        self.strategy.offer(
            (text, name, f"{name}: {hint}") for name, (text, hint) in STRATEGIES.items()
        )
        whole = QVBoxLayout(self)
        # First what needs neither a heatmap nor a truth.
        whole.addLayout(hbox(self.draw_box, self.add_point))
        whole.addLayout(hbox(self.polarity, self.clear))
        whole.addLayout(hbox(self.undo, self.redo))
        whole.addLayout(form_layout((("Object", self.object),)))
        whole.addLayout(form_layout((("Strategy", self.strategy), ("Threshold", self.threshold))))
        settings = QWidget()
        vbox(settings, self.rule, self.in_mm)
        whole.addWidget(Section("Rule settings", settings, opened=False))
        whole.addWidget(self.preview)
        whole.addLayout(hbox(self.place, self.place_all))
        whole.addWidget(Section("From ground truth", self.truth, opened=False))
        whole.addLayout(self.asks)
        whole.addWidget(self.row)
        whole.addWidget(self.found)
        whole.addStretch()

    def _connect(self) -> None:
        self.strategy.chosen.connect(self._strategy_chosen)
        self.threshold.changed.connect(self._threshold_moved)
        self.rule.changed.connect(self._rule_changed)
        self.place.clicked.connect(lambda: self._place())
        self.place_all.clicked.connect(lambda: self._place(everywhere=True))
        self.truth.wanted.connect(self.extract_from_truth)
        prompts = self.workspace.prompts
        self.object.valueChanged.connect(prompts.set_object)
        prompts.object_chosen.connect(self._show_object)
        prompts.object_chosen.connect(self.preview.draw_soon)
        self.draw_box.clicked.connect(self.begin_box)
        self.add_point.clicked.connect(lambda: self._edit_mode(0, "add"))
        self.polarity.clicked.connect(self.switch_polarity)
        self.clear.clicked.connect(self.clear_plane)
        self.undo.clicked.connect(lambda: prompts.undo())
        self.redo.clicked.connect(lambda: prompts.redo())
        self.row.ended.connect(self._ended)
        self.question.placed.connect(self._placed)
        self.question.refused.connect(self.row.set_message)
        prompts.settled.connect(self._refresh)
        prompts.changed.connect(self._show_polarity)
        prompts.changed.connect(self.row.clear_error)
        prompts.ignored.connect(self.row.show_error)
        workspace = self.workspace
        workspace.plane_changed.connect(self._plane_changed)
        workspace.heatmaps_changed.connect(self._refresh)
        workspace.truth_changed.connect(self._refresh)
        connect_to_layers(self, workspace.viewer, self._refresh)
        workspace.image_changed.connect(self._image_changed)

    # What there is to choose from

    def _image_changed(self) -> None:
        self.question.forget()
        self.heatmaps.forget()
        self._refresh()

    def _plane_changed(self) -> None:
        # Told late, after quick work on this plane: what that said stays.
        if not self.row.busy and self._plane() != self._placed_on:
            self.row.set_message("")
        self._refresh()

    def _plane(self) -> tuple[int, int] | None:
        try:
            return self.workspace.plane()
        except CamSamError:
            return None

    def _with_prompts(self) -> set[int]:
        plane = self._plane()
        return set() if plane is None else set(self.workspace.prompts.planes(plane[0]))

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
            self.row.set_message(str(error))
            return
        self.row.set_message("")
        self.workspace.prompt_parameters = parameters
        self.in_mm.look()
        with signals_blocked(self.threshold):
            self.threshold.set_value(parameters.threshold)
        self.threshold.setEnabled(parameters.threshold_rule in UNITS)
        self.threshold.say_unit(UNITS.get(parameters.threshold_rule, ""))
        name = next((name for name, preset in PRESETS.items() if preset == parameters), None)
        if not self.strategy.set_value(name):
            self.strategy.setCurrentIndex(-1)
            came = STRATEGIES.get(self._named)
            # The numbers are another's, the rule is still known by what it was.
            self.strategy.setPlaceholderText(f"custom (from {came[0]})" if came else "custom")
        self._named = name or self._named
        self.preview.move_rule()

    def _parameters(self) -> PromptParameters:
        value: PromptParameters = self.rule.value()
        return value

    def state(self) -> dict[str, Any]:
        """Return the choices as plain data, for the session."""
        return {
            "rule": asdict(self.workspace.prompt_parameters),
            "take": self.truth.rule.value(),
            "margin": self.truth.margin.value(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take choices from a session."""
        if "rule" in state:
            self._named = ""
            self.rule.set_value(PromptParameters(**state["rule"]))
        self.truth.rule.set_value(state.get("take"))
        self.truth.margin.setValue(int(state.get("margin", self.truth.margin.value())))

    def _beside(self) -> dict[str, Any]:
        """Return what the next dock begins with, beside the choices."""
        return {"label": self.truth.label.value(), "preview": self.preview.isChecked()}

    def _begin_with(self, state: dict[str, Any], label: int | None, preview: bool) -> None:
        self.set_state(state)
        self.truth.label.expect(label)
        self.preview.setChecked(preview)

    # Placing

    def extract(self, everywhere: bool = False) -> bool:
        """Place prompts from the heatmap of the plane shown, or of all that have one.

        Returns
        -------
        bool
            False where nothing could be started; why is said.
        """

        def place() -> bool:
            parameters, given = self._parameters(), self.heatmaps.given(everywhere)
            first = self.workspace.prompts.object_id
            jobs = self.heatmaps.jobs(given, parameters, first)
            notes = self.heatmaps.records(given)
            return self._extract(jobs, "Prompts from heatmaps", first, notes)

        return self._attempt(place, lambda: self.heatmaps.given(everywhere))

    def _place(self, everywhere: bool = False) -> None:
        """Place prompts as `extract`, and have the mask of the plane shown made, too."""
        if self.extract(everywhere):
            self.workspace.prompts.begun.emit()

    def extract_from_truth(self, everywhere: bool = False) -> bool:
        """Place prompts from the truth of the plane shown, or of all planes; as `extract`."""

        def place() -> bool:
            jobs = self.truth.jobs(everywhere)
            if not self._extract(jobs, "Prompts from ground truth", self.truth.label.value()):
                return False
            self._left_out = self.truth.left_out.words
            self.workspace.prompts.begun.emit()
            return True

        return self._attempt(place, lambda: self.truth.jobs(everywhere))

    def _attempt(
        self, action: Callable[[], object], check: Callable[[], object] | None = None
    ) -> bool:
        """Do something, in place of what was said of the action before; show why it cannot be.

        Parameters
        ----------
        action : callable
        check : callable, optional
            Raises the error for as long as it is so.
        """
        self.row.clear_error()
        try:
            return action() is not False
        except CamSamError as error:
            self.row.show_error(str(error), None if check is None else partial(why_not, check))
            return False

    def _extract(
        self,
        jobs: Sequence[Callable[[], PlanePrompts]],
        description: str,
        first: int | None,
        notes: Mapping[int, HeatmapRecord] = MappingProxyType({}),
    ) -> bool:
        workspace, snapshot = self.workspace, self.workspace.snapshot()
        self._left_out = str
        found: list[PlanePrompts] = []

        def keep(plane: PlanePrompts) -> None:
            found.append(plane)
            if len(found) == len(jobs):
                self.heatmaps.were_taken(found, notes)
                self.question.place(tuple(found), first)

        started = self.row.start(
            lambda: (job() for job in jobs), len(jobs), description, keep,
            lambda: workspace.is_current(snapshot),
        )  # fmt: skip
        if started:
            on = "" if self.workspace.shown.is_picture else f" on {counted(len(jobs), 'slice')}"
            self.row.set_message(f"{description}{on}…")
        return started

    def _ended(self, _: bool) -> None:
        if self.row.has_error or self.row.words.text().endswith("…"):
            self.row.set_message("")  # it is not at work any more
        self._refresh()

    def _placed(self, planes: tuple[PlanePrompts, ...], count: int) -> None:
        """Select what was placed, and say how much it is."""
        self.preview.leave_rule()
        self._placed_on = self._plane()
        self._placed_then = self._with_prompts()
        self._edit_mode(1 if any(o.box for p in planes for o in p.objects) else 0, "select")
        words = placed_words(self.workspace, self.heatmaps, planes, count)
        self.row.set_message(f"{words} {self._left_out()}".rstrip())

    # Editing

    def _edit_mode(self, which: int, mode: str) -> None:
        def edit() -> None:
            self.workspace.plane()
            # Nobody is to draw on an image that is not seen.
            self.workspace.switch.show_image()
            layer = self.workspace.prompts.create()[which]
            layer.visible = True
            self.workspace.viewer.layers.selection.active = layer
            layer.mode = mode

        self._attempt(edit)

    def begin_box(self) -> None:
        """Let the next drag in the image draw a box."""
        self._edit_mode(1, "add_rectangle")

    def switch_polarity(self) -> None:
        """Turn the selected points, or what new points will be."""
        self._attempt(self.workspace.prompts.switch_polarity)

    def clear_plane(self) -> None:
        """Remove the prompts of the plane shown."""
        self._attempt(lambda: self.workspace.prompts.clear(*self.workspace.plane()))

    def _show_object(self, object_id: int) -> None:
        with signals_blocked(self.object):
            self.object.setValue(object_id)

    def _show_polarity(self) -> None:
        self.polarity.setText(f"New points: {self.workspace.prompts.polarity} (T)")

    def _refresh(self, _: object = None) -> None:
        """Show what lies on the plane shown, and what to do next where that is nothing."""
        self.row.look_again()
        if not self.row.busy and self._placed_then - self._with_prompts():
            # What was said of them is past: they were cleared, or are along another axis.
            self._placed_then = set()
            self.row.set_message("")
        allow(self.place, self.heatmaps.lacking(False))
        allow(self.place_all, self.heatmaps.lacking(True))
        self.found.setText(found_words(self.workspace, self.heatmaps))
