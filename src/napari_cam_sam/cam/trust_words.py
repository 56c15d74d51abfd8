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

    Returns
    -------
    tuple of Finding
        In the order of the tests; empty where there is no heatmap.
    """
    out = []
    if trust.randomised:
        out.append(_head(trust))
    if len(trust.randomised) > 1:
        out.append(_all_layers(trust))
    if trust.agreement:
        out.append(_agreement(trust))
    if trust.road is not None:
        out.append(_road(trust.road.score))
    for test, found, what in (
        ("shift", trust.shift, "the slice is shifted by a few pixels"),
        ("noise", trust.noise, "a little noise is added to the slice"),
    ):
        if found is not None:
            level, words = _level(found.top_iou), f"when {what}"
            said = {
                "good": f"The map stays where it is {words}.",
                "mixed": f"The map moves in part {words}.",
                "bad": f"The map changes {words}: unstable.",
            }
            out.append(Finding(test, level, said[level]))
    return tuple(out)


def _level(overlap: float) -> Level:
    return "good" if overlap >= _ALIKE else "mixed" if overlap >= _IN_PART else "bad"


def _turned(overlap: float) -> Level:
    """Return the level of a test that a map passes by changing."""
    return "bad" if overlap >= _SAME else "mixed" if overlap >= _IN_PART else "good"


def _head(trust: HeatmapTrust) -> Finding:
    level = _turned(trust.randomised[0].top_iou)
    when = "when the model's last layer is random"
    said = {
        "good": f"The map changes {when}, as it should.",
        "mixed": f"The map changes only in part {when}: it shows more than what speaks for "
        f"{trust.target!r}.",
        "bad": f"The map hardly changes {when}: it does not show what the model learned of "
        f"{trust.target!r}.",
    }
    return Finding("head", level, said[level])


def _all_layers(trust: HeatmapTrust) -> Finding:
    level = _turned(trust.randomised[-1].top_iou)
    when = "when all layers of the model are random"
    said = {
        "good": f"The map changes {when}, as it should.",
        "mixed": f"Part of the map stays {when}: that part comes from the image alone.",
        "bad": f"The map hardly changes {when}: it shows the image, not what the model learned.",
    }
    return Finding("randomisation", level, said[level])


def _agreement(trust: HeatmapTrust) -> Finding:
    level = _level(mean_similarity(list(trust.agreement.values())).top_iou)
    others = ", ".join(trust.agreement)
    said = {
        "good": f"Other methods ({others}) mark much the same place.",
        "mixed": f"Other methods ({others}) mark the same place in part.",
        "bad": f"Other methods ({others}) mark other places: which is right is open.",
    }
    return Finding("agreement", level, said[level])


def _road(score: float) -> Finding:
    if score >= _CLEAR:
        words = "Without what the map marks the probability falls far more than without the rest."
        return Finding("road", "good", words)
    if score >= _LITTLE:
        words = (
            "Without what the map marks the probability falls a little more than without the rest."
        )
        return Finding("road", "mixed", words)
    words = "Without what the map marks the probability falls no more than without the rest"
    return Finding("road", "bad", f"{words}: it marks nothing that the model needs.")


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
    """Return the figures of the tests that are done as rows."""
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
