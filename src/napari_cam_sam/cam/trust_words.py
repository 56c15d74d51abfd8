"""What the tests of a heatmap say, in words that claim no more than they show."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Literal

from napari_cam_sam.cam.similarity import mean_similarity
from napari_cam_sam.cam.trust import HeatmapTrust

__all__ = ["CAVEAT", "Finding", "Row", "findings", "table"]

CAVEAT = (
    "A map that fails a test should not be relied on; one that passes them all may still be wrong: "
    "only a truth can tell."
)

# Rules of thumb, of the overlap of the highest parts of two maps.
_SAME, _ALIKE, _IN_PART = 0.75, 0.5, 0.25
# Of ROAD's score, whose range is -0.5 to 0.5.
_CLEAR, _LITTLE = 0.1, 0.02

Level = Literal["good", "mixed", "bad"]

_WORDS: dict[str, dict[Level, str]] = {
    "head": {
        "good": "The map changes when the model's last layer is random, as it should.",
        "mixed": "The map changes only in part when the model's last layer is random: it shows "
        "more than what speaks for {target!r}.",
        "bad": "The map hardly changes when the model's last layer is random: it does not show "
        "what the model learned of {target!r}.",
    },
    "randomisation": {
        "good": "The map changes when all layers of the model are random, as it should.",
        "mixed": "Part of the map stays when all layers of the model are random: that part comes "
        "from the image alone.",
        "bad": "The map hardly changes when all layers of the model are random: it shows the "
        "image, not what the model learned.",
    },
    "agreement": {
        "good": "Other methods ({others}) mark much the same place.",
        "mixed": "Other methods ({others}) mark the same place in part.",
        "bad": "Other methods ({others}) mark other places: which is right is open.",
    },
    "road": {
        "good": "Without what the map marks the probability falls far more than without the rest.",
        "mixed": "Without what the map marks the probability falls a little more than without "
        "the rest.",
        "bad": "Without what the map marks the probability falls no more than without the rest: "
        "it marks nothing that the model needs.",
    },
    "shift": {
        "good": "The map stays where it is when the slice is shifted by a few pixels.",
        "mixed": "The map moves in part when the slice is shifted by a few pixels.",
        "bad": "The map changes when the slice is shifted by a few pixels: unstable.",
    },
    "noise": {
        "good": "The map stays where it is when a little noise is added to the slice.",
        "mixed": "The map moves in part when a little noise is added to the slice.",
        "bad": "The map changes when a little noise is added to the slice: unstable.",
    },
}


@dataclass(frozen=True)
class Finding:
    """What one test says.

    Attributes
    ----------
    test : {"head", "randomisation", "agreement", "road", "shift", "noise"}
    level : {"good", "mixed", "bad"}
    words : str
        One sentence.
    """

    test: str
    level: Level
    words: str


def findings(trust: HeatmapTrust) -> tuple[Finding, ...]:
    """Return what each test that is done says.

    The thresholds are rules of thumb. Of the IoU of the highest parts of two maps: a map hardly
    changes with the model from 0.75 and changes below 0.25; it is alike from 0.5 and another below
    0.25. ROAD is clear from a score of 0.1, and says nothing below 0.02.

    Parameters
    ----------
    trust : HeatmapTrust

    Returns
    -------
    tuple of Finding
        In the order of the tests; empty where there is no heatmap.
    """
    levels: dict[str, Level] = {}
    if trust.randomised:
        levels["head"] = _turned(trust.randomised[0].top_iou)
    if len(trust.randomised) > 1:
        levels["randomisation"] = _turned(trust.randomised[-1].top_iou)
    if trust.agreement:
        mean = mean_similarity(list(trust.agreement.values()))
        levels["agreement"] = _level(mean.top_iou, _ALIKE, _IN_PART)
    if trust.road is not None:
        levels["road"] = _level(trust.road.score, _CLEAR, _LITTLE)
    for test, found in (("shift", trust.shift), ("noise", trust.noise)):
        if found is not None:
            levels[test] = _level(found.top_iou, _ALIKE, _IN_PART)
    named = {"target": trust.target, "others": ", ".join(trust.agreement)}
    return tuple(
        Finding(test, level, _WORDS[test][level].format(**named)) for test, level in levels.items()
    )


def _level(value: float, good: float, mixed: float) -> Level:
    return "good" if value >= good else "mixed" if value >= mixed else "bad"


def _turned(overlap: float) -> Level:
    """Return the level of a test that a map passes by changing."""
    return "bad" if overlap >= _SAME else "mixed" if overlap >= _IN_PART else "good"


@dataclass(frozen=True)
class Row:
    """One line of a table of tests; NaN where a test has no such figure.

    Attributes
    ----------
    test : str
        As `Finding` has it; of each other method ``"agreement"``.
    name : str
        For people.
    top_iou, ssim, rank : float
        As `Similarity` has them.
    road : float
    """

    test: str
    name: str
    top_iou: float = nan
    ssim: float = nan
    rank: float = nan
    road: float = nan


def table(trust: HeatmapTrust) -> tuple[Row, ...]:
    """Return the figures of the tests that are done as rows.

    Parameters
    ----------
    trust : HeatmapTrust

    Returns
    -------
    tuple of Row
        In the order of the tests.
    """
    stages = [
        ("head", "last layer random"),
        *(("randomisation", "more layers random") for _ in trust.randomised[1:-1]),
        ("randomisation", "all layers random"),
    ]
    compared = [
        *((test, name, one) for (test, name), one in zip(stages, trust.randomised, strict=False)),
        *(("agreement", name, one) for name, one in trust.agreement.items()),
        *((("shift", "shifted", trust.shift),) if trust.shift is not None else ()),
        *((("noise", "with noise", trust.noise),) if trust.noise is not None else ()),
    ]
    rows = [Row(test, name, s.top_iou, s.ssim, s.rank) for test, name, s in compared]
    if trust.road is not None:
        at = len(trust.randomised) + len(trust.agreement)
        rows.insert(at, Row("road", "pixels removed", road=trust.road.score))
    return tuple(rows)
