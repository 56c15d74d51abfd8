"""The task of a study: one image with all settings."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from napari_cam_sam.cam.heatmaps import Heatmap, check_request
from napari_cam_sam.cam.trust import assess_trust
from napari_cam_sam.errors import CamSamError, show_traceback
from napari_cam_sam.evaluation.image_scores import (
    score_image,
    score_labels,
    score_pointing,
    score_volume,
)
from napari_cam_sam.evaluation.truth import check_count, planes_slice, truth_labels, truth_volume
from napari_cam_sam.images.hashing import file_hash, file_states
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.preprocessing import preprocess
from napari_cam_sam.images.windows import Window, WindowParameters, resolve_window
from napari_cam_sam.images.writing import labels_dtype
from napari_cam_sam.metrics.scoring import TRUTH_EMPTY, Scores
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.factories import refused_factory
from napari_cam_sam.models.loading import load_model
from napari_cam_sam.models.segmentation import SegmentationNetwork
from napari_cam_sam.pipeline import RunParameters, run_image
from napari_cam_sam.pipeline.annotation import annotate
from napari_cam_sam.pipeline.planes import (
    ExplainableModel,
    check_run,
    checked_planes,
    encoder,
    make_prompts,
    planes_with_heatmaps,
    read_truth,
    run_plane,
    with_model_window,
)
from napari_cam_sam.prompts.annotator import AnnotatorParameters, class_masks
from napari_cam_sam.prompts.data import PlanePrompts
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.labels import merge_masks
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.segmenter import Embedding, Segmenter
from napari_cam_sam.studies.cases import Case, read_case, read_prediction
from napari_cam_sam.studies.config.plan import Study
from napari_cam_sam.studies.config.settings import PREDICTION, Setting
from napari_cam_sam.studies.table import make_table

__all__ = ["CaseResult", "Models", "failed_case", "run_case"]

# Labels and heatmaps of a volume that are held at once, for its scores as a whole.
_MOST_BYTES = 2 << 30
_LONGEST_REASON = 300


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
        """Give a classifier, or a segmentation network."""
        if name not in self._classifiers:
            if (refusal := refused_factory(name, self.allowed, "the study")) is not None:
                raise refusal
            # What a file names is not looked for beside it.
            self._classifiers[name] = load_model(
                name, device=self.device, working_folder=self.allowed is None
            )
        return self._classifiers[name]

    def segmenter(self, name: str) -> Segmenter:
        """Give a segmenter."""
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
        """Say what was loaded: by name the kind, hash, device and precision."""
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


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What a study finds on one image.

    Attributes
    ----------
    table : DataFrame
        With the columns of :data:`~napari_cam_sam.studies.table.COLUMNS`.
    about : dict
        ``failed``: whether nothing could be run; ``encodes``: how many planes were ``done`` and
        ``found`` on disk; ``seconds`` by stage; ``files``: SHA-256 of the image, its truths and
        the prediction, in this order, and ``states`` of these before they were read; ``models``:
        see `Models.describe`; ``notes``: what reading them decided.
    """

    table: pd.DataFrame
    about: dict[str, Any]


def run_case(study: Study, case: Case, models: Models, embeddings: EmbeddingCache) -> CaseResult:
    """Run all settings of a study on one image.

    Each heatmap is computed once for all settings that share it, and each plane encoded once for
    a segmenter and a preprocessing. Whatever fails becomes a row with its reason.

    Parameters
    ----------
    study : Study
    case : Case
    models : Models
    embeddings : EmbeddingCache

    Returns
    -------
    CaseResult
        The same in every process: with the study's seed and number of threads.
    """
    begin, encoded, found = time.perf_counter(), embeddings.encoded, embeddings.from_disk
    files = [case.image, *case.truths, *([case.prediction] if case.prediction else [])]
    states = file_states(files)
    try:
        with _reproducible(study):
            task = _Task(study, case, models, embeddings)
            task.run()
        hashes = [file_hash(path) for path in files]
    except Exception as error:
        if not isinstance(error, CamSamError):
            show_traceback(error)
        return failed_case(study, case, _reason(error))
    task.seconds["total"] = time.perf_counter() - begin
    about = {
        "failed": False,
        "encodes": {"done": embeddings.encoded - encoded, "found": embeddings.from_disk - found},
        "seconds": {stage: round(value, 4) for stage, value in task.seconds.items()},
        "files": hashes,
        "states": states,
        "models": models.describe(),
        "notes": list(dict.fromkeys(task.notes)),
    }
    return CaseResult(make_table(task.rows), about)


