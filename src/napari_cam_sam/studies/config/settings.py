"""The settings of a study: what its grid of choices becomes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.cam.methods import METHODS
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.preprocessing import PreprocessingParameters
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.prompts.annotator import AnnotatorParameters
from napari_cam_sam.prompts.parameters import PromptParameters, strategy_parameters
from napari_cam_sam.sam.registry import knows_boxes_only, split_frame
from napari_cam_sam.text import recorded

__all__ = ["PREDICTION", "Grid", "Setting", "Variants", "expand_grids"]

T = TypeVar("T")

PREDICTION = "prediction"
"""In the place of a segmenter: the mask that each case brings along is scored as it is."""


@dataclass(frozen=True)
class Setting:
    """One way to go over every image of a study.

    Attributes
    ----------
    name : str
        Unlike that of every other setting of the study.
    classifier : str or None
        What gives the heatmaps, a classifier or a segmentation network, as
        :func:`~napari_cam_sam.models.loading.load_model` takes it; None where the prompts come
        from the truth.
    segmenter : str
        As :func:`~napari_cam_sam.sam.loading.load_segmenter` takes it; empty for heatmaps and
        prompts alone, without masks; `PREDICTION` for the masks that the cases bring along.
    run : RunParameters
    annotator : AnnotatorParameters or None
        Of the simulated annotator, who takes the place of the strategy.
    """

    name: str
    classifier: str | None
    segmenter: str
    run: RunParameters
    annotator: AnnotatorParameters | None = None

    def columns(self) -> dict[str, str]:
        """Say what the setting is, in the words of the table of results.

        Returns
        -------
        dict of str to str
            ``setting``, ``classifier``, ``method``, ``layers``, ``target``, ``source``,
            ``strategy``, ``segmenter``, ``mask_choice``, ``mask_from``, ``preprocessing``; empty
            where a word does not apply.
        """
        run, cam = self.run, self.run.cam
        source = "truth" if run.from_truth else "cam"
        if self.annotator is not None:
            source = "annotator"
        if self.segmenter == PREDICTION:
            source = PREDICTION
        masks = self.segmenter not in ("", PREDICTION)
        chosen = masks and run.mask_from != "automatic"
        return {
            "setting": self.name,
            **_heatmap_columns(self.classifier, cam),
            "source": source,
            "strategy": run.strategy if source in ("cam", "truth") else "",
            "segmenter": _short(self.segmenter),
            "mask_choice": run.mask_choice if chosen else "",
            "mask_from": run.mask_from if masks else "",
            "preprocessing": _changes(run.preprocessing, PreprocessingParameters())
            if masks
            else "",
        }

    def heatmap_columns(self) -> dict[str, str]:
        """Say the same of the setting's heatmap, which other settings may share."""
        about = _heatmap_columns(self.classifier, self.run.cam)
        name = "/".join(part for part in about.values() if part)
        rest = dict.fromkeys(
            ("strategy", "segmenter", "mask_choice", "mask_from", "preprocessing"), ""
        )
        return {"setting": f"heatmap/{name}", **about, "source": "heatmap", **rest}


def _heatmap_columns(classifier: str | None, cam: CamParameters) -> dict[str, str]:
    if classifier is None:
        return dict.fromkeys(("classifier", "method", "layers", "target"), "")
    layers = "+".join(cam.layers) or "default"
    return {
        "classifier": _short(classifier),
        "method": cam.method,
        "layers": layers if METHODS[cam.method].uses_layers else "",
        "target": _target(cam),
    }


def _target(cam: CamParameters) -> str:
    """Name the class and, where it is not plainly its logit, what of it is explained."""
    name = "predicted" if cam.target is None else str(cam.target)
    if cam.pixel_set is not None:
        return f"{name} on {cam.pixel_set.description}"
    how = [word for word, meant in (("odds", cam.odds), ("mirrored", cam.mirrored)) if meant]
    return ", ".join([name, *how])


def _short(model: str) -> str:
    """Name a checkpoint by its file's name without folder and suffix."""
    frame, name = split_frame(model)
    path = Path(name)
    if len(path.parts) == 1:
        return recorded(model)
    return recorded(path.stem if frame is None else f"{path.stem} ({frame})")


def _changes(parameters: T, default: T) -> str:
    """Name what differs from the default."""
    changed = [
        (f.name, getattr(parameters, f.name))
        for f in fields(parameters)  # type: ignore[arg-type]
        if getattr(parameters, f.name) != getattr(default, f.name)
    ]
    words = [name if value is True else f"{name}={value}" for name, value in changed]
    return " ".join(words) or "none"


