"""Every field of every group of parameters that becomes options says what it is."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from napari_cam_sam.field_help import field_help
from napari_cam_sam.images.preprocessing import PreprocessingParameters
from napari_cam_sam.prompts.parameters import PromptParameters
from napari_cam_sam.sam.cache.embeddings import CacheParameters
from napari_cam_sam.sam.everything.ranking import RankingParameters
from napari_cam_sam.sam.volume.parameters import PropagationParameters


@dataclass
class _Group:
    """A group.

    Attributes
    ----------
    first, second : float
        In mm (0.5 for half a pixel). Not shown.
    third : int
        Of ``first``,
        over two lines

    Raises
    ------
    ValueError
        Never : this is no field.
    """

    first: float
    second: float
    third: int
    fourth: int


def test_what_is_said_on_each_field() -> None:
    half = "In mm (0.5 for half a pixel). Not shown."
    assert field_help(_Group) == {
        "first": half,
        "second": half,
        "third": "Of first, over two lines",
    }
    assert field_help(int) == {}


@pytest.mark.parametrize(
    "group",
    [
        CacheParameters,
        PreprocessingParameters,
        PromptParameters,
        PropagationParameters,
        RankingParameters,
    ],
)
def test_all_options_are_described(group: type) -> None:
    assert set(field_help(group)) == {field.name for field in fields(group)}
