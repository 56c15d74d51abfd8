"""The protocols of five papers as studies; `paper_table` prints their tables.

s0: "Utilizing Segment Anything Model for Assessing Localization of GRAD-CAM in Medical Imaging".
s1: Dhamale and Pawar, "Weakly supervised automated extraction of optimal visual prompts".
s2: Paradowski, "Grad-CAM and automated SAM segmentation".
s3: "Seg-HiRes-Grad CAM".
s4: Mazurowski et al., "Segment Anything Model for medical image analysis: an experimental study".

What each preset repeats and where it departs stands in ``docs/methods.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.cam.pixel_sets import PixelKind, PixelSet
from napari_cam_sam.errors import unknown_name
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.prompts.annotator import AnnotatorParameters
from napari_cam_sam.prompts.parameters import PRESETS as STRATEGIES
from napari_cam_sam.prompts.parameters import Kind
from napari_cam_sam.sam.mask_choice import MaskChoice
from napari_cam_sam.studies.config.paper_tables import paper_table
from napari_cam_sam.studies.config.plan import PREDICTION, DatasetSource, Setting, Study
from napari_cam_sam.studies.config.preset_parameters import PresetParameters

__all__ = [
    "PRESETS",
    "PUBLISHED_MASKS",
    "PresetParameters",
    "paper_table",
    "preset_study",
    "s0",
    "s1",
    "s1_published",
    "s2",
    "s3",
    "s4",
]

KINDS: tuple[Kind, ...] = ("box", "box-point", "point")
PIXEL_KINDS: tuple[PixelKind, ...] = ("whole", "predicted", "truth")
PUBLISHED_MASKS = {
    f"{source} {kind}": f"../{folder}/{kind.replace('-', '_')}"
    for source, folder in (("truth", "published_sam_vit_l"), ("cam", "published_cam_prompts"))
    for kind in KINDS
}
"""Folders of masks that Dhamale and Pawar published, as seen from the folder of the images."""


def s0(data: Path | DatasetSource, parameters: PresetParameters) -> Study:
    """Score heatmaps against boxes and against masks, by AUPRC and AUC-Judd.

    Parameters
    ----------
    data : Path or DatasetSource
        A folder of BBBC041 (with ``training.json``), or of BUSI, whose masks are scored beside
        their boxes, or any data set.
    parameters : PresetParameters
        By default Grad-CAM, as in the paper, and Layer-CAM of the shipped ``lesion``.

    Returns
    -------
    Study
    """
    source = _lesions(data)
    if isinstance(data, Path):
        if data.suffix == ".json" or any(data.glob("*.json")):
            source = DatasetSource("bbbc041", data)
        else:
            source = replace(source, options={**source.options, "truth_as": "both"})
    methods = parameters.methods or ("grad-cam", "layer-cam")
    settings = tuple(
        Setting(
            _name(classifier, method, "heatmap"),
            classifier,
            "",
            RunParameters(cam=CamParameters(method=method, layers=parameters.layers)),
        )
        for classifier, method in product(parameters.classifiers or ("lesion",), methods)
    )
    return Study("s0", source, settings, seed=parameters.seed)


def s1(data: Path | DatasetSource, parameters: PresetParameters) -> Study:
    """Segment lesions from prompts that Grad-CAM gives, beside prompts from the truth.

    Parameters
    ----------
    data : Path or DatasetSource
        BUSI: the folder of its class folders. The images without a lesion are left out.
    parameters : PresetParameters
        By default Grad-CAM of the shipped ``lesion``, and ``compact-sam``.

    Returns
    -------
    Study
    """
    settings: list[Setting] = []
    compare: list[tuple[str, str]] = []
    for segmenter, kind in product(parameters.segmenters or ("compact-sam",), KINDS):
        # The single mask, as in the paper.
        run = RunParameters(strategy=f"truth-{kind}", mask_choice="single")
        truth = Setting(_name(f"truth-{kind}", segmenter), None, segmenter, run)
        settings.append(truth)
        for classifier, method in product(
            parameters.classifiers or ("lesion",), parameters.methods or ("grad-cam",)
        ):
            cam = replace(
                run,
                cam=CamParameters(method=method, layers=parameters.layers),
                strategy=f"s1-{kind}",
                prompts=replace(STRATEGIES["s1"], kind=kind),
            )
            name = _name(classifier, method, f"s1-{kind}", segmenter)
            settings.append(Setting(name, classifier, segmenter, cam))
            compare.append((name, truth.name))
    return Study("s1", _lesions(data), tuple(settings), parameters.seed, tuple(compare))


def s1_published(data: Path | DatasetSource, parameters: PresetParameters) -> Study:
    """Score the masks that Dhamale and Pawar published, from CAM prompts and truth prompts.

    Parameters
    ----------
    data : Path or DatasetSource
        BUSI: the folder of its class folders, beside which are ``published_sam_vit_l`` and
        ``published_cam_prompts``.
    parameters : PresetParameters
        Of no effect: nothing is computed but scores.

    Returns
    -------
    Study
    """
    source = _lesions(data)
    options = {"predictions": PUBLISHED_MASKS, **source.options}
    setting = Setting("published", None, PREDICTION, RunParameters())
    return Study("s1-published", replace(source, options=options), (setting,), seed=parameters.seed)


def s2(data: Path | DatasetSource, parameters: PresetParameters) -> Study:
    """Segment shapes from points: positive ones, with background ones, with adaptive ones.

    Parameters
    ----------
    data : Path or DatasetSource
        Folder in which phantoms of shapes are kept; they are drawn where it has none.
    parameters : PresetParameters
        By default Grad-CAM, as in the paper, and Layer-CAM of the shipped ``shapes``, and
        ``compact-sam``.

    Returns
    -------
    Study
    """
    settings = tuple(
        Setting(
            _name(classifier, method, strategy, segmenter),
            classifier,
            segmenter,
            RunParameters(
                cam=CamParameters(method=method, layers=parameters.layers),
                strategy=strategy,
                mask_choice="best",
            ),
        )
        for classifier, method, segmenter, strategy in product(
            parameters.classifiers or ("shapes",),
            parameters.methods or ("grad-cam", "layer-cam"),
            parameters.segmenters or ("compact-sam",),
            ("s2-fg", "s2-fg-bg", "s2-adaptive"),
        )
    )
    names = [setting.name for setting in settings]
    compare = tuple((name, names[i - i % 3]) for i, name in enumerate(names) if i % 3)
    return Study("s2", _phantoms(data, "shapes", parameters), settings, parameters.seed, compare)


def s3(data: Path | DatasetSource, parameters: PresetParameters) -> Study:
    """Score Seg-Grad-CAM and Seg-HiRes-Grad-CAM of a segmentation network against the truth.

    Parameters
    ----------
    data : Path or DatasetSource
        Folder in which ultrasound-like phantoms are kept; they are drawn where it has none.
    parameters : PresetParameters
        ``classifiers`` are segmentation networks here. By default the class ``lesion`` of the
        shipped ``phantom-unet``, at its bottleneck and at two blocks of its decoder; of others
        the predicted class at their own layer. Each on the whole image, where the class is
        predicted, and where the truth is.

    Returns
    -------
    Study
    """
    networks: dict[str, tuple[str | None, tuple[tuple[str, ...], ...]]]
    networks = dict.fromkeys(parameters.classifiers, (None, (parameters.layers,)))
    if not networks:
        networks = {"phantom-unet": ("lesion", (parameters.layers,))}
        if not parameters.layers:
            blocks = ("bottleneck", "decoder3", "decoder2")
            networks = {"phantom-unet": ("lesion", tuple((block,) for block in blocks))}
    settings = tuple(
        Setting(
            _name(network, method, *layers, kind),
            network,
            "",
            RunParameters(cam=CamParameters(method, target, layers, pixel_set=PixelSet(kind))),
        )
        for network, (target, choices) in networks.items()
        for layers, kind, method in product(
            choices, PIXEL_KINDS, parameters.methods or ("grad-cam", "hires-cam")
        )
    )
    return Study("s3", _phantoms(data, "ultrasound", parameters), settings, parameters.seed)


def s4(data: Path | DatasetSource, parameters: PresetParameters) -> Study:
    """Let the simulated annotator click, and prompt with boxes, for each choice of the mask.

    Parameters
    ----------
    data : Path or DatasetSource
        BUSI, of which the images without a lesion are left out, or any data set with truths.
    parameters : PresetParameters
        By default ``compact-sam`` and, without weights, ``seeded``.

    Returns
    -------
    Study
    """
    choices: tuple[MaskChoice, ...] = ("first", "best", "oracle")
    annotator = AnnotatorParameters(points=parameters.points, seed=parameters.seed)
    settings: list[Setting] = []
    for segmenter, choice in product(parameters.segmenters or ("compact-sam", "seeded"), choices):
        run = RunParameters(mask_choice=choice)
        settings.append(
            Setting(_name("points", choice, segmenter), None, segmenter, run, annotator)
        )
        box = replace(run, strategy="truth-s4-mode3", prompts=STRATEGIES["s4-mode3"])
        settings.append(Setting(_name("box", choice, segmenter), None, segmenter, box))
    return Study("s4", _lesions(data), tuple(settings), seed=parameters.seed)


PRESETS: dict[str, Callable[[Path | DatasetSource, PresetParameters], Study]] = {
    "s0": s0,
    "s1": s1,
    "s1-published": s1_published,
    "s2": s2,
    "s3": s3,
    "s4": s4,
}
"""The presets by name."""


def preset_study(
    name: str, data: Path | DatasetSource, parameters: PresetParameters | None = None
) -> Study:
    """Give the study of a preset.

    Parameters
    ----------
    name : str
        A key of `PRESETS`.
    data : Path or DatasetSource
        The folder of the data, laid out as the paper's, or where and how they are.
    parameters : PresetParameters, optional

    Returns
    -------
    Study

    Raises
    ------
    CamSamError
        If there is no such preset.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name](data, parameters or PresetParameters())


def _lesions(data: Path | DatasetSource) -> DatasetSource:
    """BUSI's images with a lesion, where only a folder is given."""
    if isinstance(data, DatasetSource):
        return data
    return DatasetSource("busi", data, {"classes": ["benign", "malignant"]})


def _phantoms(data: Path | DatasetSource, kind: str, parameters: PresetParameters) -> DatasetSource:
    if isinstance(data, DatasetSource):
        return data
    options = {"kind": kind, "count": parameters.images, "first_seed": parameters.first_seed}
    return DatasetSource("phantoms", data, options)


def _name(*parts: str) -> str:
    """Put a setting's name together; a checkpoint goes by its file's name."""
    return "/".join(Path(part).stem if len(Path(part).parts) > 1 else part for part in parts)
