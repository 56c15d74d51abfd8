from dataclasses import replace

import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.parameters import (
    PRESETS,
    TRUTH_PRESETS,
    PromptParameters,
    strategy_parameters,
)


def test_presets_have_the_names_of_the_papers():
    papers = {"s1", "s2-fg", "s2-fg-bg", "s2-adaptive", *(f"s4-mode{i}" for i in range(1, 6))}
    assert set(PRESETS) == papers | {"ours"}
    assert set(TRUTH_PRESETS) == {"truth-box", "truth-point", "truth-box-point"}


def test_preset_by_name():
    assert strategy_parameters("s1") is PRESETS["s1"]
    assert strategy_parameters("truth-point") is TRUTH_PRESETS["truth-point"]


def test_unknown_preset_names_near_ones():
    with pytest.raises(CamSamError, match=r"Unknown strategy 's4-mode9'.*s4-mode"):
        strategy_parameters("s4-mode9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "boxes"}, r"kind of prompt 'boxes'.*box"),
        ({"threshold_rule": "otsou"}, "otsu"),
        ({"components": "biggest"}, "choice of components"),
        ({"point": "centre"}, "point rule"),
        ({"negatives": "some"}, "rule for negatives"),
        ({"threshold": 1.5}, "threshold must be in 0 to 1, not 1.5"),
        ({"threshold": float("nan")}, "threshold"),
        ({"negative_threshold": -0.1}, "negative_threshold"),
        ({"clusters": 1}, "clusters must be a whole number of 2"),
        ({"max_objects": 0}, "max_objects"),
        ({"min_area": -1}, "min_area"),
        ({"min_area": 2.5}, "min_area"),
        ({"grid": 2}, "grid must be odd"),
        ({"grid": True}, "grid"),
        ({"grid_step": 0}, "grid_step"),
        ({"margin": -1}, "margin must be 0 pixels"),
        ({"margin": float("inf")}, "margin"),
    ],
)
def test_wrong_values_are_refused_by_name(changes, message):
    with pytest.raises(CamSamError, match=message):
        replace(PromptParameters(), **changes)
