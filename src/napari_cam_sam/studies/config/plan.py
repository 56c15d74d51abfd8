"""What a study does, and reading it from a YAML file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from napari_cam_sam.cam.methods import METHODS
from napari_cam_sam.cam.parameters import TrustParameters
from napari_cam_sam.errors import CamSamError, reads, unknown_name
from napari_cam_sam.images.preprocessing import PreprocessingParameters
from napari_cam_sam.models.factories import refused_factory
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.prompts.annotator import AnnotatorParameters
from napari_cam_sam.prompts.parameters import (
    PRESETS,
    TRUTH_PRESETS,
    PromptParameters,
    strategy_parameters,
)
from napari_cam_sam.records.values import plain
from napari_cam_sam.sam.mask_choice import MASK_CHOICES
from napari_cam_sam.studies.config.document import Entry, read_document
from napari_cam_sam.studies.config.run_settings import (
    MASK_FROM,
    read_classifier,
    read_layers,
    read_run,
    read_segmenter,
    read_target,
)
from napari_cam_sam.studies.config.settings import PREDICTION, Grid, Setting, Variants, expand_grids
from napari_cam_sam.studies.config.values import change_fields, choose, find_path, with_line
from napari_cam_sam.studies.data.datasets import LAYOUTS, check_options
from napari_cam_sam.text import recorded, shown

__all__ = [
    "MANY_RUNS",
    "PREDICTION",
    "DatasetSource",
    "Setting",
    "Study",
    "plan_data",
    "plan_differences",
    "plan_hash",
    "read_study",
]

T = TypeVar("T")

MANY_RUNS = 100_000
"""Images times settings beyond which a study should be asked for twice."""

# More settings than anybody compares; beyond it only with `many`.
_MANY_SETTINGS = 10_000

_RUN_KEYS = (
    "axis", "window", "truth_label", "pixel_set", "min_probability", "batch_size", "odds",
    "mirrored",
)  # fmt: skip
_SECTIONS = (
    "name", "seed", "threads", "dataset", "run", "grid", "strategies", "preprocessing",
    "annotators", "trust", "compare",
)  # fmt: skip


@dataclass(frozen=True)
class DatasetSource:
    """Where the images of a study are.

    Attributes
    ----------
    layout : str
        A key of :data:`napari_cam_sam.studies.data.datasets.LAYOUTS`.
    path : Path
    options : mapping
        Of the layout.
    """

    layout: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """Many images, and the settings that each of them is run with.

    Attributes
    ----------
    name : str
    dataset : DatasetSource
    settings : tuple of Setting
        With names of their own.
    seed : int
        Of whatever is random.
    compare : tuple of (str, str)
        Names of settings, the second of each pair the one that the first is compared with.
    threads : int
        Of PyTorch and numpy for one image. It is the same wherever the study runs, so that the
        results are: more images at a time are a matter of workers.
    trust : TrustParameters or None
        How far each heatmap is put to the test; None for not at all.
    left_out : tuple of str
        Why combinations of the grid are no settings.
    allowed : tuple of str or None
        Factories, ``package.module:function``, that may be imported, of those that a file named,
        which are not looked for in the working folder. None for a study that was made in Python:
        all of them.

    Raises
    ------
    CamSamError
        If there is no setting, two have one name, or `compare` names one that there is not.
    """

    name: str
    dataset: DatasetSource
    settings: tuple[Setting, ...]
    seed: int = 0
    compare: tuple[tuple[str, str], ...] = ()
    threads: int = 1
    trust: TrustParameters | None = None
    left_out: tuple[str, ...] = ()
    allowed: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        names = [setting.name for setting in self.settings]
        if not names:
            raise CamSamError(f"The study {self.name!r} has no settings: give one at least.")
        for name in names:
            if names.count(name) > 1:
                raise CamSamError(f"Two settings of {self.name!r} are called {name!r}.")
        for name in (name for pair in self.compare for name in pair):
            if name not in names:
                raise unknown_name("setting", name, names)


def plan_data(study: Study) -> dict[str, Any]:
    """Return all that decides the results of a study, as plain data.

    Parameters
    ----------
    study : Study

    Returns
    -------
    dict
        ``name``, ``dataset``, ``settings`` by their names, ``seed``, ``threads``, ``trust``.
    """
    data: dict[str, Any] = plain(
        {
            "name": study.name,
            "dataset": study.dataset,
            "settings": {setting.name: setting for setting in study.settings},
            "seed": study.seed,
            "threads": study.threads,
            "trust": study.trust,
        }
    )
    return data


def plan_hash(study: Study) -> str:
    """Hash `plan_data`: with the same hash the same files give the same results.

    Parameters
    ----------
    study : Study

    Returns
    -------
    str
        SHA-256.
    """
    return hashlib.sha256(json.dumps(plan_data(study), sort_keys=True).encode()).hexdigest()


def plan_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say in what two studies differ.

    Parameters
    ----------
    old, new : mapping
        From `plan_data`.

    Returns
    -------
    list of str
        Empty where they are the same.
    """
    found = []
    before, now = old.get("settings", {}), new.get("settings", {})
    gone, more = [n for n in before if n not in now], [n for n in now if n not in before]
    if gone:
        found.append(f"{len(gone)} setting(s) are gone, e.g. {gone[0]!r}")
    if more:
        found.append(f"{len(more)} setting(s) are new, e.g. {more[0]!r}")
    pairs = [(f"the setting {n!r}", before[n], now[n]) for n in before if n in now]
    pairs += [(key, old.get(key), new[key]) for key in new if key != "settings"]
    for name, one, other in pairs:
        if one != other:
            path, was, is_now = _first_difference(one, other)
            found.append(f"{'.'.join([name, *path])} was {was!r} and is {is_now!r}")
    return found