def failed_case(study: Study, case: Case, reason: str) -> CaseResult:
    """Make the rows of an image of which nothing could be run."""
    task = _Task(study, case)
    for axis, settings in groupby(study.settings, lambda one: one.run.axis):
        for columns in _all_columns(settings):
            task.fail(columns, axis, -1, reason)
    about = {
        "failed": True, "encodes": {"done": 0, "found": 0}, "seconds": {}, "files": [], "models": {}
    }  # fmt: skip
    return CaseResult(make_table(task.rows), about)


def _all_columns(settings: Iterable[Setting]) -> list[dict[str, str]]:
    """Give the columns of settings, and once those of each heatmap that they share."""
    own, heatmaps = [], {}
    for setting in settings:
        own.append(setting.columns())
        if setting.classifier is not None:
            columns = setting.heatmap_columns()
            heatmaps[columns["setting"]] = columns
    return [*own, *heatmaps.values()]


@contextmanager
def _reproducible(study: Study) -> Iterator[None]:
    """Seed what is random, and let no number of threads or choice of a kernel change sums."""
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    flags = (cudnn.benchmark, cudnn.deterministic)
    # For libraries that draw from the global states, which are left as they were.
    states = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    np.random.seed(study.seed % 2**32)  # noqa: NPY002
    torch.manual_seed(study.seed)
    torch.set_num_threads(study.threads)
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        with threadpool_limits(study.threads):
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = flags
        torch.set_num_threads(threads)
        torch.set_rng_state(states[1])
        np.random.set_state(states[0])  # noqa: NPY002


def _reason(error: Exception) -> str:
    """Say in one line why something failed; a type's name where it is no error of a user."""
    text = " ".join(str(error).split())
    if not isinstance(error, CamSamError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:_LONGEST_REASON]


# Settings with the same one share their heatmaps. Without a classifier it stands for the planes.
_Key = tuple[str | None, RunParameters]


def _key(setting: Setting) -> _Key:
    run, plain = setting.run, RunParameters()
    cam = plain.cam if setting.classifier is None else run.cam
    # The truth may be what the score of a segmentation network is summed over.
    own = RunParameters(run.axis, run.planes, run.window, cam=cam, truth_label=run.truth_label)
    return setting.classifier, own


@dataclass(eq=False)
class _Group:
    """Settings that go over the same planes together, and what they have found so far."""

    settings: list[Setting]
    indices: range
    labels: dict[str, NDArray[Any]] = field(default_factory=dict)
    prompted: set[str] = field(default_factory=set)
    heatmaps: dict[_Key, NDArray[np.float32]] = field(default_factory=dict)
    broken: set[Any] = field(default_factory=set)


