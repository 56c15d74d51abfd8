"""The settings of a run: a study's section ``run``, and the file that ``run --config`` reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml

from napari_cam_sam.cam.methods import METHODS
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.errors import CamSamError, unknown_name
from napari_cam_sam.images.windows import parse_window, window_text
from napari_cam_sam.models.card_fields import check_card
from napari_cam_sam.models.names import classifier_names, is_factory, shipped_networks
from napari_cam_sam.pipeline import RunParameters, VolumeParameters
from napari_cam_sam.pipeline.parameters import MaskFrom
from napari_cam_sam.prompts.parameters import PRESETS, TRUTH_PRESETS, strategy_parameters
from napari_cam_sam.records.values import plain
from napari_cam_sam.sam.cache.embeddings import CacheParameters
from napari_cam_sam.sam.everything.parameters import AutomaticParameters, recommended_parameters
from napari_cam_sam.sam.mask_choice import MASK_CHOICES
from napari_cam_sam.sam.registry import default_segmenter, segmenter_names, split_frame, with_frame
from napari_cam_sam.studies.config.document import Entry, read_document
from napari_cam_sam.studies.config.values import (
    change_fields,
    choose,
    find_path,
    set_fields,
    with_line,
)
from napari_cam_sam.text import recorded

__all__ = [
    "CARD_KEYS",
    "KEYS",
    "MASK_FROM",
    "RunSettings",
    "read_classifier",
    "read_layers",
    "read_run",
    "read_run_settings",
    "read_segmenter",
    "read_target",
    "settings_text",
]

MASK_FROM: tuple[MaskFrom, ...] = get_args(MaskFrom)
CARD_KEYS = (
    "architecture", "class_names", "input_size", "channels", "mean", "std", "output",
    "plane_order", "spatial_dims",
)  # fmt: skip
KEYS = (
    "classifier", "card", "method", "target", "layers", "min_probability", "batch_size", "odds",
    "mirrored", "pixel_set", "region", "occlusion", "axis", "planes", "window", "truth_label",
    "strategy", "prompts", "segmenter", "preprocessing", "mask_choice", "mask_from", "automatic",
    "ranking", "volume", "embeddings", "device", "seed",
)  # fmt: skip
"""The keys of a file of settings in their order: fields of `CamParameters`, `RunParameters` and
`RunSettings`."""

T = TypeVar("T")

_STRATEGIES = PRESETS | TRUTH_PRESETS
_NO_CODE = (
    "This is code, which no file runs by itself: if you know what it does, name it by {flag}."
)
_HEAD = "# Settings of a run, for: napari-cam-sam run IMAGE --config THIS_FILE\n"


@dataclass(frozen=True)
class RunSettings:
    """All that decides a run, but for its image, its truth and its output.

    Attributes
    ----------
    run : RunParameters
        Without `planes` and `automatic`, which wait for the image and the segmenter.
    classifier : str or None
    card : mapping of str to object
        What a checkpoint does not say about itself, as `load_model` takes it.
    segmenter : str or None
        None for the best one installed.
    planes : str or None
        As `parse_planes` reads it; None for all.
    region : Path or None
        Labels file, for the pixel set ``"region"``.
    automatic : mapping of str to object
        Fields of `AutomaticParameters`, instead of what suits the segmenter.
    embeddings : CacheParameters
    device : str
    seed : int
    """

    run: RunParameters = field(
        default_factory=lambda: RunParameters(prompts=strategy_parameters("ours"))
    )
    classifier: str | None = None
    card: Mapping[str, Any] = field(default_factory=dict)
    segmenter: str | None = None
    planes: str | None = None
    region: Path | None = None
    automatic: Mapping[str, Any] = field(default_factory=dict)
    embeddings: CacheParameters = field(default_factory=CacheParameters)
    device: str = "auto"
    seed: int = 0

    def automatic_for(self, segmenter: str) -> AutomaticParameters | None:
        """Return the parameters of everything mode, by the segmenter's name; None without it."""
        if self.run.mask_from != "automatic":
            return None
        return replace(recommended_parameters(segmenter), **self.automatic)


