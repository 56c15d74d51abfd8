"""Widgets that every dock is made of: choices, sliders, sections, and a form of a data class."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints
from weakref import WeakMethod

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_cam_sam.field_help import field_help
from napari_cam_sam.models.names import CHECKPOINTS
from napari_cam_sam.plugin.qt.plain_text import Label, plain_tip

__all__ = [
    "CHECKPOINT_FILES",
    "FractionSlider",
    "OptionalField",
    "ParameterForm",
    "Section",
    "SpinBox",
    "ValueComboBox",
    "WrappingLabel",
    "button",
    "connect_until_destroyed",
    "form_layout",
    "hbox",
]


CHECKPOINT_FILES = f"Checkpoints ({' '.join(f'*{suffix}' for suffix in CHECKPOINTS)})"
"""What a dialog for files with weights lists."""

_TRAINED = "model.safetensors"
# What is smaller by default is no fraction to be set by a slider in hundredths.
_LEAST_FRACTION = 0.01

_FORGETTING: set[Callable[..., None]] = set()


class _LeavesWheel:
    """Leaves the wheel to the dock: scrolling it must not change what it passes over."""

    def wheelEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Let the event go on to the scroll area."""
        event.ignore()


class SpinBox(_LeavesWheel, QSpinBox):
    """A whole number."""


class _DoubleSpinBox(_LeavesWheel, QDoubleSpinBox):
    """A number."""


class _RateSpinBox(_DoubleSpinBox):
    """A small number, such as a learning rate: as many decimals as it has."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(6)
        self.setRange(0, 1)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)

    def textFromValue(self, value: float) -> str:  # noqa: N802 - Qt calls it so
        """Write it without the zeros at its end."""
        text: str = super().textFromValue(value)
        return text.rstrip("0").rstrip(".,") if any(point in text for point in ".,") else text


class _Slider(_LeavesWheel, QSlider):
    """A slider."""


class ValueComboBox(_LeavesWheel, QComboBox):
    """A list of things to choose from, each a text and what it stands for."""

    chosen = Signal()
    """The user chose, not the program."""

    def __init__(self, hint: str) -> None:
        super().__init__()
        self.setToolTip(hint)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(10)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.activated.connect(lambda _: self.chosen.emit())

    def offer(self, items: Iterable[tuple[str, Any] | tuple[str, Any, str]]) -> None:
        """List items, each (text, value) or (text, value, hint); keep what was chosen."""
        before = self.value()
        self.blockSignals(True)
        self.clear()
        for text, value, *hint in items:
            self.addItem(text, value)
            if hint:
                self.setItemData(self.count() - 1, plain_tip(hint[0]), Qt.ItemDataRole.ToolTipRole)
        self.set_value(before)
        self.blockSignals(False)

    def value(self) -> Any:
        """Give what is chosen, None for nothing."""
        return self.currentData()

    def set_value(self, value: Any) -> bool:
        """Choose by value; False, and nothing is changed, where it is not on the list."""
        for i in range(self.count()):
            have = self.itemData(i)
            if have is value or (type(have) is type(value) and have == value):
                self.setCurrentIndex(i)
                return True
        return False

    def add_path(self, path: str, place: int) -> None:
        """Choose a file, which is put on the list at a place if it is not there yet."""
        if not self.set_value(path):
            # Trainings call their classifiers alike: the folder tells them apart.
            file = Path(path)
            name = f"{file.parent.name}/{file.name}" if file.name == _TRAINED else file.name
            self.insertItem(place, name, path)
            self.setItemData(place, plain_tip(path), Qt.ItemDataRole.ToolTipRole)
            self.setCurrentIndex(place)


class WrappingLabel(Label):
    """A text that wraps where the dock ends; a long one, or a long path, asks for no wider dock."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setWordWrap(True)
        policy = self.sizePolicy()
        policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
        self.setSizePolicy(policy)
        self.setText(text)

    def setText(self, text: str) -> None:  # noqa: N802 - Qt calls it so
        """Show a text, which may break after each part of a path."""
        super().setText(re.sub(r"([/\\_])", "\\1\u200b", text))

    def text(self) -> str:
        """Give the text as it was set."""
        return super().text().replace("\u200b", "")


