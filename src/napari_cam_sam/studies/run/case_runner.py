"""All settings of a study on one image: heatmaps, prompts and masks, and a row of each score."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import Heatmap
from napari_cam_sam.cam.trust import assess_trust
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.evaluation.truth import check_count, truth_labels
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.preprocessing import preprocess
from napari_cam_sam.images.windows import Window, WindowParameters, resolve_window
from napari_cam_sam.images.writing import labels_dtype
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.pipeline import RunParameters, run_image
from napari_cam_sam.pipeline.annotation import annotate
from napari_cam_sam.pipeline.heatmaps import (
    ExplainableModel,
    planes_with_heatmaps,
    with_model_window,
)
from napari_cam_sam.pipeline.planes import (
    check_run,
    checked_planes,
    encoder,
    make_prompts,
    read_truth,
    run_plane,
)
from napari_cam_sam.prompts.annotator import AnnotatorParameters, class_masks
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.labels import merge_masks
from napari_cam_sam.studies.cases import Case, read_case, read_prediction
from napari_cam_sam.studies.config.plan import Study
from napari_cam_sam.studies.config.settings import PREDICTION, Setting
from napari_cam_sam.studies.run.models import Models
from napari_cam_sam.studies.run.planner import (
    HeatmapKey,
    SettingGroup,
    all_columns,
    group_settings,
    heatmap_key,
)
from napari_cam_sam.studies.run.rows import CaseRows, without_truth

__all__ = ["CaseRunner"]


@dataclass(frozen=True, eq=False)
class _Plane:
    """A plane that is run: windowed, with its heatmap and truth where there are some."""

    index: int
    pixels: NDArray[np.uint8]
    heatmap: Heatmap | None
    truth: NDArray[Any] | None
    spacing: tuple[float, ...]


class CaseRunner:
    """Run the settings of a study on one image.

    Parameters
    ----------
    study : Study
    case : Case
    models : Models
    embeddings : EmbeddingCache

    Attributes
    ----------
    found : CaseRows
    seconds : dict of str to float
        By stage.
    notes : list of str
        What reading the files decided.
    """

    def __init__(
        self, study: Study, case: Case, models: Models, embeddings: EmbeddingCache
    ) -> None:
        self.found = CaseRows(study.name, case)
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self._study, self._case = study, case
        self._models, self._embeddings = models, embeddings
        self._windows: dict[WindowParameters, Window] = {}
        self._known: dict[tuple[int, range | None, int | None], set[int]] = {}

    def run(self) -> None:
        """Go through all settings; what fails becomes a row with its reason.

        Raises
        ------
        CamSamError
            If the image or its truth cannot be read.
        """
        with self._spent("read"):
            self.image, self.truth = read_case(self._case)
        self._note(self.image, self.truth)
        settings = self._study.settings
        self._run_predictions([one for one in settings if one.segmenter == PREDICTION])
        planewise = [one for one in settings if one.segmenter != PREDICTION]
        for group in group_settings(planewise, self.image):
            self._run_group(group)
        for setting in planewise:
            if setting.run.volume is not None:
                self._run_volume(setting)

    def _note(self, *images: Image | None) -> None:
        for image in images:
            if image is not None:
                self.notes += [f"{image.name}: {note}" for note in image.notes]

    @contextmanager
    def _spent(self, stage: str) -> Iterator[None]:
        clock = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - clock

    def _window(self, run: RunParameters) -> Window:
        if run.window not in self._windows:
            self._windows[run.window] = resolve_window(self.image, run.window)
        return self._windows[run.window]

    def _classifier(self, setting: Setting) -> ExplainableModel | None:
        return None if setting.classifier is None else self._models.classifier(setting.classifier)

    def _labels(self, run: RunParameters) -> set[int]:
        """Return the labels of the truth on the planes of a run."""
        if self.truth is None:
            return set()
        key = run.axis, None if run.volume else run.planes, run.truth_label
        if key not in self._known:
            planes = checked_planes(self.image, replace(run, planes=key[1]))
            self._known[key] = truth_labels(self.truth, run.axis, planes, run.truth_label)
        if run.by_label:
            check_count(self.truth, self._known[key])
        return self._known[key]

    def _scored_by_label(self, setting: Setting) -> bool:
        run = setting.run
        by_label = run.by_label or (setting.annotator is not None and not run.truth_label)
        return by_label and len(self._labels(run)) > 1

    # Plane by plane

    def _run_group(self, group: SettingGroup) -> None:
        """Go over the planes once: all heatmaps of a plane, then all settings on it."""
        image, axis = self.image, group.settings[0].run.axis
        first = {heatmap_key(setting): setting for setting in reversed(group.settings)}
        sources = {}
        for key, setting in first.items():
            classifier = self._classifier(setting)
            run = with_model_window(setting.run, classifier)
            sources[key] = planes_with_heatmaps(
                image, classifier, run, group.indices, self._window(run), self.truth
            )
        settings = [one for one in group.settings if self._can_run(one)]
        spacing = image.geometry.plane_spacing(axis)
        for index in group.indices:
            seen: dict[HeatmapKey, _Plane] = {}
            for key, source in sources.items():
                if key in group.broken:
                    continue
                try:
                    with self._spent("heatmap"):
                        _, pixels, heatmap = next(source)
                    truth = read_truth(self.truth, first[key].run, index)
                    seen[key] = _Plane(index, pixels, heatmap, truth, spacing)
                    if heatmap is not None:
                        self._add_heatmap(group, first[key], seen[key], heatmap)
                except Exception as error:
                    seen.pop(key, None)
                    self._break(group, key, index, error)
            for setting in settings:
                plane = seen.get(heatmap_key(setting))
                if plane is None or setting.name in group.broken:
                    continue
                try:
                    self._run_setting(group, setting, plane)
                except Exception as error:
                    group.broken.add(setting.name)
                    self.found.fail(setting.columns(), axis, index, error)
        if len(group.indices) > 1:
            with self._spent("scores"):
                self._add_volumes(group, settings)

    def _can_run(self, setting: Setting) -> bool:
        """Tell whether a setting is run plane by plane; what it lacks becomes a row."""
        if setting.run.volume is not None:
            return False  # its heatmaps are scored here, its masks by themselves
        try:
            if setting.segmenter:
                segmenter = self._models.segmenter(setting.segmenter)
                run = setting.run
                if setting.annotator is not None:
                    run = replace(run, strategy="truth-box")
                check_run(self.image, segmenter, self._classifier(setting), run, self.truth)
            elif setting.run.from_truth and self.truth is None:
                raise CamSamError("There is no truth to take prompts from.")
        except CamSamError as error:
            self.found.fail(setting.columns(), setting.run.axis, -1, error)
            return False
        return True

    def _break(self, group: SettingGroup, key: HeatmapKey, index: int, error: Exception) -> None:
        group.broken.add(key)
        sharing = [setting for setting in group.settings if heatmap_key(setting) == key]
        for columns in all_columns(sharing):
            self.found.fail(columns, sharing[0].run.axis, index, error)

    def _add_heatmap(
        self, group: SettingGroup, setting: Setting, plane: _Plane, heatmap: Heatmap
    ) -> None:
        run, trust, more = setting.run, self._study.trust, dict[str, float]()
        classifier = self._classifier(setting)
        # The tests know classes, not the pixel sets of segmentation networks.
        if trust is not None and heatmap.evidence and isinstance(classifier, Classifier):
            with self._spent("trust"):
                more = assess_trust(classifier, plane.pixels, run.cam, trust).scores()
        with self._spent("scores"):
            self.found.add_heatmap(setting, plane.index, heatmap, plane.truth, plane.spacing, more)
        if self.image.spatial_ndim == 3 and plane.truth is not None:
            shape = self.image.spatial_shape
            whole = group.heatmaps.setdefault(heatmap_key(setting), np.zeros(shape, np.float32))
            whole[self.image.plane_index(run.axis, plane.index)] = heatmap.values

    def _run_setting(self, group: SettingGroup, setting: Setting, plane: _Plane) -> None:
        run, truth, index = setting.run, plane.truth, plane.index
        if not setting.segmenter:
            prompts = make_prompts(index, plane.heatmap, truth, run)
            self.found.add_prompts(setting, prompts, truth, plane.spacing)
            return
        if setting.annotator is not None:
            self._annotate(setting, setting.annotator, plane)
            return
        segmenter = self._models.segmenter(setting.segmenter)
        encode = encoder(segmenter, self._embeddings)
        made = run_plane(plane.pixels, index, plane.heatmap, truth, segmenter, encode, run)
        for stage, spent in made.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        self._add_masks(group, setting, made.prompts, made.labels, truth)
        if made.prompts.objects:
            group.prompted.add(setting.name)

    def _annotate(self, setting: Setting, annotator: AnnotatorParameters, plane: _Plane) -> None:
        """Score the masks after each click of a simulated annotator, each class by itself."""
        run, truth = setting.run, plane.truth
        if truth is None or not truth.any():
            columns, why = setting.columns(), without_truth(truth)
            self.found.add(columns, run.axis, plane.index, "no-truth", why)
            return
        segmenter = self._models.segmenter(setting.segmenter)
        encode = encoder(segmenter, self._embeddings)
        embedding = encode(preprocess(plane.pixels, run.preprocessing))
        each = [
            annotate(
                segmenter, embedding, mask, annotator,
                mask_choice=run.mask_choice, object_id=label,
            )
            for label, mask in class_masks(truth).items()
        ]  # fmt: skip
        for count, steps in enumerate(zip(*each, strict=True), start=1):
            labels = np.zeros(truth.shape, labels_dtype(int(truth.max())))
            own = {step.prompt.object_id: step.mask for step in steps}
            merge_masks(labels, sorted(own.items()))
            prompts = PlanePrompts(run.axis, plane.index, tuple(step.prompt for step in steps))
            with self._spent("scores"):
                self.found.add_masks(
                    setting, prompts, labels, truth, plane.spacing,
                    self._scored_by_label(setting), count, own,
                )  # fmt: skip

    def _add_masks(
        self,
        group: SettingGroup,
        setting: Setting,
        prompts: PlanePrompts,
        labels: NDArray[Any],
        truth: NDArray[Any] | None,
    ) -> None:
        """Score the masks of a plane, and keep its labels for the scores of the volume."""
        image, spacing = self.image, self.image.geometry.plane_spacing(prompts.axis)
        with self._spent("scores"):
            by_label = self._scored_by_label(setting)
            self.found.add_masks(setting, prompts, labels, truth, spacing, by_label)
        if image.spatial_ndim == 3 and truth is not None:
            where = image.plane_index(prompts.axis, prompts.index)
            group.keep_labels(setting.name, where, labels, image.spatial_shape)

    # Volumes as a whole

    def _add_volumes(self, group: SettingGroup, settings: Sequence[Setting]) -> None:
        """Score what was found on all planes as one volume."""
        if self.image.spatial_ndim != 3 or self.truth is None:
            return
        for setting in settings:
            if setting.name not in group.broken and setting.name in group.labels:
                prompted = setting.name in group.prompted
                self._add_volume(setting, group.labels[setting.name], group.indices, prompted)
        for key, heatmap in group.heatmaps.items():
            if key not in group.broken:
                setting = next(one for one in group.settings if heatmap_key(one) == key)
                self.found.add_heatmap_volume(
                    setting, heatmap, self.image, self.truth, group.indices
                )

    def _add_volume(
        self, setting: Setting, labels: NDArray[Any], indices: range, prompted: bool
    ) -> None:
        if self.truth is not None:
            known = self._labels(setting.run) if setting.run.by_label else set()
            self.found.add_volume(setting, labels, self.image, self.truth, indices, known, prompted)

    def _run_volume(self, setting: Setting) -> None:
        """Run a setting that propagates its prompts through the volume."""
        image, axis = self.image, setting.run.axis
        try:
            segmenter = self._models.segmenter(setting.segmenter)
            classifier = self._classifier(setting)
            run = with_model_window(setting.run, classifier)
            result = run_image(
                image, segmenter, classifier, run, self.truth, None, self._embeddings
            )
            spacing, by_label = image.geometry.plane_spacing(axis), self._scored_by_label(setting)
            for prompts in result.prompts:
                labels = result.labels[image.plane_index(axis, prompts.index)]
                truth = read_truth(self.truth, run, prompts.index)
                # A plane that was reached from another one needs no prompts of its own.
                seen = replace(prompts, reason=None) if labels.any() else prompts
                self.found.add_masks(setting, seen, labels, truth, spacing, by_label)
            prompted = any(prompts.objects for prompts in result.prompts)
            self._add_volume(setting, result.labels, range(image.n_planes(axis)), prompted)
        except Exception as error:
            self.found.fail(setting.columns(), axis, -1, error)

    def _run_predictions(self, settings: Sequence[Setting]) -> None:
        """Score the mask that the case brings along."""
        for setting in settings:
            axis = setting.run.axis
            try:
                prediction = read_prediction(self._case, self.image)
                if prediction is None:
                    raise CamSamError("There is no prediction of this image.")
                self._note(prediction)
                (group,) = group_settings([setting], self.image)
                group.prompted.add(setting.name)
                for index in group.indices:
                    labels = np.asarray(prediction.plane(axis, index))
                    truth = read_truth(self.truth, setting.run, index)
                    self._add_masks(group, setting, PlanePrompts(axis, index), labels, truth)
                if len(group.indices) > 1:
                    self._add_volumes(group, [setting])
            except Exception as error:
                self.found.fail(setting.columns(), axis, -1, error)
