"""Widgets that every dock is made of: choices, sliders, sections, buttons and their layouts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QPoint, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QStyle,
    QStyleOptionSpinBox,
    QTabBar,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_cam_sam.plugin.qt.narrow import (
    ElidedButton,
    ElidedCheckBox,
    ElidedComboBox,
    ElidedToolButton,
    FormLayout,
    Row,
)
from napari_cam_sam.plugin.qt.plain_text import Label, plain_tip

__all__ = [
    "DoubleSpinBox",
    "FractionSlider",
    "Section",
    "SpinBox",
    "Tabs",
    "ValueComboBox",
    "allow",
    "button",
    "checkbox",
    "form_layout",
    "hbox",
    "vbox",
]


# In pixels, beside the digits of a number: the margins of its field, and where one types.
_CURSOR = 8
_TRAINED = "model.safetensors"

Item = tuple[str, Any] | tuple[str, Any, str]


class _LeavesWheel:
    """Leaves the wheel to the dock: scrolling it must not change what it passes over."""

    def wheelEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """Let the event go on to the scroll area."""
        event.ignore()


class SpinBox(_LeavesWheel, QSpinBox):
    """A whole number."""


class DoubleSpinBox(_LeavesWheel, QDoubleSpinBox):
    """A number, shown with as many decimals as it has, two at least and six at most."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(6)
        self.valueChanged.connect(lambda _: self.updateGeometry())

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt calls it so
        """Ask for the room of the number as it is shown, which may have more decimals."""
        return self._whole(super().sizeHint())

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt calls it so
        """Ask for the same: a number that is cut off is another number."""
        return self._whole(super().minimumSizeHint())

    def _whole(self, hint: QSize) -> QSize:
        option = QStyleOptionSpinBox()
        self.initStyleOption(option)
        box, field = QStyle.ComplexControl.CC_SpinBox, QStyle.SubControl.SC_SpinBoxEditField
        beside = self.width() - self.style().subControlRect(box, option, field, self).width()
        room = beside + self.fontMetrics().horizontalAdvance(self.text()) + _CURSOR
        return hint.expandedTo(QSize(room, 0))

    def textFromValue(self, value: float) -> str:  # noqa: N802 - Qt calls it so
        """Return the number without further zeros at its end."""
        text: str = super().textFromValue(value)
        return text[: max(len(text) - 4, len(text.rstrip("0")))]


class _Slider(_LeavesWheel, QSlider):
    """A slider that may be short."""

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt calls it so
        """Ask for room beside a number in a narrow dock."""
        return super().sizeHint().boundedTo(QSize(30, 100))

    minimumSizeHint = sizeHint  # noqa: N815 - Qt calls it so


class ValueComboBox(_LeavesWheel, ElidedComboBox):
    """A list of things to choose from, each a text and what it stands for.

    Parameters
    ----------
    hint : str
        Its tooltip.
    items : iterable of tuple
        What it lists first, as of `offer`.
    """

    chosen = Signal()
    """The user chose, not the program."""

    def __init__(self, hint: str, items: Iterable[Item] = ()) -> None:
        super().__init__()
        self.setToolTip(hint)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(10)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.activated.connect(lambda _: self.chosen.emit())
        self.offer(items)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt calls it so
        """Leave letters to the viewer: S segments, and must not choose what begins with it."""
        if event.text().isalpha():
            event.ignore()
        else:
            super().keyPressEvent(event)

    def offer(self, items: Iterable[Item]) -> None:
        """List items, each (text, value) or (text, value, hint); keep what was chosen."""
        before = self.value()
        with signals_blocked(self):
            self.clear()
            for text, value, *hint in items:
                self.addItem(text, value)
                if hint:
                    self.setItemData(
                        self.count() - 1, plain_tip(hint[0]), Qt.ItemDataRole.ToolTipRole
                    )
            self.set_value(before)

    def value(self) -> Any:
        """Return what is chosen, None for nothing."""
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


class FractionSlider(QWidget):
    """A slider and a number for a value in [0, 1].

    Parameters
    ----------
    hint : str
        Its tooltip.
    value : float
        It begins with.
    """

    changed = Signal()

    def __init__(self, hint: str = "", value: float = 0.0) -> None:
        super().__init__()
        self.slider = _Slider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 100)
        self.number = DoubleSpinBox()
        self.number.setRange(0, 1)
        self.number.setSingleStep(0.05)
        for widget in (self.slider, self.number):
            widget.setToolTip(hint)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.slider)
        row.addWidget(self.number)
        self.slider.valueChanged.connect(self._slid)
        self.number.valueChanged.connect(self._typed)
        self.set_value(value)

    def value(self) -> float:
        """Return the value."""
        return float(self.number.value())

    def set_value(self, value: float) -> None:
        """Set the value."""
        self.number.setValue(value)

    def say_unit(self, unit: str) -> None:
        """Show behind the number what it is a fraction of."""
        self.number.setSuffix(f" {unit}" if unit else "")

    def _slid(self, value: int) -> None:
        if round(self.number.value() * 100) != value:
            self.number.setValue(value / 100)

    def _typed(self, value: float) -> None:
        with signals_blocked(self.slider):
            self.slider.setValue(round(value * 100))
        self.changed.emit()