class _Task:
    """The rows of one image, as they are found."""

    def __init__(
        self,
        study: Study,
        case: Case,
        models: Models | None = None,
        embeddings: EmbeddingCache | None = None,
    ) -> None:
        self.study = study
        self.case = case
        self.rows: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []
        self._models = models or Models()
        self._embeddings = embeddings
        self._windows: dict[WindowParameters, Window] = {}
        self._known: dict[tuple[int, range | None, int | None], set[int]] = {}
        self._head = {
            "study": study.name,
            "case": case.image_id,
            "group": case.group or "",
            "split": case.split or "",
            "label": case.label or "",
        }

    def run(self) -> None:
        with self._spent("read"):
            self.image, self.truth = read_case(self.case)
        self._note(self.image, self.truth)
        settings = self.study.settings
        self._run_predictions([one for one in settings if one.segmenter == PREDICTION])
        planewise = [one for one in settings if one.segmenter != PREDICTION]
        for group in self._groups(planewise):
            self._run_group(group)
        for setting in planewise:
            if setting.run.volume is not None:
                self._run_volume(setting)

    def _note(self, *images: Image | None) -> None:
        for image in images:
            if image is not None:
                self.notes += [f"{image.name}: {note}" for note in image.notes]

    def add(
        self,
        columns: Mapping[str, str],
        axis: int,
        plane: int,
        status: str,
        reason: str = "",
        values: Mapping[str, float] | None = None,
        object_id: int = 0,
        step: int = 0,
    ) -> None:
        """Add a row a score, or one without any."""
        head = {
            **self._head, **columns, "axis": axis, "plane": plane, "object": object_id,
            "step": step, "status": status, "reason": reason,
        }  # fmt: skip
        known = {name: float(v) for name, v in (values or {}).items() if not np.isnan(v)}
        for metric, value in (known or {"": float("nan")}).items():
            self.rows.append({**head, "metric": metric, "value": value})

    def fail(self, columns: Mapping[str, str], axis: int, plane: int, reason: str) -> None:
        self.add(columns, axis, plane, "failed", reason)

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

    def _groups(self, settings: Sequence[Setting]) -> Iterator[_Group]:
        """Put settings over the same planes together, as many as the memory takes."""
        voxels = int(np.prod(self.image.spatial_shape)) if self.image.spatial_ndim == 3 else 0

        def planes(setting: Setting) -> tuple[int, str]:
            return setting.run.axis, str(setting.run.planes)

        for _, same in groupby(sorted(settings, key=planes), planes):
            group: list[Setting] = []
            for setting in sorted(same, key=lambda one: str(_key(one))):
                keys = {_key(one) for one in [*group, setting]}
                if group and voxels * (len(group) + 1 + 4 * len(keys)) > _MOST_BYTES:
                    yield self._group(group)
                    group = []
                group.append(setting)
            yield self._group(group)

    def _group(self, settings: list[Setting]) -> _Group:
        return _Group(settings, checked_planes(self.image, settings[0].run))

    def _run_group(self, group: _Group) -> None:
        """Go over the planes once: all heatmaps of a plane, then all settings on it."""
        image, axis = self.image, group.settings[0].run.axis
        first = {_key(setting): setting for setting in reversed(group.settings)}
        sources = {}
        for key, setting in first.items():
            classifier = self._classifier(setting)
            run = with_model_window(setting.run, classifier)
            sources[key] = planes_with_heatmaps(
                image, classifier, run, group.indices, self._window(run), self.truth
            )
        settings = []
        for setting in group.settings:
            if setting.run.volume is not None:
                continue  # its heatmaps are scored here, its masks by themselves
            try:
                self._check(setting)
                settings.append(setting)
            except CamSamError as error:
                self.fail(setting.columns(), axis, -1, _reason(error))
        spacing = image.geometry.plane_spacing(axis)
        for index in group.indices:
            seen: dict[_Key, tuple[NDArray[np.uint8], Heatmap | None]] = {}
            for key, source in sources.items():
                if key in group.broken:
                    continue
                try:
                    with self._spent("heatmap"):
                        _, plane, heatmap = next(source)
                    seen[key] = plane, heatmap
                    if heatmap is not None:
                        self._add_heatmap(group, key, first[key], index, plane, heatmap, spacing)
                except Exception as error:
                    self._break(group, key, index, _reason(error))
            for setting in settings:
                if setting.name in group.broken or _key(setting) not in seen:
                    continue
                try:
                    self._run_setting(group, setting, index, *seen[_key(setting)], spacing)
                except Exception as error:
                    group.broken.add(setting.name)
                    self.fail(setting.columns(), axis, index, _reason(error))
        if image.spatial_ndim == 3 and len(group.indices) > 1 and self.truth is not None:
            with self._spent("scores"):
                self._add_volumes(group, settings)

    def _check(self, setting: Setting) -> None:
        if setting.segmenter:
            segmenter = self._models.segmenter(setting.segmenter)
            run = setting.run if setting.annotator is None else replace(
                setting.run, strategy="truth-box"
            )  # fmt: skip
            check_run(self.image, segmenter, self._classifier(setting), run, self.truth)
        elif setting.run.from_truth and self.truth is None:
            raise CamSamError("There is no truth to take prompts from.")

    def _break(self, group: _Group, key: _Key, index: int, reason: str) -> None:
        group.broken.add(key)
        sharing = [setting for setting in group.settings if _key(setting) == key]
        for columns in _all_columns(sharing):
            self.fail(columns, sharing[0].run.axis, index, reason)

    def _add_heatmap(
        self,
        group: _Group,
        key: _Key,
        setting: Setting,
        index: int,
        plane: NDArray[np.uint8],
        heatmap: Heatmap,
        spacing: Sequence[float],
    ) -> None:
        run, values = setting.run, {"probability": heatmap.probability}
        status, reason = ("ok", "") if heatmap.evidence else ("no-prompt", heatmap.reason or "")
        truth = read_truth(self.truth, run, index)
        if truth is None:
            status = "no-truth" if heatmap.evidence else status
            reason = reason or "There is no truth."
        else:
            with self._spent("scores"):
                scores = score_pointing(truth, spacing, heatmap.values)
            values |= scores.values
            reason = reason or _remark(scores, truth)
        classifier = self._classifier(setting)
        # The tests know classes, not the pixel sets of segmentation networks.
        if self.study.trust is not None and heatmap.evidence and isinstance(classifier, Classifier):
            with self._spent("trust"):
                values |= assess_trust(classifier, plane, run.cam, self.study.trust).scores()
        self.add(setting.heatmap_columns(), run.axis, index, status, reason, values)
        if self.image.spatial_ndim == 3 and truth is not None:
            shape = self.image.spatial_shape
            whole = group.heatmaps.setdefault(key, np.zeros(shape, np.float32))
            whole[self.image.plane_index(run.axis, index)] = heatmap.values

    def _run_setting(
        self,
        group: _Group,
        setting: Setting,
        index: int,
        plane: NDArray[np.uint8],
        heatmap: Heatmap | None,
        spacing: Sequence[float],
    ) -> None:
        run, truth = setting.run, read_truth(self.truth, setting.run, index)
        if not setting.segmenter:
            prompts = make_prompts(index, heatmap, truth, run)
            self._add_prompts(setting, prompts, truth, spacing)
            return
        segmenter = self._models.segmenter(setting.segmenter)
        encode = encoder(segmenter, self._embeddings)
        if setting.annotator is not None:
            if truth is None or not truth.any():
                self.add(setting.columns(), run.axis, index, "no-truth", _nothing(truth))
                return
            embedding = encode(preprocess(plane, run.preprocessing))
            self._annotate(setting, setting.annotator, index, segmenter, embedding, truth, spacing)
            return
        found = run_plane(plane, index, heatmap, truth, segmenter, encode, run)
        for stage, spent in found.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        with self._spent("scores"):
            self._add_masks(setting, found.prompts, found.labels, truth, spacing)
        self._keep(group, setting, index, found.labels, found.prompts)

    def _annotate(
        self,
        setting: Setting,
        annotator: AnnotatorParameters,
        index: int,
        segmenter: Segmenter,
        embedding: Embedding,
        truth: NDArray[Any],
        spacing: Sequence[float],
    ) -> None:
        """Score the masks after each click of a simulated annotator, each class by itself."""
        run = setting.run
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
            prompts = PlanePrompts(run.axis, index, tuple(step.prompt for step in steps))
            with self._spent("scores"):
                self._add_masks(setting, prompts, labels, truth, spacing, count, own)

    def _keep(
        self,
        group: _Group,
        setting: Setting,
        index: int,
        labels: NDArray[Any],
        prompts: PlanePrompts | None,
    ) -> None:
        """Keep a plane's labels for the scores of the volume."""
        if prompts is None or prompts.objects:
            group.prompted.add(setting.name)
        if self.image.spatial_ndim != 3 or self.truth is None:
            return
        whole = group.labels.get(setting.name)
        if whole is None or whole.dtype.itemsize < labels.dtype.itemsize:
            before, whole = whole, np.zeros(self.image.spatial_shape, labels.dtype)
            if before is not None:
                whole[...] = before
            group.labels[setting.name] = whole
        whole[self.image.plane_index(setting.run.axis, index)] = labels

    def _add_prompts(
        self,
        setting: Setting,
        prompts: PlanePrompts,
        truth: NDArray[Any] | None,
        spacing: Sequence[float],
    ) -> None:
        """Score prompts alone."""
        values: dict[str, float] = {}
        status, reason = "ok", ""
        if not prompts.objects:
            status, reason = "no-prompt", prompts.reason or ""
        elif truth is None or not truth.any():
            status, reason = "no-truth", _nothing(truth)
        else:
            values = score_pointing(truth, spacing, prompts=prompts).values
        self.add(setting.columns(), prompts.axis, prompts.index, status, reason, values)

    def _add_masks(
        self,
        setting: Setting,
        prompts: PlanePrompts,
        labels: NDArray[Any],
        truth: NDArray[Any] | None,
        spacing: Sequence[float],
        step: int = 0,
        masks: Mapping[int, NDArray[np.bool_]] | None = None,
    ) -> None:
        """Score the masks of a plane as a whole, and by label where the truth has several.

        ``masks`` are those of each label by itself, where they may overlap.
        """
        columns, axis, index = setting.columns(), prompts.axis, prompts.index
        said = prompts.reason or ""
        status = "ok" if prompts.reason is None else "no-prompt"
        if truth is None:
            status = "no-truth" if status == "ok" else status
            self.add(columns, axis, index, status, said or _nothing(truth), step=step)
            return
        whole = setting.run.truth_label or 0
        found = {whole: score_image(labels, truth, spacing, prompts=prompts)}
        by_label = setting.run.by_label or (setting.annotator is not None and whole == 0)
        if by_label and len(self._labels(setting.run)) > 1:
            found |= score_labels(labels, truth, spacing, prompts=prompts, masks=masks)
        for label, scores in found.items():
            self._add_scores(columns, axis, index, status, said, scores, label, step)

    def _add_scores(
        self,
        columns: Mapping[str, str],
        axis: int,
        index: int,
        status: str,
        said: str,
        scores: Scores,
        object_id: int,
        step: int = 0,
    ) -> None:
        if "both-empty" in scores.flags:
            reason = "Neither the truth nor the mask has anything here."
            self.add(columns, axis, index, "no-truth", reason, None, object_id, step)
            return
        reason = said or " ".join(scores.flags)
        self.add(columns, axis, index, status, reason, scores.values, object_id, step)

    def _labels(self, run: RunParameters) -> set[int]:
        """Labels of the truth on the planes of a run."""
        if self.truth is None:
            return set()
        key = run.axis, None if run.volume else run.planes, run.truth_label
        if key not in self._known:
            planes = checked_planes(self.image, replace(run, planes=key[1]))
            self._known[key] = truth_labels(self.truth, run.axis, planes, run.truth_label)
        if run.by_label:
            check_count(self.truth, self._known[key])
        return self._known[key]

    def _add_volumes(self, group: _Group, settings: Sequence[Setting]) -> None:
        """Score what was found on all planes as one volume."""
        for setting in settings:
            if setting.name not in group.broken and setting.name in group.labels:
                prompted = setting.name in group.prompted
                self._add_volume(setting, group.indices, group.labels[setting.name], prompted)
        for key, heatmap in group.heatmaps.items():
            if key not in group.broken:
                setting = next(one for one in group.settings if _key(one) == key)
                run, spacing = setting.run, self.image.geometry.spacing
                assert self.truth is not None
                answer = truth_volume(self.truth, run.axis, group.indices, run.truth_label)
                inside = planes_slice(run.axis, group.indices)
                scores = score_pointing(answer, spacing, heatmap[inside])
                about, said = setting.heatmap_columns(), _remark(scores, answer)
                self.add(about, run.axis, -1, "ok", said, scores.values)

    def _add_volume(
        self, setting: Setting, indices: range, labels: NDArray[Any], prompted: bool
    ) -> None:
        assert self.truth is not None
        run, spacing = setting.run, self.image.geometry.spacing
        known = self._labels(run) if run.by_label else ()
        whole, by_label = score_volume(
            labels, self.truth, spacing, run.axis, indices,
            label=run.truth_label, labels_of_truth=known,
        )  # fmt: skip
        status, said = ("ok", "") if prompted else ("no-prompt", "No plane has prompts.")
        for label, scores in {run.truth_label or 0: whole, **by_label}.items():
            self._add_scores(setting.columns(), run.axis, -1, status, said, scores, label)

    def _run_volume(self, setting: Setting) -> None:
        """Run a setting that propagates its prompts through the volume."""
        run, image = setting.run, self.image
        try:
            segmenter, classifier = (
                self._models.segmenter(setting.segmenter),
                self._classifier(setting),
            )
            run = with_model_window(run, classifier)
            result = run_image(
                image, segmenter, classifier, run, self.truth, None, self._embeddings
            )
            spacing = image.geometry.plane_spacing(run.axis)
            for prompts in result.prompts:
                labels = result.labels[image.plane_index(run.axis, prompts.index)]
                truth = read_truth(self.truth, run, prompts.index)
                # A plane that was reached from another one needs no prompts of its own.
                seen = replace(prompts, reason=None) if labels.any() else prompts
                self._add_masks(setting, seen, labels, truth, spacing)
            if self.truth is not None:
                prompted = any(prompts.objects for prompts in result.prompts)
                indices = range(image.n_planes(run.axis))
                self._add_volume(setting, indices, result.labels, prompted)
        except Exception as error:
            self.fail(setting.columns(), run.axis, -1, _reason(error))

    def _run_predictions(self, settings: Sequence[Setting]) -> None:
        """Score the mask that the case brings along."""
        for setting in settings:
            try:
                prediction = read_prediction(self.case, self.image)
                if prediction is None:
                    raise CamSamError("There is no prediction of this image.")
                self._note(prediction)
                run, group = setting.run, self._group([setting])
                spacing = self.image.geometry.plane_spacing(run.axis)
                for index in group.indices:
                    labels = np.asarray(prediction.plane(run.axis, index))
                    truth = read_truth(self.truth, run, index)
                    none = PlanePrompts(run.axis, index)
                    self._add_masks(setting, none, labels, truth, spacing)
                    self._keep(group, setting, index, labels, None)
                if self.image.spatial_ndim == 3 and len(group.indices) > 1:
                    self._add_volumes(group, [setting])
            except Exception as error:
                self.fail(setting.columns(), setting.run.axis, -1, _reason(error))


def _remark(scores: Scores, truth: NDArray[Any]) -> str:
    """Say what to know of the scores of a heatmap, or why there are none."""
    return " ".join(scores.flags) if truth.any() else TRUTH_EMPTY


def _nothing(truth: NDArray[Any] | None) -> str:
    return "There is no truth." if truth is None else "The truth is empty here."
