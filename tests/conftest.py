"""What all tests share: a fault of ours is raised as it is, not told as one of a file."""

import pytest

from napari_cam_sam.errors import DEBUG_VARIABLE


@pytest.fixture(autouse=True)
def _raw_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
