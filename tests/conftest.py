"""What all tests share: a fault of ours is raised as it is, not told as one of a file."""

import signal

import pytest

from napari_cam_sam.errors import DEBUG_VARIABLE

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a shell runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _raw_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