@dataclass(frozen=True)
class Grid:
    """Choices of which every combination that is possible becomes a setting.

    Attributes
    ----------
    classifiers : tuple of str
    methods : tuple of str
    layers : tuple of tuple of str
        Each a set of layers whose maps are averaged; empty for the classifier's own.
    targets : tuple of int, str or None
        Classes; None for the predicted one of each plane.
    strategies : tuple of str
        For ``truth-…`` classifiers, methods, layers and targets are not combined.
    annotators : tuple of str
        Names of simulated annotators, who are combined as the ``truth-…`` strategies are.
    segmenters : tuple of str
        An empty one makes prompts alone.
    mask_choices : tuple of str
    mask_from : tuple of str
    preprocessing : tuple of str
    """

    classifiers: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("layer-cam",)
    layers: tuple[tuple[str, ...], ...] = ((),)
    targets: tuple[int | str | None, ...] = (None,)
    strategies: tuple[str, ...] = ("ours",)
    annotators: tuple[str, ...] = ()
    segmenters: tuple[str, ...] = ("compact-sam",)
    mask_choices: tuple[str, ...] = ("best",)
    mask_from: tuple[str, ...] = ("prompts",)
    preprocessing: tuple[str, ...] = ("none",)

    @property
    def size(self) -> int:
        """Combinations, before those that are impossible are left out."""
        seen = math.prod(
            len(one) for one in (self.classifiers, self.methods, self.layers, self.targets)
        )
        cam = sum(not one.startswith("truth-") for one in self.strategies)
        given = len(self.strategies) - cam + len(self.annotators)
        rest = (self.segmenters, self.mask_choices, self.mask_from, self.preprocessing)
        return (cam * seen + given) * math.prod(len(one) for one in rest)


@dataclass(frozen=True)
class Variants:
    """What the names of a study stand for, beyond those that are always known.

    Attributes
    ----------
    base : RunParameters
        What all settings have in common.
    strategies : mapping of str to PromptParameters
    preprocessing : mapping of str to PreprocessingParameters
    annotators : mapping of str to AnnotatorParameters
    """

    base: RunParameters = field(default_factory=RunParameters)
    strategies: Mapping[str, PromptParameters] = field(default_factory=dict)
    preprocessing: Mapping[str, PreprocessingParameters] = field(default_factory=dict)
    annotators: Mapping[str, AnnotatorParameters] = field(default_factory=dict)


@dataclass(frozen=True)
class _Choice:
    """One combination; the fields are in the order in which names are put together."""

    classifier: str = ""
    method: str = ""
    layers: tuple[str, ...] = ()
    target: int | str | None = None
    strategy: str = ""
    annotator: str = ""
    segmenter: str = ""
    mask_choice: str = ""
    mask_from: str = ""
    preprocessing: str = ""

    def parts(self) -> dict[str, str]:
        """Words of a name, by field; empty where a word does not apply."""
        cam = bool(self.classifier)
        layered = cam and METHODS[self.method].uses_layers
        return {
            "classifier": _short(self.classifier),
            "method": self.method,
            "layers": ("+".join(self.layers) or "default") if layered else "",
            "target": ("predicted" if self.target is None else str(self.target)) if cam else "",
            "strategy": self.strategy,
            "annotator": self.annotator,
            "segmenter": _short(self.segmenter) or "prompts",
            "mask_choice": self.mask_choice,
            "mask_from": self.mask_from,
            "preprocessing": self.preprocessing,
        }


def expand_grids(
    grids: tuple[Grid, ...], variants: Variants
) -> tuple[tuple[Setting, ...], tuple[str, ...]]:
    """Combine the choices of grids into settings, each once.

    Parameters
    ----------
    grids : tuple of Grid
    variants : Variants

    Returns
    -------
    settings : tuple of Setting
        Named by the choices of which there are several, and by strategy and segmenter.
    left_out : tuple of str
        Sentences on combinations that are impossible.

    Raises
    ------
    CamSamError
        If nothing is left.
    """
    kept: dict[_Choice, None] = {}
    reasons: Counter[str] = Counter()
    for grid in grids:
        for choice in _choices(grid):
            reason = _impossible(choice, variants)
            if reason is None:
                kept[choice] = None
            else:
                reasons[reason] += 1
    left_out = tuple(f"{count} left out: {reason}" for reason, count in reasons.items())
    if not kept:
        raise CamSamError(f"No setting is left of the grid ({'; '.join(left_out)}).")
    _check_names({choice.classifier for choice in kept})
    _check_names({choice.segmenter for choice in kept})
    parts = [choice.parts() for choice in kept]
    several = {key for key in parts[0] if len({one[key] for one in parts} - {""}) > 1}
    shown = several | {"strategy", "annotator", "segmenter"}
    names = ["/".join(w for key, w in one.items() if w and key in shown) for one in parts]
    if len(set(names)) < len(names):
        names = ["/".join(word for word in one.values() if word) for one in parts]
    return tuple(
        _setting(name, choice, variants) for name, choice in zip(names, kept, strict=True)
    ), left_out


