"""A form of the fields of a data class.

It is not magicgui's: whose numbers are never None, whose slider takes what is typed only when the
field is left and keeps decimals that it does not show, and whose fields all take the wheel. Types
of fields are registered there for all plugins at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QHBoxLayout, QSpinBox, QWidget
from superqt.utils import signals_blocked

from napari_cam_sam.field_help import field_help
from napari_cam_sam.plugin.qt.narrow import FormLayout
from napari_cam_sam.plugin.qt.widgets import (
    DoubleSpinBox,
    FractionSlider,
    SpinBox,
    ValueComboBox,
)

__all__ = ["OptionalField", "ParameterForm"]

# What is smaller by default is no fraction to be set by a slider in hundredths.
_LEAST_FRACTION = 0.01
# The pixels of a large plane, e.g. as a least area.
_MOST = 10_000_000


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
        """Return the value, None where it is switched off."""
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
    only : collection of str, optional
        Which fields the form has; the others keep their defaults.
    """

    changed = Signal()

    def __init__(
        self,
        group: type[Any],
        starts: Mapping[str, float] | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        self._group = group
        self._widgets: dict[str, QWidget] = {}
        # What was set, and how it is shown: perhaps rounded.
        self._given: dict[str, tuple[Any, Any]] = {}
        self._rows = FormLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        hints, helps = get_type_hints(group), field_help(group)
        for field in fields(group):
            if only is None or field.name in only:
                start = (starts or {}).get(field.name, field.default)
                hint = _for_users(helps.get(field.name, ""))
                widget = self._widget(hints[field.name], hint, start)
                self._widgets[field.name] = widget
                self._rows.addRow(_spoken(field.name), widget)

    def value(self) -> Any:
        """Return the data class with what the form shows.

        Raises
        ------
        CamSamError
            Where the class refuses a value.
        """
        return self._group(**self.values())

    def values(self) -> dict[str, Any]:
        """Return the fields by name; what was set is exact, until it is shown otherwise."""
        found = {}
        for name, widget in self._widgets.items():
            shown = self._read(widget)
            before, given = self._given.get(name, (None, None))
            found[name] = given if shown == before else shown
        return found

    def set_value(self, value: Any) -> None:
        """Show a data class; `changed` is sent once, if anything is another."""
        before = self.values()
        with signals_blocked(self):
            for name, widget in self._widgets.items():
                _show(widget, getattr(value, name))
                self._given[name] = self._read(widget), getattr(value, name)
        if before != self.values():
            self.changed.emit()

    def widget(self, name: str) -> Any:
        """Return the widget of a field."""
        return self._widgets[name]

    def hide_fields(self, names: Collection[str]) -> None:
        """Hide these fields alone: they do not matter to the rule that is chosen."""
        for name, widget in self._widgets.items():
            self._rows.setRowVisible(widget, name not in names)

    def _widget(self, kind: Any, hint: str, default: Any) -> QWidget:
        widget: Any
        choices = get_args(kind)
        if NoneType in choices:
            (number,) = (one for one in choices if one is not NoneType)
            inner = self._widget(number, hint, default)
            if default is not None:
                _show(inner, default)
            widget = OptionalField(inner)
            widget.switch.toggled.connect(self.changed)
        elif choices:
            widget = ValueComboBox(hint, ((_spoken(one), one) for one in choices))
            widget.chosen.connect(self.changed)
        elif kind is bool:
            widget = QCheckBox()
            widget.toggled.connect(self.changed)
        elif kind is int:
            widget = SpinBox()
            widget.setRange(0, _MOST)
            widget.valueChanged.connect(self.changed)
        elif isinstance(default, float) and _LEAST_FRACTION <= default < 1:
            widget = FractionSlider(hint)
            widget.changed.connect(self.changed)
        else:
            widget = DoubleSpinBox()
            widget.setRange(0, _MOST)
            if isinstance(default, float) and 0 < default < _LEAST_FRACTION:
                widget.setStepType(DoubleSpinBox.StepType.AdaptiveDecimalStepType)
            widget.valueChanged.connect(self.changed)
        widget.setToolTip(hint)
        return widget

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


def _spoken(name: str) -> str:
    text = _for_users(name.replace("_", " ").replace("iou", "IoU"))
    return text[:1].upper() + text[1:]


def _for_users(text: str) -> str:
    """Return a text of the core with "slice" for what it calls a plane."""
    return re.sub(
        r"\b([Pp])lane(s?)\b", lambda m: ("Slice" if m[1] == "P" else "slice") + m[2], text
    )