def _first_difference(one: Any, other: Any) -> tuple[list[str], Any, Any]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if one.get(key) != other.get(key):
                path, was, is_now = _first_difference(one.get(key), other.get(key))
                return [key, *path], was, is_now
    return [], one, other


@reads("a study file")
def read_study(path: str | Path, *, many: bool = False, allowed: Collection[str] = ()) -> Study:
    r"""Read a study file.

    Parameters
    ----------
    path : str or Path
        ``.yaml`` or ``.yml``; see ``docs/studies.md``. Paths in it are relative to its
        own folder.
    many : bool
        Whether a grid of more than ten thousand settings is meant.
    allowed : collection of str
        Factories that the file may name: they are code, which is imported when the study runs.

    Returns
    -------
    Study

    Raises
    ------
    CamSamError
        With file and line, for an unknown key, a value of a wrong type or out of its range, a
        path or a section that is missing, and a grid of which nothing is left.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("lesions.yaml").write_text(
    ...     "dataset: {layout: phantoms, path: phantoms, kind: ultrasound, count: 3}\n"
    ...     "grid: {strategies: [truth-box, truth-point], segmenters: seeded}"
    ... )
    >>> study = ncs.read_study("lesions.yaml")
    >>> [setting.name for setting in study.settings]
    ['truth-box/seeded', 'truth-point/seeded']
    """
    top = read_document(Path(path))
    top.keys(_SECTIONS, "section")
    dataset = _dataset(top.need("dataset", "say the layout and the path of the images"))
    prepare = partial(change_fields, PreprocessingParameters())
    annotate = partial(change_fields, AnnotatorParameters())
    variants = Variants(
        base=top.read("run", _run, RunParameters()),
        strategies=top.read("strategies", partial(_named, _strategy), {}),
        preprocessing=top.read("preprocessing", partial(_named, prepare), {}),
        annotators=top.read("annotators", partial(_named, annotate), {}),
    )
    grids = top.need("grid", "say which strategies and segmenters are combined")
    read = tuple(_grid(one, variants, allowed) for one in grids.items())
    size = sum(grid.size for grid in read)
    if size > _MANY_SETTINGS and not many:
        raise grids.error(
            f"The grid has {size:,} combinations for every image: make it smaller, or say that "
            "it is meant (--yes)."
        )
    settings, left_out = with_line(grids, lambda: expand_grids(read, variants))
    return Study(
        name=top.read("name", lambda one: shown(one.text()), recorded(Path(path).stem)),
        dataset=dataset,
        settings=settings,
        seed=top.read("seed", lambda one: one.whole(0), 0),
        compare=top.read("compare", partial(_compare, [one.name for one in settings]), ()),
        threads=top.read("threads", lambda one: one.whole(1), 1),
        trust=top.read("trust", _trust, None),
        left_out=left_out,
        allowed=tuple(allowed),
    )


