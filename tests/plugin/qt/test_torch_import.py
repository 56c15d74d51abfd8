"""PyTorch is imported by threads that may ask for it at the same time."""

from __future__ import annotations

import importlib
import threading
import time
from typing import Any

import pytest

from napari_cam_sam.plugin.qt.torch_import import import_torch


def test_threads_that_need_it_import_it_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside: list[str] = []
    together: list[tuple[str, ...]] = []
    imported: list[str] = []

    def slowly(name: str) -> Any:
        inside.append(name)
        time.sleep(0.02)
        together.append(tuple(inside))
        inside.remove(name)
        imported.append(name)

    monkeypatch.setattr(importlib, "import_module", slowly)
    threads = [threading.Thread(target=import_torch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(names) == 1 for names in together)
    assert imported.count("torch") == imported.count("torchvision") == 3
