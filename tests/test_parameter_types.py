"""Parameters of a wrong type are a sentence of ours, whichever class they are given to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_cam_sam as ncs
from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.everything.parameters import NamingParameters
from napari_cam_sam.sam.seeded.contour import ContourParameters
from napari_cam_sam.sam.seeded.segmenter import SeededParameters

PACKAGE = Path(ncs.__file__).parent
NEEDED = {
    NamingParameters: {"classes": ("lesion", "background")},
    ncs.WindowParameters: {"kind": "limits", "low": 0.0, "high": 1.0},
}
ODD = (
    None, "x", -1, -1.5, math.nan, math.inf, True, (), [], (1,), (1, 2, 3), ("x",), {}, object(),
    10**400, 2.5,
)  # fmt: skip


def classes() -> Iterator[Any]:
    """Find all classes of parameters in the core."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] == "plugin" or "Parameters:" not in path.read_text(encoding="utf-8"):
            continue
        for name, found in vars(import_module(".".join(("napari_cam_sam", *parts)))).items():
            if name.endswith("Parameters") and found.__module__.endswith(".".join(parts)):
                yield found


ALL = list(classes())


def test_all_of_them_were_found() -> None:
    assert {SeededParameters, CamParameters, ncs.TrainingParameters, ncs.RunParameters} <= {*ALL}
    assert len(ALL) > 20


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_no_odd_value_is_another_error(kind: Any) -> None:
    needed = NEEDED.get(kind, {})
    for one in fields(kind):
        refused = 0
        for value in ODD:
            with suppress(CamSamError):
                kind(**{**needed, one.name: value})
                refused -= 1
            refused += 1
        assert refused > 1, one.name  # else nothing is checked


@pytest.mark.parametrize(
    ("kind", "given", "sentence"),
    [
        (
            SeededParameters,
            {"inner": (0.6, 0.7)},
            "inner has 2 values and beta 3: they go in pairs",
        ),
        (SeededParameters, {"heatmap_low": (0.1,)}, "heatmap_high has 3 values and heatmap_low 1"),
        (SeededParameters, {"inner": (), "beta": ()}, r"inner must be 0 or more, not \(\)"),
        (SeededParameters, {"thresholds": (0.5, 2)}, r"thresholds must be from 0 to 1, not \(0"),
        (SeededParameters, {"side": 0}, "side must be from 8 to 1024, not 0"),
        (SeededParameters, {"margin": math.nan}, "margin must be 0 or more, not nan"),
        (SeededParameters, {"side": 64.5}, "side must be a whole number, not 64.5"),
        (SeededParameters, {"beta": "high"}, "beta must be a list, not 'high'"),
        (SeededParameters, {"contour": 3}, "be an instance of ContourParameters, not 3"),
        (ContourParameters, {"smallest": 1.0}, "smallest must be above 0 and below largest"),
        (ContourParameters, {"radii": 1}, "radii must be 4 or more, not 1"),
        (CamParameters, {"target": 1.5}, "be a whole number or be a text, not 1.5"),
        (CamParameters, {"layers": "layer4"}, "layers must be a list, not 'layer4'"),
        (ncs.TrainingParameters, {"epochs": "ten"}, "TrainingParameters.epochs must be a whole"),
        (ncs.TrainingParameters, {"input_size": (32,)}, "input_size"),
    ],
)
def test_the_sentence_names_field_and_value(
    kind: Any, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CamSamError, match=sentence):
        kind(**given)


def test_numbers_of_numpy_and_lists_are_taken() -> None:
    assert ncs.TrainingParameters(epochs=np.int64(3), dropout=np.float32(0.5)).epochs == 3
    assert list(CamParameters(layers=["layer4"]).layers) == ["layer4"]  # type: ignore[arg-type]
    assert SeededParameters(margin=1).margin == 1
    sides = tuple(np.array([32, 64]))
    assert ncs.TrainingParameters(input_size=sides).input_size == (32, 64)
