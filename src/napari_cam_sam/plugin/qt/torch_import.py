"""PyTorch is imported when it is needed, with a window already open; this makes that safe."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading

from napari_cam_sam.errors import CamSamError

__all__ = ["import_torch"]

_LOCK = threading.Lock()


def import_torch() -> None:
    """Import PyTorch and torchvision into a process that already draws with OpenGL.

    One thread at a time: torchvision imports itself in a circle, so that a second thread would
    find it half there.

    On Linux, Mesa has by then loaded its LLVM for all to see, and triton, which PyTorch imports,
    brings another one: without a binding of its own to that, the process dies of a segmentation
    fault (https://github.com/pytorch/pytorch/issues/96060 is one of its forms).

    Raises
    ------
    CamSamError
        If PyTorch cannot be imported, e.g. on Windows, where it sometimes must come before Qt.
    """
    with _LOCK:
        _import()


def _import() -> None:
    # PyTorch may be there without triton, which it imports as late as torchvision comes.
    if "triton" not in sys.modules and sys.platform == "linux":
        if importlib.util.find_spec("triton") is not None:
            flags = sys.getdlopenflags()
            sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
            try:
                importlib.import_module("triton")
            except ImportError:
                pass  # PyTorch does without it
            finally:
                sys.setdlopenflags(flags)
    try:
        importlib.import_module("torch")
        importlib.import_module("torchvision")
    except (ImportError, OSError) as error:
        raise CamSamError(
            f"PyTorch cannot be loaded ({error}). Start napari with "
            '`python -c "import torch, napari; napari.Viewer(); napari.run()"`.'
        ) from error