def _dataset(entry: Entry) -> DatasetSource:
    layout = choose(LAYOUTS, "layout", entry.need("layout", f"one of {', '.join(LAYOUTS)}"))
    where = entry.need("path", "say where the images are")
    options = {key: one for key, one in entry.mapping().items() if key not in ("layout", "path")}
    for key, value in options.items():
        with_line(entry.at(key), partial(check_options, layout, {key: value}))
    path = find_path(where)
    # Phantoms are drawn where there are none.
    if layout != "phantoms" and not path.exists():
        raise where.error(f"There is no {path}: name the folder or file of the images.")
    return DatasetSource(layout, path, options)


def _run(entry: Entry) -> RunParameters:
    entry.keys(_RUN_KEYS)  # all else is a choice of the grid
    return read_run(entry, RunParameters())


def _named(make: Callable[[Entry], T], entry: Entry) -> dict[str, T]:
    return {str(key): make(entry.at(key)) for key in entry.mapping()}


def _strategy(entry: Entry) -> PromptParameters:
    base = entry.get("base")
    known = PRESETS | TRUTH_PRESETS
    parameters = PromptParameters()
    if base is not None:
        parameters = with_line(base, lambda: strategy_parameters(base.text()))
    from_truth = base is not None and base.text().startswith("truth-")
    if entry.name in known:
        raise entry.error(f"The strategy {entry.name!r} is known already: choose another name.")
    if from_truth != entry.name.startswith("truth-"):
        raise entry.error(
            f"The name {entry.name!r} does not tell where the prompts come from: names that begin "
            "with truth- are those of strategies with a truth-… base."
        )
    return change_fields(parameters, entry, ("base",))


def _trust(entry: Entry) -> TrustParameters | None:
    if isinstance(entry.value, bool):
        return TrustParameters() if entry.value else None
    return change_fields(TrustParameters(), entry)


def _grid(entry: Entry, variants: Variants, allowed: Collection[str]) -> Grid:
    readers: dict[str, Callable[[Entry], Any]] = {
        "classifiers": partial(_classifier, allowed),
        "methods": partial(choose, METHODS, "method"),
        "layers": read_layers,
        "targets": read_target,
        "strategies": partial(
            choose, {**PRESETS, **TRUTH_PRESETS, **variants.strategies}, "strategy"
        ),
        "annotators": partial(choose, variants.annotators, "annotator"),
        "segmenters": _segmenter,
        "mask_choices": partial(choose, MASK_CHOICES, "mask choice"),
        "mask_from": partial(choose, MASK_FROM, "start of masks"),
        "preprocessing": partial(choose, ["none", *variants.preprocessing], "preprocessing"),
    }
    values: dict[str, Any] = {
        key: tuple(dict.fromkeys(readers[key](one) for one in entry.at(key).items()))
        for key in entry.keys(readers)
    }
    if "annotators" in values and "strategies" not in values:
        values["strategies"] = ()
    grid = Grid(**values)
    seen = [one for one in grid.strategies if not one.startswith("truth-")]
    if seen and not grid.classifiers and set(grid.segmenters) != {PREDICTION}:
        where = entry.get("strategies") or entry
        raise where.error(
            f"The strategy {seen[0]!r} takes prompts from heatmaps: name classifiers in the grid, "
            "or take a truth-… strategy."
        )
    return grid


def _classifier(allowed: Collection[str], entry: Entry) -> str:
    if (refusal := refused_factory(entry.text(), allowed, "the study")) is not None:
        raise entry.error(str(refusal))
    return read_classifier(allowed, entry)


def _segmenter(entry: Entry) -> str:
    return "" if entry.text() == "none" else read_segmenter(entry, (PREDICTION, "none"))


def _compare(names: Sequence[str], entry: Entry) -> tuple[tuple[str, str], ...]:
    """Read pairs of settings, or the one that all others are compared with."""
    if isinstance(entry.value, str):
        reference = choose(names, "setting", entry)
        return tuple((name, reference) for name in names if name != reference)
    pairs = []
    for one in entry.items():
        if not isinstance(one.value, list) or len(one.value) != 2:
            raise one.wrong("a pair of settings, or one that all are compared with")
        first, second = (choose(names, "setting", part) for part in one.items())
        pairs.append((first, second))
    return tuple(pairs)
