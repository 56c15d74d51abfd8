"""In which order planes are encoded ahead of their use: only where there is evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import PlanePrompts

__all__ = ["encoding_order", "evidence_of"]


def evidence_of(prompts: Iterable[PlanePrompts]) -> dict[int, float]:
    """Score the planes that have prompts.

    Parameters
    ----------
    prompts : iterable of PlanePrompts
        Of planes along one axis.

    Returns
    -------
    dict of int to float
        By index the highest CAM score of the plane's points and boxes, in [0, 1]. A prompt
        without a score was given by a person or taken from a truth, and counts as 1. Planes
        without prompts are left out.
    """
    found = {}
    for plane in prompts:
        given = [p for one in plane.objects for p in (*one.points, one.box) if p is not None]
        if given:
            found[plane.index] = max(1.0 if p.score is None else p.score for p in given)
    return found


def encoding_order(
    n_planes: int,
    shown: int,
    evidence: Mapping[int, float],
    *,
    direction: int = 0,
    ahead: int = 4,
) -> Iterator[int]:
    """Return the planes to encode, the most urgent first.

    First the plane that is shown, then those with evidence, the highest score first and of
    equal ones the nearest to the shown one, then the neighbours that scrolling on would show. All
    others are left: they are encoded if they are ever shown.

    Parameters
    ----------
    n_planes : int
        Along the axis.
    shown : int
        Index of the plane on the screen.
    evidence : mapping of int to float
        Scores of planes, see :func:`evidence_of`.
    direction : int
        Of the last scroll: above 0 for rising indices, below 0 for falling ones, 0 if unknown,
        where both sides count by their distance.
    ahead : int
        How many neighbours; 0 for none.

    Yields
    ------
    int
        Each index at most once.

    Raises
    ------
    CamSamError
        If the shown plane or one with evidence does not exist.
    """
    for index in (shown, *evidence):
        if not 0 <= index < n_planes:
            raise CamSamError(f"There is no slice {index}: there are slices 0 to {n_planes - 1}.")
    by_score = sorted(evidence, key=lambda index: (-evidence[index], abs(index - shown), index))
    if direction:
        step = 1 if direction > 0 else -1
        neighbours = [shown + step * k for k in range(1, ahead + 1)]
    else:
        neighbours = [shown + (k + 1) // 2 * (1 if k % 2 else -1) for k in range(1, ahead + 1)]
    ordered = dict.fromkeys((shown, *by_score, *neighbours))  # each once
    yield from (index for index in ordered if 0 <= index < n_planes)