def read_run_settings(file: Path | None, flags: Mapping[str, Any]) -> RunSettings:
    """Read a file of settings, and what the command line says instead.

    Parameters
    ----------
    file : Path or None
        YAML; its paths are relative to its own folder.
    flags : mapping of str to object
        By the file's keys; groups are mappings. They win over the file.

    Returns
    -------
    RunSettings

    Raises
    ------
    CamSamError
        With file and line, for an unknown key, a value of a wrong type or out of its range, a
        file that is missing, and a group that nothing uses.
    """
    # The strategy comes first, since it is what the file's prompts change.
    first = {key: value for key, value in flags.items() if key == "strategy"}
    settings = _read(Entry(first, None, (), {}), RunSettings())
    if file is not None:
        top = read_document(file, "a file of settings")
        top.keys(KEYS)
        settings = _read(_without(top, flags), settings)
    rest = {key: value for key, value in flags.items() if key not in first}
    settings = _read(Entry(rest, None, (), {}), settings)
    if settings.run.volume is not None and settings.run.mask_choice != "oracle":
        # The run refuses "oracle" with a reason.
        volume = settings.run.volume
        rule = replace(volume.propagation, mask_choice=settings.run.mask_choice)
        run = replace(settings.run, volume=replace(volume, propagation=rule))
        settings = replace(settings, run=run)
    if file is not None:
        for group, (needed, used) in _needs(settings.run).items():
            deciding = needed.partition(":")[0]
            if not used and deciding not in flags and top.get(group) is not None:
                raise top.at(group).error(f"Nothing uses {group!r} without {needed}.")
    return settings


def _needs(run: RunParameters) -> dict[str, tuple[str, bool]]:
    """Return what the groups that are not always used need, and whether the run has it."""
    automatic = ("mask_from: automatic", run.mask_from == "automatic")
    return {
        "occlusion": ("method: occlusion", run.cam.method == "occlusion"),
        "automatic": automatic,
        "ranking": automatic,
    }


def _without(top: Entry, flags: Mapping[str, Any]) -> Entry:
    """Leave out of a file what the command line says instead."""
    gone = {key for key, value in flags.items() if not isinstance(value, Mapping)}
    if "strategy" in gone and top.get("strategy") is not None:
        gone.add("prompts")  # they belong to the strategy that the file names
    if "classifier" in gone and top.get("classifier") is not None:
        gone.add("card")  # it is that of the classifier that the file names
    left = {key: value for key, value in top.mapping().items() if key not in gone}
    if isinstance(left.get("card"), Mapping):
        said = flags.get("card", {})
        left["card"] = {key: value for key, value in left["card"].items() if key not in said}
    return replace(top, value=left)


def _read(entry: Entry, base: RunSettings) -> RunSettings:
    settings = set_fields(
        replace(base, run=read_run(entry, base.run)),
        entry,
        {
            "classifier": _or_none(partial(read_classifier, ())),
            "card": lambda one: {**base.card, **_card(one)},
            "segmenter": _or_none(read_segmenter),
            "planes": _or_none(_planes),
            "region": _or_none(find_path),
            "automatic": lambda one: {**base.automatic, **_automatic(one)},
            "embeddings": partial(_embeddings, base.embeddings),
            "device": Entry.text,
            "seed": lambda one: one.whole(0, 2**32 - 1, f"a whole number from 0 to {2**32 - 1}"),
        },
        without=["run"],
    )
    if (region := entry.get("region")) is None or settings.region is None:
        return settings
    cam = settings.run.cam
    if entry.get("pixel_set") is None:
        cam = replace(cam, pixel_set=replace(cam.pixel_set or PixelSet(), kind="region"))
    elif cam.pixel_set is None or cam.pixel_set.kind != "region":
        raise region.error("A region needs pixel_set: {kind: region}: give that as well.")
    return replace(settings, run=replace(settings.run, cam=cam))


