"""The models of a study in one process."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from napari_cam_sam.cam.heatmaps import check_request
from napari_cam_sam.models.factories import refused_factory
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.pipeline.heatmaps import ExplainableModel
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.segmenter import Segmenter
from napari_cam_sam.studies.config.settings import PREDICTION, Setting

__all__ = ["Models"]


class Models:
    """The models of a study in this process: each is loaded when it is first asked for.

    Parameters
    ----------
    device : str
        See :func:`napari_cam_sam.models.devices.choose_device`.
    allowed : collection of str, optional
        Of the study, see :class:`~napari_cam_sam.studies.config.plan.Study`.
    """

    def __init__(self, device: str = "auto", allowed: Collection[str] | None = None) -> None:
        self.device = device
        self.allowed = allowed
        self._classifiers: dict[str, ExplainableModel] = {}
        self._segmenters: dict[str, Segmenter] = {}

    def classifier(self, name: str) -> ExplainableModel:
        """Return a classifier, or a segmentation network."""
        if name not in self._classifiers:
            if (refusal := refused_factory(name, self.allowed, "the study")) is not None:
                raise refusal
            # What a file names is not looked for beside it.
            self._classifiers[name] = load_model(
                name, device=self.device, working_folder=self.allowed is None
            )
        return self._classifiers[name]

    def segmenter(self, name: str) -> Segmenter:
        """Return a segmenter."""
        if name not in self._segmenters:
            self._segmenters[name] = load_segmenter(name, self.device)
        return self._segmenters[name]

    def check(self, settings: Sequence[Setting]) -> None:
        """Load all models of some settings, and find the classes and layers that are named.

        Raises
        ------
        CamSamError
            For a model that cannot be loaded, or has no such class or layer.
        """
        for setting in settings:
            if setting.classifier is not None:
                check_request(self.classifier(setting.classifier), setting.run.cam)
            if setting.segmenter not in ("", PREDICTION):
                self.segmenter(setting.segmenter)

    def describe(self) -> dict[str, dict[str, str]]:
        """Return what was loaded: by name its kind, hash, device and precision."""
        found = {}
        for name, model in self._classifiers.items():
            network = isinstance(model, SegmentationNetwork)
            kind = "segmentation network" if network else "classifier"
            found[name] = {"kind": kind, "sha256": model.sha256, "device": str(model.device)}
            if model.card.plane_order != "rows-columns":
                found[name]["plane_order"] = model.card.plane_order
        for name, one in self._segmenters.items():
            about = {"kind": "segmenter", "sha256": one.model_hash, "device": one.device}
            found[name] = {**about, "precision": one.precision}
            if hasattr(one, "frame"):
                found[name]["frame"] = one.frame
        return found
