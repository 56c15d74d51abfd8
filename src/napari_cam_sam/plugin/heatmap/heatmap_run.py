"""The task over planes: load the classifier, compute heatmaps, write each into the layer."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_cam_sam.cam.names import MANY_PASSES
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import WindowParameters
from napari_cam_sam.plugin.heatmap.classifier_panel import ClassifierPanel
from napari_cam_sam.plugin.heatmap.loaded_classifier import LoadedClassifier, load
from napari_cam_sam.plugin.heatmap.pixel_set_panel import ChosenPixels
from napari_cam_sam.plugin.qt.task_progress import TaskProgress
from napari_cam_sam.plugin.qt.tasks import report_steps
from napari_cam_sam.plugin.state.heatmap_record import PREDICTED, HeatmapRecord
from napari_cam_sam.plugin.state.snapshot import Snapshot
from napari_cam_sam.plugin.state.workspace import Workspace

__all__ = ["HeatmapRun", "HeatmapSettings"]

# What a bar shows of a 3D network's way through a volume, before its planes are written.
_STEPS_OF_VOLUME = 20
# Planes in one pass of the model; a cancel waits for the pass that runs.
_BATCH = 4
# Covered or masked inputs of one plane in one pass.
_PERTURBED = 16
_PAINT_SECONDS = 0.3


@dataclass(frozen=True)
class HeatmapSettings:
    """What decides about a heatmap beside the plane, as the dock shows it.

    Attributes
    ----------
    classifier, device : str
    targets, layers : tuple of str or None
        Classes and layers that are wanted; of each the first is taken that the classifier has.
    method : str
    min_probability : float
        Of the class; below it the plane has no evidence.
    window : WindowParameters
    pixels : ChosenPixels or None
        Of a segmentation network.
    occlusion : OcclusionParameters
        Of the method of that name.
    plane_order : str or None
        How planes lie before the classifier, None for what its card says.
    """

    classifier: str
    device: str
    targets: tuple[str | None, ...]
    layers: tuple[str | None, ...]
    method: str
    min_probability: float
    window: WindowParameters
    pixels: ChosenPixels | None = None
    occlusion: OcclusionParameters = field(default_factory=OcclusionParameters)
    plane_order: str | None = None

    def made_by(self, loaded: LoadedClassifier) -> dict[str, Any]:
        """Name all that decides about a heatmap of a classifier, as plain data."""
        target, layer = loaded.target(self.targets), loaded.layer(self.layers)
        order = loaded.classifier.card.plane_order
        pixels = self.pixels if loaded.segments else None
        return {
            "classifier": self.classifier,
            # Of the file, hashed when it was read.
            "classifier_sha256": loaded.classifier.sha256,
            "target": None if target == PREDICTED else target,
            "method": self.method,
            "layers": [] if layer is None else [layer],
            # The predicted class is whatever is likeliest: there is nothing to fall short of.
            "min_probability": 0.0 if target == PREDICTED else self.min_probability,
            "window": asdict(self.window),
            "pixels": None if pixels is None else pixels.data,
            "region": None if pixels is None else pixels.layer,
            **({} if order == "rows-columns" else {"plane_order": order}),
            **({"occlusion": asdict(self.occlusion)} if self.method == "occlusion" else {}),
        }


@dataclass(frozen=True, eq=False)
class _Computed:
    """One step of the task: the heatmap of a plane, and the seconds a plane took so far.

    `explained` holds the pixels whose scores it explains, of a segmentation network.
    """

    index: int
    values: NDArray[np.float32]
    note: HeatmapRecord
    pace: float
    explained: NDArray[np.bool_] | None = None


class HeatmapRun(QObject):
    """Loads classifiers and computes heatmaps, one task at a time.

    Parameters
    ----------
    workspace : Workspace
    classifier : ClassifierPanel
    row : TaskProgress
        Runs the tasks and shows how far they are.
    parent : QWidget
        The dock.
    """

    ended = Signal(bool)
    """A task is over; True if it ran to its end."""

    def __init__(
        self, workspace: Workspace, classifier: ClassifierPanel, row: TaskProgress, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._workspace, self._classifier, self._row = workspace, classifier, row
        self._pace: dict[tuple[str, str], float] = {}
        self._loads: str | None = None
        self._written: Snapshot | None = None
        self._painted_at = 0.0
        row.ended.connect(self._ended)

    @property
    def loading(self) -> bool:
        """Whether the task that runs has no classifier yet."""
        return self._loads is not None

    def pace(self, classifier: str, method: str) -> float | None:
        """Return the seconds that a plane takes, None where that is not known."""
        return self._pace.get((classifier, method))

    def start(
        self, settings: HeatmapSettings, snapshot: Snapshot | None, indices: Sequence[int] = ()
    ) -> bool:
        """Load the classifier if it is not, then compute heatmaps; without a snapshot only load.

        Returns
        -------
        bool
            False if a task runs already.
        """
        if self._row.busy:
            return False
        workspace, name = self._workspace, settings.classifier
        known = self._classifier.loaded()
        self._loads = None if known is not None else name

        def show(step: Any) -> None:
            if isinstance(step, LoadedClassifier):
                self._loads = None
                self._classifier.adopt(step)
                self._row.set_message(f"Loaded {name}.")
            elif isinstance(step, _Computed):
                self._pace[name, settings.method] = step.pace
                self._show(snapshot, step)

        def wanted() -> bool:
            # A classifier that is being loaded is of use for whatever image there is by then.
            return self._loads is not None or snapshot is None or workspace.is_current(snapshot)

        if known is None:
            self._row.set_message(f"Loading PyTorch and the classifier {name}…")
        total = len(indices) + (known is None)
        if known is not None and known.of_volumes and snapshot is not None:
            total = _STEPS_OF_VOLUME + snapshot.image.n_planes(snapshot.axis)
        stop = threading.Event()
        return self._row.start(
            lambda: _steps(settings, known, snapshot, indices, stop),
            total,
            f"Loading {name}" if snapshot is None else f"Heatmaps of {snapshot.image.name}",
            show,
            wanted,
            stop,
        )

    def _show(self, snapshot: Any, step: _Computed) -> None:
        """Write one heatmap into the layer."""
        workspace, index = self._workspace, step.index
        layer = self._layer(snapshot)
        if layer is None:
            self._row.stop()
            return
        workspace.heatmaps.set_record(layer, index, step.note)
        slot = snapshot.image.plane_index(snapshot.axis, index)
        layer.data[slot] = step.values
        if step.explained is not None:
            workspace.heatmaps.explained(snapshot.axis).data[slot] = step.explained
        try:
            axis, shown = workspace.plane()
            across = axis != snapshot.axis
            seen = across or shown == index
        except CamSamError:
            across = seen = True
        now = time.monotonic()
        if seen and (not across or now - self._painted_at > _PAINT_SECONDS):
            # Painting takes longer than a small classifier: only what can be seen is painted.
            self._painted_at = now
            layer.refresh(thumbnail=False, highlight=False, extent=False)
            if step.explained is not None:
                workspace.heatmaps.explained(snapshot.axis).refresh()
            workspace.heatmaps_changed.emit()

    def _layer(self, snapshot: Snapshot) -> Any | None:
        """Find the layer to write into; None if the user deleted it while the task ran."""
        layer = self._workspace.heatmaps.layer(snapshot.axis)
        outgrown = layer is not None and layer.data.shape != snapshot.image.spatial_shape
        if outgrown or (layer is None and snapshot is not self._written):
            layer = self._workspace.heatmaps.layer(snapshot.axis, create=True)
        self._written = snapshot
        return layer

    def _ended(self, complete: bool) -> None:
        if self._loads is not None and self._loads == self._classifier.name.value():
            # It could not be loaded; why stands in the notification.
            self._classifier.fall_back()
        self._loads = None
        with suppress(CamSamError):
            layer = self._workspace.heatmaps.layer(self._workspace.plane()[0])
            if layer is not None:
                layer.refresh()
        self._workspace.heatmaps_changed.emit()
        self.ended.emit(complete)


def _steps(
    settings: HeatmapSettings,
    loaded: LoadedClassifier | None,
    snapshot: Snapshot | None,
    indices: Sequence[int],
    stop: threading.Event,
) -> Generator[LoadedClassifier | _Computed | None]:
    """Load and compute, in a thread; a step of a volume's way is None."""
    if loaded is None:
        loaded = load(settings.classifier, settings.device, settings.plane_order)
        yield loaded
    if snapshot is None:
        return
    from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
    from napari_cam_sam.cam.pixel_sets import PixelSet
    from napari_cam_sam.cam.volume_heatmaps import planes_of
    from napari_cam_sam.pipeline.heatmaps import explain_planes, explain_volume, takes_image

    made_by, image, axis = settings.made_by(loaded), snapshot.image, snapshot.axis
    pixels = settings.pixels if loaded.segments else None
    region = None if pixels is None else pixels.region
    if loaded.segments and pixels is None:
        raise CamSamError(
            f"{loaded.classifier.name} is a segmentation network: choose which pixels to explain."
        )
    along = None if loaded.of_volumes else axis
    parameters = CamParameters(
        method=made_by["method"],
        target=made_by["target"],
        layers=tuple(made_by["layers"]),
        batch_size=_PERTURBED if settings.method in MANY_PASSES else _BATCH,
        min_probability=made_by["min_probability"],
        pixel_set=None if pixels is None else PixelSet(**pixels.along(along)),
        occlusion=settings.occlusion,
    )
    begin = time.monotonic()
    if loaded.of_volumes:
        network: Any = loaded.classifier
        whole = yield from report_steps(
            lambda tell: explain_volume(
                image, network, parameters, snapshot.window(), region, tell
            ),
            _STEPS_OF_VOLUME,
            None,
        )
        indices, found = range(image.n_planes(axis)), planes_of(whole, axis)
    elif takes_image(loaded.classifier):
        found = explain_planes(
            image, loaded.classifier, parameters, snapshot.window(), axis, indices, region
        )
    else:
        regions = None if region is None else (region(axis, i) for i in indices)
        planes = (snapshot.plane(i) for i in indices)
        found = compute_heatmaps(
            loaded.classifier, planes, parameters, regions=regions, cancelled=stop.is_set
        )
    for done, (index, heatmap) in enumerate(zip(indices, found, strict=True), start=1):
        # By the classifier that computed it: the dock may hold another by now.
        names, likely = loaded.classifier.card.class_names, heatmap.probabilities
        probabilities = dict(zip(names, map(float, likely), strict=True))
        note = HeatmapRecord(heatmap.target_name, probabilities, heatmap.reason, made_by)
        pace = (time.monotonic() - begin) / done
        yield _Computed(index, heatmap.values, note, pace, heatmap.region)