def _check_names(models: set[str]) -> None:
    """Refuse two models that the table of results could not tell apart."""
    known: dict[str, str] = {}
    for model in sorted(models):
        other = known.setdefault(_short(model), model)
        if other != model:
            raise CamSamError(
                f"{other} and {model} would both be {_short(model)!r} in the results: give the "
                "files different names."
            )


def _choices(grid: Grid) -> Iterator[_Choice]:
    if PREDICTION in grid.segmenters:
        yield _Choice(segmenter=PREDICTION)
    cams = [
        _Choice(classifier, method, layers if METHODS[method].uses_layers else (), target)
        for classifier, method, layers, target in product(
            grid.classifiers, grid.methods, grid.layers, grid.targets
        )
    ]
    sources: list[_Choice] = []
    for strategy in grid.strategies:
        seen = [_Choice()] if strategy.startswith("truth-") else cams
        sources += [replace(one, strategy=strategy) for one in seen]
    sources += [_Choice(annotator=annotator) for annotator in grid.annotators]
    segmenters = [one for one in grid.segmenters if one != PREDICTION]
    masks = tuple(product(grid.mask_from, grid.mask_choices, grid.preprocessing))
    for source, segmenter in product(sources, segmenters):
        for mask_from, mask_choice, preprocessing in masks if segmenter else [("", "", "")]:
            yield replace(
                source,
                segmenter=segmenter,
                # Everything mode gives one candidate a mask: there is nothing to choose.
                mask_choice="" if mask_from == "automatic" else mask_choice,
                mask_from=mask_from,
                preprocessing=preprocessing,
            )


def _impossible(choice: _Choice, variants: Variants) -> str | None:
    """Say why a combination cannot be run."""
    if choice.segmenter == PREDICTION:
        return None
    from_prompts = choice.mask_from in ("", "prompts")
    if not from_prompts and not choice.classifier:
        return f"masks from {choice.mask_from!r} need a heatmap, and prompts from it"
    if choice.mask_from == "heatmap" and choice.segmenter != "seeded":
        return f"{_short(choice.segmenter)} cannot start from a heatmap, only seeded can"
    if choice.mask_from == "automatic" and choice.segmenter == "seeded":
        return "seeded has no everything mode"
    if choice.annotator and not choice.segmenter:
        return "a simulated annotator needs a segmenter to correct"
    if knows_boxes_only(choice.segmenter):
        name = _short(choice.segmenter)
        if choice.mask_from == "automatic":
            return f"{name} knows boxes only and has no everything mode"
        if choice.annotator:
            return f"{name} knows boxes only, and the annotator gives points"
        if _prompts(choice.strategy, variants).kind == "point":
            return f"{name} knows boxes only, and {choice.strategy} gives points"
    return None


def _prompts(strategy: str, variants: Variants) -> PromptParameters:
    return variants.strategies.get(strategy) or strategy_parameters(strategy)


def _setting(name: str, choice: _Choice, variants: Variants) -> Setting:
    base, values = variants.base, dict[str, Any]()
    if choice.classifier:
        values["cam"] = replace(
            base.cam, method=choice.method, target=choice.target, layers=choice.layers
        )
    if choice.strategy:
        values["strategy"] = choice.strategy
        values["prompts"] = _prompts(choice.strategy, variants)
    if choice.mask_from:
        values["mask_from"] = choice.mask_from
        values["mask_choice"] = choice.mask_choice or base.mask_choice
        values["preprocessing"] = (
            variants.preprocessing.get(choice.preprocessing) or PreprocessingParameters()
        )
    annotator = variants.annotators[choice.annotator] if choice.annotator else None
    run = replace(base, **values)
    return Setting(name, choice.classifier or None, choice.segmenter, run, annotator)