def read_run(entry: Entry, base: RunParameters) -> RunParameters:
    """Change what a run does by those keys of a section that are its fields, or its heatmaps'.

    Parameters
    ----------
    entry : Entry
        A mapping; its other keys are the caller's.
    base : RunParameters
        What holds for keys that are not there.

    Returns
    -------
    RunParameters

    Raises
    ------
    CamSamError
        With file and line, for a value of a wrong type or out of its range.
    """
    cam = set_fields(
        base.cam,
        entry,
        {
            "method": partial(choose, METHODS, "method"),
            "target": read_target,
            "layers": read_layers,
        },
    )
    run = replace(base, cam=cam)
    if (strategy := entry.get("strategy")) is not None:
        name = choose(_STRATEGIES, "strategy", strategy)
        run = replace(run, strategy=name, prompts=strategy_parameters(name))
    if (prompts := entry.get("prompts")) is not None:
        run = replace(run, prompts=change_fields(run.prompt_parameters, prompts))
    readers: dict[str, Callable[[Entry], Any]] = {
        "axis": lambda one: one.whole(0, 2, "0, 1 or 2"),
        "window": lambda one: with_line(one, lambda: parse_window(one.text())),
        "preprocessing": partial(change_fields, run.preprocessing),
        "mask_choice": partial(choose, MASK_CHOICES, "mask choice"),
        "mask_from": partial(choose, MASK_FROM, "start of masks"),
        "ranking": partial(change_fields, run.ranking),
        "truth_label": _or_none(lambda one: one.whole(1)),
        "volume": _or_none(partial(_volume, run.volume or VolumeParameters())),
    }
    others = ["cam", "strategy", "prompts", "planes", "automatic"]
    return set_fields(run, entry, readers, without=others)


def _or_none(read: Callable[[Entry], T]) -> Callable[[Entry], T | None]:
    return lambda entry: None if entry.value is None else read(entry)


def _planes(entry: Entry) -> str:
    # YAML reads a single slice as a number; true and false are none.
    return str(entry.value) if type(entry.value) is int else entry.text()


def _volume(default: VolumeParameters, entry: Entry) -> VolumeParameters:
    rule = entry.get("propagation")
    if rule is not None and rule.get("mask_choice") is not None:
        raise rule.at("mask_choice").error(
            "The mask choice of a volume is that of the run: give mask_choice outside of 'volume'."
        )
    return change_fields(default, entry)


def _embeddings(default: CacheParameters, entry: Entry) -> CacheParameters:
    found = change_fields(default, entry)
    if "folder" in entry.mapping() and found.folder:
        return replace(found, folder=str(find_path(entry.at("folder"))))
    return found


def _automatic(entry: Entry) -> dict[str, Any]:
    """Read fields of everything mode, which are checked beside the general defaults."""
    found = change_fields(AutomaticParameters(), entry)
    return {key: getattr(found, key) for key in entry.mapping()}


def _card(entry: Entry) -> dict[str, Any]:
    keys = entry.keys(CARD_KEYS)
    if is_factory(str(entry.mapping().get("architecture"))) and entry.file is not None:
        raise entry.at("architecture").error(_NO_CODE.format(flag="--architecture"))
    return {key: _card_field(entry.at(key)) for key in keys if entry.value[key] is not None}


def _card_field(entry: Entry) -> Any:
    return with_line(entry, lambda: check_card({entry.name: entry.value}, "the card")[entry.name])


def read_target(entry: Entry) -> int | str | None:
    """Return the class that is explained.

    Parameters
    ----------
    entry : Entry
        A name or an index; ``predicted`` for the class that is predicted.

    Returns
    -------
    int, str or None
        None for the predicted one.
    """
    if isinstance(entry.value, int):
        return entry.whole(0)
    return None if entry.text() == "predicted" else entry.text()