class _TabBar(_LeavesWheel, QTabBar):
    """Tabs."""


class Tabs(QTabWidget):
    """Pages that the wheel does not turn, each as high as it needs to be."""

    def __init__(self) -> None:
        super().__init__()
        self.setTabBar(_TabBar())
        self.setUsesScrollButtons(True)
        self.currentChanged.connect(lambda _: self._fit())

    def tabInserted(self, _: int) -> None:  # noqa: N802 - Qt calls it so
        """Ask for no room for a page that is not seen."""
        self._fit()

    def _fit(self) -> None:
        """Ask for the room of the page that is seen, not of the largest."""
        for i in range(self.count()):
            seen = i == self.currentIndex()
            kind = QSizePolicy.Policy.Expanding if seen else QSizePolicy.Policy.Ignored
            self.widget(i).setSizePolicy(kind, kind)


class Section(QWidget):
    """A part of a dock with a title that folds it.

    superqt's would fix the height when it opens, and cut off what grows in it later.

    Parameters
    ----------
    title : str
    content : QWidget
    opened : bool
        Whether it begins unfolded.
    """

    def __init__(self, title: str, content: QWidget, opened: bool = True) -> None:
        super().__init__()
        self.title = ElidedToolButton()
        self.title.setText(title)
        self.title.setCheckable(True)
        self.title.setChecked(opened)
        self.title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.title.setStyleSheet("QToolButton { font-weight: bold; border: none; padding: 4px; }")
        self.content = content
        vbox(self, self.title, content).setSpacing(2)
        self.title.toggled.connect(self._fold)
        # Not where a program unfolds it: the user may look at something else then.
        self.title.clicked.connect(lambda: QTimer.singleShot(0, self._come_into_sight))
        self._fold(opened)

    def _fold(self, opened: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow
        self.title.setArrowType(arrow)
        self.content.setVisible(opened)

    def _come_into_sight(self) -> None:
        """Scroll as far as all of it can be seen, at most until its title is at the top."""
        area = self.parentWidget()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parentWidget()
        if area is None or not self.title.isChecked():
            return
        inside, bar = area.widget(), area.verticalScrollBar()
        top = self.mapTo(inside, QPoint(0, 0)).y()
        hidden = top + self.height() - (bar.value() + area.viewport().height())
        if hidden > 0:
            bar.setValue(min(bar.value() + hidden, top))


def form_layout(rows: Iterable[tuple[str, QWidget]]) -> FormLayout:
    """Lay out labelled widgets one below the other.

    Parameters
    ----------
    rows : iterable of (str, QWidget)
        A label, which gets the widget's tooltip, and the widget.

    Returns
    -------
    FormLayout
        Without margins.
    """
    layout = FormLayout()
    for name, widget in rows:
        label = Label(name)
        label.setToolTip(widget.toolTip())
        layout.addRow(label, widget)
    return layout


def button(text: str, hint: str) -> QPushButton:
    """Return a button with a tooltip.

    Parameters
    ----------
    text, hint : str

    Returns
    -------
    QPushButton
    """
    made = ElidedButton(text)
    made.setToolTip(hint)
    return made


def allow(one: QPushButton, reason: str = "") -> None:
    """Let a button be pressed, or say in its tooltip why it cannot be.

    Parameters
    ----------
    one : QPushButton
        Made by `button`.
    reason : str
        Empty where it can.
    """
    if one.property("hint") is None:
        one.setProperty("hint", one.toolTip())
    one.setEnabled(not reason)
    one.setToolTip(plain_tip(reason) if reason else one.property("hint"))


def checkbox(text: str, hint: str, checked: bool = False) -> QCheckBox:
    """Return a check box with a tooltip.

    Parameters
    ----------
    text, hint : str
    checked : bool

    Returns
    -------
    QCheckBox
    """
    made = ElidedCheckBox(text)
    made.setToolTip(hint)
    made.setChecked(checked)
    return made


def hbox(*widgets: QWidget, parent: QWidget | None = None) -> QBoxLayout:
    """Lay out widgets side by side; buttons share the room, and lie below each other without it.

    Parameters
    ----------
    *widgets : QWidget
    parent : QWidget, optional
        That gets the layout.

    Returns
    -------
    QBoxLayout
        Without margins.
    """
    buttons = [one for one in widgets if isinstance(one, QPushButton)]
    made = Row(parent) if buttons else QHBoxLayout(parent)
    made.setContentsMargins(0, 0, 0, 0)
    for one in buttons:
        one.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    for widget in widgets:
        made.addWidget(widget)
    return made


def vbox(
    parent: QWidget | None,
    *items: QWidget | QLayout,
    margins: tuple[int, int, int, int] | None = (0, 0, 0, 0),
) -> QVBoxLayout:
    """Lay out widgets and layouts one below the other.

    Parameters
    ----------
    parent : QWidget or None
        That gets the layout.
    *items : QWidget or QLayout
    margins : tuple of int or None
        Left, top, right and bottom, in pixels; None for those of the style.

    Returns
    -------
    QVBoxLayout
    """
    made = QVBoxLayout(parent)
    if margins is not None:
        made.setContentsMargins(*margins)
    for item in items:
        if isinstance(item, QWidget):
            made.addWidget(item)
        else:
            made.addLayout(item)
    return made
