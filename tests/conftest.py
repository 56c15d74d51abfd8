"""What all tests share: raw errors, no thread left behind, a word on missing images."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_cam_sam.errors import DEBUG_VARIABLE

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a shell runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several test processes a display of its own: focus and clipboard are one's."""
    xvfb = shutil.which("Xvfb")
    if not hasattr(config, "workerinput") or xvfb is None:
        return
    number, sent = os.pipe()
    screen = ["-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    server = subprocess.Popen(
        [xvfb, "-displayfd", str(sent), *screen], pass_fds=[sent], stderr=subprocess.DEVNULL
    )
    os.close(sent)
    with open(number) as told:
        os.environ["DISPLAY"] = f":{told.readline().strip()}"
    config.add_cleanup(server.terminate)


@pytest.fixture(autouse=True)
def _raw_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise a fault of ours as it is, not told as one of a file."""
    monkeypatch.setenv(DEBUG_VARIABLE, "1")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave the user's embeddings alone, and take no checkpoint that is installed."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NAPARI_CAM_SAM_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def seeded() -> Any:
    """The segmenter that needs no weights."""
    from napari_cam_sam.sam.loading import load_segmenter

    return load_segmenter("seeded")


@pytest.fixture
def picture(tmp_path: Path) -> tuple[Path, Path]:
    """The ultrasound-like sample and its truth as PNG."""
    from PIL import Image

    from napari_cam_sam.demo.samples import make_sample

    sample = make_sample("ultrasound")
    Image.fromarray(sample.image.data).save(tmp_path / "image.png")
    Image.fromarray(sample.truth.data).save(tmp_path / "truth.png")
    return tmp_path / "image.png", tmp_path / "truth.png"


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Fail where a test leaves a thread running that would keep Python from ending."""
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 10
    while left := _others(before):
        if time.monotonic() > end:
            raise AssertionError(f"left running: {', '.join(one.name for one in left)}")
        time.sleep(0.01)


def _others(before: set[threading.Thread]) -> list[threading.Thread]:
    # dask keeps its pool for the process.
    pool = getattr(sys.modules.get("dask.threaded"), "default_pool", None)
    kept = before | getattr(pool, "_threads", set())
    return [one for one in threading.enumerate() if not one.daemon and one not in kept]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many tests were skipped for want of the real images."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("real_data" in report.keywords for report in skipped)
    if count:
        terminalreporter.write_line(
            f"real_data: {count} tests skipped, since their images are not beside the project"
        )