def read_layers(entry: Entry) -> tuple[str, ...]:
    """Return the layers whose maps are averaged.

    Parameters
    ----------
    entry : Entry
        A name, several, or ``default`` for the model's own.

    Returns
    -------
    tuple of str
        Empty for the model's own.
    """
    if isinstance(entry.value, list):
        return tuple(one.text() for one in entry.items())
    return () if entry.text() == "default" else (entry.text(),)


def read_classifier(allowed: Collection[str], entry: Entry) -> str:
    """Return a model's name, or the path of its file.

    Parameters
    ----------
    allowed : collection of str
        Factories that a file may name.
    entry : Entry
        Paths are relative to its document.

    Returns
    -------
    str

    Raises
    ------
    CamSamError
        With file and line, for an unknown name, a file that is missing, or another factory.
    """
    name, known = entry.text(), [*classifier_names(), *shipped_networks()]
    if entry.file is None or name in known or name in allowed:
        return name
    if is_factory(name):
        raise entry.error(_NO_CODE.format(flag="--classifier"))
    return _model_file(entry, unknown_name("classifier", name, known))


def read_segmenter(entry: Entry, besides: Collection[str] = ()) -> str:
    """Return a segmenter's name, or the path of its file.

    Parameters
    ----------
    entry : Entry
        Paths are relative to its document.
    besides : collection of str
        Other names that pass.

    Returns
    -------
    str

    Raises
    ------
    CamSamError
        With file and line, for an unknown name or a file that is missing.
    """
    name = entry.text()
    known = [*segmenter_names(), *besides]
    if entry.file is None or name in known:
        return name
    frame, name = split_frame(name)
    path = _model_file(replace(entry, value=name), unknown_name("segmenter", name, known))
    return with_frame(path, frame)


def _model_file(entry: Entry, error: CamSamError) -> str:
    """Find a model's file, relative to the document."""
    path = find_path(entry)
    if path.exists():
        return str(path)
    if path.suffix or len(Path(entry.text()).parts) > 1:
        raise entry.error(f"There is no {path}: name a file with weights.")
    raise entry.error(str(error))


def settings_text(settings: RunSettings) -> str:
    """Write settings as YAML that `read_run_settings` reads again.

    Groups that nothing uses stand there as comments, with what they need.

    Parameters
    ----------
    settings : RunSettings

    Returns
    -------
    str
    """
    run, cam = settings.run, settings.run.cam
    name = settings.segmenter or default_segmenter()
    values = {
        **vars(cam),
        **vars(run),
        **vars(settings),
        "classifier": _anywhere(settings.classifier),
        "target": "predicted" if cam.target is None else cam.target,
        "layers": cam.layers or "default",
        "pixel_set": cam.pixel_set or PixelSet(),
        "window": window_text(run.window),
        "prompts": run.prompt_parameters,
        "segmenter": _anywhere(name),
        "automatic": replace(recommended_parameters(name), **settings.automatic),
        "volume": run.volume or VolumeParameters(),
    }
    data: dict[str, Any] = plain({key: values[key] for key in KEYS})
    del data["volume"]["propagation"]["mask_choice"]  # that of the run holds
    idle = {key: f"needs {needed}" for key, (needed, used) in _needs(run).items() if not used}
    if cam.pixel_set is None:
        idle["pixel_set"] = "of a segmentation network"
    if run.volume is None:
        idle["volume"] = "give it to propagate through a volume"
    if is_factory(data["classifier"] or ""):
        idle["classifier"] = "code is named by --classifier alone"
    return _HEAD + "".join(_section(key, value, idle.get(key)) for key, value in data.items())


def _section(key: str, value: Any, idle: str | None) -> str:
    text: str = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True)
    if idle is None:
        return text
    first, *rest = text.splitlines()
    return "".join(f"# {line}\n" for line in (f"{first}  # {idle}", *rest))


def _anywhere(model: str | None) -> str | None:
    """Write a model's file so that it is found from any folder."""
    frame, name = split_frame(model or "")
    if not name or name in (*classifier_names(), *shipped_networks(), *segmenter_names()):
        return model
    path = Path(name).expanduser()
    return with_frame(recorded(path.resolve()), frame) if path.exists() else model