class FractionSlider(QWidget):
    """A slider and a number for a value in [0, 1]."""

    changed = Signal()

    def __init__(self, hint: str = "") -> None:
        super().__init__()
        self.slider = _Slider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 100)
        self.number = _DoubleSpinBox()
        self.number.setRange(0, 1)
        self.number.setSingleStep(0.05)
        self.number.setDecimals(2)
        for widget in (self.slider, self.number):
            widget.setToolTip(hint)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.slider)
        row.addWidget(self.number)
        self.slider.valueChanged.connect(self._slid)
        self.number.valueChanged.connect(self._typed)

    def value(self) -> float:
        """Give the value."""
        return float(self.number.value())

    def set_value(self, value: float) -> None:
        """Set the value."""
        self.number.setValue(value)

    def say_unit(self, unit: str) -> None:
        """Say behind the number what it is a fraction of."""
        self.number.setSuffix(f" {unit}" if unit else "")

    def _slid(self, value: int) -> None:
        if round(self.number.value() * 100) != value:
            self.number.setValue(value / 100)

    def _typed(self, value: float) -> None:
        self.slider.blockSignals(True)
        self.slider.setValue(round(value * 100))
        self.slider.blockSignals(False)
        self.changed.emit()


class Section(QWidget):
    """A part of a dock with a title that folds it."""

    def __init__(self, title: str, content: QWidget, opened: bool = True) -> None:
        super().__init__()
        self.title = QToolButton()
        self.title.setText(title)
        self.title.setCheckable(True)
        self.title.setChecked(opened)
        self.title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.title.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.title.setStyleSheet("QToolButton { font-weight: bold; border: none; padding: 4px; }")
        self.content = content
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(2)
        whole.addWidget(self.title)
        whole.addWidget(content)
        self.title.toggled.connect(self._fold)
        self._fold(opened)

    def _fold(self, opened: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow
        self.title.setArrowType(arrow)
        self.content.setVisible(opened)


class OptionalField(QWidget):
    """A value that a check box switches off: its value is None then.

    Parameters
    ----------
    inner : SpinBox or FractionSlider
        It keeps what it shows while it is off.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.switch = QCheckBox()
        self.switch.setToolTip(inner.toolTip())
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.switch)
        row.addWidget(inner, 1)
        inner.setEnabled(False)
        self.switch.toggled.connect(inner.setEnabled)

    def value(self) -> Any:
        """Give the value, None where it is switched off."""
        return self.inner.value() if self.switch.isChecked() else None

    def set_value(self, value: Any) -> None:
        """Set the value and switch it on; None switches it off."""
        if value is not None:
            _show(self.inner, value)
        self.switch.setChecked(value is not None)


class ParameterForm(QWidget):
    """A form of a frozen data class: its fields, their defaults, and its docstring as hints.

    Parameters
    ----------
    group : type
        A data class with fields of type bool, int, float, a Literal of strings, or a number or
        None: such a rule can be switched off.
    starts : mapping of str to number, optional
        What fields that are None by default show when they are switched on first.
    only : iterable of str, optional
        Which fields the form has; the others keep their defaults.
    """

    changed = Signal()

    def __init__(
        self,
        group: type[Any],
        starts: Mapping[str, float] | None = None,
        only: Iterable[str] | None = None,
    ) -> None:
        super().__init__()
        self._group = group
        shown = None if only is None else set(only)
        self._widgets: dict[str, QWidget] = {}
        self._setting = False
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        hints, helps = get_type_hints(group), field_help(group)
        helps = {name: _for_users(text) for name, text in helps.items()}
        for field in fields(group):
            if shown is not None and field.name not in shown:
                continue
            start = (starts or {}).get(field.name, field.default)
            widget = self._widget(hints[field.name], helps.get(field.name, ""), start)
            self._widgets[field.name] = widget
            rows.addRow(_spoken(field.name), widget)

    def value(self) -> Any:
        """Give the data class with what the form shows.

        Raises
        ------
        CamSamError
            Where the class refuses a value.
        """
        return self._group(**self.values())

    def values(self) -> dict[str, Any]:
        """Give what the form shows, by field."""
        return {name: self._read(widget) for name, widget in self._widgets.items()}

    def set_value(self, value: Any) -> None:
        """Show a data class; `changed` is sent once, if anything is another."""
        before = self.values()
        self._setting = True
        for name, widget in self._widgets.items():
            _show(widget, getattr(value, name))
        self._setting = False
        if before != self.values():
            self.changed.emit()

    def widget(self, name: str) -> Any:
        """Give the widget of a field."""
        return self._widgets[name]

    def show_fields(self, names: Iterable[str]) -> None:
        """Show these fields alone: the others do not matter to the rule that is chosen."""
        wanted, layout = set(names), self.layout()
        for name, widget in self._widgets.items():
            widget.setVisible(name in wanted)
            label = layout.labelForField(widget) if isinstance(layout, QFormLayout) else None
            if label is not None:
                label.setVisible(name in wanted)

    def _widget(self, kind: Any, hint: str, default: Any) -> QWidget:
        widget: Any
        choices = get_args(kind)
        if NoneType in choices:
            (number,) = (one for one in choices if one is not NoneType)
            inner = self._widget(number, hint, default)
            if default is not None:
                _show(inner, default)
            widget = OptionalField(inner)
            widget.switch.toggled.connect(self._tell)
        elif choices:
            widget = ValueComboBox(hint)
            widget.offer((_spoken(one), one) for one in choices)
            widget.chosen.connect(self._tell)
        elif kind is bool:
            widget = QCheckBox()
            widget.toggled.connect(self._tell)
        elif kind is int:
            widget = SpinBox()
            widget.setRange(0, 10_000)
            widget.valueChanged.connect(self._tell)
        elif isinstance(default, float) and 0 < default < _LEAST_FRACTION:
            widget = _RateSpinBox()
            widget.valueChanged.connect(self._tell)
        elif isinstance(default, float) and 0 < default < 1:
            widget = FractionSlider(hint)
            widget.changed.connect(self._tell)
        else:
            widget = _DoubleSpinBox()
            widget.setRange(0, 10_000)
            widget.valueChanged.connect(self._tell)
        widget.setToolTip(hint)
        return widget

    def _tell(self, *_: object) -> None:
        if not self._setting:
            self.changed.emit()

    @staticmethod
    def _read(widget: Any) -> Any:
        return widget.isChecked() if isinstance(widget, QCheckBox) else widget.value()


def _show(widget: Any, value: Any) -> None:
    """Let a widget of a form show a value."""
    if isinstance(widget, QCheckBox):
        widget.setChecked(value)
    elif isinstance(widget, QSpinBox | QDoubleSpinBox):
        widget.setValue(value)
    else:
        widget.set_value(value)


def form_layout(rows: Iterable[tuple[str, QWidget]]) -> QFormLayout:
    """Lay out labelled widgets one below the other."""
    layout = QFormLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for name, widget in rows:
        label = Label(name)
        label.setToolTip(widget.toolTip())
        layout.addRow(label, widget)
    return layout


def button(text: str, hint: str) -> QPushButton:
    """Make a button with a tooltip."""
    made = QPushButton(text)
    made.setToolTip(hint)
    return made


def hbox(*widgets: QWidget) -> QHBoxLayout:
    """Lay out widgets side by side; buttons share the room that is left."""
    made = QHBoxLayout()
    for widget in widgets:
        made.addWidget(widget, 1 if isinstance(widget, QPushButton) else 0)
    return made


def _spoken(name: str) -> str:
    text = _for_users(name.replace("_", " ").replace("iou", "IoU"))
    return text[:1].upper() + text[1:]


def _for_users(text: str) -> str:
    """Return a text of the core with "slice" for what it calls a plane."""
    return re.sub(
        r"\b([Pp])lane(s?)\b", lambda m: ("Slice" if m[1] == "P" else "slice") + m[2], text
    )


def connect_until_destroyed(widget: QWidget, emitter: Any, method: Callable[..., None]) -> None:
    """Connect a method of a widget to an event of napari's, for as long as Qt keeps the widget."""
    emitter.connect(method)
    held = WeakMethod(method)

    def forget(*_: object) -> None:
        _FORGETTING.discard(forget)
        there = held()
        if there is not None:
            emitter.disconnect(there)

    # Held here: Python may take the widget, and all that hangs on it, before Qt sends this.
    _FORGETTING.add(forget)
    widget.destroyed.connect(forget)
