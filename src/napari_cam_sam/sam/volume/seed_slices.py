"""Which of the planes that heatmaps prompted to propagate from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import PlanePrompts

__all__ = ["trusted_planes"]


def trusted_planes(
    prompts: Sequence[PlanePrompts], trust: Mapping[int, float], min_trust: float = 0.5
) -> list[PlanePrompts]:
    """Keep the most trusted plane of each run of neighbouring planes that are trusted at all.

    A heatmap's box is seldom right on every plane of an object, and each wrong one harms what
    propagation makes of the right ones.

    Parameters
    ----------
    prompts : sequence of PlanePrompts
        Along one axis; planes without objects are left out.
    trust : mapping of int to float
        By the index of the plane, e.g. the probability of the class that the heatmap explains.
        A plane that is not in it is not trusted.
    min_trust : float
        Below it a plane is left out.

    Returns
    -------
    list of PlanePrompts
        Ordered by index; of equally trusted planes the one nearest to the middle of its run.

    Raises
    ------
    CamSamError
        If ``min_trust`` is not a number, or the prompts lie along different axes.

    Examples
    --------
    >>> lesion = (ncs.ObjectPrompt(1, box=ncs.Box(8, 8, 24, 24)),)
    >>> prompts = [ncs.PlanePrompts(0, index, lesion) for index in (10, 11, 12)]
    >>> kept = ncs.trusted_planes(prompts, {10: 0.7, 11: 0.9, 12: 0.2})
    >>> [plane.index for plane in kept]  # the most probable of a run of neighbours
    [11]
    """
    if not math.isfinite(min_trust):
        raise CamSamError(f"The least trust must be a number, not {min_trust!r}.")
    if len({plane.axis for plane in prompts}) > 1:
        raise CamSamError("The prompts lie along different axes: choose slices of one axis.")
    runs: list[list[PlanePrompts]] = []
    for plane in sorted(prompts, key=lambda p: p.index):
        if not plane.objects or not trust.get(plane.index, -math.inf) >= min_trust:
            continue
        if not runs or plane.index > runs[-1][-1].index + 1:
            runs.append([])
        runs[-1].append(plane)
    return [_best(run, trust) for run in runs]


def _best(run: Sequence[PlanePrompts], trust: Mapping[int, float]) -> PlanePrompts:
    middle = (run[0].index + run[-1].index) / 2
    return max(run, key=lambda p: (trust[p.index], -abs(p.index - middle)))
