"""What made a result: of every image of a study its files, its models, their code, the versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_cam_sam.demo import shipped_models
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.hashing import file_hash, file_states
from napari_cam_sam.models.cards import card_path
from napari_cam_sam.models.factories import is_factory
from napari_cam_sam.models.factory_sources import factory_sources
from napari_cam_sam.records.values import package_versions, plain
from napari_cam_sam.sam.registry import REGISTRY, split_frame
from napari_cam_sam.studies.cases import Case
from napari_cam_sam.studies.config.plan import PREDICTION, Study
from napari_cam_sam.studies.run.models import Models

__all__ = ["SCORING_RULES", "case_stamp", "model_stamps", "what_changed"]

SCORING_RULES = 2
"""Raised where a rule of `evaluation` or `metrics` changes numbers: old results are made again."""


def model_stamps(study: Study, models: Models) -> dict[str, str]:
    """Hash all that makes the models of a study what they are.

    Parameters
    ----------
    study : Study
    models : Models
        Loads factories, of which the weights count, wherever they come from.

    Returns
    -------
    dict of str to str
        By name: of the weights, the card beside them, all files of a bundle, a factory's code.
    """
    classifiers = {one.classifier for one in study.settings if one.classifier is not None}
    segmenters = {one.segmenter for one in study.settings} - {"", PREDICTION}
    found = {name: _of_classifier(name, models) for name in classifiers}
    found |= {name: _of_segmenter(name) for name in segmenters}
    return {name: _hash(found[name]) for name in sorted(found)}


def _of_classifier(name: str, models: Models) -> Any:
    if is_factory(name) and not Path(name).exists():
        # First, so that it is what is imported: a module is not read twice in one process.
        sources = factory_sources(name)
        return [sources, models.classifier(name).sha256]
    path = shipped_models().get(name, Path(name))
    if path.is_dir():
        inside = sorted(one for one in path.rglob("*") if one.is_file())
        return [[str(one.relative_to(path)), file_hash(one)] for one in inside]
    return _with_card(path)


def _of_segmenter(name: str) -> Any:
    frame, bare = split_frame(name)
    if bare in REGISTRY:
        return [frame, REGISTRY[bare].known_hash]
    return [frame, _with_card(shipped_models().get(bare, Path(bare).expanduser()))]


def _with_card(path: Path) -> list[Any]:
    """Hash a checkpoint and the card beside it; of one that loads by name there is neither."""
    return [file_hash(one) for one in (path, card_path(path)) if one.is_file()]


def case_stamp(case: Case, models: Mapping[str, str]) -> dict[str, Any]:
    """Return what makes the results of an image, besides its files.

    Parameters
    ----------
    case : Case
    models : mapping of str to str
        From `model_stamps`.

    Returns
    -------
    dict
        ``case``, ``models``, ``versions`` of packages and ``rules`` of scores.
    """
    made_of = plain(case)
    if not case.segments:  # so that results from before there were any stay those of today
        del made_of["segments"]
    return {
        "case": _hash(made_of), "models": dict(models), "versions": package_versions(),
        "rules": SCORING_RULES,
    }  # fmt: skip


def what_changed(about: Mapping[str, Any], case: Case, now: Mapping[str, Any]) -> str:
    """Return why a result is not that of today.

    Parameters
    ----------
    about : mapping
        What is kept with the result.
    case : Case
    now : mapping
        From `case_stamp`.

    Returns
    -------
    str
        Empty where it is.
    """
    then = about.get("stamp")
    if not isinstance(then, dict) or about.get("states") is None:
        return "an earlier version had not recorded what made it"
    if then.get("case") != now["case"]:
        return "its list of files, boxes or label is another one"
    for name, digest in now["models"].items():
        if then.get("models", {}).get(name) != digest:
            return f"{name} is another model now, by its weights, card or code"
    if then.get("rules") != now["rules"]:
        return "the rules of scores are others now"
    versions = then.get("versions", {})
    for name, version in now["versions"].items():
        if versions.get(name) != version:
            return f"{name} was {versions.get(name)} and is {version}"
    states = file_states(case.files)
    for path, state, old, digest in zip(
        case.files, states, about["states"], about["files"], strict=True
    ):
        # The time of a change cannot be set back: what was not changed need not be read.
        if state != old and not _is(path, digest):
            return "its image or truth is another one"
    return ""


def _is(path: Path, digest: str) -> bool:
    try:
        return file_hash(path) == digest
    except CamSamError:
        return False


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
