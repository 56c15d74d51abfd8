"""A training in a thread of its own, told to a task epoch by epoch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_cam_sam.plugin.qt.tasks import Steps, run_in_thread
from napari_cam_sam.plugin.qt.torch_import import import_torch

if TYPE_CHECKING:
    from napari_cam_sam.models.training.parameters import TrainingParameters
    from napari_cam_sam.models.training.results import TrainingProgress, TrainingResult
    from napari_cam_sam.models.training.samples import SampleSet

__all__ = ["TrainingJob", "training_steps"]


@dataclass(eq=False)
class TrainingJob:
    """What is trained, and how far it is.

    Attributes
    ----------
    samples : callable
        Gives them, in the thread.
    parameters : TrainingParameters
    folder : Path
    resume : bool
    stop : threading.Event
        Set, it ends the training after the batch that runs: its result comes all the same.
    progress : TrainingProgress or None
        The newest; written by the thread, and read by the window when it likes.
    """

    samples: Callable[[], SampleSet]
    parameters: TrainingParameters
    folder: Path
    resume: bool
    stop: threading.Event = field(default_factory=threading.Event)
    progress: TrainingProgress | None = None


def training_steps(job: TrainingJob) -> Steps:
    """Train in a thread.

    Parameters
    ----------
    job : TrainingJob
        Its progress is kept up to date.

    Yields
    ------
    Epoch or TrainingResult
        Each epoch, and the result at last.
    """

    def work(put: Callable[[object], None]) -> TrainingResult:
        import_torch()
        from napari_cam_sam.models.training.run import train

        def tell(progress: TrainingProgress) -> None:
            job.progress = progress
            if progress.epoch is not None:
                put(progress.epoch)

        return train(
            job.samples(), job.parameters, job.folder,
            resume=job.resume, progress=tell, stop=job.stop.is_set,
        )  # fmt: skip

    result = yield from run_in_thread(work, job.stop)
    yield result
