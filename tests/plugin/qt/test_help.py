"""The help of the docks: a page that comes with the package, and that the site has too."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
import yaml
from qtpy.QtCore import Qt
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QPushButton

from napari_cam_sam.plugin.qt.help import HelpWindow, help_address, help_text

MANIFEST = yaml.safe_load(files("napari_cam_sam").joinpath("napari.yaml").read_text())
CONTRIBUTIONS = MANIFEST["contributions"]
DOCKS = [one["display_name"] for one in CONTRIBUTIONS["widgets"]]


@pytest.mark.parametrize("name", DOCKS)
def test_each_dock_shows_its_help_and_its_page_of_the_site(
    viewer: Any, name: str, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    _, dock = viewer.window.add_plugin_dock_widget("napari-cam-sam", name)
    (asked,) = (one for one in dock.findChildren(QPushButton) if one.text() == "?")
    qtbot.mouseClick(asked, Qt.MouseButton.LeftButton)
    (shown,) = dock.findChildren(HelpWindow)
    words = shown.text.toPlainText()
    assert words.startswith(name)
    assert len(words) > 300
    assert "](" not in words
    assert "**" not in words
    # It is readable before any browser is asked for.
    assert opened == []
    shown.browse.click()
    assert opened == [help_address(name)]
    shown.close()


def test_the_page_of_the_site_is_named_by_the_package() -> None:
    site = "https://napari-cam-sam.github.io/napari-cam-sam/docks/"
    assert help_address("Heatmap") == f"{site}#heatmap"
    assert help_address("CAM → SAM") == f"{site}#cam-sam"  # as the site makes it of the title


def test_every_preference_is_described() -> None:
    words = help_text("Preferences")
    settings = CONTRIBUTIONS["configurations"]["general"]["properties"]
    assert [one["title"] for one in settings.values() if f"*{one['title']}*" not in words] == []
